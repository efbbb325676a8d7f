use proptest::prelude::*;

use super::*;

const GRID: Grid = Grid { columns: 3, rows: 2, side: 2 };

fn plane(channels: usize, value: impl Fn(usize) -> f32) -> Plane {
    Plane { width: 6, height: 4, channels, data: (0..24 * channels).map(value).collect() }
}

#[test]
fn patches_are_numbered_row_by_row() {
    let patches: Vec<usize> = GRID.of_pixels().collect();
    assert_eq!(patches[..6], [0, 0, 1, 1, 2, 2]);
    assert_eq!(patches[18..], [3, 3, 4, 4, 5, 5]);
}

#[test]
fn the_hidden_count_is_that_of_mae() {
    let grid = |patches| Grid { columns: patches, rows: 1, side: 1 };
    for (patches, ratio, hidden) in [
        (64, 0.75, 48),
        (196, 0.75, 147),
        (49, 0.75, 37),
        (64, 0.0, 0),
        (64, 1.0, 64),
        (64, 0.001, 1),
        (10, 0.5, 5),
        (5, 0.5, 3),
    ] {
        assert_eq!(grid(patches).hidden_at(ratio), hidden, "{ratio} of {patches}");
    }
}

#[test]
fn listed_patches_are_hidden_and_others_are_refused() {
    let mask = Mask::of_patches(GRID, &[4, 0]).unwrap();
    assert_eq!(mask.patches(), [0, 4]);
    assert_eq!(mask.values(), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    assert!(Mask::of_patches(GRID, &[]).unwrap().patches().is_empty());
    for (patches, part) in [(&[6][..], "no patch 6: they are 0 to 5"), (&[u64::MAX], "no patch"), (&[1, 1], "twice")] {
        let error = Mask::of_patches(GRID, patches).unwrap_err();
        assert!(error.message().contains(part), "{error}");
    }
}

#[test]
fn the_dark_patches_of_an_image_are_hidden() {
    // the left half of the image is black: patch 0 wholly, half of patch 1
    let image = plane(1, |at| if at % 6 < 3 { 0.0 } else { 1.0 });
    assert_eq!(Mask::of_image(GRID, &image).patches(), [0, 3]);
    let darker = plane(1, |at| if at % 6 < 3 { 0.0 } else { 0.9 });
    assert_eq!(Mask::of_image(GRID, &darker).patches(), [0, 1, 3, 4]);
}

#[test]
fn hidden_patches_are_filled_and_the_others_stay() {
    let mask = Mask::of_patches(GRID, &[1]).unwrap();
    let filled = mask.filled(&plane(2, |_| 0.25), &plane(2, |at| at as f32));
    for (at, value) in filled.data.iter().enumerate() {
        let hidden = [2, 3, 8, 9].contains(&(at % 24));
        assert!((*value - if hidden { at as f32 } else { 0.25 }).abs() < f32::EPSILON, "{at}: {value}");
    }
    assert_eq!(mask.shaded(&plane(1, |_| 0.25)).data.iter().filter(|value| **value > 0.4).count(), 4);
}

#[test]
fn noise_orders_the_visible_before_the_hidden() {
    let noise = Mask::of_patches(GRID, &[0, 3]).unwrap().noise();
    let mut order: Vec<usize> = (0..6).collect();
    order.sort_by(|a, b| noise[*a].total_cmp(&noise[*b]));
    assert_eq!(order, [1, 2, 4, 5, 0, 3]);
    assert!(noise.iter().all(|value| (0.0..1.0).contains(value)));
}

#[test]
fn a_mean_counts_what_was_hidden_and_nothing_else() {
    let (first, second) = (Mask::of_patches(GRID, &[0, 1]).unwrap(), Mask::of_patches(GRID, &[1, 2]).unwrap());
    let (ones, threes) = (plane(2, |_| 1.0), plane(2, |_| 3.0));
    let mean = mean_where_hidden([(&first, &ones.data[..]), (&second, &threes.data[..])].into_iter());
    for channel in mean.chunks_exact(24) {
        assert_eq!(channel[..6], [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
        assert_eq!(channel[12..18], [0.0; 6]);
    }
}

proptest! {
    #[test]
    fn a_seed_repeats_and_hides_as_many_as_asked(columns in 1_usize..20, rows in 1_usize..20, count: u8, seed: u64) {
        let grid = Grid { columns, rows, side: 1 };
        let count = usize::from(count) % (grid.patches() + 1);
        let mask = Mask::random(grid, count, seed);
        prop_assert_eq!(mask.patches().len(), count);
        prop_assert_eq!(mask, Mask::random(grid, count, seed));
    }

    #[test]
    fn complementary_masks_hide_every_patch_and_each_as_many(columns in 1_usize..20, rows in 2_usize..20, count: u16) {
        let grid = Grid { columns, rows, side: 1 };
        let hidden = 1 + usize::from(count) % (grid.patches() - 1);
        let masks = Mask::complementary(grid, hidden);
        prop_assert!(masks.iter().all(|mask| mask.patches().len() == hidden));
        prop_assert!((0..grid.patches()).all(|patch| masks.iter().any(|mask| mask.hidden[patch])));
        prop_assert!(masks.len() >= 2);
        prop_assert!(2 * hidden < grid.patches() || masks.len() <= COMPLEMENTARY_MASKS);
    }
}
