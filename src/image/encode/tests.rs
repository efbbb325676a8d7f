use ::image::metadata::Orientation;

use super::*;
use crate::image::fixtures::{MAX_PIXELS, image, plane, rgb, sample};

#[test]
fn a_plane_becomes_a_png_of_the_same_samples() {
    for (channels, kind) in [(3, Channels::Rgb), (1, Channels::Gray)] {
        let decoded = image(13, 9, channels, 2);
        let plane = plane(13, 9, usize::from(channels), &decoded.data);
        let file = png(&plane).unwrap();
        let again = ::image::load_from_memory_with_format(&file, ::image::ImageFormat::Png).unwrap();
        assert_eq!(again.as_bytes(), decoded.data);
        let pixels = Pixels { width: 13, height: 9, channels: kind, data: decoded.data.clone() };
        assert_eq!(png_pixels(&pixels).unwrap(), file);
    }
}

#[test]
fn values_outside_the_range_are_clamped_and_not_a_number_is_black() {
    assert_eq!([-1.0, 0.0, 0.5, 1.0, 2.0, f32::NAN].map(to_byte), [0, 0, 128, 255, 255, 0]);
}

#[test]
fn shapes_that_are_no_image_are_refused() {
    let two = Plane { width: 1, height: 1, channels: 2, data: vec![0.0; 2] };
    assert!(png(&two).is_err());
    let short = Pixels { width: 2, height: 2, channels: Channels::Rgb, data: vec![0; 3] };
    assert!(png_pixels(&short).is_err());
}

#[test]
fn a_thumbnail_is_upright_within_its_edge_and_a_jpeg() {
    let decoded = crate::image::decode(&sample("orientation-6.png"), MAX_PIXELS).unwrap();
    let file = thumbnail(&decoded, 20).unwrap();
    let small = crate::image::decode(&file, MAX_PIXELS).unwrap();
    assert!(file.starts_with(b"\xff\xd8"));
    assert_eq!((small.width(), small.height()), (14, 20));
    assert_eq!(small.orientation, Orientation::NoTransforms);
}

#[test]
fn a_thumbnail_never_enlarges() {
    let decoded = crate::image::decode(&sample("rgb.png"), MAX_PIXELS).unwrap();
    let small = crate::image::decode(&thumbnail(&decoded, 500).unwrap(), MAX_PIXELS).unwrap();
    assert_eq!((small.width(), small.height()), (61, 43));
    let (found, original) = (rgb(&small).data, rgb(&decoded).data);
    let sum: u32 = found.iter().zip(&original).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
    assert!(f64::from(sum) / (original.len() as f64) < 6.0);
}

#[test]
fn a_data_uri_carries_the_file_in_base64() {
    assert_eq!(data_uri(b"\x89PN"), "data:image/png;base64,iVBO");
    assert_eq!(data_uri(b"a"), "data:image/png;base64,YQ==");
}
