//! Deletes stored images that nothing names any more.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, task::JoinHandle};

use crate::{
    error::Result,
    index::{DeletionQueue, ImageRef, IndexEngine},
    store::{ImageStore, NotDeleted},
};

/// The pause after the first failure in a row; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Where images go that nothing names: into the queue of the engine, or out of the store at once where there is none.
#[derive(Clone)]
pub(super) struct Unnamed {
    store: Arc<ImageStore>,
    index: Arc<dyn IndexEngine>,
}

impl Unnamed {
    pub(super) fn new(store: Arc<ImageStore>, index: Arc<dyn IndexEngine>) -> Self {
        Self { store, index }
    }

    /// Takes images that the index has let go of. An engine with a queue has them in there already.
    pub(super) async fn let_go(&self, images: Vec<ImageRef>) {
        if self.index.deletion_queue().is_none() {
            forget(&self.store, images).await;
        }
    }

    /// Takes images that were stored for rows which never came. What the store does not delete now is queued.
    pub(super) async fn never_named(&self, images: Vec<ImageRef>) {
        let keys = images.iter().map(|image| image.key.clone()).collect();
        let Err(NotDeleted { keys, reason }) = self.store.delete_all(keys).await else { return };
        let queued = match self.index.deletion_queue() {
            Some(queue) => {
                let left = images.into_iter().filter(|image| keys.contains(&image.key)).collect();
                queue.add(left).await
            }
            None => Err(reason),
        };
        if let Err(error) = queued {
            warn_of_leftovers(&keys, &error.chain());
        }
    }
}

/// Deletes images that nothing names any more. One that stays behind costs space and nothing else, so a failure is
/// logged and not the caller's. Returns how many stay.
pub async fn forget(store: &ImageStore, images: Vec<ImageRef>) -> usize {
    match store.delete_all(images.into_iter().map(|image| image.key).collect()).await {
        Ok(()) => 0,
        Err(NotDeleted { keys, reason }) => {
            warn_of_leftovers(&keys, &reason.chain());
            keys.len()
        }
    }
}

fn warn_of_leftovers(keys: &[String], reason: &str) {
    for key in keys {
        tracing::warn!(key, reason, "an image without an item stays in the store");
    }
}

/// Deletes what is in a queue until the queue is empty or something fails.
///
/// # Errors
/// Of the queue, or of the store when it deletes nothing of a batch; what is left stays in the queue.
pub async fn delete_pending(queue: &dyn DeletionQueue, store: &ImageStore) -> Result<()> {
    while delete_batch(queue, store).await? {}
    Ok(())
}

/// Deletes one batch; `false` if there was none.
async fn delete_batch(queue: &dyn DeletionQueue, store: &ImageStore) -> Result<bool> {
    let Some(batch) = queue.next().await? else { return Ok(false) };
    let left = match store.delete_all(batch.keys.clone()).await {
        Ok(()) => Vec::new(),
        Err(NotDeleted { keys, reason }) => {
            // Only what blocks the way is moved to the end of the queue; a store out of reach would write it all anew.
            if keys.len() == batch.keys.len() {
                return Err(reason);
            }
            tracing::warn!(
                images = keys.len(),
                reason = reason.chain(),
                "images are not deleted and tried again later"
            );
            keys
        }
    };
    queue.finish(batch, left).await?;
    Ok(true)
}

/// The task that works off the queue; it ends with this.
pub(super) struct Deletions {
    stop: watch::Sender<bool>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

impl Deletions {
    /// Begins to work off a queue. Needs the async runtime.
    pub(super) fn start(queue: Arc<dyn DeletionQueue>, store: Arc<ImageStore>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let worker = tokio::spawn(work_off(queue, store, stopped));
        Self { stop, worker: Mutex::new(Some(worker)) }
    }

    /// Ends the task between two batches, and waits for its end.
    pub(super) async fn stop(&self) {
        self.stop.send_replace(true);
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(worker) = worker {
            // A panic has told of itself, and what was not deleted is in the queue.
            let _ = worker.await;
        }
    }
}

async fn work_off(queue: Arc<dyn DeletionQueue>, store: Arc<ImageStore>, mut stopped: watch::Receiver<bool>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let wait = match delete_batch(queue.as_ref(), &store).await {
            Ok(true) => {
                pause = FIRST_PAUSE;
                None
            }
            Ok(false) => Some(Wait::UntilAdded),
            Err(error) => {
                let seconds = pause.as_secs_f64();
                tracing::warn!(reason = error.chain(), retry_seconds = seconds, "stored images cannot be deleted now");
                let wait = Wait::For(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
                Some(wait)
            }
        };
        let may_go_on = async {
            match wait {
                None => {}
                Some(Wait::UntilAdded) => queue.added().await,
                Some(Wait::For(pause)) => tokio::time::sleep(pause).await,
            }
        };
        tokio::select! {
            biased;
            // An error is a sender that is gone: so is the service, and the index after it.
            _ = stopped.wait_for(|stopped| *stopped) => return,
            () = may_go_on => {}
        }
    }
}

enum Wait {
    UntilAdded,
    For(Duration),
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use bytes::Bytes;

    use super::*;
    use crate::index::{
        EmbeddedEngine,
        fixtures::{item, open, spec},
    };

    /// An index and a store, with a collection of items that have images.
    struct Home {
        folder: tempfile::TempDir,
        engine: Arc<EmbeddedEngine>,
        store: Arc<ImageStore>,
    }

    impl Home {
        async fn with_images(count: usize) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let engine = Arc::new(open(&folder.path().join("index")));
            let store = Arc::new(ImageStore::open(&folder.path().join("store")).unwrap());
            let name = spec().name;
            engine.create(spec()).await.unwrap();
            let mut items = Vec::new();
            for at in 0..count {
                let mut item = item(&at.to_string(), None);
                item.image = Some(store.put(&name, &item.id, Bytes::from_static(b"png"), "image/png").await.unwrap());
                items.push(item);
            }
            engine.open(&name).await.unwrap().upsert(items).await.unwrap();
            Self { folder, engine, store }
        }

        fn images(&self) -> Vec<PathBuf> {
            fn files(folder: PathBuf) -> Vec<PathBuf> {
                let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
                entries.flat_map(|path| if path.is_dir() { files(path) } else { vec![path] }).collect()
            }
            files(self.folder.path().join("store"))
        }

        fn queue(&self) -> Arc<dyn DeletionQueue> {
            self.engine.deletion_queue().unwrap()
        }

        async fn until_empty(&self) {
            tokio::time::timeout(Duration::from_secs(60), async {
                while self.queue().next().await.unwrap().is_some() {
                    tokio::task::yield_now().await;
                }
            })
            .await
            .unwrap();
        }
    }

    #[tokio::test]
    async fn the_task_deletes_what_comes_into_the_queue() {
        let home = Home::with_images(30).await;
        let deletions = Deletions::start(home.queue(), Arc::clone(&home.store));
        let items = home.engine.open(&"c".parse().unwrap()).await.unwrap();
        items.delete(vec!["0".parse().unwrap()]).await.unwrap();
        home.until_empty().await;
        assert_eq!(home.images().len(), 29);
        home.engine.drop_collection(&"c".parse().unwrap()).await.unwrap();
        home.until_empty().await;
        assert!(home.images().is_empty());
        deletions.stop().await;
    }

    #[tokio::test]
    async fn what_cannot_be_deleted_holds_up_nothing_else_and_stays_queued() {
        let home = Home::with_images(5).await;
        // Nothing deletes a folder with something in it, not even root.
        let obstacle = home.images().pop().unwrap();
        std::fs::remove_file(&obstacle).unwrap();
        std::fs::create_dir(&obstacle).unwrap();
        std::fs::write(obstacle.join("file"), "in the way").unwrap();
        home.engine.drop_collection(&"c".parse().unwrap()).await.unwrap();
        let error = delete_pending(home.queue().as_ref(), &home.store).await.unwrap_err();
        assert!(error.message().contains("could not be deleted"), "{error}");
        assert_eq!(home.images().len(), 1);
        assert_eq!(home.queue().next().await.unwrap().unwrap().keys.len(), 1);
        std::fs::remove_file(obstacle.join("file")).unwrap();
        std::fs::remove_dir(&obstacle).unwrap();
        delete_pending(home.queue().as_ref(), &home.store).await.unwrap();
        assert!(home.queue().next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn an_image_whose_row_never_came_goes_at_once_or_is_queued() {
        let home = Home::with_images(0).await;
        let unnamed = Unnamed::new(Arc::clone(&home.store), Arc::clone(&home.engine) as Arc<dyn IndexEngine>);
        let (name, id) = ("c".parse().unwrap(), "a".parse().unwrap());
        let put = async || home.store.put(&name, &id, Bytes::from_static(b"png"), "image/png").await.unwrap();
        unnamed.never_named(vec![put().await]).await;
        assert!(home.images().is_empty());
        let image = put().await;
        let file = home.images().pop().unwrap();
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir_all(file.join("in the way")).unwrap();
        unnamed.never_named(vec![image.clone()]).await;
        assert_eq!(home.queue().next().await.unwrap().unwrap().keys, [image.key]);
    }
}
