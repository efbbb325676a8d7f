//! The Qdrant collections that hold items: making them, indexing their fields, dropping them.

use qdrant_client::qdrant::{
    CreateCollection, CreateFieldIndexCollection, DeleteCollection, Distance, FieldType, GetCollectionInfoRequest,
    IntegerIndexParams, PayloadIndexParams, ScrollPoints, VectorParams, VectorsConfig, payload_index_params,
    vectors_config,
};

use super::{
    Shared,
    catalogue::Entry,
    failure::Failure,
    fields::NUMBERS,
    filter::except,
    payload::{ADDED, IMAGE, MEDIA_TYPE, WRITTEN, image_of, integer, text},
    request::{is_empty, only, vectors},
};
use crate::{
    domain::{Embedding, Metric},
    error::Result,
    index::{CollectionSpec, ImageRef},
};

/// What a Qdrant collection says of itself, also to who looks at the cluster with other tools: the name it was made for,
/// and the stamp of when.
pub(super) const MADE_FOR: &str = "latentd";
pub(super) const MADE: &str = "made";
/// Hexadecimal digits that its name ends with.
pub(super) const DRAWN: usize = 12;
/// Images in one answer.
const PAGE: u32 = 1000;

/// Makes the Qdrant collection of a collection that is about to be entered in the catalogue.
pub(super) async fn create(shared: &Shared, spec: CollectionSpec) -> Result<Entry> {
    let options = &shared.options;
    let drawn = uuid::Uuid::new_v4().simple().to_string();
    let physical = format!("{}.{}.{}", options.prefix, spec.name, &drawn[..DRAWN]);
    let entry = Entry { spec, physical };
    let params = VectorParams {
        size: entry.spec.dimension as u64,
        distance: distance(entry.spec.metric).into(),
        ..VectorParams::default()
    };
    let request = CreateCollection {
        collection_name: entry.physical.clone(),
        vectors_config: Some(VectorsConfig { config: Some(vectors_config::Config::Params(params)) }),
        shard_number: Some(options.shard_number).filter(|&number| number > 0),
        replication_factor: Some(options.replication_factor),
        write_consistency_factor: Some(options.write_consistency_factor),
        metadata: [
            (MADE_FOR.to_owned(), text(entry.spec.name.as_str())),
            (MADE.to_owned(), integer(shared.clock.take(1))),
        ]
        .into(),
        ..CreateCollection::default()
    };
    let made = shared.nodes.call(|node| {
        let request = request.clone();
        async move { node.collections().create(request).await }
    });
    match made.await {
        // the name was drawn for it, so one that exists is of an attempt whose answer was lost
        Ok(_) | Err(Failure::Exists) => {}
        Err(failure) => return Err(failure.into()),
    }
    let indexed = async {
        for field in [ADDED, WRITTEN] {
            index_field(shared, &entry.physical, field).await?;
        }
        Ok::<_, Failure>(())
    };
    if let Err(failure) = indexed.await {
        // nobody knows of it yet, so nobody would ever drop it
        if let Err(error) = drop_collection(shared, &entry.physical).await {
            tracing::warn!(
                collection = entry.physical,
                cause = error.chain(),
                "a useless collection stays in the index"
            );
        }
        return Err(failure.into());
    }
    Ok(entry)
}

/// Under the cosine, vectors come normalised; Qdrant leaves those as they are.
const fn distance(metric: Metric) -> Distance {
    match metric {
        Metric::Cosine => Distance::Cosine,
        Metric::Dot => Distance::Dot,
        Metric::Euclid => Distance::Euclid,
    }
}

/// A score of Qdrant's as ours, where higher is nearer.
pub(super) fn score(metric: Metric, score: f32) -> f32 {
    match metric {
        Metric::Cosine | Metric::Dot => score,
        Metric::Euclid => -score,
    }
}

/// Lets Qdrant index a field of the payload; one that is indexed already stays so.
pub(super) async fn index_field(shared: &Shared, physical: &str, path: &str) -> Result<(), Failure> {
    let stamps = || {
        let range = IntegerIndexParams { lookup: Some(false), range: Some(true), ..IntegerIndexParams::default() };
        PayloadIndexParams { index_params: Some(payload_index_params::IndexParams::IntegerIndexParams(range)) }
    };
    let (kind, params) = match path {
        ADDED | WRITTEN => (FieldType::Integer, Some(stamps())),
        path if path.starts_with(NUMBERS) => (FieldType::Float, None),
        _ => (FieldType::Keyword, None),
    };
    let request = CreateFieldIndexCollection {
        collection_name: physical.to_owned(),
        wait: Some(true),
        field_name: path.to_owned(),
        field_type: Some(kind.into()),
        field_index_params: params,
        ..CreateFieldIndexCollection::default()
    };
    let made = shared.nodes.call(|node| {
        let request = request.clone();
        async move { node.points().create_field_index(request).await }
    });
    made.await.map(drop)
}

/// What Qdrant says of a collection.
pub(super) async fn describe(
    shared: &Shared,
    physical: &str,
) -> Result<qdrant_client::qdrant::CollectionInfo, Failure> {
    let request = GetCollectionInfoRequest { collection_name: physical.to_owned() };
    let told = shared.nodes.call(|node| {
        let request = request.clone();
        async move { node.collections().get(request).await }
    });
    told.await?.result.ok_or(Failure::NoCollection)
}

/// Drops a Qdrant collection; one that is gone is no error.
pub(super) async fn drop_collection(shared: &Shared, physical: &str) -> Result<()> {
    shared.known.forget(physical);
    let request = DeleteCollection { collection_name: physical.to_owned(), timeout: None };
    let dropped = shared.nodes.call(|node| {
        let request = request.clone();
        async move { node.collections().delete(request).await }
    });
    match dropped.await {
        Ok(_) | Err(Failure::NoCollection) => Ok(()),
        Err(failure) => Err(failure.into()),
    }
}

/// Drops it after reading which images its items name.
pub(super) async fn drop_with_images(shared: &Shared, physical: &str) -> Result<Vec<ImageRef>> {
    let (mut images, mut offset) = (Vec::new(), None);
    loop {
        let request = ScrollPoints {
            collection_name: physical.to_owned(),
            filter: Some(except(None, is_empty(IMAGE))),
            limit: Some(PAGE),
            offset,
            with_payload: only(&[IMAGE, MEDIA_TYPE]),
            with_vectors: vectors(false),
            ..ScrollPoints::default()
        };
        let found = shared.nodes.call(|node| {
            let request = request.clone();
            async move { node.points().scroll(request).await }
        });
        let answer = match found.await {
            // another replica dropped it at the same time, and has its images
            Err(Failure::NoCollection) => return Ok(Vec::new()),
            answer => answer?,
        };
        images.extend(answer.result.iter().filter_map(|point| image_of(&point.payload)));
        offset = answer.next_page_offset;
        if offset.is_none() {
            break;
        }
    }
    drop_collection(shared, physical).await?;
    Ok(images)
}

/// A vector as it can be asked for.
pub(super) fn nearest(vector: &Embedding) -> Option<qdrant_client::qdrant::Query> {
    use qdrant_client::qdrant::{DenseVector, Query, VectorInput, query, vector_input};
    let dense = vector_input::Variant::Dense(DenseVector { data: vector.as_slice().to_vec() });
    Some(Query { variant: Some(query::Variant::Nearest(VectorInput { variant: Some(dense) })) })
}
