//! The models of the repository.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    config::Limits,
    domain::ModelName,
    http::{
        AppState,
        error::Failure,
        extract::{LookupParams, NoOptions, QueryOptions},
    },
    image::{Channels, PreprocessSpec},
    model::{Capability, Family, Model, Pooling},
    service::ModelSummary,
};

#[derive(Debug, Serialize, ToSchema)]
pub struct ModelList {
    #[schema(example = "list")]
    object: &'static str,
    data: Vec<ModelDescription>,
}

/// A model; one that is not ready has no more than its name and state.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelDescription {
    id: String,
    #[schema(example = "model")]
    object: &'static str,
    /// When its files were last written, in seconds since 1970; 0 while that is not known.
    created: u64,
    #[schema(example = "latentd")]
    owned_by: &'static str,
    #[schema(example = "ready")]
    state: &'static str,
    /// The reason why the model failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Whether the server needs this model to be ready.
    required: bool,
    #[serde(flatten)]
    ready: Option<ReadyModel>,
    limits: LimitsDescription,
}

#[derive(Debug, Serialize, ToSchema)]
struct ReadyModel {
    family: Family,
    /// What its author says of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// The licences of weights and data, in the author's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    license: Option<String>,
    /// What it serves.
    capabilities: Vec<Capability>,
    input: InputDescription,
    preprocess: PreprocessSpec,
    /// The model's embedding; null for a model that gives images only.
    embedding: Option<EmbeddingDescription>,
    space_key: String,
    /// The device that the model runs on.
    #[schema(example = "cpu")]
    device: String,
    /// The execution provider, by ONNX Runtime's name.
    provider: &'static str,
    /// What its author measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics: Option<serde_json::Value>,
}

#[derive(Debug, Serialize, ToSchema)]
struct InputDescription {
    width: u32,
    height: u32,
    channels: Channels,
}

#[derive(Debug, Serialize, ToSchema)]
struct EmbeddingDescription {
    dimension: usize,
    normalized: bool,
    pooling: Pooling,
}

/// What one request, and all of them together, may take.
#[derive(Debug, Serialize, ToSchema)]
struct LimitsDescription {
    body_bytes: u64,
    bodies_in_flight_bytes: u64,
    images: usize,
    vectors: usize,
    image_pixels: u64,
    decoded_in_flight_bytes: u64,
    queue_items: usize,
    index_reads: usize,
    index_writes: usize,
    /// Of each kind.
    background_jobs: usize,
    deadline_ms: u64,
    metadata_bytes: usize,
}

impl From<&Limits> for LimitsDescription {
    fn from(limits: &Limits) -> Self {
        Self {
            body_bytes: limits.body_bytes,
            bodies_in_flight_bytes: limits.bodies_in_flight_bytes,
            images: limits.images,
            vectors: limits.vectors,
            image_pixels: limits.image_pixels,
            decoded_in_flight_bytes: limits.decoded_in_flight_bytes,
            queue_items: limits.queue_items,
            index_reads: limits.index_reads,
            index_writes: limits.index_writes,
            background_jobs: limits.background_jobs,
            deadline_ms: limits.deadline_ms,
            metadata_bytes: limits.metadata_bytes,
        }
    }
}

impl From<&Model> for ReadyModel {
    fn from(model: &Model) -> Self {
        let manifest = model.manifest();
        let input = model.preprocessor().input();
        Self {
            family: manifest.family,
            description: manifest.description.clone(),
            license: manifest.license.clone(),
            capabilities: model.capabilities().to_vec(),
            input: InputDescription { width: input.width, height: input.height, channels: input.channels },
            preprocess: model.preprocessor().spec().clone(),
            embedding: model.embedding().map(|head| EmbeddingDescription {
                dimension: head.dimension(),
                normalized: head.spec().normalize,
                pooling: head.spec().pooling,
            }),
            space_key: model.space_key().to_string(),
            device: model.device().to_string(),
            provider: model.provider(),
            metrics: model.metrics_json().cloned(),
        }
    }
}

fn description(summary: ModelSummary, limits: &Limits) -> ModelDescription {
    let model = summary.ready.as_deref();
    ModelDescription {
        id: summary.name,
        object: "model",
        created: model.map_or(0, Model::created_unix),
        owned_by: "latentd",
        state: summary.state,
        reason: (!summary.reasons.is_empty()).then(|| summary.reasons.join("; ")),
        required: summary.required,
        ready: model.map(ReadyModel::from),
        limits: limits.into(),
    }
}

/// Every model by name, failed ones included with their reasons.
#[utoipa::path(get, path = "/v1/models", tag = "models", operation_id = "list_models",
    responses((status = 200, body = ModelList)))]
pub(in crate::http) async fn list(
    State(state): State<AppState>,
    QueryOptions(NoOptions {}): QueryOptions<NoOptions>,
) -> Json<ModelList> {
    let limits = state.service.limits();
    let data = state.service.models().into_iter().map(|summary| description(summary, limits)).collect();
    Json(ModelList { object: "list", data })
}

/// One model.
#[utoipa::path(get, path = "/v1/models/{model}", tag = "models", operation_id = "describe_model",
    params(("model" = String, Path)), responses((status = 200, body = ModelDescription)))]
pub(in crate::http) async fn describe(
    State(state): State<AppState>,
    LookupParams(model): LookupParams<ModelName>,
    QueryOptions(NoOptions {}): QueryOptions<NoOptions>,
) -> Result<Json<ModelDescription>, Failure> {
    let summary = state.service.model(&model)?;
    Ok(Json(description(summary, state.service.limits())))
}
