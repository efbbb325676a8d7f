//! Images as a model sees them again.

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
        answer::{ItemError, bare, data_uri, item_errors, only_one},
        error::Failure,
        extract::{ImagesRequest, Name as _},
        schema::{File, FormImages, JsonImages},
    },
    service::Context,
};

#[derive(Debug, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReconstructOptions {
    #[param(required = false)]
    model: String,
    /// Fail the request with its first bad image.
    #[serde(default)]
    #[param(required = false)]
    strict: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ReconstructionList {
    model: String,
    space_key: String,
    data: Vec<ReconstructionEntry>,
    errors: Vec<ItemError>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ReconstructionEntry {
    /// The image's place in the request, from 0.
    index: usize,
    /// A PNG at the model's size, as a data URI.
    image: String,
    /// Mean squared difference of values in 0…1.
    mse: f64,
    /// In dB; null for equal images.
    #[schema(value_type = Option<f64>)]
    psnr: f64,
    /// Structural similarity.
    ssim: f64,
}

/// Encodes and decodes images, and compares them with their originals at the model's size.
#[utoipa::path(post, path = "/v1/reconstruct", tag = "images", params(ReconstructOptions),
    request_body(content((JsonImages<ReconstructOptions> = "application/json"),
        (FormImages<ReconstructOptions> = "multipart/form-data"), (File = "image/*"))),
    responses((status = 200, content((ReconstructionList = "application/json"), (File = "image/png")))))]
pub(in crate::http) async fn reconstruct(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    headers: HeaderMap,
    ImagesRequest { images, options }: ImagesRequest<ReconstructOptions>,
) -> Result<Response, Failure> {
    let media = negotiate(&headers, &[Media::Json, Media::Png])?;
    only_one(media, images.len())?;
    let model = ModelName::seek(&options.model)?;
    let made = state.service.reconstruct(&context, &model, images).await?;
    let items = made.items.settle(options.strict || media.is_binary())?;
    if media.is_binary() {
        let (_, made_one) = items.good.into_iter().next().ok_or_else(|| Error::internal("no image came of one"))?;
        return Ok(bare(media.as_str(), made_one.png, Some(&made.space_key))?);
    }
    let entry = |(index, made): (usize, crate::service::Reconstruction)| ReconstructionEntry {
        index,
        image: data_uri("image/png", &made.png),
        mse: made.mse,
        psnr: made.psnr,
        ssim: made.ssim,
    };
    let errors = item_errors(&items.errors);
    let data = items.good.into_iter().map(entry).collect();
    let (model, space_key) = (made.model.name().to_string(), made.space_key.to_string());
    Ok(Json(ReconstructionList { model, space_key, data, errors }).into_response())
}
