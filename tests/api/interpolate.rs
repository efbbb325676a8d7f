use serde_json::{Value, json};

use crate::{
    harness::{CONTRASTIVE, Server},
    images::{data_uri, png, truncated_jpeg, uri},
};

const VARIATIONAL: &str = "tiny-vae";

async fn server() -> Server {
    Server::with(&[VARIATIONAL, CONTRASTIVE], |_| ()).await
}

fn between_images(options: Value) -> Value {
    let mut body = json!({"model": VARIATIONAL, "images": [uri(1), uri(2)]});
    body.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn the_way_between_two_images_begins_and_ends_with_their_reconstructions() {
    let server = server().await;
    let answer = server.post("/v1/interpolate", between_images(json!({"steps": 5}))).await.ok();
    let data = answer["data"].as_array().unwrap();
    let ts: Vec<f64> = data.iter().map(|entry| entry["t"].as_f64().unwrap()).collect();
    assert_eq!(ts, [0.0, 0.25, 0.5, 0.75, 1.0]);
    assert_eq!(data[0].as_object().unwrap().keys().collect::<Vec<_>>(), ["t", "image"]);
    let ends = json!({"model": VARIATIONAL, "images": [uri(1), uri(2)]});
    let made = server.post("/v1/reconstruct", ends).await.ok();
    assert_eq!((&data[0]["image"], &data[4]["image"]), (&made["data"][0]["image"], &made["data"][1]["image"]));
    assert_ne!(data[2]["image"], data[0]["image"]);
    let eight = server.post("/v1/interpolate", between_images(json!({}))).await.ok();
    assert_eq!(eight["data"].as_array().unwrap().len(), 8);
}

#[tokio::test]
async fn both_methods_of_interpolation_share_their_endpoints() {
    let server = server().await;
    let along = async |method: &str| {
        let latents = json!([[2.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0]]);
        let body = json!({"model": VARIATIONAL, "latents": latents, "steps": 3, "method": method});
        server.post("/v1/interpolate", body).await.ok()["data"].clone()
    };
    let (circle, line) = (along("spherical").await, along("linear").await);
    assert_eq!((&circle[0], &circle[2]), (&line[0], &line[2]));
    assert_ne!(circle[1], line[1]);
}

#[tokio::test]
async fn a_seed_draws_the_ends_around_their_images_and_repeats() {
    let server = server().await;
    let drawn =
        async |seed: u64| server.post("/v1/interpolate", between_images(json!({"seed": seed, "steps": 2}))).await.ok();
    let first = drawn(1).await;
    assert_eq!(drawn(1).await, first);
    assert_ne!(drawn(2).await, first);
    assert_ne!(server.post("/v1/interpolate", between_images(json!({"steps": 2}))).await.ok(), first);
}

#[tokio::test]
async fn a_form_with_two_images_is_the_same_request() {
    let server = server().await;
    let answer = server.post("/v1/interpolate", between_images(json!({"steps": 3}))).await.ok();
    let (first, second) = (png(1), png(2));
    let parts = [("image", &first[..]), ("image", &second), ("model", VARIATIONAL.as_bytes()), ("steps", b"3")];
    assert_eq!(server.post_form("/v1/interpolate", &parts).await.ok(), answer);
}

#[tokio::test]
async fn endpoints_and_steps_that_make_no_path_are_refused() {
    let server = server().await;
    let latents = json!([[0, 0, 0, 0], [1, 1, 1, 1]]);
    for (body, part) in [
        (json!({}), "two `images` or two `latents`"),
        (json!({"images": [uri(1)]}), "2 endpoints and 2 steps or more, not 1"),
        (json!({"images": [uri(1), uri(2), uri(3)]}), "not 3"),
        (json!({"images": []}), "not 0"),
        (json!({"images": [uri(1), uri(2)], "latents": latents}), "two `images` or two `latents`"),
        (json!({"latents": [[1, 2, 3, 4]]}), "not 1"),
        (json!({"latents": [[1, 2, 3], [1, 2, 3]]}), "a latent has 3 numbers; those of tiny-vae have 4"),
        (json!({"latents": [[1, 2, 3, 4], [1, 2, 3, null]]}), "element 3"),
        (json!({"latents": 5}), "`latents`: not a list"),
        (json!({"latents": latents, "seed": 1}), "`seed` draws latents around images"),
        (json!({"latents": latents, "steps": 1}), "not 2 and 1"),
        (json!({"latents": latents, "method": "curved"}), "method"),
    ] {
        let mut body = body;
        body["model"] = json!(VARIATIONAL);
        let detail = server.post("/v1/interpolate", body.clone()).await.refused(400, "invalid_request");
        assert!(detail.contains(part), "{body}: {detail}");
    }
    let body = json!({"model": VARIATIONAL, "latents": latents, "steps": 65});
    let detail = server.post("/v1/interpolate", body).await.refused(413, "payload_too_large");
    assert!(detail.contains("65 steps") && detail.contains("limits.images"), "{detail}");
}

#[tokio::test]
async fn an_end_that_is_no_image_fails_the_request() {
    let server = server().await;
    let body = json!({"model": VARIATIONAL, "images": [uri(1), data_uri(&truncated_jpeg())]});
    server.post("/v1/interpolate", body).await.refused(422, "invalid_image");
}

#[tokio::test]
async fn a_model_without_latents_to_decode_does_not_interpolate() {
    let server = server().await;
    let body = json!({"model": CONTRASTIVE, "images": [uri(1), uri(2)]});
    server.post("/v1/interpolate", body).await.refused(422, "capability_not_supported");
    let body = json!({"model": CONTRASTIVE, "latents": [[1], [2]]});
    server.post("/v1/interpolate", body).await.refused(422, "capability_not_supported");
}
