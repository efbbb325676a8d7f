//! Nearest items.

use axum::{Extension, Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    domain::{CollectionName, Filter, ItemId, Metric, SpaceKey, TopK},
    error::{Error, Result},
    http::{
        AppState,
        answer::InnerError,
        error::Failure,
        extract::{Fields, FormRules, FromFields, LookupParams, OPTIONS, RequestBody},
        query::{self, HitEntry, LIMIT, QUERY, SEARCH, entries, query_by},
        schema::{BinaryFile, FormSearch, JsonSearch, JsonSearches},
    },
    index::CollectionSpec,
    service::{Context, SearchRequest, SearchResults},
};

#[derive(Debug, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SearchOptions {
    /// Search from an item of the collection.
    #[schema(value_type = Option<String>)]
    #[param(value_type = Option<String>)]
    id: Option<ItemId>,
    /// 1 to 1,000; 10 unless given. There are no further pages.
    limit: Option<usize>,
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
    #[serde(default = "query::yes")]
    #[schema(default = true)]
    #[param(required = false)]
    with_metadata: bool,
    /// Leave out the item that a search by id starts from.
    #[serde(default = "query::yes")]
    #[schema(default = true)]
    #[param(required = false)]
    exclude_self: bool,
    /// Refuse unless this is the collection's space.
    #[schema(value_type = Option<String>)]
    #[param(value_type = Option<String>)]
    space_key: Option<SpaceKey>,
}

/// One search from the fields of a body or of a batch's element.
fn query_of(fields: Fields<'_>) -> Result<SearchRequest> {
    let (mut content, options): (_, SearchOptions) = fields.split()?;
    Ok(SearchRequest {
        by: query_by(&mut content, options.id)?,
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

impl FromFields for SearchRequest {
    const RULES: FormRules = SEARCH;

    fn from_fields(fields: Fields<'_>) -> Result<Self> {
        query_of(fields)
    }
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
    pub(in crate::http) fn new(found: SearchResults) -> Self {
        let CollectionSpec { name, space_key, metric, .. } = found.spec;
        let data = entries(found.hits);
        Self { collection: name.into(), space_key: space_key.map(String::from), metric, data }
    }
}

/// The nearest items, best first, to an image, to a vector or to another item.
#[utoipa::path(post, path = "/v1/collections/{collection}/search", tag = "search", operation_id = "search",
    params(("collection" = String, Path), SearchOptions),
    request_body(content((JsonSearch = "application/json"), (FormSearch = "multipart/form-data"), (BinaryFile = "image/*"))),
    responses((status = 200, body = SearchAnswer)))]
pub(in crate::http) async fn search(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    LookupParams(collection): LookupParams<CollectionName>,
    RequestBody(query): RequestBody<SearchRequest>,
) -> Result<Json<SearchAnswer>, Failure> {
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

/// Several searches; what is wrong with one is its own error.
pub struct BatchRequest {
    queries: Vec<Result<SearchRequest>>,
    options: BatchOptions,
}

impl FromFields for BatchRequest {
    const RULES: FormRules = FormRules { json: &["queries"], ..OPTIONS };

    fn from_fields(fields: Fields<'_>) -> Result<Self> {
        let (content, options) = fields.split()?;
        let queries = content.objects("queries", QUERY)?;
        let queries = queries.ok_or_else(|| Error::invalid_request("`queries` is missing"))?;
        Ok(Self { queries: queries.into_iter().map(|query| query_of(query?)).collect(), options })
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct BatchAnswer {
    collection: String,
    space_key: Option<String>,
    metric: Metric,
    /// The results in the order of the queries.
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
    LookupParams(collection): LookupParams<CollectionName>,
    RequestBody(BatchRequest { queries, options }): RequestBody<BatchRequest>,
) -> Result<Json<BatchAnswer>, Failure> {
    let BatchOptions { strict, space_key } = options;
    let (spec, results) = state.service.search_batch(&context, &collection, queries, space_key).await?;
    let results = results.into_iter().map(|result| match result {
        Ok(hits) => Ok(BatchResult::Data(entries(hits))),
        Err(error) if strict => Err(error),
        Err(error) => Ok(BatchResult::Error(InnerError::of(&error))),
    });
    let results = results.collect::<Result<_>>()?;
    let space_key = spec.space_key.map(String::from);
    Ok(Json(BatchAnswer { collection: collection.into(), space_key, metric: spec.metric, results }))
}
