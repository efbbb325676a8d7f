//! How strange an image is to a model.

use axum::{
    Extension, Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    anomaly::ScoreMetric,
    domain::ModelName,
    error::{Error, ErrorKind, Result},
    http::{
        AppState,
        accept::{Media, negotiate},
        answer::{ItemError, bare, data_uri, item_errors, only_one, with_shape},
        error::Failure,
        extract::{ImagesRequest, Name as _, from_text},
        schema::{File, FormImages, JsonImages},
    },
    service::{Context, MapFormat, Scored},
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
pub struct AnomalyList {
    model: String,
    space_key: String,
    data: Vec<AnomalyEntry>,
    errors: Vec<ItemError>,
}

#[derive(Debug, Serialize, ToSchema)]
struct AnomalyEntry {
    /// The image's place in the request, from 0.
    index: usize,
    /// Grows with strangeness.
    score: f64,
    metric: ScoreMetric,
    /// Where the image is strange, as a data URI.
    #[serde(skip_serializing_if = "Option::is_none")]
    map: Option<String>,
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
fn map_for(media: Media, asked: Option<MapFormat>) -> Result<MapFormat> {
    if !media.is_binary() {
        return Ok(asked.unwrap_or_default());
    }
    let map = asked.unwrap_or(if media == Media::Npy { MapFormat::Npy } else { MapFormat::Png });
    if media_of(map) == Some(media) {
        return Ok(map);
    }
    let text = format!("the map asked for is not {}: leave `map` out, or accept application/json", media.as_str());
    Err(Error::new(ErrorKind::NotAcceptable, text))
}

/// Scores images by the error of their reconstruction.
#[utoipa::path(post, path = "/v1/anomaly", tag = "images", params(AnomalyOptions),
    request_body(content((JsonImages<AnomalyOptions> = "application/json"),
        (FormImages<AnomalyOptions> = "multipart/form-data"), (File = "image/*"))),
    responses((status = 200, content((AnomalyList = "application/json"), (File = "image/png"),
        (File = "application/x-npy")))))]
pub(in crate::http) async fn anomaly(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    headers: HeaderMap,
    ImagesRequest { images, options }: ImagesRequest<AnomalyOptions>,
) -> Result<Response, Failure> {
    let media = negotiate(&headers, &[Media::Json, Media::Png, Media::Npy])?;
    only_one(media, images.len())?;
    let (metric, map) = (options.metric, map_for(media, options.map)?);
    let model = ModelName::seek(&options.model)?;
    let made = state.service.score(&context, &model, images, (metric, map)).await?;
    let items = made.items.settle(options.strict || media.is_binary())?;
    if media.is_binary() {
        let map = items.good.into_iter().next().and_then(|(_, scored)| scored.map);
        let map = map.ok_or_else(|| Error::internal("no map came of one image"))?;
        let answer = bare(media.as_str(), map, Some(&made.space_key))?;
        let input = made.model.preprocessor().input();
        let shape = [input.height as usize, input.width as usize];
        return Ok(if media == Media::Npy { with_shape(answer, &shape)? } else { answer });
    }
    let uri = |bytes: Vec<u8>| data_uri(media_of(map).unwrap_or(Media::Octets).as_str(), &bytes);
    let entry = |(index, scored): (usize, Scored)| AnomalyEntry {
        index,
        score: scored.score,
        metric,
        map: scored.map.map(uri),
    };
    let errors = item_errors(&items.errors);
    let data = items.good.into_iter().map(entry).collect();
    let (model, space_key) = (made.model.name().to_string(), made.space_key.to_string());
    Ok(Json(AnomalyList { model, space_key, data, errors }).into_response())
}
