//! Images generated from a model's prior.

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
        answer::{bare, data_uri, only_one},
        error::Failure,
        extract::{LookupName as _, OptionsRequest, RequestBody},
        schema::BinaryFile,
    },
    service::{Context, GenerateRequest, Generated},
};

#[derive(Debug, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct GenerateOptions {
    #[param(required = false)]
    model: String,
    /// The number of images: `limits.images` at most, 1 unless given.
    #[schema(minimum = 1)]
    count: Option<usize>,
    /// The same seed gives the same images, and more of them begin with the same ones; 0 unless given.
    seed: Option<u64>,
    /// The standard deviation that latents are drawn with, in 0…10; 1, the prior's own, unless given.
    #[schema(minimum = 0, maximum = 10)]
    temperature: Option<f32>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct GeneratedList {
    model: String,
    /// The space of the latents, which are the model's means as they are, not scaled to unit length.
    space_key: String,
    data: Vec<GeneratedEntry>,
}

#[derive(Debug, Serialize, ToSchema)]
struct GeneratedEntry {
    /// A PNG at the model's size, as a data URI.
    image: String,
    /// The latent that was decoded.
    latent: Vec<f32>,
}

/// Draws latents from the prior of a variational model and decodes them.
#[utoipa::path(post, path = "/v1/generate", tag = "images", params(GenerateOptions),
    request_body(content((GenerateOptions = "application/json"))),
    responses((status = 200, content((GeneratedList = "application/json"), (BinaryFile = "image/png")))))]
pub(in crate::http) async fn generate(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    headers: HeaderMap,
    RequestBody(OptionsRequest(options)): RequestBody<OptionsRequest<GenerateOptions>>,
) -> Result<Response, Failure> {
    let media = negotiate(&headers, &[Media::Json, Media::Png])?;
    let GenerateOptions { model, count, seed, temperature } = options;
    let request =
        GenerateRequest { count: count.unwrap_or(1), seed: seed.unwrap_or(0), temperature: temperature.unwrap_or(1.0) };
    only_one(media, request.count)?;
    let generated = state.service.generate(&context, &ModelName::for_lookup(&model)?, request).await?;
    if media.is_binary() {
        let one = generated.images.into_iter().next().ok_or_else(|| Error::internal("no image was made"))?;
        return Ok(bare(media.as_str(), one.png, Some(&generated.space_key))?);
    }
    let entry = |generated: Generated| GeneratedEntry {
        image: data_uri("image/png", &generated.png),
        latent: generated.latent,
    };
    let data = generated.images.into_iter().map(entry).collect();
    let (model, space_key) = (generated.model.name().to_string(), generated.space_key.to_string());
    Ok(Json(GeneratedList { model, space_key, data }).into_response())
}
