//! Whether a stream has drifted: a conformal test martingale over p-values, which may be looked at after every image.
//!
//! While images are exchangeable with the calibration, p-values are uniform and the martingale M, which begins at 1, has
//! no tendency to grow; by Ville's inequality it ever reaches 1/δ with probability δ at most. So an alarm at M ≥ 1/δ holds
//! for all time, however often one looks (Vovk, Nouretdinov, Gammerman, *Testing exchangeability on-line*, 2003).
//!
//! It is the simple jumper: three bettors hold the capital and bet on small p-values, on large ones, or on nothing, by the
//! factor 1 + ε (p − ½) with ε of −1, 1 and 0; before each bet a hundredth of every capital is spread evenly, so that a
//! bettor who was wrong for long can come back (Vovk et al., *Retrain or not retrain*, 2021).

use serde::{Deserialize, Serialize};

/// What the bettors believe: −1 that p-values are small, 1 that they are large.
const BELIEFS: [f64; 3] = [-1.0, 0.0, 1.0];

/// The share of the capital that is spread evenly before each bet.
const JUMP: f64 = 0.01;

/// The logarithm below which a capital does not sink: a stream that was quiet for years still shows a drift at once.
const FLOOR_LN: f64 = -5.0;

/// A martingale that starts again from its floor, and remembers the highest point since the last alarm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Martingale {
    /// The shares of the capital that the bettors hold; together they are 1.
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
        Self { shares: [1.0 / 3.0; 3], log: 0.0, peak: 0.0, count: 0 }
    }
}

impl Martingale {
    /// Bets on one more p-value. A value outside 0…1 is taken as the nearest inside.
    pub fn observe(&mut self, p_value: f64) {
        let p = if p_value.is_nan() { 0.5 } else { p_value.clamp(0.0, 1.0) };
        let gains = std::array::from_fn::<f64, 3, _>(|at| {
            let share = (1.0 - JUMP) * self.shares[at] + JUMP / 3.0;
            share * (1.0 + BELIEFS[at] * (p - 0.5))
        });
        let growth: f64 = gains.iter().sum();
        self.shares = gains.map(|gain| gain / growth);
        self.log = (self.log + growth.ln()).max(FLOOR_LN);
        self.peak = self.peak.max(self.log);
        self.count += 1;
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

    /// Whether M has ever reached 1/δ. The floor lets M start again below 1, which only makes alarms later than those of
    /// the plain martingale started there, and its promise is that of one start for each return to the floor.
    #[must_use]
    pub fn has_alarmed(&self, delta: f64) -> bool {
        self.peak >= -delta.ln()
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

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
    fn one_bet_changes_the_capital_by_the_formula() {
        let mut martingale = Martingale::default();
        martingale.observe(0.1);
        // (1/3) (1.4 + 1 + 0.6) = 1: the bets of both sides cancel as long as nobody has won.
        assert!(martingale.log().abs() < 1e-12);
        martingale.observe(0.1);
        let shares = [1.4, 1.0, 0.6].map(|gain| 0.99 * gain / 3.0 + 0.01 / 3.0);
        let growth: f64 = shares[0] * 1.4 + shares[1] + shares[2] * 0.6;
        assert!((martingale.log() - growth.ln()).abs() < 1e-12);
    }
}
