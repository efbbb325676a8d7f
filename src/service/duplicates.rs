//! Items that are all but the same.

use std::sync::Arc;

use super::{Context, Service, background::Computed};
use crate::{
    domain::{CollectionName, Embedding, ItemId, Metric, SpaceKey, TopK},
    error::{Error, ErrorKind, Result},
    index::{Collection, CollectionSpec, Query},
    statistics::Groups,
};

/// Neighbours that are looked at of each item. More copies than that still find each other through those in common.
const NEIGHBOURS: usize = 32;
/// Items of one page.
const PAGE: usize = 1000;
/// The score of a cosine collection from which on items are duplicates, unless the caller says otherwise.
const COSINE: f32 = 0.95;

/// Items that belong together.
pub type DuplicateGroup = crate::statistics::Group<ItemId>;

/// What of a collection's duplicates is asked for.
#[derive(Debug)]
pub struct DuplicatesRequest {
    /// None: 0.95 where scores are cosines, else an error.
    pub min_score: Option<f32>,
    pub space_key: Option<SpaceKey>,
}

/// The groups of a collection.
#[derive(Debug)]
pub struct Duplicates {
    pub min_score: f32,
    /// Items looked at.
    pub count: u64,
    /// The largest first.
    pub groups: Vec<DuplicateGroup>,
}

impl Service {
    /// Groups of items that a chain of scores of at least `min_score` joins. The neighbours of each item come from the
    /// index, so the time grows with the items and not with their pairs; it is spent in the background.
    ///
    /// # Errors
    /// `unavailable`, with a time to ask again, while it is computed for the first time.
    pub async fn duplicates(
        &self,
        ctx: &Context,
        name: &CollectionName,
        request: DuplicatesRequest,
    ) -> Result<(CollectionSpec, Computed<Duplicates>)> {
        let collection = self.open_in_space(name, request.space_key.as_ref()).await?;
        let spec = collection.spec().clone();
        let min_score = match (request.min_score, spec.metric) {
            (Some(score), _) if !score.is_finite() => return Err(Error::invalid_request("min_score is not finite")),
            (Some(score), _) => score,
            (None, Metric::Cosine) => COSINE,
            (None, metric) => {
                let text =
                    format!("`min_score` is missing: scores of the metric {} have no common scale", metric.as_str());
                return Err(Error::invalid_request(text));
            }
        };
        let version = collection.info().await?.version;
        let key = (name.clone(), min_score.to_bits());
        let found = self.duplicates.get(key, version, ctx.deadline, find(collection, min_score)).await?;
        Ok((spec, found))
    }
}

async fn find(collection: Arc<dyn Collection>, min_score: f32) -> Result<Duplicates> {
    let (page, neighbours) = (TopK::new(PAGE)?, TopK::new(NEIGHBOURS)?);
    let mut groups = Groups::default();
    let (mut count, mut cursor) = (0, None);
    loop {
        let items = collection.page(page, cursor, None).await?;
        for item in items.items {
            let stored = match collection.get(&item.id).await {
                // deleted meanwhile
                Err(error) if error.kind() == ErrorKind::ItemNotFound => continue,
                stored => stored?,
            };
            count += 1;
            let vector = Embedding::new(stored.vector)?;
            let query = Query {
                min_score: Some(min_score),
                exclude: Some(item.id.clone()),
                with_metadata: false,
                ..Query::nearest(vector, neighbours)
            };
            for hit in collection.search(query).await? {
                groups.link(&item.id, &hit.id, hit.score);
            }
        }
        cursor = items.cursor;
        if cursor.is_none() {
            return Ok(Duplicates { min_score, count, groups: groups.into_groups() });
        }
    }
}
