//! Queries as several routes take them, and hits as they answer with them.

use serde::Serialize;
use utoipa::ToSchema;

use super::extract::{Content, FormRules, IMAGES, Images};
use crate::{
    domain::{ItemId, Metadata},
    error::{Error, Result},
    index::Hit,
    service::QueryBy,
};

/// The fields of a query that are no options.
pub(super) const QUERY: &[&str] = &["image", "vector"];
/// A request about one image, vector or item.
pub(super) const SEARCH: FormRules = FormRules { json: QUERY, images: Images::Possible, ..IMAGES };
/// Items of an answer unless the caller says otherwise.
pub(super) const LIMIT: usize = 10;

/// The default of options that are on.
pub(super) const fn yes() -> bool {
    true
}

/// The one thing that a search is by.
pub(super) fn query_by(content: &mut Content<'_>, id: Option<ItemId>) -> Result<QueryBy> {
    let mut images = content.images()?.unwrap_or_default();
    let (image, more) = (images.pop(), !images.is_empty());
    match (image, content.vector(), id) {
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
