//! What each family serves.

use serde_json::json;

use crate::{harness::Server, pictures::uri};

#[tokio::test]
async fn a_variational_model_embeds_with_its_mean_and_reconstructs_from_it() {
    let server = Server::with(&["tiny-vae"], |_| ()).await;
    let body = json!({"model": "tiny-vae", "images": [uri(1)]});
    let embedded = server.post("/v1/embeddings", body.clone()).await.ok();
    assert_eq!(embedded["data"][0]["embedding"].as_array().unwrap().len(), 4);
    let made = server.post("/v1/reconstruct", body.clone()).await.ok();
    assert!(made["data"][0]["image"].as_str().unwrap().starts_with("data:image/png;base64,"));
    assert!(made["data"][0]["mse"].as_f64().unwrap() > 0.0);
    let scored = server.post("/v1/anomaly", body).await.ok();
    assert_eq!(scored["data"][0]["score"], made["data"][0]["mse"]);
}

#[tokio::test]
async fn a_masked_autoencoder_embeds_and_says_that_it_does_not_reconstruct_here() {
    let server = Server::with(&["tiny-mae"], |_| ()).await;
    let body = json!({"model": "tiny-mae", "images": [uri(1)]});
    let embedded = server.post("/v1/embeddings", body.clone()).await.ok();
    assert_eq!(embedded["data"][0]["embedding"].as_array().unwrap().len(), 6);
    server.post("/v1/reconstruct", body).await.refused(422, "capability_not_supported");
}
