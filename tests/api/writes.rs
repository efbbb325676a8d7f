//! What a write does to its neighbours, to its images, and to the next start.

use std::time::Duration;

use axum::body::Body;
use serde_json::{Value, json};

use crate::{
    files::files_below,
    harness::{CONTRASTIVE, Server, request},
    images::uri,
};

fn nested(levels: usize) -> String {
    format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels))
}

#[tokio::test]
async fn a_vector_without_a_direction_fails_alone_in_a_cosine_collection() {
    let server = Server::start().await;
    server.put("/v1/collections/v", json!({"dimension": 2})).await;
    let items = json!({"items": [{"id": "z", "vector": [0, 0]}, {"id": "g", "vector": [1, 0]}]});
    let answer = server.post("/v1/collections/v/items", items).await.ok();
    assert_eq!(answer["data"], json!([{"index": 1, "id": "g", "created": true}]));
    assert_eq!((&answer["errors"][0]["index"], &answer["errors"][0]["code"]), (&json!(0), &json!("invalid_request")));
    server.put("/v1/collections/e", json!({"dimension": 2, "metric": "euclid"})).await;
    let zero = json!({"items": [{"id": "z", "vector": [0, 0]}]});
    assert_eq!(server.post("/v1/collections/e/items", zero).await.ok()["errors"], json!([]));
}

#[tokio::test]
async fn an_image_for_a_collection_without_a_model_fails_alone() {
    let server = Server::start().await;
    server.put("/v1/collections/v", json!({"dimension": 2})).await;
    let items = json!({"items": [{"id": "p", "image": uri(1)}, {"id": "g", "vector": [1, 0]}]});
    let answer = server.post("/v1/collections/v/items", items).await.ok();
    assert_eq!(answer["data"][0]["id"], "g");
    assert_eq!(answer["errors"][0]["code"], "invalid_request");
}

#[tokio::test]
async fn metadata_that_could_not_be_read_back_are_refused_and_those_at_the_limit_are_read_back() {
    let server = Server::start().await;
    server.put("/v1/collections/v", json!({"dimension": 1})).await;
    let path = "/v1/collections/v/items";
    for levels in [64, 65, 110] {
        let metadata: Value = serde_json::from_str(&nested(levels)).unwrap();
        let items = json!({"items": [{"id": levels.to_string(), "vector": [1], "metadata": metadata}]});
        let answer = server.post(path, items).await;
        if levels == 64 {
            answer.ok();
            let kept = server.get(&format!("{path}/64")).await.ok();
            assert_eq!(kept["metadata"], metadata);
        } else {
            answer.refused(400, "invalid_request");
        }
    }
    // text that hides more levels inside a key of the JSON library
    let hidden = json!({"x": {"$serde_json::private::RawValue": nested(120)}});
    let items = json!({"items": [{"id": "hidden", "vector": [1], "metadata": hidden}]});
    assert_eq!(server.post(path, items).await.status, 400);
    assert_eq!(server.get(path).await.ok()["data"].as_array().unwrap().len(), 1);
    let patch = json!({"metadata": serde_json::from_str::<Value>(&nested(65)).unwrap()});
    let patched = server.send_json("PATCH", &format!("{path}/64"), &[], patch).await;
    patched.refused(400, "invalid_request");
}

#[tokio::test]
async fn metadata_with_more_terms_or_longer_keys_than_are_indexed_fail_alone() {
    let server = Server::start().await;
    server.put("/v1/collections/v", json!({"dimension": 1})).await;
    let many: Vec<usize> = (0..2000).collect();
    let items = json!({"items": [
        {"id": "many", "vector": [1], "metadata": {"n": many}},
        {"id": "long", "vector": [1], "metadata": {"k".repeat(300): 1}},
        {"id": "good", "vector": [1], "metadata": {"n": [1, 1, 1]}}
    ]});
    let answer = server.post("/v1/collections/v/items", items).await.ok();
    assert_eq!(answer["data"][0]["id"], "good");
    assert_eq!(answer["errors"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_empty_filter_deletes_nothing() {
    let server = Server::start().await;
    server.put("/v1/collections/v", json!({"dimension": 1})).await;
    server.post("/v1/collections/v/items", json!({"items": [{"id": "a", "vector": [1]}]})).await.ok();
    let path = "/v1/collections/v/items/delete";
    server.post(path, json!({"filter": {}})).await.refused(400, "invalid_request");
    assert_eq!(server.get("/v1/collections/v").await.ok()["count"], 1);
}

#[tokio::test]
async fn a_deletion_that_nobody_waits_for_takes_its_images_along() {
    let server = Server::start().await;
    let body = json!({"model": CONTRASTIVE, "store": "original"});
    server.put("/v1/collections/p", body).await;
    for start in [0, 60] {
        let items: Vec<Value> = (start..start + 60).map(|n| json!({"id": n.to_string(), "image": uri(n)})).collect();
        server.post("/v1/collections/p/items", json!({ "items": items })).await.ok();
    }
    let images = server.data().join("images");
    assert_eq!(files_below(&images), 120);
    let mut deletion = Box::pin(server.send(request("DELETE", "/v1/collections/p", &[], Body::empty())));
    assert!(futures_util::poll!(&mut deletion).is_pending(), "the deletion is under way when the client leaves");
    drop(deletion);
    let gone = async {
        while files_below(&images) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("every image is deleted");
    server.get("/v1/collections/p").await.refused(404, "collection_not_found");
}

#[tokio::test]
async fn a_collection_asked_for_again_in_another_space_tells_which_space_it_has() {
    let server = Server::start().await;
    let spec = |key: &str| json!({"dimension": 2, "space_key": key});
    assert_eq!(server.put("/v1/collections/v", spec("m@0123456789ab")).await.status, 201);
    assert_eq!(server.put("/v1/collections/v", spec("m@0123456789ab")).await.status, 200);
    let text = server.put("/v1/collections/v", spec("m@ba9876543210")).await.refused(409, "space_mismatch");
    assert!(text.contains("m@0123456789ab"), "{text}");
    server.put("/v1/collections/v", json!({"dimension": 3})).await.refused(409, "already_exists");
}
