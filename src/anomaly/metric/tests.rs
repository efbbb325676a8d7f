use super::*;
use crate::image::fixtures;

fn pair() -> (Plane, Plane) {
    let of = |seed| fixtures::plane(20, 15, 3, &fixtures::pattern(20, 15, 3, seed));
    (of(1), of(2))
}

#[test]
fn every_metric_is_zero_for_equal_images_and_grows_with_the_difference() {
    let (original, other) = pair();
    let mut half = original.clone();
    for (value, other) in half.data.iter_mut().zip(&other.data) {
        *value = (*value + other) / 2.0;
    }
    for metric in ErrorMetric::ALL {
        let [none, some, more] = [&original, &half, &other].map(|other| metric.score(&original, other));
        assert!(none.abs() < 1e-9 && none < some && some < more, "{metric}: {none} {some} {more}");
        assert!(metric.map(&original, &original).data.iter().all(|value| value.abs() < 1e-5), "{metric}");
    }
}

#[test]
fn the_mean_of_a_map_is_the_score() {
    let (original, other) = pair();
    for metric in [ErrorMetric::Mse, ErrorMetric::L1, ErrorMetric::Gms] {
        let map = metric.map(&original, &other);
        assert_eq!((map.width, map.height, map.data.len()), (20, 15, 300));
        let mean = map.data.iter().map(|value| f64::from(*value)).sum::<f64>() / 300.0;
        assert!((mean - metric.score(&original, &other)).abs() < 1e-6, "{metric}");
    }
}

#[test]
fn a_map_shows_where_the_images_differ() {
    let original = Plane { width: 20, height: 15, channels: 3, data: vec![0.25; 900] };
    let mut spoiled = original.clone();
    for channel in spoiled.data.chunks_exact_mut(300) {
        channel[7 * 20 + 11] = 1.0;
    }
    for metric in ErrorMetric::ALL {
        let map = metric.map(&original, &spoiled);
        // A lone pixel has no gradient itself; those around it have.
        let around = [6 * 20 + 11, 7 * 20 + 11].map(|at| map.data[at]);
        assert!(around[0].max(around[1]) > 0.05, "{metric}");
        assert!(map.data[0].abs() < 1e-5 && map.data[299].abs() < 1e-5, "{metric}");
    }
}

#[test]
fn hidden_patches_are_compared_where_they_were_predicted() {
    let grid = crate::image::Grid { columns: 4, rows: 3, side: 5 };
    let (original, other) = pair();
    let masks = Mask::complementary(grid, 9);
    let predictions: Vec<(Mask, Plane)> = masks.into_iter().map(|mask| (mask, other.clone())).collect();
    for metric in [ErrorMetric::Mse, ErrorMetric::L1] {
        // the same prediction under every mask: the error of the whole image, pixel by pixel
        let (hidden, whole) = (metric.map_hidden(&original, &predictions), metric.map(&original, &other));
        assert!(hidden.data.iter().zip(&whole.data).all(|(a, b)| (a - b).abs() < 1e-6), "{metric}");
        assert!((hidden.mean() - metric.score(&original, &other)).abs() < 1e-6, "{metric}");
    }
    let few = [(Mask::of_patches(grid, &[5]).unwrap(), other.clone())];
    for metric in ErrorMetric::ALL {
        let map = metric.map_hidden(&original, &few);
        assert!(map.data[7 * 20 + 7].abs() > 0.0 && map.data[0] == 0.0, "{metric}");
        let perfect = [(few[0].0.clone(), original.clone())];
        assert!(metric.map_hidden(&original, &perfect).mean().abs() < 1e-6, "{metric}");
    }
}
