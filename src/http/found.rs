//! Searches as several routes take them, and found items as they answer them.

use serde::Serialize;
use utoipa::ToSchema;

use super::extract::{Form, Grammar, Kind, Pictures};
use crate::{
    domain::{ItemId, Metadata},
    error::{Error, Result},
    index::Hit,
    service::{Picture, QueryBy},
};

/// What of a search is no option.
pub(super) const QUERY: Grammar = &[("image", Kind::Picture), ("vector", Kind::Vector)];
/// A request about one picture, vector or item.
pub(super) const SEARCH: Form = Form { json: QUERY, pictures: Pictures::Possible, repeated: &[] };
/// Items of an answer unless the caller says otherwise.
pub(super) const LIMIT: usize = 10;

/// For options that are on unless given.
pub(super) const fn yes() -> bool {
    true
}

/// The one thing that a search is by.
pub(super) fn query_by(
    pictures: Option<Vec<Picture>>,
    vector: Option<Result<Vec<f32>>>,
    id: Option<ItemId>,
) -> Result<QueryBy> {
    let mut pictures = pictures.unwrap_or_default();
    let (picture, more) = (pictures.pop(), !pictures.is_empty());
    match (picture, vector, id) {
        (Some(picture), None, None) if !more => Ok(QueryBy::Picture(picture)),
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
