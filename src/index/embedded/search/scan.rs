//! The scan: every code compared, then the few exact scores that can matter.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use roaring::RoaringBitmap;

use crate::{
    error::Result,
    index::embedded::{
        memory::{Chunk, Chunks, Row},
        quantized::{
            codes::{Bounds, QuantizedQuery},
            nibbles::CHUNK_SLOTS,
        },
    },
};

/// An item with its exact score; the greatest is the best, of equal scores the one inserted first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ranked {
    pub(crate) score: f32,
    pub(crate) key: u64,
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
pub(crate) struct TopItems {
    limit: usize,
    min_score: f32,
    heap: BinaryHeap<Reverse<Ranked>>,
}

impl TopItems {
    pub(crate) fn new(limit: usize, min_score: Option<f32>) -> Self {
        Self { limit, min_score: min_score.unwrap_or(f32::NEG_INFINITY), heap: BinaryHeap::new() }
    }

    pub(crate) fn offer(&mut self, item: Ranked) {
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
    pub(super) fn threshold(&self) -> f32 {
        match self.heap.peek() {
            Some(Reverse(worst)) if self.heap.len() == self.limit => worst.score,
            _ => self.min_score,
        }
    }

    /// The items, best first.
    pub(crate) fn into_sorted(self) -> Vec<Ranked> {
        self.heap.into_sorted_vec().into_iter().map(|Reverse(item)| item).collect()
    }
}

/// The items that a scan compares.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) chunks: &'a Chunks,
    /// Only these slots; none for all.
    pub(crate) allowed: Option<&'a RoaringBitmap>,
    /// All but this item.
    pub(crate) excluded: Option<u64>,
}

impl Scope<'_> {
    /// The key of every item of the scope, in the order of the slots.
    pub(crate) fn keys(&self) -> Vec<u64> {
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

    /// Offers the candidates every item whose score may reach their floor.
    fn collect_candidates(&self, quantized: &QuantizedQuery, candidates: &mut Candidates) {
        let Some(allowed) = self.allowed else {
            let mut scan = ChunkScan::new(quantized, self.excluded, candidates);
            self.chunks.iter().for_each(|chunk| scan.compare_chunk(chunk));
            return;
        };
        let mut scan = ChunkScan::new(quantized, self.excluded, candidates);
        let slots = self.chunks.len() as u64 * CHUNK_SLOTS as u64;
        let sparse = allowed.len() * SPARSE < slots;
        for slot in allowed {
            let (chunk, at) = (&self.chunks[slot as usize / CHUNK_SLOTS], slot as usize % CHUNK_SLOTS);
            if sparse { scan.compare_whole_row(chunk, at) } else { scan.compare_row(chunk, at) }
        }
    }
}

/// Where fewer than one in so many rows are compared, they are compared by their whole codes: what has to be read for the
/// upper halves alone lies elsewhere, and pays where neighbours are read too.
const SPARSE: u64 = 16;

/// Where one of so many rows of a chunk may be among the best by the upper halves of their codes, the whole codes of the
/// chunk are compared, and not only of those rows.
const WHOLE_SHARE: usize = 4;

/// As many chunks after one whose whole codes were compared are compared by their whole codes at once: the upper halves of
/// neighbours tell as little.
const SIMILAR_CHUNKS: usize = 15;

/// Compares a query with rows: with the upper halves of their codes first, and with the lower only where that leaves
/// open whether the item may come in.
struct ChunkScan<'a> {
    quantized: &'a QuantizedQuery,
    excluded: Option<u64>,
    candidates: &'a mut Candidates,
    products: [i32; CHUNK_SLOTS],
    uppers: [f32; CHUNK_SLOTS],
    /// Chunks that are still to be compared by their whole codes at once.
    similar_left: usize,
}

impl<'a> ChunkScan<'a> {
    fn new(quantized: &'a QuantizedQuery, excluded: Option<u64>, candidates: &'a mut Candidates) -> Self {
        Self {
            quantized,
            excluded,
            candidates,
            products: [0; CHUNK_SLOTS],
            uppers: [0.0; CHUNK_SLOTS],
            similar_left: 0,
        }
    }

    fn compare_chunk(&mut self, chunk: &Chunk) {
        let (codes, count) = (self.quantized.codes(), chunk.rows.len());
        let (products, uppers) = (&mut self.products[..count], &mut self.uppers[..count]);
        let floor = self.candidates.floor_f32();
        let mut whole = self.similar_left > 0;
        if whole {
            self.similar_left -= 1;
        } else {
            codes.upper_products(&chunk.packed, products);
            self.quantized.nibble_bounds().uppers(&chunk.nibble_bound_terms, products, uppers);
            let passing = uppers.iter().filter(|&&upper| passes(upper, floor)).count();
            if passing == 0 {
                return;
            }
            whole = passing * WHOLE_SHARE > count;
            if whole && self.candidates.is_full() {
                self.similar_left = SIMILAR_CHUNKS;
            }
        }
        if whole {
            codes.products(&chunk.packed, products);
            self.quantized.code_bounds().uppers(&chunk.bound_terms, products, uppers);
        }
        for at in 0..count {
            if passes(self.uppers[at], floor) {
                let product = if whole { self.products[at] } else { codes.product(&chunk.packed, at) };
                self.offer(&chunk.rows[at], product);
            }
        }
    }

    fn compare_row(&mut self, chunk: &Chunk, at: usize) {
        let codes = self.quantized.codes();
        let product = codes.upper_product(&chunk.packed, at);
        let upper = self.quantized.nibble_bounds().upper(&chunk.nibble_bound_terms, at, product);
        if passes(upper, self.candidates.floor_f32()) {
            self.offer(&chunk.rows[at], codes.product(&chunk.packed, at));
        }
    }

    fn compare_whole_row(&mut self, chunk: &Chunk, at: usize) {
        self.offer(&chunk.rows[at], self.quantized.codes().product(&chunk.packed, at));
    }

    fn offer(&mut self, row: &Row, product: i32) {
        if let Some(key) = row.key.filter(|&key| Some(key) != self.excluded) {
            self.candidates.offer(key, self.quantized.bounds(product, &row.stats));
        }
    }
}

/// Whether an item may come in by its upper bound; a bound that is no number passes.
fn passes(upper: f32, floor: f32) -> bool {
    upper >= floor || upper.is_nan()
}

/// The items that may be among the best: those whose upper bound reaches the `limit`-th best lower bound.
struct Candidates {
    limit: usize,
    floor: f64,
    lowers: BinaryHeap<Reverse<TotalOrder>>,
    found: Vec<(f64, u64)>,
}

impl Candidates {
    fn new(limit: usize, floor: f32) -> Self {
        let lowers = BinaryHeap::with_capacity(limit + 1);
        Self { limit, floor: f64::from(floor), lowers, found: Vec::new() }
    }

    /// Whether there are as many items as the limit, so that the floor is one of theirs.
    fn is_full(&self) -> bool {
        self.lowers.len() == self.limit
    }

    /// The floor in f32, not above it.
    fn floor_f32(&self) -> f32 {
        (self.floor as f32).next_down()
    }

    fn offer(&mut self, key: u64, bounds: Bounds) {
        if bounds.upper < self.floor {
            return;
        }
        self.found.push((bounds.upper, key));
        self.lowers.push(Reverse(TotalOrder(bounds.lower)));
        if self.lowers.len() > self.limit {
            self.lowers.pop();
        }
        if let Some(Reverse(TotalOrder(lower))) = self.lowers.peek()
            && self.is_full()
        {
            self.floor = self.floor.max(*lower);
        }
    }

    /// Best upper bound first.
    fn into_sorted(self) -> Vec<(f64, u64)> {
        let Self { floor, mut found, .. } = self;
        found.retain(|&(upper, _)| upper >= floor);
        found.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        found
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct TotalOrder(f64);

impl Eq for TotalOrder {}

impl Ord for TotalOrder {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for TotalOrder {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Finds the best items of the scope and of those that are among the best already. `score` gives the exact score of a key, none if there is no such row; it is
/// called in the order of the upper bounds and no longer than a further item could come in, so the answer is that of
/// the plain scan.
pub(crate) fn scan(
    scope: Scope<'_>,
    quantized: &QuantizedQuery,
    mut best: TopItems,
    mut score: impl FnMut(u64) -> Result<Option<f32>>,
) -> Result<Vec<Ranked>> {
    let mut candidates = Candidates::new(best.limit, best.threshold());
    scope.collect_candidates(quantized, &mut candidates);
    for (upper, key) in candidates.into_sorted() {
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
    use std::sync::Arc;

    use super::*;
    use crate::{
        domain::{Embedding, Metric},
        index::embedded::{
            memory::{Change, Memory},
            quantized::codes::Encoded,
        },
    };

    /// Vectors around 40 centres and a common one of this length, all of them the same every time.
    fn vectors(count: usize, common: f32) -> Vec<Embedding> {
        let mut state = 7_u64;
        let mut number = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        let centres: Vec<Vec<f32>> = (0..40).map(|_| (0..70).map(|_| number()).collect()).collect();
        let near = |at: usize, number: &mut dyn FnMut() -> f32| -> Vec<f32> {
            centres[at % 40].iter().map(|centre| centre + 0.5 * number() + common).collect()
        };
        (0..count).map(|at| Embedding::new(near(at, &mut number)).unwrap().normalized()).collect()
    }

    #[test]
    fn the_scan_equals_the_plain_one_where_the_upper_halves_tell_much_and_where_they_tell_nothing() {
        let every = |step: u32| RoaringBitmap::from_sorted_iter((0..5000).step_by(step as usize)).unwrap();
        for common in [0.0, 4.0] {
            let vectors = vectors(5000, common);
            let mut memory = Memory::new(70, 0);
            let add = |(key, vector): (u64, &Embedding)| Change::Add {
                key,
                vector: Encoded::new(vector.as_slice()),
                terms: Vec::new(),
            };
            memory.apply((1..).zip(&vectors).map(add).collect(), 0, 0);
            let rows: Vec<Vec<u8>> = vectors
                .iter()
                .map(|vector| vector.as_slice().iter().flat_map(|number| number.to_le_bytes()).collect())
                .collect();
            let chunks = memory.chunks();
            for metric in [Metric::Cosine, Metric::Dot, Metric::Euclid] {
                // all, so few that they are compared whole, and so many that their upper halves come first
                for allowed in [None, Some(every(100)), Some(every(3))] {
                    for query in [0, 17, 4321] {
                        let quantized = QuantizedQuery::new(metric, &vectors[query]);
                        let score = |key: u64| Ok(Some(quantized.score(&rows[key as usize - 1])));
                        let scope = Scope { chunks: &chunks, allowed: allowed.as_ref(), excluded: None };
                        let mut plain = TopItems::new(10, None);
                        for key in scope.keys() {
                            plain.offer(Ranked { score: quantized.score(&rows[key as usize - 1]), key });
                        }
                        let found = scan(scope, &quantized, TopItems::new(10, None), score).unwrap();
                        assert_eq!(found, plain.into_sorted(), "{metric:?} {common} {query}");
                    }
                }
            }
            // the two cases are what they are said to be
            let quantized = QuantizedQuery::new(Metric::Cosine, &vectors[0]);
            let mut candidates = Candidates::new(10, f32::NEG_INFINITY);
            let mut scan = ChunkScan::new(&quantized, None, &mut candidates);
            let whole = chunks.iter().map(Arc::as_ref).filter(|chunk| {
                scan.compare_chunk(chunk);
                scan.similar_left > 0
            });
            assert_eq!(whole.count() > 1, common > 0.0);
        }
    }

    #[test]
    fn the_best_are_kept_with_ties_in_the_order_of_keys() {
        let mut best = TopItems::new(3, Some(0.0));
        for (key, score) in [(5, 1.0), (4, 0.5), (3, 0.5), (2, 0.5), (1, -0.1), (6, 2.0)] {
            best.offer(Ranked { score, key });
        }
        let found: Vec<_> = best.into_sorted().iter().map(|item| item.key).collect();
        assert_eq!(found, [6, 5, 2]);
    }
}
