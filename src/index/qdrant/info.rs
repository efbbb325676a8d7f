//! What is told of a collection.

use futures_util::try_join;
use qdrant_client::qdrant::CountPoints;

use super::{
    collection::QdrantCollection,
    filter::translate,
    payload::{WRITTEN, integer_of},
    physical,
    request::newest,
};
use crate::{domain::Filter, error::Result, index::CollectionInfo};

/// Qdrant builds graphs for segments of more than so many bytes of vectors, unless it is told otherwise.
const REASON_SCAN: &str = "no segment is large enough for Qdrant to have built a graph";

impl QdrantCollection {
    pub(super) async fn count_passing(&self, filter: Option<&Filter>) -> Result<u64> {
        let request = CountPoints {
            collection_name: self.physical(),
            filter: translate(filter),
            exact: Some(true),
            ..CountPoints::default()
        };
        let answer = self.call(|node| {
            let request = request.clone();
            async move { node.points().count(request).await }
        });
        Ok(answer.await?.result.unwrap_or_default().count)
    }

    pub(super) async fn describe(&self) -> Result<CollectionInfo> {
        let described = self.patiently(|| physical::describe(&self.shared, &self.entry.physical));
        let (count, written, info) = try_join!(self.count_passing(None), self.last_written(), described)?;
        let indexed = info.indexed_vectors_count.unwrap_or_default();
        let (form, form_reason) = if indexed == 0 {
            ("scan", REASON_SCAN.to_owned())
        } else {
            ("graph", format!("{indexed} vectors are in graphs that Qdrant has built, the others are scanned"))
        };
        Ok(CollectionInfo {
            spec: self.entry.spec.clone(),
            count,
            engine: "qdrant",
            form,
            form_reason,
            // of one copy of the vectors: Qdrant does not tell what the rest takes
            bytes: count * self.entry.spec.dimension as u64 * 4,
            version: self.version(count, written),
        })
    }

    /// Another one after each write of this process; after those of others it is told by the last stamp or, for
    /// deletions, by the count.
    fn version(&self, count: u64, written: i64) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.entry.physical.as_bytes());
        for number in [self.known.writes(), count, written.cast_unsigned()] {
            hasher.update(&number.to_le_bytes());
        }
        let mut version = [0; 8];
        version.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        u64::from_le_bytes(version)
    }

    /// The stamp of the last write; 0 where nothing is.
    async fn last_written(&self) -> Result<i64> {
        let request = newest(self.physical());
        let answer = self.call(|node| {
            let request = request.clone();
            async move { node.points().scroll(request).await }
        });
        let stamp = answer.await?.result.first().and_then(|point| integer_of(&point.payload, WRITTEN)).unwrap_or(0);
        self.shared.clock.observe(stamp);
        Ok(stamp)
    }
}
