//! Items of a collection: adding, reading, changing, deleting.

use std::{sync::Arc, time::Instant};

use futures_util::future::join_all;

use super::{Context, Image, Items, Service, Stage, deletions::Unnamed, to_its_end};
use crate::{
    admission::SharedPermit,
    domain::{CollectionName, Embedding, FieldPath, Filter, ItemId, Metadata, Metric, SpaceKey, TopK, check_metadata},
    error::{Error, ErrorKind, Result},
    image::Encoded,
    index::{
        Collection, CollectionSpec, Deleted, Facet, ImageRef, NewItem, Page, StoreMode, StoredItem, Written,
        check_indexable,
    },
    model::VectorOptions,
    pipeline::{EmbedRequest, EmbeddedImage, StoredForm, StoredImage, note},
    store::ImageStore,
    telemetry::Metrics,
};

/// An item to add or replace.
#[derive(Debug)]
pub struct Entry {
    /// None: the BLAKE3 of the image's bytes; a vector needs an id.
    pub id: Option<ItemId>,
    pub source: EntrySource,
    pub metadata: Metadata,
    /// What counts the body that vector and metadata were parsed from: it is counted until they are written.
    pub(crate) share: Option<SharedPermit>,
}

#[derive(Debug)]
pub enum EntrySource {
    Image(Image),
    Vector(Vec<f32>),
}

/// What was stored of one entry.
#[derive(Debug)]
pub struct Added {
    pub id: ItemId,
    /// False: an item of this id was there and is replaced.
    pub created: bool,
}

/// Which page of a collection is asked for.
#[derive(Debug)]
pub struct PageRequest {
    pub limit: TopK,
    /// The cursor of the page before.
    pub cursor: Option<String>,
    pub filter: Option<Filter>,
    pub space_key: Option<SpaceKey>,
}

/// What is to be changed of an item's metadata.
#[derive(Debug)]
pub struct PatchRequest {
    pub patch: Metadata,
    pub space_key: Option<SpaceKey>,
}

/// Which values are to be counted.
#[derive(Debug)]
pub struct FacetsRequest {
    pub key: FieldPath,
    pub limit: TopK,
    pub filter: Option<Filter>,
    pub space_key: Option<SpaceKey>,
}

/// An entry with its vector, ready to be written.
struct PreparedItem {
    item: NewItem,
    /// To be put into the store before the row that names it.
    stored: Option<StoredImage>,
    share: Option<SharedPermit>,
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
        let images = entries.iter().flatten().filter(|entry| matches!(entry.source, EntrySource::Image(_))).count();
        self.check_counts(images, entries.len() - images, "items")?;
        let collection = self.open_for(ctx, name, space_key.as_ref()).await?;
        let prepared = self.prepare_items(ctx, collection.spec(), entries).await?;
        let Items { good, errors } = self.sort(prepared).settle(strict)?;
        let (places, prepared): (Vec<usize>, Vec<PreparedItem>) = good.into_iter().unzip();
        let ids: Vec<ItemId> = prepared.iter().map(|prepared| prepared.item.id.clone()).collect();
        let started = Instant::now();
        let (store, unnamed, metrics) = (Arc::clone(&self.store), self.unnamed.clone(), Arc::clone(&self.metrics));
        let written = to_its_end(async move {
            let written = write(&store, &unnamed, collection.as_ref(), prepared).await?;
            count_vectors(&metrics, collection.as_ref()).await;
            Ok(written)
        });
        let written = written.await?;
        note(ctx, &self.metrics, Stage::Index, started.elapsed());
        let good = places
            .into_iter()
            .zip(ids)
            .zip(written)
            .map(|((place, id), written)| (place, Added { id, created: written.created }))
            .collect();
        Ok(Items { good, errors })
    }

    /// Gives each entry its vector: embeds the images together, checks the vectors.
    async fn prepare_items(
        &self,
        ctx: &Context,
        spec: &CollectionSpec,
        entries: Vec<Result<Entry>>,
    ) -> Result<Vec<Result<PreparedItem>>> {
        let images: Vec<Image> = entries.iter().flatten().filter_map(image_of).map(Ok).collect();
        let hash = entries.iter().flatten().any(|entry| entry.id.is_none());
        let mut embedded = Vec::new();
        if !images.is_empty() {
            embedded = match self.model_of(spec).await {
                Ok(model) => {
                    let (options, stored) = (VectorOptions::default(), stored_form(spec.store));
                    self.pipeline.embed(ctx, &model, EmbedRequest { images, options, stored, hash }).await?
                }
                // the collection's own vectors are none the worse for a model that is not there
                Err(error) => images.iter().map(|_| Err(error.duplicate())).collect(),
            };
        }
        let mut embedded = embedded.into_iter();
        let prepare = |entry: Result<Entry>| self.prepare_item(spec, entry?, &mut embedded);
        Ok(entries.into_iter().map(prepare).collect())
    }

    fn prepare_item(
        &self,
        spec: &CollectionSpec,
        entry: Entry,
        embedded: &mut impl Iterator<Item = Result<EmbeddedImage>>,
    ) -> Result<PreparedItem> {
        let (id, vector, stored) = match entry.source {
            EntrySource::Image(image) => {
                let image = image?;
                let embedded = embedded.next().unwrap_or_else(|| Err(Error::internal("an image has no vector")))?;
                (entry.id.unwrap_or_else(|| ItemId::of_hash(image.hash())), embedded.vector, embedded.stored)
            }
            EntrySource::Vector(vector) => {
                let id = entry.id.ok_or_else(|| Error::invalid_request("an item with a vector needs an id"))?;
                (id, vector, None)
            }
        };
        check_metadata(&entry.metadata, self.limits.metadata_bytes)?;
        check_indexable(&entry.metadata)?;
        let vector = Embedding::of_dimension(vector, spec.dimension)?;
        if spec.metric == Metric::Cosine && vector.as_slice().iter().all(|value| *value == 0.0) {
            return Err(Error::invalid_request(
                "a vector of zeros has no direction, which a cosine collection compares",
            ));
        }
        let item = NewItem { id, vector, metadata: entry.metadata, image: None };
        Ok(PreparedItem { item, stored, share: entry.share })
    }

    /// One item, or `item_not_found`.
    pub async fn item(
        &self,
        ctx: &Context,
        name: &CollectionName,
        id: &ItemId,
        space_key: Option<SpaceKey>,
    ) -> Result<StoredItem> {
        self.open_for(ctx, name, space_key.as_ref()).await?.get(id).await
    }

    /// A page of items.
    pub async fn items(&self, ctx: &Context, name: &CollectionName, request: PageRequest) -> Result<Page> {
        let PageRequest { limit, cursor, filter, space_key } = request;
        self.open_for(ctx, name, space_key.as_ref()).await?.page(limit, cursor, filter).await
    }

    /// Merges into an item's metadata; a null removes its key.
    pub async fn patch_item(
        &self,
        ctx: &Context,
        name: &CollectionName,
        id: &ItemId,
        request: PatchRequest,
    ) -> Result<Metadata> {
        let PatchRequest { patch, space_key } = request;
        let collection = self.open_for(ctx, name, space_key.as_ref()).await?;
        collection.patch(id, patch, self.limits.metadata_bytes).await
    }

    /// Deletes one item, or `item_not_found`.
    pub async fn delete_item(
        &self,
        ctx: &Context,
        name: &CollectionName,
        id: &ItemId,
        space_key: Option<SpaceKey>,
    ) -> Result<()> {
        match self.delete_items(ctx, name, vec![id.clone()], space_key).await? {
            0 => Err(Error::new(ErrorKind::ItemNotFound, format!("the collection {name} has no item {id}"))),
            _ => Ok(()),
        }
    }

    /// Deletes what is there of these ids and tells how many there were.
    pub async fn delete_items(
        &self,
        ctx: &Context,
        name: &CollectionName,
        ids: Vec<ItemId>,
        space_key: Option<SpaceKey>,
    ) -> Result<u64> {
        let collection = self.open_for(ctx, name, space_key.as_ref()).await?;
        self.deletion(collection, async move |collection| collection.delete(ids).await).await
    }

    /// Deletes every item that passes the filter and tells how many there were.
    pub async fn delete_matching(
        &self,
        ctx: &Context,
        name: &CollectionName,
        filter: Filter,
        space_key: Option<SpaceKey>,
    ) -> Result<u64> {
        if filter.matches_everything() {
            return Err(Error::invalid_request(
                "the filter would delete every item: name ids or conditions, or drop the collection",
            ));
        }
        let collection = self.open_for(ctx, name, space_key.as_ref()).await?;
        self.deletion(collection, async move |collection| collection.delete_matching(filter).await).await
    }

    /// Deletes rows, then the images that only they named, to the end.
    async fn deletion<D, F>(&self, collection: Arc<dyn Collection>, delete: D) -> Result<u64>
    where
        D: FnOnce(Arc<dyn Collection>) -> F,
        F: Future<Output = Result<Deleted>> + Send + 'static,
    {
        let delete = delete(Arc::clone(&collection));
        let (unnamed, metrics) = (self.unnamed.clone(), Arc::clone(&self.metrics));
        to_its_end(async move {
            let deleted = delete.await?;
            unnamed.let_go(deleted.orphans).await;
            count_vectors(&metrics, collection.as_ref()).await;
            Ok(deleted.count)
        })
        .await
    }

    /// How many items pass the filter.
    pub async fn count(
        &self,
        ctx: &Context,
        name: &CollectionName,
        filter: Option<Filter>,
        space_key: Option<SpaceKey>,
    ) -> Result<u64> {
        self.open_for(ctx, name, space_key.as_ref()).await?.count(filter).await
    }

    /// The values at a key of the items that pass the filter, with how many have each, the most frequent first.
    pub async fn facets(&self, ctx: &Context, name: &CollectionName, request: FacetsRequest) -> Result<Vec<Facet>> {
        let FacetsRequest { key, limit, filter, space_key } = request;
        self.open_for(ctx, name, space_key.as_ref()).await?.facets(&key, filter, limit).await
    }
}

const fn stored_form(mode: StoreMode) -> Option<StoredForm> {
    match mode {
        StoreMode::None => None,
        StoreMode::Original => Some(StoredForm::Original),
        StoreMode::Thumbnail => Some(StoredForm::Thumbnail),
    }
}

fn image_of(entry: &Entry) -> Option<Encoded> {
    match &entry.source {
        EntrySource::Image(Ok(image)) => Some(image.clone()),
        _ => None,
    }
}

/// Images first, then the rows that name them: a crash between the two leaves an image without an item, never an
/// item without its image.
async fn write(
    store: &ImageStore,
    unnamed: &Unnamed,
    collection: &dyn Collection,
    prepared: Vec<PreparedItem>,
) -> Result<Vec<Written>> {
    let name = &collection.spec().name;
    let puts = prepared.iter().map(async |prepared| match &prepared.stored {
        Some(image) => store.put(name, &prepared.item.id, image.bytes.clone(), image.media_type).await.map(Some),
        None => Ok(None),
    });
    let (stored, failed): (Vec<_>, Vec<_>) = join_all(puts).await.into_iter().partition(Result::is_ok);
    let stored: Vec<Option<ImageRef>> = stored.into_iter().filter_map(Result::ok).collect();
    if let Some(error) = failed.into_iter().find_map(Result::err) {
        unnamed.never_named(stored.into_iter().flatten().collect()).await;
        return Err(error);
    }
    // The images are in the store and their bytes go here; the shares stay until the rows are written.
    let (items, _shares): (Vec<_>, Vec<_>) = prepared
        .into_iter()
        .zip(&stored)
        .map(|(PreparedItem { item, share, .. }, image)| (NewItem { image: image.clone(), ..item }, share))
        .unzip();
    match collection.upsert(items).await {
        Ok(written) => {
            unnamed.let_go(written.iter().filter_map(|written| written.orphan.clone()).collect()).await;
            Ok(written)
        }
        // the rows may have arrived all the same: then they must find their images
        Err(error) if error.kind() == ErrorKind::Unavailable => Err(error),
        Err(error) => {
            unnamed.never_named(stored.into_iter().flatten().collect()).await;
            Err(error)
        }
    }
}

/// Tells the metrics how many vectors a collection has. The write before is durable and answered as such, whatever
/// becomes of this.
async fn count_vectors(metrics: &Metrics, collection: &dyn Collection) {
    match collection.info().await {
        Ok(info) => metrics.count_vectors(info.spec.name.as_str(), info.count),
        Err(error) => tracing::debug!(reason = error.chain(), "the vectors of a collection could not be counted"),
    }
}
