//! The stretch of time that is measured, after the warming up and before the end.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) begin: Instant,
    pub(crate) length: Duration,
}

impl Window {
    pub(crate) fn after(warming: Duration, length: Duration) -> Self {
        Self { begin: Instant::now() + warming, length }
    }

    pub(crate) fn end(&self) -> Instant {
        self.begin + self.length
    }

    pub(crate) fn holds(&self, time: Instant) -> bool {
        (self.begin..self.end()).contains(&time)
    }

    /// How many of these events came in a second.
    ///
    /// An event counts the less the nearer it is to either end, as (1 − u²)² with u = ±1 at the ends: answers come in
    /// batches, and one batch more or less at an end would else be an error of several per cent.
    pub(crate) fn rate(&self, events: impl IntoIterator<Item = Instant>) -> f64 {
        let length = self.length.as_secs_f64();
        let weight = |event: Instant| {
            let from_middle = 2.0 * event.duration_since(self.begin).as_secs_f64() / length - 1.0;
            (1.0 - from_middle * from_middle).powi(2)
        };
        let inside = events.into_iter().filter(|event| self.holds(*event));
        // the weights of a steady stream have a mean of 8/15
        15.0 / 8.0 / length * inside.map(weight).fold(0.0, |sum, one| sum + one)
    }
}

/// How many there were, and their percentiles in milliseconds.
pub(crate) fn spread(mut times: Vec<Duration>) -> Value {
    times.sort_unstable();
    let at = |per_mille: usize| {
        let rank = (times.len() * per_mille).div_ceil(1000).clamp(1, times.len()) - 1;
        times[rank].as_secs_f64() * 1e3
    };
    if times.is_empty() {
        return json!({"count": 0});
    }
    json!({
        "count": times.len(), "p50_ms": at(500), "p90_ms": at(900), "p99_ms": at(990), "max_ms": at(1000),
    })
}
