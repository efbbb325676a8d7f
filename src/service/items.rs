//! Items of a collection: adding, reading, changing, deleting.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;

use super::{
    Context, Items, Picture, Service, Stage,
    pictures::{note, within},
};
use crate::{
    domain::{CollectionName, Embedding, Filter, ItemId, Metadata, SpaceKey, TopK},
    error::{Error, ErrorKind, Result},
    image,
    index::{Collection, CollectionSpec, NewItem, Page, PictureRef, StoreMode, StoredItem, Written},
    model::VectorOptions,
    store::PictureStore,
};

/// The longer side of a stored thumbnail, in pixels.
const THUMBNAIL_EDGE: u32 = 128;

/// An item to add or replace.
#[derive(Debug)]
pub struct Entry {
    /// None: the BLAKE3 of the picture's bytes; a vector needs an id.
    pub id: Option<ItemId>,
    pub source: EntrySource,
    pub metadata: Metadata,
}

#[derive(Debug)]
pub enum EntrySource {
    Picture(Picture),
    Vector(Vec<f32>),
}

/// What was stored of one entry.
#[derive(Debug)]
pub struct Added {
    pub id: ItemId,
    /// False: an item of this id was there and is replaced.
    pub created: bool,
}

/// An entry with its vector, ready to be written.
struct Ready {
    item: NewItem,
    /// To be put into the store before the row that names it.
    picture: Option<(Bytes, &'static str)>,
}

impl Service {
    /// Adds or replaces items. What is answered as stored survives a crash; with `strict` one bad entry stores none.
    ///
    /// # Errors
    /// Of the request as a whole: no such collection, another space, no room in the queue or on the disk. What is
    /// wrong with one entry stands among the items.
    pub async fn add_items(
        &self,
        ctx: &Context,
        name: &CollectionName,
        entries: Vec<Result<Entry>>,
        (space_key, strict): (Option<SpaceKey>, bool),
    ) -> Result<Items<Added>> {
        self.check_count(entries.len(), "items")?;
        let collection = self.open_in_space(name, space_key.as_ref()).await?;
        let ready = self.make_ready(ctx, collection.spec(), entries).await?;
        let Items { good, errors } = self.sort(ready).settle(strict)?;
        let (places, ready): (Vec<usize>, Vec<Ready>) = good.into_iter().unzip();
        let ids: Vec<ItemId> = ready.iter().map(|ready| ready.item.id.clone()).collect();
        let started = Instant::now();
        let store = Arc::clone(&self.store);
        // a task of its own: what was admitted is written to its end, whatever the client does
        let written = tokio::spawn(write(store, Arc::clone(&collection), ready))
            .await
            .map_err(|error| Error::internal("a write ended early").with_source(error))??;
        note(ctx, &self.metrics, Stage::Index, started.elapsed());
        self.count_vectors(&collection.info().await?);
        let good = places
            .into_iter()
            .zip(ids)
            .zip(written)
            .map(|((place, id), written)| (place, Added { id, created: written.created }))
            .collect();
        Ok(Items { good, errors })
    }

    /// Gives each entry its vector: embeds the pictures in one request, checks the vectors.
    async fn make_ready(
        &self,
        ctx: &Context,
        spec: &CollectionSpec,
        entries: Vec<Result<Entry>>,
    ) -> Result<Vec<Result<Ready>>> {
        let has_pictures = entries.iter().flatten().any(|entry| matches!(entry.source, EntrySource::Picture(Ok(_))));
        let mut vectors = Vec::new();
        if has_pictures {
            let model = self.model_of(spec)?;
            let pictures = entries.iter().flatten().filter_map(picture_bytes).map(Ok).collect();
            let items = self.embed_uncounted(ctx, &model, pictures, VectorOptions::default()).await?.items;
            let good = items.good.into_iter().map(|(at, vector)| (at, Ok(vector)));
            vectors = good.chain(items.errors.into_iter().map(|(at, error)| (at, Err(error)))).collect();
            vectors.sort_by_key(|(at, _)| *at);
        }
        let mut vectors = vectors.into_iter().map(|(_, vector)| vector);
        let mut ready = Vec::with_capacity(entries.len());
        for entry in entries {
            ready.push(match entry {
                Ok(entry) => self.ready_entry(ctx, spec, entry, &mut vectors).await,
                Err(error) => Err(error),
            });
        }
        Ok(ready)
    }

    async fn ready_entry(
        &self,
        ctx: &Context,
        spec: &CollectionSpec,
        entry: Entry,
        vectors: &mut impl Iterator<Item = Result<Vec<f32>>>,
    ) -> Result<Ready> {
        let (id, vector, bytes) = match entry.source {
            EntrySource::Picture(picture) => {
                let bytes = picture?;
                let vector = vectors.next().unwrap_or_else(|| Err(Error::internal("a picture has no vector")))?;
                (entry.id.unwrap_or_else(|| ItemId::of_content(&bytes)), vector, Some(bytes))
            }
            EntrySource::Vector(vector) => {
                let id = entry.id.ok_or_else(|| Error::invalid_request("an item with a vector needs an id"))?;
                (id, vector, None)
            }
        };
        let size = serde_json::to_string(&entry.metadata).map_or(usize::MAX, |text| text.len());
        if size > self.limits.metadata_bytes {
            let text = format!("{size} bytes of metadata: limits.metadata_bytes is {}", self.limits.metadata_bytes);
            return Err(Error::new(ErrorKind::PayloadTooLarge, text));
        }
        let vector = Embedding::of_dimension(vector, spec.dimension)?;
        let picture = match bytes {
            Some(bytes) => self.to_keep(ctx, spec.store, bytes).await?,
            None => None,
        };
        Ok(Ready { item: NewItem { id, vector, metadata: entry.metadata, picture: None }, picture })
    }

    /// What of a picture the collection keeps.
    async fn to_keep(&self, ctx: &Context, mode: StoreMode, bytes: Bytes) -> Result<Option<(Bytes, &'static str)>> {
        let max_pixels = self.limits.image_pixels;
        match mode {
            StoreMode::None => Ok(None),
            StoreMode::Original => {
                let media_type = image::probe(&bytes, max_pixels)?.format.media_type();
                Ok(Some((bytes, media_type)))
            }
            StoreMode::Thumbnail => {
                let header = image::probe(&bytes, max_pixels)?;
                let room = self.decoded.take(image::decoded_bytes(&header), ctx.deadline).await?;
                let work = move || {
                    let _room = room;
                    image::encode::thumbnail(&image::decode(&bytes, max_pixels)?, THUMBNAIL_EDGE)
                };
                let thumbnail = within(ctx.deadline, self.pool.run(work)).await???;
                let media_type = image::sniff::sniff(&thumbnail)?.media_type();
                Ok(Some((thumbnail.into(), media_type)))
            }
        }
    }

    /// One item, or `item_not_found`.
    pub async fn item(&self, name: &CollectionName, id: &ItemId) -> Result<StoredItem> {
        self.index.open(name).await?.get(id).await
    }

    /// A page of items.
    pub async fn items(
        &self,
        name: &CollectionName,
        limit: TopK,
        cursor: Option<String>,
        filter: Option<Filter>,
    ) -> Result<Page> {
        self.index.open(name).await?.page(limit, cursor, filter).await
    }

    /// Merges into an item's metadata; a null removes its key.
    pub async fn patch_item(&self, name: &CollectionName, id: &ItemId, patch: Metadata) -> Result<Metadata> {
        let collection = self.index.open(name).await?;
        let mut merged = collection.get(id).await?.metadata;
        merged.extend(patch.clone());
        merged.retain(|_, value| !value.is_null());
        let size = serde_json::to_string(&merged).map_or(usize::MAX, |text| text.len());
        if size > self.limits.metadata_bytes {
            let text = format!("{size} bytes of metadata: limits.metadata_bytes is {}", self.limits.metadata_bytes);
            return Err(Error::new(ErrorKind::PayloadTooLarge, text));
        }
        collection.patch(id, patch).await
    }

    /// Deletes one item, or `item_not_found`.
    pub async fn delete_item(&self, name: &CollectionName, id: &ItemId) -> Result<()> {
        match self.delete_items(name, vec![id.clone()]).await? {
            0 => Err(Error::new(ErrorKind::ItemNotFound, format!("the collection {name} has no item {id}"))),
            _ => Ok(()),
        }
    }

    /// Deletes what is there of these ids and tells how many there were.
    pub async fn delete_items(&self, name: &CollectionName, ids: Vec<ItemId>) -> Result<u64> {
        let collection = self.index.open(name).await?;
        let deleted = collection.delete(ids).await?;
        self.forget_pictures(deleted.orphans).await;
        self.count_vectors(&collection.info().await?);
        Ok(deleted.count)
    }

    /// Deletes every item that passes the filter and tells how many there were.
    pub async fn delete_matching(&self, name: &CollectionName, filter: Filter) -> Result<u64> {
        let collection = self.index.open(name).await?;
        let deleted = collection.delete_matching(filter).await?;
        self.forget_pictures(deleted.orphans).await;
        self.count_vectors(&collection.info().await?);
        Ok(deleted.count)
    }

    /// How many items pass the filter.
    pub async fn count(&self, name: &CollectionName, filter: Option<Filter>) -> Result<u64> {
        self.index.open(name).await?.count(filter).await
    }

    /// The stored picture of an item and its media type, or `item_not_found`.
    pub async fn item_picture(&self, name: &CollectionName, id: &ItemId) -> Result<(Bytes, String)> {
        let item = self.index.open(name).await?.get(id).await?;
        let picture = item
            .picture
            .ok_or_else(|| Error::new(ErrorKind::ItemNotFound, format!("no picture is stored with the item {id}")))?;
        let bytes = self.store.get(&picture).await?;
        Ok((bytes, picture.media_type))
    }
}

fn picture_bytes(entry: &Entry) -> Option<Bytes> {
    match &entry.source {
        EntrySource::Picture(Ok(bytes)) => Some(bytes.clone()),
        _ => None,
    }
}

/// Pictures first, then the rows that name them: a crash between the two leaves a picture without an item, never an
/// item without its picture.
async fn write(store: Arc<PictureStore>, collection: Arc<dyn Collection>, ready: Vec<Ready>) -> Result<Vec<Written>> {
    let name = collection.spec().name.clone();
    let mut stored: Vec<PictureRef> = Vec::new();
    let mut items = Vec::with_capacity(ready.len());
    for Ready { mut item, picture } in ready {
        if let Some((bytes, media_type)) = picture {
            match store.put(&name, &item.id, bytes, media_type).await {
                Ok(picture) => {
                    stored.push(picture.clone());
                    item.picture = Some(picture);
                }
                Err(error) => {
                    forget(&store, stored).await;
                    return Err(error);
                }
            }
        }
        items.push(item);
    }
    let written = match collection.upsert(items).await {
        Ok(written) => written,
        Err(error) => {
            forget(&store, stored).await;
            return Err(error);
        }
    };
    let orphans = written.iter().filter_map(|written| written.orphan.clone()).collect();
    forget(&store, orphans).await;
    Ok(written)
}

async fn forget(store: &PictureStore, pictures: Vec<PictureRef>) {
    for picture in pictures {
        if let Err(error) = store.delete(&picture).await {
            tracing::warn!(key = %picture.key, reason = %error.chain(), "a picture without an item stays in the store");
        }
    }
}
