use axum::body::Body;

use crate::{
    composed::{Composed, composed},
    harness::{AUTOENCODER, CONTRASTIVE, DENOISER, Home, Server, answer_of, request},
};

#[tokio::test]
async fn models_are_listed_with_what_they_are_and_the_limits() {
    let server = Server::start().await;
    let list = server.get("/v1/models").await.ok();
    assert_eq!(list["object"], "list");
    let names: Vec<&str> = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(names, [AUTOENCODER, CONTRASTIVE, DENOISER]);
    let model = &list["data"][1];
    assert_eq!((&model["object"], &model["owned_by"]), (&"model".into(), &"latentd".into()));
    assert_eq!((&model["state"], &model["family"]), (&"ready".into(), &"contrastive".into()));
    assert_eq!(model["capabilities"], serde_json::json!(["embed"]));
    assert_eq!(model["input"], serde_json::json!({"width": 8, "height": 8, "channels": "rgb"}));
    assert_eq!((&model["preprocess"]["resize"], &model["preprocess"]["edge"]), (&"shortest-edge".into(), &10.into()));
    assert_eq!((&model["embedding"]["normalized"], &model["embedding"]["pooling"]), (&true.into(), &"none".into()));
    assert!(model["embedding"]["dimension"].as_u64().unwrap() > 0);
    assert!(model["space_key"].as_str().unwrap().starts_with("tiny-contrastive@"));
    assert_eq!((&model["device"], &model["provider"]), (&"cpu".into(), &"CPUExecutionProvider".into()));
    assert!(model["created"].as_u64().unwrap() > 1_000_000_000);
    assert_eq!(model["limits"]["images"], 64);
    assert_eq!(model["limits"]["body_bytes"], 32 << 20);
    assert!(model.get("reason").is_none());
}

#[tokio::test]
async fn one_model_is_described_as_in_the_list() {
    let server = Server::start().await;
    let list = server.get("/v1/models").await.ok();
    assert_eq!(server.get(&format!("/v1/models/{AUTOENCODER}")).await.ok(), list["data"][0]);
}

#[tokio::test]
async fn a_model_that_gives_images_only_has_no_embedding() {
    let server = Server::start().await;
    let model = server.get(&format!("/v1/models/{DENOISER}")).await.ok();
    assert!(model["embedding"].is_null());
    assert!(model["capabilities"].as_array().unwrap().contains(&"denoise".into()));
}

#[tokio::test]
async fn a_failed_model_is_listed_with_its_reason_and_the_others_serve() {
    let server = Server::with(&[CONTRASTIVE, "missing-role"], |_| ()).await;
    let failed = server.get("/v1/models/missing-role").await.ok();
    assert_eq!(failed["state"], "failed");
    assert!(!failed["reason"].as_str().unwrap().is_empty());
    assert_eq!(server.get(&format!("/v1/models/{CONTRASTIVE}")).await.ok()["state"], "ready");
    assert_eq!(server.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn a_model_whose_folder_breaks_the_rule_for_names_is_listed_with_the_rule() {
    let server = Server::with(&[CONTRASTIVE], |config| {
        let folder = std::path::Path::new(&config.general.models).join("My Model");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("model.toml"), "family = \"encoder\"\n").unwrap();
    })
    .await;
    let list = server.get("/v1/models").await.ok();
    let failed = &list["data"][0];
    assert_eq!((&failed["id"], &failed["state"]), (&"My Model".into(), &"failed".into()));
    assert!(failed["reason"].as_str().unwrap().contains("1 to 64 characters of a-z"), "{failed}");
    assert_eq!(list["data"][1]["state"], "ready");
}

#[tokio::test]
async fn a_loading_or_failed_model_is_listed_with_what_its_files_tell() {
    let home = Home::with(&[CONTRASTIVE, "not-onnx", "unknown-key"]);
    let Composed { router, models, .. } = composed(&home);
    let get = async |path: &str| answer_of(router.clone(), request("GET", path, &[], Body::empty())).await;
    let describe = async |name: &str| get(&format!("/v1/models/{name}")).await.ok();
    let loading = describe(CONTRASTIVE).await;
    assert_eq!(loading["state"], "loading");
    assert_eq!(loading["embedding"], serde_json::json!({"normalized": true, "pooling": "none"}));
    assert!(["space_key", "device", "provider"].iter().all(|key| loading.get(key).is_none()), "{loading}");
    assert_eq!(get("/v1/models").await.ok()["data"][1], loading);
    assert_eq!(describe("unknown-key").await["state"], "loading");
    assert!(get("/readyz").await.refused(503, "unavailable").contains("not ready"));

    models.load_all();
    let ready = describe(CONTRASTIVE).await;
    for key in ["family", "description", "license", "capabilities", "input", "preprocess", "created", "limits"] {
        assert_eq!((key, loading.get(key)), (key, ready.get(key)));
        assert!(loading.get(key).is_some(), "{key}");
    }
    assert!(ready["space_key"].is_string() && ready["embedding"]["dimension"].is_u64(), "{ready}");
    let failed = describe("not-onnx").await;
    assert_eq!((&failed["state"], failed["family"].is_string()), (&"failed".into(), true));
    let unreadable = describe("unknown-key").await;
    assert_eq!((&unreadable["state"], unreadable.get("family")), (&"failed".into(), None));
    models.shutdown();
}

#[tokio::test]
async fn an_unknown_model_is_not_found() {
    let server = Server::start().await;
    assert!(server.get("/v1/models/none").await.refused(404, "model_not_found").contains("none"));
}
