//! A collection as a whole: its duplicates and its health; `map` has its map. All three are computed in the background, once for
//! each state of the collection.

use axum::{Extension, Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    domain::{CollectionName, Metric, SpaceKey, TopK},
    http::{
        AppState,
        error::Failure,
        extract::{LookupParams, QueryOptions, SpaceOptions},
    },
    index::CollectionSpec,
    service::{self, Computed, Context, Drift, Duplicates, DuplicatesRequest, HEALTH_SAMPLE, Health},
};

/// Groups of an answer unless the caller says otherwise.
const GROUPS: usize = 100;
/// Ids of a group that are named.
const NAMED: usize = 1000;

/// Which collection an answer is about, and whether it is up to date.
#[derive(Debug, Serialize, ToSchema)]
pub struct About {
    collection: String,
    space_key: Option<String>,
    metric: Metric,
    /// Whether the answer is up to date: where it is not, the collection has changed and it is being computed anew.
    current: bool,
}

impl About {
    pub(super) fn new<T>(spec: CollectionSpec, computed: &Computed<T>) -> Self {
        let CollectionSpec { name, space_key, metric, .. } = spec;
        Self { collection: name.into(), space_key: space_key.map(String::from), metric, current: computed.current }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DuplicatesOptions {
    /// The score from which on two items are duplicates: 0.95 for cosines, to be given for other metrics. It is rounded
    /// down, of cosines to three decimals, of other scores to three significant digits.
    min_score: Option<f32>,
    /// Groups in the answer: 1 to 1,000; 100 unless given.
    limit: Option<usize>,
    /// Refuse unless this is the collection's space.
    #[param(value_type = Option<String>)]
    space_key: Option<SpaceKey>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DuplicatesAnswer {
    #[serde(flatten)]
    about: About,
    min_score: f32,
    /// Items looked at.
    count: u64,
    /// Groups in all; those beyond the limit are not in the answer.
    total: usize,
    /// The largest first.
    groups: Vec<DuplicateGroup>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DuplicateGroup {
    /// Items in it.
    size: usize,
    /// The first 1,000 of them.
    ids: Vec<String>,
    /// The lowest score of the links that join them.
    min_score: f32,
    max_score: f32,
}

impl DuplicatesAnswer {
    fn new(about: About, duplicates: &Duplicates, limit: TopK) -> Self {
        let group = |group: &service::DuplicateGroup| DuplicateGroup {
            size: group.members.len(),
            ids: group.members.iter().take(NAMED).map(ToString::to_string).collect(),
            min_score: group.lowest,
            max_score: group.highest,
        };
        let groups = duplicates.groups.iter().take(limit.get()).map(group).collect();
        Self { about, min_score: duplicates.min_score, count: duplicates.count, total: duplicates.groups.len(), groups }
    }
}

/// Groups of items that are joined by scores of at least `min_score`, directly or by others between them. While a
/// larger collection is looked through, the answer is `unavailable` with `Retry-After`. A job that nobody asks for during
/// 30 seconds is cancelled.
#[utoipa::path(get, path = "/v1/collections/{collection}/duplicates", tag = "search", operation_id = "duplicates",
    params(("collection" = String, Path), DuplicatesOptions), responses((status = 200, body = DuplicatesAnswer)))]
pub(in crate::http) async fn duplicates(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    LookupParams(collection): LookupParams<CollectionName>,
    QueryOptions(options): QueryOptions<DuplicatesOptions>,
) -> Result<Json<DuplicatesAnswer>, Failure> {
    let limit = TopK::new(options.limit.unwrap_or(GROUPS))?;
    let request = DuplicatesRequest { min_score: options.min_score, space_key: options.space_key };
    let (spec, duplicates) = state.service.duplicates(&context, &collection, request).await?;
    Ok(Json(DuplicatesAnswer::new(About::new(spec, &duplicates), &duplicates.value, limit)))
}

#[derive(Debug, Serialize, ToSchema)]
pub struct HealthAnswer {
    #[serde(flatten)]
    about: About,
    dimension: usize,
    /// Items of the collection.
    count: u64,
    /// Items that the figures are of.
    sampled: usize,
    /// The largest sample: of a larger collection, only so many items are looked at.
    max_sampled: usize,
    /// Lengths of the vectors as they are stored: all 1 in a cosine collection.
    norms: Option<Norms>,
    /// The effective rank of the vectors: 1 where all lie on a line, the dimension (or `sampled` − 1) where they spread
    /// alike in all directions.
    effective_rank: Option<f64>,
    active_units: ActiveUnits,
    nearest: Option<NearestFigures>,
    drift: DriftFigures,
}

#[derive(Debug, Serialize, ToSchema)]
struct Norms {
    mean: f64,
    std: f64,
    min: f64,
    max: f64,
}

/// Dimensions whose variance exceeds the threshold.
#[derive(Debug, Serialize, ToSchema)]
struct ActiveUnits {
    count: Option<usize>,
    /// 0.01, divided by the dimension in a cosine collection.
    threshold: f64,
}

/// How far the nearest other item is, on average.
#[derive(Debug, Serialize, ToSchema)]
struct NearestFigures {
    sampled: usize,
    mean_score: f64,
    /// 1 − cosine, or the L2 distance; null for inner products.
    mean_distance: Option<f64>,
}

/// How far the recent queries by image or vector lie from what is stored.
#[derive(Debug, Serialize, ToSchema)]
struct DriftFigures {
    /// Queries since the start; of about the last 1,000 the score is.
    queries: u64,
    /// 0: they are spread as the items are; 1: they lie as far off as the items spread. Null before 50 queries.
    score: Option<f64>,
}

impl HealthAnswer {
    fn new(about: About, dimension: usize, health: &Health, drift: Drift) -> Self {
        Self {
            about,
            dimension,
            count: health.count,
            sampled: health.sampled,
            max_sampled: HEALTH_SAMPLE,
            norms: health.norms.map(|norms| Norms { mean: norms.mean, std: norms.std, min: norms.min, max: norms.max }),
            effective_rank: health.effective_rank,
            active_units: ActiveUnits { count: health.active_units, threshold: health.active_threshold },
            nearest: health.nearest.map(|nearest| NearestFigures {
                sampled: nearest.sampled,
                mean_score: nearest.mean_score,
                mean_distance: nearest.mean_distance,
            }),
            drift: DriftFigures { queries: drift.queries, score: drift.score },
        }
    }
}

/// Figures in which a collapse of the vectors and a drift of the queries are seen. The formulas are in
/// docs/OPERATIONS.md.
#[utoipa::path(get, path = "/v1/collections/{collection}/health", tag = "search", operation_id = "collection_health",
    params(("collection" = String, Path), SpaceOptions), responses((status = 200, body = HealthAnswer)))]
pub(in crate::http) async fn health(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    LookupParams(collection): LookupParams<CollectionName>,
    QueryOptions(SpaceOptions { space_key }): QueryOptions<SpaceOptions>,
) -> Result<Json<HealthAnswer>, Failure> {
    let (spec, health, drift) = state.service.health(&context, &collection, space_key.as_ref()).await?;
    let dimension = spec.dimension;
    Ok(Json(HealthAnswer::new(About::new(spec, &health), dimension, &health.value, drift)))
}
