use serde_json::{Value, json};

use crate::{
    harness::{CONTRASTIVE, Server, close, floats},
    images::{file_of, size_of, uri},
};

const VARIATIONAL: &str = "tiny-vae";

async fn server() -> Server {
    Server::with(&[VARIATIONAL, CONTRASTIVE], |_| ()).await
}

#[tokio::test]
async fn images_are_drawn_and_repeat_with_their_seed() {
    let server = server().await;
    let body = json!({"model": VARIATIONAL, "count": 4, "seed": 7, "temperature": 1.0});
    let answer = server.post("/v1/generate", body.clone()).await.ok();
    let data = answer["data"].as_array().unwrap();
    assert_eq!((&answer["model"], data.len()), (&json!(VARIATIONAL), 4));
    for entry in data {
        assert_eq!(entry.as_object().unwrap().keys().collect::<Vec<_>>(), ["image", "latent"]);
        assert_eq!(size_of(&file_of(&entry["image"], "image/png")), (8, 8));
        assert_eq!(floats(&entry["latent"]).len(), 4);
    }
    assert_ne!(data[0], data[1]);
    assert_eq!(server.post("/v1/generate", body).await.ok(), answer);
    let two = server.post("/v1/generate", json!({"model": VARIATIONAL, "count": 2, "seed": 7})).await.ok();
    assert_eq!(two["data"].as_array().unwrap()[..], data[..2]);
    let other = server.post("/v1/generate", json!({"model": VARIATIONAL, "seed": 8})).await.ok();
    assert_eq!(other["data"].as_array().unwrap().len(), 1);
    assert_ne!(other["data"][0], data[0]);
}

#[tokio::test]
async fn the_temperature_scales_the_latents() {
    let server = server().await;
    let latent = async |temperature: f32| {
        let body = json!({"model": VARIATIONAL, "seed": 3, "temperature": temperature});
        floats(&server.post("/v1/generate", body).await.ok()["data"][0]["latent"])
    };
    let (one, half) = (latent(1.0).await, latent(0.5).await);
    close(&one.iter().map(|value| value / 2.0).collect::<Vec<_>>(), &half);
    assert_eq!(latent(0.0).await, [0.0; 4]);
}

#[tokio::test]
async fn the_latents_space_is_that_of_vectors_that_are_not_normalised() {
    let server = server().await;
    let made = server.post("/v1/generate", json!({"model": VARIATIONAL})).await.ok();
    let plain = json!({"model": VARIATIONAL, "images": [uri(1)], "normalize": false});
    assert_eq!(made["space_key"], server.post("/v1/embeddings", plain).await.ok()["space_key"]);
}

#[tokio::test]
async fn options_may_stand_in_the_query() {
    let server = server().await;
    let body = server.post("/v1/generate", json!({"model": VARIATIONAL, "count": 2, "seed": 5})).await.ok();
    let path = format!("/v1/generate?model={VARIATIONAL}&count=2&seed=5");
    assert_eq!(server.post_raw(&path, "text/plain", "").await.ok(), body);
}

#[tokio::test]
async fn one_image_comes_bare_to_who_accepts_png() {
    let server = server().await;
    let list = server.post("/v1/generate", json!({"model": VARIATIONAL})).await.ok();
    let bare = server.post_accepting("/v1/generate", "image/png", json!({"model": VARIATIONAL})).await;
    assert_eq!(bare.body, file_of(&list["data"][0]["image"], "image/png"));
    let several = server.post_accepting("/v1/generate", "image/png", json!({"model": VARIATIONAL, "count": 2})).await;
    several.refused(406, "not_acceptable");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let server = server().await;
    for (key, value, part) in [
        ("count", json!(0), "no images"),
        ("count", json!(-1), "count"),
        ("seed", json!(1.5), "seed"),
        ("temperature", json!(-0.5), "temperature is in 0…10"),
        ("temperature", json!(11), "temperature is in 0…10"),
        ("temperature", json!("warm"), "temperature"),
        ("images", json!([]), "unknown option `images`"),
    ] {
        let mut body = json!({"model": VARIATIONAL});
        body[key] = value;
        let detail = server.post("/v1/generate", body).await.refused(400, "invalid_request");
        assert!(detail.contains(part), "{key}: {detail}");
    }
    let body = json!({"model": VARIATIONAL, "count": 65});
    let detail = server.post("/v1/generate", body).await.refused(413, "payload_too_large");
    assert!(detail.contains("limits.images is 64"), "{detail}");
    server.post("/v1/generate", Value::Object(serde_json::Map::default())).await.refused(400, "invalid_request");
}

#[tokio::test]
async fn a_model_without_a_prior_does_not_generate() {
    let server = server().await;
    server.post("/v1/generate", json!({"model": CONTRASTIVE})).await.refused(422, "capability_not_supported");
    server.post("/v1/generate", json!({"model": "none"})).await.refused(404, "model_not_found");
}
