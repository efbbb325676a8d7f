//! What holds for every route: ids, timing, traces, unknown routes and methods.

use axum::body::Body;
use serde_json::json;

use crate::{
    harness::{CONTRASTIVE, Server, request},
    images::{png, uri},
};

#[tokio::test]
async fn a_sane_request_id_comes_back_and_another_is_replaced() {
    let server = Server::start().await;
    for (sent, kept) in [("my-id_1.2:3", true), ("a b", false), ("", false), (&"x".repeat(200), false)] {
        let answer = server.send(request("GET", "/livez", &[("x-request-id", sent)], Body::empty())).await;
        assert_eq!(answer.header("x-request-id") == sent, kept, "{sent:?}");
        assert!(!answer.header("x-request-id").is_empty());
    }
}

#[tokio::test]
async fn a_trace_goes_on_and_one_is_begun_where_there_is_none() {
    let server = Server::start().await;
    let sent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let answer = server.send(request("GET", "/v1/models", &[("traceparent", sent)], Body::empty())).await;
    let answered = answer.header("traceparent").to_owned();
    assert_eq!((&answered[..35], &answered[52..]), (&sent[..35], &sent[52..]));
    assert_ne!(answered, sent);
    assert_eq!(server.get("/livez").await.header("traceparent").len(), sent.len());
}

#[tokio::test]
async fn server_timing_names_the_stages_of_the_work() {
    let server = Server::start().await;
    let path = format!("/v1/embeddings?model={CONTRASTIVE}");
    let answer = server.post_raw(&path, "image/png", png(1)).await;
    answer.ok();
    let timing = answer.header("server-timing");
    for stage in ["decode", "preprocess", "queue", "infer", "total"] {
        assert!(timing.contains(&format!("{stage};dur=")), "{timing}");
    }
    assert!(server.get("/made/up").await.header("server-timing").starts_with("total;dur="));
}

#[tokio::test]
async fn unknown_routes_are_problems_whatever_the_method() {
    let server = Server::start().await;
    for path in ["/made/up", "/v1", "/v1/analyze", "/v1/encode", "/v1/collections/c/made-up", "/v2/health/live"] {
        server.get(path).await.refused(404, "route_not_found");
        server.post(path, json!({})).await.refused(404, "route_not_found");
    }
    server.get("/docs/made-up.js").await.refused(404, "route_not_found");
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let server = Server::start().await;
    for (method, path, allowed) in [
        ("GET", "/v1/embeddings", "POST"),
        ("OPTIONS", "/v1/embeddings", "POST"),
        ("POST", "/v1/models", "GET"),
        ("DELETE", "/livez", "GET"),
        ("PATCH", "/v1/collections/c", "PUT"),
        ("PUT", "/v1/collections/c/items/delete", "GET"),
        ("PUT", "/v1/collections/c/items/delete", "POST"),
        ("FETCH", "/v1/collections/c", "DELETE"),
    ] {
        let answer = server.send(request(method, path, &[], Body::empty())).await;
        let detail = answer.refused(405, "method_not_allowed");
        assert!(answer.header("allow").contains(allowed), "{method} {path}");
        assert!(detail.contains(allowed), "{method} {path}: {detail}");
    }
}

#[tokio::test]
async fn the_root_leads_to_the_documentation() {
    let server = Server::with(&[], |_| ()).await;
    let answer = server.get("/").await;
    assert_eq!((answer.status, answer.header("location")), (307, "docs/"));
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let server = Server::start().await;
    let answer = server.send(request("HEAD", "/v1/models", &[], Body::empty())).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.is_empty());
    assert_eq!(answer.header("content-type"), "application/json");
}

#[tokio::test]
async fn unknown_query_keys_are_named_with_the_known_ones() {
    let server = Server::start().await;
    for path in ["/v1/models?page=2", "/v1/collections?page=2", "/v1/models/tiny-ae?page=2"] {
        assert!(server.get(path).await.refused(400, "invalid_request").contains("`page`"), "{path}");
    }
    let detail = server.get("/v1/collections/c/items?page=2&size=3").await.refused(400, "invalid_request");
    assert!(detail.contains("`page`, `size`") && detail.contains("limit, cursor, filter"), "{detail}");
}

#[tokio::test]
async fn an_answer_nobody_accepts_is_refused_with_what_there_is() {
    let server = Server::start().await;
    let body = json!({"model": CONTRASTIVE, "images": [uri(1)]});
    let answer = server.post_accepting("/v1/embeddings", "text/html", body).await;
    assert!(answer.refused(406, "not_acceptable").contains("application/json"));
    for (method, path) in [("GET", "/v1/models"), ("GET", "/v1/collections"), ("POST", "/v1/collections/c/search")] {
        let asked = request(method, path, &[("accept", "image/png")], Body::empty());
        server.send(asked).await.refused(406, "not_acceptable");
    }
}

#[tokio::test]
async fn a_path_that_is_no_text_is_refused() {
    let server = Server::start().await;
    server.get("/v1/collections/c/items/%ff").await.refused(400, "invalid_request");
    server.get("/v1/collections/c/items/a%0ab").await.refused(400, "invalid_request");
}

#[tokio::test]
async fn a_name_that_breaks_the_rule_is_the_name_of_nothing() {
    let server = Server::start().await;
    let c = server.collection("c", CONTRASTIVE).await;
    for path in ["/v1/collections/UPPER", "/v1/collections/UPPER/items", "/v1/collections/UPPER/items/a/image"] {
        assert!(server.get(path).await.refused(404, "collection_not_found").contains("UPPER"), "{path}");
    }
    server.delete("/v1/collections/UPPER").await.refused(404, "collection_not_found");
    for action in ["items", "items/delete", "search", "search/batch", "count"] {
        let body = match action {
            "items" => json!({"items": [{"id": "a", "vector": [1]}]}),
            "items/delete" => json!({"ids": ["a"]}),
            "search" => json!({"id": "a"}),
            "search/batch" => json!({"queries": [{"id": "a"}]}),
            _ => json!({}),
        };
        server.post(&format!("/v1/collections/UPPER/{action}"), body).await.refused(404, "collection_not_found");
    }
    assert!(server.get("/v1/models/No%20Name").await.refused(404, "model_not_found").contains("No Name"));
    for route in ["embeddings", "reconstruct", "denoise", "anomaly", "preprocess"] {
        let body = json!({"model": "No Name", "images": [uri(1)]});
        server.post(&format!("/v1/{route}"), body).await.refused(404, "model_not_found");
    }
    server.put("/v1/collections/d", json!({"model": "No Name"})).await.refused(404, "model_not_found");
    server.put("/v1/collections/UPPER", json!({"dimension": 3})).await.refused(400, "invalid_request");
    server.get(&format!("{c}/items/a%0ab")).await.refused(400, "invalid_request");
}
