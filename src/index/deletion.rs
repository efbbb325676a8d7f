//! Stored images that nothing names any more and that are still to be deleted from the store.

use async_trait::async_trait;

use super::ImageRef;
use crate::error::Result;

/// A queue of such images, which an engine keeps beside its rows.
///
/// The write that takes an image's last name away puts the image into the queue, in the same transaction: so the queue
/// is as durable as the rows, and what is deleted from the store late is never forgotten. One worker takes batches out.
#[async_trait]
pub trait DeletionQueue: Send + Sync {
    /// The next images to delete; none while the queue is empty.
    async fn next(&self) -> Result<Option<DeletionBatch>>;

    /// Takes a batch out of the queue; those of its images that are still in the store go to the end of the queue.
    async fn finish(&self, batch: DeletionBatch, left: Vec<String>) -> Result<()>;

    /// Puts images into the queue that no row ever named.
    async fn add(&self, images: Vec<ImageRef>) -> Result<()>;

    /// Waits until something was put into the queue since the last call ended.
    async fn added(&self);
}

/// Images to delete, as [`DeletionQueue::next`] gives them.
#[derive(Debug)]
pub struct DeletionBatch {
    /// Keys of the object store.
    pub keys: Vec<String>,
    pub(super) place: BatchPlace,
}

/// Where a batch lies in the queue of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BatchPlace {
    /// The entries up to this number.
    Entries { through: u64 },
    /// The items of a dropped collection, up to this key.
    DroppedItems { collection: u32, through: u64 },
}
