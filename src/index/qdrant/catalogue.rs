//! Which collections there are: a Qdrant collection with a point for each, under the UUIDv5 of its name.
//!
//! A point is inserted only where there is none and then read back, so of two replicas that make the same collection
//! at once one wins and both know which.

use std::time::Duration;

use qdrant_client::qdrant::{
    CreateCollection, DeletePoints, DenseVector, Distance, GetPoints, PointStruct, ScrollPoints, UpdateMode,
    UpsertPoints, Vector, VectorParams, Vectors, VectorsConfig, r#match::MatchValue, vector, vectors::VectorsOptions,
    vectors_config,
};

use super::{
    QdrantOptions, Shared,
    failure::Failure,
    filter::must,
    payload::{self, Payload, text, text_of},
    request::{field, has_id, in_order, matching, only, point, uuid_of_text, vectors},
};
use crate::{
    domain::CollectionName,
    error::{Error, Result},
    index::CollectionSpec,
};

const SPEC: &str = "spec";
const PHYSICAL: &str = "collection";
/// Collections in one answer.
const PAGE: u32 = 1000;
/// How long readiness waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often an entry is made again while a node has not heard of the catalogue yet, and how long between.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// A collection of ours: its settings and the Qdrant collection that holds its items.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) spec: CollectionSpec,
    pub(super) physical: String,
}

impl Entry {
    fn of(payload: &Payload) -> Result<Self> {
        let broken = || Error::internal("the catalogue of the index engine has an entry that latentd did not write");
        let spec = text_of(payload, SPEC).ok_or_else(broken)?;
        let spec = serde_json::from_str(spec).map_err(|error| broken().with_source(error))?;
        let physical = text_of(payload, PHYSICAL).ok_or_else(broken)?.to_owned();
        Ok(Self { spec, physical })
    }
}

/// The Qdrant collection of the catalogue.
pub(super) fn name_of(options: &QdrantOptions) -> String {
    format!("{}.catalogue", options.prefix)
}

fn one_entry(options: &QdrantOptions, name: &str) -> GetPoints {
    GetPoints {
        collection_name: name_of(options),
        ids: vec![point(uuid_of_text(name))],
        with_payload: only(&[SPEC, PHYSICAL]),
        with_vectors: vectors(false),
        ..GetPoints::default()
    }
}

/// The entry of that name, if there is one.
pub(super) async fn find(shared: &Shared, name: &CollectionName) -> Result<Option<Entry>> {
    let request = one_entry(&shared.options, name.as_str());
    let found = shared.nodes.call(|node| {
        let request = request.clone();
        async move { node.points().get(request).await }
    });
    match found.await {
        Ok(answer) => answer.result.first().map(|point| Entry::of(&point.payload)).transpose(),
        Err(Failure::NoCollection) => Ok(None),
        Err(failure) => Err(failure.into()),
    }
}

/// Every entry, by name.
pub(super) async fn all(shared: &Shared) -> Result<Vec<Entry>> {
    let (mut entries, mut offset) = (Vec::new(), None);
    loop {
        let request = ScrollPoints {
            collection_name: name_of(&shared.options),
            limit: Some(PAGE),
            offset,
            with_payload: only(&[SPEC, PHYSICAL]),
            with_vectors: vectors(false),
            ..ScrollPoints::default()
        };
        let found = shared.nodes.call(|node| {
            let request = request.clone();
            async move { node.points().scroll(request).await }
        });
        let answer = match found.await {
            Err(Failure::NoCollection) => return Ok(Vec::new()),
            answer => answer?,
        };
        for point in &answer.result {
            entries.push(Entry::of(&point.payload)?);
        }
        offset = answer.next_page_offset;
        if offset.is_none() {
            entries.sort_by(|a: &Entry, b| a.spec.name.cmp(&b.spec.name));
            return Ok(entries);
        }
    }
}

/// Whether the catalogue can be read, which takes a node that answers and a replica of it.
pub(super) async fn probe(shared: &Shared) -> Result<()> {
    let request = one_entry(&shared.options, "");
    let found = shared.nodes.call(|node| {
        let request = request.clone();
        async move { node.points().get(request).await }
    });
    let late = || Error::unavailable("the index does not answer in time");
    match tokio::time::timeout(PATIENCE, found).await.map_err(|_| late())? {
        Ok(_) | Err(Failure::NoCollection) => Ok(()),
        Err(failure) => Err(failure.into()),
    }
}

/// Enters a collection if there is none of its name; returns the one that is there now.
pub(super) async fn enter(shared: &Shared, entry: &Entry) -> Result<Entry> {
    let request = insertion(&shared.options, entry)?;
    let mut tries = 0;
    loop {
        let inserted = shared.nodes.call(|node| {
            let request = request.clone();
            async move { node.points().upsert(request).await }
        });
        match inserted.await {
            Ok(_) => break,
            Err(Failure::NoCollection) if tries < TRIES => {
                make(shared).await?;
                // not every node has heard of it yet
                tokio::time::sleep(PAUSE * u32::from(tries > 0)).await;
                tries += 1;
            }
            Err(failure) => return Err(failure.into()),
        }
    }
    let found = find(shared, &entry.spec.name).await?;
    found.ok_or_else(|| Error::unavailable("the collection was dropped while it was made"))
}

fn insertion(options: &QdrantOptions, entry: &Entry) -> Result<UpsertPoints> {
    let spec = serde_json::to_string(&entry.spec)
        .map_err(|error| Error::internal("settings could not be written as json").with_source(error))?;
    let payload = [
        ("name", text(entry.spec.name.as_str())),
        (SPEC, text(spec)),
        (PHYSICAL, text(&entry.physical)),
        (payload::MARK, text(payload::new_mark())),
    ];
    let dense = vector::Vector::Dense(DenseVector { data: vec![1.0] });
    let vector = Vector { vector: Some(dense), ..Vector::default() };
    let point = PointStruct {
        id: Some(point(uuid_of_text(entry.spec.name.as_str()))),
        payload: payload.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        vectors: Some(Vectors { vectors_options: Some(VectorsOptions::Vector(vector)) }),
    };
    Ok(UpsertPoints {
        collection_name: name_of(options),
        wait: Some(true),
        points: vec![point],
        ordering: in_order(),
        update_mode: Some(UpdateMode::InsertOnly.into()),
        ..UpsertPoints::default()
    })
}

/// Strikes an entry out, unless another collection has taken its name.
pub(super) async fn strike(shared: &Shared, entry: &Entry) -> Result<()> {
    let filter = must(vec![
        has_id(&[uuid_of_text(entry.spec.name.as_str())]),
        field(PHYSICAL.to_owned(), MatchValue::Keyword(entry.physical.clone())),
    ]);
    let request = DeletePoints {
        collection_name: name_of(&shared.options),
        wait: Some(true),
        points: matching(filter),
        ordering: in_order(),
        ..DeletePoints::default()
    };
    let struck = shared.nodes.call(|node| {
        let request = request.clone();
        async move { node.points().delete(request).await }
    });
    match struck.await {
        Ok(_) | Err(Failure::NoCollection) => Ok(()),
        Err(failure) => Err(failure.into()),
    }
}

/// Makes the Qdrant collection of the catalogue. Its points are found by id alone, so their vectors are nothing.
async fn make(shared: &Shared) -> Result<()> {
    let options = &shared.options;
    let params = VectorParams { size: 1, distance: Distance::Dot.into(), ..VectorParams::default() };
    let request = CreateCollection {
        collection_name: name_of(options),
        vectors_config: Some(VectorsConfig { config: Some(vectors_config::Config::Params(params)) }),
        shard_number: Some(1),
        replication_factor: Some(options.replication_factor),
        write_consistency_factor: Some(options.write_consistency_factor),
        ..CreateCollection::default()
    };
    let made = shared.nodes.call(|node| {
        let request = request.clone();
        async move { node.collections().create(request).await }
    });
    match made.await {
        Ok(_) | Err(Failure::Exists) => Ok(()),
        Err(failure) => Err(failure.into()),
    }
}
