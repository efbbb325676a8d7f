//! The slot of each node: a table that grows without ever moving, so that nobody waits for it.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, Ordering},
};

/// The slot of a node that stands for no item, and the node of a slot that has none.
pub(crate) const NONE: u32 = u32::MAX;

/// Nodes of the first block; each further one has twice as many as the one before.
const FIRST: usize = 1024;
/// Enough blocks for every u32.
const BLOCKS: usize = 23;

#[derive(Debug, Default)]
pub(crate) struct SlotTable {
    blocks: [OnceLock<Box<[AtomicU32]>>; BLOCKS],
}

impl SlotTable {
    /// The slot of a node, or [`NONE`].
    pub(crate) fn get(&self, node: u32) -> u32 {
        let (block, at) = place(node);
        let slot = self.blocks.get(block).and_then(OnceLock::get).and_then(|block| block.get(at));
        slot.map_or(NONE, |slot| slot.load(Ordering::Acquire))
    }

    pub(crate) fn set(&self, node: u32, slot: u32) {
        let (block, at) = place(node);
        let make = || std::iter::repeat_with(|| AtomicU32::new(NONE)).take(FIRST << block).collect();
        if let Some(place) = self.blocks.get(block).and_then(|block| block.get_or_init(make).get(at)) {
            place.store(slot, Ordering::Release);
        }
    }
}

/// The block of a node and its place there.
fn place(node: u32) -> (usize, usize) {
    // Block b begins at node FIRST · (2^b − 1).
    let shifted = node as usize + FIRST;
    let block = (shifted / FIRST).ilog2() as usize;
    (block, shifted - (FIRST << block))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_a_place_of_its_own() {
        let table = SlotTable::default();
        assert_eq!(table.get(0), NONE);
        for node in 0..10_000 {
            table.set(node, node * 2);
        }
        assert!((0..10_000).all(|node| table.get(node) == node * 2));
        assert_eq!(table.get(1 << 20), NONE);
    }

    #[test]
    fn the_last_node_has_a_place_and_blocks_follow_one_another() {
        assert!(place(u32::MAX).0 < BLOCKS);
        assert_eq!(
            (place(0), place(1023), place(1024), place(3071), place(3072)),
            ((0, 0), (0, 1023), (1, 0), (1, 2047), (2, 0))
        );
    }
}
