use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::{
    harness::{AUTOENCODER, CONTRASTIVE, DENOISER, Server, TOKENS, close, floats},
    images::{data_uri, uri},
};

fn from_bytes(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect()
}

#[tokio::test]
async fn images_become_vectors_of_unit_length_in_their_order() {
    let server = Server::start().await;
    let list = server.post("/v1/embeddings", json!({"model": CONTRASTIVE, "images": [uri(1), uri(2)]})).await.ok();
    assert_eq!((&list["object"], &list["model"]), (&"list".into(), &CONTRASTIVE.into()));
    assert_eq!(list["usage"], json!({"prompt_tokens": 0, "total_tokens": 0}));
    assert_eq!(list["errors"], json!([]));
    assert_eq!(list["space_key"], server.get("/v1/models/tiny-contrastive").await.ok()["space_key"]);
    for (at, entry) in list["data"].as_array().unwrap().iter().enumerate() {
        assert_eq!((&entry["object"], &entry["index"]), (&"embedding".into(), &at.into()));
        let norm: f32 = floats(&entry["embedding"]).iter().map(|value| value * value).sum();
        assert!((norm - 1.0).abs() < 1e-5);
    }
    assert_ne!(list["data"][0]["embedding"], list["data"][1]["embedding"]);
}

#[tokio::test]
async fn binary_answers_hold_the_numbers_of_the_json_one() {
    let server = Server::start().await;
    let body = json!({"model": CONTRASTIVE, "images": [uri(1), uri(2)]});
    let list = server.post("/v1/embeddings", body.clone()).await.ok();
    let expected: Vec<f32> = list["data"].as_array().unwrap().iter().flat_map(|e| floats(&e["embedding"])).collect();
    let shape = format!("2,{}", expected.len() / 2);

    let octets = server.post_accepting("/v1/embeddings", "application/octet-stream", body.clone()).await;
    assert_eq!(octets.header("content-type"), "application/octet-stream");
    assert_eq!(octets.header("x-latentd-shape"), shape);
    assert_eq!(octets.header("x-latentd-space-key"), list["space_key"].as_str().unwrap());
    assert_eq!(from_bytes(&octets.body), expected);

    let npy = server.post_accepting("/v1/embeddings", "application/x-npy", body.clone()).await;
    assert_eq!(npy.header("x-latentd-shape"), shape);
    assert!(npy.body.starts_with(b"\x93NUMPY"));
    assert_eq!(from_bytes(&npy.body[npy.body.len() - octets.body.len()..]), expected);

    let encoded = server.post("/v1/embeddings?encoding_format=base64", body).await.ok();
    let texts = encoded["data"].as_array().unwrap().iter().map(|entry| entry["embedding"].as_str().unwrap());
    let bytes: Vec<u8> = texts.flat_map(|text| STANDARD.decode(text).unwrap()).collect();
    assert_eq!(from_bytes(&bytes), expected);
}

#[tokio::test]
async fn a_binary_answer_fails_with_its_first_bad_image() {
    let server = Server::start().await;
    let body = json!({"model": CONTRASTIVE, "images": [uri(1), data_uri(b"text")]});
    let answer = server.post_accepting("/v1/embeddings", "application/octet-stream", body).await;
    answer.refused(422, "invalid_image");
}

#[tokio::test]
async fn options_change_the_vectors_and_their_key() {
    let server = Server::start().await;
    let body = json!({"model": CONTRASTIVE, "images": [uri(1)]});
    let plain = server.post("/v1/embeddings", body.clone()).await.ok();
    let base = plain["space_key"].as_str().unwrap();
    let whole = floats(&plain["data"][0]["embedding"]);

    let cut = server.post("/v1/embeddings?dimensions=2", body.clone()).await.ok();
    assert_eq!(cut["space_key"], format!("{base};dim=2"));
    let norm = (whole[0] * whole[0] + whole[1] * whole[1]).sqrt();
    close(&floats(&cut["data"][0]["embedding"]), &[whole[0] / norm, whole[1] / norm]);

    let long = server.post("/v1/embeddings?normalize=false", body.clone()).await.ok();
    assert_eq!(long["space_key"], format!("{base};norm=0"));
    let same = server.post("/v1/embeddings?normalize=true", body.clone()).await.ok();
    assert_eq!(same, plain);
    server.post("/v1/embeddings?dimensions=0", body.clone()).await.refused(400, "invalid_request");
    server.post("/v1/embeddings?dimensions=100000", body).await.refused(400, "invalid_request");
}

#[tokio::test]
async fn pooling_is_for_models_that_give_tokens() {
    let server = Server::with(&[TOKENS, CONTRASTIVE], |_| ()).await;
    let mean = server.post("/v1/embeddings", json!({"model": TOKENS, "images": [uri(1)]})).await.ok();
    let gem = server.post("/v1/embeddings?pooling=gem", json!({"model": TOKENS, "images": [uri(1)]})).await.ok();
    assert_ne!(mean["data"], gem["data"]);
    assert_eq!(gem["space_key"], format!("{};pool=gem", mean["space_key"].as_str().unwrap()));
    let body = json!({"model": CONTRASTIVE, "images": [uri(1)], "pooling": "cls"});
    server.post("/v1/embeddings", body).await.refused(400, "invalid_request");
}

#[tokio::test]
async fn a_model_that_does_not_embed_says_what_it_does() {
    let server = Server::start().await;
    let answer = server.post("/v1/embeddings", json!({"model": DENOISER, "images": [uri(1)]})).await;
    assert!(answer.refused(422, "capability_not_supported").contains("denoise"));
}

#[tokio::test]
async fn an_autoencoders_latent_is_a_vector() {
    let server = Server::start().await;
    let list = server.post("/v1/embeddings", json!({"model": AUTOENCODER, "images": [uri(1)]})).await.ok();
    let dimension = server.get("/v1/models/tiny-ae").await.ok()["embedding"]["dimension"].as_u64().unwrap();
    assert_eq!(floats(&list["data"][0]["embedding"]).len() as u64, dimension);
}

#[tokio::test]
async fn an_image_that_comes_again_is_not_computed_again_where_a_cache_is_set() {
    let server = Server::with(&[CONTRASTIVE], |config| config.cache.bytes = 1 << 20).await;
    let body = |images: Vec<String>| json!({"model": CONTRASTIVE, "images": images});
    let first = server.post("/v1/embeddings", body(vec![uri(1), uri(2)])).await.ok();
    let again = server.post("/v1/embeddings", body(vec![uri(2), data_uri(b"no image"), uri(1), uri(3)])).await.ok();
    assert_eq!(again["data"][0]["embedding"], first["data"][1]["embedding"]);
    assert_eq!(again["data"][1]["embedding"], first["data"][0]["embedding"]);
    let places: Vec<_> = again["data"].as_array().unwrap().iter().map(|entry| entry["index"].clone()).collect();
    assert_eq!(places, [0, 2, 3]);
    assert_eq!(again["errors"][0]["index"], 1);
    // other numbers of the same image are another vector
    let scaled = json!({"model": CONTRASTIVE, "images": [uri(1)], "dimensions": 2});
    assert_eq!(floats(&server.post("/v1/embeddings", scaled).await.ok()["data"][0]["embedding"]).len(), 2);
    let metrics = server.get("/metrics").await.text();
    assert!(metrics.contains("latentd_cache_hits_total{model=\"tiny-contrastive\"} 2"), "{metrics}");
    assert!(metrics.contains("latentd_cache_misses_total{model=\"tiny-contrastive\"} 5"), "{metrics}");
}
