use super::*;
use crate::image::{Background, Crop, FilterKind, Resize};

const WHOLE: &str = r##"
manifest = 1
family = "variational"
description = "CR-VAE"
license = "Apache-2.0"
required = true
denoises = false

[input]
width = 32
height = 32
channels = "rgb"
background = "#000000"
orientation = false

[preprocess]
resize = "shortest-edge"
edge = 36
filter = "lanczos"
crop = "center"
rescale = 0.00392156862745098
mean = [0.4914, 0.4822, 0.4465]
std = [0.2470, 0.2435, 0.2616]

[graphs.encoder]
file = "encoder.onnx"
inputs = { image = "image" }
outputs = { mean = "mu", log_variance = "log_variance" }

[graphs.decoder]
file = "decoder.onnx"
inputs = { latent = "latent" }
outputs = { image = "image" }

[embedding]
output = "mean"
pooling = "none"
normalize = false
metric = "dot"

[reconstruction]
values = "normalized"

[runtime]
max_batch = 16
sessions = 2
threads = 1
device = "cuda:1"

[golden]
atol = 0.01

[variants.int8]
graphs.encoder.file = "encoder.int8.onnx"
golden.rtol = 0.5
"##;

const LEAST: &str = r#"
manifest = 1
family = "contrastive"
[input]
width = 8
height = 8
channels = "gray"
[graphs.encoder]
file = "model.onnx"
inputs = { image = "x" }
outputs = { embedding = "y" }
"#;

fn violations(text: &str) -> Vec<String> {
    Manifest::parse(text).unwrap_err()
}

#[track_caller]
fn assert_told(text: &str, expected: &[&str]) {
    let found = violations(text);
    for expected in expected {
        assert!(found.iter().any(|violation| violation.contains(expected)), "{expected:?} is not in {found:#?}");
    }
}

#[test]
fn an_edge_beside_another_resize_says_nothing_and_is_forgotten() {
    let exact = WHOLE.replace("resize = \"shortest-edge\"", "resize = \"exact\"");
    let manifest = Manifest::parse(&exact).unwrap();
    assert_eq!((manifest.preprocess.resize, manifest.preprocess.edge), (Resize::Exact, None));
}

#[test]
fn every_key_of_the_format_is_read() {
    let manifest = Manifest::parse(WHOLE).unwrap();
    assert_eq!(manifest.family, Family::Variational);
    assert_eq!((manifest.required, manifest.denoises), (true, false));
    assert_eq!((manifest.description.as_deref(), manifest.license.as_deref()), (Some("CR-VAE"), Some("Apache-2.0")));
    assert_eq!(manifest.input.background, Background([0, 0, 0]));
    assert!(!manifest.input.orientation);
    assert_eq!((manifest.preprocess.resize, manifest.preprocess.edge), (Resize::ShortestEdge, Some(36)));
    assert_eq!((manifest.preprocess.filter, manifest.preprocess.crop), (FilterKind::Lanczos, Crop::Center));
    assert_eq!(manifest.graphs[&GraphRole::Encoder].outputs["mean"], "mu");
    let embedding = manifest.embedding.as_ref().unwrap();
    assert_eq!((embedding.output.as_str(), embedding.normalize, embedding.metric), ("mean", false, Metric::Dot));
    assert_eq!(manifest.reconstruction, Values::Normalized);
    assert_eq!(manifest.golden, Tolerance { atol: 0.01, rtol: 1e-3 });
    let runtime = RuntimeSpec {
        max_batch: Some(16),
        sessions: Some(2),
        threads: Some(1),
        device: Some(Device::Cuda(1)),
        random: false,
    };
    assert_eq!(manifest.runtime, runtime);
}

#[test]
fn a_variant_takes_its_own_files_and_tolerance_and_the_rest_from_the_model() {
    let manifest = Manifest::parse(WHOLE).unwrap();
    let variant = manifest.of_variant("int8").unwrap();
    assert_eq!(variant.graphs[&GraphRole::Encoder].file, "encoder.int8.onnx");
    assert_eq!(variant.graphs[&GraphRole::Decoder].file, "decoder.onnx");
    assert_eq!(variant.golden, Tolerance { atol: 1e-3, rtol: 0.5 });
    assert!(!variant.required);
    assert!(manifest.of_variant("fp16").is_none());
}

#[test]
fn what_is_left_out_has_its_default() {
    let manifest = Manifest::parse(LEAST).unwrap();
    let embedding = manifest.embedding.unwrap();
    assert_eq!((embedding.output.as_str(), embedding.pooling, embedding.normalize), ("embedding", Pooling::None, true));
    assert_eq!(embedding.metric, Metric::Cosine);
    assert_eq!(manifest.preprocess, PreprocessSpec::default());
    assert_eq!((manifest.input.background, manifest.input.orientation), (Background::WHITE, true));
    assert_eq!(manifest.golden, Tolerance { atol: 1e-3, rtol: 1e-3 });
    assert_eq!(manifest.runtime, RuntimeSpec::default());
}

#[test]
fn every_violation_is_told_at_once() {
    let text = LEAST
        .replace("width = 8", "width = 0\ncolour = 1")
        .replace("channels = \"gray\"", "channels = \"cmyk\"")
        .replace("family", "sort = 1\nrequired = \"yes\"\nfamily")
        + "noise = 1\n[preprocess]\nmean = \"x\"\n[embedding]\noutput = \"latent\"\nmetric = \"l7\"\n[cache]\n";
    assert_told(
        &text,
        &[
            "sort is an unknown key",
            "required = \"yes\"",
            "input.colour is an unknown key; [input] takes width, height, channels",
            "input.channels = \"cmyk\"",
            "graphs.encoder.noise is an unknown key",
            "preprocess.mean",
            "embedding.output = \"latent\" is not an output of the encoder; it has embedding",
            "embedding.metric = \"l7\"",
            "cache is an unknown key",
        ],
    );
    assert!(violations(&text).iter().all(|line| line.lines().count() == 1), "{:#?}", violations(&text));
}

#[test]
fn missing_keys_are_named() {
    assert_told("", &["manifest is missing", "family is missing", "[input] is missing"]);
    let text = "manifest = 1\nfamily = \"contrastive\"\n[input]\nwidth = 8\nheight = 8\nchannels = \"rgb\"\n";
    assert_told(text, &["[graphs.encoder] is missing"]);
    let text = LEAST.replace("file = \"model.onnx\"", "").replace("image = \"x\"", "").replace("embedding = \"y\"", "");
    assert_told(
        &text,
        &["graphs.encoder.file is missing", "graphs.encoder.inputs.image is missing", "names no output"],
    );
}

#[test]
fn a_syntax_error_names_its_line() {
    assert_told("manifest = 1\nfamily = \n", &["line 2"]);
}

#[test]
fn another_version_of_the_format_is_refused() {
    assert_told(&LEAST.replace("manifest = 1", "manifest = 2"), &["manifest = 2"]);
}

#[test]
fn roles_and_graphs_that_a_family_does_not_have_are_refused() {
    let text = LEAST.replace("embedding = \"y\"", "vector = \"y\"") + "[graphs.decoder]\nfile = \"d.onnx\"\n";
    assert_told(&text, &["graphs.encoder.outputs.vector is an unknown role", "[graphs.decoder] is an unknown graph"]);
    let text = LEAST.replace("contrastive", "variational");
    assert_told(&text, &["outputs.mean is missing", "outputs.log_variance is missing", "[graphs.decoder] is missing"]);
    let text = LEAST.replace("contrastive", "masked-autoencoder");
    assert_told(&text, &["[graphs.masked] is missing", "[masked] is missing"]);
    let text = LEAST.replace("contrastive", "autoencoder");
    assert_told(&text, &["[graphs.decoder] is missing"]);
}

#[test]
fn a_mask_is_bound_once_and_patches_divide_the_image() {
    let masked = |inputs: &str, patch: u32| {
        LEAST.replace("contrastive", "masked-autoencoder")
            + &format!("[graphs.masked]\nfile = \"m.onnx\"\ninputs = {inputs}\noutputs = {{ image = \"y\" }}\n")
            + &format!("[masked]\npatch = {patch}\n")
    };
    let manifest = Manifest::parse(&masked("{ image = \"x\", noise = \"n\" }", 4)).unwrap();
    assert_eq!(manifest.grid().map(crate::image::Grid::patches), Some(4));
    assert_told(&masked("{ image = \"x\" }", 3), &["needs mask, or noise", "masked.patch = 3 does not divide"]);
    assert_told(&masked("{ image = \"x\", mask = \"m\", noise = \"n\" }", 0), &["both mask and noise", "patch = 0"]);
    assert_told(&masked("{ image = \"x\", mask = \"x\" }", 4), &["is bound to another role"]);
}

#[test]
fn the_manifests_in_the_documentation_are_whole() {
    let text = include_str!("../../../docs/MODELS.md");
    let blocks: Vec<&str> = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(blocks.len(), 4);
    for block in blocks {
        Manifest::parse(block).unwrap_or_else(|reasons| panic!("{reasons:?}\n{block}"));
    }
}

#[test]
fn a_ratio_hides_some_patches_and_leaves_some() {
    let masked = |ratio: &str| {
        LEAST.replace("contrastive", "masked-autoencoder")
            + "[graphs.masked]\nfile = \"m.onnx\"\ninputs = { image = \"x\", mask = \"m\" }\n\
               outputs = { image = \"y\" }\n"
            + &format!("[masked]\npatch = 4\n{ratio}\n")
    };
    let ratio = |text: &str| Manifest::parse(&masked(text)).unwrap().masked.unwrap().ratio;
    assert!((ratio("") - MaskedSpec::RATIO).abs() < f64::EPSILON && (ratio("ratio = 0.5") - 0.5).abs() < f64::EPSILON);
    for bad in ["0.0", "1.0", "-0.5", "1.5", "nan"] {
        let told = format!("masked.ratio = {}", if bad == "nan" { "NaN" } else { bad.trim_end_matches(".0") });
        assert_told(&masked(&format!("ratio = {bad}")), &[&told, "of the 4 patches"]);
    }
}

#[test]
fn tokens_need_a_pooling() {
    let text = LEAST.replace("embedding = \"y\"", "tokens = \"y\"");
    assert_told(&text, &["embedding.pooling is missing"]);
    assert!(Manifest::parse(&(text + "[embedding]\npooling = \"cls\"\n")).is_ok());
}

#[test]
fn sections_without_a_meaning_for_the_model_are_refused() {
    let text = LEAST.replace("family", "denoises = true\nfamily") + "[reconstruction]\n[masked]\npatch = 4\n";
    assert_told(&text, &["cannot denoise", "[reconstruction] is for", "[masked] is for"]);
}

#[test]
fn files_outside_the_folder_and_zero_counts_are_refused() {
    let text = LEAST.replace("model.onnx", "../model.onnx")
        + "[runtime]\nsessions = 0\ndevice = \"tpu\"\n[golden]\natol = -1.0\n\
           [variants.\"Int8\"]\ngraphs.encoder.file = \"/x.onnx\"\n[variants.b]\ngraphs.decoder.file = \"d.onnx\"\n[variants.c]\n";
    assert_told(
        &text,
        &[
            "graphs.encoder.file = \"../model.onnx\" leaves the model's folder",
            "runtime.sessions = 0",
            "runtime.device = \"tpu\"",
            "golden.atol = -1",
            "variants.Int8",
            "\"/x.onnx\" leaves",
            "variants.b.graphs.decoder is not a graph of this model",
            "variants.c.graphs is missing",
        ],
    );
}

#[test]
fn a_glance_tells_what_the_repository_needs_even_of_a_broken_manifest() {
    assert_eq!(glance(WHOLE), (true, vec!["int8".to_owned()]));
    assert_eq!(glance("required = true\nfamily = 7"), (true, Vec::new()));
    assert_eq!(glance("required = "), (false, Vec::new()));
}

#[test]
fn a_detector_has_a_graph_of_its_own_or_an_encoder_with_a_memory() {
    let text = |sections: &str| {
        format!("manifest = 1\nfamily = \"anomaly\"\n[input]\nwidth = 8\nheight = 8\nchannels = \"gray\"\n{sections}")
    };
    let graph = "[graphs.anomaly]\nfile = \"a.onnx\"\ninputs = { image = \"input\" }\noutputs = { map = \"map\" }\n";
    let encoder = "[graphs.encoder]\nfile = \"e.onnx\"\ninputs = { image = \"x\" }\noutputs = { latent = \"z\" }\n";
    let memory = "[memory]\nfile = \"memory.npy\"\n";
    for sections in [graph.to_owned(), format!("{encoder}{memory}"), format!("{graph}{encoder}{memory}neighbours = 3")]
    {
        let manifest = Manifest::parse(&text(&sections)).unwrap();
        assert_eq!(manifest.memory.is_some(), sections.contains("[memory]"));
        assert!(manifest.embedding.is_none_or(|embedding| embedding.pooling == Pooling::Mean));
    }
    let whole = Manifest::parse(&text(&format!("{encoder}{memory}neighbours = 3"))).unwrap();
    assert_eq!(whole.memory, Some(MemorySpec { file: "memory.npy".to_owned(), neighbours: 3 }));
    for (sections, part) in [
        (String::new(), "needs [graphs.anomaly], or [graphs.encoder] and [memory]"),
        (encoder.to_owned(), "[memory] is missing"),
        (format!("{graph}{memory}"), "[graphs.encoder] is missing"),
        (format!("{encoder}{memory}neighbours = 0"), "memory.neighbours = 0"),
        (format!("{encoder}[memory]\nfile = \"../m.npy\""), "memory.file"),
        (format!("{graph}[masked]\npatch = 4"), "[masked] is for family masked-autoencoder"),
    ] {
        let violations = Manifest::parse(&text(&sections)).unwrap_err().join("\n");
        assert!(violations.contains(part), "{part}: {violations}");
    }
}
