//! Items in an order: pages in that of their addition, samples in that of their points' ids.

use qdrant_client::qdrant::{RetrievedPoint, ScrollPoints};

use super::{
    collection::QdrantCollection,
    cursor::{self, Cursor},
    filter::{except, translate},
    payload::{ADDED, ID, IMAGE, MEDIA_TYPE, METADATA, id_of, image_of, integer_of, metadata_of, vector_of},
    request::{ascending, has_id, only, uuid_of_point, vectors},
};
use crate::{
    domain::{Filter, Metadata, TopK},
    error::{Error, Result},
    index::{Page, PageItem, StoredItem},
};

/// Bytes of vectors in one answer, about.
const ANSWER_BYTES: usize = 8 << 20;
/// Items in one answer.
const ANSWER_ITEMS: usize = 1000;

impl QdrantCollection {
    /// Items are ordered by the stamps of their addition. Those of one process never repeat; of two processes they
    /// may, so the cursor also names which items of its stamp were seen.
    pub(super) async fn page_after(&self, limit: TopK, cursor: Option<String>, filter: Option<Filter>) -> Result<Page> {
        let after = cursor.map(|text| cursor::decode(&self.entry.physical, &text)).transpose()?;
        let mut passing = translate(filter.as_ref());
        if let Some(Cursor { seen, .. }) = &after
            && !seen.is_empty()
        {
            passing = Some(except(passing, has_id(seen)));
        }
        let request = ScrollPoints {
            collection_name: self.physical(),
            filter: passing,
            // one more than asked for tells whether another page follows
            limit: Some(limit.get() as u32 + 1),
            order_by: ascending(ADDED, after.as_ref().map(|cursor| cursor.stamp)),
            with_payload: only(&[ID, METADATA, IMAGE, MEDIA_TYPE, ADDED]),
            with_vectors: vectors(false),
            ..ScrollPoints::default()
        };
        let answer = self.call(|node| {
            let request = request.clone();
            async move { node.points().scroll(request).await }
        });
        let mut found = answer.await?.result;
        let more = found.len() > limit.get();
        found.truncate(limit.get());
        let cursor = if more { Some(cursor::encode(&self.entry.physical, &next(&found, after)?)) } else { None };
        let item = |point: &RetrievedPoint| {
            let (id, metadata) = (id_of(&point.payload)?, metadata_of(&point.payload)?);
            Ok(PageItem { id, metadata, image: image_of(&point.payload) })
        };
        Ok(Page { items: found.iter().map(item).collect::<Result<_>>()?, cursor })
    }

    /// Points come in the order of their ids, which are hashes: the first ones are a sample without preference, and
    /// the same one while nothing changes.
    pub(super) async fn draw(&self, limit: usize, with_metadata: bool) -> Result<Vec<StoredItem>> {
        let at_once = (ANSWER_BYTES / (4 * self.entry.spec.dimension)).clamp(1, ANSWER_ITEMS);
        let (mut items, mut offset) = (Vec::new(), None);
        while items.len() < limit {
            let fields: &[&str] =
                if with_metadata { &[ID, METADATA, IMAGE, MEDIA_TYPE] } else { &[ID, IMAGE, MEDIA_TYPE] };
            let request = ScrollPoints {
                collection_name: self.physical(),
                limit: Some(at_once.min(limit - items.len()) as u32),
                offset,
                with_payload: only(fields),
                with_vectors: vectors(true),
                ..ScrollPoints::default()
            };
            let answer = self.call(|node| {
                let request = request.clone();
                async move { node.points().scroll(request).await }
            });
            let answer = answer.await?;
            for point in answer.result {
                let metadata = if with_metadata { metadata_of(&point.payload)? } else { Metadata::new() };
                let (id, image) = (id_of(&point.payload)?, image_of(&point.payload));
                items.push(StoredItem { id, vector: vector_of(point.vectors)?, metadata, image });
            }
            offset = answer.next_page_offset;
            if offset.is_none() {
                break;
            }
        }
        Ok(items)
    }
}

/// The cursor behind a page.
fn next(page: &[RetrievedPoint], before: Option<Cursor>) -> Result<Cursor> {
    let stamp_of = |point: &RetrievedPoint| integer_of(&point.payload, ADDED);
    let broken = || Error::internal("a point of the index engine has no stamp");
    let stamp = page.last().and_then(stamp_of).ok_or_else(broken)?;
    // of the page before, where it ended at the same stamp
    let mut seen = before.filter(|cursor| cursor.stamp == stamp).map(|cursor| cursor.seen).unwrap_or_default();
    let same = page.iter().rev().take_while(|point| stamp_of(point) == Some(stamp));
    seen.extend(same.filter_map(|point| uuid_of_point(point.id.as_ref())));
    Ok(Cursor { stamp, seen })
}
