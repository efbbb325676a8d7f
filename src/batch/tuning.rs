//! The search for the smallest batch that is nearly as fast as the best one, by runs that nobody asked for, made while
//! nobody waits.
//!
//! One graph is measured at a time in the process: runs of two graphs on the same cores would each take the time that
//! the other leaves. All sizes are tried in several rounds, and the fastest run of each counts, so that a disturbance
//! has to come back at the same size in every round to be believed.

use std::{
    collections::VecDeque,
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

use super::{GraphQueue, Tensor, policy::QUIET};
use crate::{
    error::Result,
    runtime::{Runner, TensorView},
};

/// The batches that are tried, as far as the time goes.
const SIZES: [usize; 6] = [1, 2, 4, 8, 16, 32];

/// How often all sizes are tried, as far as the time goes.
const ROUNDS: u32 = 3;

/// The time of all runs together; the first two are made in any case.
const TOTAL: Duration = Duration::from_secs(1);

/// The throughput that is enough, as a share of the best.
const NEARLY: f64 = 0.97;

/// Runs of one size in one round, at most.
const MOST_RUNS: usize = 24;

/// A search for a graph's batch, run by run: it can be interrupted between any two, and go on later.
pub(crate) struct BatchSearch {
    /// One item for each input of the graph, with a batch axis of 1.
    item: Vec<Tensor>,
    /// As many of them as the size that is tried.
    batch: Vec<Tensor>,
    /// The place of the size among [`SIZES`].
    at: usize,
    round: u32,
    /// The runs of that size in this round; the first one warms up and does not count.
    runs: Vec<Duration>,
    /// The seconds that an item took in the fastest run of each size that has been tried.
    fastest: Vec<f64>,
    left: Duration,
    /// When the search may begin.
    due: Instant,
}

impl BatchSearch {
    pub(crate) fn new(item: Vec<Tensor>) -> Self {
        Self {
            batch: item.clone(),
            item,
            at: 0,
            round: 1,
            runs: Vec::new(),
            fastest: Vec::new(),
            left: TOTAL,
            due: Instant::now(),
        }
    }

    /// Makes the next run, and gives the batch to use once that is known.
    fn step(&mut self, session: &mut dyn Runner) -> Result<Option<usize>> {
        let started = Instant::now();
        run(session, &self.batch)?;
        let choice = self.note(started.elapsed());
        if choice.is_some() {
            // A last run of one item, with which the session gives back what the larger ones took of memory.
            session.shrink();
            run(session, &self.item)?;
        }
        Ok(choice)
    }

    fn note(&mut self, took: Duration) -> Option<usize> {
        self.runs.push(took);
        self.left = self.left.saturating_sub(took);
        let (_, counted) = self.runs.split_first()?;
        let seconds = counted.iter().min()?.as_secs_f64() / SIZES[self.at] as f64;
        let spent: Duration = self.runs.iter().sum();
        let share = TOTAL / ROUNDS / SIZES.len() as u32;
        if spent < share && self.runs.len() <= MOST_RUNS && !self.left.is_zero() {
            return None;
        }
        match self.fastest.get_mut(self.at) {
            Some(before) => *before = before.min(seconds),
            None => self.fastest.push(seconds),
        }
        let next = self.next_size(seconds);
        match next {
            Some((round, at)) => self.try_size(round, at),
            None => return Some(self.choice()),
        }
        None
    }

    /// The round and the size that come next; none once all rounds are done or the time is used up. In the rounds after
    /// the first no other sizes are tried than in that.
    fn next_size(&self, seconds: f64) -> Option<(u32, usize)> {
        // A run to warm up and one that counts.
        let fits = |at: usize, seconds: f64| 2.0 * seconds * SIZES[at] as f64 <= self.left.as_secs_f64();
        let larger = self.at + 1;
        let tried_before = self.round == 1 || larger < self.fastest.len();
        if larger < SIZES.len() && tried_before && fits(larger, seconds) {
            return Some((self.round, larger));
        }
        (self.round < ROUNDS && fits(0, self.fastest[0])).then_some((self.round + 1, 0))
    }

    fn try_size(&mut self, round: u32, at: usize) {
        (self.round, self.at) = (round, at);
        self.runs.clear();
        let size = SIZES[at];
        for (batch, item) in self.batch.iter_mut().zip(&self.item) {
            batch.data = item.data.repeat(size);
            batch.shape.clone_from(&item.shape);
            if let Some(rows) = batch.shape.first_mut() {
                *rows = size;
            }
        }
    }

    fn choice(&self) -> usize {
        let best = self.fastest.iter().copied().fold(f64::INFINITY, f64::min);
        SIZES.into_iter().zip(&self.fastest).find(|(_, seconds)| **seconds * NEARLY <= best).map_or(1, |(size, _)| size)
    }

    /// Items a second by the size of the batch, for the log.
    fn summary(&self) -> String {
        let rate = |(size, seconds): (usize, &f64)| format!("{size}: {:.0}/s", 1.0 / seconds);
        SIZES.into_iter().zip(&self.fastest).map(rate).collect::<Vec<_>>().join(", ")
    }
}

fn run(session: &mut dyn Runner, inputs: &[Tensor]) -> Result<()> {
    let views: Vec<TensorView<'_>> = inputs.iter().map(TensorView::from).collect();
    session.run_into(&views, &mut |_, _| Ok(()))
}

/// A search in the hands of a queue, and who waits for what becomes of it.
pub(super) struct Measuring {
    search: BatchSearch,
    /// Gets the search back where it was interrupted, and nothing where it is over.
    done: mpsc::Sender<Option<BatchSearch>>,
}

impl Measuring {
    pub(super) const fn due(&self) -> Instant {
        self.search.due
    }

    pub(super) fn step(&mut self, session: &mut dyn Runner) -> Result<Option<usize>> {
        self.search.step(session)
    }

    pub(super) fn summary(&self) -> String {
        self.search.summary()
    }

    /// Hands the search back, to go on later.
    pub(super) fn interrupt(self) {
        // Whoever waits may have gone; then nobody goes on with it.
        let _ = self.done.send(Some(self.search));
    }

    /// Ends the search.
    pub(super) fn finish(self) {
        let _ = self.done.send(None);
    }
}

impl GraphQueue {
    /// Has the batch searched for as soon as nothing has been asked of the graph for a while: blocks until the search is
    /// over, and gives it back where something was asked before that. A closed queue ends it.
    fn measure(&self, search: BatchSearch) -> Option<BatchSearch> {
        let (done, outcome) = mpsc::channel();
        let patience = search.due.saturating_duration_since(Instant::now()) + 2 * QUIET;
        self.0.offer(Measuring { search, done });
        match outcome.recv_timeout(patience) {
            Ok(interrupted) => interrupted,
            Err(RecvTimeoutError::Timeout) => match self.0.withdraw() {
                Some(measuring) => Some(measuring.search),
                // A worker is at it.
                None => outcome.recv().ok().flatten(),
            },
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }
}

/// The graphs whose batch is to be measured, one after the other.
pub struct BatchMeasurements {
    waiting: VecDeque<(GraphQueue, BatchSearch)>,
}

impl BatchMeasurements {
    /// Measurements that begin at `due` at the earliest.
    pub(crate) fn new(searches: Vec<(GraphQueue, BatchSearch)>, due: Instant) -> Self {
        let waiting = searches.into_iter().map(|(queue, search)| (queue, BatchSearch { due, ..search })).collect();
        Self { waiting }
    }

    /// Measures one graph after the other: blocks until all are measured or their queues are closed. A graph of which
    /// something is asked meanwhile goes on when the others have had their turn.
    pub fn run(self) {
        let mut waiting = self.waiting;
        while let Some((queue, search)) = waiting.pop_front() {
            if let Some(search) = queue.measure(search) {
                waiting.push_back((queue, search));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a search came to: the batch it chose and the sizes it tried, in their order, each as often as it was tried.
    struct Searched {
        batch: usize,
        tried: Vec<usize>,
    }

    /// A search in which a run of a size takes so many seconds; the second argument counts the runs made before it.
    fn search(seconds: impl Fn(usize, usize) -> f64) -> Searched {
        let item = vec![Tensor { shape: vec![1, 2], data: vec![0.5, 1.0] }];
        let mut search = BatchSearch::new(item);
        let mut tried = Vec::new();
        for run in 0.. {
            let size = search.batch[0].shape[0];
            assert_eq!(search.batch[0].data.len(), 2 * size);
            if tried.last() != Some(&size) {
                tried.push(size);
            }
            if let Some(batch) = search.note(Duration::from_secs_f64(seconds(size, run))) {
                return Searched { batch, tried };
            }
        }
        unreachable!("a search ends")
    }

    #[test]
    fn the_smallest_batch_within_three_per_cent_of_the_best_is_taken() {
        // A fixed part of each run is shared by its items: 1.1, 0.6, 0.35, 0.225, 0.1625, 0.131 ms an item.
        assert_eq!(search(|size, _| 1e-3 + 1e-4 * size as f64).batch, 32);
        assert_eq!(search(|size, _| 1e-5 + 1e-3 * size as f64).batch, 1);
        // 1.00, 0.75, 0.74, 1.2 ms an item …
        assert_eq!(search(|size, _| [1.0, 1.5, 2.96, 9.6, 30.0, 90.0][size.ilog2() as usize] * 1e-3).batch, 2);
    }

    #[test]
    fn all_sizes_are_tried_three_times_where_there_is_time() {
        let tried = search(|size, _| 1e-4 * size as f64).tried;
        assert_eq!(tried, [SIZES, SIZES, SIZES].concat());
    }

    #[test]
    fn sizes_that_would_take_beyond_the_time_are_not_tried() {
        let slow = search(|size, _| 0.1 * size as f64);
        assert_eq!((slow.batch, slow.tried.iter().max()), (1, Some(&2)));
        let slower = search(|size, _| 30.0 * size as f64);
        assert_eq!((slower.batch, slower.tried), (1, vec![1]));
    }

    #[test]
    fn a_disturbance_during_one_round_does_not_change_the_choice() {
        let quiet = |size: usize| 3e-4 + 1e-4 * size as f64;
        let undisturbed = search(|size, _| quiet(size));
        assert_eq!(undisturbed.batch, 32);
        for disturbed in [0..100, 60..180, 130..250] {
            let factor = |run: usize| if disturbed.contains(&run) { 3.0 } else { 1.0 };
            let searched = search(|size, run| factor(run) * quiet(size));
            assert_eq!(searched.batch, undisturbed.batch, "{disturbed:?}");
        }
    }
}
