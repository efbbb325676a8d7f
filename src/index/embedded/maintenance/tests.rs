//! The graph form as a whole. Maintenance is driven by hand, so each test decides what happens in which order.

mod saving;

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use super::steps::MaintenanceState;
use crate::{
    domain::{CollectionName, Embedding, Filter, ItemId, Metric, TopK},
    index::{
        Collection, CollectionSpec, EmbeddedEngine, EmbeddedOptions, IndexEngine, NewItem, Query, StoreMode,
        conformance::{Home, conformance_suite},
        embedded::{
            core::Core,
            graph::{snapshot::folder_of, *},
            search::plan,
        },
    },
};

const DIMENSION: usize = 16;

fn graph_options() -> GraphOptions {
    GraphOptions { scan_items: 50, filter_scan_items: 5, ..GraphOptions::default() }
}

fn options(graph: GraphOptions) -> EmbeddedOptions {
    EmbeddedOptions { cache_bytes: 8 << 20, read_threads: 2, graph, ..EmbeddedOptions::default() }
}

/// A folder whose engines make a graph for every item and more, and search it through; maintenance runs.
struct Eager(tempfile::TempDir);

#[async_trait]
impl Home for Eager {
    async fn open(&self) -> Arc<dyn IndexEngine> {
        let graph = GraphOptions {
            scan_items: 0,
            filter_scan_items: 0,
            expansion_search: 2000,
            save_operations: 20,
            ..GraphOptions::default()
        };
        Arc::new(EmbeddedEngine::open(&self.0.path().join("index"), options(graph)).unwrap())
    }
}

conformance_suite!(Eager(tempfile::tempdir().unwrap()));

/// An engine without a thread of its own, and one collection.
struct Bench {
    folder: tempfile::TempDir,
    graph: GraphOptions,
    engine: Option<EmbeddedEngine>,
    state: MaintenanceState,
    random: ChaCha8Rng,
}

impl Bench {
    async fn new(metric: Metric) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut bench = Self {
            folder,
            graph: graph_options(),
            engine: None,
            state: MaintenanceState::default(),
            random: ChaCha8Rng::seed_from_u64(7),
        };
        bench.reopen();
        let spec = CollectionSpec {
            name: name(),
            model: None,
            space_key: None,
            dimension: DIMENSION,
            metric,
            store: StoreMode::None,
        };
        bench.engine().create(spec).await.unwrap();
        bench
    }

    fn engine(&self) -> &EmbeddedEngine {
        self.engine.as_ref().unwrap()
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("index")
    }

    fn graph_folder(&self) -> PathBuf {
        folder_of(&self.path().join("index.redb"), self.core().number())
    }

    /// Opens the index as after a crash: maintenance has forgotten everything.
    fn reopen(&mut self) {
        self.engine = None;
        self.engine =
            Some(EmbeddedEngine::open_without_maintenance(&self.path(), options(self.graph.clone())).unwrap());
        self.state = MaintenanceState::default();
    }

    fn core(&self) -> Arc<Core> {
        self.engine().collections.find(&name()).unwrap()
    }

    async fn items(&self) -> Arc<dyn Collection> {
        self.engine().open(&name()).await.unwrap()
    }

    fn vector(&mut self) -> Embedding {
        Embedding::new((0..DIMENSION).map(|_| self.random.random_range(-1.0..1.0)).collect()).unwrap()
    }

    async fn add(&mut self, ids: std::ops::Range<u32>) {
        let items = ids
            .map(|at| NewItem {
                id: id(at),
                vector: self.vector(),
                metadata: json!({"third": at % 3 == 0, "at": at}).as_object().cloned().unwrap(),
                image: None,
            })
            .collect();
        self.items().await.upsert(items).await.unwrap();
    }

    async fn delete(&mut self, ids: std::ops::Range<u32>) {
        self.items().await.delete(ids.map(id).collect()).await.unwrap();
    }

    fn step(&mut self) -> bool {
        self.core().maintain(&mut self.state)
    }

    /// Lets the graph follow everything.
    fn settle(&mut self) {
        while self.step() {}
    }

    fn form(&self) -> (&'static str, String) {
        let info = self.core().info().unwrap();
        (info.form, info.form_reason)
    }

    fn pending(&self) -> Option<u64> {
        self.core().peek(|memory| memory.graphs.serving.as_ref().map(|serving| serving.pending().len())).flatten()
    }

    fn nodes(&self) -> usize {
        self.core().peek(|memory| memory.graphs.serving.as_ref().unwrap().graph().nodes()).unwrap()
    }

    /// The share of the 10 nearest that searches find, and that no score differs from the exact one.
    async fn recall(&mut self, filter: Option<Filter>) -> f64 {
        let items = self.items().await;
        let (mut found, mut all) = (0, 0);
        for _ in 0..40 {
            let query = Query { filter: filter.clone(), ..Query::nearest(self.vector(), TopK::new(10).unwrap()) };
            let exact = items.search(Query { exact: true, ..query.clone() }).await.unwrap();
            let hits = items.search(query).await.unwrap();
            assert_eq!(hits.len(), exact.len());
            found += hits.iter().filter(|hit| exact.contains(hit)).count();
            all += exact.len();
        }
        found as f64 / all as f64
    }

    fn searches(&self, plan: &str) -> u64 {
        let text = self.engine().shared.metrics.render();
        let line = text.lines().find(|line| line.starts_with("latentd_index_searches_total") && line.contains(plan));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
    }
}

fn name() -> CollectionName {
    "c".parse().unwrap()
}

fn id(at: u32) -> ItemId {
    at.to_string().parse().unwrap()
}

fn third() -> Filter {
    Filter::try_from(json!({"must": [{"key": "third", "match": true}]})).unwrap()
}

#[tokio::test]
async fn a_collection_gets_a_graph_above_a_size_and_says_why() {
    let mut bench = Bench::new(Metric::Cosine).await;
    bench.add(0..50).await;
    bench.settle();
    assert_eq!(bench.form(), ("scan", "count 50 is not above index.scan_items 50".to_owned()));
    bench.add(50..400).await;
    assert!(bench.form().1.contains("about to be built"), "{:?}", bench.form());
    assert!(bench.step());
    assert_eq!(bench.form(), ("scan", "the graph is being built: 0 % done".to_owned()));
    bench.step();
    assert_eq!(bench.form().1, "the graph is being built: 16 % done");
    assert_eq!(bench.recall(None).await, 1.0);
    bench.settle();
    assert_eq!(bench.form(), ("graph", "count 400 is above index.scan_items 50".to_owned()));
    assert_eq!(bench.searches("\"graph\""), 0);
    assert!(bench.recall(None).await > 0.97);
    assert_eq!(bench.searches("\"graph\""), 40);
}

#[tokio::test]
async fn every_metric_has_a_graph_that_finds_nearly_everything() {
    for metric in [Metric::Cosine, Metric::Dot, Metric::Euclid] {
        let mut bench = Bench::new(metric).await;
        bench.add(0..1500).await;
        bench.settle();
        let recall = bench.recall(None).await;
        assert!(recall > 0.9, "{metric:?}: {recall}");
    }
}

#[tokio::test]
async fn what_is_written_is_found_before_the_graph_has_it() {
    let mut bench = Bench::new(Metric::Euclid).await;
    bench.add(0..300).await;
    bench.settle();
    bench.add(300..340).await;
    bench.add(0..20).await;
    assert_eq!(bench.pending(), Some(60));
    let items = bench.items().await;
    for at in (0..20).chain(300..340) {
        let vector = Embedding::new(items.get(&id(at)).await.unwrap().vector).unwrap();
        let hits = items.search(Query::nearest(vector, TopK::new(1).unwrap())).await.unwrap();
        assert_eq!((&hits[0].id, hits[0].score), (&id(at), 0.0));
    }
    bench.settle();
    assert_eq!(bench.pending(), Some(0));
    assert!(bench.recall(None).await > 0.97);
}

#[tokio::test]
async fn an_item_that_is_replaced_while_it_is_added_stays_pending() {
    let mut bench = Bench::new(Metric::Euclid).await;
    bench.add(0..100).await;
    bench.settle();
    bench.add(0..2).await;
    // As maintenance does it, with writes in between.
    let core = bench.core();
    let slots = core.alter(|memory| memory.graphs.serving.as_mut().unwrap().take(9)).unwrap();
    assert_eq!(slots.len(), 2);
    bench.add(0..1).await;
    bench.delete(1..2).await;
    let row = NodeRow::new(vec![1; DIMENSION], 0.0);
    core.alter(|memory| {
        let serving = memory.graphs.serving.as_mut().unwrap();
        let added: Vec<_> = slots.iter().map(|&slot| (slot, serving.graph().add(&row, slot).unwrap())).collect();
        serving.added(&added);
    });
    assert_eq!(bench.pending(), Some(1));
    bench.settle();
    assert_eq!(bench.pending(), Some(0));
    assert!(bench.recall(None).await > 0.97);
}

#[tokio::test]
async fn a_search_that_began_before_a_replacement_still_finds_the_item() {
    let mut bench = Bench::new(Metric::Euclid).await;
    bench.add(0..200).await;
    bench.settle();
    let core = bench.core();
    let view = core.view(None).unwrap();
    bench.add(0..200).await;
    bench.settle();
    let top_k = |key: u64| {
        let vector = Embedding::new(core.vector(&view.reader, key).unwrap().unwrap()).unwrap();
        plan::TopKQuery::new(Metric::Euclid, vector, TopK::new(1).unwrap())
    };
    let plan = plan::Plan::Graph;
    for slot in 0..view.slots() {
        let key = view.key(slot).unwrap();
        let (_, found) = plan::answer(&view, &top_k(key), plan).unwrap();
        assert_eq!((found[0].key, found[0].score), (key, 0.0));
    }
    drop(view);
    bench.step();
    assert!(bench.recall(None).await > 0.97, "the old nodes are passed over once nobody needs them");
}

#[tokio::test]
async fn an_item_written_again_as_it_was_keeps_its_node() {
    let mut bench = Bench::new(Metric::Cosine).await;
    bench.add(0..100).await;
    bench.settle();
    let items = bench.items().await;
    let stored = items.get(&id(5)).await.unwrap();
    let vector = Embedding::new(stored.vector).unwrap();
    items.upsert(vec![NewItem { id: id(5), vector, metadata: stored.metadata, image: None }]).await.unwrap();
    assert_eq!((bench.pending(), bench.nodes()), (Some(0), 100));
}

#[tokio::test]
async fn filters_are_searched_in_the_graph_or_scanned_by_how_much_they_keep() {
    let mut bench = Bench::new(Metric::Cosine).await;
    bench.add(0..600).await;
    bench.settle();
    assert!(bench.recall(Some(third())).await > 0.97);
    assert_eq!(bench.searches("\"graph\""), 40);
    let few = Filter::try_from(json!({"must": [{"key": "at", "range": {"lt": 5}}]})).unwrap();
    assert_eq!(bench.recall(Some(few)).await, 1.0);
    assert_eq!(bench.searches("\"filter_scan\""), 40);
}

#[tokio::test]
async fn when_the_graph_offers_too_little_the_scan_answers() {
    let mut bench = Bench::new(Metric::Cosine).await;
    bench.add(0..300).await;
    bench.settle();
    let query = Query::nearest(bench.vector(), TopK::new(1000).unwrap());
    assert_eq!(bench.items().await.search(query.clone()).await.unwrap().len(), 300);
    // A graph that has lost its items has nothing to offer.
    bench.core().peek(|memory| {
        let graph = memory.graphs.serving.as_ref().unwrap().graph();
        (0..300).for_each(|node| graph.clear(node));
    });
    assert_eq!(bench.items().await.search(query).await.unwrap().len(), 300);
    assert_eq!(bench.searches("\"graph_then_scan\""), 1);
}

#[tokio::test]
async fn a_graph_out_of_date_is_built_anew_while_it_serves() {
    let mut bench = Bench::new(Metric::Cosine).await;
    bench.add(0..400).await;
    bench.settle();
    bench.add(0..120).await;
    bench.delete(200..260).await;
    while bench.nodes() != 340 {
        assert_eq!(bench.form().0, "graph");
        assert!(bench.recall(None).await > 0.95);
        bench.step();
    }
    bench.settle();
    assert_eq!(bench.form(), ("graph", "count 340 is above index.scan_items 50".to_owned()));
    assert!(bench.recall(None).await > 0.97);
}

#[tokio::test]
async fn a_collection_that_becomes_small_is_scanned_again() {
    let mut bench = Bench::new(Metric::Cosine).await;
    bench.add(0..60).await;
    bench.settle();
    bench.delete(0..15).await;
    bench.settle();
    assert_eq!(bench.form(), ("graph", "count 45 is less than a fifth below index.scan_items 50".to_owned()));
    bench.delete(15..20).await;
    bench.settle();
    assert_eq!(bench.form(), ("scan", "count 40 is not above index.scan_items 50".to_owned()));
    assert!(!bench.graph_folder().exists());
    assert_eq!(bench.recall(None).await, 1.0);
}

#[tokio::test]
async fn the_recall_of_the_graph_is_told() {
    let mut bench = Bench::new(Metric::Cosine).await;
    bench.add(0..500).await;
    bench.settle();
    bench.recall(None).await;
    bench.state.make_due();
    bench.settle();
    let text = bench.engine().shared.metrics.render();
    let line = text.lines().find(|line| line.starts_with("latentd_index_graph_recall{")).unwrap();
    let recall: f64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(recall > 0.95, "{line}");
    assert!(text.contains("latentd_index_graph_pending{collection=\"c\"} 0"), "{text}");
    assert!(text.contains("latentd_index_graph_build_seconds_count{collection=\"c\"} 1"), "{text}");
    assert!(text.contains("latentd_index_graph_save_seconds_count{collection=\"c\"} 1"), "{text}");
}

#[tokio::test]
async fn a_graph_that_finds_too_little_is_searched_with_more_candidates() {
    let mut bench = Bench::new(Metric::Cosine).await;
    bench.graph =
        GraphOptions { connectivity: 6, expansion_add: 16, expansion_search: 20, recall: 0.0, ..graph_options() };
    bench.reopen();
    bench.add(0..3000).await;
    bench.settle();
    let before = bench.recall(None).await;
    assert!(before < 0.9, "{before}");
    bench.state.make_due();
    bench.settle();
    assert_eq!(bench.form().1, "count 3000 is above index.scan_items 50", "nothing is queries for");
    bench.graph.recall = 0.99;
    bench.reopen();
    bench.settle();
    let (form, reason) = bench.form();
    assert_eq!(form, "graph");
    assert!(reason.contains("; searches keep ") && reason.ends_with(" candidates for a recall of 0.99"), "{reason}");
    let after = bench.recall(None).await;
    assert!(after > 0.95, "{before} {after}");
    let text = bench.engine().shared.metrics.render();
    let line = text.lines().find(|line| line.starts_with("latentd_index_graph_expansion{")).unwrap();
    let expansion: usize = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((21..=160).contains(&expansion), "{before} {after} {line}");
    bench.reopen();
    assert_eq!(bench.form(), (form, reason), "opened again, it keeps as many as before, without a check");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn searches_and_writes_go_on_while_the_keeper_works() {
    let folder = tempfile::tempdir().unwrap();
    let graph = GraphOptions { scan_items: 50, save_operations: 50, rebuild_percent: 10, ..graph_options() };
    let engine = Arc::new(EmbeddedEngine::open(&folder.path().join("index"), options(graph)).unwrap());
    let spec = CollectionSpec {
        name: name(),
        model: None,
        space_key: None,
        dimension: DIMENSION,
        metric: Metric::Euclid,
        store: StoreMode::None,
    };
    engine.create(spec).await.unwrap();
    let items = engine.open(&name()).await.unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let mut vector = move || Embedding::new((0..DIMENSION).map(|_| random.random_range(-1.0..1.0)).collect()).unwrap();
    for round in 0..60 {
        let batch: Vec<_> = (0..20)
            .map(|at| NewItem { id: id(round * 13 + at), vector: vector(), metadata: Default::default(), image: None })
            .collect();
        items.upsert(batch.clone()).await.unwrap();
        items.delete(vec![id(round * 5)]).await.unwrap();
        for item in batch.iter().filter(|item| item.id != id(round * 5)) {
            let hits = items.search(Query::nearest(item.vector.clone(), TopK::new(1).unwrap())).await.unwrap();
            assert_eq!((&hits[0].id, hits[0].score), (&item.id, 0.0), "round {round}");
        }
    }
}
