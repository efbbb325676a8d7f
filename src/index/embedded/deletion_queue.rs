//! The queue of stored images to delete, for whoever deletes them.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use redb::WriteTransaction;
use tokio::sync::Notify;

use super::{
    storage::{
        database::{Outcome, Purpose},
        deletions,
        snapshot::Snapshot,
    },
    tasks::Shared,
};
use crate::{
    error::{Error, Result},
    index::{
        Bounds, ImageRef,
        deletion::{DeletionBatch, DeletionQueue},
    },
    telemetry::Metrics,
};

/// Reports how long the queue is, and wakes whoever deletes when it has become longer.
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
        match deletions::count(snapshot) {
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

    /// Writes the queue, with the space that is kept for deleting if need be: the queue is what deleting leads to.
    async fn write(&self, work: impl Fn(&WriteTransaction) -> Result<()> + Send + 'static) -> Result<()> {
        let (shared, told) = (self.shared()?, Arc::clone(&self.deletions));
        let written_by = Arc::clone(&shared);
        let write = move || {
            let database = &written_by.database;
            let work = |transaction: &_| work(transaction).map(Outcome::Commit);
            let written = database.with_reserve(|| database.run(Purpose::Removing, work))?;
            if let Some(snapshot) = written.snapshot {
                told.show(&snapshot);
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
        shared.read(Bounds::BACKGROUND, None, move |_| deletions::next(&read_by.database.snapshot()?)).await
    }

    async fn finish(&self, batch: DeletionBatch, left: Vec<String>) -> Result<()> {
        self.write(move |transaction| deletions::finish(transaction, batch.place, &left)).await
    }

    async fn add(&self, images: Vec<ImageRef>) -> Result<()> {
        self.write(move |transaction| deletions::append(transaction, images.iter().map(|image| &image.key))).await?;
        self.deletions.added.notify_one();
        Ok(())
    }

    async fn added(&self) {
        self.deletions.added.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use crate::index::{
        EmbeddedEngine, IndexEngine as _,
        fixtures::{image, item, open, spec},
    };

    /// Fills a new collection; every item but each third names an image.
    async fn fill(engine: &EmbeddedEngine, count: usize) {
        engine.create(spec()).await.unwrap();
        let item = |at: usize| item(&at.to_string(), (at % 3 != 2).then(|| image(&at.to_string())));
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
        let engine = open(folder.path());
        fill(&engine, 2400).await;
        engine.drop_collection(&spec().name).await.unwrap();
        assert_eq!(pending(&engine), "2400");
        let queue = engine.deletion_queue().unwrap();
        let first = queue.next().await.unwrap().unwrap();
        assert_eq!((first.keys.len(), first.keys[0].as_str()), (1000, "images/0"));
        queue.finish(first, vec!["images/7".to_owned()]).await.unwrap();
        drop((queue, engine));

        let engine = open(folder.path());
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
        let engine = open(folder.path());
        fill(&engine, 3).await;
        let items = engine.open(&spec().name).await.unwrap();
        items.delete(vec!["1".parse().unwrap(), "2".parse().unwrap()]).await.unwrap();
        items.upsert(vec![item("0", Some(image("4"))), item("0", Some(image("0")))]).await.unwrap();
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
