use std::fs;

use serde_json::{Value, json};

use crate::server::{MODEL, Server, fill, ingest, png, run};

#[tokio::test]
async fn a_folder_is_ingested_with_labels_and_again_changes_nothing() {
    let server = Server::start().await;
    let folder = server.folder("set");
    fill(&folder, &["cat", "dog"], 40);
    fs::write(folder.join("readme.txt"), "not an image by its name").unwrap();
    fs::copy(folder.join("cat/0000.png"), folder.join("cat/copy.png")).unwrap();
    let path = folder.display().to_string();
    let arguments = ["--model", MODEL, "--store", "original", "--labels-from-folders", &path];
    let first = run(ingest(&server.url, &arguments)).await;
    assert_eq!(first.code, Some(0), "{first:?}");
    assert_eq!(first.counts(), [40, 1, 0]);
    assert_eq!(server.count("c").await, 40);
    assert_eq!(server.get("c").await["store"], "original");
    let id = blake3::hash(&png(3)).to_hex().to_string();
    let item = server.get(&format!("c/items/{id}")).await;
    assert_eq!(item["metadata"], json!({"file": "dog/0003.png", "label": "dog"}));
    let second = run(ingest(&server.url, &arguments)).await;
    assert_eq!((second.code, second.counts()), (Some(0), [0, 41, 0]), "{second:?}");
    let replaced = run(ingest(&server.url, &["--replace", &path])).await;
    assert_eq!(replaced.counts(), [40, 1, 0]);
    let item = server.get(&format!("c/items/{id}")).await;
    assert_eq!(item["metadata"], json!({"file": "dog/0003.png"}));
}

#[tokio::test]
async fn what_is_excluded_is_passed_over_in_folders_lists_and_tar_files() {
    let server = Server::start().await;
    let folder = server.folder("set");
    fill(&folder, &["a", "thumbs", "b"], 6);
    fs::write(folder.join("list.csv"), "path\na/0000.png\nthumbs/0001.png\n").unwrap();
    let mut tar = tar::Builder::new(fs::File::create(folder.join("set.tar")).unwrap());
    for name in ["b/0002.png", "thumbs/0004.png"] {
        tar.append_path_with_name(folder.join(name), name).unwrap();
    }
    tar.finish().unwrap();
    for (source, expected) in [("", [3, 0, 0]), ("list.csv", [0, 1, 0]), ("set.tar", [0, 1, 0])] {
        let path = folder.join(source).display().to_string();
        let arguments = ["--model", MODEL, "--exclude", "thumbs", "--exclude", "b/*5.png", &path];
        let done = run(ingest(&server.url, &arguments)).await;
        assert_eq!((done.code, done.counts()), (Some(0), expected), "{done:?}");
    }
    let refused = run(ingest(&server.url, &["--exclude", "[", &folder.display().to_string()])).await;
    assert!(refused.code == Some(2) && refused.stderr.contains("--exclude"), "{refused:?}");
}

#[tokio::test]
async fn lists_and_tar_files_are_ingested() {
    let server = Server::start().await;
    let folder = server.folder("set");
    fill(&folder, &["a"], 4);
    let list = folder.join("list.csv");
    fs::write(&list, "path,sku,price,id\na/0000.png,S0,1.5,first\na/0001.png,S1,2,\na/none.png,S2,,gone\n").unwrap();
    let lines = folder.join("list.ndjson");
    fs::write(&lines, "{\"image\": \"a/0002.png\", \"key\": \"third\", \"tags\": [\"x\"]}\n").unwrap();
    let archive = folder.join("set.tar");
    let mut tar = tar::Builder::new(fs::File::create(&archive).unwrap());
    tar.append_path_with_name(folder.join("a/0003.png"), "b/0003.png").unwrap();
    tar.finish().unwrap();
    let report = folder.join("report.ndjson");

    let path = list.display().to_string();
    let report_path = report.display().to_string();
    let csv = run(ingest(&server.url, &["--model", MODEL, "--report", &report_path, &path])).await;
    assert_eq!((csv.code, csv.counts()), (Some(1), [2, 0, 1]), "{csv:?}");
    let failed: Value = serde_json::from_str(fs::read_to_string(&report).unwrap().trim()).unwrap();
    assert_eq!(failed["code"], "unreadable");
    assert!(failed["file"].as_str().unwrap().ends_with("a/none.png"), "{failed}");
    assert!(csv.stderr.contains("a/none.png: unreadable"), "{csv:?}");

    let path = lines.display().to_string();
    let ndjson = run(ingest(&server.url, &["--path-field", "image", "--id-field", "key", &path])).await;
    assert_eq!((ndjson.code, ndjson.counts()), (Some(0), [1, 0, 0]), "{ndjson:?}");
    let path = archive.display().to_string();
    let tarred = run(ingest(&server.url, &["--labels-from-folders", &path])).await;
    assert_eq!((tarred.code, tarred.counts()), (Some(0), [1, 0, 0]), "{tarred:?}");
    let mut found: Vec<String> = server.metadata("c").await.iter().map(Value::to_string).collect();
    found.sort();
    let expected = [
        r#"{"file":"b/0003.png","label":"b"}"#,
        r#"{"sku":"S0","price":1.5}"#,
        r#"{"sku":"S1","price":2}"#,
        r#"{"tags":["x"]}"#,
    ];
    assert_eq!(found, expected);
    assert_eq!(server.get("c/items/third").await["metadata"], json!({"tags": ["x"]}));
}
