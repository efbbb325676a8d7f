//! Filling a new collection from elsewhere: it is entered in the catalogue when it is whole. What an interrupted
//! import leaves is a Qdrant collection that no entry names.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Shared, catalogue, catalogue::Entry, collection::QdrantCollection, physical};
use crate::{
    error::Result,
    index::{Collection, CollectionSpec, ImageRef, Import, rules::in_use},
};

/// A Qdrant collection without an entry.
struct Unfinished {
    shared: Arc<Shared>,
    entry: Entry,
}

/// Begins a new collection, or `already_exists`.
pub(super) async fn begin(shared: &Arc<Shared>, spec: CollectionSpec) -> Result<impl Import + use<>> {
    if catalogue::find(shared, &spec.name).await?.is_some() {
        return Err(in_use(&spec.name));
    }
    let entry = physical::create(shared, spec).await?;
    Ok(Unfinished { shared: Arc::clone(shared), entry })
}

#[async_trait]
impl Import for Unfinished {
    fn collection(&self) -> Arc<dyn Collection> {
        Arc::new(QdrantCollection::new(Arc::clone(&self.shared), self.entry.clone()))
    }

    async fn finish(self: Box<Self>) -> Result<()> {
        let winner = catalogue::enter(&self.shared, &self.entry).await?;
        if winner.physical == self.entry.physical {
            return Ok(());
        }
        physical::drop_with_images(&self.shared, &self.entry.physical).await?;
        Err(in_use(&self.entry.spec.name))
    }

    async fn abandon(self: Box<Self>) -> Result<Vec<ImageRef>> {
        physical::drop_with_images(&self.shared, &self.entry.physical).await
    }
}
