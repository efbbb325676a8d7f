use axum::body::Body;
use serde_json::json;

use crate::{
    harness::{AUTOENCODER, Server, request},
    images::{data_uri, png, uri},
};

#[tokio::test]
async fn the_tensor_is_an_array_of_the_models_shape() {
    let server = Server::start().await;
    let body = json!({"model": AUTOENCODER, "images": [uri(1), uri(2)]});
    let answer = server.post("/v1/preprocess", body.clone()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/x-npy");
    assert_eq!(answer.header("x-latentd-shape"), "2,3,8,8");
    assert!(answer.header("x-latentd-space-key").starts_with("tiny-ae@"));
    assert!(answer.body.starts_with(b"\x93NUMPY"));
    let octets = server.post_accepting("/v1/preprocess", "application/octet-stream", body).await;
    assert_eq!(octets.body.len(), 2 * 3 * 8 * 8 * 4);
    assert!(answer.body.ends_with(&octets.body));
}

#[tokio::test]
async fn one_bad_image_fails_the_tensor() {
    let server = Server::start().await;
    let body = json!({"model": AUTOENCODER, "images": [uri(1), data_uri(b"text")]});
    server.post("/v1/preprocess", body).await.refused(422, "invalid_image");
}

#[tokio::test]
async fn json_is_no_form_of_a_tensor() {
    let server = Server::start().await;
    let path = format!("/v1/preprocess?model={AUTOENCODER}");
    let asked = request("POST", &path, &[("accept", "application/json")], Body::from(png(1)));
    server.send(asked).await.refused(406, "not_acceptable");
}
