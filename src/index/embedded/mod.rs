//! The embedded engine: redb is the source of truth, and what is searched is derived from it.
//!
//! A write is one redb transaction for the whole request, on the disk before the answer; then memory follows in the
//! same task, and the two are published together, so a reader sees both as of the same commit. Writes take turns.
//! Reads take a lock only to pick up the current state and evaluate a filter; scanning holds none.
//!
//! Scores are exact: the int8 scan keeps every item whose score its error bound allows into the answer, and those
//! are compared in f32. Above a size, a [`graph`] proposes which items to compare.

mod core;
mod cursor;
mod deletion_queue;
mod facets;
mod graph;
mod import;
mod maintenance;
mod memory;
mod quantized;
mod sample;
mod search;
mod signal;
mod storage;
mod tasks;
mod write;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    thread::available_parallelism,
    time::Instant,
};

use async_trait::async_trait;
use futures_util::future::join_all;

pub use self::graph::GraphOptions;

use self::{
    core::Core,
    deletion_queue::EmbeddedQueue,
    maintenance::worker::MaintenanceWorker,
    storage::{
        database::{Database, Outcome, Purpose},
        rows,
    },
    tasks::{Shared, Writing},
};
use super::{
    Bounds, Collection, CollectionInfo, CollectionRead, CollectionSpec, CollectionWrite, Deleted, DeletionQueue, Facet,
    Hit, ImageRef, Import, IndexEngine, NewItem, Page, Query, StoredItem, Written,
    reads::{ReadCost, ReadKind, ReadPermit},
    rules::{check_dimension, not_found, taken},
};
use crate::{
    compute::{Cancelled, CpuPool, Priority},
    config::Limits,
    domain::{CollectionName, FieldPath, Filter, ItemId, Metadata, TopK},
    error::Result,
    telemetry::Metrics,
};

/// Settings of the embedded engine.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// Bytes of database pages kept in memory, beside the codes.
    pub cache_bytes: usize,
    /// Reads that may run at once; more wait.
    pub read_threads: usize,
    /// Reads admitted and not yet finished, at most.
    pub max_reads: u64,
    /// Writes admitted and not yet finished, at most.
    pub max_writes: u64,
    pub graph: GraphOptions,
    /// Where vectors and metadata are encoded before they are written; none: on the thread that asks, which is good
    /// enough where no request waits for that thread.
    pub pool: Option<Arc<CpuPool>>,
    pub metrics: Arc<Metrics>,
}

impl Default for EmbeddedOptions {
    /// 256 MiB of cache, one read for each core.
    fn default() -> Self {
        let cores = available_parallelism().map_or(1, std::num::NonZero::get);
        let limits = Limits::default();
        Self {
            cache_bytes: 256 << 20,
            read_threads: cores,
            max_reads: limits.index_reads as u64,
            max_writes: limits.index_writes as u64,
            graph: GraphOptions::default(),
            pool: None,
            metrics: Arc::default(),
        }
    }
}

/// The engine in this process, over one database file.
pub struct EmbeddedEngine {
    /// Both before what they work on, and the writes before what follows them.
    _writing: Writing,
    maintenance: Option<MaintenanceWorker>,
    shared: Arc<Shared>,
    collections: Arc<Collections>,
}

#[derive(Default)]
struct Collections(RwLock<BTreeMap<CollectionName, Arc<Core>>>);

impl Collections {
    fn find(&self, name: &CollectionName) -> Option<Arc<Core>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn all(&self) -> Vec<Arc<Core>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn add(&self, core: Arc<Core>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(core.spec.name.clone(), core);
    }

    fn remove(&self, name: &CollectionName) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

impl EmbeddedEngine {
    /// Opens or makes the database under `path` and reads its collections into memory. Blocks for the while that
    /// takes, a second or so for a few hundred thousand items.
    ///
    /// Another process that has it open, a newer schema and an unreadable file are errors that say so.
    pub fn open(path: &Path, options: EmbeddedOptions) -> Result<Self> {
        let mut engine = Self::open_without_maintenance(path, options)?;
        let (signal, collections) = (Arc::clone(&engine.shared.signal), Arc::clone(&engine.collections));
        engine.maintenance = Some(MaintenanceWorker::start(signal, collections)?);
        Ok(engine)
    }

    /// Opens as [`open`](Self::open) does, without the thread that maintains the graphs: for a piece of work after which the
    /// index is closed.
    pub fn open_without_maintenance(path: &Path, options: EmbeddedOptions) -> Result<Self> {
        let database = Database::open(path, options.cache_bytes)?;
        let (shared, writing) = Shared::new(database, options)?;
        let shared = Arc::new(shared);
        let collections = Collections::default();
        let entries = rows::catalogue(&shared.database.snapshot()?)?;
        graph::remove_orphaned(shared.database.path(), &entries.values().map(|entry| entry.number).collect());
        for entry in entries.into_values() {
            if entry.unfinished {
                import::remove_unfinished(&shared, &entry)?;
            } else {
                collections.add(Arc::new(Core::load(Arc::clone(&shared), entry)?));
            }
        }
        shared.deletions.show(&shared.database.snapshot()?);
        Ok(Self { _writing: writing, maintenance: None, shared, collections: Arc::new(collections) })
    }
}

fn create(shared: &Arc<Shared>, collections: &Collections, spec: CollectionSpec) -> Result<bool> {
    if let Some(existing) = collections.find(&spec.name) {
        return if existing.spec == spec { Ok(false) } else { Err(taken(&spec.name)) };
    }
    let written =
        shared.database.write(|transaction| rows::create_collection(transaction, &spec).map(Outcome::Commit))?;
    if let Some(snapshot) = written.snapshot {
        shared.database.publish(snapshot);
    }
    // Nothing may fail from here on: the collection is in the catalogue.
    collections.add(Arc::new(Core::empty(Arc::clone(shared), written.value)));
    Ok(true)
}

fn drop_collection(collections: &Collections, name: &CollectionName) -> Result<()> {
    let core = collections.find(name).ok_or_else(|| not_found(name))?;
    drop_core(&core)?;
    collections.remove(name);
    Ok(())
}

/// Removes a collection, whose images are in the deletion queue then.
fn drop_core(core: &Core) -> Result<()> {
    // A collection that is dropped already has no tables.
    core.info()?;
    let shared = &core.shared;
    let drop = |transaction: &_| rows::drop_collection(transaction, &core.spec, &core.tables).map(Outcome::Commit);
    let written = shared.database.with_reserve(|| shared.database.run(Purpose::Removing, drop))?;
    if let Some(snapshot) = written.snapshot {
        let queued = Arc::clone(&snapshot);
        core.follow(snapshot, |memory| *memory = None);
        shared.deletions.wake(&queued);
    }
    graph::forget(shared.database.path(), core.number());
    Ok(())
}

#[async_trait]
impl IndexEngine for EmbeddedEngine {
    async fn create(&self, spec: CollectionSpec) -> Result<bool> {
        check_dimension(&spec)?;
        let (shared, collections) = (Arc::clone(&self.shared), Arc::clone(&self.collections));
        self.shared.write(Bounds::default(), move || create(&shared, &collections, spec)).await
    }

    async fn open(&self, name: &CollectionName) -> Result<Arc<dyn Collection>> {
        let core = self.collections.find(name).ok_or_else(|| not_found(name))?;
        Ok(Arc::new(EmbeddedCollection { core, bounds: Bounds::default() }))
    }

    async fn list(&self) -> Result<Vec<CollectionInfo>> {
        // One that is dropped meanwhile is left out.
        Ok(self.collections.all().iter().filter_map(|core| core.info().ok()).collect())
    }

    async fn drop_collection(&self, name: &CollectionName) -> Result<Vec<ImageRef>> {
        let (collections, name) = (Arc::clone(&self.collections), name.clone());
        self.shared.write(Bounds::default(), move || drop_collection(&collections, &name)).await?;
        Ok(Vec::new())
    }

    fn deletion_queue(&self) -> Option<Arc<dyn DeletionQueue>> {
        Some(Arc::new(EmbeddedQueue::new(&self.shared)))
    }

    async fn begin_import(&self, spec: CollectionSpec) -> Result<Box<dyn Import>> {
        Ok(Box::new(import::begin(self, spec).await?))
    }

    fn readiness(&self) -> Result<(), String> {
        self.shared.readiness.get()
    }

    async fn probe(&self) -> Result<()> {
        self.shared.probe().await
    }
}

/// A handle of a collection; once it is dropped, every operation is `collection_not_found`.
struct EmbeddedCollection {
    core: Arc<Core>,
    bounds: Bounds,
}

impl EmbeddedCollection {
    /// Does a read of this cost, if it can be done in time.
    async fn read<T: Send + 'static>(
        &self,
        cost: ReadCost,
        work: impl FnOnce(&Core, &Cancelled) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let permits = self.core.shared.admit(&[self.core.read_times.predict(cost)], self.bounds)?;
        self.admitted(cost, permits.into_iter().next().flatten(), work).await
    }

    /// Does a read that was admitted, and learns how long it takes unless other threads do the like.
    async fn admitted<T: Send + 'static>(
        &self,
        cost: ReadCost,
        permit: Option<ReadPermit>,
        work: impl FnOnce(&Core, &Cancelled) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (core, foreground) = (Arc::clone(&self.core), self.bounds.priority == Priority::Foreground);
        let timed = move |cancelled: &Cancelled| {
            let started = Instant::now();
            let outcome = work(&core, cancelled);
            if foreground && outcome.is_ok() {
                core.read_times.observe(cost, started.elapsed());
            }
            outcome
        };
        self.core.shared.read(self.bounds, permit, timed).await
    }

    async fn write<T: Send + 'static>(&self, work: impl FnOnce(&Core) -> Result<T> + Send + 'static) -> Result<T> {
        let core = Arc::clone(&self.core);
        self.core.shared.write(self.bounds, move || work(&core)).await
    }
}

#[async_trait]
impl CollectionRead for EmbeddedCollection {
    fn spec(&self) -> &CollectionSpec {
        &self.core.spec
    }

    async fn info(&self) -> Result<CollectionInfo> {
        self.core.info()
    }

    fn bounded(&self, bounds: Bounds) -> Arc<dyn Collection> {
        Arc::new(Self { core: Arc::clone(&self.core), bounds })
    }

    async fn search(&self, query: Query) -> Result<Vec<Hit>> {
        self.read(self.core.search_cost(&query), move |core, cancelled| core.search(query, cancelled)).await
    }

    async fn search_all(&self, queries: Vec<Query>) -> Result<Vec<Result<Vec<Hit>>>> {
        let costs: Vec<ReadCost> = queries.iter().map(|query| self.core.search_cost(query)).collect();
        let predicted: Vec<_> = costs.iter().map(|cost| self.core.read_times.predict(*cost)).collect();
        let permits = self.core.shared.admit(&predicted, self.bounds)?;
        let searches = queries.into_iter().zip(costs).zip(permits).map(|((query, cost), permit)| {
            self.admitted(cost, permit, move |core, cancelled| core.search(query, cancelled))
        });
        Ok(join_all(searches).await)
    }

    async fn get(&self, id: &ItemId) -> Result<StoredItem> {
        let id = id.clone();
        self.read(ReadCost::of(ReadKind::Get), move |core, _| core.get(&id)).await
    }

    async fn page(&self, limit: TopK, cursor: Option<String>, filter: Option<Filter>) -> Result<Page> {
        let plain = ReadCost::returning(ReadKind::Page, limit.get());
        let cost = self.core.filtered_cost(filter.as_ref(), plain, ReadKind::FilteredPage);
        self.read(cost, move |core, _| core.page(limit, cursor.as_deref(), filter.as_ref())).await
    }

    async fn sample(&self, limit: usize, with_metadata: bool) -> Result<Vec<StoredItem>> {
        self.read(ReadCost::returning(ReadKind::Sample, limit), move |core, _| core.sample(limit, with_metadata)).await
    }

    async fn count(&self, filter: Option<Filter>) -> Result<u64> {
        let plain = ReadCost::of(ReadKind::Count);
        let cost = self.core.filtered_cost(filter.as_ref(), plain, ReadKind::FilteredCount);
        self.read(cost, move |core, _| core.count(filter.as_ref())).await
    }

    async fn facets(&self, key: &FieldPath, filter: Option<Filter>, limit: TopK) -> Result<Vec<Facet>> {
        let key = key.clone();
        let cost = self.core.facets_cost();
        self.read(cost, move |core, _| core.facets(&key, filter.as_ref(), limit)).await
    }
}

#[async_trait]
impl CollectionWrite for EmbeddedCollection {
    async fn upsert(&self, items: Vec<NewItem>) -> Result<Vec<Written>> {
        let (core, encoder) = (Arc::clone(&self.core), Arc::clone(&self.core));
        let encoded = async move {
            let shared = Arc::clone(&encoder.shared);
            shared.encode(items.len() * encoder.spec.dimension, move || encoder.encode(items)).await
        };
        self.core.shared.write_prepared(self.bounds, encoded, move |items| core.upsert(items)).await
    }

    async fn patch(&self, id: &ItemId, patch: Metadata, max_bytes: usize) -> Result<Metadata> {
        let id = id.clone();
        self.write(move |core| core.patch(&id, patch, max_bytes)).await
    }

    async fn delete(&self, ids: Vec<ItemId>) -> Result<Deleted> {
        self.write(move |core| core.delete(&ids)).await
    }

    async fn delete_matching(&self, filter: Filter) -> Result<Deleted> {
        self.write(move |core| core.delete_matching(&filter)).await
    }
}
