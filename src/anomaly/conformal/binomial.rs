//! Tails of the binomial distribution, and through them the Beta distributions with whole parameters:
//! P(Beta(k, n + 1 − k) ≤ x) = P(Bin(n, x) ≥ k).

/// P(Bin(n, x) ≥ k), the sum of the shorter tail.
pub(super) fn at_least(k: usize, n: usize, x: f64) -> f64 {
    if k == 0 || x >= 1.0 {
        return 1.0;
    }
    if k > n || x <= 0.0 {
        return 0.0;
    }
    let mode = (x * (n + 1) as f64) as usize;
    if k > mode { tail(k..=n, n, x) } else { 1.0 - tail(0..=k - 1, n, x) }
}

/// The sum of the probabilities of these counts.
fn tail(counts: std::ops::RangeInclusive<usize>, n: usize, x: f64) -> f64 {
    counts.map(|count| (choose_ln(n, count) + count as f64 * x.ln() + (n - count) as f64 * (-x).ln_1p()).exp()).sum()
}

/// ln of n over k, by Stirling's series for factorials above a few.
fn choose_ln(n: usize, k: usize) -> f64 {
    factorial_ln(n) - factorial_ln(k) - factorial_ln(n - k)
}

fn factorial_ln(n: usize) -> f64 {
    if n < 32 {
        return (2..=n).map(|factor| (factor as f64).ln()).sum();
    }
    let x = (n + 1) as f64;
    let series = 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3)) + 1.0 / (1260.0 * x.powi(5));
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series
}

/// The x below which Beta(k, n + 1 − k) lies with this probability, by bisection.
pub(super) fn beta_quantile(k: usize, n: usize, probability: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if at_least(k, n, middle) < probability {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}
