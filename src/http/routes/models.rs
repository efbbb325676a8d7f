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
    model::{Capability, Declared, Family, Model, Pooling},
    service::ModelSummary,
};

#[derive(Debug, Serialize, ToSchema)]
pub struct ModelList {
    #[schema(example = "list")]
    object: &'static str,
    data: Vec<ModelDescription>,
}

/// A model: what its files tell whatever its state, unless its manifest cannot be read, and once it is ready also what
/// its graphs tell.
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
    declared: Option<DeclaredModel>,
    #[serde(flatten)]
    ready: Option<ReadyModel>,
    limits: LimitsDescription,
}

/// What the files of a model tell.
#[derive(Debug, Serialize, ToSchema)]
struct DeclaredModel {
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
    /// What its author measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics: Option<serde_json::Value>,
}

/// What is known of a model once it is ready.
#[derive(Debug, Serialize, ToSchema)]
struct ReadyModel {
    space_key: String,
    /// The device that the model runs on.
    #[schema(example = "cpu")]
    device: String,
    /// The execution provider, by ONNX Runtime's name.
    provider: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
struct InputDescription {
    width: u32,
    height: u32,
    channels: Channels,
}

#[derive(Debug, Serialize, ToSchema)]
struct EmbeddingDescription {
    /// Known once the model is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    dimension: Option<usize>,
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

impl DeclaredModel {
    fn of(declared: &Declared, model: Option<&Model>) -> Self {
        let Declared { manifest, capabilities, metrics_json, .. } = declared;
        let dimension = model.and_then(|model| Some(model.embedding()?.dimension()));
        Self {
            family: manifest.family,
            description: manifest.description.clone(),
            license: manifest.license.clone(),
            capabilities: capabilities.clone(),
            input: InputDescription {
                width: manifest.input.width,
                height: manifest.input.height,
                channels: manifest.input.channels,
            },
            preprocess: manifest.preprocess.clone(),
            embedding: manifest.embedding.as_ref().map(|spec| EmbeddingDescription {
                dimension,
                normalized: spec.normalize,
                pooling: spec.pooling,
            }),
            metrics: metrics_json.clone(),
        }
    }
}

impl From<&Model> for ReadyModel {
    fn from(model: &Model) -> Self {
        Self {
            space_key: model.space_key().to_string(),
            device: model.device().to_string(),
            provider: model.provider(),
        }
    }
}

fn description(summary: ModelSummary, limits: &Limits) -> ModelDescription {
    let (declared, model) = (summary.declared.as_deref(), summary.ready.as_deref());
    ModelDescription {
        id: summary.name,
        object: "model",
        created: declared.map_or(0, |declared| declared.created_unix),
        owned_by: "latentd",
        state: summary.state,
        reason: (!summary.reasons.is_empty()).then(|| summary.reasons.join("; ")),
        required: summary.required,
        declared: declared.map(|declared| DeclaredModel::of(declared, model)),
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
