//! Stamps that grow: microseconds since 1970, made later than any stamp seen before.
//!
//! They order items by when they were added and tell that something was written. Floats hold them exactly for some
//! centuries, which matters because Qdrant compares numbers as floats.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// Whole numbers up to here are floats exactly.
const LARGEST: i64 = 1 << 53;

/// The stamps of one process.
#[derive(Debug, Default)]
pub(super) struct Clock(AtomicI64);

impl Clock {
    /// So many stamps in a row that nobody in this process has; returns the first.
    pub(super) fn take(&self, count: usize) -> i64 {
        let count = i64::try_from(count.max(1)).unwrap_or(LARGEST);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let now = i64::try_from(now).unwrap_or(LARGEST);
        let next = |last: i64| now.max(last + 1);
        let last = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last) + count - 1));
        next(last.unwrap_or_else(|last| last))
    }

    /// Notes a stamp of another process, so that the next one here is later.
    pub(super) fn observe(&self, stamp: i64) {
        if stamp < LARGEST {
            self.0.fetch_max(stamp, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_grow_and_are_never_given_twice() {
        let clock = Clock::default();
        let mut last = 0;
        for count in [1, 5, 1, 1000, 0, 2] {
            let first = clock.take(count);
            assert!(first > last);
            last = first + count.max(1) as i64 - 1;
        }
        clock.observe(last + 1_000_000_000);
        assert!(clock.take(1) > last + 1_000_000_000);
        clock.observe(i64::MAX);
        assert!(clock.take(1) < LARGEST);
    }
}
