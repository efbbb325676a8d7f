//! Walks through the graph: the searches of the paper ("SEARCH-LAYER" and "K-NN-SEARCH" of arXiv 1603.09320).
//!
//! A walk goes down greedily to the layer above the lowest but one, from which it takes some starts, not one, into the
//! lowest: what a search of clustered data misses are mostly whole clusters, and other starts lead to other clusters.
//! In a layer, the candidates are one sorted array in which the nodes that were expanded are marked, so that the next to
//! expand is found without a second queue. The rows of neighbours are asked of the memory a dozen ahead of being
//! compared, and compared four at a time: a walk mostly waits for memory.

use std::{cell::RefCell, cmp::Reverse, collections::BinaryHeap, sync::atomic::Ordering};

use super::{
    beam::{Beam, Visited, distance_of, key, tag_of},
    kernel::{Kernel, Task},
    layout::{MOST_NODES, NONE, View},
    row::Query,
};

/// Candidates kept in the layer above the lowest, which are the starts there.
pub(super) const STARTS: usize = 8;
/// Rows compared at once.
const AT_ONCE: usize = 4;
/// Rows asked of the memory ahead of being compared.
const AHEAD: usize = 12;

/// What walks of a thread use again and again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) beam: Beam,
    pub(super) visited: Visited,
    pub(super) starts: Vec<u32>,
    /// Nodes to compare.
    pub(super) nodes: Vec<u32>,
    /// How far each of them is away.
    pub(super) distances: Vec<f32>,
    /// Nodes to expand, of a walk that is to find some only.
    frontier: BinaryHeap<Reverse<u64>>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Lends the calling thread's scratch, which nothing within `work` asks for again.
pub(super) fn with_scratch<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with_borrow_mut(work)
}

/// A walk through the nodes of a view for the nearest to a query.
pub(super) struct Walk<'a, K> {
    pub(super) kernel: K,
    pub(super) view: View<'a>,
    pub(super) query: &'a Query,
    /// Which of equally near nodes comes first: their order is that of their numbers with these bits flipped.
    pub(super) salt: u32,
    pub(super) scratch: &'a mut Scratch,
}

impl<K: Kernel> Walk<'_, K> {
    #[inline(always)]
    fn key(&self, distance: f32, node: u32) -> u64 {
        key(distance, node ^ self.salt)
    }

    /// The node of a key.
    #[inline(always)]
    fn node(&self, key: u64) -> u32 {
        tag_of(key) ^ self.salt
    }

    /// The nodes that the walk has found, nearest first.
    pub(super) fn found(&self) -> impl Iterator<Item = Near> {
        self.scratch.beam.keys().map(|key| Near { distance: distance_of(key), node: self.node(key) })
    }

    /// Finds about as many of the nearest nodes as it keeps.
    #[inline(always)]
    pub(super) fn search(&mut self, keep: usize) {
        self.scratch.beam.clear(keep);
        if let Some((top, entry)) = self.view.entry() {
            self.enter(top, entry);
            self.layer(0, keep);
        }
    }

    /// Goes from the entry down to the starts in the lowest layer.
    #[inline(always)]
    pub(super) fn enter(&mut self, top: usize, entry: u32) {
        let start = self.descend(entry, top, 1);
        self.start_at(start);
        if top > 0 {
            self.layer(1, STARTS);
            self.start_at_found(STARTS);
        }
    }

    pub(super) fn start_at(&mut self, node: u32) {
        self.scratch.starts.clear();
        self.scratch.starts.push(node);
    }

    /// Starts the next walk where this one has ended.
    pub(super) fn start_at_found(&mut self, count: usize) {
        let Scratch { beam, starts, .. } = &mut *self.scratch;
        starts.clear();
        starts.extend(beam.keys().take(count).map(|key| tag_of(key) ^ self.salt));
    }

    /// From a node of the highest layer to the nearest node of the layer `to`, each step to the nearest neighbour.
    #[inline(always)]
    pub(super) fn descend(&mut self, entry: u32, top: usize, to: usize) -> u32 {
        let mut nearest = entry;
        self.scratch.nodes.clear();
        self.scratch.nodes.push(entry);
        self.compare();
        let mut least = self.scratch.distances[0];
        for layer in (to + 1..=top).rev() {
            loop {
                self.scratch.nodes.clear();
                self.scratch.nodes.extend(self.view.links(nearest, layer));
                self.compare();
                let before = nearest;
                for (&node, &distance) in self.scratch.nodes.iter().zip(&self.scratch.distances) {
                    if distance < least {
                        (nearest, least) = (node, distance);
                    }
                }
                if nearest == before {
                    break;
                }
            }
        }
        // a node of a layer is one of every layer below
        nearest
    }

    /// Finds the nearest nodes of a layer from the starts on, and keeps so many.
    #[inline(always)]
    pub(super) fn layer(&mut self, layer: usize, keep: usize) {
        self.scratch.beam.clear(keep);
        self.visit_starts();
        self.compare();
        self.take_in(0);
        let mut from = 0;
        while let Some((at, nearest)) = self.scratch.beam.next(from) {
            self.scratch.beam.mark(at);
            self.gather(self.node(nearest), layer);
            if let Some((_, next)) = self.scratch.beam.next(at + 1) {
                self.prefetch_links(self.node(next), layer);
            }
            self.compare();
            from = self.take_in(at + 1);
        }
    }

    /// Takes in the compared nodes that are near enough; returns the least place of those and `from`.
    #[inline(always)]
    fn take_in(&mut self, from: usize) -> usize {
        let salt = self.salt;
        let Scratch { beam, nodes, distances, .. } = &mut *self.scratch;
        let (mut first, mut limit) = (from, beam.limit());
        for (&node, &distance) in nodes.iter().zip(&*distances) {
            let key = key(distance, node ^ salt);
            if key < limit {
                first = first.min(beam.insert(key));
                limit = beam.limit();
            }
        }
        first
    }

    /// Finds the nearest nodes that pass, by way of all, and keeps so many. False, with nothing found, if it had to
    /// compare more than `most`.
    #[inline(always)]
    pub(super) fn search_passing(&mut self, keep: usize, most: usize, passes: impl Fn(u32) -> bool) -> bool {
        self.scratch.beam.clear(keep);
        let Some((top, entry)) = self.view.entry() else { return true };
        self.enter(top, entry);
        self.scratch.beam.clear(keep);
        self.scratch.frontier.clear();
        self.visit_starts();
        let mut compared = 0;
        loop {
            compared += self.scratch.nodes.len();
            if compared > most {
                self.scratch.beam.clear(keep);
                return false;
            }
            self.compare();
            self.take_in_passing(&passes);
            match self.scratch.frontier.pop() {
                Some(Reverse(nearest)) if nearest < self.scratch.beam.limit() => self.gather(self.node(nearest), 0),
                _ => return true,
            }
        }
    }

    #[inline(always)]
    fn take_in_passing(&mut self, passes: &impl Fn(u32) -> bool) {
        for at in 0..self.scratch.nodes.len() {
            let node = self.scratch.nodes[at];
            let key = self.key(self.scratch.distances[at], node);
            if key < self.scratch.beam.limit() {
                self.scratch.frontier.push(Reverse(key));
                if passes(node) {
                    self.scratch.beam.insert(key);
                }
            }
        }
    }

    /// Begins a walk of a layer: the starts are what is compared first, and nothing else was visited.
    #[inline(always)]
    fn visit_starts(&mut self) {
        let Scratch { visited, starts, nodes, .. } = &mut *self.scratch;
        visited.clear(self.view.nodes());
        nodes.clear();
        nodes.extend(starts.iter().filter(|&&start| visited.insert(start)));
    }

    /// Gathers the neighbours of a node that were not visited, to be compared.
    #[inline(always)]
    fn gather(&mut self, node: u32, layer: usize) {
        let Scratch { visited, nodes, .. } = &mut *self.scratch;
        nodes.clear();
        let end = self.view.nodes();
        for line in self.view.list(node, layer) {
            for link in &line.0 {
                let link = link.load(Ordering::Acquire);
                if link < end {
                    if visited.insert(link) {
                        nodes.push(link);
                    }
                } else if link == NONE {
                    return;
                }
            }
        }
    }

    /// How far the gathered nodes are away.
    #[inline(always)]
    pub(super) fn compare(&mut self) {
        let Scratch { nodes, distances, .. } = &mut *self.scratch;
        let Self { kernel, view, query, .. } = *self;
        distances.clear();
        distances.reserve(nodes.len());
        nodes.iter().take(AHEAD).for_each(|&node| prefetch_row(kernel, view, node));
        let (fours, rest) = nodes.as_chunks::<AT_ONCE>();
        let mut ahead = nodes.iter().skip(AHEAD);
        for four in fours {
            ahead.by_ref().take(AT_ONCE).for_each(|&node| prefetch_row(kernel, view, node));
            let products = kernel.products(&query.codes, four.map(|node| view.row(node)));
            for (&node, product) in four.iter().zip(products) {
                distances.push(query.distance(product, view.stats(node)));
            }
        }
        for &node in rest {
            let [product] = kernel.products(&query.codes, [view.row(node)]);
            distances.push(query.distance(product, view.stats(node)));
        }
    }

    #[inline(always)]
    fn prefetch_links(&self, node: u32, layer: usize) {
        self.view.list(node, layer).iter().for_each(|line| self.kernel.prefetch(line));
    }
}

#[inline(always)]
fn prefetch_row<K: Kernel>(kernel: K, view: View<'_>, node: u32) {
    kernel.prefetch(view.stats_place(node));
    view.row(node).iter().for_each(|line| kernel.prefetch(line));
}

/// What a search is to find.
pub(super) struct Search<'a, P> {
    pub(super) view: View<'a>,
    pub(super) query: &'a Query,
    pub(super) keep: usize,
    /// Which nodes may be found, and how many may be compared for that.
    pub(super) passing: Option<(P, usize)>,
    pub(super) scratch: &'a mut Scratch,
}

/// A node and how far away it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Near {
    pub(super) distance: f32,
    pub(super) node: u32,
}

impl<P: Fn(u32) -> bool> Task for Search<'_, P> {
    /// The nodes that were found, nearest first; none if it takes too many comparisons.
    type Output = Option<Vec<Near>>;

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> Self::Output {
        let Self { view, query, keep, passing, scratch } = self;
        let mut walk = Walk { kernel, view, query, salt: 0, scratch };
        let finished = match passing {
            Some((passes, most)) => walk.search_passing(keep, most, passes),
            None => {
                walk.search(keep);
                true
            }
        };
        finished.then(|| walk.found().collect())
    }
}

/// A salt for the walk that adds a node.
pub(super) const fn salt_of(node: u32) -> u32 {
    node.wrapping_mul(0x9e37_79b1) >> 1 & (MOST_NODES - 1)
}
