//! The stages between a posted image and its answer, one by one: `cargo bench --bench path`.
//!
//! Decoding and preparing JPEGs of three sizes, whole and at a reduced size; batching by a queue whose graph does
//! nothing; writing the numbers of an answer. Images are drawn here, with structure at every scale.

#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first thing that is wrong")]

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use image::{ExtendedColorType, codecs::jpeg::JpegEncoder};
use latentd::{
    batch::{GraphQueue, QueueOptions, RunPermits, Sessions, Tensor, Watchdog, Workers},
    error::Result,
    image::{
        InputSpec, PreprocessSpec, Preprocessor, Shrink, decode, decode_shrunk, npy::little_endian, probe,
        spec::Background,
    },
    runtime::{OutputSink, Runner, Stop, TensorView},
    telemetry::{Metrics, metrics::GraphLabels},
};

const ANY_SIZE: u64 = u64::MAX;

/// A JPEG of quality 85 with waves, edges and grain.
fn drawn(width: u32, height: u32) -> Vec<u8> {
    let mut state = 1_u32;
    let mut data = Vec::with_capacity((width * height * 3) as usize);
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        for channel in 0..3 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let grain = (state >> 24) as f32 / 32.0;
            let wave = (x as f32 / 97.0 + channel as f32).sin() * 50.0 + (y as f32 / 41.0).sin() * 30.0;
            let edge = if (x / 301 + y / 173) % 2 == 0 { 25.0 } else { 0.0 };
            data.push((110.0 + wave + edge + grain) as u8);
        }
    }
    let mut file = Vec::new();
    JpegEncoder::new_with_quality(&mut file, 85).encode(&data, width, height, ExtendedColorType::Rgb8).unwrap();
    file
}

fn preprocessor(side: u32) -> Preprocessor {
    let input = InputSpec {
        bgr: false,
        width: side,
        height: side,
        channels: latentd::image::Channels::Rgb,
        background: Background::WHITE,
        orientation: true,
    };
    Preprocessor::new(input, PreprocessSpec::default()).unwrap()
}

fn images(criterion: &mut Criterion) {
    let sizes = [("32x32", 32, 32, 32), ("640x480", 640, 480, 224), ("4032x3024", 4032, 3024, 224)];
    for (name, width, height, side) in sizes {
        let file = drawn(width, height);
        let preprocessor = preprocessor(side);
        let shrink = preprocessor.shrink(&probe(&file, ANY_SIZE).unwrap());
        let mut group = criterion.benchmark_group("image");
        group.sample_size(10).measurement_time(Duration::from_secs(2));
        group.bench_function(BenchmarkId::new("decode", name), |bencher| {
            bencher.iter(|| decode(black_box(&file), ANY_SIZE).unwrap());
        });
        let whole = decode(&file, ANY_SIZE).unwrap();
        let mut tensor = vec![0.0; preprocessor.tensor_len()];
        group.bench_function(BenchmarkId::new("prepare", name), |bencher| {
            bencher.iter(|| preprocessor.tensor(black_box(&whole), &mut tensor).unwrap());
        });
        for (way, shrink) in [("whole", Shrink::NONE), ("as served", shrink)] {
            group.bench_function(BenchmarkId::new(format!("to a tensor of {side}, {way}"), name), |bencher| {
                bencher.iter(|| {
                    let decoded = decode_shrunk(black_box(&file), ANY_SIZE, shrink).unwrap();
                    preprocessor.tensor(&decoded, &mut tensor).unwrap();
                });
            });
        }
    }
}

/// A graph that gives back as many numbers an item as an encoder does, at once.
struct Nothing;

struct Never;

impl Stop for Never {
    fn stop(&self) {}
}

impl Runner for Nothing {
    fn prepare(&mut self) -> Result<Arc<dyn Stop>> {
        Ok(Arc::new(Never))
    }

    fn run_into(&mut self, inputs: &[TensorView<'_>], outputs: &mut OutputSink<'_>) -> Result<()> {
        let rows = inputs[0].shape[0];
        outputs(&[rows, 256], &vec![0.5; rows * 256])
    }
}

fn batching(criterion: &mut Criterion) {
    let options = QueueOptions {
        labels: GraphLabels { model: "nothing".into(), graph: "encoder" },
        capacity: 1024,
        max_batch: 16,
        threads: 1,
        run_limit: Duration::from_secs(60),
        any_thread: true,
    };
    let watchdog = Watchdog::start().unwrap();
    let sessions = Sessions { open: vec![Box::new(Nothing), Box::new(Nothing)], standby: Vec::new() };
    let (queue, workers) =
        GraphQueue::new(options, sessions, &RunPermits::new(2), &watchdog, &Arc::new(Metrics::default()));
    let workers = Workers::spawn(&queue, workers).unwrap();
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let item = Tensor { shape: vec![3, 32, 32], data: vec![0.5; 3 * 32 * 32] };
    for together in [1, 64] {
        criterion.bench_function(&format!("batching/{together} items of 3x32x32 at a time"), |bencher| {
            bencher.to_async(&threads).iter(|| async {
                let deadline = Instant::now() + Duration::from_secs(10);
                let permits = queue.admit(together, deadline).unwrap();
                let pending: Vec<_> =
                    permits.into_iter().map(|permit| queue.submit(vec![item.clone()], deadline, permit)).collect();
                for pending in pending {
                    black_box(pending.answer().await.unwrap());
                }
            });
        });
    }
    drop(workers);
}

fn answers(criterion: &mut Criterion) {
    let vector: Vec<f32> = (0..768).map(|at| ((at as f32) * 0.37).sin() / 27.0).collect();
    criterion.bench_function("answer/768 floats as JSON", |bencher| {
        bencher.iter(|| serde_json::to_vec(black_box(&vector)).unwrap());
    });
    criterion.bench_function("answer/768 floats as bytes", |bencher| {
        bencher.iter(|| little_endian(black_box(&vector)));
    });
}

criterion_group!(benches, images, batching, answers);
criterion_main!(benches);
