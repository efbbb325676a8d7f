//! The latent index: stores vectors, not meanings. Engines stand behind [`IndexEngine`] and [`Collection`] and all
//! pass the same conformance suite.

mod bounds;
mod deletion;
mod embedded;
mod opening;
mod qdrant;
mod readiness;
mod reads;
mod rules;
mod terms;
mod transfer;

#[cfg(test)]
pub(crate) mod conformance;
#[cfg(test)]
pub(crate) mod fixtures;

use std::sync::Arc;

use async_trait::async_trait;

pub use bounds::Bounds;
pub use deletion::{DeletionBatch, DeletionQueue};
pub use embedded::{EmbeddedEngine, EmbeddedOptions, GraphOptions};
pub use opening::OpeningEngine;
pub use qdrant::{Orphan, QdrantEngine, QdrantOptions};
pub use readiness::Readiness;
pub use terms::check_indexable;
pub use transfer::{TransferImage, TransferItem, TransferReader, TransferWriter};

use crate::{
    domain::{CollectionName, Embedding, FieldPath, Filter, ItemId, Metadata, Metric, Scalar, SpaceKey, TopK},
    error::Result,
};

/// What of an image a collection keeps beside its vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StoreMode {
    None,
    Thumbnail,
    Original,
}

/// The settings of a collection; fixed for its life.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CollectionSpec {
    pub name: CollectionName,
    /// The model that the collection was made for; none for one made by dimension alone.
    pub model: Option<String>,
    /// The space its vectors live in; none for a collection that takes only vectors of the caller's.
    pub space_key: Option<SpaceKey>,
    pub dimension: usize,
    pub metric: Metric,
    pub store: StoreMode,
}

/// A collection as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct CollectionInfo {
    pub spec: CollectionSpec,
    pub count: u64,
    /// The engine's name: `embedded` or `qdrant`.
    pub engine: &'static str,
    /// How searches are answered: `scan` or `graph`.
    pub form: &'static str,
    /// Why so.
    pub form_reason: String,
    /// Bytes the collection takes in storage, about.
    pub bytes: u64,
    /// Another one after each write of this process, and after those of others as far as the engine can tell. What was
    /// computed of the whole collection is as good as new while it stays the same.
    pub version: u64,
}

/// An entry to write: replaces the item of the same id, metadata and image included.
#[derive(Debug, Clone, PartialEq)]
pub struct NewItem {
    pub id: ItemId,
    pub vector: Embedding,
    pub metadata: Metadata,
    pub image: Option<ImageRef>,
}

/// Where a stored image lies: its key in the object store and its media type.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ImageRef {
    pub key: String,
    pub media_type: String,
}

/// An entry as read back. Cosine collections hold normalised vectors.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredItem {
    pub id: ItemId,
    pub vector: Vec<f32>,
    pub metadata: Metadata,
    pub image: Option<ImageRef>,
}

/// What a write did to one item.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    pub created: bool,
    /// The image that the replaced item named and the new one does not: nothing refers to it any more. The deletion
    /// queue has it, if the engine has one.
    pub orphan: Option<ImageRef>,
}

/// A page of items in a stable order; `cursor` continues it, none at the end.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    pub items: Vec<PageItem>,
    pub cursor: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct PageItem {
    pub id: ItemId,
    pub metadata: Metadata,
    pub image: Option<ImageRef>,
}

/// One search.
#[derive(Debug, Clone)]
pub struct Query {
    pub vector: Embedding,
    pub limit: TopK,
    pub filter: Option<Filter>,
    /// Drops items whose score is lower.
    pub min_score: Option<f32>,
    /// Compares with every vector in f32 instead of by codes or graph.
    pub exact: bool,
    /// Leaves one item out, as a search by its id does.
    pub exclude: Option<ItemId>,
    pub with_vector: bool,
    pub with_metadata: bool,
}

impl Query {
    /// The plainest search: nearest items with their metadata.
    #[must_use]
    pub fn nearest(vector: Embedding, limit: TopK) -> Self {
        Self {
            vector,
            limit,
            filter: None,
            min_score: None,
            exact: false,
            exclude: None,
            with_vector: false,
            with_metadata: true,
        }
    }
}

/// A found item; equal scores come in the order of their ids' insertion.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    pub id: ItemId,
    /// Higher is nearer, as [`Metric`] defines it.
    pub score: f32,
    pub metadata: Option<Metadata>,
    pub vector: Option<Vec<f32>>,
}

/// A value of a metadata key and how many items have it.
#[derive(Debug, Clone, PartialEq)]
pub struct Facet {
    pub value: Scalar,
    pub count: u64,
}

/// An engine: the catalogue of its collections.
#[async_trait]
pub trait IndexEngine: Send + Sync {
    /// Makes a collection: `true` if it is new, `false` if one with the same spec is there already. One of the same
    /// name with another spec is `already_exists`.
    async fn create(&self, spec: CollectionSpec) -> Result<bool>;

    /// The collection of this name, or `collection_not_found`.
    async fn open(&self, name: &CollectionName) -> Result<Arc<dyn Collection>>;

    /// Every collection, by name.
    async fn list(&self) -> Result<Vec<CollectionInfo>>;

    /// Removes a collection with its items, or `collection_not_found`. Returns the images its items named, unless the
    /// engine has a deletion queue: then they are in there.
    async fn drop_collection(&self, name: &CollectionName) -> Result<Vec<ImageRef>>;

    /// The images that are to be deleted from the store; none if the engine keeps no such queue, and whoever writes has
    /// to delete what writes let go of.
    fn deletion_queue(&self) -> Option<Arc<dyn DeletionQueue>>;

    /// Begins a new collection that nobody can open until it is finished, or `already_exists`.
    async fn begin_import(&self, spec: CollectionSpec) -> Result<Box<dyn Import>>;

    /// Whether the engine could answer when that was found out last; the error says why not. It waits for nothing.
    fn readiness(&self) -> Result<(), String>;

    /// Finds out whether the engine can answer now, and publishes it; the error says why not.
    async fn probe(&self) -> Result<()>;
}

/// A collection that is being filled from elsewhere, and that only this import sees: it is there as a whole or not at
/// all.
#[async_trait]
pub trait Import: Send + Sync {
    /// Where the items go.
    fn collection(&self) -> Arc<dyn Collection>;

    /// Makes the collection one like any other; `already_exists` if the name was taken meanwhile.
    async fn finish(self: Box<Self>) -> Result<()>;

    /// Removes what has been imported so far. Returns the images its items named, as
    /// [`IndexEngine::drop_collection`] does.
    async fn abandon(self: Box<Self>) -> Result<Vec<ImageRef>>;
}

/// A collection that can be read and written.
pub trait Collection: CollectionRead + CollectionWrite {}

impl<T: CollectionRead + CollectionWrite> Collection for T {}

/// Reads are admitted before they begin: one that cannot be done before the deadline of its handle's [`Bounds`] is
/// `overloaded`, and one that is not done by then is `deadline_exceeded`.
#[async_trait]
pub trait CollectionRead: Send + Sync {
    fn spec(&self) -> &CollectionSpec;

    async fn info(&self) -> Result<CollectionInfo>;

    /// Another handle of the same collection, whose work is bounded by these. A handle that an engine opens has no
    /// deadline and belongs to the foreground.
    fn bounded(&self, bounds: Bounds) -> Arc<dyn Collection>;

    /// Nearest items, best first.
    async fn search(&self, query: Query) -> Result<Vec<Hit>>;

    /// Several searches side by side, admitted together; each has its own result, in their order.
    async fn search_all(&self, queries: Vec<Query>) -> Result<Vec<Result<Vec<Hit>>>>;

    /// One item, or `item_not_found`.
    async fn get(&self, id: &ItemId) -> Result<StoredItem>;

    /// Items after `cursor` that pass the filter, at most `limit` of them.
    async fn page(&self, limit: TopK, cursor: Option<String>, filter: Option<Filter>) -> Result<Page>;

    /// Every item if there are no more than `limit`, else `limit` different ones drawn without preference. Without
    /// metadata, they come empty.
    async fn sample(&self, limit: usize, with_metadata: bool) -> Result<Vec<StoredItem>>;

    /// How many items pass the filter.
    async fn count(&self, filter: Option<Filter>) -> Result<u64>;

    /// The values at a key of the items that pass the filter, as [`FieldPath::values`] finds them, at most `limit`.
    /// An item counts once for each of its different values. The most frequent come first, of equal counts the lesser
    /// value; texts of more than 64 bytes may stand in any order among those of their count.
    async fn facets(&self, key: &FieldPath, filter: Option<Filter>, limit: TopK) -> Result<Vec<Facet>>;
}

/// Writes are durable when they return, visible to the next search, and run to their end even if the caller goes. One
/// too many, or one whose turn cannot come before the deadline of its handle's [`Bounds`], is `overloaded` before
/// anything of it is stored.
///
/// A write that fails has changed nothing, with one exception: after `unavailable` it may have arrived all the same,
/// as when the disk fails while it is written. Whatever the rows of the write may name has to be kept then.
#[async_trait]
pub trait CollectionWrite: Send + Sync {
    /// Adds or replaces, all or nothing; the answers are in the order of the items. The last of two equal ids wins.
    /// The metadata have to pass [`check_indexable`]. After `unavailable` the items may be stored, so their images
    /// must stay.
    async fn upsert(&self, items: Vec<NewItem>) -> Result<Vec<Written>>;

    /// Merges `patch` into the metadata (a null removes its key), or `item_not_found`. Returns the merged metadata,
    /// which [`check_metadata`](crate::domain::check_metadata) must allow with `max_bytes`, and [`check_indexable`].
    async fn patch(&self, id: &ItemId, patch: Metadata, max_bytes: usize) -> Result<Metadata>;

    /// Deletes what is there of these ids; returns the deleted items' ids and images.
    async fn delete(&self, ids: Vec<ItemId>) -> Result<Deleted>;

    /// Deletes all items that pass the filter.
    async fn delete_matching(&self, filter: Filter) -> Result<Deleted>;
}

/// What a deletion removed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Deleted {
    pub count: u64,
    /// Images that nothing refers to any more. The deletion queue has them, if the engine has one.
    pub orphans: Vec<ImageRef>,
}
