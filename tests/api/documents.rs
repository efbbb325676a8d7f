//! The OpenAPI document and its page.

use std::path::Path;

use crate::harness::Server;

#[test]
fn the_committed_openapi_document_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    let generated = latentd::http::openapi().to_pretty_json().unwrap();
    assert!(committed.trim_end() == generated.trim_end(), "docs/openapi.json is out of date: run `make openapi`");
}

#[tokio::test]
async fn the_document_is_served_and_has_a_page_that_needs_no_network() {
    let server = Server::with(&[], |_| ()).await;
    let served = server.get("/openapi.json").await.ok();
    let generated: serde_json::Value = serde_json::to_value(latentd::http::openapi()).unwrap();
    assert_eq!(served, generated);
    let page = server.get("/docs/").await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(!page.text().contains("https://"), "{}", page.text());
    assert!(server.get("/docs/swagger-initializer.js").await.text().contains("\"openapi.json\""));
}

#[tokio::test]
async fn the_page_and_its_document_hold_below_any_path_of_a_proxy() {
    let server = Server::with(&[], |_| ()).await;
    for path in ["/docs", "/"] {
        assert_eq!(server.get(path).await.header("location"), "docs/", "{path}");
    }
    let page = server.get("/docs/").await.text();
    let absolute = ["src=\"/", "href=\"/"].into_iter().find(|start| page.contains(start));
    assert_eq!(absolute, None, "{page}");
    let of_page = server.get("/docs/openapi.json").await.ok();
    assert_eq!(of_page["servers"], serde_json::json!([{"url": ".."}]));
    assert_eq!(of_page["paths"], server.get("/openapi.json").await.ok()["paths"]);
}
