//! Queues that are full, deadlines that pass, a server that stops.

use std::time::Duration;

use axum::{
    body::Body,
    http::{Request, header},
};
use futures_util::future::join_all;

use crate::{
    composed::{Composed, composed},
    harness::{Home, Server, answer_of, request},
    images::png,
};

fn embed(model: &str, timeout_ms: Option<u64>) -> Request<Body> {
    let path = format!("/v1/embeddings?model={model}");
    let timeout = timeout_ms.map(|ms| ms.to_string());
    let headers: Vec<(&str, &str)> = timeout.iter().map(|ms| ("x-request-timeout-ms", ms.as_str())).collect();
    request("POST", &path, &headers, Body::from(png(1)))
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_back_and_serves_what_it_admitted() {
    let server = Server::with(&["steady"], |config| {
        config.limits.queue_items = 4;
        config.limits.images = 4;
        config.runtime.max_batch = 1;
    })
    .await;
    server.send(embed("steady", None)).await.ok();
    let answers = join_all((0..12).map(|_| server.send(embed("steady", None)))).await;
    let (served, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    // the place of the item before may be given back a moment after its answer
    assert!((3..12).contains(&served.len()), "{} were served", served.len());
    for answer in refused {
        answer.refused(429, "overloaded");
        let seconds: u64 = answer.header("retry-after").parse().unwrap();
        let millis: u64 = answer.header("retry-after-ms").parse().unwrap();
        assert!(millis >= 1 && seconds == millis.div_ceil(1000), "{seconds} s, {millis} ms");
    }
    server.send(embed("steady", None)).await.ok();
}

#[tokio::test]
async fn a_wait_beyond_the_deadline_is_refused_at_once() {
    let server = Server::with(&["steady"], |config| config.runtime.max_batch = 1).await;
    server.send(embed("steady", None)).await.ok();
    // only behind others: an idle queue takes what it can try
    let (before, behind) = tokio::join!(server.send(embed("steady", None)), server.send(embed("steady", Some(1))));
    before.ok();
    behind.refused(429, "overloaded");
    assert!(behind.header("retry-after-ms").parse::<u64>().unwrap() >= 1);
}

#[tokio::test]
async fn a_run_that_does_not_end_meets_the_deadline() {
    let server = Server::with(&["slow"], |config| config.runtime.run_limit_ms = 2_000).await;
    let started = std::time::Instant::now();
    let answer = server.send(embed("slow", Some(200))).await;
    answer.refused(504, "deadline_exceeded");
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_body_that_does_not_come_meets_the_deadline() {
    let server = Server::start().await;
    let body = Body::from_stream(futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    let waiting = request("POST", "/v1/embeddings?model=tiny-ae", &[("x-request-timeout-ms", "50")], body);
    server.send(waiting).await.refused(504, "deadline_exceeded");
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_the_server_serving() {
    let server = Server::with(&["steady"], |config| config.runtime.max_batch = 1).await;
    for _ in 0..8 {
        let gone = tokio::time::timeout(Duration::from_millis(1), server.send(embed("steady", None))).await;
        assert!(gone.is_err());
    }
    server.send(embed("steady", None)).await.ok();
}

#[tokio::test]
async fn a_draining_server_takes_no_new_work_and_says_so() {
    let home = Home::with(&[]);
    let Composed { state, router, .. } = composed(&home);
    let get = async |path: &str| answer_of(router.clone(), request("GET", path, &[], Body::empty())).await;
    get("/v1/collections").await.ok();
    state.drain();
    get("/v1/collections").await.refused(503, "unavailable");
    let answer = get("/readyz").await;
    answer.refused(503, "unavailable");
    assert!(answer.json()["reasons"].to_string().contains("shutting down"));
    get("/livez").await.ok();
    assert_eq!(get("/metrics").await.headers[header::CONTENT_TYPE].to_str().unwrap().split(';').count(), 3);
}

/// Sends this over a connection of its own and gives what comes back until the server closes it.
fn exchange(addr: std::net::SocketAddr, sent: String) -> tokio::task::JoinHandle<String> {
    tokio::task::spawn_blocking(move || {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(sent.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    })
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: latentd\r\nconnection: close\r\n\r\n")
}

#[tokio::test]
async fn a_stopping_server_answers_that_it_stops_until_its_last_request_is_done() {
    let home = Home::with(&[]);
    let state = composed(&home).state;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let stopping = async { stopped.await.unwrap() };
    let serving = tokio::spawn(latentd::http::serve(listener, state.clone(), stopping, Duration::from_secs(60)));
    // a request whose body is still to come, until its own deadline
    let head = "POST /v1/count HTTP/1.1\r\nhost: latentd\r\ncontent-length: 9\r\nx-request-timeout-ms: 2000\r\n\r\n{";
    let under_way = exchange(addr, head.replace("/v1/count", "/v1/collections/c/count"));
    while !exchange(addr, get("/metrics")).await.unwrap().contains("latentd_body_bytes_in_flight 1\n") {}
    stop.send(()).unwrap();
    while !state.is_draining() {
        tokio::task::yield_now().await;
    }
    let ready = exchange(addr, get("/readyz")).await.unwrap();
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("shutting down"), "{ready}");
    let work = exchange(addr, get("/v1/collections")).await.unwrap();
    assert!(work.starts_with("HTTP/1.1 503") && work.contains("\"unavailable\""), "{work}");
    assert!(under_way.await.unwrap().starts_with("HTTP/1.1 504"));
    tokio::time::timeout(Duration::from_secs(20), serving).await.unwrap().unwrap().unwrap();
    assert!(std::net::TcpStream::connect(addr).is_err());
}
