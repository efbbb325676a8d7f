//! What items take, in memory and on the disk, in either engine. Measures as many items as `LATENTD_TEST_SIZING` says;
//! checks nothing, and so is ignored unless asked for.

use std::time::{Duration, Instant};

use latentd::{
    domain::{Embedding, Metric},
    index::{CollectionSpec, EmbeddedEngine, EmbeddedOptions, IndexEngine, NewItem, QdrantEngine, QdrantOptions},
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use crate::{
    BINARY,
    nodes::{Cluster, bytes_under, resident_kilobytes},
    options, spec, wanted,
};

const DIMENSION: usize = 256;
const BATCH: usize = 256;

fn random(draw: &mut ChaCha8Rng) -> Embedding {
    Embedding::new((0..DIMENSION).map(|_| draw.random_range(-1.0..1.0)).collect()).unwrap()
}

/// About 100 bytes of metadata under three keys.
fn items(draw: &mut ChaCha8Rng, first: usize) -> Vec<NewItem> {
    (first..first + BATCH)
        .map(|at| {
            let metadata =
                json!({"label": format!("class-{}", at % 100), "price": at % 1000, "source": "a/image/somewhere.png"});
            NewItem {
                id: format!("item-{at}").parse().unwrap(),
                vector: random(draw),
                metadata: metadata.as_object().unwrap().clone(),
                image: None,
            }
        })
        .collect()
}

async fn fill(engine: &dyn IndexEngine, count: usize) {
    engine.create(CollectionSpec { dimension: DIMENSION, metric: Metric::Cosine, ..spec("c") }).await.unwrap();
    let collection = engine.open(&"c".parse().unwrap()).await.unwrap();
    let mut draw = ChaCha8Rng::seed_from_u64(1);
    let began = Instant::now();
    for first in (0..count).step_by(BATCH) {
        collection.upsert(items(&mut draw, first)).await.unwrap();
    }
    eprintln!("  {:.0} items/s written", count as f64 / began.elapsed().as_secs_f64());
}

fn tell(name: &str, count: usize, kilobytes: u64, bytes: u64) {
    let per = |total: u64| total / count as u64;
    eprintln!("  {name}: {} bytes of memory and {} bytes of disk an item", per(kilobytes * 1024), per(bytes));
}

/// How many items are measured.
fn count() -> usize {
    let count = wanted("LATENTD_TEST_SIZING").parse::<usize>().unwrap().next_multiple_of(BATCH);
    eprintln!("{count} items of {DIMENSION} numbers");
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures: LATENTD_TEST_SIZING=50000"]
async fn what_items_take_in_the_embedded_index() {
    let count = count();
    let home = tempfile::tempdir().unwrap();
    let before = resident_kilobytes(std::process::id());
    let cache = EmbeddedOptions { cache_bytes: 32 << 20, ..EmbeddedOptions::default() };
    let engine = EmbeddedEngine::open(&home.path().join("index"), cache).unwrap();
    fill(&engine, count).await;
    let grown = resident_kilobytes(std::process::id()).saturating_sub(before);
    tell("embedded, scanned, of which 32 MiB are pages", count, grown, bytes_under(home.path()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, with a node of Qdrant: LATENTD_TEST_SIZING=50000 LATENTD_TEST_QDRANT_BIN=…/qdrant"]
async fn what_items_take_in_qdrant() {
    let count = count();
    let cluster = Cluster::start(&wanted(BINARY), 1).await;
    let empty = cluster.nodes[0].size();
    let settings = QdrantOptions { request_timeout: Duration::from_secs(60), ..options(&cluster.urls()) };
    let engine = QdrantEngine::connect(settings).unwrap();
    fill(&engine, count).await;
    let size = cluster.nodes[0].size();
    tell("qdrant, just written", count, size.0.saturating_sub(empty.0), size.1.saturating_sub(empty.1));
    let collection = engine.open(&"c".parse().unwrap()).await.unwrap();
    let (began, mut last) = (Instant::now(), String::new());
    // until Qdrant has built what it builds
    while began.elapsed() < Duration::from_secs(120) {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let info = collection.info().await.unwrap();
        if info.form_reason == last {
            break;
        }
        last = info.form_reason;
    }
    eprintln!("  {last}");
    let size = cluster.nodes[0].size();
    tell("qdrant, settled", count, size.0.saturating_sub(empty.0), size.1.saturating_sub(empty.1));
}
