//! Where the nodes of a graph lie: arrays of each of their parts, in chunks that never move.
//!
//! # Memory model
//!
//! Nodes are numbered in the order in which they are added, and none is ever taken out. A node's *row*, its scale and
//! its level are written once, before the number of *published* nodes goes up past it (`Release`), and never again.
//! Whoever reads takes a [`Moment`] first, which loads that number (`Acquire`): every node below it is whole, and a link
//! to one above it, which was added meanwhile, is passed over. So rows are read without a lock while others are
//! written, and no reader ever meets a row that is being written.
//!
//! *Links* change as long as the graph grows. Each is an atomic of its own, stored with `Release` and loaded with
//! `Acquire`, so whoever finds a node by a link finds the links that the node had by then. A list that is rewritten
//! while it is read shows a mixture of before and after: every link in it is that of a node, which is all that a walk
//! needs. Writers take a list's lock, since two that wrote to one would lose links; readers do not.
//!
//! A node's *slot* is an atomic of its own too, and so is the *entry* of the graph, which is stored last.
//!
//! Chunks are listed in a vector that is copied when a chunk is added, and swapped; a moment holds the one that it began
//! with. Nobody waits for anybody: a search runs beside any number of writers.

use std::{
    iter,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use arc_swap::{ArcSwap, Guard};

use super::{
    kernel::{LINE, RowLine, lines, shifted},
    row::{NodeRow, Stats},
};
use crate::error::{Error, Result};

/// The slot of a node that stands for no item, the node of a slot that has none, and the end of a list of links.
pub(crate) const NONE: u32 = u32::MAX;
/// One more than the greatest number of a node: walks keep a bit beside it.
pub(super) const MOST_NODES: u32 = 1 << 31;
/// The highest level of a node, of which there is one in connectivity¹⁵.
pub(super) const TOP_LEVEL: usize = 15;
const LEVEL_BITS: u32 = 4;

/// Nodes of a chunk, and lists of a chunk of the upper layers.
const CHUNK: usize = 4096;
/// Locks of lists, each for one in so many nodes.
const LOCKS: usize = 1024;
/// Numbers of a line of the cache.
const WORD: usize = size_of::<u64>();
const LINE_WORDS: usize = LINE / WORD;
const LINE_LINKS: usize = LINE / size_of::<u32>();

/// A part of a row as it is written.
#[repr(C, align(64))]
struct StoredLine([AtomicU64; LINE_WORDS]);

/// A part of a list of links.
#[repr(C, align(64))]
pub(super) struct LinkLine(pub(super) [AtomicU32; LINE_LINKS]);

impl LinkLine {
    const fn new() -> Self {
        Self([const { AtomicU32::new(NONE) }; LINE_LINKS])
    }
}

/// Makes an array of what a chunk holds.
fn array<T>(count: usize, make: impl FnMut() -> T) -> Box<[T]> {
    iter::repeat_with(make).take(count).collect()
}

/// The parts of [`CHUNK`] nodes.
struct Chunk {
    /// The lines of one row after another's.
    rows: Box<[StoredLine]>,
    /// [`Stats`] as bits.
    stats: Box<[AtomicU64]>,
    slots: Box<[AtomicU32]>,
    /// The level, and above it the number of the first list in the upper layers.
    towers: Box<[AtomicU32]>,
    /// The lists of the lowest layer, one after another.
    links: Box<[LinkLine]>,
}

impl Chunk {
    fn new(shape: &ListShape) -> Self {
        Self {
            rows: array(CHUNK * shape.row_lines, || StoredLine([const { AtomicU64::new(0) }; LINE_WORDS])),
            stats: array(CHUNK, AtomicU64::default),
            slots: array(CHUNK, || AtomicU32::new(NONE)),
            towers: array(CHUNK, AtomicU32::default),
            links: array(CHUNK * shape.lowest_lines(), LinkLine::new),
        }
    }
}

/// Lists of the upper layers.
type UpperChunk = Box<[LinkLine]>;

/// How many lines rows and lists take.
#[derive(Debug, Clone, Copy)]
struct ListShape {
    row_lines: usize,
    connectivity: usize,
}

impl ListShape {
    /// The links of a node in a layer, at most.
    const fn most(self, layer: usize) -> usize {
        if layer == 0 { 2 * self.connectivity } else { self.connectivity }
    }

    const fn lowest_lines(self) -> usize {
        self.most(0).div_ceil(LINE_LINKS)
    }

    const fn upper_lines(self) -> usize {
        self.most(1).div_ceil(LINE_LINKS)
    }
}

pub(super) struct Layout {
    shape: ListShape,
    chunks: ArcSwap<Vec<Arc<Chunk>>>,
    upper: ArcSwap<Vec<Arc<UpperChunk>>>,
    /// Nodes whose rows are written.
    published: AtomicU32,
    /// One more than the level of the entry in the upper half, its node in the lower one; 0 without nodes.
    entry: AtomicU64,
    /// Held while a node is appended: the number of lists in the upper layers.
    appending: Mutex<u32>,
    locks: Box<[Mutex<()>]>,
}

impl Layout {
    pub(super) fn new(dimension: usize, connectivity: usize) -> Self {
        Self {
            shape: ListShape { row_lines: lines(dimension), connectivity },
            chunks: ArcSwap::default(),
            upper: ArcSwap::default(),
            published: AtomicU32::new(0),
            entry: AtomicU64::new(0),
            appending: Mutex::new(0),
            locks: array(LOCKS, Mutex::default),
        }
    }

    /// How many nodes there are.
    pub(super) fn nodes(&self) -> u32 {
        self.published.load(Ordering::Acquire)
    }

    /// Adds a node that has no links yet; returns its number.
    pub(super) fn append(&self, row: &NodeRow, slot: u32) -> Result<u32> {
        let mut lists = self.appending.lock().unwrap_or_else(PoisonError::into_inner);
        let node = self.published.load(Ordering::Relaxed);
        let level = level_of(node, self.shape.connectivity) as u32;
        if node >= MOST_NODES || *lists + level >= NONE >> LEVEL_BITS {
            return Err(Error::internal("no number is left for a node of a graph"));
        }
        if (node as usize).is_multiple_of(CHUNK) {
            extend(&self.chunks, Chunk::new(&self.shape));
        }
        while self.upper.load().len() * CHUNK < (*lists + level) as usize {
            extend(&self.upper, array(CHUNK * self.shape.upper_lines(), LinkLine::new));
        }
        let chunks = self.chunks.load();
        let (chunk, at) = (&chunks[node as usize / CHUNK], node as usize % CHUNK);
        write_row(&chunk.rows[at * self.shape.row_lines..][..self.shape.row_lines], row);
        chunk.stats[at].store(row.stats().to_bits(), Ordering::Relaxed);
        chunk.slots[at].store(slot, Ordering::Relaxed);
        chunk.towers[at].store(*lists << LEVEL_BITS | level, Ordering::Relaxed);
        *lists += level;
        self.published.store(node + 1, Ordering::Release);
        Ok(node)
    }

    /// Gives a node an item, by the slot of that, or takes it away with [`NONE`].
    pub(super) fn set_slot(&self, node: u32, slot: u32) {
        if let Some(chunk) = self.chunks.load().get(node as usize / CHUNK) {
            chunk.slots[node as usize % CHUNK].store(slot, Ordering::Release);
        }
    }

    /// Makes a node the entry of a graph that has none; false if it has one.
    pub(super) fn begin(&self, node: u32) -> bool {
        self.entry.compare_exchange(0, self.entry_bits(node), Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Makes a node the entry if its level is higher than that of the entry there is.
    pub(super) fn raise(&self, node: u32) {
        let bits = self.entry_bits(node);
        let raise = |entry: u64| (entry >> 32 < bits >> 32).then_some(bits);
        // an error is an entry that stays
        let _ = self.entry.fetch_update(Ordering::AcqRel, Ordering::Acquire, raise);
    }

    fn entry_bits(&self, node: u32) -> u64 {
        (level_of(node, self.shape.connectivity) as u64 + 1) << 32 | u64::from(node)
    }

    /// The right to write to the lists of a node.
    pub(super) fn lock(&self, node: u32) -> MutexGuard<'_, ()> {
        self.locks[node as usize % LOCKS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The graph as of now.
    pub(super) fn moment(&self) -> Moment {
        // in this order: the entry is a node that is published, and a published node has its chunks
        let entry = self.entry.load(Ordering::Acquire);
        let nodes = self.published.load(Ordering::Acquire);
        Moment { shape: self.shape, entry, nodes, chunks: self.chunks.load(), upper: self.upper.load() }
    }
}

/// Adds a chunk; only one thread does at a time.
fn extend<T>(chunks: &ArcSwap<Vec<Arc<T>>>, chunk: T) {
    let mut longer = Vec::clone(&chunks.load());
    longer.push(Arc::new(chunk));
    chunks.store(Arc::new(longer));
}

/// Writes the codes of a row, with 128 added, and zeros up to the end.
fn write_row(lines: &[StoredLine], row: &NodeRow) {
    for (at, word) in lines.iter().flat_map(|line| &line.0).enumerate() {
        let byte = |within| row.codes().get(at * WORD + within).copied().unwrap_or(0);
        let bytes: [u8; WORD] = std::array::from_fn(|within| shifted(byte(within)));
        word.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
    }
}

/// The highest layer of a node: the layers thin out by the connectivity. The same for the same number, so a graph that
/// is built of the same items is the same.
pub(super) fn level_of(node: u32, connectivity: usize) -> usize {
    // a number that looks random (SplitMix64), as one between 0 and 1
    let mut bits = (u64::from(node) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    let uniform = ((bits ^ bits >> 31) >> 11) as f64 / (1_u64 << 53) as f64;
    let level = -(1.0 - uniform).ln() / (connectivity as f64).ln();
    (level as usize).min(TOP_LEVEL)
}

/// The chunks that there are at a moment, and how far they are filled.
pub(super) struct Moment {
    shape: ListShape,
    entry: u64,
    nodes: u32,
    chunks: Guard<Arc<Vec<Arc<Chunk>>>>,
    upper: Guard<Arc<Vec<Arc<UpperChunk>>>>,
}

impl Moment {
    pub(super) fn view(&self) -> View<'_> {
        let Self { shape, entry, nodes, ref chunks, ref upper } = *self;
        View { shape, entry, nodes, chunks, upper }
    }
}

/// The nodes that are published at a moment.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    shape: ListShape,
    entry: u64,
    nodes: u32,
    chunks: &'a [Arc<Chunk>],
    upper: &'a [Arc<UpperChunk>],
}

impl<'a> View<'a> {
    pub(super) const fn nodes(self) -> u32 {
        self.nodes
    }

    /// Where walks begin: the highest layer and a node of it.
    pub(super) fn entry(self) -> Option<(usize, u32)> {
        // the lower half is the node
        (self.entry > 0).then(|| ((self.entry >> 32) as usize - 1, self.entry as u32))
    }

    /// The links of a node in a layer, at most.
    pub(super) const fn most_links(self, layer: usize) -> usize {
        self.shape.most(layer)
    }

    /// The row of a node of the view.
    #[inline(always)]
    #[expect(unsafe_code, reason = "reads without atomics what nobody writes any more")]
    pub(super) fn row(self, node: u32) -> &'a [RowLine] {
        assert!(node < self.nodes, "a walk keeps to the nodes of its view");
        let count = self.shape.row_lines;
        let row = &self.chunks[node as usize / CHUNK].rows[node as usize % CHUNK * count..][..count];
        // SAFETY: the lines of a row are `count` lines of 64 bytes one after another, of the same size and alignment
        // either way, and any bytes are a line. Nothing writes to them while the slice lives: `Layout::append` alone
        // writes to rows, and each only before `published` was raised past its node, which the view has seen with
        // `Acquire`. The chunk lives as long as the slice.
        unsafe { std::slice::from_raw_parts(row.as_ptr().cast(), count) }
    }

    #[inline(always)]
    pub(super) fn stats(self, node: u32) -> Stats {
        Stats::from_bits(self.chunks[node as usize / CHUNK].stats[node as usize % CHUNK].load(Ordering::Relaxed))
    }

    /// The place of a node's statistics, to ask the cache for.
    #[inline(always)]
    pub(super) fn stats_place(self, node: u32) -> &'a AtomicU64 {
        &self.chunks[node as usize / CHUNK].stats[node as usize % CHUNK]
    }

    /// The slot of a node's item, or [`NONE`].
    #[inline(always)]
    pub(super) fn slot(self, node: u32) -> u32 {
        self.chunks[node as usize / CHUNK].slots[node as usize % CHUNK].load(Ordering::Acquire)
    }

    fn tower(self, node: u32) -> u32 {
        self.chunks[node as usize / CHUNK].towers[node as usize % CHUNK].load(Ordering::Relaxed)
    }

    /// The highest layer that a node is in.
    pub(super) fn level(self, node: u32) -> usize {
        (self.tower(node) & ((1 << LEVEL_BITS) - 1)) as usize
    }

    /// The lines of a node's list in a layer that the node is in.
    #[inline(always)]
    pub(super) fn list(self, node: u32, layer: usize) -> &'a [LinkLine] {
        if layer == 0 {
            let count = self.shape.lowest_lines();
            &self.chunks[node as usize / CHUNK].links[node as usize % CHUNK * count..][..count]
        } else {
            let list = (self.tower(node) >> LEVEL_BITS) as usize + layer - 1;
            let count = self.shape.upper_lines();
            &self.upper[list / CHUNK][list % CHUNK * count..][..count]
        }
    }

    /// The links of a node in a layer that the node is in, to nodes of the view.
    #[inline(always)]
    pub(super) fn links(self, node: u32, layer: usize) -> impl Iterator<Item = u32> + use<'a> {
        let places = self.list(node, layer).iter().flat_map(|line| &line.0);
        let links = places.map(|link| link.load(Ordering::Acquire)).take_while(|&link| link != NONE);
        links.filter(move |&link| link < self.nodes)
    }

    /// The places of a node's links in a layer, to write to: all that there may be.
    pub(super) fn places(self, node: u32, layer: usize) -> impl Iterator<Item = &'a AtomicU32> + use<'a> {
        self.list(node, layer).iter().flat_map(|line| &line.0).take(self.most_links(layer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(node: u32) -> NodeRow {
        let codes = [node as i8 % 100, -7, (node / 100) as i8];
        NodeRow::new(codes.to_vec(), node as f32)
    }

    #[test]
    fn nodes_keep_their_parts_across_chunks() {
        let layout = Layout::new(3, 5);
        let before = layout.moment();
        for node in 0..10_000_u32 {
            assert_eq!(layout.append(&row(node), node * 2).unwrap(), node);
        }
        let after = layout.moment();
        assert_eq!((before.view().nodes(), after.view().nodes(), layout.nodes()), (0, 10_000, 10_000));
        let view = after.view();
        for node in 0..10_000 {
            assert_eq!(row(node).codes(), NodeRow::of(view.row(node), view.stats(node), 3).codes());
            assert_eq!((view.stats(node).scale, view.slot(node)), (node as f32, node * 2));
            assert_eq!(view.level(node), level_of(node, 5));
            for layer in 0..=view.level(node) {
                assert_eq!(view.links(node, layer).count(), 0);
                assert_eq!(view.places(node, layer).count(), if layer == 0 { 10 } else { 5 });
                view.places(node, layer).for_each(|place| place.store(node, Ordering::Release));
            }
        }
        for node in 0..10_000 {
            for layer in 0..=view.level(node) {
                assert!(view.links(node, layer).all(|link| link == node), "every list has a place of its own");
            }
        }
    }

    #[test]
    fn a_link_to_a_node_of_after_the_view_is_passed_over() {
        let layout = Layout::new(3, 4);
        layout.append(&row(0), 0).unwrap();
        let before = layout.moment();
        layout.append(&row(1), 1).unwrap();
        for (place, link) in before.view().places(0, 0).zip([1, 0]) {
            place.store(link, Ordering::Release);
        }
        assert_eq!(before.view().links(0, 0).collect::<Vec<_>>(), [0]);
        assert_eq!(layout.moment().view().links(0, 0).collect::<Vec<_>>(), [1, 0]);
    }

    #[test]
    fn the_entry_is_a_node_of_the_highest_level() {
        let layout = Layout::new(3, 4);
        assert_eq!(layout.moment().view().entry(), None);
        for node in 0..500 {
            layout.append(&row(node), node).unwrap();
            if !layout.begin(node) {
                layout.raise(node);
            }
        }
        let moment = layout.moment();
        let view = moment.view();
        let highest = (0..500).map(|node| view.level(node)).max().unwrap();
        let first = (0..500).find(|&node| view.level(node) == highest).unwrap();
        assert_eq!(view.entry(), Some((highest, first)));
    }

    #[test]
    fn levels_thin_out_by_the_connectivity() {
        let mut counts = [0_usize; TOP_LEVEL + 1];
        (0..160_000).for_each(|node| counts[level_of(node, 16)] += 1);
        let above = |level: usize| counts[level..].iter().sum::<usize>();
        assert!((9_500..10_500).contains(&above(1)), "{counts:?}");
        assert!((550..700).contains(&above(2)), "{counts:?}");
        assert!(above(6) == 0, "{counts:?}");
    }
}
