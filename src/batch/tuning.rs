//! Finds the smallest batch that is nearly as fast as the best one, by runs that nobody asked for, made while nobody
//! waits.

use std::time::{Duration, Instant};

use crate::{
    error::Result,
    runtime::{Runner, Tensor, TensorView},
};

/// The batches that are tried, as far as the time goes.
const SIZES: [usize; 6] = [1, 2, 4, 8, 16, 32];

/// What all runs together may take; the first two are made in any case.
const BUDGET: Duration = Duration::from_secs(1);

/// The throughput that is enough, as a share of the best.
const NEARLY: f64 = 0.97;

/// Runs of one size, at most.
const MOST_RUNS: usize = 64;

/// A search for a graph's batch, run by run: another job may come between any two.
pub(super) struct Tuning {
    /// One item for each input of the graph.
    item: Vec<Tensor>,
    /// As many of them as the size that is tried.
    batch: Vec<Tensor>,
    /// The place among [`SIZES`].
    at: usize,
    /// Of the size that is tried; the first one warms up and does not count.
    runs: Vec<Duration>,
    /// For each size that has been tried, the seconds that an item took in the fastest run.
    measured: Vec<(usize, f64)>,
    left: Duration,
    /// When to begin.
    pub(super) due: Instant,
}

impl Tuning {
    pub(super) fn new(item: Vec<Tensor>, due: Instant) -> Self {
        let batch = item.clone();
        Self { item, batch, at: 0, runs: Vec::new(), measured: Vec::new(), left: BUDGET, due }
    }

    /// Makes the next run, and tells the batch to use once that is known.
    pub(super) fn step(&mut self, runner: &mut dyn Runner) -> Result<Option<usize>> {
        let views: Vec<TensorView<'_>> = self.batch.iter().map(TensorView::from).collect();
        let started = Instant::now();
        runner.run(&views)?;
        Ok(self.note(started.elapsed()))
    }

    /// Makes a last run, of one item, after which the runner lets go of what the larger ones took.
    pub(super) fn finish(&self, runner: &mut dyn Runner) -> Result<()> {
        runner.shrink();
        let views: Vec<TensorView<'_>> = self.item.iter().map(TensorView::from).collect();
        runner.run(&views).map(drop)
    }

    fn note(&mut self, took: Duration) -> Option<usize> {
        self.runs.push(took);
        self.left = self.left.saturating_sub(took);
        let (_, counted) = self.runs.split_first()?;
        let fastest = counted.iter().min()?.as_secs_f64();
        let spent: Duration = self.runs.iter().sum();
        let share = BUDGET / SIZES.len() as u32;
        if spent < share && self.runs.len() <= MOST_RUNS && !self.left.is_zero() {
            return None;
        }
        let size = SIZES[self.at];
        let seconds = fastest / size as f64;
        self.measured.push((size, seconds));
        match SIZES.get(self.at + 1) {
            // a run to warm up and one that counts
            Some(next) if 2.0 * seconds * *next as f64 <= self.left.as_secs_f64() => self.try_next(*next),
            _ => Some(self.choice()),
        }
    }

    fn try_next(&mut self, size: usize) -> Option<usize> {
        self.at += 1;
        self.runs.clear();
        for (batch, item) in self.batch.iter_mut().zip(&self.item) {
            batch.data = item.data.repeat(size);
            batch.shape = item.shape.clone();
            if let Some(rows) = batch.shape.first_mut() {
                *rows = size;
            }
        }
        None
    }

    fn choice(&self) -> usize {
        let best = self.measured.iter().map(|(_, seconds)| *seconds).fold(f64::INFINITY, f64::min);
        self.measured.iter().find(|(_, seconds)| *seconds * NEARLY <= best).map_or(1, |(size, _)| *size)
    }

    /// Items a second by the size of the batch, for the log.
    pub(super) fn told(&self) -> String {
        let rates = self.measured.iter().map(|(size, seconds)| format!("{size}: {:.0}/s", 1.0 / seconds));
        rates.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The batch that is chosen where a run of a size takes so long.
    fn chosen(seconds: impl Fn(usize) -> f64) -> (usize, Vec<usize>) {
        let item = vec![Tensor { shape: vec![1, 2], data: vec![0.5, 1.0] }];
        let mut tuning = Tuning::new(item, Instant::now());
        let mut tried = Vec::new();
        loop {
            let size = tuning.batch[0].shape[0];
            assert_eq!(tuning.batch[0].data.len(), 2 * size);
            tried.push(size);
            if let Some(choice) = tuning.note(Duration::from_secs_f64(seconds(size))) {
                tried.dedup();
                return (choice, tried);
            }
        }
    }

    #[test]
    fn the_smallest_batch_within_three_per_cent_of_the_best_is_taken() {
        // a fixed part of each run is shared by its items: 1.1, 0.6, 0.35, 0.225, 0.1625, 0.131 ms an item
        assert_eq!(chosen(|size| 1e-3 + 1e-4 * size as f64).0, 32);
        assert_eq!(chosen(|size| 1e-5 + 1e-3 * size as f64), (1, vec![1, 2, 4, 8, 16, 32]));
        // 1.00, 0.75, 0.74, 1.2 ms an item …
        assert_eq!(chosen(|size| [1.0, 1.5, 2.96, 9.6, 30.0, 90.0][size.ilog2() as usize] * 1e-3).0, 2);
    }

    #[test]
    fn sizes_that_would_take_beyond_the_budget_are_not_tried() {
        assert_eq!(chosen(|size| 0.1 * size as f64), (1, vec![1, 2]));
        assert_eq!(chosen(|size| 30.0 * size as f64), (1, vec![1]));
    }
}
