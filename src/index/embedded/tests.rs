use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    domain::{Embedding, Metric},
    error::ErrorKind,
    index::{
        NewItem, StoreMode,
        conformance::{self, Home, conformance_suite},
    },
};

/// A folder for an engine; gone with the test.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("index")
    }
}

fn options() -> EmbeddedOptions {
    EmbeddedOptions { cache_bytes: 8 << 20, read_threads: 2, ..EmbeddedOptions::default() }
}

#[async_trait]
impl Home for Folder {
    async fn open(&self) -> Arc<dyn IndexEngine> {
        Arc::new(EmbeddedEngine::open(&self.path(), options()).unwrap())
    }
}

conformance_suite!(Folder::new());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn searches_during_writes_see_whole_batches() {
    conformance::searches_during_writes_see_whole_batches(&Folder::new()).await;
}

#[test]
fn a_database_that_is_open_elsewhere_is_refused_in_one_line() {
    let folder = Folder::new();
    let _engine = EmbeddedEngine::open(&folder.path(), options()).unwrap();
    let error = EmbeddedEngine::open(&folder.path(), options()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("in use by another process") && !error.message().contains('\n'), "{error}");
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path()).unwrap();
    std::fs::write(folder.path().join("index.redb"), "no database, but long enough to have a header".repeat(500))
        .unwrap();
    let error = EmbeddedEngine::open(&folder.path(), options()).err().unwrap();
    assert!(error.message().contains("cannot be opened"), "{error}");
}

fn spec(name: &str) -> CollectionSpec {
    CollectionSpec {
        name: name.parse().unwrap(),
        model: None,
        space_key: None,
        dimension: 1,
        metric: Metric::Euclid,
        store: StoreMode::None,
    }
}

#[tokio::test]
async fn the_size_of_a_collection_is_told_while_it_is_written() {
    let folder = Folder::new();
    let engine = EmbeddedEngine::open(&folder.path(), options()).unwrap();
    engine.create(spec("c")).await.unwrap();
    let core = engine.collections.find(&spec("c").name).unwrap();
    let snapshot = engine.shared.database.snapshot().unwrap();
    core.follow(snapshot, |_| assert_eq!(core.info().unwrap().count, 0));
}

#[tokio::test]
async fn a_collection_of_the_catalogue_is_never_written_over() {
    let folder = Folder::new();
    let engine = EmbeddedEngine::open(&folder.path(), options()).unwrap();
    let write = |transaction: &_| rows::create_collection(transaction, &spec("c")).map(Outcome::Commit);
    engine.shared.database.write(write).map(drop).unwrap();
    assert_eq!(engine.create(spec("c")).await.unwrap_err().kind(), ErrorKind::Internal);
    drop(engine);
    let engine = EmbeddedEngine::open(&folder.path(), options()).unwrap();
    assert!(!engine.create(spec("c")).await.unwrap());
}

#[tokio::test]
async fn metadata_beyond_what_is_indexed_are_no_reason_not_to_start() {
    let folder = Folder::new();
    let engine = EmbeddedEngine::open(&folder.path(), options()).unwrap();
    engine.create(spec("c")).await.unwrap();
    let metadata = json!({"k".repeat(300): 1, "n": (0..2000).collect::<Vec<_>>()}).as_object().cloned().unwrap();
    let record = rows::Record { id: "a".parse().unwrap(), metadata, image: None };
    let row = rows::EncodedRow::new(record.clone(), Some(&[1.0])).unwrap();
    let tables = engine.collections.find(&spec("c").name).unwrap().tables.clone();
    let write = |transaction: &_| rows::Writer::open(transaction, &tables, 1)?.put(1, &row).map(Outcome::Commit);
    engine.shared.database.write(write).map(drop).unwrap();
    drop(engine);
    let engine = EmbeddedEngine::open(&folder.path(), options()).unwrap();
    let items = engine.open(&spec("c").name).await.unwrap();
    let first = Filter::try_from(json!({"must": [{"key": "n", "match": 0}]})).unwrap();
    assert_eq!(items.count(Some(first.clone())).await.unwrap(), 1);
    assert_eq!(items.get(&record.id).await.unwrap().metadata, record.metadata);
    items.delete(vec![record.id]).await.unwrap();
    assert_eq!(items.count(Some(first)).await.unwrap(), 0);
}

/// A power cut in the middle of a commit: some of its pages have reached the disk, the header that names them has not.
#[tokio::test]
async fn a_write_that_was_torn_is_as_if_it_had_never_been() {
    let folder = Folder::new();
    let file = folder.path().join("index.redb");
    let engine = EmbeddedEngine::open(&folder.path(), options()).unwrap();
    engine.create(spec("c")).await.unwrap();
    let items = engine.open(&spec("c").name).await.unwrap();
    let make = |at: u32, value: f32| NewItem {
        id: at.to_string().parse().unwrap(),
        vector: Embedding::new(vec![value]).unwrap(),
        metadata: json!({"at": at}).as_object().cloned().unwrap(),
        image: None,
    };
    items.upsert((0..500).map(|at| make(at, 1.0)).collect()).await.unwrap();
    let before = std::fs::read(&file).unwrap();
    items.upsert((250..750).map(|at| make(at, 2.0)).collect()).await.unwrap();
    let after = std::fs::read(&file).unwrap();
    drop((items, engine));
    for keep in [0, 1, 2] {
        let pages = after.chunks(4096).zip(before.chunks(4096).chain(std::iter::repeat(&[][..]))).enumerate();
        let torn: Vec<u8> = pages
            .flat_map(|(at, (new, old))| if at == 0 || (old.len() == 4096 && at % 3 == keep) { old } else { new })
            .copied()
            .collect();
        std::fs::write(&file, torn).unwrap();
        let engine = EmbeddedEngine::open(&folder.path(), options()).unwrap();
        let items = engine.open(&spec("c").name).await.unwrap();
        assert_eq!(items.count(None).await.unwrap(), 500);
        assert_eq!(items.get(&"300".parse().unwrap()).await.unwrap().vector, [1.0]);
        items.upsert(vec![make(800, 3.0)]).await.unwrap();
    }
}

/// Vectors that quantise badly and tie often: few distinct numbers, some of them huge or tiny.
fn rows(dimension: usize) -> impl Strategy<Value = Vec<Vec<f32>>> {
    let number = prop_oneof![
        4 => -1.0_f32..1.0,
        2 => prop::sample::select(vec![0.0, 0.5, -0.5, 1.0]),
        1 => prop::sample::select(vec![1e-30, -1e20, 3e38, 1e-45]),
    ];
    prop::collection::vec(prop::collection::vec(number, dimension), 2..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_scan_finds_exactly_what_the_exact_scan_finds(
        rows in (1_usize..12).prop_flat_map(rows),
        limit in 1_usize..20,
    ) {
        let folder = Folder::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let engine = EmbeddedEngine::open(&folder.path(), options()).unwrap();
            for metric in [Metric::Cosine, Metric::Dot, Metric::Euclid] {
                let name: CollectionName = metric.as_str().parse().unwrap();
                let spec = CollectionSpec {
                    name: name.clone(),
                    model: None,
                    space_key: None,
                    dimension: rows[0].len(),
                    metric,
                    store: StoreMode::None,
                };
                engine.create(spec).await.unwrap();
                let items = engine.open(&name).await.unwrap();
                let vectors: Vec<_> = rows
                    .iter()
                    .filter(|row| metric != Metric::Cosine || row.iter().any(|value| *value != 0.0))
                    .map(|row| Embedding::new(row.clone()).unwrap())
                    .collect();
                let make = |(at, vector): (usize, &Embedding)| NewItem {
                    id: at.to_string().parse().unwrap(),
                    vector: vector.clone(),
                    metadata: json!({"even": at % 2 == 0}).as_object().cloned().unwrap(),
                    image: None,
                };
                items.upsert(vectors.iter().enumerate().map(make).collect()).await.unwrap();
                let even = Filter::try_from(json!({"must": [{"key": "even", "match": true}]})).unwrap();
                for (query, filter) in vectors.iter().take(8).flat_map(|query| [(query, None), (query, Some(even.clone()))]) {
                    let query = Query { filter, ..Query::nearest(query.clone(), TopK::new(limit).unwrap()) };
                    let exact = items.search(Query { exact: true, ..query.clone() }).await.unwrap();
                    assert!(exact.iter().all(|hit| hit.score.is_finite()));
                    assert_eq!(items.search(query).await.unwrap(), exact);
                }
            }
        });
    }
}

#[tokio::test]
async fn a_product_that_overflows_on_the_way_hides_no_item() {
    let folder = Folder::new();
    let engine = EmbeddedEngine::open(&folder.path(), options()).unwrap();
    let spec = CollectionSpec { dimension: 512, metric: Metric::Dot, ..spec("c") };
    engine.create(spec.clone()).await.unwrap();
    let items = engine.open(&spec.name).await.unwrap();
    // more than two chunks, so that later ones meet a floor; the best come last
    let vector = |value: f32| Embedding::new(vec![value; 512]).unwrap();
    let make = |at: usize| NewItem {
        id: at.to_string().parse().unwrap(),
        vector: vector(-1e-10 / (1.0 + at as f32)),
        metadata: Default::default(),
        image: None,
    };
    items.upsert((0..600).map(make).collect()).await.unwrap();
    let query = Query::nearest(vector(1e37), TopK::new(5).unwrap());
    let exact = items.search(Query { exact: true, ..query.clone() }).await.unwrap();
    assert_eq!(exact[0].id.as_str(), "599");
    assert_eq!(items.search(query).await.unwrap(), exact);
}

#[tokio::test]
async fn a_write_whose_caller_has_gone_is_there_once_the_index_is_closed() {
    let folder = Folder::new();
    let engine = EmbeddedEngine::open(&folder.path(), options()).unwrap();
    engine.create(spec("c")).await.unwrap();
    let items = engine.open(&spec("c").name).await.unwrap();
    let item = NewItem {
        id: "1".parse().unwrap(),
        vector: Embedding::new(vec![1.0]).unwrap(),
        metadata: Default::default(),
        image: None,
    };
    let mut write = items.upsert(vec![item]);
    assert!(futures_util::poll!(&mut write).is_pending());
    // its task takes its turn and hands it to the thread
    tokio::task::yield_now().await;
    drop(write);
    drop((items, engine));
    let engine = EmbeddedEngine::open(&folder.path(), options()).unwrap();
    assert_eq!(engine.open(&spec("c").name).await.unwrap().count(None).await.unwrap(), 1);
}

#[tokio::test]
async fn fractions_are_values_like_any_other() {
    let folder = Folder::new();
    let engine = EmbeddedEngine::open(&folder.path(), options()).unwrap();
    engine.create(spec("c")).await.unwrap();
    let items = engine.open(&spec("c").name).await.unwrap();
    let with = |at: usize, ratio: f64| NewItem {
        id: at.to_string().parse().unwrap(),
        vector: Embedding::new(vec![1.0]).unwrap(),
        metadata: json!({"ratio": ratio}).as_object().cloned().unwrap(),
        image: None,
    };
    items.upsert(vec![with(0, 0.5), with(1, 1.5), with(2, 1.5), with(3, -0.5)]).await.unwrap();
    let facets = items.facets(&"ratio".parse().unwrap(), None, TopK::new(10).unwrap()).await.unwrap();
    let found: Vec<_> = facets.into_iter().map(|facet| (facet.value.to_value(), facet.count)).collect();
    assert_eq!(found, [(json!(1.5), 2), (json!(-0.5), 1), (json!(0.5), 1)]);
}
