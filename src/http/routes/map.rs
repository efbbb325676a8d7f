//! A collection as points in a plane, as JSON or as one binary file.

use axum::{
    Extension, Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::insight::About;
use crate::{
    domain::{CollectionName, FieldPath, MapMethod, Scalar, SpaceKey},
    http::{
        AppState,
        accept::{Media, negotiate},
        answer::{bare, with_shape},
        caching::Keep,
        error::Failure,
        extract::{LookupParams, QueryOptions},
        map_file::map_file,
        schema::BinaryFile,
    },
    service::{CollectionMap, Context, MapPoint, MapRequest},
};

#[derive(Debug, Clone, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct MapOptions {
    /// `pca` unless given.
    #[serde(default)]
    #[param(value_type = Option<MapMethod>)]
    method: MapMethod,
    /// A dotted key of the metadata, whose value each point comes with.
    #[param(value_type = Option<String>)]
    key: Option<FieldPath>,
    /// Points at most, 1 to 200,000; 5,000 unless given, and never more with `tsne`. Long vectors make fewer:
    /// `max_points` says how many.
    points: Option<usize>,
    /// Refuse unless this is the collection's space.
    #[param(value_type = Option<String>)]
    space_key: Option<SpaceKey>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct MapAnswer {
    #[serde(flatten)]
    head: MapHead,
    points: Vec<Point>,
}

/// What is said of a map beside its points.
#[derive(Debug, Serialize, ToSchema)]
pub struct MapHead {
    #[serde(flatten)]
    about: About,
    method: MapMethod,
    /// Items of the collection.
    count: u64,
    /// Points at most; a larger collection is sampled, always in the same way.
    max_points: usize,
    /// The shares of the variance along x and along y; null with `tsne`.
    explained: Option<[f64; 2]>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Point {
    id: String,
    x: f64,
    y: f64,
    /// The first value at `key`, where a key was given and the item has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
}

impl MapAnswer {
    fn new(head: MapHead, map: &CollectionMap) -> Self {
        let point = |point: &MapPoint| Point {
            id: point.id.to_string(),
            x: point.x,
            y: point.y,
            value: point.value.as_ref().map(Scalar::to_value),
        };
        Self { head, points: map.points.iter().map(point).collect() }
    }
}

/// The collection as points in a plane. With `method=pca`, its first two principal components, in the unit of the
/// vectors. With `method=tsne`, t-SNE from there, without a unit: near vectors are near points. While that is computed
/// (seconds), the answer is `unavailable` with `Retry-After`.
///
/// With `Accept: application/octet-stream` the answer is one file, all numbers little-endian: a u32 `h`; `h` bytes of
/// JSON, padded with spaces to a multiple of four, with what the JSON answer has beside its points, their number
/// `points`, a `column` (`none`, `categories` or `numbers`) and the `categories`; then for n points x and y as f32\[n\]
/// each; with `categories` a u32\[n\] that counts into them (4294967295: the item has no value), with `numbers` an
/// f32\[n\] (NaN: none); the ends of the ids in their text as u32\[n\]; the text of the ids, UTF-8. An answer that is up
/// to date has an `ETag`, which stays the same as long as the collection does.
#[utoipa::path(get, path = "/v1/collections/{collection}/map", tag = "search", operation_id = "map",
    params(("collection" = String, Path), MapOptions),
    responses((status = 200, content((MapAnswer = "application/json"), (BinaryFile = "application/octet-stream"))),
        (status = 304, description = "the map is the one that `If-None-Match` names")))]
pub(in crate::http) async fn map(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    LookupParams(collection): LookupParams<CollectionName>,
    QueryOptions(options): QueryOptions<MapOptions>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let media = negotiate(&headers, &[Media::Json, Media::Octets])?;
    let tag = |version: u64| state.tag(&[collection.as_str(), &version.to_string(), &options.name(), media.as_str()]);
    let version = state.service.map_version(&collection, options.space_key.as_ref()).await?;
    if tag(version).is_known(&headers) {
        return Ok(tag(version).unchanged(Keep::Asking)?);
    }
    let MapOptions { method, key, points, space_key } = options.clone();
    let (spec, map) = state.service.map(&context, &collection, MapRequest { method, key, points, space_key }).await?;
    let head = MapHead {
        about: About::new(spec, &map),
        method,
        count: map.value.count,
        max_points: map.value.most,
        explained: map.value.explained,
    };
    let (version, current) = (map.version, map.current);
    let response = match media {
        Media::Octets => {
            let count = map.value.points.len();
            let file = state.service.compute(move || map_file(&head, &map.value)).await??;
            with_shape(bare(media.as_str(), file, None)?, &[count, 2])?
        }
        _ => Json(MapAnswer::new(head, &map.value)).into_response(),
    };
    Ok(if current { tag(version).on(response, Keep::Asking)? } else { response })
}

impl MapOptions {
    /// What tells the maps of one collection apart.
    fn name(&self) -> String {
        let text = format!("{:?} {:?} {:?}", self.method, self.key, self.points);
        blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
    }
}
