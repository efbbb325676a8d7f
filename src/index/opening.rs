//! An engine that is still being opened: a server listens before it has read its index.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;

use super::{Collection, CollectionInfo, CollectionSpec, DeletionQueue, ImageRef, Import, IndexEngine};
use crate::{
    domain::CollectionName,
    error::{Error, Result},
};

/// When to ask again for an index that is being opened: a few hundred thousand items take about a second.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Answers `unavailable` until there is an engine, and passes everything on to it from then on.
#[derive(Default)]
pub struct OpeningEngine(OnceLock<Arc<dyn IndexEngine>>);

impl OpeningEngine {
    /// Lets everybody find the engine. The first one stays.
    pub fn opened(&self, engine: Arc<dyn IndexEngine>) {
        // there is one opening, and so no second engine
        let _ = self.0.set(engine);
    }

    fn engine(&self) -> Result<&Arc<dyn IndexEngine>> {
        self.0.get().ok_or_else(|| Error::unavailable(OPENING).with_retry_after(ASK_AGAIN))
    }
}

const OPENING: &str = "the index is opening";

#[async_trait]
impl IndexEngine for OpeningEngine {
    async fn create(&self, spec: CollectionSpec) -> Result<bool> {
        self.engine()?.create(spec).await
    }

    async fn open(&self, name: &CollectionName) -> Result<Arc<dyn Collection>> {
        self.engine()?.open(name).await
    }

    async fn list(&self) -> Result<Vec<CollectionInfo>> {
        self.engine()?.list().await
    }

    async fn drop_collection(&self, name: &CollectionName) -> Result<Vec<ImageRef>> {
        self.engine()?.drop_collection(name).await
    }

    fn deletion_queue(&self) -> Option<Arc<dyn DeletionQueue>> {
        self.0.get()?.deletion_queue()
    }

    async fn begin_import(&self, spec: CollectionSpec) -> Result<Box<dyn Import>> {
        self.engine()?.begin_import(spec).await
    }

    fn readiness(&self) -> Result<(), String> {
        self.engine().map_err(|error| error.message().to_owned())?.readiness()
    }

    async fn probe(&self) -> Result<()> {
        self.engine()?.probe().await
    }
}
