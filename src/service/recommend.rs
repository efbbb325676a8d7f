//! From liked and disliked examples to the one vector that is searched for.

use futures_util::future::try_join_all;

use super::Service;
use crate::{
    domain::{Condition, Embedding, Filter, ItemId, Metric},
    error::{Error, Result},
    index::{Collection, CollectionSpec},
};

/// What is liked or not: an item of the collection, or a vector.
#[derive(Debug, Clone, PartialEq)]
pub enum Example {
    Id(ItemId),
    Vector(Vec<f32>),
}

/// What the found items should be near to and far from.
#[derive(Debug, Clone, Default)]
pub struct Examples {
    /// At least one.
    pub positive: Vec<Example>,
    pub negative: Vec<Example>,
}

impl Examples {
    /// The filter that also leaves out the items named as examples.
    pub(super) fn excluded_by(&self, filter: Option<Filter>) -> Option<Filter> {
        let named = self.positive.iter().chain(&self.negative);
        let ids: Vec<ItemId> = named
            .filter_map(|example| match example {
                Example::Id(id) => Some(id.clone()),
                Example::Vector(_) => None,
            })
            .collect();
        if ids.is_empty() {
            return filter;
        }
        let mut filter = filter.unwrap_or_default();
        filter.must_not.push(Condition::HasId(ids));
        Some(filter)
    }
}

impl Service {
    /// The mean of the positive examples, moved away from the mean of the negative ones by their difference:
    /// `p + (p − n)`, or `p` where there are none. This is the strategy `average_vector` of Qdrant's recommendation.
    /// In a cosine collection each example counts with length 1.
    pub(super) async fn average(&self, collection: &dyn Collection, examples: Examples) -> Result<Vec<f32>> {
        let Examples { positive, negative } = examples;
        if positive.is_empty() {
            return Err(Error::invalid_request("a recommendation needs at least one `positive` example"));
        }
        self.check_counts(0, positive.len() + negative.len(), "examples")?;
        let positive = mean(&vectors(collection, positive).await?);
        let Some(liked) = positive else { return Err(Error::internal("the mean of no examples")) };
        let Some(disliked) = mean(&vectors(collection, negative).await?) else { return Ok(single(&liked)) };
        let moved: Vec<f64> = liked.iter().zip(&disliked).map(|(liked, disliked)| 2.0 * liked - disliked).collect();
        let vector = single(&moved);
        if collection.spec().metric == Metric::Cosine && vector.iter().all(|value| *value == 0.0) {
            return Err(Error::invalid_request(
                "the examples cancel each other out, and what is left has no direction; name other ones",
            ));
        }
        Ok(vector)
    }
}

async fn vectors(collection: &dyn Collection, examples: Vec<Example>) -> Result<Vec<Vec<f32>>> {
    let vector = async |example| match example {
        Example::Id(id) => Ok(collection.get(&id).await?.vector),
        Example::Vector(values) => as_stored(collection.spec(), values),
    };
    try_join_all(examples.into_iter().map(vector)).await
}

/// A vector of the caller's as the collection would keep it.
fn as_stored(spec: &CollectionSpec, values: Vec<f32>) -> Result<Vec<f32>> {
    let vector = Embedding::of_dimension(values, spec.dimension)?;
    Ok(if spec.metric == Metric::Cosine { vector.normalized() } else { vector }.into_vec())
}

/// None of none.
fn mean(vectors: &[Vec<f32>]) -> Option<Vec<f64>> {
    let mut sum = vec![0.0; vectors.first()?.len()];
    for vector in vectors {
        sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    let count = vectors.len() as f64;
    Some(sum.into_iter().map(|sum| sum / count).collect())
}

fn single(vector: &[f64]) -> Vec<f32> {
    vector.iter().map(|value| *value as f32).collect()
}
