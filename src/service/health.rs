//! Whether a collection's vectors are any good: figures in which collapse and drift are seen before users complain.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use super::{
    Context, Service,
    background::{Computed, patience},
    map::fitting,
};
use crate::{
    compute::CpuPool,
    domain::{CollectionName, Embedding, Metric, SpaceKey, TopK},
    error::Result,
    index::{Bounds, Collection, CollectionSpec, Query},
    statistics::{Moments, Spread, effective_rank},
    telemetry::{Metrics, metrics::HealthFigures},
};

/// Items that the figures are computed from, at most.
pub const HEALTH_SAMPLE: usize = 1000;
/// Items of these whose nearest neighbour is looked for.
const NEAREST_SAMPLE: usize = 100;
/// A dimension whose variance is higher is active: that of Burda et al. 2016 for the latents of a VAE.
const ACTIVE_VARIANCE: f64 = 0.01;
/// Queries that the drift follows: of about so many the last.
const RECENT_QUERIES: u64 = 1000;
/// Fewer queries than that tell nothing.
const FEWEST_QUERIES: u64 = 50;

/// Figures of a sample of a collection.
#[derive(Debug)]
pub struct Health {
    pub count: u64,
    /// Items that the figures are of.
    pub sampled: usize,
    /// Of the vectors as they are stored; none of no items.
    pub norms: Option<Spread>,
    /// None of fewer than two items, like the rest.
    pub effective_rank: Option<f64>,
    pub active_units: Option<usize>,
    /// The variance from which on a dimension is active.
    pub active_threshold: f64,
    pub nearest: Option<Nearest>,
    moments: Moments,
}

/// How far the nearest neighbour is, on average.
#[derive(Debug, Clone, Copy)]
pub struct Nearest {
    pub sampled: usize,
    pub mean_score: f64,
    /// 1 − cosine, or the L2 distance; an inner product has none.
    pub mean_distance: Option<f64>,
}

/// How far recent queries lie from what is stored.
#[derive(Debug, Clone, Copy)]
pub struct Drift {
    pub queries: u64,
    /// None until there were enough queries, and where the stored vectors do not differ.
    pub score: Option<f64>,
}

/// The recent queries of each collection, as moments.
#[derive(Default)]
pub(super) struct RecentQueries(RwLock<HashMap<CollectionName, Arc<Mutex<Moments>>>>);

impl RecentQueries {
    /// Notes the vector of a query; in a cosine collection its direction is what counts.
    pub(super) fn note(&self, spec: &CollectionSpec, query: &Embedding) {
        let found = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&spec.name).cloned();
        let moments = found.unwrap_or_else(|| {
            let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
            let made = || Arc::new(Mutex::new(Moments::fading(spec.dimension, RECENT_QUERIES)));
            Arc::clone(all.entry(spec.name.clone()).or_insert_with(made))
        });
        let mut moments = moments.lock().unwrap_or_else(PoisonError::into_inner);
        if moments.mean().len() != spec.dimension {
            *moments = Moments::fading(spec.dimension, RECENT_QUERIES);
        }
        match spec.metric {
            Metric::Cosine => moments.add(query.clone().normalized().as_slice()),
            Metric::Dot | Metric::Euclid => moments.add(query.as_slice()),
        }
    }

    fn of(&self, name: &CollectionName) -> Option<Moments> {
        let found = self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()?;
        let moments = found.lock().unwrap_or_else(PoisonError::into_inner);
        Some(moments.clone())
    }

    pub(super) fn forget(&self, name: &CollectionName) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

impl Service {
    /// The figures of a collection, computed in the background once for each of its states, and the drift as of now.
    pub async fn health(
        &self,
        ctx: &Context,
        name: &CollectionName,
        space_key: Option<&SpaceKey>,
    ) -> Result<(CollectionSpec, Computed<Health>, Drift)> {
        let collection = self.open_in_space(name, space_key).await?;
        let spec = collection.spec().clone();
        let (health, drift) = self.examined(collection, patience(ctx)).await?;
        Ok((spec, health, drift))
    }

    /// The figures and the drift, waited for until then.
    async fn examined(&self, collection: Arc<dyn Collection>, until: Instant) -> Result<(Computed<Health>, Drift)> {
        let name = collection.spec().name.clone();
        let version = collection.info().await?.version;
        let work = examine(self.pool(), collection.bounded(Bounds::BACKGROUND));
        let health = self.healths.get(name.clone(), version, until, work).await?;
        let drift = self.drift(&name, &health.value);
        publish(&self.metrics, &name, &health.value, drift);
        Ok((health, drift))
    }

    fn drift(&self, name: &CollectionName, health: &Health) -> Drift {
        let Some(queries) = self.queries.of(name) else { return Drift { queries: 0, score: None } };
        let spread = health.moments.total_variance();
        let enough = queries.count() >= FEWEST_QUERIES && health.moments.count() > 1 && spread > 0.0;
        Drift { queries: queries.count(), score: enough.then(|| queries.frechet(&health.moments) / spread) }
    }

    /// Looks at every collection again and again, so that the metrics tell without anybody asking. Ends never.
    pub async fn watch_health(&self, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            let Ok(all) = self.index.list().await else { continue };
            for info in all {
                let name = info.spec.name;
                // It waits until the figures are there: a job that nobody waits for is cancelled.
                let examined = async { self.examined(self.index.open(&name).await?, Instant::now() + every).await };
                if let Err(error) = examined.await {
                    tracing::debug!(collection = %name, reason = %error.chain(), "no figures of its health yet");
                }
            }
        }
    }
}

fn publish(metrics: &Metrics, name: &CollectionName, health: &Health, drift: Drift) {
    metrics.observe_health(
        name.as_str(),
        HealthFigures {
            norm_mean: health.norms.map(|norms| norms.mean),
            norm_std: health.norms.map(|norms| norms.std),
            effective_rank: health.effective_rank,
            active_units: health.active_units.map(|count| count as f64),
            nearest_score: health.nearest.map(|nearest| nearest.mean_score),
            query_drift: drift.score,
        },
    );
}

async fn examine(pool: Arc<CpuPool>, collection: Arc<dyn Collection>) -> Result<Health> {
    let spec = collection.spec().clone();
    let count = collection.info().await?.count;
    let items = collection.sample(fitting(HEALTH_SAMPLE, spec.dimension), false).await?;
    let mut scores = Vec::new();
    let step = (items.len() / NEAREST_SAMPLE).max(1);
    for item in items.iter().step_by(step).take(NEAREST_SAMPLE) {
        let nearest = Query::nearest(Embedding::new(item.vector.clone())?, TopK::new(1)?);
        let query = Query { exclude: Some(item.id.clone()), with_metadata: false, ..nearest };
        scores.extend(collection.search(query).await?.first().map(|hit| f64::from(hit.score)));
    }
    let nearest = Spread::of(&scores).map(|spread| Nearest {
        sampled: scores.len(),
        mean_score: spread.mean,
        mean_distance: distance(spec.metric, spread.mean),
    });
    let vectors = items.into_iter().map(|item| item.vector).collect();
    pool.background(move || figures(&spec, vectors, count, nearest)).await
}

fn distance(metric: Metric, score: f64) -> Option<f64> {
    match metric {
        Metric::Cosine => Some(1.0 - score),
        Metric::Euclid => Some(-score),
        Metric::Dot => None,
    }
}

fn figures(spec: &CollectionSpec, vectors: Vec<Vec<f32>>, count: u64, nearest: Option<Nearest>) -> Health {
    let vectors: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
    let norm = |vector: &&[f32]| vector.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    let norms: Vec<f64> = vectors.iter().map(norm).collect();
    let moments = Moments::of(vectors.iter().copied(), spec.dimension);
    // the numbers of a vector of length 1 are the smaller the more there are
    let active_threshold = match spec.metric {
        Metric::Cosine => ACTIVE_VARIANCE / spec.dimension as f64,
        Metric::Dot | Metric::Euclid => ACTIVE_VARIANCE,
    };
    let several = vectors.len() > 1;
    Health {
        count,
        sampled: vectors.len(),
        norms: Spread::of(&norms),
        effective_rank: several.then(|| effective_rank(&vectors, moments.mean())),
        active_units: several.then(|| moments.active(active_threshold)),
        active_threshold,
        nearest,
        moments,
    }
}
