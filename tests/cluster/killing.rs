//! A node of three dies by `kill -9` while items are written and searched: nothing acknowledged may be lost, and no
//! search may fail.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use latentd::{
    domain::TopK,
    error::ErrorKind,
    index::{Collection, IndexEngine as _, QdrantEngine, QdrantOptions, Query},
};

use crate::{BINARY, item, nodes::Cluster, options, spec, vector, wanted};

const WRITERS: u64 = 4;
const SEARCHERS: u64 = 2;
const BATCH: u64 = 16;
/// How long all goes well, and how long it goes on after the kill.
const BEFORE: Duration = Duration::from_secs(4);
const AFTER: Duration = Duration::from_secs(12);

#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    searches: AtomicU64,
    failed_searches: AtomicU64,
    slowest_search_ms: AtomicU64,
    failed_writes: AtomicU64,
    slowest_write_ms: AtomicU64,
}

fn millis(began: Instant) -> u64 {
    began.elapsed().as_millis() as u64
}

/// Writes batch after batch; returns the seeds that were acknowledged.
async fn write(collection: Arc<dyn Collection>, tally: Arc<Tally>, writer: u64) -> Vec<u64> {
    let mut acknowledged = Vec::new();
    for batch in 0.. {
        let seeds = (0..BATCH).map(|at| (batch * BATCH + at) * WRITERS + writer);
        let items: Vec<_> = seeds.clone().map(|seed| item(&format!("i{seed}"), seed)).collect();
        while !tally.stop.load(Ordering::SeqCst) {
            let began = Instant::now();
            let written = collection.upsert(items.clone()).await;
            tally.slowest_write_ms.fetch_max(millis(began), Ordering::SeqCst);
            match written {
                Ok(_) => {
                    acknowledged.extend(seeds);
                    break;
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
                    eprintln!("a write failed: {}", error.chain());
                    tally.failed_writes.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
        if tally.stop.load(Ordering::SeqCst) {
            break;
        }
    }
    acknowledged
}

async fn search(collection: Arc<dyn Collection>, tally: Arc<Tally>) {
    let mut seed = 0;
    while !tally.stop.load(Ordering::SeqCst) {
        seed += 1;
        let began = Instant::now();
        let found = collection.search(Query::nearest(vector(seed), TopK::new(10).unwrap())).await;
        tally.slowest_search_ms.fetch_max(millis(began), Ordering::SeqCst);
        tally.searches.fetch_add(1, Ordering::SeqCst);
        if let Err(error) = found {
            eprintln!("a search failed: {}", error.chain());
            tally.failed_searches.fetch_add(1, Ordering::SeqCst);
        }
    }
}

async fn lost(collection: &dyn Collection, seeds: &[u64]) -> usize {
    let mut lost = 0;
    for seed in seeds {
        match collection.get(&format!("i{seed}").parse().unwrap()).await {
            Ok(stored) => assert_eq!(stored.metadata["seed"], *seed),
            Err(error) if error.kind() == ErrorKind::ItemNotFound => lost += 1,
            Err(error) => panic!("{}", error.chain()),
        }
    }
    lost
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts nodes of Qdrant: LATENTD_TEST_QDRANT_BIN=…/qdrant"]
async fn a_node_killed_during_writes_and_searches_loses_nothing_acknowledged() {
    let binary = wanted(BINARY);
    let mut cluster = Cluster::start(&binary, 3).await;
    let settings = QdrantOptions { shard_number: 6, replication_factor: 2, ..options(&cluster.urls()) };
    // two replicas of ours, each with connections of its own
    let engines = [QdrantEngine::connect(settings.clone()).unwrap(), QdrantEngine::connect(settings.clone()).unwrap()];
    engines[0].create(spec("c")).await.unwrap();
    let mut collections = Vec::new();
    for engine in &engines {
        collections.push(engine.open(&"c".parse().unwrap()).await.unwrap());
    }
    let tally = Arc::new(Tally::default());
    let of = |number: u64| Arc::clone(&collections[number as usize % 2]);
    let writers: Vec<_> =
        (0..WRITERS).map(|number| tokio::spawn(write(of(number), Arc::clone(&tally), number))).collect();
    let searchers: Vec<_> = (0..SEARCHERS).map(|number| tokio::spawn(search(of(number), Arc::clone(&tally)))).collect();
    tokio::time::sleep(BEFORE).await;
    cluster.nodes[1].kill();
    tokio::time::sleep(AFTER).await;
    tally.stop.store(true, Ordering::SeqCst);
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }
    for searcher in searchers {
        searcher.await.unwrap();
    }
    let read = |number: &AtomicU64| number.load(Ordering::SeqCst);
    let lost_without = lost(collections[0].as_ref(), &acknowledged).await;
    eprintln!(
        "acknowledged {}, lost {lost_without}; writes answered unavailable {}, slowest write {} ms; searches {}, \
         failed {}, slowest {} ms",
        acknowledged.len(),
        read(&tally.failed_writes),
        read(&tally.slowest_write_ms),
        read(&tally.searches),
        read(&tally.failed_searches),
        read(&tally.slowest_search_ms),
    );

    // the node comes back and catches up; then it has to have everything too, also when asked alone
    cluster.nodes[1].start().await;
    let back = QdrantEngine::connect(QdrantOptions { nodes: vec![cluster.nodes[1].url()], ..settings }).unwrap();
    let collection = back.open(&"c".parse().unwrap()).await.unwrap();
    let lost_after = lost(collection.as_ref(), &acknowledged).await;
    eprintln!("after the node came back, asked alone: lost {lost_after}");
    assert!(acknowledged.len() as u64 > WRITERS * BATCH);
    assert_eq!((lost_without, lost_after, read(&tally.failed_searches)), (0, 0, 0));
}
