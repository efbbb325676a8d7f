//! Use cases without HTTP: from images and options to vectors, images, scores and found items.

mod background;
mod calibrations;
mod classify;
mod collections;
mod deletions;
mod denoise;
mod duplicates;
mod embed;
mod generate;
mod health;
mod inpaint;
mod interpolate;
mod items;
mod map;
mod models;
mod preprocess;
mod recommend;
mod reconstruct;
mod score;
mod search;
mod stored_images;
mod transfer;

use std::sync::{Arc, OnceLock};

pub use background::Computed;
pub use calibrations::{
    AnomalyRequest, Assessed, Assessment, CalibrateRequest, CalibrationState, JudgeRequest, JudgedBy, Made, Normals,
    StreamDrift, Ties,
};
pub use classify::{Classified, ClassifyRequest};
pub use collections::NewCollection;
pub use deletions::{delete_pending, forget as forget_images};
pub use denoise::{DenoiseQuality, Denoised, NoiseRequest};
pub use duplicates::{DuplicateGroup, Duplicates, DuplicatesRequest};
pub use embed::Embedded;
pub use generate::{GenerateRequest, Generated, GeneratedBy};
pub use health::{Drift, HEALTH_SAMPLE, Health, Nearest};
pub use inpaint::{HidingRequest, Inpainted};
pub use interpolate::{Endpoints, Step, Steps};
pub use items::{Added, Entry, EntrySource, FacetsRequest, PageRequest, PatchRequest};
pub use map::{CollectionMap, MapPoint, MapRequest};
pub use models::ModelSummary;
pub use preprocess::Preprocessed;
pub use recommend::{Example, Examples};
pub use reconstruct::Reconstruction;
pub use score::{MapFormat, RegionRequest, RoiRequest, ScoreOutput, ScoreRequest, Scored};
pub use search::{QueryBy, SearchRequest, SearchResults};
pub use stored_images::SpritesRequest;
pub use transfer::{export_collection, import_collection};

pub use crate::pipeline::{Context, Image, Stage};

use background::Background;
use calibrations::{Calibrations, CalibrationsParts};

use crate::{
    compute::CpuPool,
    config::{self, Limits},
    domain::{CollectionName, ModelName, SpaceKey},
    error::{Error, Result},
    index::IndexEngine,
    model::{Model, Repository},
    pipeline::{Pipeline, PipelineParts},
    store::{CalibrationStore, ImageStore},
    telemetry::{Metrics, metrics::CodeLabels},
    webhook::Webhook,
};

/// Everything the use cases stand on. One for the process.
pub struct Service {
    models: Arc<Repository>,
    index: Arc<dyn IndexEngine>,
    store: Arc<ImageStore>,
    unnamed: deletions::Unnamed,
    /// None before the index is open, and where the engine has no queue.
    deletions: OnceLock<deletions::Deletions>,
    pool: Arc<CpuPool>,
    pipeline: Pipeline,
    limits: Limits,
    metrics: Arc<Metrics>,
    duplicates: Background<(CollectionName, u32), Duplicates>,
    maps: Background<map::MapSlot, CollectionMap>,
    large_maps: Background<map::MapSlot, CollectionMap>,
    layouts: Background<(CollectionName, usize), map::Layout>,
    healths: Background<CollectionName, Health>,
    queries: health::RecentQueries,
    calibrations: Calibrations,
    webhook: Option<Webhook>,
}

/// The parts a service is put together from.
pub struct Parts {
    pub models: Arc<Repository>,
    pub index: Arc<dyn IndexEngine>,
    pub store: Arc<ImageStore>,
    pub calibrations: CalibrationStore,
    pub anomaly: config::Anomaly,
    /// None: nobody is told of verdicts.
    pub webhook: Option<Webhook>,
    pub pool: CpuPool,
    /// Of vectors kept for images that come again; 0: none.
    pub cache_bytes: u64,
    pub limits: Limits,
    pub metrics: Arc<Metrics>,
}

impl Service {
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { models, index, store, calibrations, anomaly, webhook, pool, cache_bytes, limits, metrics } = parts;
        let pool = Arc::new(pool);
        let pipeline = Pipeline::new(PipelineParts {
            pool: Arc::clone(&pool),
            cache_bytes,
            limits: &limits,
            metrics: Arc::clone(&metrics),
        });
        let jobs = limits.background_jobs;
        let calibrations = Calibrations::new(CalibrationsParts {
            store: calibrations,
            pool: Arc::clone(&pool),
            settings: anomaly,
            jobs,
            metrics: Arc::clone(&metrics),
        });
        let unnamed = deletions::Unnamed::new(Arc::clone(&store), Arc::clone(&index));
        Self {
            models,
            index,
            store,
            unnamed,
            deletions: OnceLock::new(),
            pool,
            pipeline,
            duplicates: Background::new(jobs, &metrics),
            maps: Background::new(jobs, &metrics),
            large_maps: Background::new(jobs, &metrics).keeping(map::LARGE_MAPS),
            layouts: Background::new(jobs, &metrics),
            healths: Background::new(jobs, &metrics),
            limits,
            metrics,
            queries: health::RecentQueries::default(),
            calibrations,
            webhook,
        }
    }

    /// Begins to delete the stored images in the queue of the engine, once that is open. Needs the async runtime.
    pub fn begin_deletions(&self) {
        if let Some(queue) = self.index.deletion_queue() {
            self.deletions.get_or_init(|| deletions::Deletions::start(queue, Arc::clone(&self.store)));
        }
    }

    /// Ends what the service does by itself, between two steps of it.
    pub async fn stop(&self) {
        if let Some(deletions) = self.deletions.get() {
            deletions.stop().await;
        }
        if let Some(webhook) = &self.webhook {
            webhook.drain().await;
        }
    }

    /// The threads for what takes processor time.
    #[must_use]
    pub fn pool(&self) -> Arc<CpuPool> {
        Arc::clone(&self.pool)
    }

    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Milliseconds that a request which calibrates may take.
    #[must_use]
    pub const fn calibration_ms(&self) -> u64 {
        self.calibrations.max_ms
    }

    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Does work that takes the processor's time, off the async threads.
    ///
    /// # Errors
    /// `internal` when the work panics, `unavailable` when the server shuts down.
    pub async fn compute<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        self.pool.run(work).await
    }

    /// Refuses a request with more images than the limit, and one with none.
    fn check_count(&self, count: usize, what: &str) -> Result<()> {
        check_some(count, what)?;
        check_limit(count, what, "limits.images", self.limits.images)
    }

    /// Refuses a request with more images, or with more vectors and ids, than the limit of each, and one with neither.
    fn check_counts(&self, images: usize, vectors: usize, what: &str) -> Result<()> {
        check_some(images + vectors, what)?;
        check_limit(images, &format!("{what} with images"), "limits.images", self.limits.images)?;
        check_limit(vectors, &format!("{what} without images"), "limits.vectors", self.limits.vectors)
    }

    /// The model that so many images are for.
    async fn model_for(&self, ctx: &Context, model: &ModelName, images: usize) -> Result<Arc<Model>> {
        self.check_count(images, "images")?;
        self.loaded(model, ctx.deadline).await
    }

    /// Results of one model for the images of a request.
    fn by_model<T>(&self, model: Arc<Model>, results: Vec<Result<T>>) -> ByModel<T> {
        let space_key = model.space_key().clone();
        ByModel { model, space_key, items: self.sort(results) }
    }

    /// Sorts results and counts the failed ones by their code.
    fn sort<T>(&self, results: Vec<Result<T>>) -> Items<T> {
        self.counted(Items::sort(results))
    }

    fn counted<T>(&self, items: Items<T>) -> Items<T> {
        self.count_errors(&items.errors);
        items
    }

    fn count_errors(&self, errors: &[(usize, Error)]) {
        for (_, error) in errors {
            self.metrics.item_errors.get_or_create(&CodeLabels { code: error.kind().code() }).inc();
        }
    }
}

fn check_some(count: usize, what: &str) -> Result<()> {
    if count == 0 { Err(Error::invalid_request(format!("the request has no {what}"))) } else { Ok(()) }
}

fn check_limit(count: usize, what: &str, key: &str, limit: usize) -> Result<()> {
    if count > limit {
        let text = format!("{count} {what} in one request: {key} is {limit}");
        return Err(Error::new(crate::error::ErrorKind::PayloadTooLarge, text));
    }
    Ok(())
}

/// Does work in a task of its own: what was admitted runs to its end, whatever becomes of the request.
async fn to_its_end<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    tokio::spawn(work).await.map_err(|error| Error::internal("a write ended early").with_source(error))?
}

/// What came of the items of one request: good ones and errors, each with the item's place in the request.
#[derive(Debug)]
pub struct Items<T> {
    pub good: Vec<(usize, T)>,
    pub errors: Vec<(usize, Error)>,
}

impl<T> Items<T> {
    fn sort(results: Vec<Result<T>>) -> Self {
        let mut items = Self { good: Vec::with_capacity(results.len()), errors: Vec::new() };
        for (index, result) in results.into_iter().enumerate() {
            match result {
                Ok(value) => items.good.push((index, value)),
                Err(error) => items.errors.push((index, error)),
            }
        }
        items
    }

    /// The rule of every route: with `strict`, or when all items are bad, the first bad item's error is the answer's.
    pub fn settle(mut self, strict: bool) -> Result<Self> {
        if !self.errors.is_empty() && (strict || self.good.is_empty()) {
            return Err(self.errors.swap_remove(0).1);
        }
        Ok(self)
    }
}

/// Items made by one model, with the key of the space their vectors live in.
pub struct ByModel<T> {
    pub model: Arc<Model>,
    pub space_key: SpaceKey,
    pub items: Items<T>,
}
