//! Reconstructions of images.

use axum::{Extension, extract::State, http::HeaderMap, response::Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    domain::ModelName,
    http::{
        AppState,
        accept::Media,
        answer::data_uri,
        error::Failure,
        extract::{ImagesRequest, LookupName as _, RequestBody},
        results::{ResultEntry, ResultForm, ResultList},
        schema::{BinaryFile, FormImages, JsonImages},
    },
    service::{Context, Reconstruction},
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
pub struct ReconstructionEntry {
    /// The image's place in the request, from 0.
    index: usize,
    /// A PNG at the model's size, as a data URI.
    image: String,
    /// Mean squared difference of values in 0…1.
    mse: f64,
    /// PSNR in dB; null for equal images.
    #[schema(value_type = Option<f64>)]
    psnr: f64,
    /// Structural similarity.
    ssim: f64,
}

type ReconstructionList = ResultList<ReconstructionEntry>;

impl ResultEntry for ReconstructionEntry {
    const LIST: &'static str = "ReconstructionList";
}

impl ReconstructionEntry {
    fn new(index: usize, reconstruction: Reconstruction) -> Self {
        let Reconstruction { png, mse, psnr, ssim } = reconstruction;
        Self { index, image: data_uri("image/png", &png), mse, psnr, ssim }
    }
}

/// Encodes and decodes images, and compares them with their originals at the model's size.
#[utoipa::path(post, path = "/v1/reconstruct", tag = "images", params(ReconstructOptions),
    request_body(content((JsonImages<ReconstructOptions> = "application/json"),
        (FormImages<ReconstructOptions> = "multipart/form-data"), (BinaryFile = "image/*"))),
    responses((status = 200, content((ReconstructionList = "application/json"), (BinaryFile = "image/png")))))]
pub(in crate::http) async fn reconstruct(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    headers: HeaderMap,
    RequestBody(ImagesRequest { images, options }): RequestBody<ImagesRequest<ReconstructOptions>>,
) -> Result<Response, Failure> {
    let form = ResultForm::choose(&headers, &[Media::Json, Media::Png], images.len())?;
    let model = ModelName::for_lookup(&options.model)?;
    let results = state.service.reconstruct(&context, &model, images).await?;
    Ok(form.answer(results, options.strict, ReconstructionEntry::new, |one| Some(one.png))?)
}
