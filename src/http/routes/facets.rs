//! Counts of items and of the values in their metadata.

use axum::{Extension, Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    domain::{CollectionName, FieldPath, Filter, SpaceKey, TopK},
    error::Result,
    http::{
        AppState,
        error::Failure,
        extract::{LookupParams, OptionsRequest, RequestBody},
        query::LIMIT,
    },
    index::Facet,
    service::{Context, FacetsRequest},
};

#[derive(Debug, Deserialize, ToSchema)]
pub struct CountOptions {
    /// The items to count; all unless given.
    filter: Option<Filter>,
    /// Refuse unless this is the collection's space.
    #[schema(value_type = Option<String>)]
    space_key: Option<SpaceKey>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Count {
    count: u64,
}

/// Counts the items that pass the filter.
#[utoipa::path(post, path = "/v1/collections/{collection}/count", tag = "search", operation_id = "count_items",
    params(("collection" = String, Path)), request_body = CountOptions, responses((status = 200, body = Count)))]
pub(in crate::http) async fn count(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    LookupParams(collection): LookupParams<CollectionName>,
    RequestBody(OptionsRequest(CountOptions { filter, space_key })): RequestBody<OptionsRequest<CountOptions>>,
) -> Result<Json<Count>, Failure> {
    Ok(Json(Count { count: state.service.count(&context, &collection, filter, space_key).await? }))
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct FacetOptions {
    /// The dotted key of the metadata whose values are counted.
    #[schema(value_type = String)]
    key: FieldPath,
    /// Which items count; all unless given.
    filter: Option<Filter>,
    /// 1 to 1,000; 10 unless given.
    limit: Option<usize>,
    /// Refuse unless this is the collection's space.
    #[schema(value_type = Option<String>)]
    space_key: Option<SpaceKey>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct FacetList {
    key: String,
    /// The most frequent first.
    data: Vec<FacetEntry>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct FacetEntry {
    /// A text, a number or a truth value.
    value: Value,
    /// Items that have it.
    count: u64,
}

/// The values at a key of the metadata with how many items have each, the most frequent first and of equal counts the
/// lesser value. An array counts for each of its different elements; an item without the key does not count.
#[utoipa::path(post, path = "/v1/collections/{collection}/facets", tag = "search", operation_id = "count_values",
    params(("collection" = String, Path)), request_body = FacetOptions, responses((status = 200, body = FacetList)))]
pub(in crate::http) async fn facets(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    LookupParams(collection): LookupParams<CollectionName>,
    RequestBody(OptionsRequest(FacetOptions { key, filter, limit, space_key })): RequestBody<
        OptionsRequest<FacetOptions>,
    >,
) -> Result<Json<FacetList>, Failure> {
    let limit = TopK::new(limit.unwrap_or(LIMIT))?;
    let request = FacetsRequest { key: key.clone(), limit, filter, space_key };
    let facets = state.service.facets(&context, &collection, request).await?;
    let entry = |Facet { value, count }| FacetEntry { value: value.to_value(), count };
    Ok(Json(FacetList { key: key.into(), data: facets.into_iter().map(entry).collect() }))
}
