//! Failures on the way to nodes that are there.

use std::time::{Duration, Instant};

use latentd::{
    domain::TopK,
    error::ErrorKind,
    index::{Collection, IndexEngine as _, QdrantEngine, Query},
};
use qdrant_client::qdrant::{
    CreateCollection, DeleteCollection, Distance, ListCollectionsRequest, VectorParams, VectorsConfig,
    collections_client::CollectionsClient, vectors_config,
};

use crate::{
    NODES, item, options,
    proxy::{Mode, Proxy, closed},
    spec, vector, wanted,
};

/// The first node, and its host and port.
fn node() -> (String, String) {
    let url = wanted(NODES).split(',').next().unwrap().trim().to_owned();
    let target = url.strip_prefix("http://").unwrap().trim_end_matches('/').to_owned();
    (url, target)
}

async fn collection(engine: &QdrantEngine) -> std::sync::Arc<dyn Collection> {
    engine.create(spec("c")).await.unwrap();
    engine.open(&"c".parse().unwrap()).await.unwrap()
}

async fn write_and_find(collection: &dyn Collection, rounds: u64) {
    for round in 0..rounds {
        collection.upsert(vec![item(&format!("i{round}"), round)]).await.unwrap();
        let hits = collection.search(Query::nearest(vector(round), TopK::new(1).unwrap())).await.unwrap();
        assert!((hits[0].score - 1.0).abs() < 1e-5);
    }
    assert_eq!(collection.count(None).await.unwrap(), rounds);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a live Qdrant: LATENTD_TEST_QDRANT_URL=http://…"]
async fn a_node_that_refuses_is_passed_over() {
    let (url, _) = node();
    let engine = QdrantEngine::connect(options(&[closed().await, url])).unwrap();
    write_and_find(collection(&engine).await.as_ref(), 20).await;
    engine.drop_collection(&"c".parse().unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a live Qdrant: LATENTD_TEST_QDRANT_URL=http://…"]
async fn an_answer_that_breaks_off_is_asked_for_again_and_no_write_is_done_twice() {
    let (url, target) = node();
    let proxy = Proxy::start(Mode::Forward(Duration::ZERO), Some(target)).await;
    let settings = options(&[proxy.url(), url]);
    let breaking = latentd::index::QdrantOptions { put_aside: Duration::ZERO, ..settings.clone() };
    let engine = QdrantEngine::connect(settings).unwrap();
    engine.create(spec("c")).await.unwrap();
    drop(engine);
    // each connection lasts for an answer or two, also in the middle of one
    proxy.set(Mode::CutAfter(700));
    let engine = QdrantEngine::connect(breaking).unwrap();
    let collection = engine.open(&"c".parse().unwrap()).await.unwrap();
    write_and_find(collection.as_ref(), 10).await;
    assert!(proxy.connections() > 2, "{} connections", proxy.connections());
    engine.drop_collection(&"c".parse().unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a live Qdrant: LATENTD_TEST_QDRANT_URL=http://…"]
async fn a_slow_node_costs_one_timeout_and_then_the_other_answers() {
    let (url, target) = node();
    let proxy = Proxy::start(Mode::Forward(Duration::from_secs(2)), Some(target)).await;
    let hasty = latentd::index::QdrantOptions {
        request_timeout: Duration::from_millis(1500),
        put_aside: Duration::from_secs(60),
        ..options(&[proxy.url(), url])
    };
    let engine = QdrantEngine::connect(hasty).unwrap();
    let collection = collection(&engine).await;
    let began = Instant::now();
    for _ in 0..20 {
        collection.count(None).await.unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(2), "the slow node is asked no more: {:?}", began.elapsed());
    engine.drop_collection(&"c".parse().unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a live Qdrant: LATENTD_TEST_QDRANT_URL=http://…"]
async fn a_collection_that_another_tool_made_anew_with_another_dimension_is_an_error_of_ours() {
    let (url, _) = node();
    let options = options(std::slice::from_ref(&url));
    let prefix = options.prefix.clone();
    let engine = QdrantEngine::connect(options).unwrap();
    let collection = collection(&engine).await;
    let mut client = CollectionsClient::connect(url).await.unwrap();
    let all = client.list(ListCollectionsRequest {}).await.unwrap().into_inner().collections;
    let ours = all.into_iter().map(|one| one.name).find(|name| name.starts_with(&format!("{prefix}.c."))).unwrap();
    client.delete(DeleteCollection { collection_name: ours.clone(), timeout: None }).await.unwrap();
    let params = VectorParams { size: 3, distance: Distance::Cosine.into(), ..VectorParams::default() };
    let other = CreateCollection {
        collection_name: ours,
        vectors_config: Some(VectorsConfig { config: Some(vectors_config::Config::Params(params)) }),
        ..CreateCollection::default()
    };
    client.create(other).await.unwrap();
    let error = collection.upsert(vec![item("a", 1)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal, "{}", error.chain());
    assert!(error.chain().contains("imension"), "{}", error.chain());
    engine.drop_collection(&"c".parse().unwrap()).await.unwrap();
}
