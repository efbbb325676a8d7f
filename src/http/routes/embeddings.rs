//! Images to vectors.

use axum::{
    Extension, Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    domain::ModelName,
    error::{Error, Result},
    http::{
        AppState,
        accept::{Media, negotiate},
        answer::{Array, EncodingFormat, ItemError, Vector, item_errors},
        compat::openai,
        error::Failure,
        extract::{Fields, FormRules, FromFields, IMAGES, ImagesRequest, LookupName as _, RequestBody},
        schema::{BinaryFile, FormImages, JsonEmbeddings},
    },
    model::{Pooling, VectorOptions},
    service::{ByModel, Context},
};

#[derive(Debug, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct EmbeddingOptions {
    #[param(required = false)]
    model: String,
    /// Keep this many leading numbers.
    dimensions: Option<usize>,
    /// Scale to unit L2 length, or not.
    normalize: Option<bool>,
    /// The pooling of models that give tokens.
    pooling: Option<Pooling>,
    #[serde(default)]
    #[schema(default = "float")]
    #[param(required = false)]
    encoding_format: EncodingFormat,
    /// Fail the request with its first bad image.
    #[serde(default)]
    #[param(required = false)]
    strict: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct EmbeddingList {
    #[schema(example = "list")]
    pub(in crate::http) object: &'static str,
    pub(in crate::http) model: String,
    /// Names the space of the vectors: two of them compare only if their keys are equal.
    pub(in crate::http) space_key: String,
    pub(in crate::http) data: Vec<EmbeddingEntry>,
    /// The errors of single images. Requests with `input` fail as a whole and have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) errors: Option<Vec<ItemError>>,
    pub(in crate::http) usage: Usage,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct EmbeddingEntry {
    #[schema(example = "embedding")]
    object: &'static str,
    /// The image's place in the request, from 0.
    index: usize,
    embedding: Vector,
}

/// Images have no tokens.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Usage {
    prompt_tokens: u32,
    total_tokens: u32,
}

impl EmbeddingList {
    pub(in crate::http) fn new(embedded: ByModel<Vec<f32>>, format: EncodingFormat) -> Self {
        let entry =
            |(index, values)| EmbeddingEntry { object: "embedding", index, embedding: Vector::new(values, format) };
        Self {
            object: "list",
            model: embedded.model.name().to_string(),
            space_key: embedded.space_key.to_string(),
            data: embedded.items.good.into_iter().map(entry).collect(),
            errors: Some(item_errors(&embedded.items.errors)),
            usage: Usage::default(),
        }
    }
}

/// A request to embed images, by one of two contracts.
pub enum EmbeddingsRequest {
    Native(ImagesRequest<EmbeddingOptions>),
    /// OpenAI's contract, whose errors have an envelope of their own.
    OpenAi(Result<openai::InputRequest>),
}

impl FromFields for EmbeddingsRequest {
    const RULES: FormRules = FormRules { json: &["images", "image", "input"], ..IMAGES };

    fn from_fields(fields: Fields<'_>) -> Result<Self> {
        if fields.has_json("input") {
            return Ok(Self::OpenAi(openai::InputRequest::of(fields)));
        }
        let (mut content, options) = fields.split()?;
        let images = content.images()?;
        let images = images.ok_or_else(|| Error::invalid_request("`images` (or OpenAI's `input`) is missing"))?;
        Ok(Self::Native(ImagesRequest { images, options }))
    }
}

/// Embeds images. A JSON body with `input` is OpenAI's contract, with its envelope for errors.
#[utoipa::path(post, path = "/v1/embeddings", tag = "images", params(EmbeddingOptions),
    request_body(content((JsonEmbeddings = "application/json"),
        (FormImages<EmbeddingOptions> = "multipart/form-data"), (BinaryFile = "image/*"))),
    responses((status = 200, content((EmbeddingList = "application/json"), (BinaryFile = "application/octet-stream"),
        (BinaryFile = "application/x-npy")))))]
pub(in crate::http) async fn embeddings(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    headers: HeaderMap,
    RequestBody(request): RequestBody<EmbeddingsRequest>,
) -> Result<Response, Failure> {
    match request {
        EmbeddingsRequest::Native(request) => Ok(native(&state, &context, &headers, request).await?),
        EmbeddingsRequest::OpenAi(request) => openai::embeddings(&state, &context, &headers, request).await,
    }
}

async fn native(
    state: &AppState,
    context: &Context,
    headers: &HeaderMap,
    request: ImagesRequest<EmbeddingOptions>,
) -> Result<Response> {
    let media = negotiate(headers, &[Media::Json, Media::Octets, Media::Npy])?;
    let ImagesRequest { images, options } = request;
    let model = ModelName::for_lookup(&options.model)?;
    let EmbeddingOptions { dimensions, normalize, pooling, .. } = options;
    let vectors = VectorOptions { dimensions, normalize, pooling };
    let mut embedded = state.service.embed(context, &model, images, vectors).await?;
    embedded.items = embedded.items.settle(options.strict || media.is_binary())?;
    if media.is_binary() {
        let rows: Vec<Vec<f32>> = embedded.items.good.into_iter().map(|(_, values)| values).collect();
        let shape = [rows.len(), rows.first().map_or(0, Vec::len)];
        return Array { shape: &shape, data: &rows.concat(), space_key: &embedded.space_key }.answer(media);
    }
    Ok(Json(EmbeddingList::new(embedded, options.encoding_format)).into_response())
}
