//! Several searches in one request.

use serde_json::{Value, json};

use crate::{
    harness::{CONTRASTIVE, Server},
    images::{data_uri, uri},
};

async fn shelf(server: &Server) -> String {
    let c = server.collection("c", CONTRASTIVE).await;
    let items: Vec<Value> = (0..5).map(|n| json!({"id": format!("i{n}"), "image": uri(n)})).collect();
    server.post(&format!("{c}/items"), json!({"items": items})).await.ok();
    c
}

#[tokio::test]
async fn each_query_has_the_result_it_would_have_alone() {
    let server = Server::start().await;
    let c = shelf(&server).await;
    let queries = [json!({"image": uri(3), "limit": 2}), json!({"id": "i1"}), json!({"image": uri(0), "exact": true})];
    let answer = server.post(&format!("{c}/search/batch"), json!({"queries": queries})).await.ok();
    for (result, query) in answer["results"].as_array().unwrap().iter().zip(queries) {
        assert_eq!(result["data"], server.post(&format!("{c}/search"), query).await.ok()["data"]);
    }
}

#[tokio::test]
async fn each_bad_query_has_its_own_error() {
    let server = Server::start().await;
    let c = shelf(&server).await;
    let queries = json!([
        {"id": "i1"}, {"id": "none"}, {"vector": [1]}, {}, {"id": "i1", "colour": "red"},
        {"image": data_uri(b"text")}, {"id": "i1", "space_key": "m@0123456789ab"}, {"image": 5}, {"vector": "far"}, 5
    ]);
    let path = format!("{c}/search/batch");
    let results = server.post(&path, json!({"queries": queries})).await.ok()["results"].clone();
    assert!(results[0]["data"].is_array() && results[0].get("error").is_none());
    let codes: Vec<&str> =
        results.as_array().unwrap()[1..].iter().map(|result| result["error"]["code"].as_str().unwrap()).collect();
    let bad = "invalid_request";
    assert_eq!(codes, ["item_not_found", bad, bad, bad, "invalid_image", "space_mismatch", bad, bad, bad]);
    assert!(results[1]["error"]["message"].as_str().is_some_and(|message| !message.is_empty()));
    server.post(&path, json!({"queries": queries, "strict": true})).await.refused(404, "item_not_found");
}

#[tokio::test]
async fn a_batch_has_one_to_a_thousand_queries() {
    let server = Server::start().await;
    let c = shelf(&server).await;
    let path = format!("{c}/search/batch");
    let many = vec![json!({"id": "i1"}); 1001];
    server.post(&path, json!({"queries": many})).await.refused(413, "payload_too_large");
    for bad in [json!({}), json!({"queries": []}), json!({"queries": {}}), json!({"queries": [{}], "limit": 3})] {
        server.post(&path, bad).await.refused(400, "invalid_request");
    }
}
