//! A collection as points in a plane.

use std::sync::Arc;

use super::{Context, Service, background::Computed};
use crate::{
    domain::{CollectionName, FieldPath, ItemId, Scalar, SpaceKey},
    error::{Error, Result},
    index::{Collection, CollectionSpec, StoredItem},
    statistics::{Moments, project},
};

/// Points of a map, at most; a larger collection is sampled.
pub const MAP_POINTS: usize = 5000;
/// Bytes of vectors that are held to be projected; longer vectors make fewer points.
const SAMPLE_BYTES: usize = 64 << 20;

/// Which map is asked for.
#[derive(Debug)]
pub struct MapRequest {
    /// Where in the metadata the values stand that points come with.
    pub key: Option<FieldPath>,
    pub space_key: Option<SpaceKey>,
}

/// The points of a collection.
#[derive(Debug)]
pub struct CollectionMap {
    /// Items of the collection; more than there are points if they were sampled.
    pub count: u64,
    /// The shares of the variance along x and along y.
    pub explained: [f64; 2],
    pub points: Vec<MapPoint>,
}

#[derive(Debug)]
pub struct MapPoint {
    pub id: ItemId,
    pub x: f64,
    pub y: f64,
    /// The first value at the key.
    pub value: Option<Scalar>,
}

impl Service {
    /// The collection projected on its first two principal components, computed in the background once for each of its
    /// states.
    pub async fn map(
        &self,
        ctx: &Context,
        name: &CollectionName,
        request: MapRequest,
    ) -> Result<(CollectionSpec, Computed<CollectionMap>)> {
        let MapRequest { key, space_key } = request;
        let collection = self.open_in_space(name, space_key.as_ref()).await?;
        let spec = collection.spec().clone();
        let version = collection.info().await?.version;
        let work = draw(collection, key.clone());
        let map = self.maps.get((name.clone(), key), version, ctx.deadline, work).await?;
        Ok((spec, map))
    }
}

async fn draw(collection: Arc<dyn Collection>, key: Option<FieldPath>) -> Result<CollectionMap> {
    let count = collection.info().await?.count;
    let items = collection.sample(fitting(MAP_POINTS, collection.spec().dimension), key.is_some()).await?;
    let dimension = collection.spec().dimension;
    tokio::task::spawn_blocking(move || points(items, dimension, key.as_ref(), count))
        .await
        .map_err(|error| Error::internal("a projection ended early").with_source(error))
}

/// How many vectors of this dimension are held at a time, `most` if they are not too long.
pub(super) fn fitting(most: usize, dimension: usize) -> usize {
    most.min(SAMPLE_BYTES / (4 * dimension.max(1)))
}

fn points(items: Vec<StoredItem>, dimension: usize, key: Option<&FieldPath>, count: u64) -> CollectionMap {
    let vectors: Vec<&[f32]> = items.iter().map(|item| item.vector.as_slice()).collect();
    let plane = project(&vectors, Moments::of(vectors.iter().copied(), dimension).mean());
    let point = |(item, [x, y]): (&StoredItem, [f64; 2])| MapPoint {
        id: item.id.clone(),
        x,
        y,
        value: key.and_then(|key| key.values(&item.metadata).into_iter().next()),
    };
    let points = items.iter().zip(plane.points).map(point).collect();
    CollectionMap { count, explained: plane.explained, points }
}
