use std::time::{Duration, Instant};

use super::*;
use crate::image::{
    decode::{decode, decode_shrunk, decoded_bytes, probe},
    fixtures::{MAX_PIXELS, sample},
};

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

/// A whole small image behind a marker that some decoders give a length, and where that would end, a huge one.
fn two_faced(marker: u8) -> Vec<u8> {
    let small = sample("420.jpg");
    let mut huge = small.clone();
    let sof = huge.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    huge[sof + 5..sof + 7].copy_from_slice(&65_000_u16.to_be_bytes());
    huge[sof + 7..sof + 9].copy_from_slice(&65_000_u16.to_be_bytes());
    let mut bytes = vec![0xff, SOI, 0xff, marker];
    bytes.extend(&small[2..]);
    bytes.resize(4 + usize::from(u16::from_be_bytes([small[2], small[3]])), 0);
    bytes.extend(&huge[2..]);
    bytes
}

#[test]
fn a_small_image_that_hides_a_huge_one_is_refused_or_is_the_small_one_to_header_and_decoder_alike() {
    let small = super::frame(&sample("420.jpg")).unwrap();
    for marker in [0x01, SOI] {
        let bytes = two_faced(marker);
        let start = Instant::now();
        assert_eq!(kind(probe(&bytes, MAX_PIXELS)), Some(ErrorKind::InvalidImage), "{marker:02x}");
        assert_eq!(kind(decode(&bytes, MAX_PIXELS)), Some(ErrorKind::InvalidImage), "{marker:02x}");
        assert!(start.elapsed() < Duration::from_millis(200));
    }
    let error = pixels::decode(&two_faced(SOI), &small, Shrink::NONE).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidImage);
    for marker in [0xd0, 0xd7] {
        let decoded = decode(&two_faced(marker), MAX_PIXELS).unwrap();
        assert_eq!((decoded.width(), decoded.height()), (small.width, small.height), "{marker:02x}");
        assert_eq!(decoded.data, decode(&sample("420.jpg"), MAX_PIXELS).unwrap().data, "{marker:02x}");
    }
}

#[test]
fn a_frame_other_than_the_admitted_one_is_refused_even_if_it_is_smaller() {
    let bytes = sample("420.jpg");
    let frame = super::frame(&bytes).unwrap();
    assert!(pixels::decode(&bytes, &frame, Shrink::NONE).is_ok());
    for other in [
        Frame { width: frame.width + 1, ..frame },
        Frame { height: frame.height + 1, ..frame },
        Frame { components: 1, ..frame },
        Frame { progressive: true, ..frame },
    ] {
        assert_eq!(kind(pixels::decode(&bytes, &other, Shrink::NONE)), Some(ErrorKind::InvalidImage), "{other:?}");
    }
}

#[test]
fn two_frames_are_refused() {
    let bytes = sample("420.jpg");
    let sof = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    let twice = [&bytes[..sof], &bytes[sof..sof + 19], &bytes[sof..]].concat();
    assert_eq!(kind(probe(&twice, MAX_PIXELS)), Some(ErrorKind::InvalidImage));
}

#[test]
fn a_header_of_endless_fill_or_segments_is_given_up_early() {
    for unit in [&[0xff, 0x00][..], &[0xff], &[0x00], &[0xff, 0xfe, 0x00, 0x02]] {
        let bytes = [&[0xff, SOI, 0xff][..], &unit.repeat((32 << 20) / unit.len())].concat();
        let start = Instant::now();
        assert_eq!(kind(probe(&bytes, MAX_PIXELS)), Some(ErrorKind::InvalidImage));
        assert!(start.elapsed() < Duration::from_millis(100), "{unit:02x?}");
    }
}

#[test]
fn a_few_fill_bytes_between_segments_are_no_harm() {
    let bytes = sample("420.jpg");
    let sof = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    let filled = [&bytes[..sof], &[0xff; 100], &bytes[sof..]].concat();
    assert_eq!(decode(&filled, MAX_PIXELS).unwrap().data, decode(&bytes, MAX_PIXELS).unwrap().data);
}

#[test]
fn a_first_scan_of_some_components_weighs_what_keeping_all_coefficients_takes() {
    let bytes = sample("420.jpg");
    let sos = bytes.windows(2).position(|pair| pair == [0xff, SOS]).unwrap();
    let mut partial = bytes.clone();
    partial[sos + 4] = 1;
    let weigh = |bytes: &[u8]| decoded_bytes(&probe(bytes, MAX_PIXELS).unwrap());
    assert_eq!(weigh(&partial), 3 * weigh(&bytes));
}

/// A JPEG with structure at every scale, as the encoder of `image` writes it.
fn drawn(width: u32, height: u32, colour: ::image::ExtendedColorType) -> Vec<u8> {
    let channels = u32::from(colour.channel_count());
    let mut data = Vec::new();
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        for channel in 0..channels {
            let wave = |period: f32, along: u32| (along as f32 * std::f32::consts::TAU / period).sin();
            let edge = 40.0 * (4.0 * wave(157.0, x + channel * 20) * wave(98.0, y)).tanh();
            data.push((128.0 + 40.0 * wave(90.0, x + channel * 9) + 25.0 * wave(31.0, y) + edge) as u8);
        }
    }
    let mut file = Vec::new();
    ::image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, 90).encode(&data, width, height, colour).unwrap();
    file
}

/// The largest and the mean difference. Of the drawn images at 64 × 64, half a pixel too far makes a mean above 5.
fn differences(a: &[u8], b: &[u8]) -> (u8, f64) {
    assert_eq!(a.len(), b.len());
    let sum: u64 = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    (crate::image::fixtures::furthest(a, b), sum as f64 / a.len() as f64)
}

#[test]
fn a_shrunk_image_gives_a_model_nearly_the_pixels_of_the_whole_one_whichever_way_up_it_is() {
    for colour in [::image::ExtendedColorType::Rgb8, ::image::ExtendedColorType::L8] {
        for (width, height, factor) in [(403, 301, 2), (667, 513, 4), (1027, 1101, 8)] {
            let file = drawn(width, height, colour);
            for (filter, ways_up) in [("bilinear", 1), ("bicubic", 8), ("lanczos", 1)] {
                let spec = serde_json::json!({ "resize": "exact", "filter": filter });
                let preprocessor = crate::image::Preprocessor::new(
                    crate::image::fixtures::input(64, 64, crate::image::Channels::Rgb),
                    serde_json::from_value(spec).unwrap(),
                )
                .unwrap();
                let shrink = preprocessor.shrink(&probe(&file, MAX_PIXELS).unwrap());
                assert_eq!(shrink.factor(), factor);
                let (mut whole, mut shrunk) =
                    (decode(&file, MAX_PIXELS).unwrap(), decode_shrunk(&file, MAX_PIXELS, shrink).unwrap());
                assert_eq!((shrunk.width(), shrunk.height(), shrunk.shrink()), (width, height, shrink));
                assert!(shrunk.bytes() * 2 < whole.bytes());
                for exif in 1..=ways_up {
                    let orientation = ::image::metadata::Orientation::from_exif(exif).unwrap();
                    (whole.orientation, shrunk.orientation) = (orientation, orientation);
                    let [whole, shrunk] = [&whole, &shrunk].map(|decoded| preprocessor.pixels(decoded).unwrap().data);
                    let (furthest, mean) = differences(&whole, &shrunk);
                    assert!(furthest <= 12 && mean <= 2.0, "{width} × {height}, {filter}, {exif}: {furthest}, {mean}");
                }
            }
        }
    }
}

#[test]
fn a_thumbnail_of_a_shrunk_image_has_the_size_of_that_of_the_whole_one() {
    let file = drawn(1027, 601, ::image::ExtendedColorType::Rgb8);
    let shrink = crate::image::encode::thumbnail_shrink(&probe(&file, MAX_PIXELS).unwrap(), 128);
    assert_eq!(shrink.factor(), 4);
    let [whole, shrunk] = [Shrink::NONE, shrink].map(|shrink| {
        let decoded = decode_shrunk(&file, MAX_PIXELS, shrink).unwrap();
        decode(&crate::image::encode::thumbnail(&decoded, 128).unwrap(), MAX_PIXELS).unwrap()
    });
    assert_eq!((whole.width(), whole.height()), (shrunk.width(), shrunk.height()));
    let (_, mean) = differences(&whole.data, &shrunk.data);
    assert!(mean <= 2.5, "{mean}");
}

#[test]
fn a_file_that_breaks_off_or_lies_is_refused_at_every_size() {
    let file = drawn(640, 480, ::image::ExtendedColorType::Rgb8);
    for shrink in [2, 4, 8].map(|factor| {
        let size = |side| crate::image::resize::Size { width: side, height: side };
        Shrink::between(size(2 * factor), size(1))
    }) {
        assert!(decode_shrunk(&file, MAX_PIXELS, shrink).is_ok());
        for cut in [file.len() / 3, file.len() / 2, file.len() - 2] {
            let found = kind(decode_shrunk(&file[..cut], MAX_PIXELS, shrink));
            assert_eq!(found, Some(ErrorKind::InvalidImage), "cut at {cut}");
        }
        let frame = super::frame(&file).unwrap();
        let other = Frame { width: frame.width + 1, ..frame };
        assert_eq!(kind(pixels::decode(&file, &other, shrink)), Some(ErrorKind::InvalidImage));
    }
}

#[test]
fn cmyk_is_decoded_whole() {
    let name = crate::image::fixtures::samples().into_keys().find(|name| name.contains("cmyk")).unwrap();
    let file = sample(&name);
    let eighth = Shrink::between(
        crate::image::resize::Size { width: 16, height: 16 },
        crate::image::resize::Size { width: 1, height: 1 },
    );
    let decoded = decode_shrunk(&file, MAX_PIXELS, eighth).unwrap();
    assert_eq!(decoded.shrink(), Shrink::NONE);
    assert_eq!(decoded.data, decode(&file, MAX_PIXELS).unwrap().data);
}

/// A file of `tests/data/images/cases`.
fn case(name: &str) -> Vec<u8> {
    crate::image::fixtures::read(&format!("cases/{name}"))
}

#[test]
fn several_scans_odd_sampling_adobe_in_jfif_and_stray_bytes_are_as_pillow_has_them() {
    for name in [
        "noninterleaved_48x36.jpg",
        "noninterleaved_200x150.jpg",
        "normal_48x36.jpg",
        "normal_200x150.jpg",
        "s_3x1.jpg",
        "x_1x1_2x1_2x1.jpg",
        "adobe_t0_jfif.jpg",
        "extraneous2.jpg",
        "exif_6_long.jpg",
        "xmp_orient6.jpg",
    ] {
        let found = crate::image::fixtures::rgb(&decode(&case(name), MAX_PIXELS).unwrap());
        let expected = crate::image::fixtures::expected(&format!("cases/{name}.png"));
        assert_eq!((found.width, found.height), expected.dimensions(), "{name}");
        assert_eq!(crate::image::fixtures::furthest(&found.data, &expected), 0, "{name}");
    }
}

fn every_shrink() -> [Shrink; 4] {
    let size = |side| crate::image::resize::Size { width: side, height: side };
    [1, 2, 4, 8].map(|factor| Shrink::between(size(2 * factor), size(1)))
}

#[test]
fn half_a_file_and_a_missing_restart_marker_are_refused_at_every_size() {
    for name in ["cut_half_48x36.jpg", "cut_half_200x150.jpg", "rst_missing.jpg"] {
        for shrink in every_shrink() {
            let error = decode_shrunk(&case(name), MAX_PIXELS, shrink).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::InvalidImage, "{name}, {shrink:?}");
            assert!(error.message().contains("JPEG is truncated"), "{name}: {error}");
        }
    }
}

#[test]
fn half_of_any_file_with_an_end_marker_is_refused_at_every_size() {
    for name in ["420.jpg", "444.jpg", "grey.jpg", "progressive.jpg", "progressive-grey.jpg", "restarts.jpg"] {
        let file = sample(name);
        let scan = file.windows(2).position(|pair| pair == [0xff, SOS]).unwrap();
        for part in [2, 5, 8] {
            let mut half = file[..scan + 14 + (file.len() - scan - 14) * part / 10].to_vec();
            half.truncate(half.len() - usize::from(half.ends_with(&[0xff])));
            half.extend([0xff, EOI]);
            for shrink in every_shrink() {
                assert_eq!(
                    kind(decode_shrunk(&half, MAX_PIXELS, shrink)),
                    Some(ErrorKind::InvalidImage),
                    "{name} {part}"
                );
            }
        }
    }
}

#[test]
fn a_file_without_one_of_its_scans_is_refused() {
    let file = case("noninterleaved_48x36.jpg");
    let scans: Vec<usize> =
        file.windows(2).enumerate().filter(|(_, pair)| *pair == [0xff, SOS]).map(|(at, _)| at).collect();
    assert_eq!(scans.len(), 3);
    // The tables of the next scan stand before it.
    let cut = [&file[..scans[2]], &[0xff, EOI]].concat();
    assert_eq!(kind(decode(&cut, MAX_PIXELS)), Some(ErrorKind::InvalidImage));

    let file = sample("progressive.jpg");
    let last = file.windows(2).rposition(|pair| pair == [0xff, SOS]).unwrap();
    let cut = [&file[..last], &[0xff, EOI]].concat();
    let error = decode(&cut, MAX_PIXELS).err().unwrap();
    assert!(error.message().contains("last scans are missing"), "{error}");
}

#[test]
fn a_file_of_more_scans_than_any_encoder_writes_is_refused() {
    let file = case("noninterleaved_48x36.jpg");
    let last = file.windows(2).rposition(|pair| pair == [0xff, SOS]).unwrap();
    let end = file.len() - 2;
    let often = [&file[..end], &file[last..end].repeat(MAX_SCANS), &file[end..]].concat();
    let error = decode(&often, MAX_PIXELS).err().unwrap();
    assert!(error.message().contains("500 scans"), "{error}");
}

#[test]
fn stray_bytes_are_skipped_wherever_they_stand_between_segments() {
    let file = sample("progressive.jpg");
    let whole = decode(&file, MAX_PIXELS).unwrap().data;
    let starts: Vec<usize> = file
        .windows(2)
        .enumerate()
        .filter(|(_, pair)| pair[0] == 0xff && matches!(pair[1], 0xdb | 0xc2 | 0xc4 | SOS))
        .map(|(at, _)| at)
        .collect();
    for stray in [&[0x00][..], &[0x12, 0x34, 0x56], &[0xff, 0x00, 0x07], &[0xff; 9]] {
        for at in &starts {
            let strayed = [&file[..*at], stray, &file[*at..]].concat();
            assert_eq!(decode(&strayed, MAX_PIXELS).unwrap().data, whole, "{stray:02x?} at {at}");
        }
    }
}

#[test]
fn cmyk_is_converted_as_pillow_does() {
    let decoded = decode(&sample("cmyk.jpg"), MAX_PIXELS).unwrap();
    assert_eq!(decoded.channels, 3);
    assert!(decoded.bytes() as u64 <= decoded_bytes(&probe(&sample("cmyk.jpg"), MAX_PIXELS).unwrap()));
}
