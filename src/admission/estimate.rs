//! How long a unit of work takes, learned from work that has ended.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The weight of one observation is one eighth: the mean follows about the last eight of them.
const WEIGHT: u64 = 8;

/// No observation counts for more than this many times the mean before it: one slow outlier must not refuse everybody.
const OUTLIER: u64 = 4;

/// An exponentially weighted moving average of the time that a unit of work takes; zero while nothing is known.
#[derive(Debug, Default)]
pub(crate) struct Estimate {
    nanos: AtomicU64,
}

impl Estimate {
    /// Learns from `units` of work that took `elapsed` together. The first observation sets the mean.
    pub(crate) fn observe(&self, elapsed: Duration, units: u64) {
        let sample = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX) / units.max(1);
        let old = self.nanos.load(Ordering::Relaxed);
        let new = if old == 0 { sample } else { old - old / WEIGHT + sample.min(old.saturating_mul(OUTLIER)) / WEIGHT };
        self.nanos.store(new, Ordering::Relaxed);
    }

    /// The time that one unit takes.
    pub(crate) fn per_unit(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    /// The time that `units` take one after the other.
    pub(crate) fn of(&self, units: u64) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed).saturating_mul(units))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_observation_sets_the_mean_and_later_ones_move_it_by_an_eighth() {
        let estimate = Estimate::default();
        assert_eq!(estimate.of(5), Duration::ZERO);
        estimate.observe(Duration::from_micros(800), 2);
        assert_eq!(estimate.per_unit(), Duration::from_micros(400));
        estimate.observe(Duration::from_micros(1200), 1);
        assert_eq!(estimate.per_unit(), Duration::from_micros(500));
        assert_eq!(estimate.of(3), Duration::from_micros(1500));
    }

    #[test]
    fn an_outlier_counts_for_no_more_than_four_times_the_mean() {
        let estimate = Estimate::default();
        estimate.observe(Duration::from_micros(80), 1);
        estimate.observe(Duration::from_secs(3600), 1);
        assert_eq!(estimate.per_unit(), Duration::from_micros(110));
    }
}
