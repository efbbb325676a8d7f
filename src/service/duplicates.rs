//! Items that are all but the same.

use std::sync::Arc;

use super::{
    Context, Service,
    background::{Computed, patience},
};
use crate::{
    compute::CpuPool,
    domain::{CollectionName, Embedding, ItemId, Metric, SpaceKey, TopK},
    error::{Error, ErrorKind, Result},
    index::{Bounds, Collection, CollectionSpec, Query},
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
    /// None: 0.95 where scores are cosines, else an error. It is rounded down, so that neighbouring values share one
    /// result: of cosines to three decimals, of other scores to three significant digits.
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
            (Some(score), metric) => rounded_down(score, metric),
            (None, Metric::Cosine) => COSINE,
            (None, metric) => {
                let text =
                    format!("`min_score` is missing: scores of the metric {} have no common scale", metric.as_str());
                return Err(Error::invalid_request(text));
            }
        };
        let version = collection.info().await?.version;
        let key = (name.clone(), min_score.to_bits());
        let work = find(self.pool(), collection.bounded(Bounds::BACKGROUND), min_score);
        let found = self.duplicates.get(key, version, patience(ctx), work).await?;
        Ok((spec, found))
    }
}

/// A score as results are kept by: not above the one asked for, and one of few, since each of them is minutes of work.
fn rounded_down(score: f32, metric: Metric) -> f32 {
    // from the decimal digits, of which 0.95 has two and its nearest binary number has many
    let Ok(decimal) = score.to_string().parse::<f64>() else { return score };
    let step = match metric {
        Metric::Cosine => 0.001,
        Metric::Dot | Metric::Euclid if decimal == 0.0 => return 0.0,
        Metric::Dot | Metric::Euclid => 10_f64.powi(decimal.abs().log10().floor() as i32 - 2),
    };
    // what is a multiple of the step but for the error of the division stays what it is
    let steps = (decimal / step + 1e-6).floor();
    // a step below 1 is divided by its inverse, which is a whole number: 950 / 1000 is 0.95, 950 × 0.001 may not be
    (if step < 1.0 { steps / (1.0 / step).round() } else { steps * step }) as f32
}

async fn find(pool: Arc<CpuPool>, collection: Arc<dyn Collection>, min_score: f32) -> Result<Duplicates> {
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
            let groups = pool.background(move || groups.into_groups()).await?;
            return Ok(Duplicates { min_score, count, groups });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_rounded_down_to_one_of_few() {
        for (score, expected) in
            [(0.95, 0.95), (0.9509, 0.95), (0.001, 0.001), (1.0, 1.0), (-0.0005, -0.001), (0.0, 0.0), (0.57, 0.57)]
        {
            assert_eq!(rounded_down(score, Metric::Cosine), expected, "{score}");
        }
        for (score, expected) in [
            (-1.0, -1.0),
            (-1.001, -1.01),
            (12345.0, 12300.0),
            (0.012_345, 0.0123),
            (0.0, 0.0),
            (-0.5, -0.5),
            (f32::MAX, 3.4e38),
        ] {
            let rounded = rounded_down(score, Metric::Euclid);
            assert!((rounded - expected).abs() <= expected.abs() * 1e-6, "{score}: {rounded}");
            assert!(rounded <= score && rounded_down(rounded, Metric::Euclid) == rounded, "{score}: {rounded}");
        }
        assert!(rounded_down(f32::MIN_POSITIVE / 8.0, Metric::Dot).is_finite());
    }
}
