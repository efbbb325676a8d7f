//! How much of what is to be found is found, and how fast.

use std::time::Duration;

use crate::row;

/// Answers to all queries, and how long each took.
#[derive(Default)]
pub(crate) struct Answers {
    pub(crate) found: Vec<Vec<u32>>,
    pub(crate) times: Vec<Duration>,
}

impl Answers {
    pub(crate) fn recall(&self, truth: &[Vec<u32>]) -> f64 {
        let hits = |(found, truth): (&Vec<u32>, &Vec<u32>)| found.iter().filter(|id| truth.contains(id)).count();
        let all: usize = truth.iter().map(Vec::len).sum();
        self.found.iter().zip(truth).map(hits).sum::<usize>() as f64 / all as f64
    }

    /// Searches per second by one who waits for each.
    pub(crate) fn rate(&self) -> f64 {
        self.times.len() as f64 / self.times.iter().sum::<Duration>().as_secs_f64()
    }

    /// Recall, searches per second by one who waits for each, p50 and p99. Cut off, never rounded up.
    pub(crate) fn figures(&self, truth: &[Vec<u32>]) -> [String; 4] {
        [
            share(self.recall(truth)),
            format!("{:.0}", self.rate().floor()),
            percentile(&self.times, 50),
            percentile(&self.times, 99),
        ]
    }

    pub(crate) fn report(&self, what: &str, truth: &[Vec<u32>]) {
        row(
            &format!("{what}: recall / searches per second in one thread / p50 / p99"),
            self.figures(truth).join(" / "),
        );
    }
}

/// Cut off, never rounded up.
pub(crate) fn share(part: f64) -> String {
    format!("{:.4}", (part * 1e4).floor() / 1e4)
}

pub(crate) fn percentile(times: &[Duration], percent: usize) -> String {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = (times.len() * percent).div_ceil(100).clamp(1, times.len()) - 1;
    format!("{:.2} ms", times[at].as_secs_f64() * 1e3)
}
