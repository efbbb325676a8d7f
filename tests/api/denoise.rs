use serde_json::json;

use crate::{
    harness::{AUTOENCODER, DENOISER, Server},
    images::{file_of, png, size_of, uri},
};

#[tokio::test]
async fn an_image_is_denoised_as_it_is() {
    let server = Server::start().await;
    let list = server.post("/v1/denoise", json!({"model": DENOISER, "images": [uri(1)]})).await.ok();
    let entry = list["data"][0].as_object().unwrap();
    assert_eq!(size_of(&file_of(&entry["image"], "image/png")), (8, 8));
    assert_eq!(entry.keys().collect::<Vec<_>>(), ["index", "image"]);
}

#[tokio::test]
async fn added_noise_is_measured_and_repeats_with_its_seed() {
    let server = Server::start().await;
    let body = |seed: u64| json!({"model": DENOISER, "images": [uri(1)], "add_noise": "gaussian:0.1", "seed": seed});
    let first = server.post("/v1/denoise", body(5)).await.ok();
    let entry = &first["data"][0];
    assert_eq!(size_of(&file_of(&entry["noisy"], "image/png")), (8, 8));
    for figure in ["psnr_before", "psnr_after", "ssim_before", "ssim_after"] {
        assert!(entry[figure].is_number(), "{figure}");
    }
    assert_eq!(server.post("/v1/denoise", body(5)).await.ok(), first);
    assert_ne!(server.post("/v1/denoise", body(6)).await.ok()["data"][0]["noisy"], entry["noisy"]);
    let query = format!("/v1/denoise?model={DENOISER}&add_noise=gaussian:0.1&seed=5");
    assert_eq!(server.post_raw(&query, "image/png", png(1)).await.ok(), first);
}

#[tokio::test]
async fn noise_that_makes_no_sense_is_refused() {
    let server = Server::start().await;
    for noise in ["gaussian", "gaussian:2", "gaussian:NaN", "salt:0.1", ""] {
        let body = json!({"model": DENOISER, "images": [uri(1)], "add_noise": noise});
        let detail = server.post("/v1/denoise", body).await.refused(400, "invalid_request");
        assert!(detail.contains("add_noise"), "{detail}");
    }
    let body = json!({"model": DENOISER, "images": [uri(1)], "seed": -1});
    server.post("/v1/denoise", body).await.refused(400, "invalid_request");
}

#[tokio::test]
async fn a_seed_without_noise_contradicts_itself() {
    let server = Server::start().await;
    for body in [json!({"seed": 1}), json!({"seed": 0, "add_noise": null})] {
        let mut body = body;
        body["model"] = json!(DENOISER);
        body["images"] = json!([uri(1)]);
        let detail = server.post("/v1/denoise", body).await.refused(400, "invalid_request");
        assert!(detail.contains("`seed`") && detail.contains("`add_noise`"), "{detail}");
    }
    let path = format!("/v1/denoise?model={DENOISER}&seed=1");
    server.post_raw(&path, "image/png", png(1)).await.refused(400, "invalid_request");
    let body = json!({"model": DENOISER, "images": [uri(1)], "seed": null});
    server.post("/v1/denoise", body).await.ok();
}

#[tokio::test]
async fn one_image_comes_bare_to_who_accepts_png() {
    let server = Server::start().await;
    let body = json!({"model": DENOISER, "images": [uri(1)]});
    let list = server.post("/v1/denoise", body.clone()).await.ok();
    let bare = server.post_accepting("/v1/denoise", "image/png", body).await;
    assert_eq!(bare.header("content-type"), "image/png");
    assert_eq!(bare.body, file_of(&list["data"][0]["image"], "image/png"));
}

#[tokio::test]
async fn a_model_that_does_not_denoise_says_so() {
    let server = Server::start().await;
    let body = json!({"model": AUTOENCODER, "images": [uri(1)]});
    server.post("/v1/denoise", body).await.refused(422, "capability_not_supported");
}
