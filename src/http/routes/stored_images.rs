//! Stored images of items: as they are, as thumbnails, and many on one sheet.

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, header},
    response::Response,
};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    domain::{CollectionName, ItemId, SpaceKey},
    error::Result,
    http::{
        AppState,
        answer::bare,
        caching::{EntityTag, Keep, set},
        error::Failure,
        extract::{LookupParams, QueryOptions},
        schema::BinaryFile,
    },
    image::encode,
    index::ImageRef,
    service::{Context, SpritesRequest},
};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ImageOptions {
    /// Pixels of the longer side, 16 to 512: the answer is a thumbnail, upright, as JPEG. A JPEG, PNG or WebP that is
    /// no larger comes as it is.
    size: Option<u32>,
    /// Refuse unless this is the collection's space.
    #[param(value_type = Option<String>)]
    space_key: Option<SpaceKey>,
}

/// The stored image: the file as it was sent, or its thumbnail. It has an `ETag`, another one once the item is replaced.
#[utoipa::path(get, path = "/v1/collections/{collection}/items/{id}/image", tag = "items",
    operation_id = "item_image", params(("collection" = String, Path), ("id" = String, Path), ImageOptions),
    responses((status = 200, body = BinaryFile, content_type = "image/*"),
        (status = 304, description = "the image is the one that `If-None-Match` names")))]
pub(in crate::http) async fn image(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    LookupParams((collection, id)): LookupParams<(CollectionName, ItemId)>,
    QueryOptions(ImageOptions { size, space_key }): QueryOptions<ImageOptions>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let service = &state.service;
    // An image that the client has is not read.
    let tag = tag_of(&service.item_image_ref(&context, &collection, &id, space_key.clone()).await?, size);
    let keep = if size.is_some() { Keep::Minute } else { Keep::Asking };
    if tag.is_known(&headers) {
        return Ok(tag.unchanged(keep)?);
    }
    let (file, image) = service.item_image(&context, &collection, &id, space_key).await?;
    let tag = tag_of(&image, size);
    let response = match size {
        Some(size) => {
            let (file, media_type) = service.thumbnail(&context, file, size).await?;
            bare(media_type, file, None)?
        }
        None => bare(&image.media_type, file, None)?,
    };
    Ok(tag.on(response, keep)?)
}

/// The key of a stored image is one of its own: no other has it, and this image never gets another.
fn tag_of(image: &ImageRef, size: Option<u32>) -> EntityTag {
    let key = image.key.strip_prefix("images/").unwrap_or(&image.key);
    EntityTag::of(&[key, &size.map_or_else(|| "whole".to_owned(), |size| size.to_string())])
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SpritesOptions {
    /// A JSON list of 1 to 256 ids.
    #[param(value_type = String)]
    ids: Vec<ItemId>,
    /// Pixels of a sprite's side, 8 to 128; 48 unless given.
    #[serde(default = "sprite_size")]
    #[param(required = false)]
    size: u32,
    /// Refuse unless this is the collection's space.
    #[param(value_type = Option<String>)]
    space_key: Option<SpaceKey>,
}

const fn sprite_size() -> u32 {
    48
}

/// The stored images of items on one sheet, for maps: squares from the middle of each image, in rows of 16 from the top
/// left in the order of `ids`, as JPEG; fewer than 16 make one row. An item without an image is a grey square.
#[utoipa::path(get, path = "/v1/collections/{collection}/sprites", tag = "items", operation_id = "sprites",
    params(("collection" = String, Path), SpritesOptions),
    responses((status = 200, body = BinaryFile, content_type = "image/jpeg")))]
pub(in crate::http) async fn sprites(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    LookupParams(collection): LookupParams<CollectionName>,
    QueryOptions(SpritesOptions { ids, size, space_key }): QueryOptions<SpritesOptions>,
) -> Result<Response, Failure> {
    let request = SpritesRequest { ids, size, space_key };
    let sheet = state.service.sprites(&context, &collection, request).await?;
    let file = state.service.compute(move || encode::jpeg_pixels(sheet.pixels())).await??;
    let mut response = bare("image/jpeg", file, None)?;
    set(&mut response, header::CACHE_CONTROL, Keep::Minute.as_str())?;
    Ok(response)
}
