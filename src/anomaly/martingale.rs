//! Whether a stream has drifted: a conformal test martingale over p-values, which may be looked at after every image.
//!
//! While images are exchangeable with the calibration, p-values are uniform and the martingale M, which begins at 1, has
//! no tendency to grow; by Ville's inequality it ever reaches 1/δ with probability δ at most. So an alarm at M ≥ 1/δ holds
//! for all time, however often one looks (Vovk, Nouretdinov, Gammerman, *Testing exchangeability on-line*, 2003).
//!
//! It is the simple jumper: three bettors hold the capital and bet on small p-values, on large ones, or on nothing, by the
//! factor 1 + ε (p − ½) with ε of −1, 1 and 0; before each bet a hundredth of the bettors' capital is spread evenly, so that
//! one who was wrong for long can come back (Vovk et al., *Retrain or not retrain*, 2021).
//!
//! A stream that is quiet for years costs the bettors their capital. So they start anew with every image, from a reserve
//! that is not at stake: of the reserve 1/n before image n they are given the part that leaves 1/(n + 1). What moves
//! between accounts changes no sum, so M stays a martingale, and M never falls below 1/(n + 1).
//!
//! The p-values of a verdict are not quite uniform for one calibration: their ranks are among the same few scores for
//! ever, and over many images that alone would look like a drift. So the stream is ranked among the calibration *and* the
//! images of the stream before, which makes p-values that are independent and exactly uniform.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// What the bettors believe: −1 that p-values are small, 1 that they are large.
const BELIEFS: [f64; 3] = [-1.0, 0.0, 1.0];

/// The share of the bettors' capital that is spread evenly before each bet.
const JUMP: f64 = 0.01;

/// Scores among which an image is ranked, at most, beyond those of the calibration: from there on the error of the
/// ranks is far below what the bettors can live on, which is a mean p-value that is 1/24 away from ½.
const RANKED: usize = 4096;

/// The capital of all accounts, and the highest point it has reached.
#[derive(Debug, Clone, PartialEq)]
pub struct Martingale {
    /// The share of the capital that is not at stake.
    reserve: f64,
    /// The shares that the bettors hold; with the reserve they are 1.
    shares: [f64; 3],
    /// ln M.
    log: f64,
    /// The highest ln M so far.
    peak: f64,
    /// The p-values seen.
    count: u64,
}

impl Default for Martingale {
    fn default() -> Self {
        Self { reserve: 1.0, shares: [0.0; 3], log: 0.0, peak: 0.0, count: 0 }
    }
}

impl Martingale {
    /// Bets on one more p-value. A value outside 0…1 is taken as the nearest inside.
    pub fn observe(&mut self, p_value: f64) {
        let p = if p_value.is_nan() { 0.5 } else { p_value.clamp(0.0, 1.0) };
        self.count += 1;
        let given = self.reserve / (self.count + 1) as f64;
        let reserve = self.reserve - given;
        let staked: f64 = self.shares.iter().sum::<f64>() + given;
        let gains = std::array::from_fn::<f64, 3, _>(|at| {
            let share = (1.0 - JUMP) * (self.shares[at] + given / 3.0) + JUMP * staked / 3.0;
            share * (1.0 + BELIEFS[at] * (p - 0.5))
        });
        let growth = reserve + gains.iter().sum::<f64>();
        self.reserve = reserve / growth;
        self.shares = gains.map(|gain| gain / growth);
        self.log += growth.ln();
        self.peak = self.peak.max(self.log);
    }

    /// ln M now.
    #[must_use]
    pub const fn log(&self) -> f64 {
        self.log
    }

    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Whether M has ever reached 1/δ.
    #[must_use]
    pub fn has_alarmed(&self, delta: f64) -> bool {
        self.peak >= -delta.ln()
    }
}

/// A stream of scores, watched for a drift away from a calibration.
#[derive(Debug)]
pub struct DriftWatch {
    martingale: Martingale,
    ranks: Ranks,
    random: ChaCha8Rng,
}

impl DriftWatch {
    /// Watches a stream against scores of normals that are independent of each other.
    #[must_use]
    pub fn new(reference: &[f64], seed: u64) -> Self {
        let random = ChaCha8Rng::seed_from_u64(seed);
        Self { martingale: Martingale::default(), ranks: Ranks::new(reference), random }
    }

    /// Takes the score of one more image, whatever its verdict.
    pub fn observe(&mut self, score: f64) {
        let p_value = self.ranks.p_value(score, self.random.random());
        self.martingale.observe(p_value);
    }

    #[must_use]
    pub const fn martingale(&self) -> &Martingale {
        &self.martingale
    }
}

/// The scores among which the next one is ranked.
#[derive(Debug)]
struct Ranks {
    /// In ascending order.
    sorted: Vec<f64>,
    most: usize,
}

impl Ranks {
    fn new(reference: &[f64]) -> Self {
        let mut sorted = reference.to_vec();
        sorted.sort_by(f64::total_cmp);
        let most = sorted.len() + RANKED;
        Self { sorted, most }
    }

    /// The rank of a score among all before it as a number in 0…1, ties broken by a draw; it is one of those before from
    /// now on.
    fn p_value(&mut self, score: f64, draw: f64) -> f64 {
        let below = self.sorted.partition_point(|known| *known < score);
        let to = self.sorted.partition_point(|known| *known <= score);
        let (above, tied) = (self.sorted.len() - to, to - below);
        let p_value = (above as f64 + draw * (1 + tied) as f64) / (self.sorted.len() + 1) as f64;
        if self.sorted.len() < self.most {
            self.sorted.insert(to, score);
        }
        p_value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_p_values_raise_an_alarm_no_more_often_than_promised() {
        let mut random = ChaCha8Rng::seed_from_u64(11);
        let (mut alarms, streams, delta) = (0, 500, 0.05);
        for _ in 0..streams {
            let mut martingale = Martingale::default();
            (0..1000).for_each(|_| martingale.observe(random.random()));
            alarms += usize::from(martingale.has_alarmed(delta));
        }
        // 25 are promised at most; 20 more are four standard errors.
        assert!(alarms <= 45, "{alarms}");
    }

    #[test]
    fn the_capital_never_falls_below_the_reserve() {
        let mut random = ChaCha8Rng::seed_from_u64(17);
        let mut martingale = Martingale::default();
        for _ in 0..10_000 {
            martingale.observe(random.random());
            let floor = -((martingale.count() + 1) as f64).ln();
            assert!(martingale.log() >= floor - 1e-9, "{martingale:?}");
        }
    }

    #[test]
    fn a_drift_is_told_soon_whether_p_values_sink_or_rise_and_after_a_long_quiet_time() {
        for drifted in [(0.0, 0.2), (0.8, 1.0)] {
            let mut random = ChaCha8Rng::seed_from_u64(13);
            let mut martingale = Martingale::default();
            (0..5000).for_each(|_| martingale.observe(random.random()));
            let before = martingale.count();
            while !martingale.has_alarmed(0.001) {
                martingale.observe(drifted.0 + (drifted.1 - drifted.0) * random.random::<f64>());
                assert!(martingale.count() - before < 200, "{martingale:?}");
            }
        }
    }

    #[test]
    fn a_small_calibration_alone_raises_no_alarm_over_a_long_stream() {
        let mut random = ChaCha8Rng::seed_from_u64(19);
        let (mut alarms, mut by_verdicts, streams) = (0, 0, 100);
        for seed in 0..streams {
            let reference: Vec<f64> = (0..20).map(|_| random.random()).collect();
            let mut watch = DriftWatch::new(&reference, seed);
            let mut fixed = Martingale::default();
            for _ in 0..3000 {
                let score: f64 = random.random();
                watch.observe(score);
                let reaching = reference.iter().filter(|known| **known >= score).count();
                fixed.observe((reaching as f64 + random.random::<f64>()) / 21.0);
            }
            alarms += usize::from(watch.martingale().has_alarmed(0.05));
            by_verdicts += usize::from(fixed.has_alarmed(0.05));
        }
        // 5 are promised at most; 9 more are four standard errors. The ranks among the calibration alone do alarm.
        assert!(alarms <= 14 && by_verdicts > 30, "{alarms} {by_verdicts}");
    }

    #[test]
    fn one_bet_changes_the_capital_by_the_formula() {
        let mut martingale = Martingale::default();
        martingale.observe(0.1);
        // A half is staked, a sixth with each: (1.4 + 1 + 0.6) / 6 is the half again.
        assert!(martingale.log().abs() < 1e-12);
        martingale.observe(0.1);
        let given: f64 = 0.5 / 3.0;
        let staked = 0.5 + given;
        let gains = [1.4, 1.0, 0.6].map(|gain| 0.99 * (gain / 6.0 + given / 3.0) + 0.01 * staked / 3.0);
        let growth = (0.5 - given) + gains[0] * 1.4 + gains[1] + gains[2] * 0.6;
        assert!((martingale.log() - growth.ln()).abs() < 1e-12);
    }
}
