//! The distributed engine: collections live in Qdrant, a replica keeps nothing.
//!
//! - An item's point has the UUIDv5 of its id; the id itself and everything else is in the point's [`payload`].
//! - A collection's name and settings are a point of the [`catalogue`], which names the Qdrant collection that holds
//!   the items. A collection that is made again gets another Qdrant collection, so whoever still holds the old one
//!   writes into nothing, on whichever replica.
//! - Every request goes through [`nodes`], which finds a node that answers.
//!
//! What one replica acknowledges, every other finds: writes return when all replicas of the points that take part
//! have applied them. What replicas keep for themselves are counters and the names of the fields known to be indexed,
//! which only grow while a collection lives.

mod catalogue;
mod clock;
mod collection;
mod cursor;
mod facets;
mod failure;
mod fields;
mod filter;
mod import;
mod info;
mod known;
mod nodes;
mod orphans;
mod pages;
mod payload;
mod physical;
mod request;
mod search;
mod write;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

pub use self::orphans::Orphan;
use self::{catalogue::Entry, clock::Clock, collection::QdrantCollection, known::AllKnown, nodes::Nodes};
use super::{
    Collection, CollectionInfo, CollectionRead as _, CollectionSpec, DeletionQueue, ImageRef, Import, IndexEngine,
    reads::{RemoteReadAdmission, write_limiter},
    rules::{check_dimension, not_found, taken},
};
use crate::{
    admission::Limiter,
    config::{Limits, Secret},
    domain::CollectionName,
    error::{ErrorKind, Result},
    telemetry::Metrics,
};

/// Collections asked about at a time when all are listed.
const LISTED_AT_ONCE: usize = 8;

/// Settings of the distributed engine.
#[derive(Debug, Clone)]
pub struct QdrantOptions {
    /// Addresses of the nodes' gRPC ports, as `http://10.0.0.5:6334`; at least one.
    pub nodes: Vec<String>,
    /// The key that the nodes ask for; empty: none.
    pub api_key: Secret,
    /// What the names of this installation's collections begin with.
    pub prefix: String,
    /// Shards of a new collection; 0: as Qdrant decides.
    pub shard_number: u32,
    /// Copies of each shard of a new collection, and of the catalogue.
    pub replication_factor: u32,
    /// Copies that have to take a write before it is acknowledged.
    pub write_consistency_factor: u32,
    pub connect_timeout: Duration,
    /// For each request by itself.
    pub request_timeout: Duration,
    /// How often a request that failed is made again.
    pub retries: u32,
    /// How long a node that failed is asked only if no other is left.
    pub put_aside: Duration,
    /// Reads of one kind that are not answered yet, at most.
    pub max_reads: u64,
    /// Writes that are not finished, at most.
    pub max_writes: u64,
    pub metrics: Arc<Metrics>,
}

impl Default for QdrantOptions {
    fn default() -> Self {
        Self {
            nodes: vec!["http://127.0.0.1:6334".to_owned()],
            api_key: Secret::default(),
            prefix: "latentd".to_owned(),
            shard_number: 0,
            replication_factor: 1,
            write_consistency_factor: 1,
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(10),
            retries: 3,
            put_aside: Duration::from_secs(5),
            max_reads: Limits::default().index_reads as u64,
            max_writes: Limits::default().index_writes as u64,
            metrics: Arc::default(),
        }
    }
}

/// The engine over a cluster, or one node, of Qdrant.
pub struct QdrantEngine {
    shared: Arc<Shared>,
}

/// What the engine and its collections stand on.
struct Shared {
    nodes: Nodes,
    clock: Clock,
    known: AllKnown,
    reads: RemoteReadAdmission,
    writes: Arc<Limiter>,
    options: QdrantOptions,
}

impl QdrantEngine {
    /// Makes the engine without asking anybody yet, so that a cluster may come later than we do. Needs the async
    /// runtime.
    ///
    /// # Errors
    /// `invalid_request` for an address that is none.
    pub fn connect(options: QdrantOptions) -> Result<Self> {
        let nodes = Nodes::new(&options)?;
        let QdrantOptions { max_reads, max_writes, metrics, .. } = &options;
        let shared = Shared {
            nodes,
            clock: Clock::default(),
            known: AllKnown::default(),
            reads: RemoteReadAdmission::new(*max_reads, metrics),
            // writes to different collections go on at the same time, as many as there are
            writes: write_limiter(*max_writes, *max_writes, metrics),
            options,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    async fn entry(&self, name: &CollectionName) -> Result<Entry> {
        catalogue::find(&self.shared, name).await?.ok_or_else(|| not_found(name))
    }
}

#[async_trait]
impl IndexEngine for QdrantEngine {
    async fn create(&self, spec: CollectionSpec) -> Result<bool> {
        check_dimension(&spec)?;
        let shared = Arc::clone(&self.shared);
        write::to_its_end(async move {
            if let Some(existing) = catalogue::find(&shared, &spec.name).await? {
                return if existing.spec == spec { Ok(false) } else { Err(taken(&spec.name)) };
            }
            let entry = physical::create(&shared, spec).await?;
            let winner = catalogue::enter(&shared, &entry).await?;
            if winner.physical == entry.physical {
                return Ok(true);
            }
            // another replica was first
            physical::drop_collection(&shared, &entry.physical).await?;
            if winner.spec == entry.spec { Ok(false) } else { Err(taken(&entry.spec.name)) }
        })
        .await
    }

    async fn open(&self, name: &CollectionName) -> Result<Arc<dyn Collection>> {
        let entry = self.entry(name).await?;
        Ok(Arc::new(QdrantCollection::new(Arc::clone(&self.shared), entry)))
    }

    async fn list(&self) -> Result<Vec<CollectionInfo>> {
        let entries = catalogue::all(&self.shared).await?;
        let asked = entries.into_iter().map(|entry| async {
            match QdrantCollection::new(Arc::clone(&self.shared), entry).info().await {
                // one that is dropped meanwhile is left out
                Err(error) if error.kind() == ErrorKind::CollectionNotFound => Ok(None),
                info => info.map(Some),
            }
        });
        let found: Vec<_> = stream::iter(asked).buffered(LISTED_AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn drop_collection(&self, name: &CollectionName) -> Result<Vec<ImageRef>> {
        let entry = self.entry(name).await?;
        let shared = Arc::clone(&self.shared);
        write::to_its_end(async move {
            // first, so that nobody opens what is about to go
            catalogue::strike(&shared, &entry).await?;
            physical::drop_with_images(&shared, &entry.physical).await
        })
        .await
    }

    /// Qdrant has no transaction that would hold rows and a queue, so whoever writes deletes.
    fn deletion_queue(&self) -> Option<Arc<dyn DeletionQueue>> {
        None
    }

    async fn begin_import(&self, spec: CollectionSpec) -> Result<Box<dyn Import>> {
        check_dimension(&spec)?;
        Ok(Box::new(import::begin(&self.shared, spec).await?))
    }

    fn readiness(&self) -> Result<(), String> {
        self.shared.nodes.readiness.get()
    }

    async fn probe(&self) -> Result<()> {
        let outcome = catalogue::probe(&self.shared).await;
        self.shared
            .nodes
            .readiness
            .set(outcome.as_ref().map_or_else(|error| Err(error.message().to_owned()), |()| Ok(())));
        outcome
    }
}
