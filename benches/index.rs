//! Measures the embedded index: `make bench-index ARGS='--items 200000 --dimension 256'`.
//!
//! Vectors are drawn around random centres from a fixed seed, so that every run and `bench/index_peers.py`, which reads
//! the files written here, measure the same. Prints Markdown tables; docs/BENCHMARKS.md holds such output.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measurement that fails has nothing to return to"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Parser;
use latentd::{
    domain::{Embedding, Filter, Metric, TopK},
    index::{
        Collection, CollectionSpec, EmbeddedEngine, EmbeddedOptions, GraphOptions, IndexEngine as _, NewItem, Query,
        StoreMode,
    },
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};
use serde_json::json;

const NEAREST: usize = 10;
/// Vectors around one centre, on average.
const CLUSTER: usize = 200;
/// Noise beside a centre of length 1.
const SPREAD: f32 = 0.7;

#[derive(Debug, Parser)]
struct Options {
    #[arg(long, default_value_t = 200_000)]
    items: usize,
    #[arg(long, default_value_t = 256)]
    dimension: usize,
    #[arg(long, default_value_t = 1000)]
    queries: usize,
    /// Seconds of writing while searching
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Candidates kept while the graph is searched
    #[arg(long, default_value_t = 64)]
    expansion: usize,
    /// Where vectors and index are kept; emptied first
    #[arg(long, default_value = "target/bench-index")]
    folder: PathBuf,
    /// Leaves usearch alone out
    #[arg(long)]
    skip_usearch: bool,
    /// cargo bench passes it
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let _ = fs::remove_dir_all(&options.folder);
    fs::create_dir_all(&options.folder).unwrap();
    let data = Data::draw(&options);
    data.write(&options.folder);
    let (items, dimension) = (options.items, options.dimension);
    println!("{items} vectors of {dimension}, cosine, the {NEAREST} nearest, {} queries\n", options.queries);
    println!("| what | figure |\n| --- | --- |");

    let scanned = Opened::new(&options, u64::MAX).await;
    let started = Instant::now();
    scanned.fill(&data).await;
    row("filling, 1,000 a batch, items/s", format!("{:.0}", items as f64 / started.elapsed().as_secs_f64()));
    let truth = data.nearest(|_| true);
    write_truth(&options.folder, &truth);
    let scan = scanned.answers(&data.queries, None).await;
    scan.report("scan", &truth);
    let memory = resident();
    row("scan: resident", mebibytes(memory));
    drop(scanned);

    let started = Instant::now();
    let graph = Opened::new(&options, items as u64 / 2).await;
    row("opening without a graph", format!("{:.2} s", started.elapsed().as_secs_f64()));
    let started = Instant::now();
    graph.settled().await;
    row("building the graph", format!("{:.1} s", started.elapsed().as_secs_f64()));
    let found = graph.answers(&data.queries, None).await;
    found.report("graph", &truth);
    let recall = found.recall(&truth);
    for (name, key, share) in [("filter keeping 10 %", "tenth", 10), ("filter keeping 1 %", "hundredth", 100)] {
        let filter = Filter::try_from(json!({"must": [{"key": key, "match": 3}]})).unwrap();
        let truth = data.nearest(|id| id % share == 3);
        graph.answers(&data.queries, Some(&filter)).await.report(name, &truth);
    }
    row("graph: resident", mebibytes(resident()));
    graph.while_writing(&data, Duration::from_secs(options.seconds)).await;
    graph.settled().await;
    drop(graph);
    row("on the disk", mebibytes(size_of(&options.folder.join("index"))));
    let started = Instant::now();
    let reopened = Opened::new(&options, items as u64 / 2).await;
    row("opening with a saved graph", format!("{:.2} s", started.elapsed().as_secs_f64()));
    let form = reopened.collection.info().await.unwrap();
    row("form then", format!("{}: {}", form.form, form.form_reason));
    drop(reopened);

    if !options.skip_usearch {
        usearch_alone(&data, &truth, recall);
    }
}

fn row(what: &str, figure: impl std::fmt::Display) {
    println!("| {what} | {figure} |");
}

struct Data {
    vectors: Vec<Embedding>,
    queries: Vec<Embedding>,
}

impl Data {
    fn draw(options: &Options) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(20_261_124);
        let dimension = options.dimension;
        let mut gauss = move |scale: f32| -> Vec<f32> {
            (0..dimension)
                .map(|_| {
                    let number: f32 = StandardNormal.sample(&mut random);
                    number * scale
                })
                .collect()
        };
        let length = (dimension as f32).sqrt();
        let centres: Vec<_> = (0..(options.items / CLUSTER).max(1)).map(|_| gauss(1.0 / length)).collect();
        let mut pick = ChaCha8Rng::seed_from_u64(1);
        let mut draw = |count: usize| -> Vec<Embedding> {
            (0..count)
                .map(|_| {
                    let centre = &centres[pick.random_range(0..centres.len())];
                    let noise = gauss(SPREAD / length);
                    let vector = centre.iter().zip(noise).map(|(centre, noise)| centre + noise).collect();
                    Embedding::new(vector).unwrap().normalized()
                })
                .collect()
        };
        Self { vectors: draw(options.items), queries: draw(options.queries) }
    }

    /// The nearest of the items that are kept, for each query: every vector compared.
    fn nearest(&self, keep: impl Fn(usize) -> bool) -> Vec<Vec<u32>> {
        let nearest = |query: &Embedding| {
            let kept = self.vectors.iter().enumerate().filter(|(id, _)| keep(*id));
            let mut scores: Vec<(f32, u32)> =
                kept.map(|(id, vector)| (inner_product(query.as_slice(), vector.as_slice()), id as u32)).collect();
            let most = NEAREST.min(scores.len());
            if most < scores.len() {
                scores.select_nth_unstable_by(most, |a, b| b.0.total_cmp(&a.0));
            }
            scores[..most].iter().map(|(_, id)| *id).collect()
        };
        self.queries.iter().map(nearest).collect()
    }

    /// For the peers: `vectors.f32` and `queries.f32`, row after row of little-endian numbers.
    fn write(&self, folder: &Path) {
        for (name, rows) in [("vectors.f32", &self.vectors), ("queries.f32", &self.queries)] {
            let bytes: Vec<u8> =
                rows.iter().flat_map(|row| row.as_slice().iter().flat_map(|number| number.to_le_bytes())).collect();
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
}

/// In lanes, so that the compiler vectorises it.
fn inner_product(a: &[f32], b: &[f32]) -> f32 {
    let (a_lanes, a_rest) = a.as_chunks::<16>();
    let (b_lanes, b_rest) = b.as_chunks::<16>();
    let mut sums = [0.0; 16];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        (0..16).for_each(|lane| sums[lane] += a[lane] * b[lane]);
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// `truth.u32`: the nearest items of each query, little-endian.
fn write_truth(folder: &Path, truth: &[Vec<u32>]) {
    let bytes: Vec<u8> = truth.iter().flatten().flat_map(|id| id.to_le_bytes()).collect();
    fs::write(folder.join("truth.u32"), bytes).unwrap();
}

/// Answers to all queries, and how long each took.
struct Answers {
    found: Vec<Vec<u32>>,
    times: Vec<Duration>,
}

impl Answers {
    fn recall(&self, truth: &[Vec<u32>]) -> f64 {
        let hits = |(found, truth): (&Vec<u32>, &Vec<u32>)| found.iter().filter(|id| truth.contains(id)).count();
        let all: usize = truth.iter().map(Vec::len).sum();
        self.found.iter().zip(truth).map(hits).sum::<usize>() as f64 / all as f64
    }

    fn report(&self, what: &str, truth: &[Vec<u32>]) {
        let rate = self.times.len() as f64 / self.times.iter().sum::<Duration>().as_secs_f64();
        // cut off, never rounded up
        let recall = (self.recall(truth) * 1e4).floor() / 1e4;
        row(
            &format!("{what}: recall / searches per second in one thread / p50 / p99"),
            format!("{recall:.4} / {rate:.0} / {} / {}", percentile(&self.times, 50), percentile(&self.times, 99)),
        );
    }
}

fn percentile(times: &[Duration], percent: usize) -> String {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = (times.len() * percent).div_ceil(100).clamp(1, times.len()) - 1;
    format!("{:.2} ms", times[at].as_secs_f64() * 1e3)
}

struct Opened {
    collection: Arc<dyn Collection>,
    _engine: EmbeddedEngine,
}

impl Opened {
    async fn new(options: &Options, scan_items: u64) -> Self {
        let graph = GraphOptions { scan_items, expansion_search: options.expansion, ..GraphOptions::default() };
        let settings = EmbeddedOptions { graph, ..EmbeddedOptions::default() };
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
        Self { collection: engine.open(&name).await.unwrap(), _engine: engine }
    }

    async fn fill(&self, data: &Data) {
        for (at, batch) in data.vectors.chunks(1000).enumerate() {
            let items = batch.iter().enumerate().map(|(within, vector)| item(at * 1000 + within, vector)).collect();
            self.collection.upsert(items).await.unwrap();
        }
    }

    /// Waits until the graph answers and has everything.
    async fn settled(&self) {
        loop {
            let info = self.collection.info().await.unwrap();
            if info.form == "graph" && !info.form_reason.contains("pending") && !info.form_reason.contains("built") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn answers(&self, queries: &[Embedding], filter: Option<&Filter>) -> Answers {
        let mut answers = Answers { found: Vec::new(), times: Vec::new() };
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

    /// Replaces 64 items a write, one write after another, while one thread searches; idle figures beside it.
    async fn while_writing(&self, data: &Data, duration: Duration) {
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
        let mut random = ChaCha8Rng::seed_from_u64(2);
        let mut writes = Vec::new();
        let started = Instant::now();
        while started.elapsed() < duration {
            let batch = (0..64).map(|_| {
                let (id, vector) =
                    (random.random_range(0..data.vectors.len()), random.random_range(0..data.vectors.len()));
                item(id, &data.vectors[vector])
            });
            let batch = batch.collect();
            let begun = Instant::now();
            self.collection.upsert(batch).await.unwrap();
            writes.push(begun.elapsed());
        }
        done.store(true, Ordering::Relaxed);
        let times = searching.await.unwrap();
        row("durable writes of 64: p50 / p99", format!("{} / {}", percentile(&writes, 50), percentile(&writes, 99)));
        row(
            "written items/s beside one searching thread",
            format!("{:.0}", writes.len() as f64 * 64.0 / duration.as_secs_f64()),
        );
        row(
            "search p50, p99 idle → while writing",
            format!(
                "{}, {} → {}, {}",
                percentile(&idle.times, 50),
                percentile(&idle.times, 99),
                percentile(&times, 50),
                percentile(&times, 99)
            ),
        );
    }
}

fn item(id: usize, vector: &Embedding) -> NewItem {
    let metadata = json!({"tenth": id % 10, "hundredth": id % 100}).as_object().cloned().unwrap();
    NewItem { id: id.to_string().parse().unwrap(), vector: vector.clone(), metadata, picture: None }
}

/// usearch in this process with f32 vectors and the same settings, at growing expansions until it finds as much.
fn usearch_alone(data: &Data, truth: &[Vec<u32>], recall: f64) {
    let index = usearch::Index::new(&usearch::IndexOptions {
        dimensions: data.vectors[0].dimension(),
        metric: usearch::MetricKind::Cos,
        quantization: usearch::ScalarKind::F32,
        connectivity: 16,
        expansion_add: 100,
        expansion_search: 64,
        multi: false,
    })
    .unwrap();
    index.reserve(data.vectors.len()).unwrap();
    let started = Instant::now();
    for (key, vector) in (0_u64..).zip(&data.vectors) {
        index.add(key, vector.as_slice()).unwrap();
    }
    row("usearch alone, f32: building", format!("{:.1} s", started.elapsed().as_secs_f64()));
    for expansion in [16, 24, 32, 48, 64, 96, 128, 192, 256] {
        index.change_expansion_search(expansion);
        let mut answers = Answers { found: Vec::new(), times: Vec::new() };
        for query in &data.queries {
            let started = Instant::now();
            let found = index.search(query.as_slice(), NEAREST).unwrap();
            answers.times.push(started.elapsed());
            answers.found.push(found.keys.iter().map(|&key| key as u32).collect());
        }
        answers.report(&format!("usearch alone, f32, expansion {expansion}"), truth);
        if answers.recall(truth) >= recall {
            break;
        }
    }
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) << 10
}

fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { size_of(&path) } else { path.metadata().unwrap().len() }).sum()
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
