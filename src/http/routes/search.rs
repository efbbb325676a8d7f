//! Nearest items.

use axum::{
    Extension, Json,
    extract::{Request, State},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    domain::{CollectionName, Filter, ItemId, Metric, SpaceKey, TopK},
    error::{Error, Result},
    http::{
        AppState,
        answer::InnerError,
        error::Failure,
        extract::{Fields, Form, Images, Kind, Sought, Submission},
        found::{self, HitEntry, LIMIT, QUERY, SEARCH, entries, query_by},
        schema::{File, FilterSchema, FormSearch, JsonSearch, JsonSearches},
    },
    index::CollectionSpec,
    service::{Context, Found, SearchRequest},
};

const BATCH: Form = Form { json: &[("queries", Kind::Elements(QUERY))], images: Images::None, repeated: &[] };

#[derive(Debug, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SearchOptions {
    /// Search from an item of the collection.
    #[schema(value_type = Option<String>)]
    #[param(value_type = Option<String>)]
    id: Option<ItemId>,
    /// 1 to 1,000; 10 unless given.
    limit: Option<usize>,
    #[schema(value_type = Option<FilterSchema>)]
    #[param(value_type = Option<String>)]
    filter: Option<Filter>,
    /// Leave out what is less near.
    min_score: Option<f32>,
    /// Compare with every vector in 32 bits.
    #[serde(default)]
    #[param(required = false)]
    exact: bool,
    #[serde(default)]
    #[param(required = false)]
    with_vector: bool,
    #[serde(default = "found::yes")]
    #[schema(default = true)]
    #[param(required = false)]
    with_metadata: bool,
    /// Leave out the item that a search by id starts from.
    #[serde(default = "found::yes")]
    #[schema(default = true)]
    #[param(required = false)]
    exclude_self: bool,
    /// Refuse unless this is the collection's space.
    #[schema(value_type = Option<String>)]
    #[param(value_type = Option<String>)]
    space_key: Option<SpaceKey>,
}

/// One search from the fields of a body or of a batch's element.
fn query_of(fields: Fields) -> Result<SearchRequest> {
    let options: SearchOptions = fields.options.read()?;
    Ok(SearchRequest {
        by: query_by(fields.images, fields.vector, options.id)?,
        limit: TopK::new(options.limit.unwrap_or(LIMIT))?,
        filter: options.filter,
        min_score: options.min_score,
        exact: options.exact,
        with_vector: options.with_vector,
        with_metadata: options.with_metadata,
        exclude_self: options.exclude_self,
        space_key: options.space_key,
    })
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SearchAnswer {
    collection: String,
    space_key: Option<String>,
    metric: Metric,
    /// Best first.
    data: Vec<HitEntry>,
}

impl SearchAnswer {
    pub(in crate::http) fn new(found: Found) -> Self {
        let CollectionSpec { name, space_key, metric, .. } = found.spec;
        let data = entries(found.hits);
        Self { collection: name.into(), space_key: space_key.map(String::from), metric, data }
    }
}

/// The nearest items, best first, to an image, to a vector or to another item.
#[utoipa::path(post, path = "/v1/collections/{collection}/search", tag = "search", operation_id = "search",
    params(("collection" = String, Path), SearchOptions),
    request_body(content((JsonSearch = "application/json"), (FormSearch = "multipart/form-data"), (File = "image/*"))),
    responses((status = 200, body = SearchAnswer)))]
pub(in crate::http) async fn search(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    Sought(collection): Sought<CollectionName>,
    request: Request,
) -> Result<Json<SearchAnswer>, Failure> {
    let query = query_of(Submission::read(request, SEARCH).await.whole()?)?;
    Ok(Json(SearchAnswer::new(state.service.search(&context, &collection, query).await?)))
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct BatchOptions {
    /// Fail the request with its first bad query.
    #[serde(default)]
    strict: bool,
    /// Refuse unless this is the collection's space.
    #[schema(value_type = Option<String>)]
    space_key: Option<SpaceKey>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct BatchAnswer {
    collection: String,
    space_key: Option<String>,
    metric: Metric,
    /// In the order of the queries.
    results: Vec<BatchResult>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BatchResult {
    /// Best first.
    Data(Vec<HitEntry>),
    Error(InnerError),
}

/// Several searches at once; each has its own result or error.
#[utoipa::path(post, path = "/v1/collections/{collection}/search/batch", tag = "search",
    operation_id = "search_batch", params(("collection" = String, Path)), request_body = JsonSearches,
    responses((status = 200, body = BatchAnswer)))]
pub(in crate::http) async fn batch(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    Sought(collection): Sought<CollectionName>,
    request: Request,
) -> Result<Json<BatchAnswer>, Failure> {
    let fields = Submission::read(request, BATCH).await.whole()?;
    let BatchOptions { strict, space_key } = fields.options.read()?;
    let queries = fields.elements.ok_or_else(|| Error::invalid_request("`queries` is missing"))?;
    let requests = queries.into_iter().map(|query| query_of(query?)).collect();
    let (spec, results) = state.service.search_batch(&context, &collection, requests, space_key).await?;
    let results = results.into_iter().map(|result| match result {
        Ok(hits) => Ok(BatchResult::Data(entries(hits))),
        Err(error) if strict => Err(error),
        Err(error) => Ok(BatchResult::Error(InnerError::of(&error))),
    });
    let results = results.collect::<Result<_>>()?;
    let space_key = spec.space_key.map(String::from);
    Ok(Json(BatchAnswer { collection: collection.into(), space_key, metric: spec.metric, results }))
}
