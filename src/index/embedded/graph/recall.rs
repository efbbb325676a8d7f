//! How much of the exact answer the graph finds, told from a few searches.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::{
    domain::{Embedding, TopK},
    error::Result,
    index::embedded::{
        core::Core,
        plan::{Ask, Plan, answer},
    },
};

/// Nearest items that each search asks for.
const NEAREST: usize = 10;
/// Stored vectors that are searched for; about as many recent queries join them.
const STORED: usize = 8;
/// Below this, the log warns.
pub(super) const LOW: f64 = 0.9;

/// The share of the nearest items that the graph finds, over recent queries and stored vectors; none if no graph
/// answers or there is nothing to ask.
pub(super) fn sample(core: &Core) -> Result<Option<f64>> {
    let view = core.view(None)?;
    if view.graph.is_none() {
        return Ok(None);
    }
    let mut queries: Vec<(Embedding, Option<u64>)> =
        core.recent_queries().into_iter().map(|query| (query, None)).collect();
    let mut random = ChaCha8Rng::seed_from_u64(rand::random());
    for _ in 0..STORED {
        let slot = random.random_range(0..view.slots().max(1));
        if let Some(key) = view.key(slot)
            && let Some(vector) = core.vector(&view.reader, key)?
        {
            queries.push((Embedding::new(vector)?, Some(key)));
        }
    }
    let (mut found, mut expected) = (0, 0);
    for (vector, excluded) in queries {
        let ask = Ask { excluded, ..Ask::new(core.spec.metric, vector, TopK::new(NEAREST)?) };
        let (plan, by_graph) = answer(&view, &ask, Plan::Graph, &core.shared.graph)?;
        if plan != Plan::Graph {
            continue;
        }
        let (_, exact) = answer(&view, &ask, Plan::Scan, &core.shared.graph)?;
        let Some(worst) = exact.last() else { continue };
        // of equal scores, one is as good as the other
        found += by_graph.iter().filter(|item| item.score >= worst.score).count().min(exact.len());
        expected += exact.len();
    }
    Ok((expected > 0).then(|| found as f64 / expected as f64))
}
