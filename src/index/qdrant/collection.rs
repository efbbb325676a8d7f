//! A collection as requests see it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures_util::future::join_all;
use qdrant_client::qdrant::GetPoints;
use tonic::{Response, Status};

use super::{
    Shared, catalogue,
    catalogue::Entry,
    failure::Failure,
    known::Known,
    nodes::Client,
    payload::{ID, IMAGE, MEDIA_TYPE, METADATA, id_of, image_of, metadata_of, vector_of},
    request::{only, point, uuid_of, vectors},
};
use crate::{
    admission::Permit,
    compute::Priority,
    domain::{FieldPath, Filter, ItemId, Metadata, TopK},
    error::{Error, ErrorKind, Result},
    index::{
        Bounds, Collection, CollectionInfo, CollectionRead, CollectionSpec, CollectionWrite, Deleted, Facet, Hit,
        NewItem, Page, Query, StoredItem, Written,
        reads::ReadKind,
        rules::{item_not_found, not_found},
    },
};

/// Waits for a node that has not heard of a collection yet; one that is in step hears of it within milliseconds.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(600),
];

/// A handle of a collection; once it is dropped, by whichever replica, every operation is `collection_not_found`.
#[derive(Clone)]
pub(super) struct QdrantCollection {
    pub(super) shared: Arc<Shared>,
    pub(super) entry: Entry,
    pub(super) known: Arc<Known>,
    pub(super) bounds: Bounds,
}

impl QdrantCollection {
    pub(super) fn new(shared: Arc<Shared>, entry: Entry) -> Self {
        let known = shared.known.of(&entry.physical);
        Self { shared, entry, known, bounds: Bounds::default() }
    }

    /// Does a read, if answers to reads of its kind come in time.
    async fn read<T>(&self, kind: ReadKind, work: impl Future<Output = Result<T>>) -> Result<T> {
        if self.bounds.priority == Priority::Background {
            return self.bounds.limit(work).await;
        }
        let permit = self.shared.reads.admit(kind, 1, self.bounds.latest())?;
        self.admitted(permit, work).await
    }

    /// Does a read that was admitted, and learns how long the answer takes.
    async fn admitted<T>(&self, permit: Permit, work: impl Future<Output = Result<T>>) -> Result<T> {
        let started = Instant::now();
        let outcome = self.bounds.limit(work).await;
        // a read that was given up would have taken as long at least
        if outcome.as_ref().err().is_none_or(|error| error.kind() == ErrorKind::DeadlineExceeded) {
            permit.finish(started.elapsed());
        }
        outcome
    }

    async fn get_item(&self, id: &ItemId) -> Result<StoredItem> {
        let request = GetPoints {
            collection_name: self.physical(),
            ids: vec![point(uuid_of(id))],
            with_payload: only(&[ID, METADATA, IMAGE, MEDIA_TYPE]),
            with_vectors: vectors(true),
            ..GetPoints::default()
        };
        let answer = self.call(|node| {
            let request = request.clone();
            async move { node.points().get(request).await }
        });
        let found = answer.await?.result.into_iter().next();
        let point = found.ok_or_else(|| item_not_found(&self.entry.spec.name, id))?;
        Ok(StoredItem {
            id: id_of(&point.payload)?,
            metadata: metadata_of(&point.payload)?,
            image: image_of(&point.payload),
            vector: vector_of(point.vectors)?,
        })
    }

    /// The name of the Qdrant collection.
    pub(super) fn physical(&self) -> String {
        self.entry.physical.clone()
    }

    /// Makes a request about this collection.
    pub(super) async fn call<T, A>(&self, ask: impl Fn(Client) -> A + Send + Sync) -> Result<T>
    where
        A: Future<Output = std::result::Result<Response<T>, Status>> + Send,
    {
        let ask = &ask;
        self.patiently(move || self.shared.nodes.call(ask)).await
    }

    /// Does work about this collection. A Qdrant collection that is missing although the catalogue has it is one that
    /// a node has not heard of yet, and is waited for.
    pub(super) async fn patiently<T, W>(&self, work: impl Fn() -> W + Send + Sync) -> Result<T>
    where
        W: Future<Output = std::result::Result<T, Failure>> + Send,
    {
        for pause in PAUSES {
            match work().await {
                Err(Failure::NoCollection) => {}
                done => return done.map_err(Error::from),
            }
            self.check_entry().await?;
            tokio::time::sleep(pause).await;
        }
        Err(Error::unavailable("the index does not have the collection that its catalogue names"))
    }

    /// Whether the catalogue still has this very collection, or `collection_not_found`.
    async fn check_entry(&self) -> Result<()> {
        let entry = catalogue::find(&self.shared, &self.entry.spec.name).await?;
        if entry.is_some_and(|entry| entry.physical == self.entry.physical) {
            return Ok(());
        }
        self.shared.known.forget(&self.entry.physical);
        Err(not_found(&self.entry.spec.name))
    }
}

#[async_trait]
impl CollectionRead for QdrantCollection {
    fn spec(&self) -> &CollectionSpec {
        &self.entry.spec
    }

    async fn info(&self) -> Result<CollectionInfo> {
        self.describe().await
    }

    fn bounded(&self, bounds: Bounds) -> Arc<dyn Collection> {
        Arc::new(Self { bounds, ..self.clone() })
    }

    async fn search(&self, query: Query) -> Result<Vec<Hit>> {
        self.read(search_kind(&query), self.nearest(query)).await
    }

    async fn search_all(&self, queries: Vec<Query>) -> Result<Vec<Result<Vec<Hit>>>> {
        if self.bounds.priority == Priority::Background {
            return Ok(join_all(queries.into_iter().map(|query| self.search(query))).await);
        }
        let latest = self.bounds.latest();
        let admit = |query: Query| Ok((self.shared.reads.admit(search_kind(&query), 1, latest)?, query));
        let admitted = queries.into_iter().map(admit).collect::<Result<Vec<_>>>()?;
        let searches = admitted.into_iter().map(|(permit, query)| self.admitted(permit, self.nearest(query)));
        Ok(join_all(searches).await)
    }

    async fn get(&self, id: &ItemId) -> Result<StoredItem> {
        self.read(ReadKind::Get, self.get_item(id)).await
    }

    async fn page(&self, limit: TopK, cursor: Option<String>, filter: Option<Filter>) -> Result<Page> {
        let kind = if filter.is_some() { ReadKind::FilteredPage } else { ReadKind::Page };
        self.read(kind, self.page_after(limit, cursor, filter)).await
    }

    async fn sample(&self, limit: usize, with_metadata: bool) -> Result<Vec<StoredItem>> {
        self.read(ReadKind::Sample, self.draw(limit, with_metadata)).await
    }

    async fn count(&self, filter: Option<Filter>) -> Result<u64> {
        let kind = if filter.is_some() { ReadKind::FilteredCount } else { ReadKind::Count };
        self.read(kind, self.count_passing(filter.as_ref())).await
    }

    async fn facets(&self, key: &FieldPath, filter: Option<Filter>, limit: TopK) -> Result<Vec<Facet>> {
        self.read(ReadKind::Facets, self.count_values(key, filter, limit)).await
    }
}

/// What kind of read a search is for Qdrant, which decides by itself between a scan and its graphs.
fn search_kind(query: &Query) -> ReadKind {
    if query.exact {
        ReadKind::Exact
    } else if query.filter.is_some() {
        ReadKind::FilteredSearch
    } else {
        ReadKind::Graph
    }
}

#[async_trait]
impl CollectionWrite for QdrantCollection {
    async fn upsert(&self, items: Vec<NewItem>) -> Result<Vec<Written>> {
        let collection = self.clone();
        self.in_turn(async move { collection.put(items).await }).await
    }

    async fn patch(&self, id: &ItemId, patch: Metadata, max_bytes: usize) -> Result<Metadata> {
        let (collection, id) = (self.clone(), id.clone());
        self.in_turn(async move { collection.merge(&id, patch, max_bytes).await }).await
    }

    async fn delete(&self, ids: Vec<ItemId>) -> Result<Deleted> {
        let collection = self.clone();
        self.in_turn(async move { collection.remove(&ids).await }).await
    }

    async fn delete_matching(&self, filter: Filter) -> Result<Deleted> {
        let collection = self.clone();
        self.in_turn(async move { collection.remove_matching(&filter).await }).await
    }
}
