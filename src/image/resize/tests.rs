use proptest::prelude::*;

use super::*;
use crate::image::fixtures;

fn size(width: u32, height: u32) -> Size {
    Size { width, height }
}

fn filter(name: &str) -> FilterKind {
    serde_json::from_value(name.into()).unwrap()
}

fn whole(data: &[u8], from: Size, to: Size, channels: Channels, filter: FilterKind) -> Vec<u8> {
    resize(data, from, (to, Region::all(to)), channels, filter).into_owned()
}

#[test]
fn every_filter_equals_pillow_to_the_bit_over_odd_sizes() {
    let cases = fixtures::npz("resize.npz");
    assert_eq!(cases.len(), 80);
    let mut differing = Vec::new();
    for (key, expected) in cases {
        let parts: Vec<_> = key.split('-').collect();
        let [from, to] = [parts[0], parts[1]].map(|text| {
            let (width, height) = text.split_once('x').unwrap();
            size(width.parse().unwrap(), height.parse().unwrap())
        });
        let (count, channels) = if parts[2] == "3" { (3, Channels::Rgb) } else { (1, Channels::Gray) };
        let source = fixtures::pattern(from.width, from.height, count, from.width);
        let found = whole(&source, from, to, channels, filter(parts[3]));
        if found != expected.bytes {
            differing.push((key, fixtures::furthest(&found, &expected.bytes)));
        }
    }
    assert!(differing.is_empty(), "samples differ by up to: {differing:?}");
}

#[test]
fn the_same_size_is_the_same_image() {
    let source = fixtures::pattern(9, 7, 3, 0);
    let found = resize(&source, size(9, 7), (size(9, 7), Region::all(size(9, 7))), Channels::Rgb, FilterKind::Lanczos);
    assert!(matches!(found, Cow::Borrowed(same) if same == source));
}

#[test]
fn a_flat_image_stays_flat_under_every_filter() {
    for value in [0, 1, 127, 254, 255] {
        let source = vec![value; 31 * 17];
        for name in ["nearest", "bilinear", "bicubic", "lanczos"] {
            let found = whole(&source, size(31, 17), size(12, 40), Channels::Gray, filter(name));
            assert!(found.iter().all(|sample| *sample == value), "{name} of {value}");
        }
    }
}

#[test]
fn fitting_keeps_the_aspect_ratio_and_at_least_one_pixel() {
    assert_eq!(fit(size(640, 480), size(32, 32)), size(32, 24));
    assert_eq!(fit(size(480, 640), size(32, 32)), size(24, 32));
    assert_eq!(fit(size(61, 43), size(32, 32)), size(32, 23));
    assert_eq!(fit(size(10_000, 1), size(32, 32)), size(32, 1));
    assert_eq!(fit(size(2, 2), size(32, 16)), size(16, 16));
    assert_eq!(fit(size(1, 65_535), size(8, 8)), size(1, 8));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_region_holds_what_cropping_the_whole_would(
        from in (1_u32..40, 1_u32..40),
        to in (1_u32..40, 1_u32..40),
        corner in (0.0..1.0_f64, 0.0..1.0_f64),
        extent in (0.0..1.0_f64, 0.0..1.0_f64),
        name in prop::sample::select(vec!["nearest", "bilinear", "bicubic", "lanczos"]),
    ) {
        let (from, to) = (size(from.0, from.1), size(to.0, to.1));
        let part = |share: f64, of: u32| (share * f64::from(of)) as u32;
        let (left, top) = (part(corner.0, to.width), part(corner.1, to.height));
        let inner = size(1 + part(extent.0, to.width - left - 1), 1 + part(extent.1, to.height - top - 1));
        let source = fixtures::pattern(from.width, from.height, 3, 5);
        let all = whole(&source, from, to, Channels::Rgb, filter(name));
        let region = Region { left, top, size: inner };
        let found = resize(&source, from, (to, region), Channels::Rgb, filter(name));
        let cropped: Vec<u8> = all
            .chunks_exact(to.width as usize * 3)
            .skip(top as usize)
            .take(inner.height as usize)
            .flat_map(|row| &row[left as usize * 3..(left + inner.width) as usize * 3])
            .copied()
            .collect();
        prop_assert_eq!(found.into_owned(), cropped);
    }

    #[test]
    fn the_passes_of_this_processor_give_what_the_plain_ones_give(
        (width, height, to) in (1_u32..70, 1_u32..12, 1_u32..90),
        name in prop::sample::select(vec!["bilinear", "bicubic", "lanczos"]),
    ) {
        let kernel = Kernel::of(filter(name)).unwrap();
        let line = |from: u32| Line { from, start: 0.0, span: f64::from(from), to, first: 0, count: to };
        let across = Taps::new(line(width), &kernel);
        let (colour, grey) = (fixtures::pattern(width, height, 3, 5), fixtures::pattern(width, height, 1, 5));
        let width = width as usize;
        prop_assert_eq!(passes::across::<3>(&colour, width, &across), passes::across_plain::<3>(&colour, width, &across));
        prop_assert_eq!(passes::across::<1>(&grey, width, &across), passes::across_plain::<1>(&grey, width, &across));
        let stride = width * 3;
        for (first, weights) in Taps::new(line(height), &kernel).iter() {
            let rows = &colour[first * stride..][..weights.len() * stride];
            let (mut found, mut expected) = (vec![0; stride], vec![1; stride]);
            passes::sum_rows(rows, weights, &mut found);
            passes::sum_rows_plain(rows, weights, &mut expected);
            prop_assert_eq!(found, expected);
        }
    }
}
