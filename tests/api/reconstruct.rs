use serde_json::json;

use crate::{
    harness::{AUTOENCODER, CONTRASTIVE, Server},
    images::{data_uri, file_of, png, size_of, uri},
};

#[tokio::test]
async fn images_come_back_at_the_models_size_with_their_figures() {
    let server = Server::start().await;
    let list = server.post("/v1/reconstruct", json!({"model": AUTOENCODER, "images": [uri(1), uri(2)]})).await.ok();
    assert_eq!(list["model"], AUTOENCODER);
    assert!(list["space_key"].as_str().unwrap().starts_with("tiny-ae@"));
    for entry in list["data"].as_array().unwrap() {
        assert_eq!(size_of(&file_of(&entry["image"], "image/png")), (8, 8));
        let mse = entry["mse"].as_f64().unwrap();
        assert!((entry["psnr"].as_f64().unwrap() + 10.0 * mse.log10()).abs() < 1e-3);
        assert!((-1.0..=1.0).contains(&entry["ssim"].as_f64().unwrap()));
    }
}

#[tokio::test]
async fn equal_images_have_no_finite_psnr() {
    let server = Server::start().await;
    let black = image::RgbImage::new(8, 8);
    let mut file = std::io::Cursor::new(Vec::new());
    black.write_to(&mut file, image::ImageFormat::Png).unwrap();
    let body = json!({"model": AUTOENCODER, "images": [data_uri(file.get_ref())]});
    let entry = &server.post("/v1/reconstruct", body).await.ok()["data"][0];
    assert_eq!(entry["mse"], 0.0);
    assert!(entry["psnr"].is_null());
}

#[tokio::test]
async fn one_image_comes_bare_to_who_accepts_png() {
    let server = Server::start().await;
    let body = json!({"model": AUTOENCODER, "images": [uri(1)]});
    let list = server.post("/v1/reconstruct", body.clone()).await.ok();
    let bare = server.post_accepting("/v1/reconstruct", "image/png", body).await;
    assert_eq!(bare.header("content-type"), "image/png");
    assert_eq!(bare.header("x-latentd-space-key"), list["space_key"].as_str().unwrap());
    assert_eq!(bare.body, file_of(&list["data"][0]["image"], "image/png"));
    let two = json!({"model": AUTOENCODER, "images": [uri(1), uri(2)]});
    server.post_accepting("/v1/reconstruct", "image/png", two.clone()).await.refused(406, "not_acceptable");
    server.post_accepting("/v1/reconstruct", "image/png, */*;q=0.1", two).await.refused(406, "not_acceptable");
    let bad = json!({"model": AUTOENCODER, "images": [data_uri(b"text")]});
    server.post_accepting("/v1/reconstruct", "image/png", bad).await.refused(422, "invalid_image");
}

#[tokio::test]
async fn a_model_without_a_decoder_does_not_reconstruct() {
    let server = Server::start().await;
    let path = format!("/v1/reconstruct?model={CONTRASTIVE}");
    let detail = server.post_raw(&path, "image/png", png(1)).await.refused(422, "capability_not_supported");
    assert!(detail.contains("embed"), "{detail}");
}
