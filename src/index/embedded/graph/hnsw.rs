//! The graph: usearch behind one writer and any number of searches.
//!
//! Nodes are numbered in the order in which they are added and none is ever removed: a node whose vector is gone
//! stays as a way through the graph, and searches pass over it, because it has no slot. That keeps the graph as good
//! as it was built, where removing and reusing nodes lets its recall fall, and leaves rebuilding to maintenance.
//!
//! usearch lets searches run while its one writer adds. Only making room needs the graph to itself; a search that
//! comes then gets no answer and is for the scan.

use std::{
    path::Path,
    sync::{
        PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use roaring::RoaringBitmap;
use usearch::{Index, IndexOptions, MetricKind, ScalarKind};

use super::{
    distance::{NodeRow, row_distance, row_length},
    slots::{NONE, SlotTable},
};
use crate::{
    domain::Metric,
    error::{Error, Result},
};

/// What a graph is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) metric: Metric,
    pub(crate) dimension: usize,
    pub(crate) connectivity: usize,
    pub(crate) expansion_add: usize,
    pub(crate) expansion_search: usize,
    /// Searches that may run at once.
    pub(crate) searches: usize,
}

pub(crate) struct Hnsw {
    shape: Shape,
    /// Locked for writing only to make room.
    index: RwLock<Index>,
    slots: SlotTable,
    /// Candidates that searches keep now, at least.
    expansion: AtomicUsize,
}

impl Hnsw {
    /// An empty graph with room for so many nodes.
    pub(crate) fn new(shape: Shape, room: usize) -> Result<Self> {
        let mut index = Self::index(shape)?;
        Self::prepare(&mut index, shape, room)?;
        Ok(Self::of(shape, index))
    }

    /// The graph that [`save`](Self::save) wrote, of so many nodes; none of them has a slot yet.
    pub(crate) fn load(shape: Shape, path: &Path, nodes: usize) -> Result<Self> {
        let mut index = Self::index(shape)?;
        index.load(text(path)?).map_err(|error| failed("be loaded", error))?;
        if index.size() != nodes || index.dimensions() != row_length(shape.dimension) {
            return Err(Error::internal("a saved graph has other nodes than its list of keys"));
        }
        Self::prepare(&mut index, shape, nodes + nodes / 8 + 1024)?;
        Ok(Self::of(shape, index))
    }

    fn of(shape: Shape, index: Index) -> Self {
        let expansion = AtomicUsize::new(shape.expansion_search);
        Self { shape, index: RwLock::new(index), slots: SlotTable::default(), expansion }
    }

    fn index(shape: Shape) -> Result<Index> {
        let options = IndexOptions {
            dimensions: row_length(shape.dimension),
            // stands in for our own, which prepare() sets
            metric: MetricKind::IP,
            quantization: ScalarKind::I8,
            connectivity: shape.connectivity,
            expansion_add: shape.expansion_add,
            expansion_search: shape.expansion_search,
            multi: false,
        };
        Index::new(&options).map_err(|error| failed("be made", error))
    }

    /// Loading sets metric and expansions back, so both ways to a graph end here.
    fn prepare(index: &mut Index, shape: Shape, room: usize) -> Result<()> {
        index.change_metric::<i8>(row_distance(shape.metric, shape.dimension));
        index.change_expansion_add(shape.expansion_add);
        index.change_expansion_search(shape.expansion_search);
        reserve(index, shape, room)
    }

    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) const fn shape(&self) -> Shape {
        self.shape
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
        self.read().size()
    }

    /// Adds a node for the vector in a slot and returns its number. Called by one thread only.
    pub(crate) fn add(&self, row: &NodeRow, slot: u32) -> Result<u32> {
        let mut index = self.read();
        if index.size() == index.capacity() {
            drop(index);
            self.grow()?;
            index = self.read();
        }
        let node = u32::try_from(index.size()).ok().filter(|&node| node != NONE);
        let node = node.ok_or_else(|| Error::internal("no number is left for a node of a graph"))?;
        // Before the node can be found, so that whoever finds it finds its slot.
        self.slots.set(node, slot);
        index.add(u64::from(node), row.as_slice()).map_err(|error| failed("take a node", error))?;
        Ok(node)
    }

    fn grow(&self) -> Result<()> {
        let index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        reserve(&index, self.shape, index.size() + index.size() / 2 + 1024)
    }

    /// Gives a node an item, by the slot of that.
    pub(crate) fn set_slot(&self, node: u32, slot: u32) {
        self.slots.set(node, slot);
    }

    /// Takes a node's item from it.
    pub(crate) fn clear(&self, node: u32) {
        self.slots.set(node, NONE);
    }

    /// The slots of about `count` items that lie near the row and are among `allowed`; none if the graph cannot
    /// answer now.
    pub(crate) fn search(&self, row: &NodeRow, count: usize, allowed: Option<&RoaringBitmap>) -> Option<RoaringBitmap> {
        let index = self.index.try_read().ok()?;
        // every node was made from a u32
        let slot = |node: u64| self.slots.get(node as u32);
        let passes = |node: u64| {
            let slot = slot(node);
            slot != NONE && allowed.is_none_or(|allowed| allowed.contains(slot))
        };
        match index.filtered_search(row.as_slice(), count, passes) {
            // a node may have lost its item meanwhile
            Ok(found) => Some(found.keys.into_iter().map(slot).filter(|&slot| slot != NONE).collect()),
            Err(error) => {
                tracing::warn!(reason = %error, "a graph could not be searched; the scan answers");
                None
            }
        }
    }

    /// The row of a node.
    pub(crate) fn row(&self, node: u32) -> Option<Vec<i8>> {
        let mut row = vec![0; row_length(self.shape.dimension)];
        self.read().get(u64::from(node), &mut row).ok().filter(|&count| count == 1).map(|_| row)
    }

    /// Writes the graph into a new file; returns how many bytes it has to have.
    pub(crate) fn save(&self, path: &Path) -> Result<u64> {
        let index = self.read();
        index.save(text(path)?).map_err(|error| failed("be saved", error))?;
        Ok(index.serialized_length() as u64)
    }
}

/// Makes room for nodes, for every search that may run at once, and for the writer.
fn reserve(index: &Index, shape: Shape, room: usize) -> Result<()> {
    index.reserve_capacity_and_threads(room, shape.searches + 1).map_err(|error| failed("have more room", error))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| Error::internal("a graph is saved only under a path that is text"))
}

fn failed(what: &str, error: impl std::fmt::Display) -> Error {
    Error::internal(format!("a graph cannot {what}: {error}"))
}
