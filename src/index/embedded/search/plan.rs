//! How a search is answered: by the plain scan, by the codes, or by the graph's candidates.

use std::borrow::Cow;

use roaring::RoaringBitmap;

use super::{
    scan::{self, Ranked, Scope, TopItems},
    view::View,
};
use crate::{
    compute::Cancelled,
    domain::{Embedding, Metric, TopK},
    error::Result,
    index::{
        bounds::late,
        embedded::{
            graph::{
                GraphOptions, NodeRow,
                hnsw::{Proposal, Wanted},
            },
            memory::Row,
            quantized::codes::{Encoded, QuantizedQuery},
        },
    },
};

/// Filters that at most one item in so many passes are answered by a scan of those items, however many they are:
/// reading their codes costs less than walking a graph past all the others.
const FILTER_SHARE: u64 = 20;

/// A way to answer a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
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
    /// The name that metrics have for the plan.
    pub(crate) const fn name(self) -> &'static str {
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
pub(crate) struct TopKQuery {
    pub(crate) quantized: QuantizedQuery,
    pub(crate) vector: Embedding,
    pub(crate) limit: TopK,
    pub(crate) min_score: Option<f32>,
    pub(crate) excluded: Option<u64>,
    /// Set when nobody waits for the answer any more.
    pub(crate) cancelled: Cancelled,
}

impl TopKQuery {
    /// The nearest items to a vector of the collection's.
    pub(crate) fn new(metric: Metric, vector: Embedding, limit: TopK) -> Self {
        let quantized = QuantizedQuery::new(metric, &vector);
        Self { quantized, vector, limit, min_score: None, excluded: None, cancelled: Cancelled::default() }
    }
}

/// The plan for a search that may be answered by other means than the oracle.
pub(crate) fn choose(view: &View, options: &GraphOptions) -> Plan {
    if view.graph.is_none() {
        return Plan::Scan;
    }
    let few = |allowed: &RoaringBitmap| {
        allowed.len() <= options.filter_scan_items || allowed.len().saturating_mul(FILTER_SHARE) <= view.count
    };
    if view.allowed.as_ref().is_some_and(few) { Plan::FilterScan } else { Plan::Graph }
}

/// The best items, best first, and the plan by which they were found in the end.
pub(crate) fn answer(view: &View, top_k: &TopKQuery, plan: Plan) -> Result<(Plan, Vec<Ranked>)> {
    let scope = Scope { chunks: &view.chunks, allowed: view.allowed.as_ref(), excluded: top_k.excluded };
    let best = TopItems::new(top_k.limit.get(), top_k.min_score);
    let by_codes = |scope, best| scan::scan(scope, &top_k.quantized, best, |key| view.score(key, &top_k.quantized));
    match plan {
        Plan::Exact => Ok((plan, exact(view, scope, top_k, best)?)),
        Plan::Scan | Plan::FilterScan | Plan::GraphThenScan => Ok((plan, by_codes(scope, best)?)),
        Plan::Graph => match proposals(view, top_k) {
            Some(Proposals { keys, pending }) => {
                let best = compare(view, top_k, &keys, best)?;
                let scope = Scope { allowed: Some(&pending), ..scope };
                Ok((plan, if pending.is_empty() { best.into_sorted() } else { by_codes(scope, best)? }))
            }
            None => Ok((Plan::GraphThenScan, by_codes(scope, best)?)),
        },
    }
}

/// Compares proposals exactly, as long as a further one could come in.
fn compare(view: &View, top_k: &TopKQuery, keys: &[(f64, u64)], mut best: TopItems) -> Result<TopItems> {
    for &(upper, key) in keys {
        if upper < f64::from(best.threshold()) {
            break;
        }
        if let Some(score) = view.score(key, &top_k.quantized)? {
            best.offer(Ranked { score, key });
        }
    }
    Ok(best)
}

/// What a search by the graph compares.
struct Proposals<'a> {
    /// The items that the graph proposes, each with a score that its own does not exceed, the greatest first.
    keys: Vec<(f64, u64)>,
    /// What the graph does not have, to be scanned.
    pending: Cow<'a, RoaringBitmap>,
}

/// What is to be compared. None if it is less than the query's limit and than there is, as when a filter lets through what
/// lies far from the query only.
fn proposals<'a>(view: &'a View, top_k: &TopKQuery) -> Option<Proposals<'a>> {
    let (graph, limit) = (view.graph.as_ref()?, top_k.limit.get());
    let Encoded { codes, stats, .. } = Encoded::new(top_k.vector.as_slice());
    let row = NodeRow::new(codes, stats.scale());
    let wanted = Wanted { count: limit * 2, expansion: graph.expansion, allowed: view.allowed.as_ref() };
    let found = graph.graph.search(&row, &wanted)?;
    let pending = match &view.allowed {
        Some(allowed) => Cow::Owned(graph.pending.as_ref() & allowed),
        None => Cow::Borrowed(graph.pending.as_ref()),
    };
    // The graph may be ahead of the view by some items.
    let usable = found.into_iter().filter(|found| pending.is_empty() || !pending.contains(found.slot));
    let bound = |found: Proposal| {
        let Row { key, stats: row } = view.row(found.slot)?;
        let key = key.filter(|&key| Some(key) != top_k.excluded)?;
        Some((top_k.quantized.upper_of_codes(f64::from(found.distance), &stats, row), key))
    };
    let mut keys: Vec<(f64, u64)> = usable.filter_map(bound).collect();
    // it has an item twice whose vector was just replaced
    keys.sort_unstable_by(|a, b| a.1.cmp(&b.1).then(b.0.total_cmp(&a.0)));
    keys.dedup_by_key(|(_, key)| *key);
    keys.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let all = view.allowed.as_ref().map_or(view.count, RoaringBitmap::len);
    // one of those that are pending may be the one that is excluded
    let scanned = pending.len() - u64::from(top_k.excluded.is_some() && !pending.is_empty());
    (keys.len() as u64 + scanned >= all.min(limit as u64)).then_some(Proposals { keys, pending })
}

/// Vectors that the plain scan compares before it looks again whether anybody waits for it.
const BLOCK: usize = 256;

/// The plain scan: the score of every vector of the scope.
fn exact(view: &View, scope: Scope<'_>, top_k: &TopKQuery, mut best: TopItems) -> Result<Vec<Ranked>> {
    let quantized = &top_k.quantized;
    let mut compared = 0_usize;
    let mut go_on = || {
        compared += 1;
        if compared.is_multiple_of(BLOCK) && top_k.cancelled.is_set() { Err(late()) } else { Ok(()) }
    };
    if scope.allowed.is_some() {
        let mut keys = scope.keys();
        keys.sort_unstable();
        for key in keys {
            go_on()?;
            if let Some(score) = view.score(key, quantized)? {
                best.offer(Ranked { score, key });
            }
        }
    } else {
        view.reader.for_each_vector(|key, row| {
            go_on()?;
            if Some(key) != scope.excluded {
                best.offer(Ranked { score: quantized.score(row), key });
            }
            Ok(())
        })?;
    }
    Ok(best.into_sorted())
}
