//! Searches as several routes take them, and found items as they answer them.

use serde::Serialize;
use utoipa::ToSchema;

use super::extract::{Form, Grammar, Images, Kind};
use crate::{
    domain::{ItemId, Metadata},
    error::{Error, Result},
    index::Hit,
    service::{Image, QueryBy},
};

/// What of a search is no option.
pub(super) const QUERY: Grammar = &[("image", Kind::Image), ("vector", Kind::Vector)];
/// A request about one image, vector or item.
pub(super) const SEARCH: Form = Form { json: QUERY, images: Images::Possible, repeated: &[] };
/// Items of an answer unless the caller says otherwise.
pub(super) const LIMIT: usize = 10;

/// For options that are on unless given.
pub(super) const fn yes() -> bool {
    true
}

/// The one thing that a search is by.
pub(super) fn query_by(
    images: Option<Vec<Image>>,
    vector: Option<Result<Vec<f32>>>,
    id: Option<ItemId>,
) -> Result<QueryBy> {
    let mut images = images.unwrap_or_default();
    let (image, more) = (images.pop(), !images.is_empty());
    match (image, vector, id) {
        (Some(image), None, None) if !more => Ok(QueryBy::Image(image)),
        (None, Some(vector), None) => Ok(QueryBy::Vector(vector?)),
        (None, None, Some(id)) => Ok(QueryBy::Id(id)),
        _ => Err(Error::invalid_request("a search is by exactly one `image`, `vector` or `id`")),
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct HitEntry {
    id: String,
    /// Higher is nearer: the cosine, the inner product, or minus the L2 distance.
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Metadata>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<Vec<f32>>,
}

pub(super) fn entries(hits: Vec<Hit>) -> Vec<HitEntry> {
    let entry = |hit: Hit| HitEntry { id: hit.id.into(), score: hit.score, metadata: hit.metadata, vector: hit.vector };
    hits.into_iter().map(entry).collect()
}
