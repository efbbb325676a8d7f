//! What a variational model (arXiv 1312.6114) says of an image, in nats.

use super::ErrorMap;
use crate::image::{Plane, quality};

/// The Kullback–Leibler divergence of `N(mean, exp(log_variance))` from the prior `N(0, I)`, summed over the latents:
/// `½ Σ (μ² + σ² − 1 − log σ²)`, 0 or more. Both lists have the same length.
#[must_use]
pub fn kl_divergence(mean: &[f32], log_variance: &[f32]) -> f64 {
    let of = |(mean, log_variance): (&f32, &f32)| {
        let (mean, log_variance) = (f64::from(*mean), f64::from(*log_variance));
        mean * mean + log_variance.exp_m1() - log_variance
    };
    mean.iter().zip(log_variance).map(of).sum::<f64>() / 2.0
}

/// −log p(x|z) up to a constant, for a Gaussian of unit variance over values in 0…1: `½ Σ (x − x̂)²` over pixels and
/// channels.
#[must_use]
pub fn negative_log_likelihood(original: &Plane, reconstruction: &Plane) -> f64 {
    quality::mse(original, reconstruction) * original.data.len() as f64 / 2.0
}

/// What each pixel adds to [`negative_log_likelihood`]: `½ Σ (x − x̂)²` over its channels.
#[must_use]
pub fn likelihood_map(original: &Plane, reconstruction: &Plane) -> ErrorMap {
    let mut map = super::ErrorMetric::Mse.map(original, reconstruction);
    let channels = original.channels as f32;
    map.data.iter_mut().for_each(|value| *value *= channels / 2.0);
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::fixtures;

    #[test]
    fn the_divergence_is_that_of_two_gaussians() {
        assert!(kl_divergence(&[0.0; 4], &[0.0; 4]).abs() < 1e-12);
        assert!((kl_divergence(&[2.0, 0.0], &[0.0, 0.0]) - 2.0).abs() < 1e-9);
        // ½ (σ² − 1 − log σ²) with σ² = e
        let expected = (1.0_f64.exp() - 2.0) / 2.0;
        assert!((kl_divergence(&[0.0], &[1.0]) - expected).abs() < 1e-7);
        // nearly the prior: no cancellation to below zero
        assert!(kl_divergence(&[0.0], &[1e-6]) > 0.0);
    }

    #[test]
    fn the_likelihood_is_half_the_squared_distance_and_its_map_adds_up_to_it() {
        let of = |seed| fixtures::plane(20, 15, 3, &fixtures::pattern(20, 15, 3, seed));
        let (original, other) = (of(1), of(2));
        let squares = original.data.iter().zip(&other.data).map(|(a, b)| f64::from(a - b).powi(2));
        let total = negative_log_likelihood(&original, &other);
        assert!((total - squares.sum::<f64>() / 2.0).abs() < 1e-3 * total);
        let map = likelihood_map(&original, &other);
        assert!((map.mean() * 300.0 - total).abs() < 1e-3 * total);
    }
}
