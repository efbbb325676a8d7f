//! More searches than the index takes on, and a server that has only just begun to listen.

use futures_util::future::join_all;
use latentd::{
    app::App,
    index::{EmbeddedEngine, EmbeddedOptions},
};
use serde_json::json;

use crate::harness::{CONTRASTIVE, Home, Server, answer_of, request};

#[tokio::test]
async fn an_over_full_index_refuses_a_search_and_an_idle_one_always_admits_it() {
    let server = Server::with(&[CONTRASTIVE], |config| {
        config.index.read_threads = 1;
        config.limits.index_reads = 1;
    })
    .await;
    server.put("/v1/collections/c", json!({"dimension": 2})).await;
    server.post("/v1/collections/c/items", json!({"items": [{"id": "a", "vector": [1.0, 0.0]}]})).await.ok();
    let search = || server.post("/v1/collections/c/search", json!({"vector": [1.0, 0.0], "exact": true}));
    // all of them are begun before the first is answered
    let answers = join_all((0..8).map(|_| search())).await;
    let (served, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert!(!served.is_empty() && !refused.is_empty(), "{} were served", served.len());
    for answer in refused {
        assert!(answer.refused(429, "overloaded").contains("limits.index_reads"));
        let seconds: u64 = answer.header("retry-after").parse().unwrap();
        let millis: u64 = answer.header("retry-after-ms").parse().unwrap();
        assert!(millis >= 1 && seconds == millis.div_ceil(1000), "{seconds} s, {millis} ms");
    }
    for _ in 0..8 {
        search().await.ok();
    }
    let metrics = server.get("/metrics").await.text();
    assert!(metrics.contains(r#"latentd_rejected_total{model="",work="index_read",reason="queue_full"}"#), "{metrics}");
    assert!(metrics.contains("latentd_index_reads 0"), "{metrics}");
}

#[tokio::test]
async fn the_queries_of_a_batch_are_admitted_together() {
    let server = Server::with(&[CONTRASTIVE], |config| config.limits.index_reads = 2).await;
    server.put("/v1/collections/c", json!({"dimension": 2})).await;
    let query = json!({"vector": [1.0, 0.0]});
    let batch = |count: usize| json!({"queries": vec![query.clone(); count]});
    let detail = server.post("/v1/collections/c/search/batch", batch(3)).await.refused(413, "payload_too_large");
    assert!(detail.contains("limits.index_reads"), "{detail}");
    let answer = server.post("/v1/collections/c/search/batch", batch(2)).await.ok();
    assert_eq!(answer["results"], json!([{"data": []}, {"data": []}]));
}

#[tokio::test]
async fn a_server_listens_before_its_index_is_open_and_says_so() {
    let home = Home::with(&[CONTRASTIVE]);
    let mut app = App::build(home.config()).await.unwrap();
    let get = async |router, path: &str| answer_of(router, request("GET", path, &[], axum::body::Body::empty())).await;
    // the task that opens the index has had no turn yet
    let answer = get(app.router(), "/v1/collections").await;
    assert_eq!(answer.refused(503, "unavailable"), "the index is opening");
    assert_eq!(answer.header("retry-after"), "1");
    let ready = get(app.router(), "/readyz").await;
    ready.refused(503, "unavailable");
    assert!(ready.json()["reasons"].to_string().contains("the index is opening"), "{}", ready.text());
    get(app.router(), "/livez").await.ok();
    app.opened().await.unwrap();
    get(app.router(), "/v1/collections").await.ok();
}

#[tokio::test]
async fn a_server_whose_index_cannot_be_opened_ends_with_the_reason() {
    let home = Home::with(&[CONTRASTIVE]);
    let _other = EmbeddedEngine::open(&home.data().join("index"), EmbeddedOptions::default()).unwrap();
    let app = App::build(home.config()).await.unwrap();
    let error = app.run(std::future::pending()).await.unwrap_err();
    assert!(error.message().contains("in use by another process"), "{error}");
}
