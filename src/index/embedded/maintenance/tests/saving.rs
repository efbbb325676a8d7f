//! Graphs on the disk: saved, taken up again, and of no use.

use std::{fs, time::Duration};

use super::*;
use crate::index::embedded::storage::log;

#[tokio::test]
async fn a_saved_graph_is_taken_up_and_the_log_since_then_is_followed() {
    let mut bench = Bench::new(Metric::Cosine).await;
    bench.add(0..600).await;
    bench.settle();
    bench.add(590..610).await;
    bench.delete(0..7).await;
    bench.reopen();
    assert_eq!(bench.form().0, "graph");
    assert_eq!(bench.pending(), Some(20), "10 new items and 10 replaced ones");
    assert!(bench.recall(None).await > 0.97);
    bench.settle();
    assert_eq!((bench.pending(), bench.nodes()), (Some(0), 620));
    bench.reopen();
    assert_eq!(bench.pending(), Some(0));
    assert!(bench.recall(None).await > 0.97);
}

#[tokio::test]
async fn a_graph_that_is_half_built_is_saved_and_finished_after_a_restart() {
    let mut bench = Bench::new(Metric::Cosine).await;
    bench.graph.save_interval = Duration::ZERO;
    bench.reopen();
    bench.add(0..1000).await;
    for _ in 0..4 {
        bench.step();
    }
    bench.reopen();
    assert_eq!(bench.form().0, "scan");
    let built = bench.core().peek(|memory| memory.graphs.growing.as_ref().map(|growing| growing.graph().nodes()));
    assert!(built.flatten() > Some(0), "{built:?}");
    bench.settle();
    assert_eq!((bench.form().0, bench.nodes()), ("graph", 1000));
}

fn length_of_the_log(bench: &Bench) -> u64 {
    let snapshot = bench.engine().shared.database.snapshot().unwrap();
    log::length(&snapshot, &bench.core().tables).unwrap()
}

#[tokio::test]
async fn a_graph_is_saved_when_the_index_is_closed() {
    let mut bench = Bench::new(Metric::Cosine).await;
    bench.add(0..100).await;
    bench.settle();
    bench.engine = None;
    bench.engine = Some(EmbeddedEngine::open(&bench.path(), options(bench.graph.clone())).unwrap());
    bench.add(100..104).await;
    bench.reopen();
    assert_eq!(bench.form().0, "graph");
    bench.add(104..105).await;
    assert_eq!(length_of_the_log(&bench), 1, "the graph has the four before it, or knows that they are pending");
}

#[tokio::test]
async fn the_log_holds_what_happened_since_the_last_save() {
    let mut bench = Bench::new(Metric::Cosine).await;
    let length = length_of_the_log;
    bench.add(0..50).await;
    assert_eq!(length(&bench), 0, "a collection that is scanned needs none");
    bench.add(50..100).await;
    bench.step();
    bench.add(100..110).await;
    assert_eq!(length(&bench), 10);
    bench.settle();
    bench.add(110..111).await;
    assert_eq!(length(&bench), 1);
}

#[tokio::test]
async fn a_graph_is_saved_only_once_memory_has_every_write_that_the_log_has_not() {
    let mut bench = Bench::new(Metric::Cosine).await;
    bench.graph.save_operations = 1;
    bench.reopen();
    bench.add(0..60).await;
    let core = bench.core();
    // a write that began before the graph, on its way to the disk
    let write = core.log_keeping.begin_write();
    bench.settle();
    assert_eq!(bench.form().0, "graph");
    assert!(!bench.graph_folder().join("current.json").exists(), "the graph would have a gap behind it");
    drop(write);
    drop(core);
    bench.settle();
    assert!(bench.graph_folder().join("current.json").exists());
    bench.add(60..63).await;
    bench.reopen();
    assert_eq!((bench.form().0, bench.pending()), ("graph", Some(3)));
}

/// What can be wrong with a saved graph: each is a reason to build another, and never an answer.
#[tokio::test]
async fn a_saved_graph_that_does_not_fit_is_built_again() {
    type Damage = (&'static str, fn(&mut Bench));
    fn files(bench: &Bench, ending: &str) -> PathBuf {
        let mut files = fs::read_dir(bench.graph_folder()).unwrap().map(|entry| entry.unwrap().path());
        files.find(|path| path.extension().is_some_and(|extension| extension == ending)).unwrap()
    }
    fn tear(path: PathBuf) {
        let bytes = fs::read(&path).unwrap();
        fs::write(path, &bytes[..bytes.len() - 100]).unwrap();
    }
    fn flip(path: PathBuf) {
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x40;
        fs::write(path, bytes).unwrap();
    }
    fn alter_pointer(bench: &Bench, from: &str, to: &str) {
        let path = bench.graph_folder().join("current.json");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    }
    let damages: [Damage; 10] = [
        ("a torn graph", |bench| tear(files(bench, "graph"))),
        ("torn keys", |bench| tear(files(bench, "keys"))),
        ("a flipped bit of the graph", |bench| flip(files(bench, "graph"))),
        ("a flipped bit of the keys", |bench| flip(files(bench, "keys"))),
        ("a graph that is gone", |bench| fs::remove_file(files(bench, "graph")).unwrap()),
        ("a torn pointer", |bench| tear(bench.graph_folder().join("current.json"))),
        ("a graph of the future", |bench| alter_pointer(bench, "\"sequence\":", "\"sequence\":9")),
        ("a graph of long ago", |bench| alter_pointer(bench, "\"sequence\":2", "\"sequence\":1")),
        ("another format", |bench| alter_pointer(bench, "\"format\":2", "\"format\":1")),
        ("other settings", |bench| bench.graph.connectivity = 8),
    ];
    for (what, damage) in damages {
        let mut bench = Bench::new(Metric::Cosine).await;
        bench.add(0..200).await;
        bench.settle();
        damage(&mut bench);
        bench.reopen();
        assert_eq!(bench.form().0, "scan", "{what}");
        assert_eq!(bench.recall(None).await, 1.0, "{what}");
        bench.settle();
        assert_eq!((bench.form().0, bench.nodes()), ("graph", 200), "{what}");
        assert!(bench.recall(None).await > 0.97, "{what}");
    }
}

#[tokio::test]
async fn a_graph_that_cannot_be_saved_serves_all_the_same() {
    let mut bench = Bench::new(Metric::Cosine).await;
    bench.add(0..200).await;
    // No folder can be made where a file is.
    fs::write(bench.path().join("graphs"), "in the way").unwrap();
    bench.settle();
    assert_eq!(bench.form().0, "graph");
    bench.add(200..220).await;
    assert!(bench.recall(None).await > 0.97);
    bench.reopen();
    assert_eq!(bench.form().0, "scan");
    assert_eq!(bench.recall(None).await, 1.0);
}

#[tokio::test]
async fn saving_leaves_one_graph_and_no_leftovers() {
    let mut bench = Bench::new(Metric::Cosine).await;
    bench.graph.save_operations = 1;
    bench.reopen();
    bench.add(0..200).await;
    bench.settle();
    fs::write(bench.graph_folder().join("of a crash.graph"), "half a graph").unwrap();
    bench.add(200..210).await;
    bench.state.make_due();
    bench.settle();
    let mut endings: Vec<_> = fs::read_dir(bench.graph_folder())
        .unwrap()
        .map(|entry| entry.unwrap().path().extension().unwrap().to_string_lossy().into_owned())
        .collect();
    endings.sort();
    assert_eq!(endings, ["graph", "json", "keys"]);
    let number = bench.core().number();
    bench.engine().drop_collection(&name()).await.unwrap();
    assert!(!folder_of(&bench.path().join("index.redb"), number).exists());
}

#[tokio::test]
async fn graphs_of_collections_that_are_gone_are_removed_on_opening() {
    let mut bench = Bench::new(Metric::Cosine).await;
    let orphaned = folder_of(&bench.path().join("index.redb"), 99);
    fs::create_dir_all(&orphaned).unwrap();
    bench.reopen();
    assert!(!orphaned.exists());
}
