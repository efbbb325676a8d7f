use serde::Deserialize;

use super::*;
use crate::image::fixtures;

#[derive(Deserialize)]
struct Pair {
    width: u32,
    height: u32,
    channels: u32,
    mse: f64,
    psnr: f64,
    ssim: f64,
}

fn flat(width: u32, height: u32, value: f32) -> Plane {
    Plane { width, height, channels: 1, data: vec![value; (width * height) as usize] }
}

#[test]
fn the_figures_equal_those_of_scikit_image() {
    let pairs: Vec<Pair> = fixtures::json("quality.json");
    let arrays = fixtures::npz("quality.npz");
    for pair in pairs {
        let Pair { width, height, channels, .. } = pair;
        let key = format!("{width}x{height}x{channels}");
        let of = |samples: &[u8]| fixtures::plane(width, height, channels as usize, samples);
        let original = of(&fixtures::pattern(width, height, channels, 1));
        let other = of(&arrays[&format!("{key}-other")].bytes);
        // The images are f32 here and f64 there.
        assert!((mse(&original, &other) - pair.mse).abs() < 1e-8, "{key}");
        assert!((psnr(&original, &other) - pair.psnr).abs() < 1e-5, "{key}");
        let found = ssim(&original, &other);
        assert!((found - pair.ssim).abs() < 1e-6, "{key}: {found} against {}", pair.ssim);
        let map = ssim_map(&original, &other);
        for (found, expected) in map.iter().zip(arrays[&key].floats()) {
            assert!((found - expected).abs() < 2e-5, "{key}: {found} against {expected}");
        }
    }
}

#[test]
fn equal_images_have_no_error_full_similarity_and_infinite_psnr() {
    for (width, height) in [(1, 1), (2, 2), (2, 9), (3, 3), (8, 8), (33, 17)] {
        let data = fixtures::pattern(width, height, 3, 4);
        let plane = fixtures::plane(width, height, 3, &data);
        assert_eq!((mse(&plane, &plane), l1(&plane, &plane)), (0.0, 0.0));
        assert_eq!(psnr(&plane, &plane), f64::INFINITY);
        assert!((ssim(&plane, &plane) - 1.0).abs() < 1e-12);
        assert!(ssim_map(&plane, &plane).iter().all(|value| (value - 1.0).abs() < 1e-6));
    }
}

#[test]
fn black_against_white_is_the_worst() {
    let (black, white) = (flat(9, 9, 0.0), flat(9, 9, 1.0));
    assert_eq!((mse(&black, &white), l1(&black, &white), psnr(&black, &white)), (1.0, 1.0, 0.0));
    assert!(ssim(&black, &white) < 1e-3);
}

#[test]
fn l1_is_the_mean_absolute_difference() {
    assert!((l1(&flat(4, 4, 0.25), &flat(4, 4, 0.75)) - 0.5).abs() < 1e-12);
    assert!((mse(&flat(4, 4, 0.25), &flat(4, 4, 0.75)) - 0.25).abs() < 1e-12);
    assert!((psnr(&flat(4, 4, 0.25), &flat(4, 4, 0.35)) - 20.0).abs() < 1e-5);
}
