//! What is held in memory is counted for as long as it is held.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::{HeaderName, Method, Request, StatusCode},
};
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};

use crate::{
    harness::{CONTRASTIVE, Server, request},
    images::{png, uri},
};

/// A bucket that says when a write has come, and takes it only when it is told to.
struct StalledStore {
    address: String,
    came: mpsc::UnboundedReceiver<()>,
    go_on: Arc<Semaphore>,
}

impl StalledStore {
    async fn start() -> Self {
        let (tell, came) = mpsc::unbounded_channel();
        let go_on = Arc::new(Semaphore::new(0));
        let gate = Arc::clone(&go_on);
        let take = move |method: Method| {
            let (tell, gate) = (tell.clone(), Arc::clone(&gate));
            async move {
                // a probe whether the store answers, which has no image for it
                if method == Method::GET {
                    return (StatusCode::NOT_FOUND, [(HeaderName::from_static("etag"), "")]);
                }
                tell.send(()).unwrap();
                gate.acquire().await.unwrap().forget();
                (StatusCode::OK, [(HeaderName::from_static("etag"), "\"1\"")])
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(take)).await.unwrap() });
        Self { address, came, go_on }
    }

    async fn server(&self) -> Server {
        let server = Server::with(&[CONTRASTIVE], |config| {
            config.store.url = "s3://images".to_owned();
            config.store.endpoint = self.address.clone();
            config.store.allow_http = true;
            config.store.access_key_id = "key".to_owned();
            config.store.secret_access_key = "secret".parse().unwrap();
        })
        .await;
        server.collection("p", CONTRASTIVE).await;
        server
    }
}

async fn body_bytes(server: &Server) -> usize {
    let text = server.get("/metrics").await.text();
    let line = text.lines().find_map(|line| line.strip_prefix("latentd_body_bytes_in_flight "));
    line.unwrap().parse().unwrap()
}

/// A write whose caller leaves while the store stalls: its body, however it was sent, is counted until the write ends.
async fn stays_counted(write: impl FnOnce() -> (Request<Body>, usize)) {
    let mut store = StalledStore::start().await;
    let server = store.server().await;
    let (write, size) = write();
    tokio::select! {
        answer = server.send(write) => panic!("the write is answered: {}", answer.text()),
        came = store.came.recv() => came.unwrap(),
    }
    assert_eq!(body_bytes(&server).await, size);
    store.go_on.add_permits(1);
    while body_bytes(&server).await > 0 {
        tokio::task::yield_now().await;
    }
    // the row is written after the image, whose bytes are gone by then
    while server.get("/v1/collections/p").await.ok()["count"] != 1 {
        tokio::task::yield_now().await;
    }
}

const ITEMS: &str = "/v1/collections/p/items";

#[tokio::test]
async fn a_raw_body_that_nobody_waits_for_is_counted_until_its_image_is_stored() {
    stays_counted(|| {
        let image = png(1);
        let size = image.len();
        (request("POST", ITEMS, &[("content-type", "image/png")], Body::from(image)), size)
    })
    .await;
}

#[tokio::test]
async fn images_decoded_out_of_json_are_counted_with_their_body() {
    stays_counted(|| {
        let body = json!({"items": [{"id": "a", "image": uri(1)}]}).to_string();
        let size = body.len();
        (request("POST", ITEMS, &[("content-type", "application/json")], Body::from(body)), size)
    })
    .await;
}

#[tokio::test]
async fn images_out_of_a_form_are_counted_with_their_body() {
    stays_counted(|| {
        let head = "--B\r\ncontent-disposition: form-data; name=\"image\"\r\n\r\n";
        let body = [head.as_bytes(), &png(1), b"\r\n--B--\r\n"].concat();
        let size = body.len();
        (request("POST", ITEMS, &[("content-type", "multipart/form-data; boundary=B")], Body::from(body)), size)
    })
    .await;
}
