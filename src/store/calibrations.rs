//! The documents of calibrations, `{model}/{name}/{version}.json`, in the folder `calibrations` or under that prefix of
//! the bucket.

use std::{
    path::{Path as FilePath, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::{
    ObjectStore, ObjectStoreExt as _, PutMode, PutPayload, local::LocalFileSystem, path::Path, prefix::PrefixStore,
};

use super::{is_full, remote};
use crate::{
    config,
    domain::{CalibrationName, ModelName},
    error::{Error, ErrorKind, Result},
};

/// What the names of the objects begin with in a bucket, which holds the stored images too.
const PREFIX: &str = "calibrations";

/// Keeps every version of every calibration. A version is written once and never changed; it is on the disk, or in the
/// bucket, when it is acknowledged.
#[derive(Debug, Clone)]
pub struct CalibrationStore {
    objects: Arc<dyn ObjectStore>,
    place: Place,
}

/// Where the documents lie.
#[derive(Debug, Clone)]
enum Place {
    Folder(PathBuf),
    /// By its address.
    Bucket(String),
}

/// A version of a calibration as the store lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredVersion {
    /// Counts from 1.
    pub version: u32,
    /// Differs from that of any other document that ever had the same name and version.
    pub tag: String,
}

impl CalibrationStore {
    /// The bucket that the settings name, which is not asked yet, or a store in the folder.
    pub fn connect(folder: &FilePath, settings: &config::Store) -> Result<Self> {
        if settings.url.is_empty() {
            return Self::open(folder);
        }
        let objects = Arc::new(PrefixStore::new(remote::open(settings)?, PREFIX));
        Ok(Self { objects, place: Place::Bucket(settings.url.clone()) })
    }

    /// A store in a folder, which is made if it is missing. Blocks for a moment.
    pub fn open(folder: &FilePath) -> Result<Self> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
            Error::unavailable(format!("the folder of calibrations {} cannot be used", folder.display()))
                .with_source(error)
        };
        std::fs::create_dir_all(folder).map_err(|error| failed(error.into()))?;
        let objects = LocalFileSystem::new_with_prefix(folder).map_err(|error| failed(error.into()))?;
        // Written to a file of another name, synced, linked, and the folder synced: whole or not there at all.
        Ok(Self { objects: Arc::new(objects.with_fsync(true)), place: Place::Folder(folder.to_owned()) })
    }

    /// The names of the calibrations of a model, in order. A name whose versions are all deleted may be among them.
    pub async fn names(&self, model: &ModelName) -> Result<Vec<CalibrationName>> {
        let prefix = Path::from_iter([model.as_str()]);
        let found = self.objects.list_with_delimiter(Some(&prefix)).await.map_err(|error| self.failed(error))?;
        let name = |path: &Path| path.filename()?.parse().ok();
        let mut names: Vec<CalibrationName> = found.common_prefixes.iter().filter_map(name).collect();
        names.sort();
        Ok(names)
    }

    /// The versions of a calibration, the latest last; none where there is no such calibration.
    pub async fn versions(&self, model: &ModelName, name: &CalibrationName) -> Result<Vec<StoredVersion>> {
        let prefix = Path::from_iter([model.as_str(), name.as_str()]);
        let found: Vec<_> = self.objects.list(Some(&prefix)).try_collect().await.map_err(|error| self.failed(error))?;
        let version = |found: object_store::ObjectMeta| {
            let version = found.location.filename()?.strip_suffix(".json")?.parse().ok()?;
            let tag = found.e_tag.unwrap_or_else(|| format!("{}-{}", found.last_modified, found.size));
            Some(StoredVersion { version, tag })
        };
        let mut versions: Vec<StoredVersion> = found.into_iter().filter_map(version).collect();
        versions.sort_by_key(|stored| stored.version);
        Ok(versions)
    }

    /// The document of a version; none where there is none.
    pub async fn get(&self, model: &ModelName, name: &CalibrationName, version: u32) -> Result<Option<Bytes>> {
        let read = async { self.objects.get(&path(model, name, version)).await?.bytes().await };
        match read.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Stores a version, durably; false where that version is there already, which stays as it is.
    pub async fn create(&self, model: &ModelName, name: &CalibrationName, version: u32, bytes: Bytes) -> Result<bool> {
        let payload = PutPayload::from_bytes(bytes);
        match self.objects.put_opts(&path(model, name, version), payload, PutMode::Create.into()).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Deletes every version of a calibration; false where there is none.
    ///
    /// The oldest version goes first: a deletion that is interrupted leaves the calibration as it was judged by.
    pub async fn delete(&self, model: &ModelName, name: &CalibrationName) -> Result<bool> {
        let versions = self.versions(model, name).await?;
        for stored in &versions {
            match self.objects.delete(&path(model, name, stored.version)).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        if let Place::Folder(root) = &self.place
            && !versions.is_empty()
        {
            let folder = root.join(model.as_str()).join(name.as_str());
            // Without this, a crash could bring the calibration back.
            let synced = tokio::task::spawn_blocking(move || std::fs::File::open(folder)?.sync_all()).await;
            let synced = synced.map_err(|error| Error::internal("a deletion ended early").with_source(error))?;
            synced
                .map_err(|error| Error::internal("the folder of calibrations cannot be synced").with_source(error))?;
        }
        Ok(!versions.is_empty())
    }

    fn failed(&self, error: object_store::Error) -> Error {
        match &self.place {
            Place::Bucket(address) => {
                let text =
                    format!("the store {address} of the calibrations is out of reach: {}", remote::reason(&error));
                Error::unavailable(text).with_source(remote::causes(&error))
            }
            Place::Folder(_) if is_full(&error) => {
                Error::new(ErrorKind::StorageFull, "the disk of the calibrations is full; nothing was stored")
                    .with_source(error)
            }
            Place::Folder(_) => Error::internal("the folder of calibrations cannot be used").with_source(error),
        }
    }
}

fn path(model: &ModelName, name: &CalibrationName, version: u32) -> Path {
    Path::from_iter([model.as_str(), name.as_str(), &format!("{version}.json")])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> (ModelName, CalibrationName) {
        ("m:int8".parse().unwrap(), "line-1".parse().unwrap())
    }

    #[tokio::test]
    async fn versions_are_kept_in_their_order_and_survive_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let store = CalibrationStore::open(&folder.path().join("a/b")).unwrap();
        let (model, name) = names();
        for version in [1, 2, 10] {
            let text = Bytes::from(format!("{version}"));
            assert!(store.create(&model, &name, version, text).await.unwrap());
        }
        let again = CalibrationStore::open(&folder.path().join("a/b")).unwrap();
        let versions = again.versions(&model, &name).await.unwrap();
        assert_eq!(versions.iter().map(|stored| stored.version).collect::<Vec<_>>(), [1, 2, 10]);
        assert_eq!(again.get(&model, &name, 10).await.unwrap().unwrap(), "10");
        assert_eq!(again.names(&model).await.unwrap(), std::slice::from_ref(&name));
        assert!(again.names(&"m".parse().unwrap()).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn one_of_two_writers_of_a_version_is_told_that_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let stores = [(); 2].map(|()| CalibrationStore::open(folder.path()).unwrap());
        let (model, name) = names();
        assert!(stores[0].create(&model, &name, 1, Bytes::from_static(b"a")).await.unwrap());
        assert!(!stores[1].create(&model, &name, 1, Bytes::from_static(b"b")).await.unwrap());
        assert_eq!(stores[1].get(&model, &name, 1).await.unwrap().unwrap(), "a");
    }

    #[tokio::test]
    async fn what_is_deleted_is_gone_and_what_comes_after_it_has_another_tag() {
        let folder = tempfile::tempdir().unwrap();
        let store = CalibrationStore::open(folder.path()).unwrap();
        let (model, name) = names();
        store.create(&model, &name, 1, Bytes::from_static(b"a")).await.unwrap();
        let before = store.versions(&model, &name).await.unwrap();
        assert!(store.delete(&model, &name).await.unwrap());
        assert!(!store.delete(&model, &name).await.unwrap());
        assert_eq!(store.get(&model, &name, 1).await.unwrap(), None);
        assert!(store.versions(&model, &name).await.unwrap().is_empty());
        store.create(&model, &name, 1, Bytes::from_static(b"bb")).await.unwrap();
        assert_ne!(store.versions(&model, &name).await.unwrap(), before);
    }
}
