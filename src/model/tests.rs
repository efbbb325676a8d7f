//! The fixtures of `tests/data`, on the real ONNX Runtime.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{load::Shared, *};
use crate::{
    batch::{RunPermits, Tensor, Watchdog},
    domain::{Device, ModelName},
    error::ErrorKind,
    runtime::{GraphLoader, Runtime},
};

pub(super) fn runtime() -> Arc<dyn GraphLoader> {
    let configured = std::env::var_os("LATENTD_ONNXRUNTIME").map(PathBuf::from);
    let library = if cfg!(target_os = "macos") { "libonnxruntime.dylib" } else { "libonnxruntime.so" };
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ort/lib").join(library);
    Arc::new(Runtime::load(Some(&configured.unwrap_or(fetched))).unwrap())
}

pub(super) fn data(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(folder)
}

pub(super) fn defaults() -> ModelDefaults {
    ModelDefaults {
        device: Device::Cpu,
        max_batch: Some(8),
        sessions: Some(2),
        cpu_sessions: 2,
        threads: 1,
        queue_items: 64,
        run_limit: Duration::from_millis(500),
    }
}

fn shared() -> Shared {
    Shared {
        loader: runtime(),
        defaults: defaults(),
        permits: RunPermits::new(2),
        watchdog: Watchdog::start().unwrap(),
        metrics: Arc::default(),
    }
}

fn load_from(folder: &Path, name: &str) -> Result<Model, Vec<String>> {
    load_with(folder, name, &shared())
}

fn load_with(folder: &Path, name: &str, shared: &Shared) -> Result<Model, Vec<String>> {
    let name: ModelName = name.parse().unwrap();
    load::load(folder, &name, &Arc::new(Declared::read(folder, &name)?), shared)
}

fn load(name: &str) -> Model {
    load_from(&data("models").join(name), name).unwrap_or_else(|reasons| panic!("{name}: {reasons:#?}"))
}

fn broken(name: &str) -> Vec<String> {
    load_from(&data("broken").join(name), name).map(drop).unwrap_err()
}

/// A copy of a fixture that a test may change.
pub(super) fn copy_of(fixture: &str) -> tempfile::TempDir {
    copy_from("models", fixture)
}

pub(super) fn copy_from(folder: &str, fixture: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(data(folder).join(fixture)).unwrap() {
        let file = entry.unwrap().path();
        // the bytes and not the permissions, so that the copy can be written to
        std::fs::write(copy.path().join(file.file_name().unwrap()), std::fs::read(&file).unwrap()).unwrap();
    }
    copy
}

fn edit(folder: &Path, from: &str, to: &str) {
    let file = folder.join(manifest::FILE_NAME);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{from:?} is not in {text}");
    std::fs::write(file, text.replace(from, to)).unwrap();
}

fn image(model: &Model, value: f32) -> Tensor {
    let shape = model.manifest().image_shape().to_vec();
    Tensor { data: vec![value; shape.iter().product()], shape }
}

async fn run(graph: &Graph, inputs: Vec<Tensor>) -> Vec<Tensor> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let permit = graph.queue.admit(1, deadline).unwrap().pop().unwrap();
    graph.queue.submit(inputs, deadline, permit).answer().await.unwrap().outputs
}

#[test]
fn every_fixture_loads() {
    for name in ["external", "tiny-ae", "tiny-contrastive", "tiny-dae", "tiny-frozen", "tiny-gray", "tiny-mae"] {
        let model = load(name);
        assert_eq!((model.device(), model.provider()), (Device::Cpu, "CPUExecutionProvider"), "{name}");
        assert!(model.declared.created_unix > 0, "{name}");
        assert!(model.space_key().as_str().starts_with(&format!("{name}@")), "{name}");
    }
}

#[test]
fn graphs_of_other_forms_load_and_give_their_golden_outputs() {
    for name in ["channels-last", "float16", "uint8", "bgr", "feature-map", "chatty"] {
        let model = load_from(&data("forms").join(name), name).unwrap_or_else(|reasons| panic!("{name}: {reasons:#?}"));
        let dimension = if name == "feature-map" { 3 } else { 4 };
        assert_eq!(model.embedding().map(EmbeddingHead::dimension), Some(dimension), "{name}");
        let outputs = &model.graph(GraphRole::Encoder).unwrap().info.outputs;
        assert_eq!(outputs.len(), 1, "{name}: outputs that nobody binds are dropped");
    }
}

#[tokio::test]
async fn a_graph_with_an_image_and_a_latent_embeds_and_reconstructs() {
    let model = load_from(&data("forms/whole"), "whole").unwrap_or_else(|reasons| panic!("{reasons:#?}"));
    for capability in [Capability::Embed, Capability::Reconstruct, Capability::Score] {
        model.require(capability).unwrap();
    }
    assert_eq!(model.embedding().map(EmbeddingHead::dimension), Some(12));
    let latent = run(model.graph(GraphRole::Encoder).unwrap(), vec![image(&model, 0.5)]).await;
    assert_eq!((latent.len(), &latent[0].shape[..]), (1, &[12][..]), "each role has its own output alone");
    let drawn = run(model.graph(GraphRole::Autoencoder).unwrap(), vec![image(&model, 0.5)]).await;
    assert_eq!((drawn.len(), &drawn[0].shape[..]), (1, &[3, 8, 8][..]));
    assert!(drawn[0].data.iter().all(|value| (value - 0.5).abs() < 1e-6));
}

#[test]
fn an_encoder_that_stands_alone_may_call_its_family_so() {
    let folder = copy_of("tiny-contrastive");
    edit(folder.path(), "family = \"contrastive\"", "family = \"encoder\"");
    let model = load_from(folder.path(), "tiny-contrastive").unwrap_or_else(|reasons| panic!("{reasons:#?}"));
    assert_eq!(model.space_key(), load("tiny-contrastive").space_key(), "it is another word for the same");
    assert!(model.require(Capability::Embed).is_ok());
    edit(folder.path(), "family = \"encoder\"", "family = \"autoencoder\"");
    let reasons = load_from(folder.path(), "tiny-contrastive").map(drop).unwrap_err();
    assert!(reasons.iter().any(|reason| reason.contains("is family = \"encoder\"")), "{reasons:?}");
}

#[test]
fn what_is_wrong_with_a_manifest_and_with_its_graphs_is_told_at_once() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("m");
    std::fs::rename(copy_of("tiny-ae").keep(), &folder).unwrap();
    edit(&folder, "width = 8", "width = 100");
    edit(&folder, "channels = \"rgb\"", "channels = \"gray\"");
    edit(&folder, "resize = \"exact\"", "resize = \"shortest-edge\"\nmean = [0.5, 0.5, 0.5]");
    edit(&folder, "inputs = { image = \"image\" }", "inputs = { image = \"imgae\" }");
    edit(&folder, "outputs = { latent = \"latent\" }", "outputs = { latent = \"z\" }");
    edit(&folder, "metric = \"cosine\"", "metric = \"cosin\"");
    let expected = [
        "preprocess.edge",
        "preprocess.mean",
        "embedding.metric",
        "graphs.encoder.inputs.image = \"imgae\" is not an input of the graph; it has image",
        "graphs.encoder.outputs.latent = \"z\" is not an output of the graph; it has latent",
        "graphs.decoder: output image is [batch, 3, 8, 8]; by the manifest, image is [batch, 1, 8, 100]",
    ];
    let repository = Repository::new(RepositoryParts {
        folder: root.path().to_owned(),
        loader: runtime(),
        defaults: defaults(),
        permits: RunPermits::new(2),
        watchdog: Watchdog::start().unwrap(),
        metrics: Arc::default(),
    });
    repository.scan().unwrap();
    repository.load_all();
    let served = repository.list().pop().unwrap().state.reasons().join("\n");
    let inspected = inspect(&folder, runtime().as_ref()).unwrap().to_string();
    for line in expected {
        assert!(served.contains(line), "{line:?} is not in\n{served}");
        assert!(inspected.contains(line), "{line:?} is not in\n{inspected}");
    }
}

#[test]
fn a_graph_that_gives_no_answer_of_its_own_to_each_image_fails_with_the_reason() {
    for (name, expected) in [
        ("infinite", "4 of the 4 numbers of output embedding are NaN or infinite"),
        ("one-row", "output embedding came as [1, 4] for 3 image(s): its first axis is not the batch"),
        ("random", "output embedding differs from run to run on the same image"),
        ("random", "(the graph has RandomNormalLike)"),
        ("not-finite", "4 of the 4 numbers of output embedding are NaN or infinite"),
        ("mingling", "output embedding of an image depends on the images beside it in a batch"),
        ("two-rows", "output embedding came as [2, 4] for 1 image(s): its first axis is not the batch"),
    ] {
        let reasons = broken(name);
        assert!(reasons.len() == 1 && reasons[0].contains(expected), "{name}: {reasons:?}");
    }
}

#[test]
fn randomness_and_a_batch_of_one_are_accepted_where_the_manifest_says_so() {
    let accepted = |name: &str, runtime: &str| {
        let folder = copy_from("broken", name);
        let file = folder.path().join(manifest::FILE_NAME);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{text}\n[runtime]\n{runtime}\n")).unwrap();
        load_from(folder.path(), name).map(drop)
    };
    accepted("random", "random = true").unwrap();
    accepted("mingling", "max_batch = 1").unwrap();
    accepted("not-finite", "random = true").unwrap_err();
    accepted("random", "max_batch = 1").unwrap_err();
}

#[test]
fn space_keys_are_what_they_were() {
    // vectors are stored under these: a change here makes every stored vector a stranger
    let found = ["tiny-contrastive", "external", "tiny-dae"].map(|name| load(name).space_key().as_str().to_owned());
    assert_eq!(found, ["tiny-contrastive@0dabf8c33d30", "external@0215b55998d3", "tiny-dae@68097fd4c094"]);
}

#[test]
fn models_do_what_their_family_and_graphs_allow() {
    let model = load("tiny-contrastive");
    assert!(model.require(Capability::Embed).is_ok());
    let error = model.require(Capability::Reconstruct).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CapabilityNotSupported);
    assert!(error.message().contains("can embed"), "{error}");

    let model = load("tiny-dae");
    assert!(model.require(Capability::Denoise).is_ok() && model.embedding().is_none());

    let model = load("tiny-vae");
    assert!(model.require(Capability::Generate).is_ok() && model.require(Capability::Interpolate).is_ok());
    assert_eq!(model.latent_shape(), Some(&[4][..]));
    assert!(model.masking().is_none());

    let model = load("tiny-mae");
    assert!(model.require(Capability::Inpaint).is_ok() && model.require(Capability::Generate).is_err());
    assert!(model.masking().is_some());
}

#[test]
fn a_graph_frozen_at_one_takes_one_item_a_run() {
    assert_eq!(load("tiny-frozen").max_batch(), 1);
    assert_eq!(load("tiny-tokens").max_batch(), 8);
}

#[tokio::test]
async fn an_image_goes_through_the_encoder_to_a_vector_and_through_the_decoder_back() {
    let model = load("tiny-ae");
    let (encoder, decoder) = (model.graph(GraphRole::Encoder).unwrap(), model.graph(GraphRole::Decoder).unwrap());
    let inputs = encoder.inputs_from(vec![("image", image(&model, 0.5))]).unwrap();
    let rows = run(encoder, inputs).await;
    let head = model.embedding().unwrap();
    let vector = head.apply(rows.clone(), &VectorOptions::default()).unwrap();
    assert_eq!((vector.len(), head.dimension()), (12, 12));
    assert!(vector.iter().all(|value| (value - 12.0_f32.sqrt().recip()).abs() < 1e-6), "{vector:?}");

    let latent = rows[encoder.output_index("latent").unwrap()].clone();
    let rows = run(decoder, decoder.inputs_from(vec![("latent", latent)]).unwrap()).await;
    assert_eq!(rows[decoder.output_index("image").unwrap()], image(&model, 0.5));
}

#[tokio::test]
async fn inputs_are_ordered_as_the_graph_takes_them() {
    let model = load("tiny-mae");
    let masked = model.graph(GraphRole::Masked).unwrap();
    let mask = Tensor { shape: vec![4], data: vec![1.0, 0.0, 0.0, 0.0] };
    let inputs = masked.inputs_from(vec![("mask", mask.clone()), ("image", image(&model, 0.25))]).unwrap();
    assert_eq!(inputs[1], mask);
    assert_eq!(run(masked, inputs).await[0], image(&model, 0.25));
    assert!(masked.inputs_from(vec![("image", image(&model, 0.25))]).is_err());
    assert!(masked.inputs_from(vec![("image", image(&model, 0.25)), ("noise", mask)]).is_err());
}

#[test]
fn each_broken_fixture_fails_with_its_reason() {
    for (name, reason) in [
        ("unknown-key", "model.toml: input.colour_space is an unknown key"),
        (
            "missing-role",
            "graphs.encoder.outputs.embedding = \"vector\" is not an output of the graph; it has embedding",
        ),
        ("no-graph", "graphs.encoder: encoder.onnx is not there"),
        ("bad-golden", "golden.npz: encoder.latent differs: the graph gives"),
        ("not-onnx", "graphs.encoder: encoder.onnx: it is not an ONNX model"),
        ("wrong-size", "input image is [batch, 3, 8, 8]; by the manifest, image is [batch, 3, 16, 16]"),
    ] {
        let reasons = broken(name);
        assert!(reasons.iter().any(|line| line.contains(reason)), "{name}: {reasons:#?}");
        assert!(reasons.iter().all(|line| line.lines().count() == 1), "{name}: {reasons:#?}");
    }
}

#[test]
fn golden_arrays_that_belong_to_nothing_or_to_another_preprocessing_are_told() {
    let copy = copy_of("tiny-ae");
    edit(copy.path(), "filter = \"bilinear\"", "filter = \"nearest\"");
    let reasons = load_from(copy.path(), "m").map(drop).unwrap_err();
    assert!(reasons[0].contains("image is preprocessed otherwise than the first row of encoder.image"), "{reasons:#?}");

    let copy = copy_of("tiny-ae");
    std::fs::copy(data("models/tiny-vae/golden.npz"), copy.path().join("golden.npz")).unwrap();
    let reasons = load_from(copy.path(), "m").map(drop).unwrap_err();
    assert!(reasons.iter().any(|line| line.contains("encoder.mean is not an array of this model")), "{reasons:#?}");
}

#[test]
fn a_tolerance_of_its_own_lets_a_model_pass() {
    let folder = data("broken/bad-golden");
    let copy = copy_of("tiny-ae");
    std::fs::copy(folder.join("golden.npz"), copy.path().join("golden.npz")).unwrap();
    edit(copy.path(), "[reconstruction]", "[golden]\natol = 0.06\n\n[reconstruction]");
    load_from(copy.path(), "m").unwrap();
}

#[test]
fn a_variant_is_another_build_with_a_space_of_its_own() {
    let copy = copy_of("tiny-contrastive");
    std::fs::copy(data("models/tiny-frozen/encoder.onnx"), copy.path().join("other.onnx")).unwrap();
    edit(
        copy.path(),
        "[embedding]",
        "[variants.other]\ngraphs.encoder.file = \"other.onnx\"\ngolden.atol = 100.0\n[embedding]",
    );
    let (model, variant) = (load_from(copy.path(), "m").unwrap(), load_from(copy.path(), "m:other").unwrap());
    assert_eq!((model.max_batch(), variant.max_batch()), (8, 1));
    assert_ne!(model.space_key().as_str()[1..], variant.space_key().as_str()["m:other".len()..]);
    assert!(load_from(copy.path(), "m:none").is_err());
}

#[test]
fn external_data_is_a_part_of_the_key_and_stays_in_the_folder() {
    let copy = copy_of("external");
    let before = load_from(copy.path(), "m").unwrap().space_key().clone();
    let file = copy.path().join("encoder.onnx.data");
    let mut weights = std::fs::read(&file).unwrap();
    weights[0] ^= 1;
    std::fs::write(&file, &weights).unwrap();
    assert_ne!(*load_from(copy.path(), "m").unwrap().space_key(), before);

    std::fs::remove_file(&file).unwrap();
    let reasons = load_from(copy.path(), "m").map(drop).unwrap_err();
    assert!(reasons[0].contains("encoder.onnx.data is not there"), "{reasons:#?}");
}

#[test]
fn a_model_whose_first_run_is_not_done_in_time_is_served_all_the_same() {
    let started = Instant::now();
    let model = load("slow");
    assert_eq!(model.embedding().unwrap().dimension(), 4);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn measurements_beside_the_manifest_are_shown_and_broken_ones_left_out() {
    let copy = copy_of("tiny-gray");
    std::fs::write(copy.path().join("metrics.json"), r#"{"knn": 0.5}"#).unwrap();
    assert_eq!(load_from(copy.path(), "m").unwrap().declared.metrics_json.as_ref().unwrap()["knn"], 0.5);
    std::fs::write(copy.path().join("metrics.json"), "{").unwrap();
    assert!(load_from(copy.path(), "m").unwrap().declared.metrics_json.is_none());
}

#[test]
fn dropping_a_model_answers_what_was_admitted_and_does_not_wait() {
    let model = load("steady");
    let encoder = model.graph(GraphRole::Encoder).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let permits = encoder.queue.admit(8, deadline).unwrap();
    let row = image(&model, 0.5);
    let pending: Vec<_> =
        permits.into_iter().map(|permit| encoder.queue.submit(vec![row.clone()], deadline, permit)).collect();
    drop(model);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for pending in pending {
        assert!(runtime.block_on(pending.answer()).is_ok());
    }
}

#[test]
fn a_device_that_is_not_there_fails_the_model_and_auto_falls_back_and_says_so() {
    let copy = copy_of("tiny-gray");
    edit(copy.path(), "[embedding]", "[runtime]\ndevice = \"cuda\"\n[embedding]");
    let shared = shared();
    if let Err(reasons) = load_with(copy.path(), "m", &shared) {
        assert!(reasons[0].contains("cuda:0"), "{reasons:#?}");
        edit(copy.path(), "device = \"cuda\"", "device = \"auto\"");
        let model = load_with(copy.path(), "m", &shared).unwrap();
        assert_eq!(model.device(), Device::Cpu);
        assert!(shared.metrics.render().contains("latentd_device_fallback{model=\"m\"} 1"));
    }
}
