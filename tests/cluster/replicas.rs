//! Two replicas of latentd over one Qdrant and one folder of images.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    BINARY,
    nodes::Cluster,
    server::{Server, client, give_model},
    wanted,
};

/// A small uncompressed bitmap, drawn by number.
fn image(number: u32) -> Vec<u8> {
    let (width, height) = (8_u32, 8_u32);
    let size = 54 + width * height * 3;
    let mut bytes = Vec::with_capacity(size as usize);
    bytes.extend(b"BM");
    for value in [size, 0, 54, 40, width, height, 1 | (24 << 16), 0, width * height * 3, 2835, 2835, 0, 0] {
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend((0..width * height * 3).map(|at| (at * (number % 247 + 3) % 251) as u8));
    bytes
}

async fn found(base: &str, number: u32) -> bool {
    let url = format!("{base}/v1/collections/p/items/n{number}/image");
    let answer = client().get(url).send().await.unwrap();
    answer.status() == 200 && answer.bytes().await.unwrap() == image(number)
}

/// Stores images until the server is gone; returns the numbers that were acknowledged.
async fn store(base: String, writer: u32) -> Vec<u32> {
    let client = client();
    let mut acknowledged = Vec::new();
    for number in (0..).map(|step| step * 4 + writer) {
        let url = format!("{base}/v1/collections/p/items?id=n{number}");
        match client.post(url).body(image(number)).send().await {
            Ok(answer) if answer.status() == 200 => acknowledged.push(number),
            Ok(answer) => panic!("{}: {}", answer.status(), answer.text().await.unwrap_or_default()),
            Err(_) => return acknowledged,
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts nodes of Qdrant: LATENTD_TEST_QDRANT_BIN=…/qdrant"]
async fn what_one_replica_stores_the_other_finds_and_a_killed_one_takes_nothing_along() {
    let binary = wanted(BINARY);
    let cluster = Cluster::start(&binary, 1).await;
    let home = tempfile::tempdir().unwrap();
    give_model(home.path(), "tiny-ae");
    let url = format!("qdrant.url={}", cluster.urls().join(","));
    let settings = ["index.engine=qdrant", url.as_str()];
    let (a, b) = (Server::start(home.path(), &settings), Server::start(home.path(), &settings));
    a.ready().await;
    b.ready().await;
    let client = client();
    let body = json!({"model": "tiny-ae", "store": "original"});
    let made = client.put(format!("{}/v1/collections/p", a.base)).json(&body).send().await.unwrap();
    assert_eq!(made.status(), 201, "{}", made.text().await.unwrap());
    let again = client.put(format!("{}/v1/collections/p", b.base)).json(&body).send().await.unwrap();
    assert_eq!(again.status(), 200, "the other replica has it already");

    let sent = client.post(format!("{}/v1/collections/p/items?id=n1000000", a.base)).body(image(1_000_000));
    assert_eq!(sent.send().await.unwrap().status(), 200);
    assert!(found(&b.base, 1_000_000).await, "what one stores the other finds");
    let query = json!({"id": "n1000000", "limit": 3});
    let answer = client.post(format!("{}/v1/collections/p/search", b.base)).json(&query).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());

    let writers: Vec<_> = (0..4).map(|writer| tokio::spawn(store(a.base.clone(), writer))).collect();
    tokio::time::sleep(Duration::from_secs(3)).await;
    a.kill();
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }
    let mut lost = 0;
    for number in &acknowledged {
        lost += usize::from(!found(&b.base, *number).await);
    }
    let info: Value = client.get(format!("{}/v1/collections/p", b.base)).send().await.unwrap().json().await.unwrap();
    eprintln!("acknowledged by the killed replica {}, lost {lost}; {info}", acknowledged.len());
    assert!(!acknowledged.is_empty());
    assert_eq!(lost, 0);

    // dropped by one, gone for the other
    let c = Server::start(home.path(), &settings);
    c.ready().await;
    assert_eq!(client.delete(format!("{}/v1/collections/p", c.base)).send().await.unwrap().status(), 204);
    assert_eq!(client.get(format!("{}/v1/collections/p", b.base)).send().await.unwrap().status(), 404);
    b.kill();
    c.kill();
}
