//! The graph form: an HNSW graph (arXiv 1603.09320) over the codes of a collection's vectors, for collections above a
//! size.
//!
//! A graph proposes candidates and nothing more. Whatever it proposes is looked up in the collection's memory and
//! compared exactly, so a node that is out of date costs a candidate's place and never a wrong answer. What has no
//! node yet, or another vector than its node, is *pending*: every search compares it as the scan does, beside the
//! graph's candidates. That is why an acknowledged write is found at once while the maintenance lets the graph follow.
//!
//! - [`hnsw`]: the graph itself; node n is the n-th vector added, and no node is ever taken out;
//! - [`layout`]: where nodes lie, and what of them is read while what is written: the memory model;
//! - [`row`]: what a node stands for, and distances; [`kernel`]: products of codes, for each kind of processor;
//! - [`search`]: walks; [`beam`]: what they have found; [`insert`] and [`select`]: how nodes are linked;
//! - [`tracker`]: which item has which node, and what is pending;
//! - [`snapshot`]: a graph on the disk; [`mod@file`]: its file.
//!
//! This room imports `storage` (syncing folders). What lets graphs follow is another room's:
//! [`maintenance`](super::maintenance). `unsafe` stands in the kernels, and in [`layout`] where it reads a row that nobody
//! writes any more.

mod beam;
mod file;
pub(crate) mod form;
pub(crate) mod hnsw;
mod insert;
mod kernel;
pub(crate) mod layout;
pub(crate) mod row;
mod search;
mod select;
pub(crate) mod snapshot;
pub(crate) mod tracker;

#[cfg(test)]
mod tests;

use std::{path::Path, time::Duration};

pub(crate) use self::{
    form::Form,
    row::NodeRow,
    snapshot::remove_orphaned,
    tracker::{GraphView, Graphs},
};

use self::snapshot::folder_of;

/// Settings of the graph form.
#[derive(Debug, Clone, PartialEq)]
pub struct GraphOptions {
    /// Items up to which a collection is scanned; above, it gets a graph.
    pub scan_items: u64,
    /// Filters that at most so many items pass are answered by a scan of those items.
    pub filter_scan_items: u64,
    /// Neighbours of a node in the upper layers of the graph; twice as many in the lowest.
    pub connectivity: usize,
    /// Candidates kept while a node is added.
    pub expansion_add: usize,
    /// Candidates kept while the graph is searched, at least; a search for more than half as many keeps twice what it
    /// asks for.
    pub expansion_search: usize,
    /// The share of the nearest items that searches are to find: where a sample finds less, more candidates are kept.
    /// 0 leaves them as they are.
    pub recall: f64,
    /// Writes after which the graph is saved.
    pub save_operations: u64,
    /// The time after which any unsaved write makes the graph be saved.
    pub save_interval: Duration,
    /// Per cent of the nodes that may be out of date before the graph is built anew.
    pub rebuild_percent: u64,
    /// The time between two checks of the graph's recall.
    pub check_interval: Duration,
}

impl Default for GraphOptions {
    fn default() -> Self {
        Self {
            scan_items: 200_000,
            filter_scan_items: 20_000,
            connectivity: 16,
            expansion_add: 100,
            expansion_search: 64,
            recall: 0.99,
            save_operations: 5_000,
            save_interval: Duration::from_secs(30),
            rebuild_percent: 25,
            check_interval: Duration::from_secs(60),
        }
    }
}

/// Removes what is saved of a collection's graph.
pub(crate) fn forget(database: &Path, number: u32) {
    snapshot::remove(&folder_of(database, number));
}

impl GraphOptions {
    /// Whether a collection without a graph gets one.
    pub(super) fn wants_graph(&self, count: u64) -> bool {
        count > self.scan_items
    }

    /// Whether a collection keeps the graph that it has: a fifth below the size where it got one, so that a
    /// collection that wavers around that size is not built again and again.
    pub(super) fn keeps_graph(&self, count: u64) -> bool {
        count > self.scan_items - self.scan_items / 5
    }
}
