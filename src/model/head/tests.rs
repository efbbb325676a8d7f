use super::*;
use crate::{domain::Metric, error::ErrorKind};

fn head(pooling: Pooling, shape: &[usize]) -> EmbeddingHead {
    let spec = EmbeddingSpec { output: "out".to_owned(), pooling, normalize: false, metric: Metric::Cosine };
    EmbeddingHead::new(&spec, Source { at: 0, shape, width: 8, height: 8 }).unwrap()
}

fn row(shape: &[usize], data: &[f32]) -> Vec<Tensor> {
    vec![Tensor { shape: shape.to_vec(), data: data.to_vec() }]
}

const AS_THE_MODEL: VectorOptions = VectorOptions { dimensions: None, normalize: None, pooling: None };

/// A class token of 100s and four patches.
const TOKENS: [f32; 10] = [100.0, 100.0, 1.0, 2.0, 3.0, 2.0, 5.0, 2.0, 7.0, 2.0];

#[test]
fn a_latent_of_rank_four_is_flattened_row_by_row() {
    let head = head(Pooling::None, &[2, 1, 2]);
    assert_eq!(head.dimension(), 4);
    assert_eq!(head.apply(row(&[2, 1, 2], &[1.0, 2.0, 3.0, 4.0]), &AS_THE_MODEL).unwrap(), [1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn tokens_are_pooled_by_class_token_or_by_the_patches_alone() {
    let rows = row(&[5, 2], &TOKENS);
    assert_eq!(head(Pooling::Cls, &[5, 2]).apply(rows.clone(), &AS_THE_MODEL).unwrap(), [100.0, 100.0]);
    assert_eq!(head(Pooling::Mean, &[0, 2]).apply(rows.clone(), &AS_THE_MODEL).unwrap(), [4.0, 2.0]);
    let gem = head(Pooling::Gem, &[5, 2]).apply(rows.clone(), &AS_THE_MODEL).unwrap();
    let expected = ((1.0_f64 + 27.0 + 125.0 + 343.0) / 4.0).cbrt() as f32;
    assert!((gem[0] - expected).abs() < 1e-5 && (gem[1] - 2.0).abs() < 1e-6, "{gem:?}");
}

#[test]
fn without_a_class_token_all_tokens_are_patches() {
    let rows = row(&[4, 2], &TOKENS[2..]);
    assert_eq!(head(Pooling::Mean, &[4, 2]).apply(rows.clone(), &AS_THE_MODEL).unwrap(), [4.0, 2.0]);
    let negative = head(Pooling::Gem, &[4, 1]).apply(row(&[4, 1], &[-1.0; 4]), &AS_THE_MODEL).unwrap();
    assert!((negative[0] - 1e-6).abs() < 1e-9, "{negative:?}");
}

#[test]
fn a_class_token_is_seen_for_every_grid_of_the_images_aspect_ratio() {
    let spec = head(Pooling::Mean, &[5, 2]).spec;
    for (width, height, patch) in [(224, 224, 16), (224, 224, 14), (64, 32, 8), (96, 64, 32), (8, 8, 8)] {
        let source = Source { at: 0, shape: &[0, 2], width, height };
        let head = EmbeddingHead::new(&spec, source).unwrap();
        let patches = (width / patch * (height / patch)) as usize;
        assert!(head.has_class_token(patches + 1), "{width} × {height} by {patch}");
        assert!(!head.has_class_token(patches), "{width} × {height} by {patch}");
    }
}

#[test]
fn options_truncate_first_and_scale_then() {
    let head = head(Pooling::None, &[3]);
    let options = VectorOptions { dimensions: Some(2), normalize: Some(true), pooling: None };
    let vector = head.apply(row(&[3], &[3.0, 4.0, 12.0]), &options).unwrap();
    assert!((vector[0] - 0.6).abs() < 1e-6 && (vector[1] - 0.8).abs() < 1e-6 && vector.len() == 2, "{vector:?}");
}

#[test]
fn numbers_that_are_not_finite_are_our_failure() {
    for pooling in [Pooling::Cls, Pooling::Mean, Pooling::Gem] {
        let rows = row(&[4, 1], &[f32::NAN; 4]);
        assert_eq!(head(pooling, &[4, 1]).apply(rows.clone(), &AS_THE_MODEL).unwrap_err().kind(), ErrorKind::Internal);
    }
    let rows = row(&[1], &[f32::INFINITY]);
    assert_eq!(head(Pooling::None, &[1]).apply(rows.clone(), &AS_THE_MODEL).unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(head(Pooling::None, &[2]).apply(rows.clone(), &AS_THE_MODEL).unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(head(Pooling::None, &[2]).apply(Vec::new(), &AS_THE_MODEL).unwrap_err().kind(), ErrorKind::Internal);
}

#[test]
fn options_that_do_not_fit_are_the_callers() {
    let flat = head(Pooling::None, &[3]);
    for dimensions in [0, 4] {
        let options = VectorOptions { dimensions: Some(dimensions), ..AS_THE_MODEL };
        assert_eq!(flat.check(&options).unwrap_err().kind(), ErrorKind::InvalidRequest);
    }
    let pooled = VectorOptions { pooling: Some(Pooling::Mean), ..AS_THE_MODEL };
    assert_eq!(flat.check(&pooled).unwrap_err().kind(), ErrorKind::InvalidRequest);
    let raw = VectorOptions { pooling: Some(Pooling::None), ..AS_THE_MODEL };
    assert_eq!(head(Pooling::Cls, &[5, 2]).check(&raw).unwrap_err().kind(), ErrorKind::InvalidRequest);
}

#[test]
fn only_options_that_change_vectors_derive_a_key() {
    let head = head(Pooling::Cls, &[5, 2]);
    let base = SpaceKey::new("m", &blake3::hash(b""));
    let key = |dimensions, normalize, pooling| {
        let options = VectorOptions { dimensions, normalize, pooling };
        head.space_key(&base, &options).unwrap().as_str().to_owned()
    };
    assert_eq!(key(None, None, None), base.as_str());
    assert_eq!(key(Some(2), Some(false), Some(Pooling::Cls)), base.as_str());
    assert_eq!(key(Some(1), Some(true), Some(Pooling::Mean)), format!("{base};dim=1;norm=1;pool=mean"));
}

#[test]
fn a_pooling_that_does_not_fit_the_output_is_told() {
    let spec = |pooling| EmbeddingSpec { output: "out".to_owned(), pooling, normalize: true, metric: Metric::Cosine };
    let source = |shape| Source { at: 0, shape, width: 8, height: 8 };
    assert!(EmbeddingHead::new(&spec(Pooling::Mean), source(&[4])).unwrap_err().contains("mean"));
    assert!(EmbeddingHead::new(&spec(Pooling::None), source(&[5, 4])).unwrap_err().contains("cls, mean or gem"));
}

#[test]
fn patches_are_the_positions_of_a_feature_map_or_the_tokens_of_a_grid() {
    let map = head(Pooling::None, &[2, 1, 3]);
    let patches = map.patches(&row(&[2, 1, 3], &[1.0, 2.0, 3.0, 10.0, 20.0, 30.0])).unwrap();
    assert_eq!((patches.columns, patches.rows, map.patch_dimension()), (3, 1, Some(2)));
    assert_eq!(patches.features, [1.0, 10.0, 2.0, 20.0, 3.0, 30.0]);
    let tokens = head(Pooling::Mean, &[5, 2]);
    for (shape, data) in [([5, 2], &TOKENS[..]), ([4, 2], &TOKENS[2..])] {
        let patches = tokens.patches(&row(&shape, data)).unwrap();
        assert_eq!((patches.columns, patches.rows, &patches.features[..]), (2, 2, &TOKENS[2..]));
    }
    // Three tokens are no grid over a square image, and a vector has no patches.
    assert!(tokens.patches(&row(&[3, 2], &TOKENS[..6])).is_err());
    assert!(head(Pooling::None, &[3]).patches(&row(&[3], &[0.0; 3])).is_err());
}
