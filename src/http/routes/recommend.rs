//! Items near to liked examples and far from disliked ones.

use axum::{Extension, Json, extract::State};
use serde::Deserialize;
use utoipa::ToSchema;

use super::search::SearchAnswer;
use crate::{
    domain::{CollectionName, Filter, SpaceKey, TopK},
    error::Result,
    http::{
        AppState,
        error::Failure,
        extract::{ExampleList, ExampleSchema, LookupParams, OptionsRequest, RequestBody},
        query::{self, LIMIT},
    },
    service::{Context, Examples, QueryBy, SearchRequest},
};

#[derive(Debug, Deserialize, ToSchema)]
pub struct RecommendOptions {
    /// Ids and vectors to be near to, at least one; with the negative ones, `limits.vectors` is how many at most.
    #[schema(value_type = Vec<ExampleSchema>)]
    positive: ExampleList,
    /// Ids and vectors to be far from.
    #[schema(value_type = Option<Vec<ExampleSchema>>)]
    negative: Option<ExampleList>,
    /// 1 to 1,000; 10 unless given.
    limit: Option<usize>,
    filter: Option<Filter>,
    /// Leave out what is less near.
    min_score: Option<f32>,
    /// Compare with every vector in 32 bits.
    #[serde(default)]
    exact: bool,
    #[serde(default)]
    with_vector: bool,
    #[serde(default = "query::yes")]
    #[schema(default = true)]
    with_metadata: bool,
    /// Refuse unless this is the collection's space.
    #[schema(value_type = Option<String>)]
    space_key: Option<SpaceKey>,
}

/// The items nearest to `p + (p − n)`, where `p` and `n` are the means of the positive and of the negative examples
/// (`p` alone where there are no negative ones). The items named as examples are left out. In a cosine collection each
/// example counts with length 1.
#[utoipa::path(post, path = "/v1/collections/{collection}/recommend", tag = "search", operation_id = "recommend",
    params(("collection" = String, Path)), request_body = RecommendOptions,
    responses((status = 200, body = SearchAnswer)))]
pub(in crate::http) async fn recommend(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    LookupParams(collection): LookupParams<CollectionName>,
    RequestBody(OptionsRequest(options)): RequestBody<OptionsRequest<RecommendOptions>>,
) -> Result<Json<SearchAnswer>, Failure> {
    let query = SearchRequest {
        by: QueryBy::Examples(Examples {
            positive: options.positive.0,
            negative: options.negative.unwrap_or_default().0,
        }),
        limit: TopK::new(options.limit.unwrap_or(LIMIT))?,
        filter: options.filter,
        min_score: options.min_score,
        exact: options.exact,
        with_vector: options.with_vector,
        with_metadata: options.with_metadata,
        exclude_self: true,
        space_key: options.space_key,
    };
    Ok(Json(SearchAnswer::new(state.service.search(&context, &collection, query).await?)))
}
