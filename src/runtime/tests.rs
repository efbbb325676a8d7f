//! On the real library, on the CPU: what can be known of devices without having one.

use std::path::{Path, PathBuf};

use super::{pinned::Pinned, session::SessionRunner, *};
use crate::error::ErrorKind;

fn runtime() -> Runtime {
    let configured = std::env::var_os("LATENTD_ONNXRUNTIME").map(PathBuf::from);
    let library = if cfg!(target_os = "macos") { "libonnxruntime.dylib" } else { "libonnxruntime.so" };
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ort/lib").join(library);
    Runtime::load(Some(&configured.unwrap_or(fetched))).unwrap()
}

fn graph(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/models").join(name)
}

/// The shape of one item of the first input, its batch axis included.
fn item(info: &GraphInfo) -> Vec<usize> {
    let size = |axis: &Axis| match axis {
        Axis::Fixed(size) => *size,
        Axis::Dynamic(_) => 1,
    };
    info.inputs[0].shape.iter().map(size).collect()
}

const CPU: SessionOptions = SessionOptions { device: Device::Cpu, threads: 1 };

#[test]
fn the_trial_graph_runs_on_the_cpu() {
    runtime().check(Device::Cpu).unwrap();
}

#[test]
fn a_cuda_device_that_is_not_there_is_one_line_that_names_what_is_missing() {
    // number 99 is missing on machines with GPUs too
    let error = runtime().check(Device::Cuda(99)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains("cuda:99"), "{error}");
    assert_eq!(error.message().lines().count(), 1, "{error}");
    let runtime = runtime();
    if !cuda::is_built_in() {
        assert!(error.message().contains("built without cuda"), "{error}");
        assert_eq!(runtime.device(Device::Auto), Device::Cpu);
    }
}

#[test]
fn only_auto_is_resolved() {
    for device in [Device::Cpu, Device::Cuda(0), Device::Cuda(7)] {
        assert_eq!(runtime().device(device), device);
    }
    assert_ne!(runtime().device(Device::Auto), Device::Auto);
}

#[test]
fn a_real_graph_that_stayed_on_the_cpu_is_refused_where_cuda_was_asked_for() {
    let file = graph("tiny-contrastive/encoder.onnx");
    let session =
        session::builder(runtime().place(), 1, None).and_then(|mut builder| builder.commit_from_file(file)).unwrap();
    let placed = placement::assignment(&session).unwrap();
    provider::check_placement(Device::Cpu, &placed).unwrap();
    let error = provider::check_placement(Device::Cuda(1), &placed).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("cuda:1") && error.message().contains(" × "), "{error}");
    assert!(provider::report(&placed).starts_with("CPUExecutionProvider "));
}

fn tiny() -> (SessionRunner, GraphInfo) {
    let file = graph("tiny-vae/encoder.onnx");
    session::open_graph(runtime().place(), "tiny", CPU, |mut builder| builder.commit_from_file(&file)).unwrap()
}

/// Two sessions of one graph, of which the second runs as on CUDA.
fn plain_and_bound() -> (SessionRunner, SessionRunner, GraphInfo) {
    let ((plain, info), (mut bound, _)) = (tiny(), tiny());
    bound.bind(|session| Pinned::on_cpu(session, (&info.inputs, &info.outputs)).unwrap());
    (plain, bound, info)
}

/// Bound runs differ from plain ones in nothing but where the tensors lie.
#[test]
fn bound_runs_give_what_plain_ones_give_whatever_the_batch() {
    let (mut plain, mut bound, info) = plain_and_bound();
    let item = item(&info);
    let values = item.iter().product::<usize>();
    for (round, rows) in [3, 3, 1, 5, 3].into_iter().enumerate() {
        let shape: Vec<usize> = [rows].iter().chain(&item[1..]).copied().collect();
        let data: Vec<f32> = (0..rows * values).map(|at| ((at + round) % 17) as f32 / 17.0).collect();
        let view = TensorView::new(&shape, &data);
        let expected = plain.run(&[view]).unwrap();
        assert_eq!(expected[0].shape[0], rows);
        assert_eq!(bound.run(&[view]).unwrap(), expected, "{rows} rows");
        let pieces: Vec<&[f32]> = data.chunks(values).collect();
        let apart = TensorView { shape: &shape, numbers: Numbers::Apart(&pieces) };
        assert_eq!(bound.run(&[apart]).unwrap(), expected, "{rows} rows apart, bound");
        assert_eq!(plain.run(&[apart]).unwrap(), expected, "{rows} rows apart");
    }
}

#[test]
fn a_bound_run_that_is_stopped_says_so_and_the_next_one_runs() {
    let (_, mut bound, info) = plain_and_bound();
    let shape = item(&info);
    let data = vec![0.5; shape.iter().product()];
    let view = TensorView::new(&shape, &data);
    bound.prepare().unwrap().stop();
    assert_eq!(bound.run(&[view]).unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    bound.run(&[view]).unwrap();
}

#[test]
fn a_session_that_cannot_run_bound_runs_plainly() {
    let (mut runner, info) = tiny();
    let mut unknown = info.outputs.clone();
    unknown[0].name = "no such output".to_owned();
    runner.bind(|session| Pinned::on_cpu(session, (&info.inputs, &unknown)).unwrap());
    let shape = item(&info);
    let data = vec![0.5; shape.iter().product()];
    let view = TensorView::new(&shape, &data);
    assert_eq!(runner.run(&[view]).unwrap().len(), info.outputs.len());
}

#[test]
fn a_session_that_lets_go_of_memory_gives_what_it_gave() {
    let (mut runner, info) = tiny();
    let item = item(&info);
    let mut run = |rows: usize, shrink: bool| {
        let shape: Vec<usize> = [rows].iter().chain(&item[1..]).copied().collect();
        let data = vec![0.5; shape.iter().product()];
        if shrink {
            runner.shrink();
        }
        runner.run(&[TensorView::new(&shape, &data)]).unwrap()
    };
    let first = run(1, false);
    run(64, false);
    assert_eq!(run(1, true), first, "the run that lets go");
    assert_eq!(run(1, false), first, "the run after it");
}

#[test]
fn numbers_that_do_not_fill_their_tensor_are_an_error_and_the_next_run_is_well() {
    let (mut plain, mut bound, info) = plain_and_bound();
    let shape = item(&info);
    let data = vec![0.5; shape.iter().product()];
    let expected = plain.run(&[TensorView::new(&shape, &data)]).unwrap();
    assert_eq!(bound.run(&[TensorView::new(&shape, &data)]).unwrap(), expected);
    let (most, rest) = data.split_at(data.len() - 1);
    for pieces in [&[most][..], &[most, rest, rest]] {
        for runner in [&mut plain, &mut bound] {
            let view = TensorView { shape: &shape, numbers: Numbers::Apart(pieces) };
            runner.run(&[view]).unwrap_err();
            assert_eq!(runner.run(&[TensorView::new(&shape, &data)]).unwrap(), expected);
        }
    }
}
