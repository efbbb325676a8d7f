//! Taking up a saved graph when a collection is opened: only if it fits the database, and then only what still holds.

use std::{collections::HashSet, path::Path, sync::Arc};

use super::{
    recall,
    steps::{PENDING_SHARE, row_of},
};
use crate::{
    error::{Error, Result},
    index::embedded::{
        core::Core,
        graph::{
            snapshot::{self, Saved, folder_of},
            tracker::Tracker,
        },
        memory::Memory,
        storage::log::{self, Keep},
    },
};

impl Core {
    /// Takes up the graph that was saved for a collection that is being opened. What is wrong with it is logged, and
    /// then maintenance builds another.
    pub(crate) fn restore_graph(&self) {
        let count = self.peek(Memory::count).unwrap_or(0);
        let folder = folder_of(self.shared.database.path(), self.number());
        let restored = if self.shared.graph.keeps_graph(count) { self.try_restore(&folder) } else { Ok(false) };
        match restored {
            Ok(true) => self.show_progress(),
            Ok(false) => snapshot::remove(&folder),
            Err(error) => {
                tracing::warn!(collection = %self.spec.name, reason = error.chain(), "the saved graph is of no use and is built again");
                snapshot::remove(&folder);
            }
        }
    }

    fn try_restore(&self, folder: &Path) -> Result<bool> {
        let Some(saved) = snapshot::load(folder, self.shape())? else { return Ok(false) };
        let sequence = saved.sequence;
        saved.graph.expand(recall::taken_up(&self.shared.graph, saved.expansion));
        let operations = log::after(&self.shared.database.snapshot()?, &self.tables, sequence)?;
        let operations = operations.ok_or_else(|| Error::internal("the log does not reach back to the saved graph"))?;
        let changed = operations.iter().map(|operation| operation.key).collect();
        let restored = self.alter(|memory| {
            let tracker = restore(memory, saved, &changed, self.spec.dimension)?;
            let ready = tracker.pending().len() <= memory.count() / PENDING_SHARE;
            let place = if ready { &mut memory.graphs.serving } else { &mut memory.graphs.growing };
            *place = Some(tracker);
            self.log_keeping.keep(Keep::After(sequence));
            Ok(true)
        });
        restored.unwrap_or(Ok(false))
    }
}

/// Maps the nodes of a saved graph to the items in memory, but for those that have changed since.
fn restore(memory: &Memory, saved: Saved, changed: &HashSet<u64>, dimension: usize) -> Result<Tracker> {
    let mismatch = |what: &str| Error::internal(format!("the saved graph does not fit the database: {what}"));
    let graph = Arc::new(saved.graph);
    let chunks = memory.chunks();
    // Enough to tell a graph of something else from this collection's.
    let every = (saved.keys.len() / 1000).max(1);
    let mut tracker = Tracker::new(Arc::clone(&graph), memory.used());
    for (node, &key) in (0_u32..).zip(&saved.keys) {
        if key == 0 || changed.contains(&key) {
            continue;
        }
        let slot = memory.slot(key).ok_or_else(|| mismatch("it has an item that is not there"))?;
        if !tracker.pending().contains(slot) {
            return Err(mismatch("it has an item twice"));
        }
        if (node as usize).is_multiple_of(every) {
            if !graph.holds(node, &row_of(&chunks, slot, dimension)) {
                return Err(mismatch("a node has another vector than its item"));
            }
        }
        tracker.map(slot, node);
    }
    Ok(tracker)
}
