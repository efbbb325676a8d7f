//! A collection as one search sees it.

use std::sync::Arc;

use roaring::RoaringBitmap;

use super::scan::Scope;
use crate::{
    error::Result,
    index::embedded::{
        graph::GraphView,
        memory::{Chunks, Row},
        quantized::{codes::QuantizedQuery, nibbles::CHUNK_SLOTS},
        storage::rows::Reader,
    },
};

/// A collection as of one moment: memory and database agree.
pub(crate) struct View {
    pub(crate) reader: Arc<Reader>,
    pub(crate) chunks: Chunks,
    /// The slots that pass the filter; none if there was no filter.
    pub(crate) allowed: Option<RoaringBitmap>,
    /// Items, whether they pass or not.
    pub(crate) count: u64,
    pub(crate) graph: Option<GraphView>,
}

impl View {
    /// One more than the last slot.
    pub(crate) fn slots(&self) -> u32 {
        let rows = self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK_SLOTS + last.rows.len());
        // slots are u32
        rows as u32
    }

    /// What is kept of a slot.
    pub(crate) fn row(&self, slot: u32) -> Option<&Row> {
        self.chunks.get(slot as usize / CHUNK_SLOTS)?.rows.get(slot as usize % CHUNK_SLOTS)
    }

    /// The key of the item in a slot.
    pub(crate) fn key(&self, slot: u32) -> Option<u64> {
        self.row(slot)?.key
    }

    /// The exact score of an item.
    pub(crate) fn score(&self, key: u64, quantized: &QuantizedQuery) -> Result<Option<f32>> {
        self.reader.vector(key, |row| quantized.score(row))
    }

    /// The keys that pass the filter, ascending.
    pub(crate) fn keys(&self) -> Vec<u64> {
        let scope = Scope { chunks: &self.chunks, allowed: self.allowed.as_ref(), excluded: None };
        let mut keys = scope.keys();
        keys.sort_unstable();
        keys
    }
}
