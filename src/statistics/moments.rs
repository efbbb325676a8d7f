//! Means and variances.

/// Mean and variance of each dimension, of all vectors seen or, with a window, of about the last so many.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    count: u64,
    /// The number of vectors from which on older ones fade.
    window: Option<u64>,
    mean: Vec<f64>,
    variance: Vec<f64>,
}

impl Moments {
    /// Moments that give every vector the same weight.
    #[must_use]
    pub fn new(dimension: usize) -> Self {
        Self { count: 0, window: None, mean: vec![0.0; dimension], variance: vec![0.0; dimension] }
    }

    /// Moments that forget: the first `window` vectors count alike; from then on each new one has the weight 1 / `window` and all before it
    /// fade by as much.
    #[must_use]
    pub fn fading(dimension: usize, window: u64) -> Self {
        Self { window: Some(window.max(1)), ..Self::new(dimension) }
    }

    /// The moments of these vectors.
    #[must_use]
    pub fn of<'a>(vectors: impl IntoIterator<Item = &'a [f32]>, dimension: usize) -> Self {
        let mut moments = Self::new(dimension);
        vectors.into_iter().for_each(|vector| moments.add(vector));
        moments
    }

    /// Takes in one more vector of this dimension (West 1979; with a window, Finch 2009).
    pub fn add(&mut self, vector: &[f32]) {
        self.count += 1;
        let weight = 1.0 / self.window.map_or(self.count, |window| self.count.min(window)) as f64;
        for ((mean, variance), value) in self.mean.iter_mut().zip(&mut self.variance).zip(vector) {
            let off = f64::from(*value) - *mean;
            *mean += weight * off;
            *variance = (1.0 - weight) * (*variance + weight * off * off);
        }
    }

    /// The number of vectors taken in.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    #[must_use]
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The number of dimensions whose variance exceeds the threshold.
    #[must_use]
    pub fn active(&self, threshold: f64) -> usize {
        self.variance.iter().filter(|variance| **variance > threshold).count()
    }

    /// The sum of the variances.
    #[must_use]
    pub fn total_variance(&self) -> f64 {
        self.variance.iter().sum()
    }

    /// The squared Fréchet distance of two normal distributions with these means and diagonal covariances:
    /// `Σ (μ₁ − μ₂)² + (σ₁ − σ₂)²` over the dimensions (Dowson and Landau 1982).
    #[must_use]
    pub fn frechet(&self, other: &Self) -> f64 {
        let means = self.mean.iter().zip(&other.mean).map(|(a, b)| (a - b).powi(2));
        let deviations = self.variance.iter().zip(&other.variance).map(|(a, b)| (a.sqrt() - b.sqrt()).powi(2));
        means.sum::<f64>() + deviations.sum::<f64>()
    }
}

/// The spread of some numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub mean: f64,
    /// The standard deviation, of the population.
    pub std: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// The spread of the values; none where there are no values.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        let min = values.iter().copied().fold(f64::INFINITY, f64::min);
        let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Some(Self { mean, std: variance.sqrt(), min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    }

    #[test]
    fn moments_are_those_of_the_textbook() {
        let rows: [[f32; 2]; 4] = [[1.0, 5.0], [2.0, 5.0], [3.0, 5.0], [6.0, 5.0]];
        let moments = Moments::of(rows.iter().map(<[f32; 2]>::as_slice), 2);
        close(moments.mean()[0], 3.0);
        close(moments.total_variance(), 3.5);
        assert_eq!((moments.count(), moments.active(0.01), moments.active(3.5)), (4, 1, 0));
    }

    #[test]
    fn a_window_follows_what_is_recent() {
        let mut moments = Moments::fading(1, 10);
        (0..10).for_each(|at| moments.add(&[(at % 2) as f32]));
        close(moments.mean()[0], 0.5);
        close(moments.total_variance(), 0.25);
        (0..500).for_each(|_| moments.add(&[9.0]));
        assert!((moments.mean()[0] - 9.0).abs() < 1e-6 && moments.total_variance() < 1e-6);
    }

    #[test]
    fn the_distance_is_zero_of_equal_ones_and_grows_with_shift_and_scale() {
        let of = |rows: &[[f32; 1]]| Moments::of(rows.iter().map(<[f32; 1]>::as_slice), 1);
        let unit = of(&[[-1.0], [1.0]]);
        close(unit.frechet(&unit), 0.0);
        close(unit.frechet(&of(&[[2.0], [4.0]])), 9.0);
        close(unit.frechet(&of(&[[-3.0], [3.0]])), 4.0);
    }

    #[test]
    fn a_spread_has_ends_and_a_middle() {
        let spread = Spread::of(&[1.0, 2.0, 6.0]).unwrap();
        close(spread.mean, 3.0);
        close(spread.std, (14.0_f64 / 3.0).sqrt());
        assert_eq!((spread.min, spread.max), (1.0, 6.0));
        assert_eq!(Spread::of(&[]), None);
    }
}
