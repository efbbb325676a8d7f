//! What an item is, by a vote of its nearest neighbours.

use super::{Context, QueryBy, SearchRequest, Service};
use crate::{
    domain::{CollectionName, FieldPath, Filter, SpaceKey, TopK},
    error::{Error, Result},
    index::Hit,
};

/// One classification.
#[derive(Debug)]
pub struct ClassifyRequest {
    pub by: QueryBy,
    /// Where in their metadata the neighbours have their label.
    pub key: FieldPath,
    /// How many neighbours vote.
    pub k: TopK,
    /// By how much nearer neighbours weigh more: above 0, in the unit of the scores.
    pub temperature: f64,
    pub filter: Option<Filter>,
    pub exact: bool,
    pub space_key: Option<SpaceKey>,
}

/// What came out of the vote.
#[derive(Debug, PartialEq)]
pub struct Classified {
    /// The label of most votes; none if no neighbour has one.
    pub label: Option<String>,
    /// Each label with its share, the most first; they sum to 1.
    pub votes: Vec<(String, f64)>,
    /// All of them, best first, those without a label too.
    pub neighbours: Vec<Hit>,
}

impl Service {
    /// Labels an image, a vector or an item by a weighted vote of its `k` nearest neighbours: the weight of one is
    /// exp(score / temperature), as in Wu et al. 2018, arXiv 1805.01978, with the score of the collection's metric.
    /// An item does not vote about itself.
    pub async fn classify(&self, ctx: &Context, name: &CollectionName, request: ClassifyRequest) -> Result<Classified> {
        let ClassifyRequest { by, key, k, temperature, filter, exact, space_key } = request;
        if !(temperature.is_finite() && temperature > 0.0) {
            return Err(Error::invalid_request(format!("temperature is a number above 0, not {temperature}")));
        }
        let search = SearchRequest {
            by,
            limit: k,
            filter,
            min_score: None,
            exact,
            with_vector: false,
            with_metadata: true,
            exclude_self: true,
            space_key,
        };
        let neighbours = self.search(ctx, name, search).await?.hits;
        let votes = vote(&neighbours, &key, temperature);
        Ok(Classified { label: votes.first().map(|(label, _)| label.clone()), votes, neighbours })
    }
}

/// The shares of the labels, the most first, of equal ones that of the nearer neighbour. A neighbour with several
/// values divides its weight among them; one with none has no part.
fn vote(neighbours: &[Hit], key: &FieldPath, temperature: f64) -> Vec<(String, f64)> {
    let labels = |hit: &Hit| hit.metadata.as_ref().map(|metadata| key.values(metadata)).unwrap_or_default();
    let voters: Vec<_> =
        neighbours.iter().map(|hit| (hit, labels(hit))).filter(|(_, values)| !values.is_empty()).collect();
    // taken off every exponent, the best score cancels out of the shares and keeps exp from overflowing
    let best = voters.first().map_or(0.0, |(hit, _)| f64::from(hit.score));
    let mut votes: Vec<(String, f64)> = Vec::new();
    for (hit, values) in voters {
        let weight = ((f64::from(hit.score) - best) / temperature).exp() / values.len() as f64;
        for value in values {
            let label = value.to_string();
            match votes.iter_mut().find(|(known, _)| *known == label) {
                Some((_, sum)) => *sum += weight,
                None => votes.push((label, weight)),
            }
        }
    }
    let total: f64 = votes.iter().map(|(_, weight)| weight).sum();
    votes.iter_mut().for_each(|(_, weight)| *weight /= total);
    votes.sort_by(|a, b| b.1.total_cmp(&a.1));
    votes
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn hit(score: f32, metadata: Value) -> Hit {
        Hit { id: "a".parse().unwrap(), score, metadata: metadata.as_object().cloned(), vector: None }
    }

    fn shares(neighbours: &[Hit], temperature: f64) -> Vec<(String, f64)> {
        vote(neighbours, &"label".parse().unwrap(), temperature)
    }

    #[test]
    fn nearer_neighbours_weigh_more_by_the_exponential_of_their_score() {
        let neighbours = [hit(0.9, json!({"label": "cat"})), hit(0.8, json!({"label": "dog"})), hit(0.8, json!({}))];
        let votes = shares(&neighbours, 0.1);
        let e = 1.0_f64.exp();
        assert_eq!(votes[0].0, "cat");
        assert!((votes[0].1 - e / (e + 1.0)).abs() < 1e-6 && (votes[1].1 - 1.0 / (e + 1.0)).abs() < 1e-6, "{votes:?}");
    }

    #[test]
    fn several_values_divide_a_vote_and_values_of_one_text_are_one_label() {
        let neighbours =
            [hit(1.0, json!({"label": ["a", "b"]})), hit(1.0, json!({"label": 1})), hit(1.0, json!({"label": "1"}))];
        let votes = shares(&neighbours, 1.0);
        let of = |label: &str| votes.iter().find(|(known, _)| known == label).unwrap().1;
        assert!((of("1") - 2.0 / 3.0).abs() < 1e-9 && (of("a") - 1.0 / 6.0).abs() < 1e-9, "{votes:?}");
    }

    #[test]
    fn far_scores_and_small_temperatures_still_sum_to_one() {
        let neighbours = [hit(-1e30, json!({"label": "a"})), hit(-3e38, json!({"label": "b"}))];
        for temperature in [1e-300, 1e-3, 1e300] {
            let votes = shares(&neighbours, temperature);
            assert!((votes.iter().map(|(_, share)| share).sum::<f64>() - 1.0).abs() < 1e-9, "{votes:?}");
            assert_eq!(votes[0].0, "a");
        }
        assert!(shares(&[hit(1.0, json!({}))], 0.1).is_empty());
    }
}
