use super::*;
use crate::error::ErrorKind;

fn grey(width: u32, height: u32, value: f32) -> Plane {
    Plane { width, height, channels: 3, data: vec![value; (width * height * 3) as usize] }
}

#[test]
fn the_text_forms_parse_and_print() {
    assert_eq!("gaussian:0.1".parse::<Noise>().unwrap(), Noise::Gaussian(0.1));
    assert_eq!("salt-pepper:0.05".parse::<Noise>().unwrap(), Noise::SaltPepper(0.05));
    for text in ["gaussian:0.1", "salt-pepper:0.05", "gaussian:0", "salt-pepper:1"] {
        assert_eq!(text.parse::<Noise>().unwrap().to_string(), text);
    }
}

#[test]
fn what_is_wrong_with_a_text_is_told() {
    for (text, part) in [
        ("gaussian", "no amount"),
        ("", "no amount"),
        ("poisson:0.1", "`poisson` is unknown"),
        ("gaussian:", "not a number"),
        ("gaussian:much", "`much` is not a number"),
        ("gaussian:-0.1", "outside 0…1"),
        ("gaussian:1.5", "outside 0…1"),
        ("salt-pepper:NaN", "outside 0…1"),
        ("salt-pepper:inf", "outside 0…1"),
    ] {
        let error = text.parse::<Noise>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
        assert!(error.message().contains(part), "{text}: {error}");
    }
}

#[test]
fn the_same_seed_repeats_exactly_and_another_does_not() {
    let plane = grey(16, 16, 0.5);
    for noise in [Noise::Gaussian(0.2), Noise::SaltPepper(0.2)] {
        assert_eq!(noise.apply(&plane, 7), noise.apply(&plane, 7));
        assert_ne!(noise.apply(&plane, 7), noise.apply(&plane, 8));
    }
}

#[test]
fn a_seed_means_the_same_noise_in_every_release() {
    let gaussian = Noise::Gaussian(0.1).apply(&grey(2, 1, 0.5), 1).data;
    let expected = GAUSSIAN_OF_SEED_1;
    assert!(gaussian.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6), "{gaussian:?}");
    let salted = Noise::SaltPepper(0.25).apply(&grey(4, 2, 0.5), 1).data;
    assert_eq!(salted[..8], SALTED_OF_SEED_1, "{salted:?}");
}

const GAUSSIAN_OF_SEED_1: [f32; 6] = [0.476_515_3, 0.358_918_22, 0.533_302_84, 0.387_323_38, 0.466_616_78, 0.576_766_4];
const SALTED_OF_SEED_1: [f32; 8] = [0.5, 0.5, 0.5, 0.0, 0.5, 0.5, 0.5, 1.0];

#[test]
fn gaussian_noise_has_the_deviation_that_was_asked_for_and_stays_in_range() {
    let noisy = Noise::Gaussian(0.1).apply(&grey(100, 100, 0.5), 3);
    let count = noisy.data.len() as f64;
    let mean = noisy.data.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
    let variance = noisy.data.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>() / count;
    assert!((mean - 0.5).abs() < 0.005 && (variance.sqrt() - 0.1).abs() < 0.003);
    let clipped = Noise::Gaussian(1.0).apply(&grey(50, 50, 0.9), 3);
    assert!(clipped.data.iter().all(|value| (0.0..=1.0).contains(value)));
}

#[test]
fn salt_and_pepper_replace_that_share_of_pixels_in_all_channels() {
    let noisy = Noise::SaltPepper(0.05).apply(&grey(40, 25, 0.5), 9);
    let channels: Vec<&[f32]> = noisy.data.chunks_exact(1000).collect();
    let changed: Vec<usize> = (0..1000).filter(|pixel| channels[0][*pixel] != 0.5).collect();
    assert_eq!(changed.len(), 50);
    assert!(channels.iter().all(|channel| *channel == channels[0]));
    let white = changed.iter().filter(|pixel| channels[0][**pixel] == 1.0).count();
    assert!((10..=40).contains(&white));
    assert_eq!(Noise::SaltPepper(0.0).apply(&noisy, 1), noisy);
    assert!(Noise::SaltPepper(1.0).apply(&noisy, 1).data.iter().all(|value| *value == 0.0 || *value == 1.0));
}
