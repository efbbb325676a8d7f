//! A collection as a whole: duplicates, map, health.

use std::time::{Duration, Instant};

use axum::body::Body;
use serde_json::{Value, json};

use crate::{
    harness::{Answer, CONTRASTIVE, Server, request},
    images::uri,
};

async fn collection(server: &Server, settings: Value, items: Vec<Value>) -> String {
    assert_eq!(server.put("/v1/collections/v", settings).await.status, 201);
    for items in items.chunks(64) {
        server.post("/v1/collections/v/items", json!({ "items": items })).await.ok();
    }
    "/v1/collections/v".to_owned()
}

fn item(id: impl ToString, vector: &[f64]) -> Value {
    json!({"id": id.to_string(), "vector": vector, "metadata": {"label": vector[0] > 0.0, "tags": ["x", "y"]}})
}

/// Vectors all over the place, by number.
fn scattered(count: usize, dimension: usize) -> Vec<Value> {
    let value = |at: usize, n: usize| ((at * 7919 + n * 104_729 + at * n * 31) as f64 * 0.754_877_666).sin();
    (0..count).map(|at| item(at, &(0..dimension).map(|n| value(at, n)).collect::<Vec<_>>())).collect()
}

/// The binary map: its head, and the words behind it.
async fn map_file(server: &Server, path: &str, known: Option<&str>) -> (Answer, Value, Vec<[u8; 4]>) {
    let mut headers = vec![("accept", "application/octet-stream")];
    headers.extend(known.map(|tag| ("if-none-match", tag)));
    let answer = server.send(request("GET", path, &headers, Body::empty())).await;
    if answer.status != 200 {
        return (answer, Value::Null, Vec::new());
    }
    let (length, rest) = answer.body.split_first_chunk::<4>().unwrap();
    let (head, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
    let (head, words) = (serde_json::from_slice(head).unwrap(), rest.as_chunks::<4>().0.to_vec());
    (answer, head, words)
}

/// With so little time that work in the background cannot end within.
async fn hurried(server: &Server, path: &str) -> Answer {
    server.send(request("GET", path, &[("x-request-timeout-ms", "51")], Body::empty())).await
}

async fn patiently(server: &Server, path: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = server.get(path).await;
        if answer.status == 200 && answer.json()["current"] == true {
            return answer.json();
        }
        assert!(Instant::now() < deadline, "{}", answer.text());
    }
}

#[track_caller]
fn near(value: &Value, expected: f64) {
    assert!((value.as_f64().unwrap() - expected).abs() < 1e-5, "{value} is not {expected}");
}

#[tokio::test]
async fn what_is_all_but_the_same_is_grouped() {
    let server = Server::start().await;
    let mut items: Vec<Value> =
        (0..50).map(|n| item(format!("copy{n:02}"), &[1.0, 0.001 * f64::from(n), 0.0])).collect();
    items.extend([item("a", &[0.0, 1.0, 0.2]), item("b", &[0.0, 3.0, 0.2]), item("c", &[0.0, 0.0, 1.0])]);
    let c = collection(&server, json!({"dimension": 3}), items).await;
    let found = server.get(&format!("{c}/duplicates")).await.ok();
    assert_eq!((&found["collection"], &found["metric"]), (&json!("v"), &json!("cosine")));
    assert_eq!((&found["count"], &found["total"], &found["current"]), (&json!(53), &json!(2), &json!(true)));
    near(&found["min_score"], 0.95);
    let groups = found["groups"].as_array().unwrap();
    assert_eq!(groups[0]["size"], 50, "more than the neighbours of one item");
    assert_eq!(groups[0]["ids"].as_array().unwrap().len(), 50);
    assert_eq!((&groups[1]["size"], &groups[1]["ids"]), (&json!(2), &json!(["a", "b"])));
    let cosine = 3.04 / (1.04_f64 * 9.04).sqrt();
    near(&groups[1]["min_score"], cosine);
    near(&groups[1]["max_score"], cosine);
    let one = server.get(&format!("{c}/duplicates?limit=1")).await.ok();
    assert_eq!((one["groups"].as_array().unwrap().len(), &one["total"]), (1, &json!(2)));
    let none = server.get(&format!("{c}/duplicates?min_score=1.5")).await.ok();
    assert_eq!((&none["total"], &none["groups"]), (&json!(0), &json!([])));
}

#[tokio::test]
async fn other_metrics_need_a_score_of_their_own() {
    let server = Server::start().await;
    let items = vec![item("a", &[1.0, 0.0]), item("b", &[1.5, 0.0]), item("c", &[9.0, 0.0])];
    let c = collection(&server, json!({"dimension": 2, "metric": "euclid"}), items).await;
    let detail = server.get(&format!("{c}/duplicates")).await.refused(400, "invalid_request");
    assert!(detail.contains("`min_score` is missing") && detail.contains("euclid"), "{detail}");
    let found = server.get(&format!("{c}/duplicates?min_score=-1")).await.ok();
    assert_eq!(found["groups"], json!([{"size": 2, "ids": ["a", "b"], "min_score": -0.5, "max_score": -0.5}]));
}

#[tokio::test]
async fn what_takes_longer_goes_on_in_the_background_and_old_results_say_so() {
    let server = Server::start().await;
    let c = collection(&server, json!({"dimension": 32}), scattered(1500, 32)).await;
    let path = format!("{c}/duplicates?min_score=0.99");
    let first = hurried(&server, &path).await;
    let detail = first.refused(503, "unavailable");
    assert!(detail.contains("ask again"), "{detail}");
    assert_eq!((first.header("retry-after"), first.header("retry-after-ms")), ("2", "2000"));
    assert_eq!(patiently(&server, &path).await["count"], 1500);
    server.post(&format!("{c}/items"), json!({"items": [item("new", &[1.0; 32])]})).await.ok();
    let stale = hurried(&server, &path).await.ok();
    assert_eq!((&stale["current"], &stale["count"]), (&json!(false), &json!(1500)));
    assert_eq!(patiently(&server, &path).await["count"], 1501);
}

#[tokio::test]
async fn jobs_beyond_the_limit_are_refused_and_neighbouring_scores_share_one() {
    let server = Server::with(&[CONTRASTIVE], |config| config.limits.background_jobs = 1).await;
    let c = collection(&server, json!({"dimension": 32}), scattered(1500, 32)).await;
    let ask = async |score: &str| hurried(&server, &format!("{c}/duplicates?min_score={score}")).await;
    // all of them ask before the job of the first has had a turn
    let (first, same, second, third) = tokio::join!(ask("0.9904"), ask("0.9901"), ask("0.98"), ask("0.97"));
    for answer in [first, same] {
        answer.refused(503, "unavailable");
    }
    for answer in [second, third] {
        assert!(answer.refused(429, "overloaded").contains("limits.background_jobs"));
        assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 2);
    }
    let found = patiently(&server, &format!("{c}/duplicates?min_score=0.99099")).await;
    near(&found["min_score"], 0.99);
}

#[tokio::test]
async fn the_map_spreads_the_items_in_a_plane() {
    let server = Server::start().await;
    let corners = [(-3.0, 1.0), (3.0, 1.0), (-3.0, -1.0), (3.0, -1.0)];
    let items = ["a", "b", "c", "d"].iter().zip(corners).map(|(id, (x, y))| item(id, &[x, y, 5.0])).collect();
    let c = collection(&server, json!({"dimension": 3, "metric": "dot"}), items).await;
    let map = server.get(&format!("{c}/map?key=label")).await.ok();
    assert_eq!((&map["method"], &map["count"], &map["max_points"]), (&json!("pca"), &json!(4), &json!(5000)));
    near(&map["explained"][0], 0.9);
    for (point, (x, y)) in map["points"].as_array().unwrap().iter().zip(corners) {
        near(&point["x"], x);
        near(&point["y"], y);
        assert_eq!(point["value"], x > 0.0);
    }
    assert!(server.get(&format!("{c}/map")).await.ok()["points"][0].get("value").is_none());
    assert_eq!(server.get(&format!("{c}/map?key=tags")).await.ok()["points"][0]["value"], "x");
    server.post(&format!("{c}/items/delete"), json!({"ids": ["a"]})).await.ok();
    assert_eq!(server.get(&format!("{c}/map?key=label")).await.ok()["points"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_map_of_neighbours_is_computed_once_and_takes_the_values_of_any_key() {
    let server = Server::start().await;
    let around = |n: usize| {
        let centre = if n.is_multiple_of(2) { 2.0 } else { -2.0 };
        let value = |at: usize| ((n * 7919 + at * 104_729) as f64 * 0.754_877_666).sin();
        item(format!("i{n:02}"), &[centre + value(0), value(1), value(2), value(3)])
    };
    let items = (0..40).map(around).collect();
    let c = collection(&server, json!({"dimension": 4, "metric": "euclid"}), items).await;
    let first = hurried(&server, &format!("{c}/map?method=tsne")).await;
    assert!(first.refused(503, "unavailable").contains("ask again"));
    let map = patiently(&server, &format!("{c}/map?method=tsne")).await;
    assert_eq!((&map["method"], &map["count"], &map["max_points"]), (&json!("tsne"), &json!(40), &json!(5000)));
    assert_eq!((&map["explained"], &map["points"][0].get("value")), (&json!(null), &None));
    let labelled = patiently(&server, &format!("{c}/map?method=tsne&key=label")).await;
    let points = labelled["points"].as_array().unwrap();
    let place = |point: &Value| [point["x"].as_f64().unwrap(), point["y"].as_f64().unwrap()];
    for (plain, point) in map["points"].as_array().unwrap().iter().zip(points) {
        assert_eq!((&plain["id"], place(plain)), (&point["id"], place(point)));
        let apart = |other: &&Value| (0..2).map(|axis| (place(point)[axis] - place(other)[axis]).powi(2)).sum::<f64>();
        let nearest = points.iter().filter(|other| other["id"] != point["id"]);
        let nearest = nearest.min_by(|a, b| apart(a).total_cmp(&apart(b))).unwrap();
        assert_eq!(point["value"], nearest["value"], "{point} beside {nearest}");
    }
    server.post(&format!("{c}/items/delete"), json!({"ids": ["i00"]})).await.ok();
    let stale = hurried(&server, &format!("{c}/map?method=tsne&key=label")).await.ok();
    assert_eq!((&stale["current"], stale["points"].as_array().unwrap().len()), (&json!(false), 40));
    let fresh = patiently(&server, &format!("{c}/map?method=tsne&key=label")).await;
    assert_eq!((&fresh["count"], fresh["points"].as_array().unwrap().len()), (&json!(39), 39));
}

#[tokio::test]
async fn longer_vectors_make_fewer_points_of_a_map() {
    let server = Server::start().await;
    let c = collection(&server, json!({"dimension": 4096}), scattered(3, 4096)).await;
    assert_eq!(server.get(&format!("{c}/map")).await.ok()["max_points"], 4096);
    let map = server.get(&format!("{c}/map?method=tsne")).await.ok();
    assert_eq!((&map["max_points"], map["points"].as_array().unwrap().len()), (&json!(2048), 3));
}

#[tokio::test]
async fn a_collapse_shows_in_the_figures_of_health() {
    let server = Server::start().await;
    let c = collection(&server, json!({"dimension": 8, "metric": "dot"}), scattered(400, 8)).await;
    let sound = server.get(&format!("{c}/health")).await.ok();
    assert_eq!((&sound["count"], &sound["sampled"], &sound["dimension"]), (&json!(400), &json!(400), &json!(8)));
    assert!(sound["effective_rank"].as_f64().unwrap() > 6.0, "{sound}");
    assert_eq!(sound["active_units"], json!({"count": 8, "threshold": 0.01}));
    assert!(sound["norms"]["min"].as_f64() < sound["norms"]["mean"].as_f64());
    assert!(sound["nearest"]["mean_distance"].is_null());
    assert_eq!(server.delete(&c).await.status, 204);
    let line = |n: u32| item(n, &[1.0 + f64::from(n) / 1000.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    let settings = json!({"dimension": 8, "metric": "euclid"});
    let c = collection(&server, settings, (0..100).map(line).collect()).await;
    let collapsed = server.get(&format!("{c}/health")).await.ok();
    assert_eq!((&collapsed["count"], &collapsed["current"]), (&json!(100), &json!(true)));
    assert!((collapsed["effective_rank"].as_f64().unwrap() - 1.0).abs() < 1e-3, "{collapsed}");
    assert_eq!(collapsed["active_units"]["count"], 0);
    assert!((collapsed["nearest"]["mean_distance"].as_f64().unwrap() - 0.001).abs() < 1e-4, "{collapsed}");
    let metrics = server.get("/metrics").await.text();
    for name in ["norm_mean", "norm_std", "effective_rank", "active_units", "nearest_score"] {
        assert!(metrics.contains(&format!("latentd_collection_{name}{{collection=\"v\"}}")), "{name}");
    }
    assert_eq!(server.delete(&c).await.status, 204);
    assert!(!server.get("/metrics").await.text().contains("effective_rank{"));
}

#[tokio::test]
async fn queries_from_elsewhere_show_as_drift() {
    let server = Server::start().await;
    let items = scattered(300, 6);
    let c = collection(&server, json!({"dimension": 6, "metric": "euclid"}), items.clone()).await;
    let drift = async || server.get(&format!("{c}/health")).await.ok()["drift"].clone();
    assert_eq!(drift().await, json!({"queries": 0, "score": null}));
    server.post(&format!("{c}/search"), json!({"id": "1"})).await.ok();
    assert_eq!(drift().await["queries"], 0, "an item is no query from outside");
    let search = async |vectors: Vec<Value>| {
        for vectors in vectors.chunks(60) {
            let queries: Vec<Value> = vectors.iter().map(|vector| json!({"vector": vector, "limit": 1})).collect();
            server.post(&format!("{c}/search/batch"), json!({ "queries": queries })).await.ok();
        }
    };
    search(items[..49].iter().map(|item| item["vector"].clone()).collect()).await;
    assert_eq!(drift().await, json!({"queries": 49, "score": null}));
    search(items[49..].iter().map(|item| item["vector"].clone()).collect()).await;
    assert!(drift().await["score"].as_f64().unwrap() < 0.01, "{}", drift().await);
    search(vec![json!([5, 5, 5, 5, 5, 5]); 600]).await;
    assert!(drift().await["score"].as_f64().unwrap() > 1.0, "{}", drift().await);
    assert!(server.get("/metrics").await.text().contains("latentd_collection_query_drift{collection=\"v\"}"));
}

#[tokio::test]
async fn collections_with_nothing_in_them_have_no_figures() {
    let server = Server::start().await;
    let c = collection(&server, json!({"dimension": 4}), Vec::new()).await;
    let health = server.get(&format!("{c}/health")).await.ok();
    assert_eq!((&health["sampled"], &health["norms"]), (&json!(0), &json!(null)));
    assert_eq!((&health["effective_rank"], &health["nearest"]), (&json!(null), &json!(null)));
    assert_eq!(health["active_units"], json!({"count": null, "threshold": 0.0025}));
    assert_eq!(server.get(&format!("{c}/map")).await.ok()["points"], json!([]));
    assert_eq!(server.get(&format!("{c}/map?method=tsne")).await.ok()["points"], json!([]));
    assert_eq!(server.get(&format!("{c}/duplicates")).await.ok()["groups"], json!([]));
    server.post(&format!("{c}/items"), json!({"items": [item("a", &[1.0, 0.0, 0.0, 0.0])]})).await.ok();
    let one = server.get(&format!("{c}/health")).await.ok();
    assert_eq!((&one["sampled"], &one["effective_rank"], &one["nearest"]), (&json!(1), &json!(null), &json!(null)));
    assert_eq!(one["norms"], json!({"mean": 1.0, "std": 0.0, "min": 1.0, "max": 1.0}));
}

#[tokio::test]
async fn collections_of_images_name_their_space() {
    let server = Server::start().await;
    let c = server.collection("c", CONTRASTIVE).await;
    let items: Vec<Value> = (0..6).map(|n| json!({"id": format!("i{n}"), "image": uri(n % 3)})).collect();
    server.post(&format!("{c}/items"), json!({"items": items})).await.ok();
    let key = server.get(&c).await.ok()["space_key"].clone();
    let found = server.get(&format!("{c}/duplicates?min_score=0.9999")).await.ok();
    assert_eq!(found["space_key"], key);
    assert!(found["groups"].to_string().contains("i0"), "{found}");
    for route in ["map", "health"] {
        assert_eq!(server.get(&format!("{c}/{route}")).await.ok()["space_key"], key);
    }
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused() {
    let server = Server::start().await;
    let c = collection(&server, json!({"dimension": 2}), Vec::new()).await;
    for (path, status, code) in [
        ("duplicates?min_score=high", 400, "invalid_request"),
        ("duplicates?min_score=NaN", 400, "invalid_request"),
        ("duplicates?limit=0", 400, "invalid_request"),
        ("duplicates?limit=1001", 400, "invalid_request"),
        ("duplicates?colour=red", 400, "invalid_request"),
        ("duplicates?space_key=m@0123456789ab", 409, "space_mismatch"),
        ("map?key=a..b", 400, "invalid_request"),
        ("map?method=umap", 400, "invalid_request"),
        ("map?space_key=m@0123456789ab", 409, "space_mismatch"),
        ("health?key=a", 400, "invalid_request"),
        ("health?space_key=m@0123456789ab", 409, "space_mismatch"),
    ] {
        server.get(&format!("{c}/{path}")).await.refused(status, code);
    }
    let detail = server.get(&format!("{c}/map?method=umap")).await.refused(400, "invalid_request");
    assert!(detail.contains("method") && detail.contains("`pca` or `tsne`"), "{detail}");
    for route in ["duplicates", "map", "map?method=tsne", "health"] {
        server.get(&format!("/v1/collections/none/{route}")).await.refused(404, "collection_not_found");
    }
}

#[tokio::test]
async fn a_map_as_a_file_is_the_same_map_and_is_sent_once() {
    let server = Server::start().await;
    let c = collection(&server, json!({"dimension": 4}), scattered(60, 4)).await;
    let path = format!("{c}/map?key=label");
    let map = server.get(&path).await.ok();
    let (answer, head, words) = map_file(&server, &path, None).await;
    assert_eq!((answer.header("content-type"), answer.header("x-latentd-shape")), ("application/octet-stream", "60,2"));
    for field in ["collection", "metric", "current", "method", "count", "max_points", "explained"] {
        assert_eq!(head[field], map[field], "{field}");
    }
    assert_eq!((&head["points"], &head["column"]), (&json!(60), &json!("categories")));
    for (at, point) in map["points"].as_array().unwrap().iter().enumerate() {
        near(&point["x"], f64::from(f32::from_le_bytes(words[at])));
        near(&point["y"], f64::from(f32::from_le_bytes(words[60 + at])));
        let code = u32::from_le_bytes(words[120 + at]) as usize;
        assert_eq!(head["categories"][code], point["value"]);
    }
    let tag = answer.header("etag").to_owned();
    assert_eq!(map_file(&server, &path, Some(&tag)).await.0.status, 304);
    assert_eq!(map_file(&server, &format!("{c}/map?key=tags"), Some(&tag)).await.0.status, 200, "another map");
    assert_ne!(server.get(&path).await.header("etag"), tag, "the same map in another form");
    server.post(&format!("{c}/items"), json!({"items": [item("new", &[1.0; 4])]})).await.ok();
    let changed = map_file(&server, &path, Some(&tag)).await;
    assert_eq!((changed.0.status, &changed.1["points"]), (200, &json!(61)));
}

#[tokio::test]
async fn a_large_map_has_the_axes_of_its_sample_and_a_small_one_fewer_points() {
    let server = Server::start().await;
    let c = collection(&server, json!({"dimension": 2, "metric": "euclid"}), scattered(6000, 2)).await;
    let large = patiently(&server, &format!("{c}/map?points=200000")).await;
    assert_eq!((large["points"].as_array().unwrap().len(), &large["max_points"]), (6000, &json!(200_000)));
    let plain = patiently(&server, &format!("{c}/map")).await;
    assert_eq!(plain["points"].as_array().unwrap().len(), 5000);
    // in two dimensions the plane is the whole space: all distances stay
    let point = |at: usize| ["x", "y"].map(|axis| large["points"][at][axis].as_f64().unwrap());
    let ids = [large["points"][7]["id"].as_str().unwrap(), large["points"][5000]["id"].as_str().unwrap()];
    let mut vectors = Vec::new();
    for id in ids {
        let found = server.get(&format!("{c}/items/{id}?with_vector=true")).await.ok();
        vectors.push([0, 1].map(|axis| found["vector"][axis].as_f64().unwrap()));
    }
    let distance = |a: [f64; 2], b: [f64; 2]| (a[0] - b[0]).hypot(a[1] - b[1]);
    let (shown, real) = (distance(point(7), point(5000)), distance(vectors[0], vectors[1]));
    assert!((shown - real).abs() < 1e-4, "{shown} is not {real}");
    let few = patiently(&server, &format!("{c}/map?points=10&method=tsne")).await;
    assert_eq!(few["points"].as_array().unwrap().len(), 10);
    for points in ["0", "200001", "many"] {
        server.get(&format!("{c}/map?points={points}")).await.refused(400, "invalid_request");
    }
}
