//! Noisy images to clean ones.

use axum::{Extension, extract::State, http::HeaderMap, response::Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    domain::ModelName,
    error::{Error, Result},
    http::{
        AppState,
        accept::Media,
        answer::data_uri,
        error::Failure,
        extract::{ImagesRequest, LookupName as _, RequestBody, from_text},
        results::{ResultEntry, ResultForm, ResultList},
        schema::{BinaryFile, FormImages, JsonImages},
    },
    image::Noise,
    service::{Context, Denoised, NoiseRequest},
};

#[derive(Debug, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DenoiseOptions {
    #[param(required = false)]
    model: String,
    /// Noise to add first, so that the gain is measured: `gaussian:0.1`, `salt-pepper:0.05`.
    #[serde(default, deserialize_with = "from_text")]
    #[schema(value_type = Option<String>, example = "gaussian:0.1")]
    #[param(value_type = Option<String>)]
    add_noise: Option<Noise>,
    /// The seed of the noise: the same seed gives the same noise; 0 unless given.
    seed: Option<u64>,
    /// Fail the request with its first bad image.
    #[serde(default)]
    #[param(required = false)]
    strict: bool,
}

/// A denoised image; the other fields are there where noise was added.
#[derive(Debug, Serialize, ToSchema)]
pub struct DenoisedEntry {
    /// The image's place in the request, from 0.
    index: usize,
    /// A PNG at the model's size, as a data URI.
    image: String,
    /// The image with the added noise, as a data URI.
    #[serde(skip_serializing_if = "Option::is_none")]
    noisy: Option<String>,
    #[serde(flatten)]
    gain: Option<Gain>,
}

/// Figures against the image as it was sent, at the model's size.
#[derive(Debug, Serialize, ToSchema)]
struct Gain {
    /// PSNR of the noisy image in dB; null for equal images.
    #[schema(value_type = Option<f64>)]
    psnr_before: f64,
    /// PSNR of the denoised image in dB; null for equal images.
    #[schema(value_type = Option<f64>)]
    psnr_after: f64,
    ssim_before: f64,
    ssim_after: f64,
}

type DenoisedList = ResultList<DenoisedEntry>;

impl ResultEntry for DenoisedEntry {
    const LIST: &'static str = "DenoisedList";
}

impl DenoisedEntry {
    fn new(index: usize, denoised: Denoised) -> Self {
        Self {
            index,
            image: data_uri("image/png", &denoised.png),
            noisy: denoised.noisy.map(|png| data_uri("image/png", &png)),
            gain: denoised.quality.map(|quality| Gain {
                psnr_before: quality.psnr_before,
                psnr_after: quality.psnr_after,
                ssim_before: quality.ssim_before,
                ssim_after: quality.ssim_after,
            }),
        }
    }
}

/// The noise to add; a seed alone contradicts itself.
fn noise_of(noise: Option<Noise>, seed: Option<u64>) -> Result<Option<NoiseRequest>> {
    if noise.is_none() && seed.is_some() {
        return Err(Error::invalid_request("`seed` is that of the noise: give `add_noise` too, or leave it out"));
    }
    Ok(noise.map(|noise| NoiseRequest { noise, seed: seed.unwrap_or(0) }))
}

/// Denoises images; with `add_noise`, adds noise first and measures the gain.
#[utoipa::path(post, path = "/v1/denoise", tag = "images", params(DenoiseOptions),
    request_body(content((JsonImages<DenoiseOptions> = "application/json"),
        (FormImages<DenoiseOptions> = "multipart/form-data"), (BinaryFile = "image/*"))),
    responses((status = 200, content((DenoisedList = "application/json"), (BinaryFile = "image/png")))))]
pub(in crate::http) async fn denoise(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    headers: HeaderMap,
    RequestBody(ImagesRequest { images, options }): RequestBody<ImagesRequest<DenoiseOptions>>,
) -> Result<Response, Failure> {
    let form = ResultForm::choose(&headers, &[Media::Json, Media::Png], images.len())?;
    let noise = noise_of(options.add_noise, options.seed)?;
    let model = ModelName::for_lookup(&options.model)?;
    let results = state.service.denoise(&context, &model, images, noise).await?;
    Ok(form.answer(results, options.strict, DenoisedEntry::new, |one| Some(one.png))?)
}
