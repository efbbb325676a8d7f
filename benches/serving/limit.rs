//! The same images and the same graph without a server, by latentd's own library.
//!
//! | what | does |
//! | --- | --- |
//! | `tensors` | runs batches that are ready: what ONNX Runtime gives |
//! | `direct` | decodes, prepares and runs a batch, again and again, one thread and one session a core: nothing waits for anything |
//! | `queued` | the same through the server's threads and queue, everything but HTTP |
//! | `single` | one image at a time in one thread: how soon an idle machine can answer |

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use latentd::{
    batch::{RunPermits, Tensor, Watchdog},
    compute::CpuPool,
    domain::Device,
    image,
    model::{GraphRole, Model, ModelDefaults, Repository, RepositoryParts, VectorOptions},
    runtime::{GraphLoader, Runner, Runtime, SessionOptions, TensorView, cores},
};
use serde_json::json;

use crate::{
    files, tell,
    times::Times,
    window::{Window, spread},
};

/// More than any image here has.
const MAX_PIXELS: u64 = 1 << 26;
/// Up to this side the server decodes on the threads that also read the network.
const INLINE_SIDE: u32 = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Tensors,
    Direct,
    Queued,
    Single,
}

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[arg(long)]
    what: What,
    /// A model repository
    #[arg(long)]
    models: PathBuf,
    #[arg(long)]
    model: String,
    /// A folder of images
    #[arg(long)]
    images: PathBuf,
    /// Images in one run; the server's default
    #[arg(long, default_value_t = 8)]
    batch: usize,
    /// Images under way at a time, for `queued`
    #[arg(long, default_value_t = 64)]
    connections: usize,
    #[command(flatten)]
    times: Times,
}

/// One finished image.
struct Sample {
    begun: Instant,
    done: Instant,
}

pub(crate) fn run(options: &Options) {
    let bench = Bench::open(options);
    let window = options.times.window();
    let telling = std::thread::spawn(move || {
        std::thread::sleep(window.begin.saturating_duration_since(Instant::now()));
        tell("begin");
        std::thread::sleep(window.end().saturating_duration_since(Instant::now()));
        tell("end");
    });
    let samples = match options.what {
        What::Queued => bench.queued(options, window),
        What::Single => bench.on_threads(1, window),
        What::Tensors | What::Direct => bench.on_threads(cores(), window),
    };
    telling.join().unwrap();
    let times = samples.iter().filter(|sample| window.holds(sample.done)).map(|sample| sample.done - sample.begun);
    println!(
        "{}",
        json!({
            "seconds": window.length.as_secs_f64(),
            "images_per_second": window.rate(samples.iter().map(|sample| sample.done)),
            "batch": bench.batch,
            "latency": spread(times.collect()),
        })
    );
}

struct Bench {
    model: Arc<Model>,
    images: Arc<Vec<Vec<u8>>>,
    batch: usize,
    decodes: bool,
    runtime: Runtime,
    file: PathBuf,
}

impl Bench {
    fn open(options: &Options) -> Self {
        let runtime = Runtime::load(None).unwrap();
        let defaults = ModelDefaults {
            device: Device::Cpu,
            max_batch: Some(options.batch),
            // the threads of the other measurements open sessions of their own
            sessions: Some(if options.what == What::Queued { cores() } else { 1 }),
            cpu_sessions: 1,
            threads: 1,
            queue_items: 256,
            run_limit: Duration::from_secs(60),
        };
        let repository = Repository::new(RepositoryParts {
            folder: options.models.clone(),
            loader: Arc::new(runtime.clone()),
            defaults,
            permits: RunPermits::new(cores()),
            watchdog: Watchdog::start().unwrap(),
            metrics: Arc::default(),
        });
        repository.scan().unwrap();
        repository.load_all();
        let model = repository.get(&options.model.parse().unwrap()).unwrap();
        let file = options.models.join(&options.model).join(&model.manifest().graphs[&GraphRole::Encoder].file);
        Self {
            images: Arc::new(files(&options.images)),
            batch: if options.what == What::Single { 1 } else { options.batch },
            decodes: options.what != What::Tensors,
            runtime,
            file,
            model,
        }
    }

    fn on_threads(&self, threads: usize, window: Window) -> Vec<Sample> {
        std::thread::scope(|scope| {
            let work = |first| scope.spawn(move || self.batches(first, window));
            let threads: Vec<_> = (0..threads).map(work).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        })
    }

    /// One thread's batches, beginning with the image of this number.
    fn batches(&self, first: usize, window: Window) -> Vec<Sample> {
        let options = SessionOptions { device: Device::Cpu, threads: 1 };
        let (mut runner, _) = self.runtime.open(&self.file, options).unwrap();
        let length = self.model.preprocessor().tensor_len();
        let mut tensors = vec![0.0; self.batch * length];
        let mut samples = Vec::new();
        let mut next = first * self.images.len() / cores();
        while Instant::now() < window.end() {
            let begun = Instant::now();
            if self.decodes || samples.is_empty() {
                for tensor in tensors.chunks_exact_mut(length) {
                    next += 1;
                    prepare(&self.model, &self.images[next % self.images.len()], tensor);
                }
            }
            self.embed(runner.as_mut(), &tensors);
            let done = Instant::now();
            samples.extend((0..self.batch).map(|_| Sample { begun, done }));
        }
        samples
    }

    fn embed(&self, runner: &mut dyn Runner, tensors: &[f32]) {
        let input = self.model.preprocessor().input();
        let shape = [self.batch, input.channels.count(), input.height as usize, input.width as usize];
        let outputs = runner.run(&[TensorView::new(&shape, tensors)]).unwrap();
        if self.decodes {
            let length = outputs[0].data.len() / self.batch;
            for row in outputs[0].data.chunks_exact(length) {
                vector(&self.model, vec![Tensor { shape: vec![length], data: row.to_vec() }]);
            }
        }
    }

    fn queued(&self, options: &Options, window: Window) -> Vec<Sample> {
        let pool = Arc::new(CpuPool::new(cores()).unwrap());
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let tasks: Vec<_> = (0..options.connections)
            .map(|number| {
                let (model, images, pool) = (Arc::clone(&self.model), Arc::clone(&self.images), Arc::clone(&pool));
                let asker = Asker { model, images, pool };
                runtime.spawn(async move { asker.ask_until(window, number).await })
            })
            .collect();
        tasks.into_iter().flat_map(|task| runtime.block_on(task).unwrap()).collect()
    }
}

/// What stands for one connection of the server.
struct Asker {
    model: Arc<Model>,
    images: Arc<Vec<Vec<u8>>>,
    pool: Arc<CpuPool>,
}

impl Asker {
    async fn ask_until(self, window: Window, first: usize) -> Vec<Sample> {
        let graph = self.model.graph(GraphRole::Encoder).unwrap();
        let header = image::probe(&self.images[0], MAX_PIXELS).unwrap();
        let side = header.width.max(header.height).max(self.model.preprocessor().input().width);
        let mut samples = Vec::new();
        for number in (first..).step_by(7) {
            let begun = Instant::now();
            if begun >= window.end() {
                break;
            }
            let deadline = begun + Duration::from_secs(30);
            let permit = graph.queue.admit(1, deadline).unwrap().pop().unwrap();
            let (model, images) = (Arc::clone(&self.model), Arc::clone(&self.images));
            let prepare = move || row(&model, &images[number % images.len()]);
            let row = if side <= INLINE_SIDE { prepare() } else { self.pool.run(prepare).await.unwrap() };
            let inputs = graph.inputs_from(vec![("image", row)]).unwrap();
            let answer = graph.queue.submit(inputs, deadline, permit).answer().await.unwrap();
            vector(&self.model, answer.outputs);
            samples.push(Sample { begun, done: Instant::now() });
        }
        samples
    }
}

fn prepare(model: &Model, image: &[u8], tensor: &mut [f32]) {
    let preprocessor = model.preprocessor();
    let shrink = preprocessor.shrink(&image::probe(image, MAX_PIXELS).unwrap());
    let decoded = image::decode_shrunk(image, MAX_PIXELS, shrink).unwrap();
    preprocessor.tensor(&decoded, tensor).unwrap();
}

fn row(model: &Model, image: &[u8]) -> Tensor {
    let mut data = vec![0.0; model.preprocessor().tensor_len()];
    prepare(model, image, &mut data);
    let input = model.preprocessor().input();
    Tensor { shape: vec![input.channels.count(), input.height as usize, input.width as usize], data }
}

fn vector(model: &Model, rows: Vec<Tensor>) {
    let vector = model.embedding().unwrap().apply(rows, &VectorOptions::default()).unwrap();
    std::hint::black_box(vector);
}
