//! A collection moves from one engine to the other and back, and is the same.

use std::{
    path::Path,
    process::{Command, Output},
};

use latentd::index::{EmbeddedEngine, EmbeddedOptions, IndexEngine as _};

use crate::{NODES, item, spec, wanted};

/// Runs a command on an index.
pub(crate) fn attempt(home: &Path, settings: &[&str], arguments: &[&str]) -> Output {
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_latentd"));
    command.arg("index").args(arguments).args(settings).arg("--data").arg(home.join("data")).current_dir(home);
    command.output().unwrap()
}

/// Runs a command that succeeds; returns what it printed.
pub(crate) fn run(home: &Path, settings: &[&str], arguments: &[&str]) -> String {
    let output = attempt(home, settings, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a live Qdrant: LATENTD_TEST_QDRANT_URL=http://…"]
async fn a_collection_moves_to_qdrant_and_back_and_stays_the_same() {
    let nodes = wanted(NODES);
    let home = tempfile::tempdir().unwrap();
    {
        let engine = EmbeddedEngine::open(&home.path().join("data/index"), EmbeddedOptions::default()).unwrap();
        engine.create(spec("c")).await.unwrap();
        let collection = engine.open(&"c".parse().unwrap()).await.unwrap();
        for batch in 0..3 {
            let items = (0..500).map(|at| item(&format!("i{batch}-{at}"), batch * 500 + at)).collect();
            collection.upsert(items).await.unwrap();
        }
        assert_eq!(collection.count(None).await.unwrap(), 1500);
    }
    let prefix = format!("qdrant.prefix=test-{}", uuid::Uuid::new_v4().simple());
    let url = format!("qdrant.url={nodes}");
    let there = ["index.engine=qdrant", url.as_str(), prefix.as_str()];
    run(home.path(), &[], &["export", "c", "--output", "embedded.jsonl"]);
    run(home.path(), &there, &["import", "embedded.jsonl"]);
    run(home.path(), &there, &["export", "c", "--output", "qdrant.jsonl"]);
    run(home.path(), &[], &["import", "qdrant.jsonl", "--name", "d"]);
    run(home.path(), &[], &["export", "d", "--output", "again.jsonl"]);
    let read = |name: &str| std::fs::read_to_string(home.path().join(name)).unwrap();
    assert_eq!(read("embedded.jsonl"), read("qdrant.jsonl"), "byte for byte");
    // but for the name in the head, and the hash of all at the end
    let items = |text: String| text.lines().skip(1).take(1500).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(items(read("qdrant.jsonl")), items(read("again.jsonl")));
}
