use std::fs;

use serde_json::json;

use crate::{
    server::{MODEL, Server, fill, ingest, run},
    stub::{Stub, stored},
};

/// A file of NumPy's with rows of 32-bit floats.
fn npy(rows: &[[f32; 3]]) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, 3), }}\n", rows.len());
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    let data = rows.as_flattened().iter().flat_map(|value| value.to_le_bytes());
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes()].concat().into_iter().chain(data).collect()
}

#[tokio::test]
async fn vectors_of_ndjson_are_ingested_with_ids_and_metadata_and_again_change_nothing() {
    let server = Server::start().await;
    let folder = server.folder("set");
    let list = folder.join("items.ndjson");
    let line = |n: usize| json!({"id": format!("v{n}"), "vector": [1, n, 0.5], "label": n % 2}).to_string();
    let mut lines: Vec<String> = (0..600).map(line).collect();
    lines.push(json!({"id": "short", "vector": [1, 2]}).to_string());
    lines.push(json!({"vector": [1, 2, 3]}).to_string());
    fs::write(&list, lines.join("\n")).unwrap();
    let path = list.display().to_string();
    let missing = run(ingest(&server.url, &[&path])).await;
    assert!(missing.code == Some(2) && missing.stderr.contains("--metric cosine"), "{missing:?}");
    let first = run(ingest(&server.url, &["--metric", "cosine", &path])).await;
    assert_eq!((first.code, first.counts()), (Some(1), [600, 0, 2]), "{first:?}");
    assert!(first.stderr.contains("items.ndjson:602: unreadable: a vector needs an id"), "{first:?}");
    let described = server.get("c").await;
    assert_eq!(
        (&described["dimension"], &described["metric"], &described["model"]),
        (&3.into(), &"cosine".into(), &json!(null))
    );
    let item = server.get("c/items/v7?with_vector=true").await;
    assert_eq!((&item["metadata"], &item["id"]), (&json!({"label": 1}), &json!("v7")));
    let again = run(ingest(&server.url, &[&path])).await;
    assert_eq!(again.counts(), [0, 600, 2], "{again:?}");
}

#[tokio::test]
async fn vectors_of_npy_are_ingested_by_number_or_with_a_list_beside_them() {
    let server = Server::start().await;
    let folder = server.folder("set");
    let rows: Vec<[f32; 3]> = (0_u8..20).map(|n| [1.0, f32::from(n), 0.25]).collect();
    let file = folder.join("v.npy");
    fs::write(&file, npy(&rows)).unwrap();
    let path = file.display().to_string();
    let plain = run(ingest(&server.url, &["--metric", "dot", &path])).await;
    assert_eq!((plain.code, plain.counts()), (Some(0), [20, 0, 0]), "{plain:?}");
    assert_eq!(server.get("c/items/19").await["metadata"], json!({}));
    let list = folder.join("rows.csv");
    let head = std::iter::once("sku,label".to_owned());
    fs::write(&list, head.chain((0..20).map(|n| format!("s{n},l{n}"))).collect::<Vec<_>>().join("\n")).unwrap();
    let beside = list.display().to_string();
    let named = run(ingest(&server.url, &["--metadata", &beside, "--id-field", "sku", &path])).await;
    assert_eq!((named.code, named.counts()), (Some(0), [20, 0, 0]), "{named:?}");
    assert_eq!(server.get("c/items/s5").await["metadata"], json!({"label": "l5"}));
    fs::write(&list, "sku\ns1\n").unwrap();
    let short = run(ingest(&server.url, &["--metadata", &beside, "--id-field", "sku", &path])).await;
    assert!(short.code == Some(2) && short.stderr.contains("has 1 rows for the 20 vectors of"), "{short:?}");
}

#[tokio::test]
async fn a_collection_without_a_model_takes_no_images_and_one_with_a_model_takes_its_vectors() {
    let server = Server::start().await;
    let folder = server.folder("set");
    fill(&folder, &["a"], 3);
    let file = folder.join("v.npy");
    fs::write(&file, npy(&[[1.0, 2.0, 3.0]])).unwrap();
    let (vectors, images) = (file.display().to_string(), folder.join("a").display().to_string());
    let made = run(ingest(&server.url, &["--metric", "cosine", &vectors])).await;
    assert_eq!((made.code, made.counts()), (Some(0), [1, 0, 0]), "{made:?}");
    let refused = run(ingest(&server.url, &[&images])).await;
    assert!(refused.code == Some(2) && refused.stderr.contains("it takes vectors"), "{refused:?}");

    let other = Server::start().await;
    let dimension = {
        let made = run(ingest(&other.url, &["--model", MODEL, &images])).await;
        assert_eq!(made.counts(), [3, 0, 0], "{made:?}");
        other.get("c").await["dimension"].as_u64().unwrap()
    };
    let list = folder.join("mixed.ndjson");
    let vector = vec![0.5; usize::try_from(dimension).unwrap()];
    let lines = [json!({"id": "v", "vector": vector}), json!({"id": "i", "path": "a/0001.png"})];
    fs::write(&list, lines.map(|line| line.to_string()).join("\n")).unwrap();
    let mixed = run(ingest(&other.url, &[&list.display().to_string()])).await;
    assert_eq!((mixed.code, mixed.counts()), (Some(0), [2, 0, 0]), "{mixed:?}");
    assert_eq!(other.count("c").await, 5);
}

#[tokio::test]
async fn a_server_on_this_machine_is_asked_directly_and_any_other_through_the_proxy() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), &["a"], 2);
    let path = folder.path().display().to_string();
    let stub = Stub::start(|_, seen| stored(seen));
    let mut local = ingest(&stub.url, &[&path]);
    local.env("HTTP_PROXY", "http://127.0.0.1:1").env_remove("NO_PROXY").env_remove("no_proxy");
    let local = run(local).await;
    assert_eq!((local.code, local.counts()), (Some(0), [2, 0, 0]), "{local:?}");
    assert!(local.stderr.contains("HTTP_PROXY is not used: 127.0.0.1 is this machine"), "{local:?}");

    let mut far = ingest("http://latentd.invalid", &[&path]);
    far.env("http_proxy", &stub.url).env_remove("NO_PROXY").env_remove("no_proxy");
    let far = run(far).await;
    assert_eq!((far.code, far.counts()), (Some(0), [2, 0, 0]), "{far:?}");
    assert!(far.stderr.contains(&format!("through the proxy {} of http_proxy", stub.url)), "{far:?}");
}
