//! The queue of stored images to delete, in the tables of the database.
//!
//! An image that a write has let go of is an entry of its own. A collection that is dropped keeps its items, of which
//! nobody reads anything but the images they name: so dropping takes as long for a hundred thousand images as for one.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, TableError, WriteTransaction};
use tokio::sync::Notify;

use super::{
    database::{Outcome, Snapshot, failure},
    rows::{self, Tables},
    tasks::Shared,
};
use crate::{
    error::{Error, Result},
    index::{
        Bounds, ImageRef,
        deletion::{BatchPlace, DeletionBatch, DeletionQueue},
    },
    telemetry::Metrics,
    threads::yield_to_others,
};

/// Number of an entry → the key of an image in the store.
const ENTRIES: TableDefinition<'static, u64, &'static str> = TableDefinition::new("pending_deletions");
/// Numbers of the dropped collections whose items are still there.
const DROPPED: TableDefinition<'static, u32, ()> = TableDefinition::new("dropped_collections");

/// Images of one batch, at most: as many as S3 deletes by one request.
const BATCH_IMAGES: usize = 1000;
/// Items of a dropped collection that are looked through for one batch, at most.
const BATCH_ITEMS: usize = 10_000;

/// Puts images into the queue.
pub(super) fn append(transaction: &WriteTransaction, keys: impl IntoIterator<Item = impl AsRef<str>>) -> Result<()> {
    let mut entries = transaction.open_table(ENTRIES).map_err(failure)?;
    // A batch is under way until its entries are taken out, so no number of a batch is given twice.
    let mut number = entries.last().map_err(failure)?.map_or(0, |(last, _)| last.value());
    for key in keys {
        number += 1;
        entries.insert(number, key.as_ref()).map_err(failure)?;
    }
    Ok(())
}

/// Puts the images that the items of a collection name into the queue, with the items; nothing if there are none.
pub(super) fn drop_items(transaction: &WriteTransaction, tables: &Tables) -> Result<()> {
    let is_empty = transaction.open_table(tables.items()).map_err(failure)?.is_empty().map_err(failure)?;
    if is_empty {
        transaction.delete_table(tables.items()).map_err(failure)?;
    } else {
        transaction.open_table(DROPPED).map_err(failure)?.insert(tables.number(), ()).map_err(failure)?;
    }
    Ok(())
}

/// How many images wait, items of dropped collections included that may name none.
fn count(snapshot: &Snapshot) -> Result<u64> {
    let mut count = opened(snapshot.open_table(ENTRIES))?.map_or(Ok(0), |table| table.len()).map_err(failure)?;
    for number in dropped(snapshot, usize::MAX)? {
        let items = opened(snapshot.open_table(Tables::new(number).items()))?;
        count += items.map_or(Ok(0), |table| table.len()).map_err(failure)?;
    }
    Ok(count)
}

/// A table, none if nothing was ever written into it.
fn opened<T>(table: Result<T, TableError>) -> Result<Option<T>> {
    match table {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(failure(error)),
    }
}

/// The numbers of the first dropped collections.
fn dropped(snapshot: &Snapshot, limit: usize) -> Result<Vec<u32>> {
    let Some(table) = opened(snapshot.open_table(DROPPED))? else { return Ok(Vec::new()) };
    let numbers = table.iter().map_err(failure)?.take(limit);
    numbers.map(|row| row.map(|(number, _)| number.value()).map_err(failure)).collect()
}

fn next(snapshot: &Snapshot) -> Result<Option<DeletionBatch>> {
    let mut keys = Vec::new();
    let mut through = 0;
    if let Some(entries) = opened(snapshot.open_table(ENTRIES))? {
        for row in entries.iter().map_err(failure)?.take(BATCH_IMAGES) {
            let (number, key) = row.map_err(failure)?;
            through = number.value();
            keys.push(key.value().to_owned());
        }
    }
    if !keys.is_empty() {
        return Ok(Some(DeletionBatch { keys, place: BatchPlace::Entries { through } }));
    }
    let Some(collection) = dropped(snapshot, 1)?.pop() else { return Ok(None) };
    if let Some(items) = opened(snapshot.open_table(Tables::new(collection).items()))? {
        for row in items.iter().map_err(failure)?.take(BATCH_ITEMS) {
            let (key, record) = row.map_err(failure)?;
            through = key.value();
            keys.extend(rows::image_of(record.value())?.map(|image| image.key));
            if keys.len() == BATCH_IMAGES {
                break;
            }
        }
    }
    Ok(Some(DeletionBatch { keys, place: BatchPlace::DroppedItems { collection, through } }))
}

fn finish(transaction: &WriteTransaction, place: BatchPlace, left: &[String]) -> Result<()> {
    match place {
        BatchPlace::Entries { through } => {
            let mut entries = transaction.open_table(ENTRIES).map_err(failure)?;
            while entries.first().map_err(failure)?.is_some_and(|(number, _)| number.value() <= through) {
                yield_to_others();
                entries.pop_first().map_err(failure)?;
            }
        }
        BatchPlace::DroppedItems { collection, through } => {
            let tables = Tables::new(collection);
            let mut items = transaction.open_table(tables.items()).map_err(failure)?;
            while items.first().map_err(failure)?.is_some_and(|(key, _)| key.value() <= through) {
                yield_to_others();
                items.pop_first().map_err(failure)?;
            }
            if items.is_empty().map_err(failure)? {
                drop(items);
                transaction.delete_table(tables.items()).map_err(failure)?;
                transaction.open_table(DROPPED).map_err(failure)?.remove(collection).map_err(failure)?;
            }
        }
    }
    if left.is_empty() { Ok(()) } else { append(transaction, left) }
}

/// What of the queue is told: how long it is, and that it has become longer.
#[derive(Debug)]
pub(super) struct Deletions {
    added: Notify,
    metrics: Arc<Metrics>,
}

impl Deletions {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { added: Notify::new(), metrics }
    }

    /// Tells how long the queue is as of a snapshot.
    pub(super) fn show(&self, snapshot: &Snapshot) {
        match count(snapshot) {
            Ok(count) => self.metrics.count_pending_deletions(count),
            Err(error) => tracing::warn!(reason = error.chain(), "the pending deletions could not be counted"),
        }
    }

    /// Wakes whoever deletes, after a write that has put images into the queue.
    pub(super) fn wake(&self, snapshot: &Snapshot) {
        self.show(snapshot);
        self.added.notify_one();
    }
}

/// The queue of an engine; it holds nothing of the engine open.
pub(super) struct EmbeddedQueue {
    shared: Weak<Shared>,
    deletions: Arc<Deletions>,
}

impl EmbeddedQueue {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::downgrade(shared), deletions: Arc::clone(&shared.deletions) }
    }

    fn shared(&self) -> Result<Arc<Shared>> {
        self.shared.upgrade().ok_or_else(|| Error::unavailable("the index is closed"))
    }

    async fn write(&self, work: impl FnOnce(&WriteTransaction) -> Result<()> + Send + 'static) -> Result<()> {
        let (shared, deletions) = (self.shared()?, Arc::clone(&self.deletions));
        let written_by = Arc::clone(&shared);
        let write = move || {
            let written = written_by.database.write(|transaction| work(transaction).map(Outcome::Commit))?;
            if let Some(snapshot) = written.snapshot {
                deletions.show(&snapshot);
                written_by.database.publish(snapshot);
            }
            Ok(())
        };
        shared.write(Bounds::BACKGROUND, write).await
    }
}

#[async_trait]
impl DeletionQueue for EmbeddedQueue {
    async fn next(&self) -> Result<Option<DeletionBatch>> {
        let shared = self.shared()?;
        let read_by = Arc::clone(&shared);
        shared.read(Bounds::BACKGROUND, None, move |_| next(&read_by.database.snapshot()?)).await
    }

    async fn finish(&self, batch: DeletionBatch, left: Vec<String>) -> Result<()> {
        self.write(move |transaction| finish(transaction, batch.place, &left)).await
    }

    async fn add(&self, images: Vec<ImageRef>) -> Result<()> {
        self.write(move |transaction| append(transaction, images.iter().map(|image| &image.key))).await?;
        self.deletions.added.notify_one();
        Ok(())
    }

    async fn added(&self) {
        self.deletions.added.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Embedding, Metric},
        index::{CollectionSpec, EmbeddedEngine, EmbeddedOptions, IndexEngine as _, NewItem, StoreMode},
    };

    fn open(folder: &tempfile::TempDir) -> EmbeddedEngine {
        let options = EmbeddedOptions { cache_bytes: 1 << 20, read_threads: 1, ..EmbeddedOptions::default() };
        EmbeddedEngine::open_untended(folder.path(), options).unwrap()
    }

    fn spec() -> CollectionSpec {
        CollectionSpec {
            name: "c".parse().unwrap(),
            model: None,
            space_key: None,
            dimension: 1,
            metric: Metric::Dot,
            store: StoreMode::Original,
        }
    }

    fn image(key: &str) -> ImageRef {
        ImageRef { key: format!("images/{key}"), media_type: "image/png".to_owned() }
    }

    /// Fills a new collection; every item but each third names an image.
    async fn fill(engine: &EmbeddedEngine, count: usize) {
        engine.create(spec()).await.unwrap();
        let item = |at: usize| NewItem {
            id: at.to_string().parse().unwrap(),
            vector: Embedding::new(vec![1.0]).unwrap(),
            metadata: Default::default(),
            image: (at % 3 != 2).then(|| image(&at.to_string())),
        };
        engine.open(&spec().name).await.unwrap().upsert((0..count).map(item).collect()).await.unwrap();
    }

    fn pending(engine: &EmbeddedEngine) -> String {
        let text = engine.shared.metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix("latentd_store_pending_deletions "));
        line.unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_dropped_collection_hands_over_its_images_in_batches_across_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let engine = open(&folder);
        fill(&engine, 2400).await;
        engine.drop_collection(&spec().name).await.unwrap();
        assert_eq!(pending(&engine), "2400");
        let queue = engine.deletion_queue().unwrap();
        let first = queue.next().await.unwrap().unwrap();
        assert_eq!((first.keys.len(), first.keys[0].as_str()), (1000, "images/0"));
        queue.finish(first, vec!["images/7".to_owned()]).await.unwrap();
        drop((queue, engine));

        let engine = open(&folder);
        assert_eq!(pending(&engine), "902");
        let queue = engine.deletion_queue().unwrap();
        let mut keys = Vec::new();
        while let Some(batch) = queue.next().await.unwrap() {
            keys.extend(batch.keys.clone());
            queue.finish(batch, Vec::new()).await.unwrap();
        }
        assert_eq!((keys.len(), keys[0].as_str()), (601, "images/7"), "what is left comes again");
        assert_eq!(pending(&engine), "0");
        let snapshot = engine.shared.database.snapshot().unwrap();
        assert!(snapshot.list_tables().unwrap().all(|table| !redb::TableHandle::name(&table).contains("items")));
        // the name and its images are of another collection now
        fill(&engine, 3).await;
        assert!(queue.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_items_named_is_queued_with_the_write_that_lets_it_go() {
        let folder = tempfile::tempdir().unwrap();
        let engine = open(&folder);
        fill(&engine, 3).await;
        let items = engine.open(&spec().name).await.unwrap();
        items.delete(vec!["1".parse().unwrap(), "2".parse().unwrap()]).await.unwrap();
        let again = |name: &str| NewItem {
            id: "0".parse().unwrap(),
            vector: Embedding::new(vec![2.0]).unwrap(),
            metadata: Default::default(),
            image: Some(image(name)),
        };
        items.upsert(vec![again("4"), again("0")]).await.unwrap();
        let queue = engine.deletion_queue().unwrap();
        queue.added().await;
        let batch = queue.next().await.unwrap().unwrap();
        assert_eq!(batch.keys, ["images/1", "images/4"], "an image that is named again stays");
        queue.finish(batch, Vec::new()).await.unwrap();
        queue.add(vec![image("5")]).await.unwrap();
        assert_eq!(queue.next().await.unwrap().unwrap().keys, ["images/5"]);
        drop((items, engine));
        assert!(queue.next().await.is_err(), "the queue does not keep the index open");
    }
}
