//! How a search is answered: by the plain scan, by the codes, or by the graph's candidates.

use roaring::RoaringBitmap;

use super::{
    codes::{Encoded, Probe},
    core::View,
    graph::{GraphOptions, NodeRow},
    scan::{self, Best, Ranked, Scope},
};
use crate::{
    compute::Cancelled,
    domain::{Embedding, Metric, TopK},
    error::Result,
    index::bounds::late,
};

/// Filters that at most one item in so many passes are answered by a scan of those items, however many they are:
/// reading their codes costs less than walking a graph past all the others.
const FILTER_SHARE: u64 = 20;

/// A way to answer a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// Every vector in f32: the oracle.
    Exact,
    /// The codes of every item.
    Scan,
    /// The codes of the items that pass the filter, for they are few.
    FilterScan,
    /// The graph's candidates and what is not in the graph yet.
    Graph,
    /// The graph had too little to offer, so every code was compared after all.
    GraphThenScan,
}

impl Plan {
    /// As metrics name it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Scan => "scan",
            Self::FilterScan => "filter_scan",
            Self::Graph => "graph",
            Self::GraphThenScan => "graph_then_scan",
        }
    }
}

/// What is searched for.
pub(super) struct Ask {
    pub(super) probe: Probe,
    pub(super) vector: Embedding,
    pub(super) limit: TopK,
    pub(super) min_score: Option<f32>,
    pub(super) excluded: Option<u64>,
    /// Set when nobody waits for the answer any more.
    pub(super) cancelled: Cancelled,
}

impl Ask {
    /// The nearest items to a vector of the collection's.
    pub(super) fn new(metric: Metric, vector: Embedding, limit: TopK) -> Self {
        let probe = Probe::new(metric, &vector);
        Self { probe, vector, limit, min_score: None, excluded: None, cancelled: Cancelled::default() }
    }
}

/// The plan for a search that does not ask for the oracle.
pub(super) fn choose(view: &View, options: &GraphOptions) -> Plan {
    if view.graph.is_none() {
        return Plan::Scan;
    }
    let few = |allowed: &RoaringBitmap| {
        allowed.len() <= options.filter_scan_items || allowed.len().saturating_mul(FILTER_SHARE) <= view.count
    };
    if view.allowed.as_ref().is_some_and(few) { Plan::FilterScan } else { Plan::Graph }
}

/// The best items, best first, and the plan by which they were found in the end.
pub(super) fn answer(view: &View, ask: &Ask, plan: Plan) -> Result<(Plan, Vec<Ranked>)> {
    let scope = Scope { chunks: &view.chunks, allowed: view.allowed.as_ref(), excluded: ask.excluded };
    let best = Best::new(ask.limit.get(), ask.min_score);
    let by_codes = |scope, best| scan::scan(scope, &ask.probe, best, |key| view.score(key, &ask.probe));
    match plan {
        Plan::Exact => Ok((plan, exact(view, scope, ask, best)?)),
        Plan::Scan | Plan::FilterScan | Plan::GraphThenScan => Ok((plan, by_codes(scope, best)?)),
        Plan::Graph => match candidates(view, ask) {
            Some(allowed) => Ok((plan, by_codes(Scope { allowed: Some(&allowed), ..scope }, best)?)),
            None => Ok((Plan::GraphThenScan, by_codes(scope, best)?)),
        },
    }
}

/// The slots to compare: the graph's candidates and all that is pending. None if these are fewer than the search asks
/// for and than there are, as when a filter lets through what lies far from the query only.
fn candidates(view: &View, ask: &Ask) -> Option<RoaringBitmap> {
    let graph = view.graph.as_ref()?;
    let row = NodeRow::from(&Encoded::new(ask.vector.as_slice()));
    let count = graph.expansion.max(ask.limit.get() * 2);
    let mut found = graph.graph.search(&row, count, view.allowed.as_ref())?;
    match &view.allowed {
        Some(allowed) => found |= graph.pending.as_ref() & allowed,
        None => found |= graph.pending.as_ref(),
    }
    // The graph may be ahead of the view by some items.
    found.remove_range(view.slots()..);
    let usable = found.iter().filter_map(|slot| view.key(slot)).filter(|&key| Some(key) != ask.excluded).count();
    let all = view.allowed.as_ref().map_or(view.count, RoaringBitmap::len);
    (usable as u64 >= all.min(ask.limit.get() as u64)).then_some(found)
}

/// Vectors that the plain scan compares before it looks again whether anybody waits for it.
const BLOCK: usize = 256;

/// The plain scan: the score of every vector of the scope.
fn exact(view: &View, scope: Scope<'_>, ask: &Ask, mut best: Best) -> Result<Vec<Ranked>> {
    let probe = &ask.probe;
    let mut compared = 0_usize;
    let mut go_on = || {
        compared += 1;
        if compared.is_multiple_of(BLOCK) && ask.cancelled.is_set() { Err(late()) } else { Ok(()) }
    };
    if scope.allowed.is_some() {
        let mut keys = scope.keys();
        keys.sort_unstable();
        for key in keys {
            go_on()?;
            if let Some(score) = view.score(key, probe)? {
                best.offer(Ranked { score, key });
            }
        }
    } else {
        view.reader.for_each_vector(|key, row| {
            go_on()?;
            if Some(key) != scope.excluded {
                best.offer(Ranked { score: probe.score(row), key });
            }
            Ok(())
        })?;
    }
    Ok(best.into_sorted())
}
