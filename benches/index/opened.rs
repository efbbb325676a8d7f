//! An index in this process.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use latentd::{
    domain::{Embedding, Filter, Metric, TopK},
    index::{
        Collection, CollectionSpec, EmbeddedEngine, EmbeddedOptions, GraphOptions, IndexEngine as _, NewItem, Query,
        StoreMode,
    },
    telemetry::Metrics,
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use crate::{
    NEAREST, Options,
    answers::{Answers, percentile},
    data::Data,
    row,
};

/// Items of a write beside searches.
const BATCH: usize = 64;

pub(crate) struct Opened {
    pub(crate) collection: Arc<dyn Collection>,
    metrics: Arc<Metrics>,
    _engine: EmbeddedEngine,
}

impl Opened {
    pub(crate) async fn new(options: &Options, scan_items: u64) -> Self {
        Self::checked_every(GraphOptions::default().check_interval, options, scan_items).await
    }

    pub(crate) async fn checked_every(check_interval: Duration, options: &Options, scan_items: u64) -> Self {
        let expansion_search = options.expansion;
        let graph = GraphOptions { scan_items, expansion_search, check_interval, ..GraphOptions::default() };
        Self::with(graph, options).await
    }

    /// Searches keep so many candidates, whatever checks find.
    pub(crate) async fn held_at(expansion_search: usize, options: &Options, scan_items: u64) -> Self {
        Self::with(GraphOptions { scan_items, expansion_search, recall: 0.0, ..GraphOptions::default() }, options).await
    }

    async fn with(graph: GraphOptions, options: &Options) -> Self {
        let settings = EmbeddedOptions { graph, ..EmbeddedOptions::default() };
        let metrics = Arc::clone(&settings.metrics);
        let engine = EmbeddedEngine::open(&options.folder.join("index"), settings).unwrap();
        let spec = CollectionSpec {
            name: "bench".parse().unwrap(),
            model: None,
            space_key: None,
            dimension: options.dimension,
            metric: Metric::Cosine,
            store: StoreMode::None,
        };
        let name = spec.name.clone();
        engine.create(spec).await.unwrap();
        Self { collection: engine.open(&name).await.unwrap(), metrics, _engine: engine }
    }

    pub(crate) async fn fill(&self, data: &Data) {
        for (at, batch) in data.vectors.chunks(1000).enumerate() {
            let items = batch.iter().enumerate().map(|(within, vector)| item(at * 1000 + within, vector)).collect();
            self.collection.upsert(items).await.unwrap();
        }
    }

    /// Waits until the graph answers and has everything.
    pub(crate) async fn settled(&self) {
        loop {
            let info = self.collection.info().await.unwrap();
            if Self::is_settled(info.form, &info.form_reason) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the recall of the graph was checked, which follows the opening of an index by a second or some.
    pub(crate) async fn checked(&self) {
        while !self.metrics.render().contains("latentd_index_graph_recall{") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Candidates that a search of the graph keeps, once checks have left them alone for so long.
    pub(crate) async fn candidates(&self, calm: Duration) -> String {
        let now = || {
            let metrics = self.metrics.render();
            let line = metrics.lines().find(|line| line.starts_with("latentd_index_graph_expansion{"));
            line.and_then(|line| line.rsplit(' ').next()).unwrap_or_default().to_owned()
        };
        let (mut candidates, mut since) = (now(), Instant::now());
        while since.elapsed() < calm {
            tokio::time::sleep(Duration::from_millis(500)).await;
            if now() != candidates {
                (candidates, since) = (now(), Instant::now());
            }
        }
        candidates
    }

    pub(crate) fn is_settled(form: &str, reason: &str) -> bool {
        form == "graph" && !reason.contains("pending") && !reason.contains("built")
    }

    pub(crate) async fn search(&self, vector: &Embedding) {
        let query = Query::nearest(vector.clone(), TopK::new(NEAREST).unwrap());
        self.collection.search(Query { with_metadata: false, ..query }).await.unwrap();
    }

    pub(crate) async fn answers(&self, queries: &[Embedding], filter: Option<&Filter>) -> Answers {
        let mut answers = Answers::default();
        for query in queries {
            let query = Query {
                filter: filter.cloned(),
                with_metadata: false,
                ..Query::nearest(query.clone(), TopK::new(NEAREST).unwrap())
            };
            let started = Instant::now();
            let hits = self.collection.search(query).await.unwrap();
            answers.times.push(started.elapsed());
            answers.found.push(hits.iter().map(|hit| hit.id.as_str().parse().unwrap()).collect());
        }
        answers
    }

    /// Replaces 64 items a write while one thread searches: one write after another, or so many items a second.
    pub(crate) async fn while_writing(&self, data: &Data, duration: Duration, rate: Option<f64>) {
        let idle = self.answers(&data.queries, None).await;
        let done = Arc::new(AtomicBool::new(false));
        let searching = tokio::spawn({
            let (collection, queries, done) = (Arc::clone(&self.collection), data.queries.clone(), Arc::clone(&done));
            async move {
                let mut times = Vec::new();
                for query in queries.iter().cycle() {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    let query = Query::nearest(query.clone(), TopK::new(NEAREST).unwrap());
                    let started = Instant::now();
                    collection.search(Query { with_metadata: false, ..query }).await.unwrap();
                    times.push(started.elapsed());
                }
                times
            }
        });
        let writes = self.write(data, duration, rate.map(|rate| Duration::from_secs_f64(BATCH as f64 / rate))).await;
        done.store(true, Ordering::Relaxed);
        let times = searching.await.unwrap();
        let written = (writes.len() * BATCH) as f64 / duration.as_secs_f64();
        let what = rate.map_or_else(|| "as fast as it goes".to_owned(), |rate| format!("{rate:.0} items/s"));
        row(
            &format!("durable writes of {BATCH}, {what}, beside one searching thread: items/s / p50 / p99"),
            format!("{written:.0} / {} / {}", percentile(&writes, 50), percentile(&writes, 99)),
        );
        let [idle_p50, idle_p99, p50, p99] =
            [(&idle.times, 50), (&idle.times, 99), (&times, 50), (&times, 99)].map(|(times, at)| percentile(times, at));
        row("search p50, p99 idle → meanwhile", format!("{idle_p50}, {idle_p99} → {p50}, {p99}"));
    }

    /// Replaces random items; a write that is late is not made up for.
    async fn write(&self, data: &Data, duration: Duration, period: Option<Duration>) -> Vec<Duration> {
        let mut random = ChaCha8Rng::seed_from_u64(2);
        let mut writes = Vec::new();
        let started = Instant::now();
        let mut due = period.map(|period| {
            let mut due = tokio::time::interval(period);
            due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            due
        });
        while started.elapsed() < duration {
            if let Some(due) = &mut due {
                due.tick().await;
            }
            let batch = (0..BATCH).map(|_| {
                let (id, vector) =
                    (random.random_range(0..data.vectors.len()), random.random_range(0..data.vectors.len()));
                item(id, &data.vectors[vector])
            });
            let batch = batch.collect();
            let begun = Instant::now();
            self.collection.upsert(batch).await.unwrap();
            writes.push(begun.elapsed());
        }
        writes
    }
}

pub(crate) fn item(id: usize, vector: &Embedding) -> NewItem {
    let metadata = json!({"tenth": id % 10, "hundredth": id % 100}).as_object().cloned().unwrap();
    NewItem { id: id.to_string().parse().unwrap(), vector: vector.clone(), metadata, image: None }
}
