//! OpenAI's `/v1/embeddings`: one `data` entry for each input or none at all, and errors in its own envelope.

use axum::{
    Json,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    domain::ModelName,
    error::{Error, Result},
    http::{
        AppState,
        accept::{Media, negotiate},
        answer::EncodingFormat,
        error::Failure,
        extract::{Fields, LookupName as _},
        routes::EmbeddingList,
    },
    model::{Pooling, VectorOptions},
    service::{Context, Image},
};

/// What clients of this contract send beside `input`; the last two change nothing.
#[derive(Debug, Deserialize, ToSchema)]
pub struct InputOptions {
    model: String,
    /// Keep this many leading numbers.
    dimensions: Option<usize>,
    normalize: Option<bool>,
    pooling: Option<Pooling>,
    encoding_format: Option<EncodingFormat>,
    /// The kind of the inputs: `image` is the only one.
    modality: Option<String>,
    #[serde(rename = "user")]
    _user: Option<String>,
}

/// The inputs of a request and what stands beside them.
pub(in crate::http) struct InputRequest {
    model: ModelName,
    inputs: Vec<Image>,
    options: InputOptions,
}

impl InputRequest {
    pub(in crate::http) fn of(fields: Fields<'_>) -> Result<Self> {
        let both = fields.has_json("images") || fields.has_json("image");
        let (content, options): (_, InputOptions) = fields.split()?;
        if both {
            return Err(Error::invalid_request("`input` and `images` are given: they are different contracts"));
        }
        if options.modality.as_deref().is_some_and(|modality| modality != "image") {
            return Err(Error::invalid_request("modality is image: the models here take images"));
        }
        let inputs = content.inputs()?;
        if inputs.is_empty() {
            return Err(Error::invalid_request("`input` is empty"));
        }
        Ok(Self { model: ModelName::for_lookup(&options.model)?, inputs, options })
    }
}

/// Embeds the inputs of a body with `input`; what is wrong with the body is reported in the same envelope.
pub(in crate::http) async fn embeddings(
    state: &AppState,
    context: &Context,
    headers: &HeaderMap,
    request: Result<InputRequest>,
) -> Result<Response, Failure> {
    let request = request.and_then(|request| negotiate(headers, &[Media::Json]).map(|_| request));
    let InputRequest { model, inputs, options } = request.map_err(Failure::open_ai)?;
    let InputOptions { dimensions, normalize, pooling, .. } = options;
    let vectors = VectorOptions { dimensions, normalize, pooling };
    let embedded = state.service.embed(context, &model, inputs, vectors).await;
    let mut embedded = embedded.map_err(Failure::open_ai)?;
    if !embedded.items.errors.is_empty() {
        let (index, error) = embedded.items.errors.swap_remove(0);
        return Err(Failure::open_ai_input(index, error));
    }
    let list = EmbeddingList::new(embedded, options.encoding_format.unwrap_or_default());
    Ok(Json(EmbeddingList { errors: None, ..list }).into_response())
}
