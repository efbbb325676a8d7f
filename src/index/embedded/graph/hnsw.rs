//! The graph as a whole: nodes are added, given items and searched for.
//!
//! Nodes are numbered in the order in which they are added and none is ever removed: a node whose vector is gone
//! stays as a way through the graph, and searches pass over it, because it has no slot. That keeps the graph as good
//! as it was built, where removing and reusing nodes lets its recall fall, and leaves rebuilding to maintenance.

use std::sync::atomic::{AtomicUsize, Ordering};

use roaring::RoaringBitmap;

use super::{
    insert::Insert,
    kernel::Processor,
    layout::{Layout, NONE, View},
    row::{NodeRow, Query},
    search::{Near, Search, with_scratch},
};
use crate::{domain::Metric, error::Result};

/// What a graph is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) metric: Metric,
    pub(crate) dimension: usize,
    pub(crate) connectivity: usize,
    pub(crate) expansion_add: usize,
    pub(crate) expansion_search: usize,
}

pub(crate) struct Hnsw {
    shape: Shape,
    processor: Processor,
    layout: Layout,
    /// Candidates that searches keep now, at least.
    expansion: AtomicUsize,
}

/// An item that a search has found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Proposal {
    pub(crate) slot: u32,
    /// By the codes of both sides: the inner product with its sign turned, or the squared distance.
    pub(crate) distance: f32,
}

/// What a search of the graph is to find.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// Items to find at least, if there are so many.
    pub(crate) count: usize,
    /// Candidates to keep.
    pub(crate) expansion: usize,
    /// The slots that may be found; none for all.
    pub(crate) allowed: Option<&'a RoaringBitmap>,
}

/// A walk past items that do not pass gives up where it has to compare more than this and than one in [`GIVE_UP_SHARE`]
/// nodes: the scan costs less by then.
const GIVE_UP: usize = 10_000;
const GIVE_UP_SHARE: usize = 16;

impl Hnsw {
    /// A graph without nodes.
    pub(crate) fn new(shape: Shape) -> Self {
        Self {
            shape,
            processor: Processor::detect(),
            layout: Layout::new(shape.dimension, shape.connectivity),
            expansion: AtomicUsize::new(shape.expansion_search),
        }
    }

    pub(crate) const fn shape(&self) -> Shape {
        self.shape
    }

    pub(super) const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Candidates that searches keep now, at least.
    pub(crate) fn expansion(&self) -> usize {
        self.expansion.load(Ordering::Relaxed)
    }

    /// Lets searches keep so many candidates from now on.
    pub(crate) fn expand(&self, expansion: usize) {
        self.expansion.store(expansion, Ordering::Relaxed);
    }

    /// How many nodes there are, those without an item included.
    pub(crate) fn nodes(&self) -> usize {
        self.layout.nodes() as usize
    }

    /// Adds a node for the vector in a slot and returns its number. Any number of threads may.
    pub(crate) fn add(&self, row: &NodeRow, slot: u32) -> Result<u32> {
        let Shape { metric, expansion_add, .. } = self.shape;
        let node = self.layout.append(row, slot)?;
        if self.layout.begin(node) {
            return Ok(node);
        }
        let (moment, query) = (self.layout.moment(), Query::new(metric, row));
        with_scratch(|scratch| {
            self.processor.run(Insert {
                layout: &self.layout,
                view: moment.view(),
                node,
                query: &query,
                other: Query::empty(metric),
                expansion: expansion_add,
                scratch,
            });
        });
        Ok(node)
    }

    /// Gives a node an item, by the slot of that.
    pub(crate) fn set_slot(&self, node: u32, slot: u32) {
        self.layout.set_slot(node, slot);
    }

    /// Takes a node's item from it.
    pub(crate) fn clear(&self, node: u32) {
        self.layout.set_slot(node, NONE);
    }

    /// Items that lie near the row, nearest first; there may be fewer than wanted, and one may come twice. None if the walk
    /// would cost more than a scan.
    pub(crate) fn search(&self, row: &NodeRow, wanted: &Wanted<'_>) -> Option<Vec<Proposal>> {
        let (moment, query) = (self.layout.moment(), Query::new(self.shape.metric, row));
        let view = moment.view();
        let keep = wanted.expansion.max(wanted.count);
        if let Some(allowed) = wanted.allowed {
            // a walk for some is as wide as one for all if it keeps as large a part of its way
            let share = allowed.len() as f64 / f64::from(view.nodes().max(1));
            let some = ((keep as f64 * share) as usize).clamp(wanted.count, keep);
            return self.search_passing(view, &query, some, |slot| allowed.contains(slot));
        }
        let passing = None::<(fn(u32) -> bool, usize)>;
        let search = |scratch: &mut _| self.processor.run(Search { view, query: &query, keep, passing, scratch });
        let found = with_scratch(search)?;
        let walked = found.len();
        let proposals = proposals(view, found);
        // where many nodes have no item, a walk past them finds those that have
        if proposals.len() < walked && proposals.len() < wanted.count {
            return self.search_passing(view, &query, keep, |_| true);
        }
        Some(proposals)
    }

    fn search_passing(
        &self,
        view: View<'_>,
        query: &Query,
        keep: usize,
        passes: impl Fn(u32) -> bool,
    ) -> Option<Vec<Proposal>> {
        let passes = |node| {
            let slot = view.slot(node);
            slot != NONE && passes(slot)
        };
        let passing = Some((passes, GIVE_UP.max(view.nodes() as usize / GIVE_UP_SHARE)));
        let search = |scratch: &mut _| self.processor.run(Search { view, query, keep, passing, scratch });
        Some(proposals(view, with_scratch(search)?))
    }

    /// Whether the row of a node is this one.
    pub(crate) fn holds(&self, node: u32, row: &NodeRow) -> bool {
        let moment = self.layout.moment();
        let view = moment.view();
        node < view.nodes() && NodeRow::of(view.row(node), view.stats(node), self.shape.dimension) == *row
    }
}

/// The items of nodes, but for those that have none or have lost it meanwhile.
fn proposals(view: View<'_>, found: Vec<Near>) -> Vec<Proposal> {
    let proposals = found.into_iter().map(|Near { distance, node }| Proposal { slot: view.slot(node), distance });
    proposals.filter(|proposal| proposal.slot != NONE).collect()
}
