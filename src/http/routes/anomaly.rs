//! Anomaly scores of images.

use axum::{Extension, extract::State, http::HeaderMap, response::Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    anomaly::ScoreMetric,
    domain::ModelName,
    error::{Error, ErrorKind, Result},
    http::{
        AppState,
        accept::Media,
        answer::{data_uri, with_shape},
        error::Failure,
        extract::{ImagesRequest, LookupName as _, RequestBody, from_text},
        results::{ResultEntry, ResultForm, ResultList},
        schema::{BinaryFile, FormImages, JsonImages},
    },
    service::{Context, MapFormat, ScoreRequest, Scored},
};

#[derive(Debug, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AnomalyOptions {
    #[param(required = false)]
    model: String,
    #[serde(default)]
    #[schema(default = "mse")]
    #[param(required = false)]
    metric: ScoreMetric,
    /// `none`, `png` (8 bit, for the eye), `png16` (fixed scale), `npy` (the values) or `overlay` (heat over the
    /// image). None unless asked for; a bare PNG is `png` unless asked otherwise.
    #[serde(default, deserialize_with = "from_text")]
    #[schema(value_type = Option<String>, example = "png")]
    #[param(value_type = Option<String>)]
    map: Option<MapFormat>,
    /// Fail the request with its first bad image.
    #[serde(default)]
    #[param(required = false)]
    strict: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AnomalyEntry {
    /// The image's place in the request, from 0.
    index: usize,
    /// Grows with strangeness.
    score: f64,
    metric: ScoreMetric,
    /// The map of the error over the image, as a data URI.
    #[serde(skip_serializing_if = "Option::is_none")]
    map: Option<String>,
}

type AnomalyList = ResultList<AnomalyEntry>;

impl ResultEntry for AnomalyEntry {
    const LIST: &'static str = "AnomalyList";
}

/// The type of a map's file; none for no map.
const fn media_of(map: MapFormat) -> Option<Media> {
    match map {
        MapFormat::None => None,
        MapFormat::Png | MapFormat::Png16 | MapFormat::Overlay => Some(Media::Png),
        MapFormat::Npy => Some(Media::Npy),
    }
}

/// The map to make, which a bare answer must be.
fn map_for(media: Media, requested: Option<MapFormat>) -> Result<MapFormat> {
    if !media.is_binary() {
        return Ok(requested.unwrap_or_default());
    }
    let map = requested.unwrap_or(if media == Media::Npy { MapFormat::Npy } else { MapFormat::Png });
    if media_of(map) == Some(media) {
        return Ok(map);
    }
    let text = format!("the map asked for is not {}: leave `map` out, or accept application/json", media.as_str());
    Err(Error::new(ErrorKind::NotAcceptable, text))
}

/// Scores images by the error of their reconstruction.
#[utoipa::path(post, path = "/v1/anomaly", tag = "images", params(AnomalyOptions),
    request_body(content((JsonImages<AnomalyOptions> = "application/json"),
        (FormImages<AnomalyOptions> = "multipart/form-data"), (BinaryFile = "image/*"))),
    responses((status = 200, content((AnomalyList = "application/json"), (BinaryFile = "image/png"),
        (BinaryFile = "application/x-npy")))))]
pub(in crate::http) async fn anomaly(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    headers: HeaderMap,
    RequestBody(ImagesRequest { images, options }): RequestBody<ImagesRequest<AnomalyOptions>>,
) -> Result<Response, Failure> {
    let form = ResultForm::choose(&headers, &[Media::Json, Media::Png, Media::Npy], images.len())?;
    let (metric, map) = (options.metric, map_for(form.media, options.map)?);
    let model = ModelName::for_lookup(&options.model)?;
    let results = state.service.score(&context, &model, images, ScoreRequest { metric, map }).await?;
    let input = results.model.preprocessor().input();
    let shape = [input.height as usize, input.width as usize];
    let uri = |bytes: Vec<u8>| data_uri(media_of(map).unwrap_or(Media::Octets).as_str(), &bytes);
    let entry = |index, Scored { score, map }| AnomalyEntry { index, score, metric, map: map.map(uri) };
    let answer = form.answer(results, options.strict, entry, |scored| scored.map)?;
    Ok(if form.media == Media::Npy { with_shape(answer, &shape)? } else { answer })
}
