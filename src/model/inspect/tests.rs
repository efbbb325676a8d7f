use super::*;
use crate::model::{
    Family,
    tests::{copy_from, copy_of, data, runtime},
};

fn report(path: &Path) -> Inspection {
    inspect(path, runtime().as_ref()).unwrap()
}

#[track_caller]
fn assert_says(inspection: &Inspection, lines: &[&str]) {
    let text = inspection.to_string();
    for line in lines {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
}

/// The graphs of a fixture without its manifest.
fn bare(fixture: &str) -> tempfile::TempDir {
    let copy = copy_of(fixture);
    std::fs::remove_file(copy.path().join(manifest::FILE_NAME)).unwrap();
    copy
}

fn proposed(folder: &Path) -> Manifest {
    let inspection = report(folder);
    assert!(inspection.is_sound(), "{inspection}");
    Manifest::parse(inspection.proposed_manifest().unwrap()).unwrap()
}

#[test]
fn a_model_folder_is_described_with_what_it_serves() {
    let inspection = report(&data("models/tiny-vae"));
    assert!(inspection.is_sound() && inspection.proposed_manifest().is_none());
    assert_says(
        &inspection,
        &[
            "graph encoder: encoder.onnx",
            "input  image float32 [batch, 3, 8, 8]",
            "output log_variance float32 [batch, 4]",
            "dynamic axes: image[0] = batch",
            "opset: ai.onnx 20",
            "(variational): embed, reconstruct, generate, interpolate, score",
            "vectors of 4 numbers",
            "space key tiny-vae@",
        ],
    );
    assert_says(&report(&data("models/external")), &["weights in: encoder.onnx.data"]);
    assert_says(&report(&data("models/tiny-frozen")), &["dynamic axes: none"]);
}

#[test]
fn a_repository_is_described_model_by_model_with_what_is_wrong() {
    let inspection = report(&data("broken"));
    assert!(!inspection.is_sound());
    assert_says(
        &inspection,
        &[
            "problem: model.toml: input.colour_space",
            "problem: graphs.encoder: encoder.onnx is not there",
            "problem: golden.npz: encoder.latent differs",
        ],
    );
}

#[test]
fn a_detector_is_known_by_the_names_that_anomalib_gives() {
    let folder = bare("tiny-detector");
    let manifest = proposed(folder.path());
    assert_eq!((manifest.family, manifest.roles()), (Family::Anomaly, vec![GraphRole::Anomaly]));
    let graph = &manifest.graphs[&GraphRole::Anomaly];
    assert_eq!((graph.inputs["image"].as_str(), graph.outputs["score"].as_str()), ("input", "pred_score"));
    assert_eq!((graph.outputs["map"].as_str(), graph.outputs.len()), ("anomaly_map", 2));
    assert!(manifest.preprocess.mean.is_none() && manifest.preprocess.std.is_none());
    assert_says(
        &report(folder.path()),
        &["normalises them itself", "output pred_label is bound to no role and ignored"],
    );
}

#[test]
fn an_encoder_with_a_memory_is_checked_against_it() {
    assert_says(&report(&data("models/tiny-memory")), &["(anomaly): embed, score", "vectors of 48 numbers"]);
    let folder = copy_of("tiny-memory");
    let file = folder.path().join("memory.npy");
    std::fs::write(&file, crate::image::npy::npy_f32(&[2, 4], &[0.0; 8])).unwrap();
    assert_says(
        &report(folder.path()),
        &["memory: memory.npy has features of 4 numbers, and the patches of latent have 3"],
    );
    std::fs::remove_file(&file).unwrap();
    assert_says(&report(folder.path()), &["memory: memory.npy is not there"]);
}

#[test]
fn graphs_without_a_manifest_get_one_of_their_family() {
    for (fixture, family, roles) in [
        ("tiny-contrastive", Family::Contrastive, &[GraphRole::Encoder][..]),
        ("tiny-tokens", Family::Contrastive, &[GraphRole::Encoder]),
        ("tiny-gray", Family::Contrastive, &[GraphRole::Encoder]),
        ("tiny-ae", Family::Autoencoder, &[GraphRole::Encoder, GraphRole::Decoder]),
        ("tiny-dae", Family::Autoencoder, &[GraphRole::Autoencoder]),
        ("tiny-vae", Family::Variational, &[GraphRole::Encoder, GraphRole::Decoder]),
        ("tiny-mae", Family::MaskedAutoencoder, &[GraphRole::Encoder, GraphRole::Masked]),
    ] {
        let folder = bare(fixture);
        // golden images were made with a preprocessing that nothing here tells
        let _ = std::fs::remove_file(folder.path().join("golden.npz"));
        let manifest = proposed(folder.path());
        assert_eq!((manifest.family, &manifest.roles()[..]), (family, roles), "{fixture}");
        assert_eq!((manifest.input.width, manifest.input.height), (8, 8));
        if fixture == "tiny-mae" {
            assert_eq!(manifest.grid().map(crate::image::Grid::patches), Some(4));
        }
    }
}

#[test]
fn of_a_graph_with_a_noise_the_share_that_it_hides_is_asked_for() {
    let inspection = report(bare("tiny-mae-noise").path());
    assert!(inspection.proposed_manifest().unwrap().contains("ratio = 0.75                # a guess"));
    assert!(!report(bare("tiny-mae").path()).proposed_manifest().unwrap().contains("ratio"));
}

#[test]
fn one_file_gets_a_manifest_too() {
    let inspection = report(&data("models/tiny-tokens/encoder.onnx"));
    assert_says(&inspection, &["input  image float32", "proposed model.toml", "pooling = \"mean\""]);
    let manifest = Manifest::parse(inspection.proposed_manifest().unwrap()).unwrap();
    assert_eq!(manifest.graphs[&GraphRole::Encoder].file, "encoder.onnx");
}

#[test]
fn an_export_of_hugging_face_keeps_its_preprocessing() {
    let folder = bare("tiny-gray");
    std::fs::create_dir(folder.path().join("onnx")).unwrap();
    std::fs::rename(folder.path().join("encoder.onnx"), folder.path().join("onnx/model.onnx")).unwrap();
    std::fs::copy(folder.path().join("onnx/model.onnx"), folder.path().join("onnx/model_quantized.onnx")).unwrap();
    let config = r#"{"size": {"height": 8, "width": 8}, "resample": 0, "image_mean": [0.5], "image_std": [0.25]}"#;
    std::fs::write(folder.path().join("preprocessor_config.json"), config).unwrap();
    let manifest = proposed(folder.path());
    assert_eq!(manifest.graphs[&GraphRole::Encoder].file, "onnx/model.onnx");
    assert_eq!(manifest.preprocess.mean, Some(vec![0.5]));
    assert_says(&report(folder.path()), &["model_quantized.onnx seems to be another build"]);
}

#[test]
fn a_path_without_anything_is_refused() {
    let empty = tempfile::tempdir().unwrap();
    let error = inspect(empty.path(), runtime().as_ref()).unwrap_err();
    assert!(error.message().contains("no model.toml, no .onnx file"), "{error}");
    assert!(inspect(Path::new("/nonexistent"), runtime().as_ref()).is_err());
}

#[test]
fn a_file_that_is_no_graph_is_told_and_nothing_is_proposed() {
    let inspection = report(&data("broken/not-onnx/encoder.onnx"));
    assert!(!inspection.is_sound() && inspection.proposed_manifest().is_none());
    assert_says(&inspection, &["cannot be opened: it is not an ONNX model", "problem: no graph takes an image"]);
}

#[test]
fn golden_outputs_beside_a_single_file_are_those_of_the_manifest_that_is_there() {
    let inspection = report(&data("models/tiny-ae/encoder.onnx"));
    assert!(inspection.is_sound(), "{inspection}");
}

#[test]
fn a_proposal_says_of_each_guess_that_it_is_one_and_has_the_recipes_to_uncomment() {
    let folder = bare("tiny-tokens");
    let inspection = report(folder.path());
    let proposal = inspection.proposed_manifest().unwrap();
    for line in [
        "channels = \"rgb\"            # a guess; \"bgr\" where training read with OpenCV",
        "# resize = \"shortest-edge\"",
        "# edge = 9",
        "# mean = [0.485, 0.456, 0.406]",
        "# mean = [0.48145466, 0.4578275, 0.40821073]",
        "pooling = \"mean\"            # a guess; \"cls\" is the first token",
    ] {
        assert!(proposal.lines().any(|one| one.starts_with(line)), "{line} in\n{proposal}");
    }
    let uncommented = proposal
        .replace("resize = \"exact\"\n", "")
        .replace("# resize", "resize")
        .replace("# edge", "edge")
        .replace("# crop", "crop")
        .replacen("# mean", "mean", 1)
        .replacen("# std", "std", 1);
    Manifest::parse(&uncommented).unwrap();
    assert_says(&inspection, &["note: no golden.npz", "note: no mean and std: values go in as 0…1"]);
}

#[test]
fn graphs_of_other_forms_get_manifests_that_are_served() {
    for (form, lines) in [
        ("channels-last", &["has its channels last, [batch, 8, 8, 3]; images are transposed"][..]),
        ("float16", &["input image is float16; numbers are converted"]),
        ("uint8", &["rescale = 1.0", "input image is uint8; numbers are converted"]),
        ("feature-map", &["output = \"latent\"", "pooling = \"mean\""]),
        ("chatty", &["output ids is bound to no role and ignored", "has random operators: RandomNormalLike"]),
    ] {
        let folder = copy_from("forms", form);
        std::fs::remove_file(folder.path().join(manifest::FILE_NAME)).unwrap();
        std::fs::remove_file(folder.path().join("golden.npz")).unwrap();
        proposed(folder.path());
        assert_says(&report(folder.path()), lines);
    }
}

#[test]
fn a_folder_of_folders_gets_a_manifest_for_each_and_bad_names_and_depths_are_problems() {
    let root = tempfile::tempdir().unwrap();
    let graph = data("models/tiny-gray/encoder.onnx");
    for folder in ["good", "Bad Name", "v:2", "deep/1"] {
        std::fs::create_dir_all(root.path().join(folder)).unwrap();
        std::fs::copy(&graph, root.path().join(folder).join("encoder.onnx")).unwrap();
    }
    let inspection = report(root.path());
    let proposals: Vec<_> = inspection.proposals().map(|(folder, _)| folder.file_name().unwrap().to_owned()).collect();
    assert_eq!(proposals, ["good"]);
    assert_says(
        &inspection,
        &[
            "model name \"Bad Name\" is not 1 to 64 characters",
            "has a colon",
            "models are one level deep: move deep/1 to deep-1",
        ],
    );
    std::fs::copy(data("models/tiny-gray/model.toml"), root.path().join("good/model.toml")).unwrap();
    std::fs::copy(&graph, root.path().join("stray.onnx")).unwrap();
    assert_says(&report(root.path()), &["serves good", "note: stray.onnx is left out: models are folders"]);
}

#[test]
fn what_stands_in_the_place_of_a_graph_is_named() {
    let folder = bare("tiny-gray");
    std::fs::write(folder.path().join("encoder.onnx"), "version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
        .unwrap();
    assert_says(&report(folder.path()), &["it is a git-lfs pointer, not the file: `git lfs pull`"]);
    std::fs::rename(folder.path().join("encoder.onnx"), folder.path().join("model.pt")).unwrap();
    let error = inspect(folder.path(), runtime().as_ref()).unwrap_err();
    assert!(error.message().contains("model.pt holds weights without a graph"), "{error}");
    let error = inspect(Path::new("/nonexistent"), runtime().as_ref()).unwrap_err();
    assert_eq!(error.chain().matches("No such file").count(), 1, "{}", error.chain());
}

#[test]
fn a_batch_of_one_and_a_renamed_file_are_told() {
    assert_says(
        &report(&data("models/tiny-frozen")),
        &["note: graphs.encoder: its batch is frozen at 1", "dynamic_shapes"],
    );
    let folder = copy_of("tiny-gray");
    std::fs::rename(folder.path().join("encoder.onnx"), folder.path().join("encoder_v2.onnx")).unwrap();
    assert_says(&report(folder.path()), &["graphs.encoder: encoder.onnx is not there; there is encoder_v2.onnx"]);
}

#[test]
fn a_processor_that_no_manifest_can_follow_is_a_problem_by_the_name_of_its_field() {
    let folder = bare("tiny-gray");
    std::fs::write(folder.path().join("preprocessor_config.json"), r#"{"size": 8, "do_pad": true}"#).unwrap();
    let inspection = report(folder.path());
    assert!(inspection.proposed_manifest().is_none());
    assert_says(&inspection, &["problem: preprocessor_config.json: do_pad = true changes pixels"]);
}
