//! Which item of a collection has which node, and which items the graph does not have as they are now.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
};

use roaring::RoaringBitmap;

use super::{hnsw::Hnsw, layout::NONE};

/// A graph in a collection's memory, and how far it has followed.
///
/// An item's slot is mapped to the node of its vector. A slot whose vector has changed keeps its old node and is
/// pending, until the new vector has a node of its own: whatever a search began with, it finds the item either through
/// a node or among the pending ones.
pub(crate) struct Tracker {
    graph: Arc<Hnsw>,
    /// Slot → node.
    nodes: Vec<u32>,
    /// Slots whose vector has no node. Never one that is free.
    pending: Arc<RoaringBitmap>,
    /// Slots that were written or freed while a batch of them was being added.
    changed: RoaringBitmap,
    /// Slots with a node.
    mapped: u64,
    /// Slots with a node that are pending all the same: the node is that of a vector which was replaced.
    replaced: u64,
    /// Held by the searches that began since the last nodes were retired.
    token: Arc<()>,
    /// Nodes that were replaced, oldest first, each until the searches have ended that began before.
    retired: VecDeque<(Weak<()>, Vec<u32>)>,
}

/// A graph as of one moment, for one search.
pub(crate) struct GraphView {
    pub(crate) graph: Arc<Hnsw>,
    pub(crate) pending: Arc<RoaringBitmap>,
    /// Candidates to keep, at least.
    pub(crate) expansion: usize,
    _token: Arc<()>,
}

impl Tracker {
    /// The tracker of a graph that has none of the items in these slots.
    pub(crate) fn new(graph: Arc<Hnsw>, used: &RoaringBitmap) -> Self {
        Self {
            graph,
            nodes: Vec::new(),
            pending: Arc::new(used.clone()),
            changed: RoaringBitmap::new(),
            mapped: 0,
            replaced: 0,
            token: Arc::default(),
            retired: VecDeque::new(),
        }
    }

    /// Notes that a node of the graph is that of the vector in a slot.
    pub(crate) fn map(&mut self, slot: u32, node: u32) {
        let before = self.remap(slot, node);
        debug_assert_eq!(before, NONE, "slot {slot} has one node");
        self.graph.set_slot(node, slot);
        self.set_pending(slot, false);
    }

    /// Gives a slot another node, or none; returns the one it had.
    fn remap(&mut self, slot: u32, node: u32) -> u32 {
        let slot = slot as usize;
        if slot >= self.nodes.len() {
            self.nodes.resize(slot + 1, NONE);
        }
        let before = std::mem::replace(&mut self.nodes[slot], node);
        let (gained, lost) = (u64::from(node != NONE), u64::from(before != NONE));
        self.mapped = self.mapped + gained - lost;
        if self.pending.contains(slot as u32) {
            self.replaced = self.replaced + gained - lost;
        }
        before
    }

    /// Notes whether a slot's vector waits for a node.
    fn set_pending(&mut self, slot: u32, is_pending: bool) {
        let pending = Arc::make_mut(&mut self.pending);
        let changed = if is_pending { pending.insert(slot) } else { pending.remove(slot) };
        if changed && self.node(slot) != NONE {
            self.replaced = if is_pending { self.replaced + 1 } else { self.replaced - 1 };
        }
    }

    pub(crate) fn graph(&self) -> &Arc<Hnsw> {
        &self.graph
    }

    pub(crate) fn nodes(&self) -> &[u32] {
        &self.nodes
    }

    pub(crate) fn pending(&self) -> &Arc<RoaringBitmap> {
        &self.pending
    }

    /// Nodes that stand for no vector of the collection.
    pub(crate) fn outdated(&self) -> u64 {
        (self.graph.nodes() as u64).saturating_sub(self.mapped) + self.replaced
    }

    fn node(&self, slot: u32) -> u32 {
        self.nodes.get(slot as usize).copied().unwrap_or(NONE)
    }

    /// A slot has another vector.
    pub(crate) fn written(&mut self, slot: u32) {
        self.set_pending(slot, true);
        self.changed.insert(slot);
    }

    /// A slot's item is gone.
    pub(crate) fn freed(&mut self, slot: u32) {
        self.set_pending(slot, false);
        self.changed.insert(slot);
        let node = self.remap(slot, NONE);
        if node != NONE {
            self.graph.clear(node);
        }
    }

    /// The next slots to add; what happens to them from now on is noted.
    pub(crate) fn take(&mut self, limit: usize) -> Vec<u32> {
        self.changed.clear();
        self.pending.iter().take(limit).collect()
    }

    /// Maps the nodes that were added for slots that [`take`](Self::take) gave.
    pub(crate) fn added(&mut self, nodes: &[(u32, u32)]) {
        let mut replaced = Vec::new();
        for &(slot, node) in nodes {
            if self.changed.contains(slot) {
                // The vector it was added for is gone again; the slot, unless freed, is still pending.
                self.graph.clear(node);
                continue;
            }
            let before = self.remap(slot, node);
            replaced.extend(Some(before).filter(|&node| node != NONE));
            self.set_pending(slot, false);
        }
        if !replaced.is_empty() {
            let before = std::mem::take(&mut self.token);
            self.retired.push_back((Arc::downgrade(&before), replaced));
        }
    }

    /// Takes the items from replaced nodes, once no search is left that may know an item by such a node only.
    pub(crate) fn retire(&mut self) {
        while let Some((searches, _)) = self.retired.front()
            && searches.strong_count() == 0
        {
            for node in self.retired.pop_front().map(|(_, nodes)| nodes).unwrap_or_default() {
                self.graph.clear(node);
            }
        }
    }

    pub(crate) fn view(&self) -> GraphView {
        GraphView {
            graph: Arc::clone(&self.graph),
            pending: Arc::clone(&self.pending),
            expansion: self.graph.expansion(),
            _token: Arc::clone(&self.token),
        }
    }
}

/// The graphs of a collection.
#[derive(Default)]
pub(crate) struct Graphs {
    /// Answers searches.
    pub(crate) serving: Option<Tracker>,
    /// Is being built, to answer them then.
    pub(crate) growing: Option<Tracker>,
}

impl Graphs {
    /// Tells each graph what became of a slot.
    pub(crate) fn each(&mut self, note: impl FnMut(&mut Tracker)) {
        self.serving.iter_mut().chain(&mut self.growing).for_each(note);
    }

    pub(crate) fn view(&self) -> Option<GraphView> {
        self.serving.as_ref().map(Tracker::view)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.serving.is_none() && self.growing.is_none()
    }
}

impl std::fmt::Debug for Graphs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pending = |tracker: &Tracker| tracker.pending.len();
        f.debug_struct("Graphs")
            .field("serving_pending", &self.serving.as_ref().map(pending))
            .field("growing_pending", &self.growing.as_ref().map(pending))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{hnsw::Shape, row::NodeRow},
        *,
    };
    use crate::domain::Metric;

    #[test]
    fn nodes_out_of_date_are_counted_as_slots_come_and_go() {
        let shape = Shape { metric: Metric::Dot, dimension: 2, connectivity: 4, expansion_add: 8, expansion_search: 8 };
        let graph = Arc::new(Hnsw::new(shape));
        let row = NodeRow::new(vec![1, 2], 0.5);
        let mut tracker = Tracker::new(Arc::clone(&graph), &(0..8).collect());
        let follow = |tracker: &mut Tracker, before: fn(&mut Tracker)| {
            let slots = tracker.take(8);
            let added: Vec<_> = slots.iter().map(|&slot| (slot, graph.add(&row, slot).unwrap())).collect();
            before(tracker);
            tracker.added(&added);
        };
        let counted = |tracker: &Tracker| {
            let replaced = tracker.pending.iter().filter(|&slot| tracker.node(slot) != NONE).count() as u64;
            assert_eq!(tracker.replaced, replaced);
            tracker.outdated()
        };
        assert_eq!(counted(&tracker), 0);
        follow(&mut tracker, |_| ());
        assert_eq!((tracker.pending.len(), counted(&tracker)), (0, 0));
        tracker.written(1);
        tracker.written(1);
        tracker.freed(2);
        tracker.written(9);
        assert_eq!((tracker.pending.len(), counted(&tracker)), (2, 2));
        follow(&mut tracker, |tracker| {
            tracker.freed(1);
            tracker.written(3);
        });
        assert_eq!((tracker.pending.len(), counted(&tracker)), (1, 4));
        follow(&mut tracker, |_| ());
        assert_eq!((tracker.pending.len(), counted(&tracker)), (0, 4));
    }
}
