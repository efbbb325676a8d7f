//! Stored images of items: as they are, smaller, and many of them on one sheet.

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use super::{Context, Service};
use crate::{
    domain::{CollectionName, ItemId, SpaceKey},
    error::{Error, ErrorKind, Result},
    image::{Encoded, Format, Sheet},
    index::ImageRef,
};

/// Pixels of a thumbnail's longer side.
const THUMBNAIL_SIZES: std::ops::RangeInclusive<u32> = 16..=512;
/// Pixels of a sprite's side.
const SPRITE_SIZES: std::ops::RangeInclusive<u32> = 8..=128;
/// Sprites on one sheet.
const SPRITES: usize = 256;
/// Stored images that are read at the same time for one sheet.
const AT_ONCE: usize = 8;

/// Which sprites are asked for.
#[derive(Debug)]
pub struct SpritesRequest {
    /// In the order of the sheet.
    pub ids: Vec<ItemId>,
    /// Pixels of a sprite's side.
    pub size: u32,
    pub space_key: Option<SpaceKey>,
}

impl Service {
    /// The stored image of an item and what names it, or `item_not_found`.
    pub async fn item_image(
        &self,
        ctx: &Context,
        name: &CollectionName,
        id: &ItemId,
        space_key: Option<SpaceKey>,
    ) -> Result<(Bytes, ImageRef)> {
        let image = self.item_image_ref(ctx, name, id, space_key.clone()).await?;
        match self.store.get(&image).await {
            // the item may have been replaced since its row was read: then it names another image now
            Err(error) if error.kind() == ErrorKind::ItemNotFound => {
                let now = self.item_image_ref(ctx, name, id, space_key).await?;
                if now == image {
                    return Err(error);
                }
                Ok((self.store.get(&now).await?, now))
            }
            read => Ok((read?, image)),
        }
    }

    /// What names the stored image of an item, or `item_not_found`.
    pub async fn item_image_ref(
        &self,
        ctx: &Context,
        name: &CollectionName,
        id: &ItemId,
        space_key: Option<SpaceKey>,
    ) -> Result<ImageRef> {
        let item = self.item(ctx, name, id, space_key).await?;
        item.image.ok_or_else(|| Error::new(ErrorKind::ItemNotFound, format!("no image is stored with the item {id}")))
    }

    /// A stored image with at most `size` pixels on its longer side: the file itself if it is small already and every
    /// browser shows its format, else a JPEG. With it comes its media type.
    pub async fn thumbnail(&self, ctx: &Context, file: Bytes, size: u32) -> Result<(Bytes, &'static str)> {
        check_size(size, &THUMBNAIL_SIZES)?;
        let image = Encoded::new(file);
        let header = image.header()?;
        let shown = matches!(header.format, Format::Jpeg | Format::Png | Format::WebP);
        if shown && header.width.max(header.height) <= size {
            return Ok((image.bytes().clone(), header.format.media_type()));
        }
        Ok((self.pipeline.thumbnail(ctx, image, size).await?, Format::Jpeg.media_type()))
    }

    /// The stored images of items as squares on one sheet. An item that is not there, or has no image that can be
    /// read, leaves its square empty.
    pub async fn sprites(&self, ctx: &Context, name: &CollectionName, request: SpritesRequest) -> Result<Sheet> {
        let SpritesRequest { ids, size, space_key } = request;
        check_size(size, &SPRITE_SIZES)?;
        if ids.is_empty() || ids.len() > SPRITES {
            return Err(Error::invalid_request(format!("`ids` names 1 to {SPRITES} items, not {}", ids.len())));
        }
        self.open_in_space(name, space_key.as_ref()).await?;
        let mut sheet = Sheet::new(ids.len(), size);
        let sprite = async |(place, id): (usize, ItemId)| {
            let (file, _) = self.item_image(ctx, name, &id, None).await?;
            Ok::<_, Error>((place, self.pipeline.square(ctx, Encoded::new(file), size).await?))
        };
        let mut sprites = stream::iter(ids.into_iter().enumerate()).map(sprite).buffer_unordered(AT_ONCE);
        while let Some(sprite) = sprites.next().await {
            match sprite {
                Ok((place, pixels)) => sheet.put(place, &pixels),
                Err(error) if leaves_a_gap(error.kind()) => {}
                Err(error) => return Err(error),
            }
        }
        drop(sprites);
        Ok(sheet)
    }
}

/// Whether an error is one of a single image, which others need not suffer from.
const fn leaves_a_gap(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ItemNotFound
            | ErrorKind::InvalidImage
            | ErrorKind::ImageTooLarge
            | ErrorKind::UnsupportedMediaType
            | ErrorKind::Internal
    )
}

fn check_size(size: u32, allowed: &std::ops::RangeInclusive<u32>) -> Result<()> {
    if allowed.contains(&size) {
        return Ok(());
    }
    let text = format!("`size` is {} to {} pixels, not {size}", allowed.start(), allowed.end());
    Err(Error::invalid_request(text))
}
