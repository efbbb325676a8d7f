//! The recall of the graph, estimated from a sample of searches, and how many candidates it takes to reach the recall that
//! the settings name.
//!
//! The more items a graph has, the more of the nearest ones lie where a search with the same number of candidates does
//! not come by, so a number that suits a small collection is too small for a large one. Where a sample of searches
//! finds less than it is to, by more than the standard error of its mean, searches keep half as many candidates again,
//! and again, up to a limit; where two thirds of the candidates would find clearly enough, they keep that many. The
//! error matters: what a graph misses are often all the neighbours of a query at once, and one such query among a
//! few dozens says little. So what checks find is put together as long as the number of candidates stays, and while it
//! leaves the answer open, the next check comes sooner.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::{
    domain::{Embedding, TopK},
    error::Result,
    index::embedded::{
        core::Core,
        graph::GraphOptions,
        search::{
            plan::{Plan, TopKQuery, answer},
            scan::Ranked,
            view::View,
        },
    },
    threads::yield_to_others,
};

/// The top-k of each search of a sample.
const NEAREST: usize = 10;
/// Searches of a sample: the recent queries, and stored vectors where these are fewer. A graph finds the neighbours of
/// what it holds more easily than those of what it has never seen, so stored vectors stand in only.
const SEARCHES: usize = 256;
/// The time for exact answers; at least one is computed.
const EXACT_TIME: Duration = Duration::from_secs(1);
/// The recall that the settings name is given up where it takes more than so many times the candidates that they name.
const MOST: usize = 8;
/// Checks that are put together, at most: what was found long ago was found in another collection.
const CHECKS: usize = 8;
/// Below this, the log warns.
pub(crate) const LOW: f64 = 0.9;

/// What a check has found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Checked {
    /// The share of the nearest items that the graph finds.
    pub(crate) recall: f64,
    /// Candidates that searches keep from now on, for that recall.
    pub(crate) expansion: usize,
    /// Whether the recall is below the settings', but so little that more searches might say otherwise.
    pub(crate) open: bool,
}

/// What the last checks have found of the recall with one number of candidates.
#[derive(Debug, Default)]
pub(crate) struct RecallSamples {
    expansion: usize,
    checks: VecDeque<Vec<f64>>,
}

impl RecallSamples {
    /// Adds the recall of each search of a check; what was found with another number of candidates is forgotten.
    fn add(&mut self, expansion: usize, recalls: Vec<f64>) {
        if self.expansion != expansion {
            *self = Self { expansion, checks: VecDeque::new() };
        }
        if self.checks.len() == CHECKS {
            self.checks.pop_front();
        }
        self.checks.push_back(recalls);
    }

    fn estimate(&self) -> Option<Estimate> {
        Estimate::of(&self.checks.iter().flatten().copied().collect::<Vec<_>>())
    }

    /// Whether a further check adds to the samples.
    fn wants_more(&self) -> bool {
        self.checks.len() < CHECKS
    }
}

/// The candidates to begin with, of those that were kept when the graph was saved.
pub(crate) fn taken_up(options: &GraphOptions, expansion: usize) -> usize {
    let least = options.expansion_search;
    if options.recall > 0.0 { expansion.clamp(least, least.saturating_mul(MOST)) } else { least }
}

/// What a sample says of the recall.
#[derive(Debug, Clone, Copy)]
struct Estimate {
    mean: f64,
    /// The standard error of the mean.
    error: f64,
}

impl Estimate {
    /// From the recall of each search; none from none.
    fn of(recalls: &[f64]) -> Option<Self> {
        let count = recalls.len() as f64;
        let mean = recalls.iter().sum::<f64>() / count;
        let variance = recalls.iter().map(|recall| (recall - mean).powi(2)).sum::<f64>() / count;
        (!recalls.is_empty()).then(|| Self { mean, error: (variance / count).sqrt() })
    }

    fn is_below(self, recall: f64) -> bool {
        self.mean + self.error < recall
    }
}

/// Samples the recall over recent queries and stored vectors, and lets searches keep as many candidates as the settings'
/// recall takes; none if no graph answers, there is no query, or the index is closing.
pub(crate) fn check(core: &Core, samples: &mut RecallSamples) -> Result<Option<Checked>> {
    let view = core.view(None)?;
    let sample = Sample::draw(core, view)?;
    let Some(mut sample) = sample else { return Ok(None) };
    let now = sample.expansion();
    let recall = |expansion| {
        let recalls = sample.recalls(expansion)?;
        if expansion != now {
            return Ok(Estimate::of(&recalls));
        }
        samples.add(now, recalls);
        Ok(samples.estimate())
    };
    let checked = settle(&core.shared.graph, now, recall)?;
    if let (Some(checked), Some(graph)) = (checked, &sample.view.graph) {
        graph.graph.expand(checked.expansion);
    }
    Ok(checked.map(|checked| Checked { open: checked.open && samples.wants_more(), ..checked }))
}

/// The number of candidates to keep, from the one that is kept now and the recall of others.
fn settle(
    options: &GraphOptions,
    now: usize,
    mut recall: impl FnMut(usize) -> Result<Option<Estimate>>,
) -> Result<Option<Checked>> {
    let least = options.expansion_search;
    let most = least.saturating_mul(MOST);
    let Some(mut found) = recall(now)? else { return Ok(None) };
    let mut expansion = now;
    if found.is_below(options.recall) {
        while expansion < most && found.is_below(options.recall) {
            expansion = (expansion + expansion.div_ceil(2)).min(most);
            found = recall(expansion)?.unwrap_or(found);
        }
    } else if now > least && found.mean >= options.recall {
        let fewer = (now * 2 / 3).max(least);
        // clearly enough, or it would go up again the next time
        let enough = options.recall + (1.0 - options.recall) / 2.0;
        if let Some(recall) = recall(fewer)?.filter(|recall| recall.mean >= enough) {
            (found, expansion) = (recall, fewer);
        }
    }
    let open = found.mean < options.recall && !found.is_below(options.recall);
    Ok(Some(Checked { recall: found.mean, expansion, open }))
}

/// Searches whose exact answers are known.
struct Sample {
    view: View,
    queries: Vec<(TopKQuery, Vec<Ranked>)>,
}

impl Sample {
    /// Draws a sample; none if no graph answers, or the index is closing.
    fn draw(core: &Core, view: View) -> Result<Option<Self>> {
        if view.graph.is_none() {
            return Ok(None);
        }
        let started = Instant::now();
        let mut random = ChaCha8Rng::seed_from_u64(rand::random());
        let mut recent = core.recent_queries().into_iter();
        let mut queries = Vec::new();
        for _ in 0..SEARCHES {
            if core.shared.signal.is_stopped() {
                return Ok(None);
            }
            if !queries.is_empty() && started.elapsed() > EXACT_TIME {
                break;
            }
            let (vector, excluded) = if let Some(query) = recent.next() {
                (query, None)
            } else {
                let Some(key) = view.key(random.random_range(0..view.slots().max(1))) else { continue };
                let Some(vector) = core.vector(&view.reader, key)? else { continue };
                (Embedding::new(vector)?, Some(key))
            };
            yield_to_others();
            let top_k = TopKQuery { excluded, ..TopKQuery::new(core.spec.metric, vector, TopK::new(NEAREST)?) };
            let (_, exact) = answer(&view, &top_k, Plan::Scan)?;
            queries.push((top_k, exact));
        }
        Ok(Some(Self { view, queries }))
    }

    fn expansion(&self) -> usize {
        self.view.graph.as_ref().map_or(0, |graph| graph.expansion)
    }

    /// The share of the exact answers that the graph finds with so many candidates, of each search that it answers.
    fn recalls(&mut self, expansion: usize) -> Result<Vec<f64>> {
        if let Some(graph) = &mut self.view.graph {
            graph.expansion = expansion;
        }
        let mut recalls = Vec::with_capacity(self.queries.len());
        for (top_k, exact) in &self.queries {
            yield_to_others();
            let (plan, by_graph) = answer(&self.view, top_k, Plan::Graph)?;
            let Some(worst) = exact.last().filter(|_| plan == Plan::Graph) else { continue };
            // of equal scores, one is as good as the other
            let found = by_graph.iter().filter(|item| item.score >= worst.score).count().min(exact.len());
            recalls.push(found as f64 / exact.len() as f64);
        }
        Ok(recalls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a recall that grows with the candidates.
    fn settled(now: usize, recall: impl Fn(usize) -> f64) -> Checked {
        let options = GraphOptions { expansion_search: 64, recall: 0.99, ..GraphOptions::default() };
        settle(&options, now, |expansion| Ok(Some(Estimate { mean: recall(expansion), error: 0.0 }))).unwrap().unwrap()
    }

    fn enough(recall: f64, expansion: usize) -> Checked {
        Checked { recall, expansion, open: false }
    }

    #[test]
    fn candidates_grow_until_the_recall_is_there_and_no_further() {
        let recall = |expansion| if expansion >= 140 { 0.991 } else { 0.97 };
        assert_eq!(settled(64, recall), enough(0.991, 144));
        assert_eq!(settled(144, recall), enough(0.991, 144));
    }

    #[test]
    fn candidates_have_an_end_where_nothing_helps() {
        assert_eq!(settled(64, |_| 0.5), enough(0.5, 512));
        assert_eq!(settled(512, |_| 0.5), enough(0.5, 512));
    }

    #[test]
    fn candidates_fall_where_fewer_find_clearly_enough_and_never_below_the_settings() {
        assert_eq!(settled(144, |_| 0.999), enough(0.999, 96));
        assert_eq!(settled(80, |_| 0.999), enough(0.999, 64));
        assert_eq!(settled(64, |_| 0.999), enough(0.999, 64));
        assert_eq!(settled(144, |_| 0.993), enough(0.993, 144));
    }

    #[test]
    fn without_a_recall_to_reach_candidates_stay() {
        let options = GraphOptions { expansion_search: 64, recall: 0.0, ..GraphOptions::default() };
        let checked = settle(&options, 64, |_| Ok(Estimate::of(&[0.0, 0.4]))).unwrap();
        assert_eq!(checked, Some(enough(0.2, 64)));
    }

    #[test]
    fn one_search_that_misses_all_is_chance_and_some_are_not() {
        let recalls = |misses: usize| [vec![0.0; misses], vec![1.0; 100 - misses]].concat();
        let options = GraphOptions { expansion_search: 64, recall: 0.99, ..GraphOptions::default() };
        let settled = |misses| {
            let sample = |expansion| Ok(Estimate::of(&recalls(if expansion == 64 { misses } else { 0 })));
            settle(&options, 64, sample).unwrap().unwrap()
        };
        assert_eq!(settled(1), enough(0.99, 64));
        assert_eq!(settled(2), Checked { open: true, ..enough(0.98, 64) });
        assert_eq!(settled(4), enough(1.0, 96));
        assert!(settle(&options, 64, |_| Ok(Estimate::of(&[]))).unwrap().is_none());
    }

    #[test]
    fn checks_that_say_little_each_say_enough_together() {
        let mut samples = RecallSamples::default();
        let recalls = [vec![0.0; 3], vec![1.0; 147]].concat();
        let is_below = |samples: &RecallSamples| samples.estimate().unwrap().is_below(0.99);
        samples.add(64, recalls.clone());
        assert!(!is_below(&samples) && samples.wants_more());
        for _ in 1..CHECKS {
            samples.add(64, recalls.clone());
        }
        assert!(is_below(&samples) && !samples.wants_more());
        for _ in 0..CHECKS {
            samples.add(64, vec![1.0; 150]);
        }
        assert!((samples.estimate().unwrap().mean - 1.0).abs() < 1e-9, "the oldest are forgotten");
        samples.add(96, recalls);
        assert!(!is_below(&samples) && samples.wants_more(), "other candidates begin anew");
    }

    #[test]
    fn a_saved_number_of_candidates_stays_within_what_the_settings_allow() {
        let options = GraphOptions { expansion_search: 64, recall: 0.99, ..GraphOptions::default() };
        assert_eq!([0, 96, 5000].map(|saved| taken_up(&options, saved)), [64, 96, 512]);
        assert_eq!(taken_up(&GraphOptions { recall: 0.0, ..options }, 96), 64);
    }
}
