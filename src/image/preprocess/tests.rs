use serde::Deserialize;

use super::*;
use crate::{
    error::ErrorKind,
    image::{
        Channels, FilterKind,
        fixtures::{self, image},
    },
};

/// An entry of `pipelines.json`.
#[derive(Deserialize)]
struct Pipeline {
    source: [u32; 2],
    width: u32,
    height: u32,
    channels: Channels,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

fn tensor(preprocessor: &Preprocessor, decoded: &Decoded) -> Vec<f32> {
    let mut out = vec![f32::NAN; preprocessor.tensor_len()];
    preprocessor.write_tensor(&preprocessor.pixels(decoded).unwrap(), &mut out);
    let mut at_once = vec![f32::NAN; preprocessor.tensor_len()];
    preprocessor.tensor(decoded, &mut at_once).unwrap();
    assert_eq!(at_once, out, "with and without the pixels in between");
    out
}

fn preprocessor(width: u32, height: u32, spec: PreprocessSpec) -> Preprocessor {
    Preprocessor::new(fixtures::input(width, height, Channels::Rgb), spec).unwrap()
}

#[test]
fn tensors_equal_those_of_the_processors_and_of_pillow() {
    let expected = fixtures::npz("pipelines.npz");
    let pipelines: std::collections::BTreeMap<String, Pipeline> = fixtures::json("pipelines.json");
    assert_eq!(pipelines.len(), expected.len());
    for (name, case) in pipelines {
        let spec: PreprocessSpec = serde_json::from_value(case.rest.into()).unwrap();
        let input = fixtures::input(case.width, case.height, case.channels);
        let preprocessor = Preprocessor::new(input, spec).unwrap();
        let found = tensor(&preprocessor, &image(case.source[0], case.source[1], 3, 7));
        let array = &expected[&name];
        assert_eq!(array.shape, [case.channels.count(), case.height as usize, case.width as usize], "{name}");
        let furthest =
            found.iter().zip(array.floats()).map(|(found, expected)| (found - expected).abs()).fold(0.0, f32::max);
        assert!(furthest <= 1e-6, "{name} differs by {furthest}");
    }
}

#[test]
fn a_letterbox_is_centred_on_the_background() {
    let mut input = fixtures::input(9, 9, Channels::Rgb);
    input.background = "#102030".parse().unwrap();
    let spec = PreprocessSpec { resize: Resize::Letterbox, filter: FilterKind::Nearest, ..Default::default() };
    let wide = Decoded { data: vec![200; 18 * 8 * 3], ..image(18, 8, 3, 0) };
    let pixels = Preprocessor::new(input, spec).unwrap().pixels(&wide).unwrap();
    let rows: Vec<_> = pixels.data.chunks_exact(27).collect();
    // Four rows of image: two above, three below.
    for (y, row) in rows.iter().enumerate() {
        let inside = (2..6).contains(&y);
        let colour = if inside { [200, 200, 200] } else { [0x10, 0x20, 0x30] };
        assert!(row.as_chunks::<3>().0.iter().all(|pixel| *pixel == colour), "row {y}");
    }
}

#[test]
fn an_image_of_extreme_shape_costs_only_the_window_that_is_kept() {
    let spec =
        PreprocessSpec { resize: Resize::ShortestEdge, edge: Some(256), crop: Crop::Center, ..Default::default() };
    let preprocessor = preprocessor(224, 224, spec);
    for (width, height) in [(1, 65_535), (65_535, 1)] {
        let pixels = preprocessor.pixels(&image(width, height, 3, 0)).unwrap();
        assert_eq!(pixels.data.len(), 224 * 224 * 3);
    }
}

#[test]
fn without_resize_and_crop_another_size_is_refused_with_both_sizes() {
    let spec = PreprocessSpec { resize: Resize::None, ..Default::default() };
    let preprocessor = preprocessor(8, 8, spec);
    let error = preprocessor.pixels(&image(9, 8, 3, 0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidImage);
    assert!(error.message().contains("9 × 8") && error.message().contains("8 × 8 only"), "{error}");
    let same = image(8, 8, 3, 0);
    assert_eq!(preprocessor.pixels(&same).unwrap().data, same.data);
}

#[test]
fn a_contradictory_specification_is_refused_with_every_violation() {
    let spec = PreprocessSpec {
        resize: Resize::ShortestEdge,
        mean: Some(vec![0.5]),
        std: Some(vec![0.5, 0.0, 0.5]),
        ..Default::default()
    };
    let error = Preprocessor::new(fixtures::input(0, 8, Channels::Rgb), spec).unwrap_err();
    for part in ["input.width", "preprocess.edge", "preprocess.crop", "preprocess.mean", "preprocess.std"] {
        assert!(error.message().contains(part), "{part} in {error}");
    }
}

#[test]
fn a_graphs_images_come_back_to_zero_to_one() {
    let spec =
        PreprocessSpec { mean: Some(vec![0.5, 0.4, 0.3]), std: Some(vec![0.2, 0.25, 0.5]), ..Default::default() };
    let preprocessor = preprocessor(5, 4, spec);
    let pixels = preprocessor.pixels(&image(11, 9, 3, 1)).unwrap();
    let unit = preprocessor.unit(&pixels);
    let mut values = vec![0.0; preprocessor.tensor_len()];
    preprocessor.write_tensor(&pixels, &mut values);
    let mut again = vec![0.0; preprocessor.tensor_len()];
    preprocessor.tensor_from_unit(&unit, &mut again);
    let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(close(&values, &again));
    assert!(close(&preprocessor.to_unit(&values, Values::Normalized).data, &unit.data));
    assert_eq!(preprocessor.to_unit(&unit.data, Values::Unit), unit);
}

#[test]
fn values_outside_zero_to_one_are_clamped_and_the_infinite_become_zero() {
    let preprocessor = preprocessor(2, 1, PreprocessSpec::default());
    let tensor = [-0.5, 1.5, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.25];
    for values in [Values::Unit, Values::Normalized] {
        assert_eq!(preprocessor.to_unit(&tensor, values).data, [0.0, 1.0, 0.0, 0.0, 0.0, 0.25]);
    }
}

#[test]
fn the_image_of_the_model_is_channel_after_channel() {
    let preprocessor = preprocessor(2, 1, PreprocessSpec { resize: Resize::None, ..Default::default() });
    let decoded = Decoded { data: vec![0, 51, 102, 153, 204, 255], ..image(2, 1, 3, 0) };
    let unit = preprocessor.unit(&preprocessor.pixels(&decoded).unwrap());
    assert_eq!(unit.data, [0.0, 0.6, 0.2, 0.8, 0.4, 1.0]);
    assert_eq!(tensor(&preprocessor, &decoded), unit.data);
}

#[test]
fn a_graph_that_takes_blue_first_is_given_it_first_and_its_images_come_back_as_rgb() {
    let spec = PreprocessSpec { mean: Some(vec![0.1, 0.2, 0.3]), resize: Resize::None, ..Default::default() };
    let rgb = Preprocessor::new(fixtures::input(2, 1, Channels::Rgb), spec.clone()).unwrap();
    let input = crate::image::InputSpec { bgr: true, ..fixtures::input(2, 1, Channels::Rgb) };
    let bgr = Preprocessor::new(input, spec).unwrap();
    let pixels = rgb.pixels(&Decoded { data: vec![0, 51, 102, 153, 204, 255], ..image(2, 1, 3, 0) }).unwrap();
    let mut values = vec![0.0; 6];
    bgr.write_tensor(&pixels, &mut values);
    let expected = [0.4 - 0.1, 1.0 - 0.1, 0.2 - 0.2, 0.8 - 0.2, 0.0 - 0.3, 0.6 - 0.3];
    assert!(values.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{values:?}");
    let unit = bgr.unit(&pixels);
    let mut again = vec![0.0; 6];
    bgr.tensor_from_unit(&unit, &mut again);
    assert!(values.iter().zip(&again).all(|(a, b)| (a - b).abs() < 1e-6), "{again:?}");
    let back = bgr.to_unit(&values, Values::Normalized);
    assert!(back.data.iter().zip(&unit.data).all(|(a, b)| (a - b).abs() < 1e-6), "{back:?}");
}
