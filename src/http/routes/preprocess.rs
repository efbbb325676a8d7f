//! The exact tensor that a model sees.

use axum::{Extension, extract::State, http::HeaderMap, response::Response};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::{
    domain::ModelName,
    http::{
        AppState,
        accept::{Media, negotiate},
        answer::Array,
        error::Failure,
        extract::{ImagesRequest, LookupName as _, RequestBody},
        schema::{BinaryFile, FormImages, JsonImages},
    },
    service::Context,
};

#[derive(Debug, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PreprocessOptions {
    #[param(required = false)]
    model: String,
    /// One bad image fails the request whatever stands here: the answer has no place for errors.
    #[serde(default, rename = "strict")]
    #[param(required = false)]
    _strict: bool,
}

/// Prepares images for a model and runs nothing: `[images, channels, height, width]`, f32.
#[utoipa::path(post, path = "/v1/preprocess", tag = "images", params(PreprocessOptions),
    request_body(content((JsonImages<PreprocessOptions> = "application/json"),
        (FormImages<PreprocessOptions> = "multipart/form-data"), (BinaryFile = "image/*"))),
    responses((status = 200, content((BinaryFile = "application/x-npy"), (BinaryFile = "application/octet-stream")))))]
pub(in crate::http) async fn preprocess(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    headers: HeaderMap,
    RequestBody(ImagesRequest { images, options }): RequestBody<ImagesRequest<PreprocessOptions>>,
) -> Result<Response, Failure> {
    let media = negotiate(&headers, &[Media::Npy, Media::Octets])?;
    let model = ModelName::for_lookup(&options.model)?;
    let tensor = state.service.preprocess(&context, &model, images).await?;
    Ok(Array { shape: &tensor.shape, data: &tensor.data, space_key: tensor.model.space_key() }.answer(media)?)
}
