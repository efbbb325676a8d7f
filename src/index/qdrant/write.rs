//! How a collection is written.
//!
//! Writes read first: what is replaced may name an image that nothing refers to afterwards. Within a process writes
//! of a collection take turns, so an answer tells what that write did. Between processes they do not: of two that
//! write the same item at once, the last one stays whole, and the image of the other may be left over.

use std::collections::{HashMap, HashSet};

use futures_util::poll;
use qdrant_client::qdrant::{
    DeletePoints, GetPoints, PointStruct, ScrollPoints, SetPayloadPoints, UpdateResult, UpdateStatus, UpsertPoints,
    r#match::MatchValue,
};
use uuid::Uuid;

use super::{
    collection::QdrantCollection,
    fields::Fields,
    filter::{and, must, translate},
    payload::{
        ADDED, IMAGE, MARK, MEDIA_TYPE, METADATA, Payload, Row, WRITTEN, changing, image_of, integer_of, metadata_of,
        new_mark, point as point_of, text_of,
    },
    request::{self, field, has_id, in_order, matching, only, these, uuid_of, uuid_of_point, vectors},
};
use crate::{
    domain::{Embedding, Filter, ItemId, Metadata},
    error::{Error, Result},
    index::{
        Deleted, ImageRef, NewItem, Written,
        rules::{admit_item, item_not_found, patched},
    },
};

/// Bytes of vectors and metadata in one request, about; a node takes 32 MiB.
const REQUEST_BYTES: usize = 8 << 20;
/// Items read or deleted by one request.
const REQUEST_ITEMS: usize = 1000;
/// How often a patch is made again when others write the same item.
const PATCHES: usize = 16;

/// Does work in a task of its own, so that it ends even if its caller goes.
pub(super) async fn to_its_end<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    tokio::spawn(work).await.map_err(|error| Error::internal("a write ended early").with_source(error))?
}

/// An item whose vector fits, with what conditions can name of it.
struct Admitted {
    item: NewItem,
    vector: Embedding,
    fields: Fields,
}

impl Admitted {
    /// About what it takes in a request.
    fn bytes(&self) -> usize {
        let terms: usize = self.fields.terms.values().flatten().map(|text| text.len() + 8).sum();
        self.vector.dimension() * 4 + terms * 4 + 256
    }
}

/// A point and about how many bytes it takes in a request.
type SizedPoint = (PointStruct, usize);

/// What is there of an item.
#[derive(Clone)]
struct There {
    added: i64,
    image: Option<ImageRef>,
}

impl QdrantCollection {
    /// Does a write to its end when its turn comes. Turns are given in the order in which this is polled first.
    pub(super) async fn in_turn<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let permit = self.shared.writes.admit(1, self.bounds.latest())?;
        let mut turn = Box::pin(std::sync::Arc::clone(&self.known.turns).lock_owned());
        let first = poll!(&mut turn);
        to_its_end(async move {
            let _permit = permit;
            let _turn = match first {
                std::task::Poll::Ready(turn) => turn,
                std::task::Poll::Pending => turn.await,
            };
            work.await
        })
        .await
    }

    pub(super) async fn put(&self, items: Vec<NewItem>) -> Result<Vec<Written>> {
        let items: Vec<Admitted> = items.into_iter().map(|item| self.admit(item)).collect::<Result<_>>()?;
        if items.is_empty() {
            return Ok(Vec::new());
        }
        self.index_fields(items.iter().flat_map(|item| item.fields.paths()).collect()).await?;
        let ids: Vec<Uuid> = items.iter().map(|admitted| uuid_of(&admitted.item.id)).collect();
        let there = self.there(&ids).await?;
        let (points, answers) = self.plan(&items, &ids, there)?;
        for chunk in chunks(points) {
            let request = UpsertPoints {
                collection_name: self.physical(),
                wait: Some(true),
                points: chunk,
                ordering: in_order(),
                ..UpsertPoints::default()
            };
            let answer = self.call(|node| {
                let request = request.clone();
                async move { node.points().upsert(request).await }
            });
            done(answer.await?.result)?;
        }
        self.known.count_write();
        Ok(answers)
    }

    fn admit(&self, item: NewItem) -> Result<Admitted> {
        let vector = admit_item(&self.entry.spec, &item.id, item.vector.clone(), &item.metadata)?;
        let fields = Fields::of(&item.metadata);
        Ok(Admitted { item, vector, fields })
    }

    async fn index_fields(&self, paths: HashSet<String>) -> Result<()> {
        self.patiently(|| self.known.index(&self.shared, &self.entry.physical, &paths)).await
    }

    /// The points to write, each id once, with what each of the items is answered.
    fn plan(
        &self,
        items: &[Admitted],
        ids: &[Uuid],
        mut there: HashMap<Uuid, There>,
    ) -> Result<(Vec<SizedPoint>, Vec<Written>)> {
        let first = self.shared.clock.take(items.len());
        let mut answers = Vec::with_capacity(items.len());
        let mut last: HashMap<Uuid, usize> = HashMap::new();
        for (at, (Admitted { item, .. }, id)) in items.iter().zip(ids).enumerate() {
            let before = there.get(id).cloned();
            let kept = item.image.as_ref().map(|image| &image.key);
            let replaced = before.as_ref().and_then(|before| before.image.clone());
            let orphan = replaced.filter(|image| Some(&image.key) != kept);
            answers.push(Written { created: before.is_none(), orphan });
            let added = before.map_or(first + at as i64, |before| before.added);
            there.insert(*id, There { added, image: item.image.clone() });
            last.insert(*id, at);
        }
        // of two equal ids, the first may have ousted an image that the last names again
        for (answer, id) in answers.iter_mut().zip(ids) {
            let kept = there.get(id).and_then(|there| there.image.as_ref()).map(|image| &image.key);
            answer.orphan.take_if(|orphan| Some(&orphan.key) == kept);
        }
        let mut points = Vec::with_capacity(last.len());
        for (at, (admitted, id)) in items.iter().zip(ids).enumerate() {
            if last.get(id) != Some(&at) {
                continue;
            }
            let row = Row {
                id: &admitted.item.id,
                vector: &admitted.vector,
                metadata: &admitted.item.metadata,
                fields: &admitted.fields,
                image: admitted.item.image.as_ref(),
                added: there.get(id).map_or(first, |there| there.added),
                written: first + at as i64,
            };
            points.push((point_of(&row)?, admitted.bytes()));
        }
        Ok((points, answers))
    }

    /// What is there of these items.
    async fn there(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, There>> {
        let mut found = HashMap::new();
        for (id, payload) in self.payloads(ids, &[ADDED, WRITTEN, IMAGE, MEDIA_TYPE]).await? {
            if let Some(written) = integer_of(&payload, WRITTEN) {
                self.shared.clock.observe(written);
            }
            let added = integer_of(&payload, ADDED).unwrap_or_default();
            found.insert(id, There { added, image: image_of(&payload) });
        }
        Ok(found)
    }

    async fn payloads(&self, ids: &[Uuid], fields: &[&str]) -> Result<Vec<(Uuid, Payload)>> {
        let mut found = Vec::new();
        for ids in ids.chunks(REQUEST_ITEMS) {
            let request = GetPoints {
                collection_name: self.physical(),
                ids: ids.iter().map(|id| request::point(*id)).collect(),
                with_payload: only(fields),
                with_vectors: vectors(false),
                ..GetPoints::default()
            };
            let answer = self.call(|node| {
                let request = request.clone();
                async move { node.points().get(request).await }
            });
            let points = answer.await?.result.into_iter();
            found.extend(points.filter_map(|point| Some((uuid_of_point(point.id.as_ref())?, point.payload))));
        }
        Ok(found)
    }

    /// Reads, merges, and writes where nobody has written meanwhile; else begins again.
    pub(super) async fn merge(&self, id: &ItemId, patch: Metadata, max_bytes: usize) -> Result<Metadata> {
        let uuid = uuid_of(id);
        let mut before = self.marked(id, uuid).await?;
        for _ in 0..PATCHES {
            let merged = patched(metadata_of(&before)?, patch.clone(), max_bytes)?;
            let fields = Fields::of(&merged);
            self.index_fields(fields.paths().collect()).await?;
            let mark = new_mark();
            let request = SetPayloadPoints {
                collection_name: self.physical(),
                wait: Some(true),
                payload: changing(&merged, &fields, self.shared.clock.take(1), &mark)?,
                points_selector: matching(must(vec![
                    has_id(&[uuid]),
                    field(MARK.to_owned(), MatchValue::Keyword(text_of(&before, MARK).unwrap_or_default().to_owned())),
                ])),
                ordering: in_order(),
                ..SetPayloadPoints::default()
            };
            let answer = self.call(|node| {
                let request = request.clone();
                async move { node.points().set_payload(request).await }
            });
            done(answer.await?.result)?;
            before = self.marked(id, uuid).await?;
            if text_of(&before, MARK) == Some(mark.as_str()) {
                self.known.count_write();
                return Ok(merged);
            }
        }
        Err(Error::unavailable("others write the same item again and again; try once more"))
    }

    /// The metadata of an item and the mark of its last write.
    async fn marked(&self, id: &ItemId, uuid: Uuid) -> Result<Payload> {
        let found = self.payloads(&[uuid], &[METADATA, WRITTEN, MARK]).await?.pop();
        let (_, payload) = found.ok_or_else(|| item_not_found(&self.entry.spec.name, id))?;
        self.shared.clock.observe(integer_of(&payload, WRITTEN).unwrap_or_default());
        Ok(payload)
    }

    pub(super) async fn remove(&self, ids: &[ItemId]) -> Result<Deleted> {
        let distinct: HashSet<Uuid> = ids.iter().map(uuid_of).collect();
        let there = self.there(&distinct.into_iter().collect::<Vec<_>>()).await?;
        let there: Vec<_> = there.into_iter().map(|(id, there)| (id, there.image)).collect();
        self.delete_chunks(there, None).await
    }

    pub(super) async fn remove_matching(&self, filter: &Filter) -> Result<Deleted> {
        let (mut there, mut offset) = (Vec::new(), None);
        loop {
            let request = ScrollPoints {
                collection_name: self.physical(),
                filter: translate(Some(filter)),
                limit: Some(REQUEST_ITEMS as u32),
                offset,
                with_payload: only(&[IMAGE, MEDIA_TYPE]),
                with_vectors: vectors(false),
                ..ScrollPoints::default()
            };
            let answer = self.call(|node| {
                let request = request.clone();
                async move { node.points().scroll(request).await }
            });
            let answer = answer.await?;
            let found = answer.result.into_iter();
            there.extend(found.filter_map(|point| Some((uuid_of_point(point.id.as_ref())?, image_of(&point.payload)))));
            offset = answer.next_page_offset;
            if offset.is_none() {
                return self.delete_chunks(there, Some(filter)).await;
            }
        }
    }

    /// Deletes these points; with a filter, those that still pass it.
    async fn delete_chunks(&self, points: Vec<(Uuid, Option<ImageRef>)>, filter: Option<&Filter>) -> Result<Deleted> {
        let mut deleted = Deleted::default();
        for chunk in points.chunks(REQUEST_ITEMS) {
            let ids: Vec<Uuid> = chunk.iter().map(|(id, _)| *id).collect();
            let selected = match filter {
                None => these(&ids),
                Some(filter) => matching(and(translate(Some(filter)), has_id(&ids))),
            };
            let request = DeletePoints {
                collection_name: self.physical(),
                wait: Some(true),
                points: selected,
                ordering: in_order(),
                ..DeletePoints::default()
            };
            let answer = self.call(|node| {
                let request = request.clone();
                async move { node.points().delete(request).await }
            });
            done(answer.await?.result)?;
            self.known.count_write();
            deleted.count += chunk.len() as u64;
            deleted.orphans.extend(chunk.iter().filter_map(|(_, image)| image.clone()));
        }
        Ok(deleted)
    }
}

/// Whether a write was applied, and not only noted for later.
fn done(result: Option<UpdateResult>) -> Result<()> {
    let status = result.and_then(|result| UpdateStatus::try_from(result.status).ok());
    if status == Some(UpdateStatus::Completed) {
        return Ok(());
    }
    Err(Error::unavailable(format!("the index took a write without applying it in time ({status:?}); try again")))
}

/// Points in requests that a node takes.
fn chunks(points: Vec<SizedPoint>) -> Vec<Vec<PointStruct>> {
    let mut chunks: Vec<Vec<PointStruct>> = Vec::new();
    let mut room = 0;
    for (point, bytes) in points {
        match chunks.last_mut() {
            Some(chunk) if bytes <= room => {
                room -= bytes;
                chunk.push(point);
            }
            _ => {
                room = REQUEST_BYTES.saturating_sub(bytes);
                chunks.push(vec![point]);
            }
        }
    }
    chunks
}
