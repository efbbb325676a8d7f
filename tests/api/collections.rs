use serde_json::json;

use crate::harness::{CONTRASTIVE, DENOISER, Server};

#[tokio::test]
async fn a_collection_is_made_described_listed_and_dropped() {
    let server = Server::start().await;
    assert_eq!(server.get("/v1/collections").await.ok(), json!({"data": []}));
    let made = server.put("/v1/collections/c", json!({"model": CONTRASTIVE, "store": "thumbnail"})).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let made = made.json();
    let model = server.get("/v1/models/tiny-contrastive").await.ok();
    assert_eq!((&made["name"], &made["model"]), (&"c".into(), &CONTRASTIVE.into()));
    assert_eq!((&made["space_key"], &made["dimension"]), (&model["space_key"], &model["embedding"]["dimension"]));
    assert_eq!((&made["metric"], &made["store"]), (&"cosine".into(), &"thumbnail".into()));
    assert_eq!((&made["count"], &made["engine"], &made["form"]), (&0.into(), &"embedded".into(), &"scan".into()));
    assert!(made["bytes"].is_u64());
    assert_eq!(server.get("/v1/collections/c").await.ok()["name"], "c");
    assert_eq!(server.get("/v1/collections").await.ok()["data"].as_array().unwrap().len(), 1);
    let dropped = server.delete("/v1/collections/c").await;
    assert_eq!((dropped.status, dropped.body.len()), (204, 0));
    server.get("/v1/collections/c").await.refused(404, "collection_not_found");
    server.delete("/v1/collections/c").await.refused(404, "collection_not_found");
}

#[tokio::test]
async fn the_same_collection_again_is_200_and_another_of_its_name_is_taken() {
    let server = Server::start().await;
    let body = json!({"model": CONTRASTIVE, "metric": "dot"});
    assert_eq!(server.put("/v1/collections/c", body.clone()).await.status, 201);
    assert_eq!(server.put("/v1/collections/c", body.clone()).await.status, 200);
    assert_eq!(server.put("/v1/collections/c?metric=dot", json!({"model": CONTRASTIVE})).await.status, 200);
    let other = json!({"model": CONTRASTIVE, "metric": "cosine"});
    server.put("/v1/collections/c", other).await.refused(409, "already_exists");
    let detail = server.put("/v1/collections/c", json!({"dimension": 3})).await.refused(409, "already_exists");
    assert!(detail.contains("its dimension is 16, not 3") && !detail.contains("its store"), "{detail}");
}

#[tokio::test]
async fn a_collection_by_dimension_has_no_model_and_no_key() {
    let server = Server::start().await;
    let made = server.put("/v1/collections/c", json!({"dimension": 3, "metric": "euclid"})).await.json();
    assert!(made["model"].is_null() && made["space_key"].is_null());
    assert_eq!((&made["dimension"], &made["metric"]), (&3.into(), &"euclid".into()));
}

#[tokio::test]
async fn settings_that_make_no_collection_are_refused() {
    let server = Server::start().await;
    for (body, status, code) in [
        (json!({}), 400, "invalid_request"),
        (json!({"dimension": 0}), 400, "invalid_request"),
        (json!({"dimension": 3, "store": "original"}), 400, "invalid_request"),
        (json!({"dimension": 3, "metric": "far"}), 400, "invalid_request"),
        (json!({"dimension": 3, "colour": "red"}), 400, "invalid_request"),
        (json!({"dimension": "three"}), 400, "invalid_request"),
        (json!({"model": "none"}), 404, "model_not_found"),
        (json!({"model": DENOISER}), 422, "capability_not_supported"),
        (json!({"model": CONTRASTIVE, "space_key": "other@0123456789ab"}), 409, "space_mismatch"),
        (json!({"model": CONTRASTIVE, "space_key": "not a key"}), 400, "invalid_request"),
    ] {
        server.put("/v1/collections/c", body).await.refused(status, code);
    }
    server.put("/v1/collections/Upper", json!({"dimension": 3})).await.refused(400, "invalid_request");
    assert_eq!(server.get("/v1/collections").await.ok(), json!({"data": []}));
}
