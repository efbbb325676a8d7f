//! What maintenance does for one collection: a bounded step at a time, none of which a search waits for.

use std::{
    num::NonZero,
    sync::Arc,
    thread::{self, available_parallelism},
    time::{Duration, Instant},
};

use super::recall::{self, Checked, RecallSamples};
use crate::{
    error::{Error, Result},
    index::embedded::{
        core::Core,
        graph::{
            NodeRow,
            form::Form,
            hnsw::{Hnsw, Shape},
            layout::NONE,
            snapshot::{self, folder_of},
            tracker::{Graphs, Tracker},
        },
        memory::Chunks,
        quantized::nibbles::CHUNK_SLOTS,
        storage::log::Keep,
    },
    threads::yield_to_others,
};

/// Items added in one step.
const STEP: usize = 64;
/// A growing graph answers as soon as at most one in so many items is pending.
pub(crate) const PENDING_SHARE: u64 = 20;
/// Fewer nodes out of date are no reason to build anew.
const FEW: u64 = 64;
/// Checks come so many times sooner while what they have found leaves open whether it is enough.
const SOONER: u32 = 6;
/// The time between two attempts at what has failed.
const RETRY: Duration = Duration::from_secs(60);
/// Saving takes at most one part in so many of the time.
const SAVE_SHARE: u32 = 10;

/// What maintenance remembers of a collection between two steps.
#[derive(Debug)]
pub(crate) struct MaintenanceState {
    /// When the growing graph was begun.
    begun: Instant,
    /// Operations and nodes that the last save held; none before the first.
    saved: Option<u64>,
    /// Since when there is something that is not saved.
    unsaved_since: Option<Instant>,
    next_save: Instant,
    next_check: Instant,
    next_try: Instant,
    /// What the checks of the graph that serves have found.
    samples: RecallSamples,
}

impl Default for MaintenanceState {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            begun: now,
            saved: None,
            unsaved_since: None,
            next_save: now,
            next_check: now,
            next_try: now,
            samples: RecallSamples::default(),
        }
    }
}

#[cfg(test)]
impl MaintenanceState {
    /// Lets everything that waits for its time be due.
    pub(crate) fn make_due(&mut self) {
        let now = Instant::now();
        (self.next_save, self.next_check, self.next_try) = (now, now, now);
    }
}

/// Selects one of a collection's graphs.
type GraphSelector = fn(&mut Graphs) -> &mut Option<Tracker>;
const SERVING: GraphSelector = |graphs| &mut graphs.serving;
const GROWING: GraphSelector = |graphs| &mut graphs.growing;

impl Core {
    /// Does the next step for this collection; `true` if there is another one to do at once.
    pub(crate) fn maintain(&self, state: &mut MaintenanceState) -> bool {
        self.step(state).unwrap_or_else(|error| {
            self.abandon(&error, state);
            false
        })
    }

    fn step(&self, state: &mut MaintenanceState) -> Result<bool> {
        let options = &self.shared.graph;
        let Some((count, without_graph)) = self.peek(|memory| (memory.count(), memory.graphs.is_empty())) else {
            return Ok(false);
        };
        let now = Instant::now();
        if without_graph {
            if !options.wants_graph(count) {
                self.show(Form::Scan);
            } else if now >= state.next_try {
                self.begin(state);
                return Ok(true);
            }
            return Ok(false);
        }
        if !options.keeps_graph(count) {
            self.leave();
            *state = MaintenanceState::default();
            return Ok(false);
        }
        // Until a first graph serves, searches scan, and wait for it: every core builds, behind all that answers.
        let is_first = self.peek(|memory| memory.graphs.serving.is_none()) == Some(true);
        let threads = if is_first { available_parallelism().map_or(1, NonZero::get) } else { 1 };
        let busy = self.add_some(SERVING, 1)? | self.add_some(GROWING, threads)?;
        self.promote(state);
        self.rebuild_if_outdated(state);
        // a save and a check take a while, and the form is what it is before them
        self.show_progress();
        self.save_if_due(state);
        if self.check_if_due(state) {
            self.show_progress();
        }
        Ok(busy)
    }

    pub(crate) fn shape(&self) -> Shape {
        let options = &self.shared.graph;
        Shape {
            metric: self.spec.metric,
            dimension: self.spec.dimension,
            connectivity: options.connectivity,
            expansion_add: options.expansion_add,
            expansion_search: options.expansion_search,
        }
    }

    /// Begins a graph that has none of the items yet.
    fn begin(&self, state: &mut MaintenanceState) {
        let graph = Arc::new(Hnsw::new(self.shape()));
        state.begun = Instant::now();
        self.alter(|memory| {
            if memory.graphs.is_empty() {
                self.log_keeping.keep(Keep::After(memory.sequence()));
            }
            memory.graphs.growing = Some(Tracker::new(graph, memory.used()));
        });
        self.show_progress();
    }

    /// Adds some of the pending items to a graph with so many threads; `true` if more are pending.
    fn add_some(&self, select: GraphSelector, threads: usize) -> Result<bool> {
        let taken = self.alter(|memory| {
            let chunks = memory.chunks();
            select(&mut memory.graphs).as_mut().map(|tracker| {
                tracker.retire();
                (Arc::clone(tracker.graph()), tracker.take(STEP), chunks)
            })
        });
        let Some((graph, slots, chunks)) = taken.flatten() else { return Ok(false) };
        if slots.is_empty() {
            return Ok(false);
        }
        let add = |slot| {
            yield_to_others();
            graph.add(&row_of(&chunks, slot, self.spec.dimension), slot).map(|node| (slot, node))
        };
        let added = on_threads(&slots, threads, add)?;
        let left = self.alter(|memory| {
            select(&mut memory.graphs).as_mut().map(|tracker| {
                tracker.added(&added);
                tracker.pending().len()
            })
        });
        Ok(left.flatten().is_some_and(|left| left > 0))
    }

    /// Lets the growing graph serve once it has nearly all items, or at least as many as the one that serves.
    fn promote(&self, state: &mut MaintenanceState) {
        let old = self.alter(|memory| {
            let count = memory.count();
            let serving_pending = memory.graphs.serving.as_ref().map_or(0, |serving| serving.pending().len());
            let most = (count / PENDING_SHARE).max(serving_pending);
            let ready = memory.graphs.growing.take_if(|growing| growing.pending().len() <= most)?;
            if let Some(serving) = &memory.graphs.serving {
                ready.graph().expand(serving.graph().expansion());
            }
            Some(memory.graphs.serving.replace(ready))
        });
        let Some(old) = old.flatten() else { return };
        self.shared.metrics.observe_graph_build(self.spec.name.as_str(), state.begun.elapsed().as_secs_f64());
        let seconds = state.begun.elapsed().as_secs_f64();
        tracing::info!(collection = %self.spec.name, duration_seconds = seconds, "a graph is built and answers searches");
        // what was saved is older than what serves now
        state.saved = None;
        state.next_save = Instant::now();
        state.next_check = Instant::now();
        state.samples = RecallSamples::default();
        drop(old);
    }

    /// Begins to rebuild the graph when too many nodes of the one that serves are out of date.
    fn rebuild_if_outdated(&self, state: &mut MaintenanceState) {
        let percent = self.shared.graph.rebuild_percent;
        let outdated = self.peek(|memory| {
            let Graphs { serving: Some(serving), growing: None } = &memory.graphs else { return false };
            let (outdated, nodes) = (serving.outdated(), serving.graph().nodes() as u64);
            outdated >= FEW && outdated.saturating_mul(100) > nodes.saturating_mul(percent)
        });
        if outdated == Some(true) {
            self.begin(state);
        }
    }

    /// Saves the graph that serves, or else the one that grows, when enough has happened since the last time.
    fn save_if_due(&self, state: &mut MaintenanceState) {
        let options = &self.shared.graph;
        let now = Instant::now();
        let Some((held, serves, whole)) = self.unsaved(state) else {
            state.unsaved_since = None;
            return;
        };
        let since = *state.unsaved_since.get_or_insert(now);
        // The first time as soon as everything is in it, then after so many operations.
        let much = serves && state.saved.map_or(whole, |saved| held.saturating_sub(saved) >= options.save_operations);
        if now < state.next_save || !(much || now.duration_since(since) >= options.save_interval) {
            return;
        }
        match self.save_graph() {
            Ok(()) => {
                let cost = now.elapsed();
                self.shared.metrics.observe_graph_save(self.spec.name.as_str(), cost.as_secs_f64());
                state.saved = Some(held);
                state.unsaved_since = None;
                state.next_save = Instant::now() + cost * (SAVE_SHARE - 1);
            }
            Err(error) => {
                tracing::warn!(collection = %self.spec.name, reason = error.chain(), "a graph cannot be saved; opening the index again will take longer");
                state.next_save = now + RETRY;
            }
        }
    }

    /// Saves what is not saved, however little: the index is closed, and the next start has nothing to catch up with.
    pub(crate) fn save_last(&self, state: &MaintenanceState) {
        if self.unsaved(state).is_some()
            && let Err(error) = self.save_graph()
        {
            tracing::warn!(collection = %self.spec.name, reason = error.chain(), "a graph could not be saved at the end; opening the index again will take longer");
        }
    }

    /// Operations and nodes of the graph to save, whether it serves and whether it has everything; none if it is saved,
    /// or cannot be saved yet.
    fn unsaved(&self, state: &MaintenanceState) -> Option<(u64, bool, bool)> {
        // Before memory is read: once no such write is under way, memory has all that the log has not.
        if self.log_keeping.has_unlogged_write() {
            return None;
        }
        let held = self.peek(|memory| {
            let Graphs { serving, growing } = &memory.graphs;
            let tracker = serving.as_ref().or(growing.as_ref())?;
            let held = memory.sequence() + tracker.graph().nodes() as u64;
            Some((held, serving.is_some(), tracker.pending().is_empty()))
        });
        held.flatten().filter(|(held, ..)| state.saved != Some(*held))
    }

    /// Saves a graph as of the last write that memory has followed, and lets go of the log up to there.
    fn save_graph(&self) -> Result<()> {
        let captured = self.peek(|memory| {
            let tracker = memory.graphs.serving.as_ref().or(memory.graphs.growing.as_ref())?;
            let nodes = tracker.nodes().to_vec();
            Some((
                Arc::clone(tracker.graph()),
                nodes,
                Arc::clone(tracker.pending()),
                memory.chunks(),
                memory.sequence(),
            ))
        });
        let Some((graph, nodes, pending, chunks, sequence)) = captured.flatten() else { return Ok(()) };
        let mut keys = vec![0; graph.nodes()];
        for (slot, &node) in (0_u32..).zip(&nodes) {
            let key = chunks
                .get(slot as usize / CHUNK_SLOTS)
                .and_then(|chunk| chunk.rows.get(slot as usize % CHUNK_SLOTS)?.key);
            if let Some(key) = key.filter(|_| node != NONE && !pending.contains(slot)) {
                keys[node as usize] = key;
            }
        }
        let folder = folder_of(self.shared.database.path(), self.number());
        snapshot::save(&folder, &graph, &keys, sequence)?;
        self.log_keeping.keep(Keep::After(sequence));
        if self.peek(|_| ()).is_none() {
            // the collection was dropped meanwhile
            snapshot::remove(&folder);
        }
        Ok(())
    }

    /// Compares the graph with the exact scan, and lets searches keep more or fewer candidates if that is called for;
    /// `true` if it was time to.
    fn check_if_due(&self, state: &mut MaintenanceState) -> bool {
        let now = Instant::now();
        if now < state.next_check {
            return false;
        }
        let interval = self.shared.graph.check_interval;
        state.next_check = now + interval;
        let before = self.peek(|memory| memory.graphs.serving.as_ref().map(|serving| serving.graph().expansion()));
        match recall::check(self, &mut state.samples) {
            Ok(Some(Checked { recall, expansion, open })) => {
                if open {
                    state.next_check = now + interval / SOONER;
                }
                if before.flatten() != Some(expansion) {
                    self.keep_expansion(expansion);
                }
                self.shared.metrics.set_graph_recall(self.spec.name.as_str(), recall, expansion);
                if recall < recall::LOW {
                    tracing::warn!(collection = %self.spec.name, recall, expansion, "the graph misses many nearest items; raise index.graph_expansion_search or index.scan_items");
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(collection = %self.spec.name, reason = error.chain(), "the recall of the graph could not be sampled")
            }
        }
        true
    }

    /// Notes beside the saved graph how many candidates its searches keep, for the next time it is opened.
    fn keep_expansion(&self, expansion: usize) {
        let folder = folder_of(self.shared.database.path(), self.number());
        if let Err(error) = snapshot::note_expansion(&folder, expansion) {
            tracing::warn!(collection = %self.spec.name, reason = error.chain(), "the candidates of a graph could not be noted; checks find them again after a restart");
        }
    }

    pub(crate) fn show_progress(&self) {
        let form = self.peek(|memory| {
            let count = memory.count().max(1);
            let percent = |growing: &Tracker| 100 * (count - growing.pending().len().min(count)) / count;
            let growing = memory.graphs.growing.as_ref().map(percent);
            let pending = memory.graphs.serving.as_ref().map_or(0, |serving| serving.pending().len());
            let form = match (&memory.graphs.serving, growing) {
                (Some(serving), rebuilding) => {
                    Form::Graph { pending, rebuilding, expansion: serving.graph().expansion() }
                }
                (None, Some(percent)) => Form::Building { percent },
                (None, None) => Form::Scan,
            };
            (form, pending)
        });
        if let Some((form, pending)) = form {
            self.shared.metrics.set_graph_pending(self.spec.name.as_str(), pending);
            self.show(form);
        }
    }

    /// Goes back to scanning: the collection has become small.
    fn leave(&self) {
        self.forget_graphs();
        self.show(Form::Scan);
    }

    /// Goes back to scanning after a failure, for a while.
    pub(crate) fn abandon(&self, error: &Error, state: &mut MaintenanceState) {
        tracing::error!(collection = %self.spec.name, reason = error.chain(), "a graph failed; the scan answers");
        self.forget_graphs();
        self.show(Form::Failed { reason: error.message().to_owned() });
        *state = MaintenanceState { next_try: Instant::now() + RETRY, ..MaintenanceState::default() };
    }

    fn forget_graphs(&self) {
        let graphs = self.alter(|memory| {
            self.log_keeping.keep(Keep::Nothing);
            std::mem::take(&mut memory.graphs)
        });
        // outside of the lock, for it takes a while to free one
        drop(graphs);
        snapshot::remove(&folder_of(self.shared.database.path(), self.number()));
        self.shared.metrics.forget_graph(self.spec.name.as_str());
    }
}

/// Does the work for each of the slots, on the calling thread and, where there is much, on others of its priority.
fn on_threads<T: Send>(slots: &[u32], threads: usize, work: impl Fn(u32) -> Result<T> + Sync) -> Result<Vec<T>> {
    let work_through = |slots: &[u32]| slots.iter().map(|&slot| work(slot)).collect::<Result<Vec<T>>>();
    if threads == 1 || slots.len() < STEP {
        return work_through(slots);
    }
    let (own, others) = slots.split_at(slots.len().div_ceil(threads));
    thread::scope(|scope| {
        let others: Vec<_> = others.chunks(own.len()).map(|part| scope.spawn(|| work_through(part))).collect();
        let mut all = work_through(own)?;
        for other in others {
            let done = other.join().map_err(|_| Error::internal("a thread that builds a graph has panicked"))?;
            all.extend(done?);
        }
        Ok(all)
    })
}

/// The vector in a slot as the graph takes it.
pub(crate) fn row_of(chunks: &Chunks, slot: u32, dimension: usize) -> NodeRow {
    let (chunk, at) = (&chunks[slot as usize / CHUNK_SLOTS], slot as usize % CHUNK_SLOTS);
    NodeRow::new(chunk.packed.codes(at, dimension), chunk.rows[at].stats.scale())
}
