//! Collections of the latent index.

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    domain::{CollectionName, Metric, ModelName, SpaceKey},
    http::{
        AppState,
        error::Failure,
        extract::{
            LookupName as _, LookupParams, NoOptions, OptionsRequest, PathParams, QueryOptions, RequestBody,
            SpaceOptions,
        },
    },
    index::{CollectionInfo, StoreMode},
    service::NewCollection,
};

/// What a collection is made of: a model, or the dimension of the caller's own vectors.
#[derive(Debug, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CollectionOptions {
    /// The model that embeds the images of the collection.
    model: Option<String>,
    /// Without a model: how many numbers a vector has.
    dimension: Option<usize>,
    /// The model's own metric, or `cosine`, unless given.
    metric: Option<Metric>,
    /// What of an image is kept; nothing unless given.
    store: Option<StoreMode>,
    /// The space of the vectors; with a model it must be the model's.
    #[schema(value_type = Option<String>)]
    #[param(value_type = Option<String>)]
    space_key: Option<SpaceKey>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CollectionDescription {
    name: String,
    /// The model that embeds the images; null for a collection of vectors alone.
    model: Option<String>,
    space_key: Option<String>,
    dimension: usize,
    metric: Metric,
    store: StoreMode,
    /// Items in it.
    count: u64,
    #[schema(example = "embedded")]
    engine: &'static str,
    /// The form of the index: `scan` compares every item, `graph` the candidates that a graph proposes.
    #[schema(example = "graph")]
    form: &'static str,
    /// The reason for the form.
    #[schema(example = "count 250000 is above index.scan_items 200000")]
    form_reason: String,
    /// What it takes in storage, about.
    bytes: u64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CollectionList {
    data: Vec<CollectionDescription>,
}

impl From<CollectionInfo> for CollectionDescription {
    fn from(info: CollectionInfo) -> Self {
        let spec = info.spec;
        Self {
            name: spec.name.into(),
            model: spec.model,
            space_key: spec.space_key.map(String::from),
            dimension: spec.dimension,
            metric: spec.metric,
            store: spec.store,
            count: info.count,
            engine: info.engine,
            form: info.form,
            form_reason: info.form_reason,
            bytes: info.bytes,
        }
    }
}

/// Every collection by name.
#[utoipa::path(get, path = "/v1/collections", tag = "collections", operation_id = "list_collections",
    responses((status = 200, body = CollectionList)))]
pub(in crate::http) async fn list(
    State(state): State<AppState>,
    QueryOptions(NoOptions {}): QueryOptions<NoOptions>,
) -> Result<Json<CollectionList>, Failure> {
    let data = state.service.collections().await?.into_iter().map(CollectionDescription::from).collect();
    Ok(Json(CollectionList { data }))
}

/// Makes a collection. One with the same settings is left as it is; with others the name is taken.
#[utoipa::path(put, path = "/v1/collections/{collection}", tag = "collections", operation_id = "create_collection",
    params(("collection" = String, Path), CollectionOptions), request_body = CollectionOptions,
    responses((status = 201, description = "made", body = CollectionDescription),
        (status = 200, description = "there already, with these settings", body = CollectionDescription)))]
pub(in crate::http) async fn create(
    State(state): State<AppState>,
    PathParams(collection): PathParams<CollectionName>,
    RequestBody(OptionsRequest(options)): RequestBody<OptionsRequest<CollectionOptions>>,
) -> Result<(StatusCode, Json<CollectionDescription>), Failure> {
    let CollectionOptions { model, dimension, metric, store, space_key } = options;
    let model = model.as_deref().map(ModelName::for_lookup).transpose()?;
    let new = NewCollection { model, dimension, metric, store, space_key };
    let (info, created) = state.service.create_collection(collection, new).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(info.into())))
}

/// A collection as it stands.
#[utoipa::path(get, path = "/v1/collections/{collection}", tag = "collections", operation_id = "describe_collection",
    params(("collection" = String, Path), SpaceOptions),
    responses((status = 200, body = CollectionDescription)))]
pub(in crate::http) async fn describe(
    State(state): State<AppState>,
    LookupParams(collection): LookupParams<CollectionName>,
    QueryOptions(SpaceOptions { space_key }): QueryOptions<SpaceOptions>,
) -> Result<Json<CollectionDescription>, Failure> {
    Ok(Json(state.service.collection(&collection, space_key.as_ref()).await?.into()))
}

/// Drops a collection with its items and their images.
#[utoipa::path(delete, path = "/v1/collections/{collection}", tag = "collections", operation_id = "drop_collection",
    params(("collection" = String, Path), SpaceOptions), responses((status = 204, description = "dropped")))]
pub(in crate::http) async fn remove(
    State(state): State<AppState>,
    LookupParams(collection): LookupParams<CollectionName>,
    QueryOptions(SpaceOptions { space_key }): QueryOptions<SpaceOptions>,
) -> Result<StatusCode, Failure> {
    if space_key.is_some() {
        state.service.collection(&collection, space_key.as_ref()).await?;
    }
    state.service.drop_collection(&collection).await?;
    Ok(StatusCode::NO_CONTENT)
}
