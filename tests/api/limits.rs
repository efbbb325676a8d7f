//! What one request may take, and what bodies may look like.

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde_json::json;

use crate::{
    harness::{CONTRASTIVE, Server, request},
    images::{enormous_png, png, uri},
};

const PATH: &str = "/v1/embeddings?model=tiny-contrastive";

#[tokio::test]
async fn more_images_than_the_limit_are_too_many() {
    let server = Server::start().await;
    let images = vec![uri(1); 65];
    let answer = server.post("/v1/embeddings", json!({"model": CONTRASTIVE, "images": images})).await;
    assert!(answer.refused(413, "payload_too_large").contains("limits.images"));
    let images = vec![uri(1); 64];
    server.post("/v1/embeddings", json!({"model": CONTRASTIVE, "images": images})).await.ok();
}

#[tokio::test]
async fn an_image_of_too_many_pixels_is_told_from_its_header() {
    let server = Server::start().await;
    let detail = server.post_raw(PATH, "image/png", enormous_png()).await.refused(413, "image_too_large");
    assert!(detail.contains("limits.image_pixels"), "{detail}");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_by_its_length_or_while_it_comes() {
    let server = Server::with(&[CONTRASTIVE], |config| config.limits.body_bytes = 1000).await;
    let declared = request("POST", PATH, &[("content-length", "1001")], Body::from(vec![0; 1001]));
    assert!(server.send(declared).await.refused(413, "payload_too_large").contains("limits.body_bytes"));
    let chunks = (0..11).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(&[0; 100])));
    let chunked = request("POST", PATH, &[], Body::from_stream(stream::iter(chunks)));
    server.send(chunked).await.refused(413, "payload_too_large");
    server.post_raw(PATH, "image/png", png(1)).await.ok();
}

#[tokio::test]
async fn a_body_in_chunks_is_read_whole() {
    let server = Server::start().await;
    let file = png(1);
    let chunks: Vec<_> = file.chunks(50).map(|chunk| Ok::<_, std::io::Error>(Bytes::copy_from_slice(chunk))).collect();
    let chunked = request("POST", PATH, &[], Body::from_stream(stream::iter(chunks)));
    let whole = server.post_raw(PATH, "image/png", file).await.ok();
    assert_eq!(server.send(chunked).await.ok(), whole);
}

#[tokio::test]
async fn a_body_that_does_not_fit_beside_the_others_is_told_to_come_back() {
    let server = Server::with(&[CONTRASTIVE], |config| {
        config.limits.body_bytes = 1000;
        config.limits.bodies_in_flight_bytes = 1000;
    })
    .await;
    // a body that comes in part and is held until the rest does
    let part = stream::iter([Ok::<_, std::io::Error>(Bytes::from(vec![0; 450])), Ok(Bytes::from(vec![0; 449]))]);
    let held = Body::from_stream(part.chain(stream::pending()));
    let first = request("POST", PATH, &[("content-length", "900"), ("x-request-timeout-ms", "300")], held);
    let second = async {
        tokio::task::yield_now().await;
        server.send(request("POST", PATH, &[("content-length", "200")], Body::from(vec![0; 200]))).await
    };
    let (first, second) = tokio::join!(server.send(first), second);
    assert!(second.refused(429, "overloaded").contains("limits.bodies_in_flight_bytes"));
    assert!(second.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert!(second.header("retry-after-ms").parse::<u64>().unwrap() >= 1);
    first.refused(504, "deadline_exceeded");
    let third = request("POST", PATH, &[("content-length", "900")], Body::from(vec![0; 900]));
    server.send(third).await.refused(422, "invalid_image");
}

#[tokio::test]
async fn a_list_without_end_is_cut_off_and_told() {
    let server = Server::start().await;
    for (path, field) in [("/v1/embeddings", "images"), ("/v1/embeddings", "input")] {
        let body = format!(r#"{{"model":"{CONTRASTIVE}","{field}":[{}""]}}"#, r#""","#.repeat(20_000));
        let answer = server.post_raw(path, "application/json", body).await;
        assert!(matches!(answer.status, 400 | 413), "{}", answer.text());
        assert!(answer.text().contains("more than 10000 elements"), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_body_that_is_only_announced_takes_no_room_from_others() {
    let server = Server::with(&[CONTRASTIVE], |config| {
        config.limits.body_bytes = 1000;
        config.limits.bodies_in_flight_bytes = 1000;
    })
    .await;
    let pending = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let first = request("POST", PATH, &[("content-length", "900"), ("x-request-timeout-ms", "300")], pending);
    let second = async {
        tokio::task::yield_now().await;
        server.send(request("POST", PATH, &[("content-length", "200")], Body::from(vec![0; 200]))).await
    };
    let (first, second) = tokio::join!(server.send(first), second);
    second.refused(422, "invalid_image");
    first.refused(504, "deadline_exceeded");
}

#[tokio::test]
async fn compressed_bodies_are_not_taken() {
    let server = Server::start().await;
    let gzip = request("POST", PATH, &[("content-encoding", "gzip")], Body::from(png(1)));
    assert!(server.send(gzip).await.refused(415, "unsupported_media_type").contains("gzip"));
    let plain = request("POST", PATH, &[("content-encoding", "identity")], Body::from(png(1)));
    server.send(plain).await.ok();
}

#[tokio::test]
async fn a_malformed_timeout_is_refused() {
    let server = Server::start().await;
    for bad in ["soon", "0", "-5", "1.5", ""] {
        let asked = request("POST", PATH, &[("x-request-timeout-ms", bad)], Body::from(png(1)));
        assert!(server.send(asked).await.refused(400, "invalid_request").contains("x-request-timeout-ms"), "{bad:?}");
    }
}
