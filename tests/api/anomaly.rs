use serde_json::json;

use crate::{
    harness::{AUTOENCODER, CONTRASTIVE, Server},
    images::{file_of, size_of, uri},
};

#[tokio::test]
async fn scores_are_the_errors_of_the_reconstruction() {
    let server = Server::start().await;
    let body = json!({"model": AUTOENCODER, "images": [uri(1)]});
    let reconstruction = server.post("/v1/reconstruct", body.clone()).await.ok()["data"][0].clone();
    let score = async |query: &str| {
        let list = server.post(&format!("/v1/anomaly{query}"), body.clone()).await.ok();
        let entry = list["data"][0].clone();
        assert!(entry.get("map").is_none());
        (entry["score"].as_f64().unwrap(), entry["metric"].as_str().unwrap().to_owned())
    };
    let mse = reconstruction["mse"].as_f64().unwrap();
    assert_eq!(score("").await, (mse, "mse".to_owned()));
    assert_eq!(score("?metric=mse&map=none").await, (mse, "mse".to_owned()));
    let ssim = reconstruction["ssim"].as_f64().unwrap();
    assert_eq!(score("?metric=ssim").await, (1.0 - ssim, "ssim".to_owned()));
    assert!(score("?metric=l1").await.0 > 0.0);
}

#[tokio::test]
async fn maps_come_in_four_formats() {
    let server = Server::start().await;
    for (map, media, magic) in [
        ("png", "image/png", &b"\x89PNG"[..]),
        ("png16", "image/png", b"\x89PNG"),
        ("overlay", "image/png", b"\x89PNG"),
        ("npy", "application/x-npy", b"\x93NUMPY"),
    ] {
        let body = json!({"model": AUTOENCODER, "images": [uri(1)], "map": map});
        let list = server.post("/v1/anomaly", body.clone()).await.ok();
        let file = file_of(&list["data"][0]["map"], media);
        assert!(file.starts_with(magic), "{map}");
        if media == "image/png" {
            assert_eq!(size_of(&file), (8, 8));
        }
        let bare = server.post_accepting("/v1/anomaly", media, body).await;
        assert_eq!(bare.header("content-type"), media);
        assert_eq!(bare.body, file);
        let shape = bare.headers.get("x-latentd-shape").map(|shape| shape.to_str().unwrap());
        assert_eq!(shape, (map == "npy").then_some("8,8"), "{map}");
        if map == "npy" {
            assert!(String::from_utf8_lossy(&file).contains("'shape': (8, 8, )"));
        }
    }
}

#[tokio::test]
async fn a_bare_map_is_of_the_accepted_type() {
    let server = Server::start().await;
    let body = json!({"model": AUTOENCODER, "images": [uri(1)]});
    assert!(server.post_accepting("/v1/anomaly", "image/png", body.clone()).await.body.starts_with(b"\x89PNG"));
    assert!(server.post_accepting("/v1/anomaly", "application/x-npy", body).await.body.starts_with(b"\x93NUMPY"));
    for (map, accept) in [("npy", "image/png"), ("png", "application/x-npy"), ("none", "image/png")] {
        let body = json!({"model": AUTOENCODER, "images": [uri(1)], "map": map});
        server.post_accepting("/v1/anomaly", accept, body).await.refused(406, "not_acceptable");
    }
}

#[tokio::test]
async fn unknown_metrics_and_maps_are_refused() {
    let server = Server::start().await;
    for query in ["metric=far", "map=jpeg"] {
        let body = json!({"model": AUTOENCODER, "images": [uri(1)]});
        server.post(&format!("/v1/anomaly?{query}"), body).await.refused(400, "invalid_request");
    }
}

#[tokio::test]
async fn a_model_without_a_reconstruction_scores_nothing() {
    let server = Server::start().await;
    let body = json!({"model": CONTRASTIVE, "images": [uri(1)]});
    server.post("/v1/anomaly", body).await.refused(422, "capability_not_supported");
}
