//! The page at `/`: who gets it, what it may do, and what a browser may do with everything else.

use axum::body::Body;
use serde_json::json;

use crate::{
    harness::{Answer, CONTRASTIVE, Server, request},
    images::data_uri,
};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";

/// A file of the samples, as JSON takes it.
fn sample(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/images/samples").join(name);
    data_uri(&std::fs::read(path).unwrap())
}

async fn accepting(server: &Server, path: &str, accept: &str) -> Answer {
    server.send(request("GET", path, &[("accept", accept)], Body::empty())).await
}

async fn knowing(server: &Server, path: &str, headers: &[(&str, &str)]) -> Answer {
    server.send(request("GET", path, headers, Body::empty())).await
}

#[tokio::test]
async fn browsers_get_the_page_with_its_policy_and_others_the_way_to_the_documentation() {
    let server = Server::with(&[], |_| ()).await;
    let page = accepting(&server, "/", BROWSER).await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    let policy = page.header("content-security-policy");
    for rule in ["default-src 'none'", "script-src 'self';", "style-src 'self';", "trusted-types 'none'"] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert_eq!((page.header("x-content-type-options"), page.header("vary")), ("nosniff", "accept"));
    let known = [("accept", BROWSER), ("if-none-match", page.header("etag"))];
    let again = knowing(&server, "/", &known).await;
    assert_eq!((again.status, again.headers.get("content-security-policy")), (304, None));
    for accept in ["*/*", "application/json"] {
        let other = accepting(&server, "/", accept).await;
        assert_eq!((other.status, other.header("location")), (307, "docs/"), "{accept}");
    }
}

#[tokio::test]
async fn every_file_that_the_page_names_is_there_and_is_sent_once() {
    let server = Server::with(&[], |_| ()).await;
    let page = accepting(&server, "/", BROWSER).await;
    let text = page.text();
    let named: Vec<&str> = text.split(['"', '\'']).filter(|part| part.starts_with("/ui/")).collect();
    assert!(named.len() > 2, "{text}");
    for path in named {
        let file = server.get(path).await;
        assert_eq!(file.status, 200, "{path}");
        assert_eq!(file.header("cache-control"), "private, no-cache");
        let again = knowing(&server, path, &[("if-none-match", file.header("etag"))]).await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
    }
    server.get("/ui/made-up.js").await.refused(404, "route_not_found");
    server.get("/ui/../Cargo.toml").await.refused(404, "route_not_found");
}

#[tokio::test]
async fn the_page_can_be_taken_out() {
    let server = Server::with(&[], |config| config.ui.enabled = false).await;
    let root = accepting(&server, "/", BROWSER).await;
    assert_eq!((root.status, root.header("location")), (307, "docs/"));
    server.get("/ui/app.js").await.refused(404, "route_not_found");
}

#[tokio::test]
async fn nothing_that_a_browser_could_show_is_sniffed_or_run() {
    let server = Server::start().await;
    let c = server.collection("c", CONTRASTIVE).await;
    let item = json!({"id": "<b>&.html", "image": sample("rgb.png"), "metadata": {"t": "<script>alert(1)</script>"}});
    server.post(&format!("{c}/items"), json!({"items": [item]})).await.ok();
    let image = format!("{c}/items/%3Cb%3E%26.html/image");
    for path in [&image, &format!("{c}/items"), "/v1/models", "/metrics", "/livez", "/made/up"] {
        let answer = server.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
    }
    let docs = server.get("/docs/").await;
    assert!(docs.header("content-security-policy").contains("script-src 'self';"));
}

#[tokio::test]
async fn thumbnails_are_small_jpegs_that_a_client_may_keep() {
    let server = Server::start().await;
    let c = server.collection("c", CONTRASTIVE).await;
    let items = json!([{"id": "jpeg", "image": sample("420.jpg")}, {"id": "tiff", "image": sample("rgb.tiff")}]);
    server.post(&format!("{c}/items"), json!({"items": items})).await.ok();
    let image = format!("{c}/items/tiff/image");
    let whole = server.get(&image).await;
    assert_eq!(whole.header("content-type"), "image/tiff");
    let small = server.get(&format!("{image}?size=16")).await;
    assert_eq!((small.status, small.header("content-type")), (200, "image/jpeg"));
    assert_eq!(small.header("cache-control"), "private, max-age=60");
    let header = latentd::image::read_header(&small.body).unwrap();
    assert_eq!(header.width.max(header.height), 16);
    let tag = small.header("etag").to_owned();
    assert_ne!(tag, whole.header("etag"));
    let again = knowing(&server, &format!("{image}?size=16"), &[("if-none-match", &tag)]).await;
    assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, tag.as_str()));
    // a small file of a format that every browser shows is the thumbnail itself
    let jpeg = server.get(&format!("{c}/items/jpeg/image")).await;
    assert_eq!(server.get(&format!("{c}/items/jpeg/image?size=512")).await.body, jpeg.body);
    server.post(&format!("{c}/items"), json!({"items": [{"id": "tiff", "image": sample("420.jpg")}]})).await.ok();
    let replaced = knowing(&server, &format!("{image}?size=16"), &[("if-none-match", &tag)]).await;
    assert_eq!(replaced.status, 200, "another image has another tag");
    for size in ["15", "513", "-1", "x"] {
        server.get(&format!("{image}?size={size}")).await.refused(400, "invalid_request");
    }
}

#[tokio::test]
async fn sprites_come_on_one_sheet_and_items_without_images_leave_gaps() {
    let server = Server::start().await;
    let c = server.collection("c", CONTRASTIVE).await;
    let items: Vec<_> = (0..18).map(|at| json!({"id": at.to_string(), "image": sample("420.jpg")})).collect();
    server.post(&format!("{c}/items"), json!({"items": items})).await.ok();
    let ids: Vec<String> = (0..19).map(|at| at.to_string()).collect();
    let query = json!(ids).to_string().replace('"', "%22");
    let sheet = server.get(&format!("{c}/sprites?size=8&ids={query}")).await;
    assert_eq!((sheet.status, sheet.header("content-type")), (200, "image/jpeg"), "{}", sheet.text());
    let header = latentd::image::read_header(&sheet.body).unwrap();
    assert_eq!((header.width, header.height), (128, 16));
    let detail = server.get(&format!("{c}/sprites?ids=[]")).await.refused(400, "invalid_request");
    assert!(detail.contains("256"), "{detail}");
    server.get("/v1/collections/none/sprites?ids=[%22a%22]").await.refused(404, "collection_not_found");
}

#[tokio::test]
async fn pages_tell_which_items_have_an_image() {
    let server = Server::start().await;
    let c = server.collection("c", CONTRASTIVE).await;
    let vector = vec![1.0; 8];
    let items = json!([{"id": "a", "image": sample("rgb.png")}, {"id": "b", "vector": vector}]);
    server.post(&format!("{c}/items"), json!({"items": items})).await.ok();
    for filter in ["", "?filter=%7B%22must_not%22:[%7B%22has_id%22:[%22none%22]%7D]%7D"] {
        let page = server.get(&format!("{c}/items{filter}")).await.ok();
        assert_eq!((&page["data"][0]["image"], &page["data"][1]["image"]), (&json!("image/png"), &json!(null)));
    }
}
