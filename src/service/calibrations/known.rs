//! The calibrations in the store. Those in use are kept in memory, with the list of their versions for a moment.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use lru::LruCache;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{CalibrationKey, watch::Watched};
use crate::{
    anomaly::calibration::{Calibration, CalibrationDocument, Sample},
    compute::CpuPool,
    config,
    domain::{CalibrationName, CalibrationRef, ModelName},
    error::{Error, ErrorKind, Result},
    store::{CalibrationStore, StoredVersion},
    telemetry::Metrics,
};

/// How long a list of versions is taken to be complete: what another replica makes is seen after this time at the latest.
const TRUSTED: Duration = Duration::from_secs(2);
/// Calibrations, and lists of versions, kept in memory.
const KEPT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);
/// How often a version is made anew where another replica was first.
const ATTEMPTS: usize = 16;

/// The calibrations of all models. One for the process.
pub(in crate::service) struct Calibrations {
    store: CalibrationStore,
    pool: Arc<CpuPool>,
    versions: Mutex<LruCache<CalibrationKey, Listed>>,
    ready: Mutex<LruCache<(CalibrationKey, u32), Ready>>,
    /// Calibrations that are made at a time.
    turns: Semaphore,
    pub(super) watched: Watched,
    pub(super) max_images: usize,
    /// Milliseconds that a request which calibrates may take.
    pub(in crate::service) max_ms: u64,
}

/// The parts that the calibrations are put together from.
pub(in crate::service) struct CalibrationsParts {
    pub(in crate::service) store: CalibrationStore,
    pub(in crate::service) pool: Arc<CpuPool>,
    pub(in crate::service) settings: config::Anomaly,
    /// Calibrations that are made at a time.
    pub(in crate::service) jobs: usize,
    pub(in crate::service) metrics: Arc<Metrics>,
}

/// The versions of a calibration as they were listed.
struct Listed {
    when: Instant,
    versions: Vec<StoredVersion>,
}

/// A version that is ready to judge.
struct Ready {
    tag: String,
    calibration: Arc<Calibration>,
}

impl Calibrations {
    pub(in crate::service) fn new(parts: CalibrationsParts) -> Self {
        let CalibrationsParts { store, pool, settings, jobs, metrics } = parts;
        Self {
            store,
            pool,
            versions: Mutex::new(LruCache::new(KEPT)),
            ready: Mutex::new(LruCache::new(KEPT)),
            turns: Semaphore::new(jobs.max(1)),
            watched: Watched::new(&settings, metrics),
            max_images: settings.calibration_images,
            max_ms: settings.calibration_ms,
        }
    }

    /// The turn to make a calibration, which takes much of a model's time.
    ///
    /// # Errors
    /// `deadline_exceeded` where it does not come in time.
    pub(super) async fn turn(&self, deadline: Instant) -> Result<SemaphorePermit<'_>> {
        let turn = tokio::time::timeout_at(deadline.into(), self.turns.acquire()).await;
        let late = || Error::deadline_exceeded("other calibrations were being made until the deadline");
        turn.map_err(|_| late())?.map_err(|error| Error::internal("no calibrations are made").with_source(error))
    }

    /// The names of a model's calibrations.
    pub(super) async fn names(&self, model: &ModelName) -> Result<Vec<CalibrationName>> {
        self.store.names(model).await
    }

    /// The versions of a calibration, the latest last; none where there is no such calibration.
    pub(super) async fn versions(&self, key: &CalibrationKey) -> Result<Vec<StoredVersion>> {
        if let Some(listed) = lock(&self.versions).get(key).filter(|listed| listed.when.elapsed() < TRUSTED) {
            return Ok(listed.versions.clone());
        }
        self.list(key).await
    }

    /// As [`versions`](Self::versions), as the store has them now.
    pub(super) async fn list(&self, key: &CalibrationKey) -> Result<Vec<StoredVersion>> {
        let when = Instant::now();
        let versions = self.store.versions(&key.model, &key.name).await?;
        if versions.is_empty() {
            lock(&self.versions).pop(key);
        } else {
            lock(&self.versions).put(key.clone(), Listed { when, versions: versions.clone() });
        }
        Ok(versions)
    }

    /// The calibration that a request names.
    ///
    /// # Errors
    /// `calibration_not_found`; `unavailable` for a document that cannot be used.
    pub(super) async fn load(&self, model: &ModelName, wanted: &CalibrationRef) -> Result<Arc<Calibration>> {
        let key = CalibrationKey { model: model.clone(), name: wanted.name.clone() };
        let versions = self.versions(&key).await?;
        let latest = versions.last().ok_or_else(|| key.not_found())?;
        let Some(version) = wanted.version else { return self.prepare(&key, latest).await };
        match versions.iter().find(|stored| stored.version == version) {
            Some(stored) => self.prepare(&key, stored).await,
            None => {
                let text = format!(
                    "the calibration {} of the model {model} has no version {version}; the latest is {}",
                    wanted.name, latest.version
                );
                Err(Error::new(ErrorKind::CalibrationNotFound, text))
            }
        }
    }

    /// A version of a calibration that the store has listed.
    pub(super) async fn prepare(&self, key: &CalibrationKey, stored: &StoredVersion) -> Result<Arc<Calibration>> {
        let place = (key.clone(), stored.version);
        if let Some(ready) = lock(&self.ready).get(&place).filter(|ready| ready.tag == stored.tag) {
            return Ok(Arc::clone(&ready.calibration));
        }
        let bytes = self.store.get(&key.model, &key.name, stored.version).await?;
        let Some(bytes) = bytes else {
            // It was deleted after it was listed.
            lock(&self.versions).pop(key);
            return Err(key.not_found());
        };
        let read = self.pool.run(move || Calibration::new(parse(&bytes)?)).await?;
        let calibration = read.map(Arc::new).map_err(|error| {
            let text = format!("the calibration {}@{} cannot be used: {}", key.name, stored.version, error.message());
            Error::unavailable(text).with_source(error)
        })?;
        let ready = Ready { tag: stored.tag.clone(), calibration: Arc::clone(&calibration) };
        lock(&self.ready).put(place, ready);
        Ok(calibration)
    }

    /// Stores the next version of a calibration; it is durable when this returns. Where another replica stores that
    /// version first, the next one is made of what that replica has stored.
    ///
    /// # Errors
    /// `calibration_not_found` and `calibration_stale` for an extension; `invalid_request` for samples that cannot
    /// calibrate; those of the store.
    pub(super) async fn write(&self, key: &CalibrationKey, change: &Change) -> Result<Written> {
        for _ in 0..ATTEMPTS {
            let versions = self.list(key).await?;
            let latest = versions.last();
            let version = latest.map_or(0, |stored| stored.version).checked_add(1);
            let version = version.ok_or_else(|| Error::invalid_request("the calibration has too many versions"))?;
            let document = match change {
                Change::Replace(document) => document.as_ref().clone(),
                Change::Extend { score_key, samples, created_unix } => {
                    let latest = self.prepare(key, latest.ok_or_else(|| key.not_found())?).await?;
                    let mut document = latest.document.clone();
                    check_key(&document, score_key)?;
                    document.samples.extend(samples.iter().cloned());
                    document.created_unix = *created_unix;
                    document
                }
            };
            let document = CalibrationDocument { version, ..document };
            let (calibration, bytes) = self.pool.run(move || written(document)).await??;
            if self.store.create(&key.model, &key.name, version, bytes).await? {
                self.list(key).await?;
                return Ok(Written { calibration: Arc::new(calibration), created: latest.is_none() });
            }
        }
        Err(Error::unavailable("other replicas make versions of this calibration all the time; try again"))
    }

    /// Deletes every version of a calibration.
    ///
    /// # Errors
    /// `calibration_not_found`.
    pub(super) async fn delete(&self, key: &CalibrationKey) -> Result<()> {
        let deleted = self.store.delete(&key.model, &key.name).await;
        lock(&self.versions).pop(key);
        self.watched.forget(key);
        if deleted? { Ok(()) } else { Err(key.not_found()) }
    }
}

/// What the next version of a calibration is made of.
pub(super) enum Change {
    /// Of this alone, but for the version.
    Replace(Box<CalibrationDocument>),
    /// Of the latest version and these.
    Extend { score_key: String, samples: Vec<Sample>, created_unix: u64 },
}

/// Refuses a calibration of other scores than those with this key.
///
/// # Errors
/// `calibration_stale`.
pub(super) fn check_key(document: &CalibrationDocument, score_key: &str) -> Result<()> {
    if document.score_key == score_key {
        return Ok(());
    }
    let CalibrationDocument { name, model, score_key: made_of, .. } = document;
    let text = format!(
        "the calibration {name} is of the scores {made_of}, and the model {model} now makes {score_key}: its files have \
         changed, so calibrate anew"
    );
    Err(Error::new(ErrorKind::CalibrationStale, text))
}

/// A version that was stored.
pub(super) struct Written {
    pub(super) calibration: Arc<Calibration>,
    /// Whether it is the first.
    pub(super) created: bool,
}

fn written(document: CalibrationDocument) -> Result<(Calibration, Bytes)> {
    let calibration = Calibration::new(document)?;
    let bytes = serde_json::to_vec(&calibration.document)
        .map_err(|error| Error::internal("a calibration cannot be written").with_source(error))?;
    Ok((calibration, Bytes::from(bytes)))
}

fn parse(bytes: &[u8]) -> Result<CalibrationDocument> {
    serde_json::from_slice(bytes).map_err(|error| Error::invalid_request(format!("the document is damaged: {error}")))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
