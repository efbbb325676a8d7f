//! Stored images and calibrations, in an object store: a folder of this machine, or a bucket.

mod calibrations;
mod remote;

pub use calibrations::{CalibrationStore, StoredVersion};

use std::{
    collections::HashSet,
    io,
    path::Path as FilePath,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload, local::LocalFileSystem, path::Path};

use tokio::sync::Mutex;

use crate::{
    config,
    domain::{CollectionName, ItemId},
    error::{Error, ErrorKind, Result},
    index::{ImageRef, Readiness},
};

/// Keeps the bytes of images under keys of its own making; the caller's ids never become paths.
///
/// An image is written before the row that names it, and deleted after that row is gone, so a row never names an
/// image that is not there. A crash between writing an image and its row leaves an image that nothing names.
#[derive(Debug, Clone)]
pub struct ImageStore {
    objects: Arc<dyn ObjectStore>,
    /// The address of a bucket; none of a folder.
    address: Option<String>,
    /// When a probe found that the store answers last.
    answered: Arc<Mutex<Option<Instant>>>,
    readiness: Arc<Readiness>,
}

/// How long a store that answered is taken to be there.
const TRUSTED: Duration = Duration::from_secs(5);
/// How long a probe waits for a store that may not be there.
const PATIENCE: Duration = Duration::from_secs(2);
/// No image lies there.
const NO_IMAGE: &str = "images/none";

impl ImageStore {
    /// The bucket that the settings name, which is not asked yet, or a store in the folder.
    pub fn connect(folder: &FilePath, settings: &config::Store) -> Result<Self> {
        if settings.url.is_empty() {
            return Self::open(folder);
        }
        Ok(Self {
            objects: remote::open(settings)?,
            address: Some(settings.url.clone()),
            answered: Arc::default(),
            readiness: Arc::new(Readiness::unknown("the image store has not answered yet")),
        })
    }

    /// A store in a folder, which is made if it is missing. Blocks for a moment.
    pub fn open(folder: &FilePath) -> Result<Self> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
            Error::unavailable(format!("the image folder {} cannot be used", folder.display())).with_source(error)
        };
        std::fs::create_dir_all(folder).map_err(|error| failed(error.into()))?;
        let objects = LocalFileSystem::new_with_prefix(folder).map_err(|error| failed(error.into()))?;
        // Written to a file of another name, synced, renamed, and the folder synced: whole or not there at all.
        Ok(Self {
            objects: Arc::new(objects.with_fsync(true)),
            address: None,
            answered: Arc::default(),
            readiness: Arc::default(),
        })
    }

    /// Stores an image; it is on the disk when this returns.
    ///
    /// Every call makes a key of its own, so that deleting the image of a replaced item can never hit one that was
    /// written for the same id meanwhile.
    pub async fn put(
        &self,
        collection: &CollectionName,
        id: &ItemId,
        bytes: Bytes,
        media_type: &str,
    ) -> Result<ImageRef> {
        let key = new_key(collection, id, &bytes);
        let put = self.objects.put(&path(&key)?, PutPayload::from_bytes(bytes)).await;
        put.map_err(|error| self.out_of_reach(error).unwrap_or_else(write_failed))?;
        Ok(ImageRef { key, media_type: media_type.to_owned() })
    }

    /// The bytes of an image, or `item_not_found` if it was deleted.
    pub async fn get(&self, image: &ImageRef) -> Result<Bytes> {
        let failed = |error| match self.out_of_reach(error) {
            Ok(error) => error,
            Err(error @ object_store::Error::NotFound { .. }) => {
                Error::new(ErrorKind::ItemNotFound, "the stored image is no longer there").with_source(error)
            }
            Err(error) => Error::internal("a stored image could not be read").with_source(error),
        };
        let found = self.objects.get(&path(&image.key)?).await.map_err(failed)?;
        found.bytes().await.map_err(failed)
    }

    /// Deletes images by their keys, many by one request where the store can; one that is not there is no error.
    ///
    /// # Errors
    /// Which of them the store may still have, and why.
    pub async fn delete_all(&self, keys: Vec<String>) -> Result<(), NotDeleted> {
        let mut paths = Vec::with_capacity(keys.len());
        for key in &keys {
            match path(key) {
                Ok(path) => paths.push(path),
                // It can never have been stored under such a key.
                Err(error) => tracing::error!(key, reason = error.chain(), "an image to delete has no valid key"),
            }
        }
        let mut gone = HashSet::with_capacity(paths.len());
        let mut failed = None;
        let mut results = self.objects.delete_stream(stream::iter(paths.clone()).map(Ok).boxed());
        while let Some(result) = results.next().await {
            match result.map_err(|error| self.out_of_reach(error)) {
                Ok(path) => {
                    gone.insert(path);
                }
                Err(Err(object_store::Error::NotFound { .. })) => {}
                Err(Err(error)) => {
                    failed.get_or_insert(Error::internal("a stored image could not be deleted").with_source(error));
                }
                Err(Ok(error)) => {
                    failed.get_or_insert(error);
                }
            }
        }
        // Who was not there does not say which it was: without a failure, all others are gone too.
        let Some(reason) = failed else { return Ok(()) };
        let keys = paths.into_iter().filter(|path| !gone.contains(path)).map(String::from).collect();
        Err(NotDeleted { keys, reason })
    }

    /// Whether the store answered when that was found out last; the error says why not. It waits for nothing. A folder
    /// is taken to answer.
    pub fn readiness(&self) -> Result<(), String> {
        self.readiness.get()
    }

    /// Finds out whether the store answers now, and publishes it; the error says why not.
    pub async fn probe(&self) -> Result<()> {
        if self.address.is_none() {
            return Ok(());
        }
        let mut answered = self.answered.lock().await;
        if self.readiness.get().is_ok() && answered.is_some_and(|when| when.elapsed() < TRUSTED) {
            return Ok(());
        }
        let asked = tokio::time::timeout(PATIENCE, self.objects.get(&path(NO_IMAGE)?)).await;
        let late = || self.unavailable("it does not answer in time");
        if let Err(error) = asked.map_err(|_| late())? {
            self.out_of_reach(error).map_or(Ok(()), Err)?;
        }
        *answered = Some(Instant::now());
        self.readiness.set(Ok(()));
        Ok(())
    }

    /// The failure of a bucket as ours, unless it is only that there is no such image; a folder's is handed back.
    fn out_of_reach(&self, error: object_store::Error) -> Result<Error, object_store::Error> {
        let no_image = matches!(error, object_store::Error::NotFound { .. });
        if self.address.is_none() || no_image && !remote::causes(&error).contains("NoSuchBucket") {
            return Err(error);
        }
        Ok(self.unavailable(remote::reason(&error)).with_source(remote::causes(&error)))
    }

    /// The error of a store that is out of reach, which its readiness shows from now on.
    fn unavailable(&self, reason: &str) -> Error {
        let address = self.address.as_deref().unwrap_or("of this machine");
        let text = format!("the image store {address} is out of reach: {reason}");
        self.readiness.set(Err(text.clone()));
        Error::unavailable(text)
    }
}

/// Images that the store may still have after it was to delete them.
#[derive(Debug)]
pub struct NotDeleted {
    pub keys: Vec<String>,
    /// The first failure.
    pub reason: Error,
}

/// `images/ab/cdef…`: a BLAKE3 hash of what the image is and a number drawn for it, spread over 256 folders.
fn new_key(collection: &CollectionName, id: &ItemId, bytes: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(uuid::Uuid::new_v4().as_bytes());
    for text in [collection.as_str(), id.as_str()] {
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }
    let hash = hasher.update(bytes).finalize().to_hex();
    format!("images/{}/{}", &hash[..2], &hash[2..])
}

fn path(key: &str) -> Result<Path> {
    Path::parse(key).map_err(|error| Error::internal("a stored image has no valid key").with_source(error))
}

fn write_failed(error: object_store::Error) -> Error {
    if is_full(&error) {
        let message = "the disk of the images is full; nothing of the request was stored";
        return Error::new(ErrorKind::StorageFull, message).with_source(error);
    }
    Error::internal("an image could not be stored").with_source(error)
}

fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        error.downcast_ref::<io::Error>().is_some_and(|io| {
            matches!(io.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> (CollectionName, ItemId) {
        ("shop".parse().unwrap(), "../../etc/passwd".parse().unwrap())
    }

    #[tokio::test]
    async fn an_image_is_read_back_and_survives_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let store = ImageStore::open(&folder.path().join("a/b")).unwrap();
        let (collection, id) = names();
        let image = store.put(&collection, &id, Bytes::from_static(b"png"), "image/png").await.unwrap();
        assert_eq!(image.media_type, "image/png");
        let again = ImageStore::open(&folder.path().join("a/b")).unwrap();
        assert_eq!(again.get(&image).await.unwrap(), Bytes::from_static(b"png"));
    }

    #[tokio::test]
    async fn deleting_twice_is_no_error_and_reading_then_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let store = ImageStore::open(folder.path()).unwrap();
        let (collection, id) = names();
        let image = store.put(&collection, &id, Bytes::from_static(b"png"), "image/png").await.unwrap();
        store.delete_all(vec![image.key.clone()]).await.unwrap();
        store.delete_all(vec![image.key.clone()]).await.unwrap();
        assert_eq!(store.get(&image).await.unwrap_err().kind(), ErrorKind::ItemNotFound);
    }

    #[tokio::test]
    async fn keys_are_hashes_and_the_same_image_never_gets_the_same_twice() {
        let folder = tempfile::tempdir().unwrap();
        let store = ImageStore::open(folder.path()).unwrap();
        let (collection, id) = names();
        let put = || store.put(&collection, &id, Bytes::from_static(b"png"), "image/png");
        let (first, second) = (put().await.unwrap(), put().await.unwrap());
        assert_ne!(first.key, second.key);
        assert!(first.key.starts_with("images/") && !first.key.contains("passwd"), "{}", first.key);
        store.delete_all(vec![first.key]).await.unwrap();
        assert!(store.get(&second).await.is_ok());
    }

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        let failed = |kind| {
            let source = Box::new(io::Error::from(kind));
            write_failed(object_store::Error::Generic { store: "LocalFileSystem", source }).kind()
        };
        assert_eq!(failed(io::ErrorKind::StorageFull), ErrorKind::StorageFull);
        assert_eq!(failed(io::ErrorKind::PermissionDenied), ErrorKind::Internal);
    }
}
