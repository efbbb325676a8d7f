//! The scan: every code compared, then the few exact scores that can matter.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use roaring::RoaringBitmap;

use super::{
    codes::{Bounds, Probe},
    memory::{CHUNK_SLOTS, Chunks, Row},
};
use crate::error::Result;

/// An item with its exact score; the greatest is the best, of equal scores the one inserted first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ranked {
    pub(super) score: f32,
    pub(super) key: u64,
}

impl Eq for Ranked {}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        // Adding zero makes -0 and 0 one score.
        (self.score + 0.0).total_cmp(&(other.score + 0.0)).then(other.key.cmp(&self.key))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The best items so far.
#[derive(Debug)]
pub(super) struct Best {
    limit: usize,
    min_score: f32,
    heap: BinaryHeap<Reverse<Ranked>>,
}

impl Best {
    pub(super) fn new(limit: usize, min_score: Option<f32>) -> Self {
        Self { limit, min_score: min_score.unwrap_or(f32::NEG_INFINITY), heap: BinaryHeap::new() }
    }

    pub(super) fn offer(&mut self, item: Ranked) {
        if item.score < self.min_score {
            return;
        }
        if self.heap.len() < self.limit {
            self.heap.push(Reverse(item));
        } else if let Some(mut worst) = self.heap.peek_mut()
            && item > worst.0
        {
            *worst = Reverse(item);
        }
    }

    /// The score that an item needs at least to come in.
    fn threshold(&self) -> f32 {
        match self.heap.peek() {
            Some(Reverse(worst)) if self.heap.len() == self.limit => worst.score,
            _ => self.min_score,
        }
    }

    /// Best first.
    pub(super) fn into_sorted(self) -> Vec<Ranked> {
        self.heap.into_sorted_vec().into_iter().map(|Reverse(item)| item).collect()
    }
}

/// What a scan looks at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) chunks: &'a Chunks,
    /// Only these slots; none for all.
    pub(super) allowed: Option<&'a RoaringBitmap>,
    /// All but this item.
    pub(super) excluded: Option<u64>,
}

impl Scope<'_> {
    /// Every key to look at, in the order of the slots.
    pub(super) fn keys(&self) -> Vec<u64> {
        let rows = |slot: u32| self.chunks[slot as usize / CHUNK_SLOTS].rows[slot as usize % CHUNK_SLOTS].key;
        let keys = match self.allowed {
            Some(allowed) => allowed.iter().filter_map(rows).collect(),
            None => {
                self.chunks.iter().flat_map(|chunk| chunk.rows.iter().filter_map(|row| row.key)).collect::<Vec<_>>()
            }
        };
        match self.excluded {
            Some(excluded) => keys.into_iter().filter(|&key| key != excluded).collect(),
            None => keys,
        }
    }

    /// Calls back with every item's key and the bounds of its score.
    fn for_each(&self, probe: &Probe, mut each: impl FnMut(u64, Bounds)) {
        let mut products = [0; CHUNK_SLOTS];
        let mut visit = |row: &Row, product: i32| {
            if let Some(key) = row.key.filter(|&key| Some(key) != self.excluded) {
                each(key, probe.bounds(product, &row.stats));
            }
        };
        let Some(allowed) = self.allowed else {
            for chunk in self.chunks.iter() {
                let products = &mut products[..chunk.rows.len()];
                probe.products(&chunk.codes, products);
                chunk.rows.iter().zip(products).for_each(|(row, product)| visit(row, *product));
            }
            return;
        };
        let dimension = probe.dimension();
        for slot in allowed {
            let (chunk, at) = (&self.chunks[slot as usize / CHUNK_SLOTS], slot as usize % CHUNK_SLOTS);
            probe.products(&chunk.codes[at * dimension..][..dimension], &mut products[..1]);
            visit(&chunk.rows[at], products[0]);
        }
    }
}

/// The items that may be among the best, by their upper bounds, best first: those whose upper bound reaches the
/// `limit`-th best lower bound and `min_score`.
fn candidates(scope: Scope<'_>, probe: &Probe, best: &Best) -> Vec<(f64, u64)> {
    let mut floor = f64::from(best.min_score);
    let mut lowers: BinaryHeap<Reverse<Total>> = BinaryHeap::with_capacity(best.limit + 1);
    let mut found = Vec::new();
    scope.for_each(probe, |key, bounds| {
        if bounds.upper < floor {
            return;
        }
        found.push((bounds.upper, key));
        lowers.push(Reverse(Total(bounds.lower)));
        if lowers.len() > best.limit {
            lowers.pop();
        }
        if let Some(Reverse(Total(lower))) = lowers.peek()
            && lowers.len() == best.limit
        {
            floor = floor.max(*lower);
        }
    });
    found.retain(|&(upper, _)| upper >= floor);
    found.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    found
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Total(f64);

impl Eq for Total {}

impl Ord for Total {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Total {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Finds the best items of the scope. `score` gives the exact score of a key, none if there is no such row; it is
/// called in the order of the upper bounds and no longer than a further item could come in, so the answer is that of
/// the plain scan.
pub(super) fn scan(
    scope: Scope<'_>,
    probe: &Probe,
    mut best: Best,
    mut score: impl FnMut(u64) -> Result<Option<f32>>,
) -> Result<Vec<Ranked>> {
    for (upper, key) in candidates(scope, probe, &best) {
        if upper < f64::from(best.threshold()) {
            break;
        }
        if let Some(score) = score(key)? {
            best.offer(Ranked { score, key });
        }
    }
    Ok(best.into_sorted())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_are_kept_with_ties_in_the_order_of_keys() {
        let mut best = Best::new(3, Some(0.0));
        for (key, score) in [(5, 1.0), (4, 0.5), (3, 0.5), (2, 0.5), (1, -0.1), (6, 2.0)] {
            best.offer(Ranked { score, key });
        }
        let found: Vec<_> = best.into_sorted().iter().map(|item| item.key).collect();
        assert_eq!(found, [6, 5, 2]);
    }
}
