//! A collection's state and how it is read.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use roaring::RoaringBitmap;

use super::{
    cursor,
    graph::Form,
    memory::{Change, Memory},
    quantized::codes::Encoded,
    search::{
        plan::{self, Plan, TopKQuery},
        scan::Ranked,
        view::View,
    },
    storage::{
        database::corrupt,
        log::{self, LogKeeping},
        rows::{self, Reader, Record, Tables},
        snapshot::Snapshot,
    },
    tasks::Shared,
};
use crate::{
    compute::Cancelled,
    domain::{Embedding, Filter, ItemId, TopK},
    error::Result,
    index::{
        CollectionInfo, CollectionSpec, Hit, Page, PageItem, Query, StoredItem,
        reads::{ReadCost, ReadKind, ReadTimes},
        rules::{admit, item_not_found, not_found},
        terms::terms,
    },
};

/// A collection: its place in the database and its memory, which is none once it is dropped.
pub(super) struct Core {
    pub(super) shared: Arc<Shared>,
    pub(super) spec: CollectionSpec,
    pub(super) tables: Tables,
    number: u32,
    memory: RwLock<Option<Memory>>,
    /// The size of memory as it was published last; read without the lock of memory.
    size: ArcSwapOption<Size>,
    form: ArcSwap<Form>,
    pub(super) log_keeping: LogKeeping,
    /// How long reads of this collection take.
    pub(super) read_times: ReadTimes,
    /// Vectors that were searched for last, for the check of the graph.
    recent: Mutex<VecDeque<Embedding>>,
}

/// How many of the vectors that are searched for are remembered.
const RECENT: usize = 128;

/// How large a collection is.
struct Size {
    count: u64,
    bytes: u64,
    /// The transaction it is as of.
    version: u64,
}

impl Size {
    fn of(memory: &Memory, version: u64) -> Arc<Self> {
        Arc::new(Self { count: memory.count(), bytes: memory.bytes(), version })
    }
}

impl Core {
    /// Reads everything that memory keeps from the database, and the graph if one was saved.
    pub(super) fn load(shared: Arc<Shared>, entry: rows::Entry) -> Result<Self> {
        let tables = Tables::new(entry.number);
        let snapshot = shared.database.snapshot()?;
        let reader = Reader::open(&snapshot, &tables)?;
        let dimension = entry.spec.dimension;
        let sequence = log::last(&snapshot, &tables)?;
        let mut memory = Memory::new(dimension, sequence);
        let mut records = reader.records_after(0)?;
        reader.for_each_vector(|key, bytes| {
            let vector = Encoded::new(&rows::vector_from_bytes(bytes, dimension)?);
            let (record_key, record, record_bytes) =
                records.next().ok_or_else(|| corrupt(format!("the vector of key {key} has no item")))??;
            if record_key != key {
                return Err(corrupt(format!("keys {key} and {record_key} have no counterpart")));
            }
            let bytes = rows::item_bytes(dimension, &record.id, record_bytes) as i64;
            memory.apply(vec![Change::Add { key, vector, terms: terms(&record.metadata) }], bytes, sequence);
            Ok(())
        })?;
        drop(records);
        let core = Self::new(shared, entry, memory);
        core.restore_graph();
        Ok(core)
    }

    /// A collection that was just made, so without reading anything.
    pub(super) fn empty(shared: Arc<Shared>, entry: rows::Entry) -> Self {
        let memory = Memory::new(entry.spec.dimension, 0);
        Self::new(shared, entry, memory)
    }

    fn new(shared: Arc<Shared>, entry: rows::Entry, memory: Memory) -> Self {
        let rows::Entry { number, spec, .. } = entry;
        let size = ArcSwapOption::new(Some(Size::of(&memory, shared.database.sequence())));
        Self {
            shared,
            spec,
            tables: Tables::new(number),
            number,
            memory: RwLock::new(Some(memory)),
            size,
            form: ArcSwap::from_pointee(Form::Scan),
            log_keeping: LogKeeping::default(),
            read_times: ReadTimes::default(),
            recent: Mutex::default(),
        }
    }

    /// The collection's number, which no other ever had.
    pub(super) const fn number(&self) -> u32 {
        self.number
    }

    // A panic while memory is written can leave a half-made change of one item behind, which the next start mends;
    // answering on is better than an outage.
    fn read_memory(&self) -> RwLockReadGuard<'_, Option<Memory>> {
        self.memory.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets memory follow a transaction within the turn of its write. Memory and snapshot change under the one lock,
    /// so that no reader sees the one without the other.
    pub(super) fn follow(&self, snapshot: Snapshot, step: impl FnOnce(&mut Option<Memory>)) {
        let mut memory = self.memory.write().unwrap_or_else(PoisonError::into_inner);
        step(&mut memory);
        let version = self.shared.database.sequence();
        self.size.store(memory.as_ref().map(|memory| Size::of(memory, version)));
        self.shared.database.publish(snapshot);
    }

    /// Looks at memory; none if the collection is dropped.
    pub(super) fn peek<T>(&self, read: impl FnOnce(&Memory) -> T) -> Option<T> {
        self.read_memory().as_ref().map(read)
    }

    /// Changes what memory keeps beside the items; none if the collection is dropped.
    pub(super) fn alter<T>(&self, step: impl FnOnce(&mut Memory) -> T) -> Option<T> {
        self.memory.write().unwrap_or_else(PoisonError::into_inner).as_mut().map(step)
    }

    /// Notes how searches are answered from now on.
    pub(super) fn show(&self, form: Form) {
        self.form.store(Arc::new(form));
    }

    /// The collection as of the last write; waits for nothing.
    pub(super) fn info(&self) -> Result<CollectionInfo> {
        let size = self.size.load();
        let size = size.as_ref().ok_or_else(|| not_found(&self.spec.name))?;
        let form = self.form.load();
        Ok(CollectionInfo {
            spec: self.spec.clone(),
            count: size.count,
            engine: "embedded",
            form: form.name(),
            form_reason: form.reason(size.count, &self.shared.graph),
            bytes: size.bytes,
            version: size.version,
        })
    }

    /// Memory and database as of now. The lock is held only to evaluate the filter.
    pub(super) fn view(&self, filter: Option<&Filter>) -> Result<View> {
        Ok(self.view_and(filter, |_, _| ())?.0)
    }

    /// A view and what `read` takes of memory as of the same moment, under the lock.
    pub(super) fn view_and<T>(
        &self,
        filter: Option<&Filter>,
        read: impl FnOnce(&Memory, Option<&RoaringBitmap>) -> T,
    ) -> Result<(View, T)> {
        let memory = self.read_memory();
        let memory = memory.as_ref().ok_or_else(|| not_found(&self.spec.name))?;
        let reader = self.shared.database.snapshot()?.reader(&self.tables)?;
        let find = |id: &ItemId| Ok(reader.key(id)?.and_then(|key| memory.slot(key)));
        let filter = filter.filter(|filter| !filter.is_empty());
        let allowed = filter.map(|filter| memory.passing(filter, &find)).transpose()?;
        let taken = read(memory, allowed.as_ref());
        let (chunks, count, graph) = (memory.chunks(), memory.count(), memory.graphs.view());
        Ok((View { reader, chunks, allowed, count, graph }, taken))
    }

    pub(super) fn count(&self, filter: Option<&Filter>) -> Result<u64> {
        match self.view(filter)?.allowed {
            Some(allowed) => Ok(allowed.len()),
            None => Ok(self.info()?.count),
        }
    }

    pub(super) fn get(&self, id: &ItemId) -> Result<StoredItem> {
        let reader = self.view(None)?.reader;
        let missing = || item_not_found(&self.spec.name, id);
        let key = reader.key(id)?.ok_or_else(missing)?;
        let record = reader.record(key)?.ok_or_else(missing)?;
        let vector = self.vector(&reader, key)?.ok_or_else(missing)?;
        Ok(StoredItem { id: record.id, vector, metadata: record.metadata, image: record.image })
    }

    pub(super) fn vector(&self, reader: &Reader, key: u64) -> Result<Option<Vec<f32>>> {
        reader.vector(key, |bytes| rows::vector_from_bytes(bytes, self.spec.dimension))?.transpose()
    }

    pub(super) fn page(&self, limit: TopK, cursor: Option<&str>, filter: Option<&Filter>) -> Result<Page> {
        let after = cursor.map_or(Ok(0), |cursor| cursor::decode(self.number, cursor))?;
        // One more than the limit tells whether another page follows.
        let wanted = limit.get() + 1;
        let (view, keys) =
            self.view_and(filter, |memory, allowed| allowed.map(|allowed| memory.keys_after(after, allowed, wanted)))?;
        let mut found: Vec<(u64, Record)> = if let Some(keys) = keys {
            let records = keys.into_iter().map(|key| Ok(view.reader.record(key)?.map(|record| (key, record))));
            records.filter_map(Result::transpose).collect::<Result<_>>()?
        } else {
            let rows = view.reader.records_after(after)?.take(wanted);
            rows.map(|row| row.map(|(key, record, _)| (key, record))).collect::<Result<_>>()?
        };
        let more = found.len() > limit.get();
        found.truncate(limit.get());
        let cursor = found.last().filter(|_| more).map(|(key, _)| cursor::encode(self.number, *key));
        let item = |(_, Record { id, metadata, image, .. })| PageItem { id, metadata, image };
        Ok(Page { items: found.into_iter().map(item).collect(), cursor })
    }

    /// The cost of a search, as far as it can be told without a look at the filter.
    pub(super) fn search_cost(&self, query: &Query) -> ReadCost {
        if query.exact {
            ReadCost::through(ReadKind::Exact, self.items())
        } else if query.filter.is_some() {
            ReadCost::through(ReadKind::FilteredSearch, self.items())
        } else if matches!(**self.form.load(), Form::Graph { .. }) {
            ReadCost::of(ReadKind::Graph)
        } else {
            ReadCost::through(ReadKind::Scan, self.items())
        }
    }

    /// The cost of a read that goes through the items if there is a filter.
    pub(super) fn filtered_cost(&self, filter: Option<&Filter>, plain: ReadCost, filtered: ReadKind) -> ReadCost {
        if filter.is_some() { ReadCost::through(filtered, self.items()) } else { plain }
    }

    /// The cost of counting values.
    pub(super) fn facets_cost(&self) -> ReadCost {
        ReadCost::through(ReadKind::Facets, self.items())
    }

    fn items(&self) -> u64 {
        self.size.load().as_ref().map_or(0, |size| size.count)
    }

    pub(super) fn search(&self, query: Query, cancelled: &Cancelled) -> Result<Vec<Hit>> {
        let vector = admit(&self.spec, query.vector)?;
        let view = self.view(query.filter.as_ref())?;
        let excluded = query.exclude.as_ref().map(|id| view.reader.key(id)).transpose()?.flatten();
        let top_k = TopKQuery {
            min_score: query.min_score,
            excluded,
            cancelled: cancelled.clone(),
            ..TopKQuery::new(self.spec.metric, vector, query.limit)
        };
        let plan = if query.exact { Plan::Exact } else { plan::choose(&view, &self.shared.graph) };
        let (plan, found) = plan::answer(&view, &top_k, plan)?;
        self.shared.metrics.count_search(self.spec.name.as_str(), plan.name());
        if view.graph.is_some() {
            self.remember(top_k.vector);
        }
        let mut hits = Vec::with_capacity(found.len());
        for Ranked { score, key } in found {
            let (id, metadata) = if query.with_metadata {
                view.reader.record(key)?.map(|record| (record.id, Some(record.metadata))).unzip()
            } else {
                (view.reader.id(key)?, None)
            };
            let id = id.ok_or_else(|| corrupt(format!("the vector of key {key} has no item")))?;
            let vector = if query.with_vector { self.vector(&view.reader, key)? } else { None };
            hits.push(Hit { id, score, metadata: metadata.flatten(), vector });
        }
        Ok(hits)
    }

    /// Keeps a query for the check of the graph; skips it rather than wait.
    fn remember(&self, vector: Embedding) {
        if let Ok(mut recent) = self.recent.try_lock() {
            recent.truncate(RECENT - 1);
            recent.push_front(vector);
        }
    }

    /// The vectors searched for last.
    pub(super) fn recent_queries(&self) -> Vec<Embedding> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
