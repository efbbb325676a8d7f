//! Which of many candidates become neighbours: the heuristic of the paper ("SELECT-NEIGHBORS-HEURISTIC").
//!
//! A candidate is taken unless one that was taken before is nearer to it than the node is whose neighbours are chosen:
//! then that one leads there. So links point in different directions, and clusters stay connected. Weighing the
//! distances (as Vamana does with its α) broke clusters apart.
//!
//! A vector that is equal to the node's is as far from every other as the node is. The paper takes one of them, and then no
//! other candidate; here they rule nothing out and are taken for half of the list: with fewer, what is there many times
//! is no longer found, and with more, a node would lose the way to all else.

use super::{
    kernel::Kernel,
    layout::View,
    row::Query,
    search::{Near, Scratch, Walk},
};

/// Compared at once with a candidate: mostly one of the first that were taken rules it out.
const AT_ONCE: usize = 8;

/// The choice of at most so many neighbours.
pub(super) struct Choice<'a, K> {
    pub(super) kernel: K,
    pub(super) view: View<'a>,
    pub(super) scratch: &'a mut Scratch,
    pub(super) most: usize,
}

impl<K: Kernel> Choice<'_, K> {
    /// Chooses among candidates, which come nearest first, for a node whose distance to itself is `itself`. `query` is
    /// used for the vectors of candidates.
    #[inline(always)]
    pub(super) fn among(mut self, candidates: &[Near], itself: f32, query: &mut Query) -> Vec<u32> {
        let mut chosen: Vec<u32> = Vec::with_capacity(self.most);
        let mut equal = 0;
        for candidate in candidates {
            if chosen.len() == self.most {
                break;
            }
            if candidate.distance == itself {
                if equal < self.most / 2 {
                    equal += 1;
                    chosen.push(candidate.node);
                }
                continue;
            }
            query.set_to(self.view.row(candidate.node), self.view.stats(candidate.node));
            if self.nearest(&chosen, query, candidate.distance) >= candidate.distance {
                chosen.push(candidate.node);
            }
        }
        chosen
    }

    /// The distance of the nearest of the nodes to a query, or of one that is nearer than `enough`.
    #[inline(always)]
    fn nearest(&mut self, nodes: &[u32], query: &Query, enough: f32) -> f32 {
        let mut nearest = f32::INFINITY;
        for some in nodes.chunks(AT_ONCE) {
            let scratch = &mut *self.scratch;
            scratch.nodes.clear();
            scratch.nodes.extend_from_slice(some);
            Walk { kernel: self.kernel, view: self.view, query, salt: 0, scratch }.compare();
            nearest = self.scratch.distances.iter().copied().fold(nearest, f32::min);
            if nearest < enough {
                break;
            }
        }
        nearest
    }
}
