//! Items of a collection.

use axum::{Extension, Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    domain::{CollectionName, Filter, ItemId, Metadata, SpaceKey, TopK, check_integers},
    error::{Error, ErrorKind, Result},
    http::{
        AppState,
        answer::{ItemError, item_errors},
        error::Failure,
        extract::{
            Fields, FormRules, FromFields, ImageSchema, ItemsRequest, LookupParams, OPTIONS, OptionsRequest,
            QueryOptions, RequestBody, SpaceOptions,
        },
        schema::{BinaryFile, FormItems, JsonItems},
    },
    index::PageItem,
    service::{Context, PageRequest, PatchRequest},
};

/// Items on a page unless the caller says otherwise.
const PAGE: usize = 100;

#[derive(Debug, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AddOptions {
    /// Store nothing if one of the items is bad. Without it, bad items stand in `errors` of an answer with status 200.
    #[serde(default)]
    #[param(required = false)]
    strict: bool,
    /// Keep the name of each file of a form in `file` of the metadata, unless the metadata have such a key.
    #[serde(default)]
    #[param(required = false)]
    keep_filename: bool,
    /// Refuse unless this is the collection's space.
    #[schema(value_type = Option<String>)]
    #[param(value_type = Option<String>)]
    space_key: Option<SpaceKey>,
}

/// An item to add: either an image or a vector.
#[derive(ToSchema)]
#[expect(dead_code, reason = "an item is read field by field; this type describes it for the documentation")]
pub struct NewItem {
    /// The item's id. Without one, an item with an image gets the BLAKE3 of the image's bytes.
    id: Option<String>,
    image: Option<ImageSchema>,
    vector: Option<Vec<f32>>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<Metadata>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AddedList {
    collection: String,
    data: Vec<AddedEntry>,
    errors: Vec<ItemError>,
}

#[derive(Debug, Serialize, ToSchema)]
struct AddedEntry {
    /// The item's place in the request, from 0.
    index: usize,
    id: String,
    /// Whether the item is new: where it is not, an item of this id has been replaced.
    created: bool,
}

/// Adds items, or replaces those of the same id. What the answer names is stored durably. An image as a raw body or
/// as parts may have an `id` and a `metadata` option or part of its own.
#[utoipa::path(post, path = "/v1/collections/{collection}/items", tag = "items", operation_id = "add_items",
    params(("collection" = String, Path), AddOptions),
    request_body(content((JsonItems = "application/json"), (FormItems = "multipart/form-data"), (BinaryFile = "image/*"))),
    responses((status = 200, body = AddedList)))]
pub(in crate::http) async fn add(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    LookupParams(collection): LookupParams<CollectionName>,
    RequestBody(mut request): RequestBody<ItemsRequest<AddOptions>>,
) -> Result<Json<AddedList>, Failure> {
    if request.options.keep_filename {
        request.keep_file_names();
    }
    let ItemsRequest { entries, options: AddOptions { strict, space_key, .. }, .. } = request;
    let items = state.service.add_items(&context, &collection, entries, (space_key, strict)).await?;
    let items = items.settle(strict)?;
    let entry = |(index, added): (usize, crate::service::Added)| AddedEntry {
        index,
        id: added.id.into(),
        created: added.created,
    };
    let errors = item_errors(&items.errors);
    let data = items.good.into_iter().map(entry).collect();
    Ok(Json(AddedList { collection: collection.into(), data, errors }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageOptions {
    /// 1 to 1,000; 100 unless given.
    limit: Option<usize>,
    /// The cursor of the page before.
    cursor: Option<String>,
    /// A filter as JSON.
    #[param(value_type = Option<String>)]
    filter: Option<Filter>,
    /// Refuse unless this is the collection's space.
    #[param(value_type = Option<String>)]
    space_key: Option<SpaceKey>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ItemPage {
    data: Vec<PageEntry>,
    /// Continues after this page; null at the end.
    cursor: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct PageEntry {
    id: String,
    #[schema(value_type = Object)]
    metadata: Metadata,
    /// The media type of the stored image, if there is one.
    image: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ItemEntry {
    id: String,
    #[schema(value_type = Object)]
    metadata: Metadata,
}

/// Items in a stable order, page by page.
#[utoipa::path(get, path = "/v1/collections/{collection}/items", tag = "items", operation_id = "page_items",
    params(("collection" = String, Path), PageOptions), responses((status = 200, body = ItemPage)))]
pub(in crate::http) async fn page(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    LookupParams(collection): LookupParams<CollectionName>,
    QueryOptions(PageOptions { limit, cursor, filter, space_key }): QueryOptions<PageOptions>,
) -> Result<Json<ItemPage>, Failure> {
    let limit = TopK::new(limit.unwrap_or(PAGE))?;
    let page = state.service.items(&context, &collection, PageRequest { limit, cursor, filter, space_key }).await?;
    let entry = |item: PageItem| PageEntry {
        id: item.id.into(),
        metadata: item.metadata,
        image: item.image.map(|image| image.media_type),
    };
    Ok(Json(ItemPage { data: page.items.into_iter().map(entry).collect(), cursor: page.cursor }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReadOptions {
    #[serde(default)]
    #[param(required = false)]
    with_vector: bool,
    /// Refuse unless this is the collection's space.
    #[param(value_type = Option<String>)]
    space_key: Option<SpaceKey>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ItemDescription {
    id: String,
    #[schema(value_type = Object)]
    metadata: Metadata,
    /// The media type of the stored image, if there is one.
    image: Option<String>,
    /// The vector, where `with_vector` asks for it; normalised in a cosine collection.
    #[serde(skip_serializing_if = "Option::is_none")]
    vector: Option<Vec<f32>>,
    /// The space of the vector.
    #[serde(skip_serializing_if = "Option::is_none")]
    space_key: Option<String>,
}

/// One item.
#[utoipa::path(get, path = "/v1/collections/{collection}/items/{id}", tag = "items", operation_id = "read_item",
    params(("collection" = String, Path), ("id" = String, Path), ReadOptions),
    responses((status = 200, body = ItemDescription)))]
pub(in crate::http) async fn read(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    LookupParams((collection, id)): LookupParams<(CollectionName, ItemId)>,
    QueryOptions(ReadOptions { with_vector, space_key }): QueryOptions<ReadOptions>,
) -> Result<Json<ItemDescription>, Failure> {
    let item = state.service.item(&context, &collection, &id, space_key).await?;
    let space_key = if with_vector { state.service.collection(&collection, None).await?.spec.space_key } else { None };
    Ok(Json(ItemDescription {
        id: item.id.into(),
        metadata: item.metadata,
        image: item.image.map(|image| image.media_type),
        vector: with_vector.then_some(item.vector),
        space_key: space_key.map(String::from),
    }))
}

#[derive(Debug, Deserialize, ToSchema)]
pub struct PatchOptions {
    /// Keys to set; a null removes its key.
    #[schema(value_type = Object)]
    metadata: Metadata,
    /// Refuse unless this is the collection's space.
    #[schema(value_type = Option<String>)]
    space_key: Option<SpaceKey>,
}

impl FromFields for PatchOptions {
    const RULES: FormRules = OPTIONS;

    fn from_fields(fields: Fields<'_>) -> Result<Self> {
        fields.text_of("metadata").map_or(Ok(()), check_integers)?;
        fields.options()
    }
}

/// Changes an item's metadata key by key and answers with the whole of it.
#[utoipa::path(patch, path = "/v1/collections/{collection}/items/{id}", tag = "items", operation_id = "patch_item",
    params(("collection" = String, Path), ("id" = String, Path)), request_body = PatchOptions,
    responses((status = 200, body = ItemEntry)))]
pub(in crate::http) async fn patch(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    LookupParams((collection, id)): LookupParams<(CollectionName, ItemId)>,
    RequestBody(PatchOptions { metadata, space_key }): RequestBody<PatchOptions>,
) -> Result<Json<ItemEntry>, Failure> {
    let request = PatchRequest { patch: metadata, space_key };
    let metadata = state.service.patch_item(&context, &collection, &id, request).await?;
    Ok(Json(ItemEntry { id: id.into(), metadata }))
}

/// Deletes one item, or answers `item_not_found`; `…/items/delete` counts what was there instead.
#[utoipa::path(delete, path = "/v1/collections/{collection}/items/{id}", tag = "items", operation_id = "delete_item",
    params(("collection" = String, Path), ("id" = String, Path), SpaceOptions),
    responses((status = 204, description = "deleted")))]
pub(in crate::http) async fn remove(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    LookupParams((collection, id)): LookupParams<(CollectionName, ItemId)>,
    QueryOptions(SpaceOptions { space_key }): QueryOptions<SpaceOptions>,
) -> Result<StatusCode, Failure> {
    state.service.delete_item(&context, &collection, &id, space_key).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which items to delete: by ids, or by a filter that does not match everything by construction.
#[derive(Debug, Deserialize, ToSchema)]
pub struct DeleteOptions {
    /// The ids to delete: 1,000 at most.
    #[schema(value_type = Option<Vec<String>>)]
    ids: Option<Vec<ItemId>>,
    filter: Option<Filter>,
    /// Refuse unless this is the collection's space.
    #[schema(value_type = Option<String>)]
    space_key: Option<SpaceKey>,
}

/// Where several items are deleted; with other methods, the item whose id is `delete`.
pub(in crate::http) const DELETE_PATH: &str = "/v1/collections/{collection}/items/delete";
/// Where one item is.
pub(in crate::http) const ITEM_PATH: &str = "/v1/collections/{collection}/items/{id}";

/// Ids in one request to delete items.
const MAX_IDS: usize = 1000;

fn check_ids(count: usize) -> Result<()> {
    if count > MAX_IDS {
        let text = format!("{count} ids in one request: {MAX_IDS} at most; send the rest in further ones");
        return Err(Error::new(ErrorKind::PayloadTooLarge, text));
    }
    Ok(())
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DeletedCount {
    deleted: u64,
}

/// Deletes what is there of the ids, or every item that passes the filter.
#[utoipa::path(post, path = "/v1/collections/{collection}/items/delete", tag = "items",
    operation_id = "delete_items", params(("collection" = String, Path)), request_body = DeleteOptions,
    responses((status = 200, body = DeletedCount)))]
pub(in crate::http) async fn remove_many(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    LookupParams(collection): LookupParams<CollectionName>,
    RequestBody(OptionsRequest(options)): RequestBody<OptionsRequest<DeleteOptions>>,
) -> Result<Json<DeletedCount>, Failure> {
    let DeleteOptions { ids, filter, space_key } = options;
    let deleted = match (ids, filter) {
        (Some(ids), None) => {
            check_ids(ids.len())?;
            state.service.delete_items(&context, &collection, ids, space_key).await?
        }
        (None, Some(filter)) => state.service.delete_matching(&context, &collection, filter, space_key).await?,
        _ => return Err(Error::invalid_request("items are deleted either by `ids` or by `filter`").into()),
    };
    Ok(Json(DeletedCount { deleted }))
}
