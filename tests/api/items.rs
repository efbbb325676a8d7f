use axum::body::Body;
use serde_json::{Value, json};

use crate::{
    harness::{CONTRASTIVE, Server, floats, request},
    images::{data_uri, jpeg, png, size_of, uri},
};

/// A collection of vectors of three numbers.
async fn vectors(server: &Server) -> String {
    assert_eq!(server.put("/v1/collections/v", json!({"dimension": 3})).await.status, 201);
    "/v1/collections/v".to_owned()
}

async fn metadata_of(server: &Server, path: &str) -> Value {
    server.get(path).await.ok()["metadata"].clone()
}

#[tokio::test]
async fn items_are_added_replaced_and_read() {
    let server = Server::start().await;
    let c = server.collection("c", CONTRASTIVE).await;
    let body = json!({"items": [
        {"id": "a", "image": uri(1), "metadata": {"label": "cat"}},
        {"id": "b", "image": uri(2)}
    ]});
    let added = server.post(&format!("{c}/items"), body.clone()).await.ok();
    assert_eq!(added["collection"], "c");
    assert_eq!(added["errors"], json!([]));
    let expected = json!([{"index": 0, "id": "a", "created": true}, {"index": 1, "id": "b", "created": true}]);
    assert_eq!(added["data"], expected);
    let again = server.post(&format!("{c}/items"), body).await.ok();
    assert!(again["data"].as_array().unwrap().iter().all(|entry| entry["created"] == false));
    assert_eq!(server.get(&c).await.ok()["count"], 2);

    let item = server.get(&format!("{c}/items/a")).await.ok();
    assert_eq!(item, json!({"id": "a", "metadata": {"label": "cat"}, "image": "image/png"}));
    let item = server.get(&format!("{c}/items/a?with_vector=true")).await.ok();
    let embedded = server.post("/v1/embeddings", json!({"model": CONTRASTIVE, "images": [uri(1)]})).await.ok();
    crate::harness::close(&floats(&item["vector"]), &floats(&embedded["data"][0]["embedding"]));
    assert_eq!(item["space_key"], embedded["space_key"]);
    server.get(&format!("{c}/items/none")).await.refused(404, "item_not_found");
}

#[tokio::test]
async fn an_image_without_an_id_is_named_by_its_content() {
    let server = Server::start().await;
    let c = server.collection("c", CONTRASTIVE).await;
    let path = format!("{c}/items");
    let first = server.post_raw(&path, "image/png", png(1)).await.ok();
    let second = server.post(&path, json!({"items": [{"image": uri(1)}]})).await.ok();
    assert_eq!(first["data"][0]["id"], blake3::hash(&png(1)).to_hex().as_str());
    assert_eq!(first["data"][0]["id"], second["data"][0]["id"]);
    assert_eq!(second["data"][0]["created"], false);
}

#[tokio::test]
async fn raw_and_multipart_images_carry_ids_and_metadata() {
    let server = Server::start().await;
    let c = server.collection("c", CONTRASTIVE).await;
    let path = format!("{c}/items");
    let raw = format!("{path}?id=raw&metadata=%7B%22n%22%3A0%7D");
    server.post_raw(&raw, "image/png", png(1)).await.ok();
    assert_eq!(metadata_of(&server, &format!("{path}/raw")).await, json!({"n": 0}));
    let (one, two) = (png(1), png(2));
    let parts: &[(&str, &[u8])] = &[
        ("image", &one),
        ("image", &two),
        ("id", b"x"),
        ("id", b"y"),
        ("metadata", b"{\"n\":1}"),
        ("metadata", b"{\"n\":2}"),
    ];
    server.post_form(&path, parts).await.ok();
    assert_eq!(metadata_of(&server, &format!("{path}/y")).await, json!({"n": 2}));
    let shared: &[(&str, &[u8])] =
        &[("image", &one), ("image", &two), ("id", b"x"), ("id", b"z"), ("metadata", b"{\"n\":3}")];
    server.post_form(&path, shared).await.ok();
    assert_eq!(metadata_of(&server, &format!("{path}/x")).await, json!({"n": 3}));
    assert_eq!(metadata_of(&server, &format!("{path}/z")).await, json!({"n": 3}));
    for parts in [
        vec![("image", &one[..]), ("image", &two), ("id", b"only one")],
        vec![("image", &one), ("metadata", b"{}"), ("metadata", b"{}")],
        vec![("image", &one), ("metadata", b"[]")],
        vec![("image", &one), ("colour", b"red")],
    ] {
        server.post_form(&path, &parts).await.refused(400, "invalid_request");
    }
}

#[tokio::test]
async fn the_names_of_files_are_kept_where_asked_for() {
    let server = Server::start().await;
    let c = server.collection("c", CONTRASTIVE).await;
    let part = |id: &str, head: &str, seed: u32| {
        let head = format!("--B\r\ncontent-disposition: form-data; name=\"image\"{head}\r\n\r\n");
        let id = format!("\r\n--B\r\ncontent-disposition: form-data; name=\"id\"\r\n\r\n{id}\r\n");
        [head.as_bytes(), &png(seed), id.as_bytes()].concat()
    };
    let parts = [
        part("a", "; filename=\"a.png\"", 1),
        part("b", "; filename=\"C:\\photos\\b.png\"", 2),
        part("c", "", 3),
        b"--B--\r\n".to_vec(),
    ];
    let media = "multipart/form-data; boundary=B";
    server.post_raw(&format!("{c}/items"), media, parts.concat()).await.ok();
    assert_eq!(metadata_of(&server, &format!("{c}/items/a")).await, json!({}));
    server.post_raw(&format!("{c}/items?keep_filename=true"), media, parts.concat()).await.ok();
    for (id, expected) in [("a", json!({"file": "a.png"})), ("b", json!({"file": "b.png"})), ("c", json!({}))] {
        assert_eq!(metadata_of(&server, &format!("{c}/items/{id}")).await, expected, "{id}");
    }
    let named = format!("{c}/items?keep_filename=true&metadata=%7B%22file%22%3A%22mine%22%7D");
    server.post_raw(&named, media, parts.concat()).await.ok();
    assert_eq!(metadata_of(&server, &format!("{c}/items/a")).await, json!({"file": "mine"}));
}

#[tokio::test]
async fn an_id_in_the_query_and_as_a_part_is_one_id() {
    let server = Server::start().await;
    let c = server.collection("c", CONTRASTIVE).await;
    let file = png(1);
    let parts: &[(&str, &[u8])] = &[("image", &file), ("id", b"a"), ("metadata", b"{\"n\":1}")];
    let path = format!("{c}/items?id=a&metadata=%7B%22n%22%3A1%7D");
    let added = server.post_form(&path, parts).await.ok();
    assert_eq!(added["data"], json!([{"index": 0, "id": "a", "created": true}]));
    for query in ["id=b", "id=a&id=a", "metadata=%7B%22n%22%3A2%7D"] {
        let answer = server.post_form(&format!("{c}/items?{query}"), parts).await;
        assert!(answer.refused(400, "invalid_request").contains("given twice with different values"), "{query}");
    }
}

#[tokio::test]
async fn ids_of_any_text_are_reached_by_their_encoded_path() {
    let server = Server::start().await;
    let c = vectors(&server).await;
    for (id, path) in
        [("a/b c", "a%2Fb%20c"), ("Ordner/ü.jpg", "Ordner%2F%C3%BC.jpg"), ("..", "%2E%2E"), ("%41", "%2541")]
    {
        server.post(&format!("{c}/items"), json!({"items": [{"id": id, "vector": [1, 2, 3]}]})).await.ok();
        assert_eq!(server.get(&format!("{c}/items/{path}")).await.ok()["id"], id);
        assert_eq!(server.delete(&format!("{c}/items/{path}")).await.status, 204);
    }
}

#[tokio::test]
async fn an_item_called_delete_is_an_item_as_any_other() {
    let server = Server::start().await;
    let c = server.collection("c", CONTRASTIVE).await;
    for id in ["delete", "image", "search"] {
        server.post_raw(&format!("{c}/items?id={id}"), "image/png", png(1)).await.ok();
        let path = format!("{c}/items/{id}");
        assert_eq!(server.get(&path).await.ok()["id"], id);
        let patched = server.send_json("PATCH", &path, &[], json!({"metadata": {"n": 1}})).await.ok();
        assert_eq!(patched, json!({"id": id, "metadata": {"n": 1}}));
        assert_eq!(server.get(&format!("{path}/image")).await.body, png(1));
        assert_eq!(server.delete(&path).await.status, 204);
        server.get(&path).await.refused(404, "item_not_found");
    }
    server.post_raw(&format!("{c}/items?id=delete"), "image/png", png(1)).await.ok();
    assert_eq!(server.get(&format!("{c}/items/%64elete")).await.ok()["id"], "delete");
    assert_eq!(server.post(&format!("{c}/items/delete"), json!({"ids": ["delete"]})).await.ok(), json!({"deleted": 1}));
    server.get("/v1/collections/UPPER/items/delete").await.refused(404, "collection_not_found");
    assert!(server.get(&format!("{c}/items/delete?page=1")).await.refused(400, "invalid_request").contains("`page`"));
}

#[tokio::test]
async fn vectors_have_a_limit_of_their_own() {
    let server = Server::with(&[CONTRASTIVE], |config| {
        config.limits.images = 2;
        config.limits.vectors = 3;
    })
    .await;
    let c = server.collection("c", CONTRASTIVE).await;
    let vector = |n: usize| json!({"id": format!("v{n}"), "vector": vec![1; 8]});
    let image = |n: usize| json!({"id": format!("i{n}"), "image": uri(1)});
    let items = |images: usize, vectors: usize| -> Value {
        (0..images).map(image).chain((0..vectors).map(vector)).collect::<Vec<_>>().into()
    };
    server.post(&format!("{c}/items"), json!({"items": items(2, 3)})).await.ok();
    let by_image = json!({"image": uri(1)});
    let queries = |images: usize, others: usize| -> Value {
        let others = (0..others).map(|n| if n == 0 { json!({"id": "v0"}) } else { json!({"vector": vec![1; 8]}) });
        vec![by_image.clone(); images].into_iter().chain(others).collect::<Vec<_>>().into()
    };
    server.post(&format!("{c}/search/batch"), json!({"queries": queries(2, 3)})).await.ok();
    for (images, others, key) in [(3, 0, "limits.images is 2"), (1, 4, "limits.vectors is 3")] {
        for (path, body) in [
            ("items", json!({"items": items(images, others)})),
            ("search/batch", json!({"queries": queries(images, others)})),
        ] {
            let detail = server.post(&format!("{c}/{path}"), body).await.refused(413, "payload_too_large");
            assert!(detail.contains(key), "{detail}");
        }
    }
}

#[tokio::test]
async fn bad_items_stand_beside_the_good_ones_and_strict_stores_none() {
    let server = Server::start().await;
    let c = server.collection("c", CONTRASTIVE).await;
    let items = json!([
        {"id": "good", "image": uri(1)},
        {"id": "text", "image": data_uri(b"text")},
        {"id": "short", "vector": [1.0]},
        {"vector": [1.0]},
        {"id": "large", "vector": [1e39]},
        {"id": "both", "image": uri(1), "vector": [1.0]},
        {"id": "extra", "image": uri(1), "colour": "red"},
        {"id": "", "image": uri(1)},
        {"id": "meta", "image": uri(1), "metadata": [1]},
        {"id": "number", "image": 5},
        {"id": "null", "image": null},
        {"id": "object", "image": {}},
        {"id": "words", "vector": ["one", {}]},
        {"id": "word", "vector": "one"},
        5,
        null,
        ["id"]
    ]);
    let strict = server.post(&format!("{c}/items?strict=true"), json!({"items": items})).await;
    strict.refused(422, "invalid_image");
    assert_eq!(server.get(&c).await.ok()["count"], 0);
    let added = server.post(&format!("{c}/items"), json!({"items": items})).await.ok();
    assert_eq!(added["data"], json!([{"index": 0, "id": "good", "created": true}]));
    let errors: Vec<(u64, &str)> = added["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| (error["index"].as_u64().unwrap(), error["code"].as_str().unwrap()))
        .collect();
    assert_eq!(errors[0], (1, "invalid_image"));
    let expected: Vec<(u64, &str)> = (2..17).map(|at| (at, "invalid_request")).collect();
    assert_eq!(errors[1..], expected);
}

#[tokio::test]
async fn requests_that_add_nothing_are_refused() {
    let server = Server::start().await;
    let c = vectors(&server).await;
    let path = format!("{c}/items");
    let many: Vec<Value> = (0..1001).map(|n| json!({"id": n.to_string(), "vector": [1, 2, 3]})).collect();
    let heavy = json!({"text": "x".repeat(70_000)});
    for (body, status, code) in [
        (json!({}), 400, "invalid_request"),
        (json!({"items": []}), 400, "invalid_request"),
        (json!({"items": {}}), 400, "invalid_request"),
        (json!({"items": [1]}), 400, "invalid_request"),
        (json!({"items": [{"id": "a", "vector": [1, 2]}]}), 400, "invalid_request"),
        (json!({"items": [{"id": "a", "image": uri(1)}]}), 400, "invalid_request"),
        (json!({"items": [{"id": "a", "vector": [1, 2, 3], "metadata": heavy}]}), 413, "payload_too_large"),
        (json!({"items": many}), 413, "payload_too_large"),
        (json!({"items": [{"id": "a", "vector": [1, 2, 3]}], "space_key": "m@0123456789ab"}), 409, "space_mismatch"),
    ] {
        server.post(&path, body).await.refused(status, code);
    }
    let wide = r#"{"items": [{"id": "a", "vector": [1, 2, 3], "metadata": {"n": 18446744073709551616}}]}"#;
    let detail = server.post_raw(&path, "application/json", wide).await.refused(400, "invalid_request");
    assert!(detail.contains("18446744073709551616"), "{detail}");
    let nan = "{\"items\": [{\"id\": \"a\", \"vector\": [NaN, 1, 2]}]}";
    server.post_raw(&path, "application/json", nan).await.refused(400, "invalid_request");
    let unknown = json!({"items": [{"id": "a", "vector": [1, 2, 3]}]});
    server.post("/v1/collections/none/items", unknown).await.refused(404, "collection_not_found");
    assert_eq!(server.get(&c).await.ok()["count"], 0);
}

#[tokio::test]
async fn the_space_key_of_the_collection_may_be_named() {
    let server = Server::start().await;
    let c = server.collection("c", CONTRASTIVE).await;
    let key = server.get(&c).await.ok()["space_key"].clone();
    let body = json!({"items": [{"id": "a", "image": uri(1)}], "space_key": key});
    server.post(&format!("{c}/items"), body).await.ok();
    let other =
        json!({"items": [{"id": "a", "image": uri(1)}], "space_key": format!("{};dim=2", key.as_str().unwrap())});
    server.post(&format!("{c}/items"), other).await.refused(409, "space_mismatch");
}

#[tokio::test]
async fn pages_hold_every_item_once() {
    let server = Server::start().await;
    let c = vectors(&server).await;
    let items: Vec<Value> =
        (0..25).map(|n| json!({"id": format!("i{n}"), "vector": [n, 1, 2], "metadata": {"n": n}})).collect();
    server.post(&format!("{c}/items"), json!({"items": items})).await.ok();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("{c}/items?limit=10{cursor}")).await.ok();
        seen.extend(page["data"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen.len(), 25);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 25);
    let filter = "%7B%22must%22%3A%5B%7B%22key%22%3A%22n%22%2C%22range%22%3A%7B%22lt%22%3A3%7D%7D%5D%7D";
    let page = server.get(&format!("{c}/items?filter={filter}")).await.ok();
    assert_eq!(page["data"].as_array().unwrap().len(), 3);
    assert!(page["cursor"].is_null());
    for query in ["limit=0", "limit=1001", "limit=x", "cursor=x", "filter=x", "filter=%7B%22may%22%3A1%7D"] {
        server.get(&format!("{c}/items?{query}")).await.refused(400, "invalid_request");
    }
}

#[tokio::test]
async fn a_patch_sets_keys_and_a_null_removes_one() {
    let server = Server::start().await;
    let c = vectors(&server).await;
    let item = json!({"id": "a", "vector": [1, 2, 3], "metadata": {"label": "cat", "n": 1}});
    server.post(&format!("{c}/items"), json!({"items": [item]})).await.ok();
    let path = format!("{c}/items/a");
    let patch = json!({"metadata": {"label": null, "n": 2, "new": {"deep": true}}});
    let patched = server.send_json("PATCH", &path, &[], patch).await.ok();
    let expected = json!({"id": "a", "metadata": {"n": 2, "new": {"deep": true}}});
    assert_eq!(patched, expected);
    assert_eq!(server.get(&path).await.ok()["metadata"], expected["metadata"]);
    for bad in [json!({}), json!({"metadata": 1}), json!({"label": "cat"}), json!({"metadata": {}, "id": "b"})] {
        server.send_json("PATCH", &path, &[], bad).await.refused(400, "invalid_request");
    }
    let heavy = json!({"metadata": {"text": "x".repeat(70_000)}});
    server.send_json("PATCH", &path, &[], heavy).await.refused(413, "payload_too_large");
    let none = server.send_json("PATCH", &format!("{c}/items/none"), &[], json!({"metadata": {}})).await;
    none.refused(404, "item_not_found");
}

#[tokio::test]
async fn items_are_deleted_by_path_ids_or_filter() {
    let server = Server::start().await;
    let c = vectors(&server).await;
    let items: Vec<Value> =
        (0..10).map(|n| json!({"id": format!("i{n}"), "vector": [n, 1, 2], "metadata": {"n": n}})).collect();
    server.post(&format!("{c}/items"), json!({"items": items})).await.ok();
    let deleted = server.delete(&format!("{c}/items/i0")).await;
    assert_eq!((deleted.status, deleted.body.len()), (204, 0));
    server.delete(&format!("{c}/items/i0")).await.refused(404, "item_not_found");
    let path = format!("{c}/items/delete");
    assert_eq!(server.post(&path, json!({"ids": ["i0", "i1", "i2"]})).await.ok(), json!({"deleted": 2}));
    let filter = json!({"filter": {"must": [{"key": "n", "range": {"gte": 8}}]}});
    assert_eq!(server.post(&path, filter).await.ok(), json!({"deleted": 2}));
    assert_eq!(server.post(&format!("{c}/count"), json!({})).await.ok(), json!({"count": 5}));
    let filter = json!({"filter": {"should": [{"key": "n", "match": 3}, {"has_id": ["i4"]}]}});
    assert_eq!(server.post(&format!("{c}/count"), filter).await.ok(), json!({"count": 2}));
    for bad in [
        json!({}),
        json!({"ids": ["a"], "filter": {}}),
        json!({"ids": "a"}),
        json!({"filter": {"may": []}}),
        json!({"filter": {}}),
        json!({"filter": {"must": [{}]}}),
        json!({"filter": {"must": [], "should": [{"must": [{}]}]}}),
        json!({"filter": {"must_not": [{"has_id": []}]}}),
    ] {
        server.post(&path, bad).await.refused(400, "invalid_request");
    }
    assert_eq!(server.post(&format!("{c}/count"), json!({})).await.ok(), json!({"count": 5}));
}

#[tokio::test]
async fn one_request_deletes_a_thousand_ids_at_most() {
    let server = Server::start().await;
    let path = format!("{}/items/delete", vectors(&server).await);
    let ids = |count: usize| json!({"ids": (0..count).map(|n| n.to_string()).collect::<Vec<_>>()});
    assert_eq!(server.post(&path, ids(1000)).await.ok(), json!({"deleted": 0}));
    let detail = server.post(&path, ids(1001)).await.refused(413, "payload_too_large");
    assert!(detail.contains("1001 ids") && detail.contains("1000 at most"), "{detail}");
}

#[tokio::test]
async fn a_stored_image_comes_back_as_it_was_sent() {
    let server = Server::start().await;
    let c = server.collection("c", CONTRASTIVE).await;
    let file = jpeg(4);
    server.post_raw(&format!("{c}/items?id=a"), "image/png", file.clone()).await.ok();
    let image = server.get(&format!("{c}/items/a/image")).await;
    assert_eq!(image.header("content-type"), "image/jpeg");
    assert_eq!(image.body, file);
    server.get(&format!("{c}/items/none/image")).await.refused(404, "item_not_found");
}

#[tokio::test]
async fn thumbnails_are_kept_where_asked_for_and_nothing_otherwise() {
    let server = Server::start().await;
    for (name, store) in [("t", "thumbnail"), ("n", "none")] {
        let body = json!({"model": CONTRASTIVE, "store": store});
        assert_eq!(server.put(&format!("/v1/collections/{name}"), body).await.status, 201);
        server.post_raw(&format!("/v1/collections/{name}/items?id=a"), "image/png", png(1)).await.ok();
    }
    let thumbnail = server.get("/v1/collections/t/items/a/image").await;
    assert_eq!(thumbnail.header("content-type"), "image/jpeg");
    assert_eq!(size_of(&png(1)), (16, 16));
    server.get("/v1/collections/n/items/a/image").await.refused(404, "item_not_found");
}

#[tokio::test]
async fn every_request_on_a_collection_may_name_its_space() {
    let server = Server::start().await;
    let c = server.collection("c", CONTRASTIVE).await;
    let key = server.get(&c).await.ok()["space_key"].as_str().unwrap().to_owned();
    let other = format!("{key};dim=2");
    let add = async || {
        let added = server.post(&format!("{c}/items"), json!({"items": [{"id": "a", "image": uri(1)}]})).await;
        added.ok();
    };
    add().await;
    let cases = [
        ("GET", "", json!(null)),
        ("GET", "/items", json!(null)),
        ("GET", "/items/a", json!(null)),
        ("GET", "/items/a/image", json!(null)),
        ("PATCH", "/items/a", json!({"metadata": {"n": 1}})),
        ("POST", "/count", json!({})),
        ("POST", "/search", json!({"id": "a"})),
        ("POST", "/search/batch", json!({"queries": [{"id": "a"}]})),
        ("POST", "/items/delete", json!({"ids": ["a"]})),
        ("POST", "/items/delete", json!({"filter": {"must": [{"has_id": ["a"]}]}})),
        ("DELETE", "/items/a", json!(null)),
        ("DELETE", "", json!(null)),
    ];
    for (method, path, body) in cases {
        let send = async |key: &str, in_body: bool| {
            let encoded = key.replace(';', "%3B").replace('=', "%3D").replace(' ', "%20");
            let mut body = body.clone();
            let query = if in_body { String::new() } else { format!("?space_key={encoded}") };
            if in_body {
                body["space_key"] = json!(key);
            }
            let body = if body.is_null() { String::new() } else { body.to_string() };
            let headers: &[(&str, &str)] = if body.is_empty() { &[] } else { &[("content-type", "application/json")] };
            let asked = request(method, &format!("{c}{path}{query}"), headers, Body::from(body));
            server.send(asked).await
        };
        let ways: &[bool] = if body.is_null() { &[false] } else { &[false, true] };
        for &in_body in ways {
            assert!(send(&other, in_body).await.refused(409, "space_mismatch").contains(&other), "{method} {path}");
            send("not a key", in_body).await.refused(400, "invalid_request");
            let answer = send(&key, in_body).await;
            assert!(matches!(answer.status, 200 | 204), "{method} {path}: {}", answer.text());
            if path.contains("delete") || (method, path) == ("DELETE", "/items/a") {
                add().await;
            }
        }
    }
    server.put("/v1/collections/v", json!({"dimension": 2})).await;
    server.get(&format!("/v1/collections/v?space_key={key}")).await.refused(409, "space_mismatch");
}
