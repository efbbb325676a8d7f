//! Latents of a variational model: drawn from the prior, drawn around an image, and interpolated between two.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};

/// Latents drawn from the prior `N(0, temperature² · I)`, `count` of them with `dim` numbers each. The seed repeats
/// them, and more latents of the same seed begin with the same ones.
#[must_use]
pub fn from_prior(count: usize, dim: usize, (seed, temperature): (u64, f32)) -> Vec<Vec<f32>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut number = || {
        let normal: f32 = StandardNormal.sample(&mut random);
        temperature * normal
    };
    (0..count).map(|_| (0..dim).map(|_| number()).collect()).collect()
}

/// A latent drawn from `N(mean, exp(log_variance))`, what the encoder believes of an image. `draw` tells apart the
/// draws of one seed.
#[must_use]
pub fn from_posterior(mean: &[f32], log_variance: &[f32], (seed, draw): (u64, u64)) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(draw);
    let drawn = |(mean, log_variance): (&f32, &f32)| {
        let normal: f32 = StandardNormal.sample(&mut random);
        mean + (log_variance / 2.0).exp() * normal
    };
    mean.iter().zip(log_variance).map(drawn).collect()
}

/// The path of an interpolation between two latents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// Along the great circle (arXiv 1609.04468), so that what lies between has the length that draws from the prior
    /// have: `sin((1 − t)ω)/sin ω · a + sin(tω)/sin ω · b` with ω the angle between a and b. Straight where that
    /// angle is 0 or half a turn.
    #[default]
    Spherical,
    /// Straight: `(1 − t) · a + t · b`.
    Linear,
}

/// Below this sine the great circle is not to be told from a straight line.
const SMALLEST_SINE: f64 = 1e-6;

impl Interpolation {
    /// The latent at `t` in 0…1 between two of equal length.
    #[must_use]
    pub fn between(self, a: &[f32], b: &[f32], t: f64) -> Vec<f32> {
        let (from, to) = match self {
            Self::Linear => (1.0 - t, t),
            Self::Spherical => great_circle(a, b, t),
        };
        a.iter().zip(b).map(|(a, b)| (from * f64::from(*a) + to * f64::from(*b)) as f32).collect()
    }
}

fn great_circle(a: &[f32], b: &[f32], t: f64) -> (f64, f64) {
    let dot = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    let angle = if lengths > 0.0 { (dot(a, b) / lengths).clamp(-1.0, 1.0).acos() } else { 0.0 };
    let sine = angle.sin();
    if sine < SMALLEST_SINE {
        return (1.0 - t, t);
    }
    (((1.0 - t) * angle).sin() / sine, (t * angle).sin() / sine)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(vector: &[f32]) -> f32 {
        vector.iter().map(|value| value * value).sum::<f32>().sqrt()
    }

    #[test]
    fn draws_from_the_prior_repeat_and_continue() {
        let four = from_prior(4, 16, (7, 1.0));
        assert_eq!(from_prior(2, 16, (7, 1.0)), four[..2]);
        assert_ne!(from_prior(4, 16, (8, 1.0)), four);
        assert_ne!(four[0], four[1]);
    }

    #[test]
    fn draws_from_the_prior_are_normal_and_scale_with_the_temperature() {
        let draws: Vec<f64> = from_prior(200, 100, (1, 0.5)).concat().into_iter().map(f64::from).collect();
        let count = draws.len() as f64;
        let mean = draws.iter().sum::<f64>() / count;
        let variance = draws.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        // standard errors: 0.0035 of the mean, 0.0025 of the variance
        assert!(mean.abs() < 0.02 && (variance - 0.25).abs() < 0.015, "{mean} {variance}");
        assert!(from_prior(1, 8, (1, 0.0))[0].iter().all(|value| *value == 0.0));
    }

    #[test]
    fn draws_around_an_image_have_its_mean_and_variance() {
        let (mean, log_variance) = (vec![3.0; 20_000], vec![(0.25_f32).ln(); 20_000]);
        let drawn = from_posterior(&mean, &log_variance, (5, 0));
        let average = drawn.iter().map(|value| f64::from(*value)).sum::<f64>() / 20_000.0;
        let variance = drawn.iter().map(|value| (f64::from(*value) - average).powi(2)).sum::<f64>() / 20_000.0;
        assert!((average - 3.0).abs() < 0.02 && (variance - 0.25).abs() < 0.015, "{average} {variance}");
        assert_eq!(from_posterior(&mean, &log_variance, (5, 0)), drawn);
        assert_ne!(from_posterior(&mean, &log_variance, (5, 1)), drawn);
        assert_eq!(from_posterior(&[1.0], &[f32::NEG_INFINITY], (5, 0)), [1.0]);
    }

    #[test]
    fn both_paths_lead_from_one_endpoint_to_the_other() {
        let (a, b) = (vec![1.0, 2.0, 0.5], vec![-0.5, 1.0, 3.0]);
        for path in [Interpolation::Spherical, Interpolation::Linear] {
            for (t, endpoint) in [(0.0, &a), (1.0, &b)] {
                let reached = path.between(&a, &b, t);
                assert!(reached.iter().zip(endpoint).all(|(x, y)| (x - y).abs() < 1e-6), "{path:?} {t}: {reached:?}");
            }
        }
        assert_eq!(Interpolation::Linear.between(&[0.0, 4.0], &[2.0, 0.0], 0.25), [0.5, 3.0]);
    }

    #[test]
    fn the_great_circle_keeps_the_length() {
        let (a, b) = (vec![3.0, 0.0, 0.0], vec![0.0, 3.0, 0.0]);
        let half = Interpolation::Spherical.between(&a, &b, 0.5);
        assert!((length(&half) - 3.0).abs() < 1e-6, "{half:?}");
        assert!(length(&Interpolation::Linear.between(&a, &b, 0.5)) < 2.2);
    }

    #[test]
    fn endpoints_without_an_angle_between_them_are_joined_by_a_straight_line() {
        let a = vec![1.0, -2.0];
        for b in [vec![2.0, -4.0], vec![-1.0, 2.0], vec![0.0, 0.0], a.clone()] {
            assert_eq!(Interpolation::Spherical.between(&a, &b, 0.25), Interpolation::Linear.between(&a, &b, 0.25));
        }
    }
}
