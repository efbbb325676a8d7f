//! What killed processes leave in a cluster is found and cleared up, and nothing else is.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use latentd::{
    error::ErrorKind,
    index::{IndexEngine as _, QdrantEngine, QdrantOptions},
    store::ImageStore,
};

use crate::{
    NODES,
    files::files_below,
    item,
    moving::{attempt, run},
    options, spec, wanted,
};

fn nodes() -> Vec<String> {
    wanted(NODES).split(',').map(|node| node.trim().to_owned()).collect()
}

/// A collection with two items, one of them with an image, as an import leaves it whose process is killed.
async fn killed_import(engine: &QdrantEngine, home: &Path) {
    let import = engine.begin_import(spec("left")).await.unwrap();
    let store = ImageStore::open(&home.join("data/images")).unwrap();
    let mut imaged = item("a", 1);
    let image = store.put(&"left".parse().unwrap(), &imaged.id, Bytes::from_static(b"pixels"), "image/png").await;
    imaged.image = Some(image.unwrap());
    import.collection().upsert(vec![imaged, item("b", 2)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a live Qdrant: LATENTD_TEST_QDRANT_URL=http://…"]
async fn what_a_killed_process_left_is_dropped_with_its_images_and_nothing_else_is() {
    let nodes = nodes();
    let home = tempfile::tempdir().unwrap();
    let settings = options(&nodes);
    let set = [
        "index.engine=qdrant",
        &format!("qdrant.url={}", nodes.join(",")),
        &format!("qdrant.prefix={}", settings.prefix),
    ];
    let orphans = |flags: &[&str]| run(home.path(), &set, &[&["orphans"], flags].concat());
    assert_eq!(orphans(&[]), "every collection has a name\n");
    let engine = QdrantEngine::connect(settings.clone()).unwrap();
    engine.create(spec("kept")).await.unwrap();
    let kept = engine.open(&"kept".parse().unwrap()).await.unwrap();
    kept.upsert(vec![item("c", 3)]).await.unwrap();
    // another installation whose prefix begins as this one
    let other = QdrantOptions { prefix: format!("{}.more", settings.prefix), ..settings };
    let other = QdrantEngine::connect(other).unwrap();
    killed_import(&other, tempfile::tempdir().unwrap().path()).await;
    killed_import(&engine, home.path()).await;
    assert_eq!(files_below(&home.path().join("data/images")), 1);

    let listed = orphans(&[]);
    assert!(listed.contains(": made for left, 2 items, idle for "), "{listed}");
    assert!(listed.ends_with(" s: --drop removes it\n") && listed.lines().count() == 1, "{listed}");
    let left = orphans(&["--drop"]);
    assert!(left.ends_with(": left, for it may still be in the making\n"), "{left}");
    assert_eq!(files_below(&home.path().join("data/images")), 1);
    let dropped = orphans(&["--drop", "--idle-s", "0"]);
    assert!(dropped.ends_with(": dropped, images deleted: 1\n"), "{dropped}");
    assert_eq!(files_below(&home.path().join("data/images")), 0);
    assert_eq!(orphans(&[]), "every collection has a name\n");

    assert_eq!(kept.count(None).await.unwrap(), 1);
    let others = other.orphans().await.unwrap();
    assert_eq!(others.iter().map(|orphan| orphan.items).collect::<Vec<_>>(), [2]);
    // where no collection was ever entered, or all entries were lost, nothing is dropped
    assert_eq!(other.drop_orphan(&others[0]).await.unwrap_err().kind(), ErrorKind::Unavailable);
    other.create(spec("first")).await.unwrap();
    other.drop_orphan(&others[0]).await.unwrap();
    other.drop_collection(&"first".parse().unwrap()).await.unwrap();
    engine.drop_collection(&"kept".parse().unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a live Qdrant: LATENTD_TEST_QDRANT_URL=http://…"]
async fn nothing_is_dropped_while_the_store_is_away_and_images_that_stay_are_told() {
    let nodes = nodes();
    let home = tempfile::tempdir().unwrap();
    let settings = options(&nodes);
    let (url, prefix) = (format!("qdrant.url={}", nodes.join(",")), format!("qdrant.prefix={}", settings.prefix));
    let engine = QdrantEngine::connect(settings).unwrap();
    engine.create(spec("kept")).await.unwrap();
    killed_import(&engine, home.path()).await;
    let there = ["index.engine=qdrant", &url, &prefix];
    let away = [
        "store.url=s3://images",
        "store.endpoint=http://127.0.0.1:1",
        "store.allow_http=true",
        "store.access_key_id=a",
        "store.secret_access_key=b",
    ];
    let orphans = |set: &[&str]| {
        let output = attempt(home.path(), set, &["orphans", "--drop", "--idle-s", "0"]);
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };

    let (done, complaint) = orphans(&[&there[..], &away[..]].concat());
    assert!(!done && complaint.contains("127.0.0.1:1"), "{complaint}");
    assert_eq!(engine.orphans().await.unwrap().len(), 1);

    // a folder in the image's place cannot be deleted as a file
    let image = only_file(&home.path().join("data/images"));
    std::fs::remove_file(&image).unwrap();
    std::fs::create_dir(&image).unwrap();
    let (done, complaint) = orphans(&there);
    assert!(!done && complaint.contains("1 images of what was dropped could not be deleted"), "{complaint}");
    assert!(engine.orphans().await.unwrap().is_empty());
    engine.drop_collection(&"kept".parse().unwrap()).await.unwrap();
}

/// The file in a folder that has one, at whatever depth.
fn only_file(folder: &Path) -> PathBuf {
    let path = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    if path.is_dir() { only_file(&path) } else { path }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a live Qdrant: LATENTD_TEST_QDRANT_URL=http://…"]
async fn what_has_got_its_name_meanwhile_is_not_dropped() {
    let nodes = nodes();
    let engine = QdrantEngine::connect(options(&nodes)).unwrap();
    let import = engine.begin_import(spec("c")).await.unwrap();
    import.collection().upsert(vec![item("a", 1)]).await.unwrap();
    let orphans = engine.orphans().await.unwrap();
    import.finish().await.unwrap();
    assert_eq!(engine.drop_orphan(&orphans[0]).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(engine.open(&"c".parse().unwrap()).await.unwrap().count(None).await.unwrap(), 1);
    assert!(engine.orphans().await.unwrap().is_empty());
    engine.drop_collection(&"c".parse().unwrap()).await.unwrap();
}
