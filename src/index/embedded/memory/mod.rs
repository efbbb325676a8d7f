//! What a collection keeps in memory, all of it derived from the database: codes to scan and postings to filter.
//!
//! This room imports `quantized` and `graph`.

pub(crate) mod postings;

use std::{
    collections::{BTreeMap, BinaryHeap},
    ops::Bound,
    sync::Arc,
};

use roaring::RoaringBitmap;

use self::postings::{FindId, Postings, Tally};
use super::{
    graph::Graphs,
    quantized::{
        bounds::BoundTerms,
        codes::{CodeStats, Encoded},
        nibbles::{CHUNK_SLOTS, NibblePackedCodes},
    },
};
use crate::{domain::Filter, error::Result, index::terms::Term, threads::yield_to_others};

/// One slot: the item's key, none if it is free, and what is kept of its vector beside the codes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Row {
    pub(crate) key: Option<u64>,
    pub(crate) stats: CodeStats,
}

/// Codes of up to [`CHUNK_SLOTS`] vectors.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    pub(crate) rows: Vec<Row>,
    pub(crate) packed: NibblePackedCodes,
    /// What upper bounds by whole codes read.
    pub(crate) bound_terms: BoundTerms,
    /// What upper bounds by the upper halves of the codes read.
    pub(crate) nibble_bound_terms: BoundTerms,
}

impl Chunk {
    fn new(dimension: usize) -> Self {
        let (bound_terms, nibble_bound_terms) = (BoundTerms::default(), BoundTerms::default());
        Self { rows: Vec::new(), packed: NibblePackedCodes::new(dimension), bound_terms, nibble_bound_terms }
    }
}

/// Every chunk as of one moment; slot n is row n % [`CHUNK_SLOTS`] of chunk n / [`CHUNK_SLOTS`].
pub(crate) type Chunks = Arc<Vec<Arc<Chunk>>>;

/// Chunks that are to be copied before they are written to, without a lock.
pub(crate) struct Fork {
    chunks: Chunks,
    touched: Vec<usize>,
}

impl Fork {
    /// Chunks with the same content, of which those that are written to belong to nobody else.
    pub(crate) fn copied(self) -> Chunks {
        let mut chunks = Vec::clone(&self.chunks);
        for at in self.touched {
            yield_to_others();
            if let Some(chunk) = chunks.get_mut(at)
                && Arc::strong_count(chunk) > 1
            {
                *chunk = Arc::new(Chunk::clone(chunk));
            }
        }
        Arc::new(chunks)
    }
}

/// One step of a write, in the order in which it was made in the database.
#[derive(Debug)]
pub(crate) enum Change {
    /// A new item.
    Add {
        key: u64,
        vector: Encoded,
        terms: Vec<Term>,
    },
    /// An item of the same key becomes another; without a vector, it keeps the one it has.
    Replace {
        key: u64,
        vector: Option<Encoded>,
        old: Vec<Term>,
        new: Vec<Term>,
    },
    Remove {
        key: u64,
        terms: Vec<Term>,
    },
}

#[derive(Debug)]
pub(crate) struct Memory {
    dimension: usize,
    chunks: Chunks,
    /// Key → slot, in the order of insertion.
    slots: BTreeMap<u64, u32>,
    used: RoaringBitmap,
    free: Vec<u32>,
    postings: Postings,
    /// Bytes of the collection's rows in the database.
    bytes: u64,
    /// The last operation of the log that is in here.
    sequence: u64,
    pub(crate) graphs: Graphs,
}

impl Memory {
    /// The memory of a collection without items, after so many operations.
    pub(crate) fn new(dimension: usize, sequence: u64) -> Self {
        Self {
            dimension,
            chunks: Chunks::default(),
            slots: BTreeMap::new(),
            used: RoaringBitmap::new(),
            free: Vec::new(),
            postings: Postings::default(),
            bytes: 0,
            sequence,
            graphs: Graphs::default(),
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.used.len()
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The slots that hold an item.
    pub(crate) const fn used(&self) -> &RoaringBitmap {
        &self.used
    }

    pub(crate) fn chunks(&self) -> Chunks {
        Arc::clone(&self.chunks)
    }

    pub(crate) fn slot(&self, key: u64) -> Option<u32> {
        self.slots.get(&key).copied()
    }

    /// The first keys after one whose items are among `allowed`, at most `limit` of them, ascending.
    pub(crate) fn keys_after(&self, after: u64, allowed: &RoaringBitmap, limit: usize) -> Vec<u64> {
        // Walking along all keys passes about so many of them until enough are allowed.
        let walked = (limit as u64).saturating_mul(self.count()) / allowed.len().max(1);
        if walked <= allowed.len() {
            let following = self.slots.range((Bound::Excluded(after), Bound::Unbounded));
            let passing = following.filter(|&(_, &slot)| allowed.contains(slot)).map(|(&key, _)| key);
            return passing.take(limit).collect();
        }
        let mut first = BinaryHeap::with_capacity(limit + 1);
        for key in allowed.iter().filter_map(|slot| self.key(slot)).filter(|&key| key > after) {
            first.push(key);
            if first.len() > limit {
                first.pop();
            }
        }
        first.into_sorted_vec()
    }

    /// The key of the item in a slot.
    fn key(&self, slot: u32) -> Option<u64> {
        self.chunks.get(slot as usize / CHUNK_SLOTS)?.rows.get(slot as usize % CHUNK_SLOTS)?.key
    }

    /// The slots whose items pass the filter.
    pub(crate) fn passing(&self, filter: &Filter, find: FindId<'_>) -> Result<RoaringBitmap> {
        self.postings.passing(filter, &self.used, find)
    }

    /// The values at a key among the allowed slots, most frequent first.
    pub(crate) fn facets(&self, key: &str, allowed: Option<&RoaringBitmap>, limit: usize) -> Vec<Tally> {
        self.postings.facets(key, allowed, limit)
    }

    /// The chunks that changes will write to, while searches may still be reading them; none if nobody reads.
    pub(crate) fn fork(&self, changes: &[Change]) -> Option<Fork> {
        if Arc::strong_count(&self.chunks) == 1 {
            return None;
        }
        let (mut free, last) = (self.free.iter().rev(), self.chunks.len().saturating_sub(1));
        let chunk_of = |slot: u32| slot as usize / CHUNK_SLOTS;
        let touched = changes.iter().filter_map(|change| match change {
            // without a free slot it comes to the end; a chunk that is new there nobody reads
            Change::Add { .. } => Some(free.next().map_or(last, |&slot| chunk_of(slot))),
            Change::Replace { vector: None, .. } => None,
            Change::Replace { key, .. } | Change::Remove { key, .. } => self.slot(*key).map(chunk_of),
        });
        let touched: Vec<_> = touched.collect();
        (!touched.is_empty()).then(|| Fork { chunks: self.chunks(), touched })
    }

    /// Takes chunks that were copied beforehand; they must be those of now.
    pub(crate) fn adopt(&mut self, chunks: Chunks) {
        self.chunks = chunks;
    }

    /// Follows the database up to an operation of the log; `bytes` is by how much the rows there have grown.
    pub(crate) fn apply(&mut self, changes: Vec<Change>, bytes: i64, sequence: u64) {
        for change in changes {
            match change {
                Change::Add { key, vector, terms } => self.add(key, &vector, terms),
                Change::Replace { key, vector, old, new } => {
                    let Some(&slot) = self.slots.get(&key) else { continue };
                    self.postings.remove(&old, slot);
                    self.postings.insert(new, slot);
                    if let Some(vector) = vector {
                        self.write(slot, key, &vector);
                    }
                }
                Change::Remove { key, terms } => self.remove(key, &terms),
            }
        }
        self.bytes = self.bytes.saturating_add_signed(bytes);
        self.sequence = sequence;
    }

    fn add(&mut self, key: u64, vector: &Encoded, terms: Vec<Term>) {
        let slot = self.free.pop().unwrap_or_else(|| self.append());
        self.slots.insert(key, slot);
        self.used.insert(slot);
        self.write(slot, key, vector);
        self.postings.insert(terms, slot);
    }

    fn remove(&mut self, key: u64, terms: &[Term]) {
        let Some(slot) = self.slots.remove(&key) else { return };
        self.postings.remove(terms, slot);
        self.used.remove(slot);
        self.free.push(slot);
        self.graphs.each(|tracker| tracker.freed(slot));
        let (chunk, row) = self.place(slot);
        chunk.rows[row].key = None;
    }

    /// Makes room at the end and returns the slot.
    fn append(&mut self) -> u32 {
        let dimension = self.dimension;
        let chunks = Arc::make_mut(&mut self.chunks);
        if chunks.last().is_none_or(|chunk| chunk.rows.len() == CHUNK_SLOTS) {
            chunks.push(Arc::new(Chunk::new(dimension)));
        }
        let before = (chunks.len() - 1) * CHUNK_SLOTS;
        let chunk = Arc::make_mut(&mut chunks[before / CHUNK_SLOTS]);
        chunk.rows.push(Row { key: None, stats: CodeStats::ZERO });
        chunk.packed.append(dimension);
        (before + chunk.rows.len() - 1) as u32
    }

    fn write(&mut self, slot: u32, key: u64, vector: &Encoded) {
        let (chunk, row) = self.place(slot);
        let new = Row { key: Some(key), stats: vector.stats };
        let moved = std::mem::replace(&mut chunk.rows[row], new) != new;
        // An item written again as it was keeps its node.
        if !(chunk.packed.set(row, &vector.codes) || moved) {
            return;
        }
        chunk.bound_terms.set(row, &vector.stats);
        chunk.nibble_bound_terms.set(row, &vector.upper);
        self.graphs.each(|tracker| tracker.written(slot));
    }

    /// The chunk of a slot, for writing: copied if a search is still reading it.
    fn place(&mut self, slot: u32) -> (&mut Chunk, usize) {
        let slot = slot as usize;
        let chunks = Arc::make_mut(&mut self.chunks);
        (Arc::make_mut(&mut chunks[slot / CHUNK_SLOTS]), slot % CHUNK_SLOTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(key: u64) -> Change {
        Change::Add { key, vector: Encoded::new(&[key as f32, 1.0]), terms: Vec::new() }
    }

    #[test]
    fn deleted_slots_are_used_again() {
        let mut memory = Memory::new(2, 0);
        memory.apply((0..600).map(add).collect(), 600, 0);
        memory.apply((100..400).map(|key| Change::Remove { key, terms: Vec::new() }).collect(), -300, 0);
        assert_eq!((memory.count(), memory.bytes()), (300, 300));
        memory.apply((600..900).map(add).collect(), 300, 0);
        assert_eq!(memory.count(), 600);
        assert_eq!(memory.chunks().iter().map(|chunk| chunk.rows.len()).sum::<usize>(), 600);
        for key in (0..100).chain(400..900) {
            let slot = memory.slot(key).unwrap() as usize;
            assert_eq!(memory.chunks()[slot / CHUNK_SLOTS].rows[slot % CHUNK_SLOTS].key, Some(key));
        }
    }

    #[test]
    fn the_next_keys_are_the_same_whether_few_or_many_items_are_allowed() {
        let mut memory = Memory::new(2, 0);
        memory.apply((1..=1000).map(add).collect(), 0, 0);
        // freed slots are filled by later keys, so slots and keys are in different orders
        memory.apply((200..500).map(|key| Change::Remove { key, terms: Vec::new() }).collect(), 0, 0);
        memory.apply((1001..=1300).map(add).collect(), 0, 0);
        for step in [1, 3, 50, 400, 999] {
            let allowed: RoaringBitmap = (0..1000).step_by(step).collect();
            let mut all: Vec<u64> = allowed.iter().filter_map(|slot| memory.key(slot)).collect();
            all.sort_unstable();
            for (after, limit) in [(0, 7), (199, 1), (640, 100), (1299, 3), (1300, 3), (u64::MAX, 3)] {
                let expected: Vec<u64> = all.iter().copied().filter(|&key| key > after).take(limit).collect();
                assert_eq!(memory.keys_after(after, &allowed, limit), expected, "{step} {after} {limit}");
            }
        }
        assert!(memory.keys_after(0, &RoaringBitmap::new(), 5).is_empty());
    }

    #[test]
    fn a_search_keeps_the_chunks_it_began_with() {
        let mut memory = Memory::new(2, 0);
        memory.apply(vec![add(1)], 0, 0);
        let before = memory.chunks();
        memory.apply(vec![Change::Remove { key: 1, terms: Vec::new() }, add(2)], 0, 0);
        assert_eq!(before[0].rows[0].key, Some(1));
        assert_eq!(memory.chunks()[0].rows[0].key, Some(2));
    }
}
