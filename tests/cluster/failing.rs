//! Nodes that refuse, break off and keep silent: no Qdrant is needed for that.

use std::time::{Duration, Instant};

use latentd::{
    error::{Error, ErrorKind},
    index::{IndexEngine as _, QdrantEngine, QdrantOptions},
};
use serde_json::Value;

use crate::{
    options,
    proxy::{Mode, Proxy, closed},
    server::{Server, client, give_model},
};

fn engine(nodes: &[String]) -> QdrantEngine {
    let hasty = QdrantOptions { request_timeout: Duration::from_millis(300), ..options(nodes) };
    QdrantEngine::connect(hasty).unwrap()
}

async fn failure(engine: &QdrantEngine) -> Error {
    let error = engine.open(&"c".parse().unwrap()).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
    assert_eq!(engine.probe().await.unwrap_err().kind(), ErrorKind::Unavailable);
    error
}

#[tokio::test]
async fn a_node_that_refuses_is_unavailable_and_the_reason_is_told() {
    let node = closed().await;
    let error = failure(&engine(std::slice::from_ref(&node))).await;
    assert!(error.message().contains(&node), "{error}");
    assert!(error.message().to_lowercase().contains("connection refused"), "{error}");
}

#[tokio::test]
async fn a_node_that_breaks_off_is_asked_again_and_then_unavailable() {
    let proxy = Proxy::start(Mode::Reset, None).await;
    failure(&engine(&[proxy.url()])).await;
    assert!(proxy.connections() > 1, "{} connections", proxy.connections());
}

#[tokio::test]
async fn a_node_that_keeps_silent_costs_one_timeout_and_is_not_asked_again() {
    let proxy = Proxy::start(Mode::Silence, None).await;
    let engine = engine(&[proxy.url()]);
    let began = Instant::now();
    let error = engine.open(&"c".parse().unwrap()).await.err().unwrap();
    let took = began.elapsed();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("no answer within 300 ms"), "{error}");
    assert!(took >= Duration::from_millis(300) && took < Duration::from_millis(900), "{took:?}");
}

#[tokio::test]
async fn every_node_is_tried_and_those_that_failed_come_last_the_next_time() {
    let silent = Proxy::start(Mode::Silence, None).await;
    let breaking = Proxy::start(Mode::Reset, None).await;
    let nodes = [silent.url(), breaking.url(), closed().await];
    let hasty = QdrantOptions { request_timeout: Duration::from_millis(300), retries: 2, ..options(&nodes) };
    let engine = QdrantEngine::connect(hasty).unwrap();
    engine.open(&"c".parse().unwrap()).await.err().unwrap();
    assert_eq!((silent.connections(), breaking.connections()), (1, 1), "each node is tried once");

    // a node that none of them is: it is asked first although its turn is last
    let fresh = Proxy::start(Mode::Silence, None).await;
    let nodes = [breaking.url(), closed().await, fresh.url()];
    let hasty = QdrantOptions { request_timeout: Duration::from_millis(300), retries: 1, ..options(&nodes) };
    let engine = QdrantEngine::connect(hasty).unwrap();
    engine.open(&"c".parse().unwrap()).await.err().unwrap();
    assert_eq!(fresh.connections(), 0, "two attempts went to the first two");
    let before = breaking.connections();
    engine.open(&"c".parse().unwrap()).await.err().unwrap();
    assert_eq!(fresh.connections(), 1, "the one that has not failed comes before those put aside");
    assert!(breaking.connections() <= before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_index_is_down_starts_and_says_that_it_is_not_ready() {
    let home = tempfile::tempdir().unwrap();
    give_model(home.path(), "tiny-ae");
    let url = format!("qdrant.url={}", closed().await);
    let server = Server::start(home.path(), &["index.engine=qdrant", &url]);
    let client = client();
    assert_eq!(client.get(format!("{}/livez", server.base)).send().await.unwrap().status(), 200);
    let answer = client.get(format!("{}/readyz", server.base)).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    let body = answer.text().await.unwrap();
    assert!(body.contains("the index is not ready") && body.contains("out of reach"), "{body}");
    let answer = client.get(format!("{}/v1/collections/c", server.base)).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["code"], "unavailable", "{problem}");
    server.kill();
}
