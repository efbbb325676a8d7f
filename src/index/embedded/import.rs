//! Filling a new collection from elsewhere, so that it is there as a whole or not at all.
//!
//! A collection that is being imported stands in the catalogue as unfinished and nowhere else: nobody can open it.
//! Finishing takes that mark away in one transaction; what an interruption leaves unfinished goes when the index is
//! opened next.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    Collections, EmbeddedCollection, EmbeddedEngine,
    core::Core,
    storage::{
        database::{Outcome, Purpose},
        rows::{self, Entry, Tables},
    },
    tasks::Shared,
};
use crate::{
    error::Result,
    index::{
        Bounds, Collection, CollectionSpec, ImageRef, Import,
        rules::{check_dimension, in_use},
    },
};

/// A collection that only this import sees.
pub(super) struct Unfinished {
    core: Arc<Core>,
    collections: Arc<Collections>,
}

/// Begins a new collection, or `already_exists`.
pub(super) async fn begin(engine: &EmbeddedEngine, spec: CollectionSpec) -> Result<Unfinished> {
    check_dimension(&spec)?;
    let (shared, collections) = (Arc::clone(&engine.shared), Arc::clone(&engine.collections));
    engine
        .shared
        .write(Bounds::default(), move || {
            if collections.find(&spec.name).is_some() {
                return Err(in_use(&spec.name));
            }
            let begin = |transaction: &_| rows::create_unfinished(transaction, &spec).map(Outcome::Commit);
            let written = shared.database.write(begin)?;
            if let Some(snapshot) = written.snapshot {
                shared.database.publish(snapshot);
            }
            let core = Arc::new(Core::empty(Arc::clone(&shared), written.value));
            Ok(Unfinished { core, collections })
        })
        .await
}

#[async_trait]
impl Import for Unfinished {
    fn collection(&self) -> Arc<dyn Collection> {
        Arc::new(EmbeddedCollection { core: Arc::clone(&self.core), bounds: Bounds::default() })
    }

    async fn finish(self: Box<Self>) -> Result<()> {
        let shared = Arc::clone(&self.core.shared);
        shared
            .write(Bounds::default(), move || {
                let finish = |transaction: &_| rows::finish(transaction, &self.core.spec).map(Outcome::Commit);
                let written = self.core.shared.database.write(finish)?;
                if let Some(snapshot) = written.snapshot {
                    self.core.shared.database.publish(snapshot);
                }
                self.collections.add(self.core);
                Ok(())
            })
            .await
    }

    async fn abandon(self: Box<Self>) -> Result<Vec<ImageRef>> {
        let shared = Arc::clone(&self.core.shared);
        shared.write(Bounds::default(), move || crate::index::embedded::drop_core(&self.core)).await?;
        Ok(Vec::new())
    }
}

/// Removes what an interrupted import has left.
pub(super) fn remove_unfinished(shared: &Shared, entry: &Entry) -> Result<()> {
    tracing::warn!(collection = %entry.spec.name, "an interrupted import is removed; import again");
    let tables = Tables::new(entry.number);
    let drop = |transaction: &_| rows::drop_collection(transaction, &entry.spec, &tables).map(Outcome::Commit);
    if let Some(snapshot) = shared.database.run(Purpose::Removing, drop)?.snapshot {
        shared.database.publish(snapshot);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        error::ErrorKind,
        index::{
            IndexEngine as _,
            fixtures::{image, item, open, spec},
        },
    };

    async fn begin(engine: &EmbeddedEngine) -> Box<dyn Import> {
        let import = engine.begin_import(spec()).await.unwrap();
        import.collection().upsert(vec![item("a", Some(image("p")))]).await.unwrap();
        import
    }

    #[tokio::test]
    async fn an_import_is_seen_once_it_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let engine = open(folder.path());
        let import = begin(&engine).await;
        assert!(engine.list().await.unwrap().is_empty());
        assert_eq!(engine.open(&spec().name).await.err().unwrap().kind(), ErrorKind::CollectionNotFound);
        import.finish().await.unwrap();
        assert_eq!(engine.open(&spec().name).await.unwrap().count(None).await.unwrap(), 1);
        assert_eq!(engine.begin_import(spec()).await.err().unwrap().kind(), ErrorKind::AlreadyExists);
        drop(engine);
        assert_eq!(open(folder.path()).list().await.unwrap()[0].count, 1);
    }

    #[tokio::test]
    async fn an_interrupted_import_leaves_nothing_and_hands_its_images_on() {
        let folder = tempfile::tempdir().unwrap();
        let engine = open(folder.path());
        drop(begin(&engine).await);
        drop(engine);
        let engine = open(folder.path());
        assert!(engine.list().await.unwrap().is_empty());
        let queue = engine.deletion_queue().unwrap();
        assert_eq!(queue.next().await.unwrap().unwrap().keys, ["images/p"]);
        begin(&engine).await.finish().await.unwrap();
    }

    #[tokio::test]
    async fn an_abandoned_import_hands_its_images_on() {
        let folder = tempfile::tempdir().unwrap();
        let engine = open(folder.path());
        assert!(begin(&engine).await.abandon().await.unwrap().is_empty());
        let queue = engine.deletion_queue().unwrap();
        assert_eq!(queue.next().await.unwrap().unwrap().keys, ["images/p"]);
        assert!(engine.create(spec()).await.unwrap(), "the name is free");
    }
}
