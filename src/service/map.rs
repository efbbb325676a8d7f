//! A collection as points in a plane.

use std::{collections::HashMap, sync::Arc};

use super::{
    Context, Service,
    background::{Computed, patience},
};
use crate::{
    compute::{Cancelled, CpuPool, Priority},
    domain::{CollectionName, Condition, FieldPath, Filter, ItemId, MapMethod, Metadata, Scalar, SpaceKey, TopK},
    error::{Error, Result},
    index::{Bounds, Collection, CollectionSpec, StoredItem},
    statistics::{Axes, Moments, Plane, keep_neighbours, project},
};

/// Points of a map unless more are asked for, and vectors that its axes are found from.
const MAP_POINTS: usize = 5000;
/// Points of a map, at most.
const MOST_MAP_POINTS: usize = 200_000;
/// Bytes of vectors that are held to be projected; longer vectors make fewer points.
const SAMPLE_BYTES: usize = 64 << 20;
/// The same for a map of more points than are made unless they are asked for.
const LARGE_SAMPLE_BYTES: usize = 256 << 20;
/// Large maps that are kept at a time.
pub(super) const LARGE_MAPS: usize = 4;
/// The same for t-SNE, which compares every pair of vectors.
const COMPARED_BYTES: usize = 32 << 20;

/// Which map is asked for.
#[derive(Debug)]
pub struct MapRequest {
    pub method: MapMethod,
    /// Where in the metadata the values stand that points come with.
    pub key: Option<FieldPath>,
    /// Points at most; 5,000 unless given.
    pub points: Option<usize>,
    pub space_key: Option<SpaceKey>,
}

/// What tells one map from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct MapSlot {
    pub(super) collection: CollectionName,
    method: MapMethod,
    key: Option<FieldPath>,
    points: usize,
}

/// The points of a collection.
#[derive(Debug)]
pub struct CollectionMap {
    /// Items of the collection; more than there are points if they were sampled.
    pub count: u64,
    /// Points at most, which depends on the dimension; a larger collection is sampled.
    pub most: usize,
    /// The shares of the variance along x and along y; a map of neighbours has none.
    pub explained: Option<[f64; 2]>,
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

/// The points of a map of neighbours, which takes so long that it is computed without regard to any key.
#[derive(Debug)]
pub(super) struct Layout {
    count: u64,
    most: usize,
    points: Vec<(ItemId, [f64; 2])>,
}

impl Service {
    /// The collection in a plane, computed in the background once for each of its states: its first two principal
    /// components, or t-SNE from there.
    ///
    /// # Errors
    /// `unavailable`, with a time to ask again, while it is computed for the first time.
    pub async fn map(
        &self,
        ctx: &Context,
        name: &CollectionName,
        request: MapRequest,
    ) -> Result<(CollectionSpec, Computed<CollectionMap>)> {
        let MapRequest { method, key, points, space_key } = request;
        let points = points.unwrap_or(MAP_POINTS);
        if !(1..=MOST_MAP_POINTS).contains(&points) {
            return Err(Error::invalid_request(format!("`points` is 1 to {MOST_MAP_POINTS}, not {points}")));
        }
        let collection = self.open_in_space(name, space_key.as_ref()).await?;
        let spec = collection.spec().clone();
        let version = collection.info().await?.version;
        let slot = MapSlot { collection: name.clone(), method, key: key.clone(), points };
        let collection = collection.bounded(Bounds::BACKGROUND);
        let maps = if points > MAP_POINTS { &self.large_maps } else { &self.maps };
        let map = match method {
            MapMethod::Pca => {
                maps.get(slot, version, patience(ctx), draw(self.pool(), collection, key, points)).await?
            }
            MapMethod::Tsne => {
                let points = points.min(MAP_POINTS);
                let work = lay_out(self.pool(), Arc::clone(&collection), points);
                let layout = self.layouts.get((name.clone(), points), version, patience(ctx), work).await?;
                let (from, current) = (layout.version, layout.current);
                let map = maps.get(slot, from, patience(ctx), label(layout.value, collection, key)).await?;
                Computed { current: current && map.current, ..map }
            }
        };
        Ok((spec, map))
    }

    /// What changes whenever the map of a collection does.
    pub async fn map_version(&self, name: &CollectionName, space_key: Option<&SpaceKey>) -> Result<u64> {
        Ok(self.open_in_space(name, space_key).await?.info().await?.version)
    }
}

/// The map of principal components. The axes of a large map are found from a sample of it.
async fn draw(
    pool: Arc<CpuPool>,
    collection: Arc<dyn Collection>,
    key: Option<FieldPath>,
    points: usize,
) -> Result<CollectionMap> {
    let count = collection.info().await?.count;
    let dimension = collection.spec().dimension;
    let most =
        if points > MAP_POINTS { within(LARGE_SAMPLE_BYTES, points, dimension) } else { fitting(points, dimension) };
    let items = collection.sample(most, key.is_some()).await?;
    let work = move || {
        let plane = plane_by_sample(&vectors(&items), dimension);
        let point = |(item, [x, y]): (StoredItem, [f64; 2])| MapPoint {
            x,
            y,
            value: key.as_ref().and_then(|key| value(&item.metadata, key)),
            id: item.id,
        };
        let points = items.into_iter().zip(plane.points).map(point).collect();
        CollectionMap { count, most, explained: Some(plane.explained), points }
    };
    pool.background(work).await
}

/// The points of all vectors in the plane of some of them, evenly picked where there are more than [`MAP_POINTS`].
fn plane_by_sample(vectors: &[&[f32]], dimension: usize) -> Plane {
    if vectors.len() <= MAP_POINTS {
        return plane(vectors, dimension);
    }
    let sample: Vec<&[f32]> = vectors.iter().copied().step_by(vectors.len().div_ceil(MAP_POINTS)).collect();
    let (axes, Plane { explained, .. }) = Axes::of(&sample, Moments::of(sample.iter().copied(), dimension).mean());
    Plane { points: vectors.iter().map(|vector| axes.point(vector)).collect(), explained }
}

/// How many vectors of this dimension are held at a time, `most` if they are not too long.
pub(super) fn fitting(most: usize, dimension: usize) -> usize {
    within(SAMPLE_BYTES, most, dimension)
}

fn within(bytes: usize, most: usize, dimension: usize) -> usize {
    most.min(bytes / (4 * dimension.max(1)))
}

fn vectors(items: &[StoredItem]) -> Vec<&[f32]> {
    items.iter().map(|item| item.vector.as_slice()).collect()
}

fn plane(vectors: &[&[f32]], dimension: usize) -> Plane {
    project(vectors, Moments::of(vectors.iter().copied(), dimension).mean())
}

fn value(metadata: &Metadata, key: &FieldPath) -> Option<Scalar> {
    key.values(metadata).into_iter().next()
}

/// The map of neighbours. Its work ends soon after this future is dropped.
async fn lay_out(pool: Arc<CpuPool>, collection: Arc<dyn Collection>, points: usize) -> Result<Layout> {
    let count = collection.info().await?.count;
    let dimension = collection.spec().dimension;
    let most = within(COMPARED_BYTES, points, dimension);
    let items = collection.sample(most, false).await?;
    let work = move |cancelled: &Cancelled| {
        let vectors = vectors(&items);
        let start = plane(&vectors, dimension).points;
        let Some(points) = keep_neighbours(&vectors, &start, || cancelled.is_set())? else {
            return Err(Error::unavailable("nobody waits for the map any more"));
        };
        let points = items.iter().map(|item| item.id.clone()).zip(points).collect();
        Ok(Layout { count, most, points })
    };
    pool.run_with(Priority::Background, work).await?
}

/// Gives the points their values; what has been deleted since has none.
async fn label(layout: Arc<Layout>, collection: Arc<dyn Collection>, key: Option<FieldPath>) -> Result<CollectionMap> {
    let values = match &key {
        Some(key) => values(&layout, collection.as_ref(), key).await?,
        None => HashMap::new(),
    };
    let point = |(id, [x, y]): &(ItemId, [f64; 2])| {
        let value = values.get(id).cloned();
        MapPoint { id: id.clone(), x: *x, y: *y, value }
    };
    let points = layout.points.iter().map(point).collect();
    Ok(CollectionMap { count: layout.count, most: layout.most, explained: None, points })
}

/// The first value at the key of each of the points' items that has one, read as many at a time as a page holds.
async fn values(layout: &Layout, collection: &dyn Collection, key: &FieldPath) -> Result<HashMap<ItemId, Scalar>> {
    let mut values = HashMap::new();
    for points in layout.points.chunks(TopK::MAX) {
        let these = Condition::HasId(points.iter().map(|(id, _)| id.clone()).collect());
        let filter = Filter { must: vec![these], ..Filter::default() };
        let page = collection.page(TopK::new(points.len())?, None, Some(filter)).await?;
        for item in page.items {
            if let Some(value) = value(&item.metadata, key) {
                values.insert(item.id, value);
            }
        }
    }
    Ok(values)
}
