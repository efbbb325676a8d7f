use serde_json::{Value, json};

use crate::{
    harness::{CONTRASTIVE, Server, close, floats},
    images::{data_uri, png, uri},
};

/// Ten images with their numbers.
async fn shelf(server: &Server) -> String {
    let c = server.collection("c", CONTRASTIVE).await;
    let items: Vec<Value> = (0..10)
        .map(|n| json!({"id": format!("i{n}"), "image": uri(n), "metadata": {"n": n, "even": n % 2 == 0}}))
        .collect();
    server.post(&format!("{c}/items"), json!({"items": items})).await.ok();
    c
}

fn ids(found: &Value) -> Vec<&str> {
    found["data"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_image_finds_itself_first_however_it_is_sent() {
    let server = Server::start().await;
    let c = shelf(&server).await;
    let path = format!("{c}/search");
    let found = server.post(&path, json!({"image": uri(3), "limit": 4})).await.ok();
    assert_eq!(found["collection"], "c");
    assert_eq!(found["metric"], "cosine");
    assert_eq!(found["space_key"], server.get(&c).await.ok()["space_key"]);
    assert_eq!(found["data"].as_array().unwrap().len(), 4);
    assert_eq!(found["data"][0]["id"], "i3");
    assert_eq!(found["data"][0]["metadata"], json!({"n": 3, "even": false}));
    assert!(found["data"][0].get("vector").is_none());
    let scores: Vec<f64> = found["data"].as_array().unwrap().iter().map(|hit| hit["score"].as_f64().unwrap()).collect();
    assert!((scores[0] - 1.0).abs() < 1e-4 && scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    assert_eq!(server.post_raw(&format!("{path}?limit=4"), "image/png", png(3)).await.ok(), found);
    assert_eq!(server.post_form(&path, &[("image", &png(3)), ("limit", b"4")]).await.ok(), found);
    assert_eq!(server.post(&format!("{path}?limit=4"), json!({"image": {"b64": &uri(3)[22..]}})).await.ok(), found);
}

#[tokio::test]
async fn a_vector_and_an_id_find_the_same_neighbours() {
    let server = Server::start().await;
    let c = shelf(&server).await;
    let path = format!("{c}/search");
    let vector = server.get(&format!("{c}/items/i3?with_vector=true")).await.ok()["vector"].clone();
    let by_vector = server.post(&path, json!({"vector": vector, "limit": 5})).await.ok();
    assert_eq!(ids(&by_vector)[0], "i3");
    let by_id = server.post(&path, json!({"id": "i3", "limit": 4})).await.ok();
    assert_eq!(ids(&by_id), ids(&by_vector)[1..]);
    let with_self = server.post(&path, json!({"id": "i3", "limit": 5, "exclude_self": false})).await.ok();
    assert_eq!(ids(&with_self), ids(&by_vector));
    let exact = server.post(&path, json!({"vector": vector, "limit": 5, "exact": true})).await.ok();
    assert_eq!(ids(&exact), ids(&by_vector));
    assert_eq!(server.post(&path, json!({"id": "i3"})).await.ok()["data"].as_array().unwrap().len(), 9);
}

#[tokio::test]
async fn a_search_by_id_needs_no_body_and_no_image() {
    let server = Server::start().await;
    let c = shelf(&server).await;
    let path = format!("{c}/search");
    let found = server.post(&path, json!({"id": "i3", "limit": 4})).await.ok();
    let query = format!("{path}?id=i3&limit=4");
    for media in ["", "application/octet-stream", "application/json"] {
        assert_eq!(server.post_raw(&query, media, "").await.ok(), found, "{media}");
    }
    assert_eq!(server.post_form(&path, &[("id", b"i3"), ("limit", b"4")]).await.ok(), found);
    assert_eq!(server.post_form(&query, &[("id", b"i3")]).await.ok(), found);
    server.post_raw(&path, "image/png", "").await.refused(400, "invalid_request");
    server.post_form(&path, &[("limit", b"4")]).await.refused(400, "invalid_request");
    server.post_form(&query, &[("id", b"i4")]).await.refused(400, "invalid_request");
    server.post_form(&query, &[("image", &png(1))]).await.refused(400, "invalid_request");
}

#[tokio::test]
async fn answers_hold_what_was_asked_for() {
    let server = Server::start().await;
    let c = shelf(&server).await;
    let body = json!({"image": uri(3), "limit": 2, "with_vector": true, "with_metadata": false});
    let found = server.post(&format!("{c}/search"), body).await.ok();
    let vector = server.get(&format!("{c}/items/i3?with_vector=true")).await.ok()["vector"].clone();
    close(&floats(&found["data"][0]["vector"]), &floats(&vector));
    assert!(found["data"][0].get("metadata").is_none());
}

#[tokio::test]
async fn filters_and_scores_narrow_the_search() {
    let server = Server::start().await;
    let c = shelf(&server).await;
    let path = format!("{c}/search");
    let filter = json!({"must": [{"key": "even", "match": true}], "must_not": [{"has_id": ["i4"]}]});
    let found = server.post(&path, json!({"image": uri(3), "filter": filter})).await.ok();
    let mut even = ids(&found);
    even.sort_unstable();
    assert_eq!(even, ["i0", "i2", "i6", "i8"]);
    let found = server.post(&path, json!({"image": uri(3), "min_score": 0.9999})).await.ok();
    assert!(ids(&found).contains(&"i3"));
    assert!(found["data"].as_array().unwrap().iter().all(|hit| hit["score"].as_f64().unwrap() >= 0.9999));
    let encoded = "%7B%22must%22%3A%5B%7B%22key%22%3A%22n%22%2C%22any%22%3A%5B1%2C2%5D%7D%5D%7D";
    let found = server.post_raw(&format!("{path}?filter={encoded}"), "image/png", png(2)).await.ok();
    assert_eq!(ids(&found).len(), 2);
}

#[tokio::test]
async fn searches_that_make_no_sense_are_refused() {
    let server = Server::start().await;
    let c = shelf(&server).await;
    let path = format!("{c}/search");
    let other = "other@0123456789ab";
    for (body, status, code) in [
        (json!({}), 400, "invalid_request"),
        (json!({"id": "i1", "image": uri(1)}), 400, "invalid_request"),
        (json!({"vector": [1.0, 2.0]}), 400, "invalid_request"),
        (json!({"vector": []}), 400, "invalid_request"),
        (json!({"vector": [1e39, 1.0]}), 400, "invalid_request"),
        (json!({"vector": "far"}), 400, "invalid_request"),
        (json!({"id": "i1", "limit": 0}), 400, "invalid_request"),
        (json!({"id": "i1", "limit": 1001}), 400, "invalid_request"),
        (json!({"id": "i1", "filter": {"may": []}}), 400, "invalid_request"),
        (json!({"id": "i1", "min_score": 1e39}), 400, "invalid_request"),
        (json!({"id": "i1", "colour": "red"}), 400, "invalid_request"),
        (json!({"id": "none"}), 404, "item_not_found"),
        (json!({"image": data_uri(b"text")}), 422, "invalid_image"),
        (json!({"image": {"url": "https://example.org/a.png"}}), 403, "forbidden"),
        (json!({"id": "i1", "space_key": other}), 409, "space_mismatch"),
    ] {
        server.post(&path, body).await.refused(status, code);
    }
    for text in ["{\"vector\": [NaN]}", "{\"vector\": [Infinity]}", "{\"vector\": [1, 1e999]}"] {
        server.post_raw(&path, "application/json", text).await.refused(400, "invalid_request");
    }
    let two: &[(&str, &[u8])] = &[("image", &png(1)), ("image", &png(2))];
    server.post_form(&path, two).await.refused(400, "invalid_request");
    server.post("/v1/collections/none/search", json!({"id": "a"})).await.refused(404, "collection_not_found");
}

#[tokio::test]
async fn a_collection_without_a_model_is_searched_by_vector_only() {
    let server = Server::start().await;
    server.put("/v1/collections/v", json!({"dimension": 2, "metric": "euclid"})).await;
    let items = json!({"items": [{"id": "a", "vector": [0, 0]}, {"id": "b", "vector": [3, 4]}]});
    server.post("/v1/collections/v/items", items).await.ok();
    let found = server.post("/v1/collections/v/search", json!({"vector": [0, 0]})).await.ok();
    assert_eq!(ids(&found), ["a", "b"]);
    assert_eq!(found["data"][1]["score"], -5.0);
    assert!(found["space_key"].is_null());
    server.post("/v1/collections/v/search", json!({"image": uri(1)})).await.refused(400, "invalid_request");
}
