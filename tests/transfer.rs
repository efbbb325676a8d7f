//! `latentd index export` and `import` move a collection whole or not at all, and only while no server runs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what a test takes for granted is a part of what it proves"
)]

#[path = "support/files.rs"]
mod files;

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use latentd::{
    domain::{Embedding, Metric, TopK},
    index::{CollectionSpec, EmbeddedEngine, EmbeddedOptions, IndexEngine as _, NewItem, StoreMode, StoredItem},
    store::ImageStore,
};
use serde_json::json;

use self::files::files_below;

/// A data folder and a place for files.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn engine(&self) -> EmbeddedEngine {
        EmbeddedEngine::open(&self.path("data/index"), EmbeddedOptions::default()).unwrap()
    }

    fn store(&self) -> ImageStore {
        ImageStore::open(&self.path("data/images")).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_latentd"));
        command.arg("index").args(arguments).arg("--data").arg(self.path("data")).current_dir(self.0.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// How many images the store holds.
    fn images(&self) -> usize {
        files_below(&self.path("data/images"))
    }
}

fn spec() -> CollectionSpec {
    CollectionSpec {
        name: "shop".parse().unwrap(),
        model: Some("m".to_owned()),
        space_key: Some("m@0123456789ab".parse().unwrap()),
        dimension: 3,
        metric: Metric::Cosine,
        store: StoreMode::Original,
    }
}

/// Fills the collection; every third item has an image.
async fn fill(home: &Home, count: u32) {
    let (engine, store) = (home.engine(), home.store());
    engine.create(spec()).await.unwrap();
    let mut items = Vec::new();
    for at in 0..count {
        let id = format!("a/{at}").parse().unwrap();
        let image = match at % 3 {
            0 => Some(store.put(&spec().name, &id, at.to_le_bytes().to_vec().into(), "image/png").await.unwrap()),
            _ => None,
        };
        let vector = Embedding::new(vec![at as f32 + 0.1, 2.0, -1.0 / (at + 1) as f32]).unwrap();
        let metadata = json!({"at": at, "deep": {"ü": [null, true, 1.5]}}).as_object().cloned().unwrap();
        items.push(NewItem { id, vector, metadata, image });
    }
    engine.open(&spec().name).await.unwrap().upsert(items).await.unwrap();
}

/// Every item with the bytes of its image, in order.
async fn contents(home: &Home, name: &str) -> Vec<(StoredItem, Option<Vec<u8>>)> {
    let (engine, store) = (home.engine(), home.store());
    let collection = engine.open(&name.parse().unwrap()).await.unwrap();
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let page = collection.page(TopK::new(1000).unwrap(), cursor, None).await.unwrap();
        for item in page.items {
            let mut item = collection.get(&item.id).await.unwrap();
            let bytes = match item.image.take() {
                Some(image) => Some(store.get(&image).await.unwrap().to_vec()),
                None => None,
            };
            all.push((item, bytes));
        }
        cursor = page.cursor;
        if cursor.is_none() {
            return all;
        }
    }
}

fn complaint(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test]
async fn a_collection_moves_with_vectors_metadata_images_and_settings() {
    let (from, to) = (Home::new(), Home::new());
    fill(&from, 1300).await;
    let exported = from.run(&["export", "shop", "--output", "shop.ndjson"]);
    assert!(exported.status.success(), "{exported:?}");
    assert_eq!(String::from_utf8(exported.stdout).unwrap(), "1300 items of shop are in shop.ndjson\n");
    let file = from.path("shop.ndjson");
    let imported = to.run(&["import", file.to_str().unwrap()]);
    assert_eq!(String::from_utf8(imported.stdout).unwrap(), "1300 items are in the collection shop\n");
    assert_eq!(contents(&to, "shop").await, contents(&from, "shop").await);
    assert_eq!(to.engine().open(&spec().name).await.unwrap().spec(), &spec());

    // The names of images aside, which exports do not hold, the copy exports as the original does.
    let again = to.run(&["export", "shop"]);
    assert_eq!(again.stdout, fs::read(&file).unwrap());

    // Beside the original it takes another name, and what is there stays.
    assert!(complaint(&to.run(&["import", file.to_str().unwrap()])).contains("is there already"));
    assert!(to.run(&["import", file.to_str().unwrap(), "--name", "copy"]).status.success());
    assert_eq!(contents(&to, "copy").await, contents(&to, "shop").await);
}

#[tokio::test]
async fn an_index_that_is_open_is_left_alone() {
    let home = Home::new();
    fill(&home, 10).await;
    assert!(home.run(&["export", "shop", "-o", "file"]).status.success());
    let _serving = home.engine();
    for arguments in [["export", "shop"], ["import", "file"]] {
        let text = complaint(&home.run(&arguments));
        assert!(
            text.contains("in use by another process, such as a server on this data folder; stop it first"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

#[tokio::test]
async fn a_failed_export_leaves_no_file() {
    let home = Home::new();
    let text = complaint(&home.run(&["export", "shop", "-o", "file"]));
    assert!(text.contains("there is no index in the data folder"), "{text}");
    fill(&home, 10).await;
    assert!(complaint(&home.run(&["export", "other", "-o", "file"])).contains("there is no collection \"other\""));
    fs::remove_dir_all(home.path("data/images")).unwrap();
    assert!(complaint(&home.run(&["export", "shop", "-o", "file"])).contains("the image of the item \"a/0\""));
    assert!(!home.path("file").exists() && !home.path("file.partial").exists());
}

#[tokio::test]
async fn an_import_that_fails_leaves_nothing() {
    let (from, to) = (Home::new(), Home::new());
    fill(&from, 1300).await;
    let text = String::from_utf8(from.run(&["export", "shop"]).stdout).unwrap();
    for (harmed, expected) in [
        (text[..text.len() / 2].to_owned(), "line "),
        (text.lines().take(1000).map(|line| format!("{line}\n")).collect(), "line 1001: the end is missing"),
        (text.replacen("\"at\":1200", "\"at\":1201", 1), "the hash does not agree"),
    ] {
        fs::write(to.path("file"), harmed).unwrap();
        let complaint = complaint(&to.run(&["import", "file"]));
        assert!(complaint.contains(expected), "{complaint}");
        assert!(to.engine().list().await.unwrap().is_empty());
        assert_eq!(to.images(), 0);
    }
}

#[tokio::test]
async fn an_import_that_is_killed_leaves_no_half_collection_and_can_be_repeated() {
    let (from, to) = (Home::new(), Home::new());
    fill(&from, 1300).await;
    let text = String::from_utf8(from.run(&["export", "shop"]).stdout).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut import = to.command(&["import", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = import.stdin.take().unwrap();
    // More than a batch, and never the end: what is read is written while it waits.
    std::io::Write::write_all(&mut input, lines[..1200].concat().as_bytes()).unwrap();
    import.kill().unwrap();
    import.wait().unwrap();
    assert!(to.engine().list().await.unwrap().is_empty());
    fs::write(to.path("file"), text).unwrap();
    assert!(to.run(&["import", "file"]).status.success());
    assert_eq!(contents(&to, "shop").await, contents(&from, "shop").await);
}

#[test]
fn orphans_are_those_of_a_cluster() {
    let output = Home::new().run(&["orphans"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint(&output).contains("orphans are those of a Qdrant cluster"), "{}", complaint(&output));
}
