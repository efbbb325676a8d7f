//! Replicas over a Qdrant cluster: what happens when nodes and replicas fail, provoked and not pretended.
//!
//! What needs no Qdrant always runs: a proxy of ours refuses, breaks off and keeps silent. The rest is ignored unless
//! asked for by `--ignored`: it runs against the nodes that `LATENTD_TEST_QDRANT_URL` names (separated by commas), or
//! starts nodes of its own from the binary that `LATENTD_TEST_QDRANT_BIN` names, and fails without them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "what a test takes for granted is a part of what it proves"
)]

mod failing;
#[path = "../support/files.rs"]
mod files;
mod killing;
mod live;
mod moving;
mod nodes;
mod orphans;
mod proxy;
mod replicas;
#[path = "../support/server.rs"]
mod server;
mod sizing;

use std::time::Duration;

use latentd::{
    domain::{Embedding, Metric},
    index::{CollectionSpec, NewItem, QdrantOptions, StoreMode},
};
use serde_json::json;

const NODES: &str = "LATENTD_TEST_QDRANT_URL";
const BINARY: &str = "LATENTD_TEST_QDRANT_BIN";
const DIMENSION: usize = 16;

/// The value of a variable that the tests which are ignored need.
fn wanted(variable: &str) -> String {
    let value = std::env::var(variable).ok().filter(|value| !value.is_empty());
    value.unwrap_or_else(|| panic!("{variable} is not set"))
}

/// Nodes by their gRPC addresses, and a prefix that no other test has.
fn options(nodes: &[String]) -> QdrantOptions {
    QdrantOptions {
        nodes: nodes.to_vec(),
        prefix: format!("test-{}", uuid::Uuid::new_v4().simple()),
        connect_timeout: Duration::from_millis(500),
        request_timeout: Duration::from_secs(5),
        ..QdrantOptions::default()
    }
}

fn spec(name: &str) -> CollectionSpec {
    CollectionSpec {
        name: name.parse().unwrap(),
        model: None,
        space_key: None,
        dimension: DIMENSION,
        metric: Metric::Cosine,
        store: StoreMode::None,
    }
}

fn vector(seed: u64) -> Embedding {
    Embedding::new((0..DIMENSION as u64).map(|at| ((seed * 31 + at * 7) % 97) as f32 + 1.0).collect()).unwrap()
}

fn item(id: &str, seed: u64) -> NewItem {
    let metadata = json!({"seed": seed, "even": seed.is_multiple_of(2)});
    NewItem {
        id: id.parse().unwrap(),
        vector: vector(seed),
        metadata: metadata.as_object().unwrap().clone(),
        image: None,
    }
}
