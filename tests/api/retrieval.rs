//! Recommending, classifying and counting values.

use serde_json::{Value, json};

use crate::{
    harness::{CONTRASTIVE, Server, floats},
    images::{data_uri, png, uri},
};

/// Vectors in a plane, each with its angle in degrees and a label.
async fn circle(server: &Server) -> String {
    let made = server.put("/v1/collections/v", json!({"dimension": 2})).await;
    assert_eq!(made.status, 201);
    let at = |angle: i32| {
        let (sin, cos) = f64::from(angle).to_radians().sin_cos();
        let label = if angle < 90 { "east" } else { "north" };
        json!({"id": format!("at{angle}"), "vector": [3.0 * cos, 3.0 * sin],
            "metadata": {"label": label, "tags": [label, "all"], "place": {"angle": angle}}})
    };
    let items: Vec<Value> = (0..180).step_by(10).map(at).collect();
    server.post("/v1/collections/v/items", json!({"items": items})).await.ok();
    "/v1/collections/v".to_owned()
}

fn ids(found: &Value) -> Vec<&str> {
    found["data"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn recommended_items_are_near_to_what_is_liked_and_none_of_it() {
    let server = Server::start().await;
    let path = format!("{}/recommend", circle(&server).await);
    let found = server.post(&path, json!({"positive": ["at20", "at40"], "limit": 2})).await.ok();
    assert_eq!(found["collection"], "v");
    assert_eq!(found["metric"], "cosine");
    assert!(found["space_key"].is_null());
    assert_eq!(ids(&found)[0], "at30");
    assert!((found["data"][0]["score"].as_f64().unwrap() - 1.0).abs() < 1e-5);
    // an id and its vector are the same example, but only an id is left out
    let mixed = server.post(&path, json!({"positive": ["at20", [3.0, 0.0]], "limit": 3})).await.ok();
    assert!(!ids(&mixed).contains(&"at20") && ids(&mixed).contains(&"at0"), "{mixed}");
    let all = server.post(&path, json!({"positive": ["at20"], "negative": ["at90"], "limit": 1000})).await.ok();
    assert_eq!(ids(&all).len(), 16);
}

#[tokio::test]
async fn disliked_examples_push_away_by_the_difference_of_the_means() {
    let server = Server::start().await;
    let c = circle(&server).await;
    // p + (p − n) of 60° and 90°, by hand; the lengths of the vectors sent do not count
    let expected =
        server.post(&format!("{c}/search"), json!({"vector": [1.0, 3_f64.sqrt() - 1.0], "limit": 5})).await.ok();
    let body = json!({"positive": ["at60"], "negative": [[0, 7]], "limit": 4});
    let found = server.post(&format!("{c}/recommend"), body).await.ok();
    let expected: Vec<&str> = ids(&expected).into_iter().filter(|id| *id != "at60").take(4).collect();
    assert_eq!(ids(&found), expected);
}

#[tokio::test]
async fn recommendations_take_the_options_of_a_search() {
    let server = Server::start().await;
    let path = format!("{}/recommend", circle(&server).await);
    let filter = json!({"must": [{"key": "label", "match": "north"}], "must_not": [{"has_id": ["at90"]}]});
    let body = json!({"positive": ["at80"], "filter": filter, "min_score": 0.9, "exact": true, "with_vector": true,
        "with_metadata": false});
    let found = server.post(&path, body).await.ok();
    assert_eq!(ids(&found), ["at100"]);
    assert_eq!(floats(&found["data"][0]["vector"]).len(), 2);
    assert!(found["data"][0].get("metadata").is_none());
}

#[tokio::test]
async fn recommendations_that_make_no_sense_are_refused() {
    let server = Server::with(&[CONTRASTIVE], |config| config.limits.vectors = 4).await;
    server.put("/v1/collections/v", json!({"dimension": 2})).await;
    let items = json!({"items": [{"id": "a", "vector": [1, 0]}, {"id": "b", "vector": [-1, 0]}]});
    server.post("/v1/collections/v/items", items).await.ok();
    let path = "/v1/collections/v/recommend";
    for (body, status, code, part) in [
        (json!({}), 400, "invalid_request", "`positive` is missing"),
        (json!({"positive": [], "negative": ["a"]}), 400, "invalid_request", "at least one `positive`"),
        (json!({"positive": "a"}), 400, "invalid_request", "`positive`"),
        (json!({"positive": ["a", 5]}), 400, "invalid_request", "element 1"),
        (json!({"positive": [[1, 2, 3]]}), 400, "invalid_request", "3 numbers"),
        (json!({"positive": ["a"], "negative": ["none"]}), 404, "item_not_found", "none"),
        (json!({"positive": ["a", "b"]}), 400, "invalid_request", "direction"),
        (json!({"positive": ["a"], "limit": 0}), 400, "invalid_request", "limit"),
        (json!({"positive": ["a"], "colour": 1}), 400, "invalid_request", "colour"),
        (json!({"positive": ["a", "b", "a"], "negative": ["a", "b"]}), 413, "payload_too_large", "limits.vectors is 4"),
        (json!({"positive": ["a"], "space_key": "m@0123456789ab"}), 409, "space_mismatch", "m@"),
    ] {
        let detail = server.post(path, body.clone()).await.refused(status, code);
        assert!(detail.contains(part), "{body}: {detail}");
    }
    server
        .post("/v1/collections/none/recommend", json!({"positive": ["a"]}))
        .await
        .refused(404, "collection_not_found");
}

#[tokio::test]
async fn neighbours_vote_for_a_label_by_their_nearness() {
    let server = Server::start().await;
    let path = format!("{}/classify", circle(&server).await);
    let body = json!({"vector": [1.0, 1.2], "key": "label", "k": 10});
    let answer = server.post(&path, body).await.ok();
    assert_eq!(answer["label"], "east");
    assert_eq!(answer["neighbours"].as_array().unwrap().len(), 10);
    assert_eq!(answer["neighbours"][0]["id"], "at50");
    // exp(score / temperature), by hand
    let weight = |label: &str| -> f64 {
        let hits = answer["neighbours"].as_array().unwrap().iter();
        let own = hits.filter(|hit| hit["metadata"]["label"] == label);
        own.map(|hit| (hit["score"].as_f64().unwrap() / 0.1).exp()).sum()
    };
    let share = weight("north") / (weight("east") + weight("north"));
    assert!((answer["votes"]["north"].as_f64().unwrap() - share).abs() < 1e-5, "{answer}");
    let sum: f64 = answer["votes"].as_object().unwrap().values().map(|vote| vote.as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-9);
    let plain =
        server.post(&path, json!({"vector": [1.0, 1.2], "key": "label", "k": 18, "temperature": 1e9})).await.ok();
    assert!((plain["votes"]["east"].as_f64().unwrap() - 0.5).abs() < 1e-6);
    assert_eq!(plain["votes"].as_object().unwrap().len(), 2);
}

#[tokio::test]
async fn neighbours_without_the_key_do_not_vote_and_nobody_voting_is_no_label() {
    let server = Server::start().await;
    let path = format!("{}/classify", circle(&server).await);
    let answer = server.post(&path, json!({"id": "at50", "key": "colour"})).await.ok();
    assert_eq!((&answer["label"], &answer["votes"]), (&Value::Null, &json!({})));
    assert_eq!(answer["neighbours"].as_array().unwrap().len(), 17, "the item itself is left out");
    let body = json!({"id": "at50", "key": "label", "filter": {"must": [{"key": "label", "match": "north"}]}, "k": 1});
    assert_eq!(server.post(&path, body).await.ok()["votes"], json!({"north": 1.0}));
    let number = server.post(&path, json!({"vector": [1, 0], "key": "place.angle", "k": 1})).await.ok();
    assert_eq!((&number["label"], &number["votes"]), (&json!("0"), &json!({"0": 1.0})));
}

#[tokio::test]
async fn an_image_is_classified_however_it_is_sent() {
    let server = Server::start().await;
    let c = server.collection("c", CONTRASTIVE).await;
    let items: Vec<Value> =
        (0..6).map(|n| json!({"id": format!("i{n}"), "image": uri(n), "metadata": {"label": n % 2 == 0}})).collect();
    server.post(&format!("{c}/items"), json!({"items": items})).await.ok();
    let path = format!("{c}/classify");
    let answer = server.post(&path, json!({"image": uri(3), "key": "label", "k": 1})).await.ok();
    assert_eq!(answer["votes"], json!({"false": 1.0}));
    assert_eq!(server.post_raw(&format!("{path}?key=label&k=1"), "image/png", png(3)).await.ok(), answer);
    assert_eq!(server.post_form(&path, &[("image", &png(3)), ("key", b"label"), ("k", b"1")]).await.ok(), answer);
    let by_id = server.post_raw(&format!("{path}?id=i3&key=label&k=2"), "", "").await.ok();
    assert_eq!(by_id["neighbours"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn classifications_that_make_no_sense_are_refused() {
    let server = Server::start().await;
    let path = format!("{}/classify", circle(&server).await);
    for (body, status, code, part) in [
        (json!({"id": "at50"}), 400, "invalid_request", "`key` is missing"),
        (json!({"id": "at50", "key": "a..b"}), 400, "invalid_request", "dotted key"),
        (json!({"id": "at50", "key": "k".repeat(257)}), 400, "invalid_request", "256 bytes"),
        (json!({"key": "label"}), 400, "invalid_request", "exactly one"),
        (json!({"id": "at50", "vector": [1, 2], "key": "label"}), 400, "invalid_request", "exactly one"),
        (json!({"id": "at50", "key": "label", "k": 0}), 400, "invalid_request", "limit is 1"),
        (json!({"id": "at50", "key": "label", "k": 1001}), 400, "invalid_request", "1000"),
        (json!({"id": "at50", "key": "label", "temperature": 0}), 400, "invalid_request", "above 0"),
        (json!({"id": "at50", "key": "label", "temperature": -1}), 400, "invalid_request", "above 0"),
        (json!({"id": "at50", "key": "label", "limit": 5}), 400, "invalid_request", "limit"),
        (json!({"id": "none", "key": "label"}), 404, "item_not_found", "none"),
        (json!({"image": data_uri(b"text"), "key": "label"}), 400, "invalid_request", "without a model"),
        (json!({"id": "at50", "key": "label", "space_key": "m@0123456789ab"}), 409, "space_mismatch", "m@"),
    ] {
        let detail = server.post(&path, body.clone()).await.refused(status, code);
        assert!(detail.contains(part), "{body}: {detail}");
    }
}

#[tokio::test]
async fn values_are_counted_most_frequent_first() {
    let server = Server::start().await;
    let c = circle(&server).await;
    let path = format!("{c}/facets");
    let tags = server.post(&path, json!({"key": "tags"})).await.ok();
    let expected =
        json!([{"value": "all", "count": 18}, {"value": "east", "count": 9}, {"value": "north", "count": 9}]);
    assert_eq!(tags, json!({"key": "tags", "data": expected}));
    let filter = json!({"must": [{"key": "place.angle", "range": {"gte": 60}}]});
    let some = server.post(&path, json!({"key": "label", "filter": filter, "limit": 1})).await.ok();
    assert_eq!(some["data"], json!([{"value": "north", "count": 9}]));
    let angles = server.post(&path, json!({"key": "place.angle", "limit": 3})).await.ok();
    assert_eq!(angles["data"], json!([{"value": 0, "count": 1}, {"value": 10, "count": 1}, {"value": 20, "count": 1}]));
    assert_eq!(server.post(&path, json!({"key": "colour"})).await.ok()["data"], json!([]));
    assert_eq!(server.post(&path, json!({"key": "place"})).await.ok()["data"], json!([]));
    for (body, status, code) in [
        (json!({}), 400, "invalid_request"),
        (json!({"key": ""}), 400, "invalid_request"),
        (json!({"key": "label", "limit": 1001}), 400, "invalid_request"),
        (json!({"key": "label", "filter": {"may": []}}), 400, "invalid_request"),
        (json!({"key": "label", "space_key": "m@0123456789ab"}), 409, "space_mismatch"),
    ] {
        server.post(&path, body).await.refused(status, code);
    }
    server.post("/v1/collections/none/facets", json!({"key": "label"})).await.refused(404, "collection_not_found");
}
