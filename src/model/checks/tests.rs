use std::collections::BTreeMap;

use super::*;
use crate::domain::Device;

fn manifest(text: &str) -> Manifest {
    let head = "manifest = 1\n[input]\nwidth = 8\nheight = 4\nchannels = \"rgb\"\n";
    let family = "family = \"autoencoder\"\n";
    Manifest::parse(&format!("{family}{head}{text}")).unwrap()
}

fn autoencoder() -> Manifest {
    manifest(
        "[graphs.encoder]\nfile = \"e.onnx\"\ninputs = { image = \"x\" }\noutputs = { latent = \"z\" }\n\
         [graphs.decoder]\nfile = \"d.onnx\"\ninputs = { latent = \"z\" }\noutputs = { image = \"y\" }\n",
    )
}

/// `0` is a dynamic axis.
fn port(name: &str, dtype: &str, axes: &[usize]) -> Port {
    let axis = |&size: &usize| if size == 0 { Axis::Dynamic("batch".to_owned()) } else { Axis::Fixed(size) };
    Port { name: name.to_owned(), dtype: dtype.to_owned(), shape: axes.iter().map(axis).collect() }
}

fn info(inputs: &[Port], outputs: &[Port]) -> GraphInfo {
    GraphInfo {
        inputs: inputs.to_vec(),
        outputs: outputs.to_vec(),
        opset: Some(20),
        producer: None,
        placement: BTreeMap::new(),
        device: Device::Cpu,
    }
}

fn f32(name: &str, axes: &[usize]) -> Port {
    port(name, "float32", axes)
}

#[test]
fn a_graph_that_is_as_the_manifest_says_has_no_violation() {
    let manifest = autoencoder();
    let encoder = info(&[f32("x", &[0, 3, 4, 8])], &[f32("z", &[0, 16])]);
    assert!(graph(&manifest, GraphRole::Encoder, &encoder).is_empty());
    let free = info(&[f32("x", &[0, 3, 0, 0])], &[f32("z", &[0, 2, 2, 4])]);
    assert!(graph(&manifest, GraphRole::Encoder, &free).is_empty());
    assert!(!is_frozen_at_one(&encoder));
}

#[test]
fn all_differences_are_told_at_once() {
    let found = graph(
        &autoencoder(),
        GraphRole::Encoder,
        &info(
            &[port("x", "int32", &[0, 3, 8, 8]), f32("scale", &[])],
            &[f32("h", &[0, 16]), port("ids", "int64", &[0])],
        ),
    );
    for expected in [
        "input x is int32; export the graph with it as float32, float16 or uint8",
        "input x is [batch, 3, 8, 8]; by the manifest, image is [batch, 3, 4, 8]",
        "outputs.latent = \"z\" is not an output of the graph; it has h, ids",
        "also takes scale",
    ] {
        assert!(found.iter().any(|line| line.contains(expected)), "{expected:?} is not in {found:#?}");
    }
}

#[test]
fn a_latent_has_rank_two_or_four() {
    let found = graph(&autoencoder(), GraphRole::Encoder, &info(&[f32("x", &[0, 3, 4, 8])], &[f32("z", &[0, 4, 4])]));
    assert!(found[0].contains("latent is [batch, n] or [batch, n, n, n]"), "{found:?}");
}

#[test]
fn a_batch_frozen_at_one_is_run_one_by_one_and_at_more_is_refused() {
    let frozen = |size| info(&[f32("x", &[size, 3, 4, 8])], &[f32("z", &[size, 16])]);
    assert!(graph(&autoencoder(), GraphRole::Encoder, &frozen(1)).is_empty());
    assert!(is_frozen_at_one(&frozen(1)));
    let found = graph(&autoencoder(), GraphRole::Encoder, &frozen(8));
    assert!(found[0].contains("frozen at 8") && found[0].contains("dynamic_shapes"), "{found:?}");
}

#[test]
fn an_output_of_undeclared_shape_is_left_to_the_first_run() {
    assert!(graph(&autoencoder(), GraphRole::Encoder, &info(&[f32("x", &[0, 3, 4, 8])], &[f32("z", &[])])).is_empty());
}

#[test]
fn the_decoder_takes_what_the_encoder_gives() {
    let encoder = |axes: &[usize]| info(&[f32("x", &[0, 3, 4, 8])], &[f32("z", axes)]);
    let decoder = |axes: &[usize]| info(&[f32("z", axes)], &[f32("y", &[0, 3, 4, 8])]);
    let check = |given: &[usize], taken: &[usize]| agreement(&autoencoder(), &encoder(given), &decoder(taken));
    assert_eq!(check(&[0, 16], &[0, 16]), None);
    assert_eq!(check(&[1, 16], &[0, 0]), None);
    assert!(
        check(&[0, 16], &[0, 12])
            .unwrap()
            .contains("gives latent [batch, 16], but the decoder takes latent [batch, 12]")
    );
    assert!(check(&[0, 4, 2, 2], &[0, 16]).is_some());
}

#[test]
fn outputs_that_no_role_is_bound_to_are_ignored_whatever_they_are() {
    let info = info(&[f32("x", &[0, 3, 4, 8])], &[f32("z", &[0, 16]), port("ids", "int64", &[7]), f32("loss", &[])]);
    assert!(graph(&autoencoder(), GraphRole::Encoder, &info).is_empty());
    let binding = binding(&autoencoder(), GraphRole::Encoder, &info);
    assert_eq!((&binding.outputs[..], binding.channels_last.len()), (&["z".to_owned()][..], 0));
}

#[test]
fn numbers_that_a_session_converts_are_no_violation() {
    let converted = info(&[port("x", "uint8", &[0, 3, 4, 8])], &[port("z", "float16", &[0, 16])]);
    assert!(graph(&autoencoder(), GraphRole::Encoder, &converted).is_empty());
    let found =
        graph(&autoencoder(), GraphRole::Encoder, &info(&[f32("x", &[0, 3, 4, 8])], &[port("z", "int8", &[0, 16])]));
    assert!(
        found[0].contains("output z is int8; export the graph with it as float32, float16 or float64"),
        "{found:?}"
    );
}

#[test]
fn images_with_their_channels_last_are_turned() {
    let last = info(&[f32("x", &[0, 4, 8, 3])], &[f32("z", &[0, 16])]);
    let binding_of = |info: &GraphInfo| binding(&autoencoder(), GraphRole::Encoder, info);
    let binding = binding_of(&last);
    assert_eq!(binding.channels_last, ["x"]);
    assert!(!graph(&autoencoder(), GraphRole::Encoder, &last).is_empty());
    assert!(graph(&autoencoder(), GraphRole::Encoder, &binding.channels_first(&last)).is_empty());
    for first in [&[0, 3, 4, 8][..], &[0, 3, 0, 0], &[0, 8, 4, 3]] {
        assert!(binding_of(&info(&[f32("x", first)], &[f32("z", &[0, 16])])).channels_last.is_empty(), "{first:?}");
    }
    assert_eq!(binding_of(&info(&[f32("x", &[0, 0, 0, 3])], &[f32("z", &[0, 16])])).channels_last, ["x"]);
}
