use std::time::{Duration, Instant};

use super::*;
use crate::image::fixtures::{MAX_PIXELS, expected, furthest, rgb, sample, samples};

fn kind(bytes: &[u8]) -> Option<ErrorKind> {
    decode(bytes, MAX_PIXELS).err().map(|error| error.kind())
}

#[test]
fn every_format_and_mode_equals_what_pillow_decodes() {
    let samples = samples();
    assert!(samples.len() > 50);
    let mut wrong = Vec::new();
    for (name, entry) in samples {
        let bytes = sample(&name);
        let header = probe(&bytes, MAX_PIXELS).unwrap();
        assert_eq!((header.width, header.height), (entry.width, entry.height), "{name}");
        let decoded = match decode(&bytes, MAX_PIXELS) {
            Ok(decoded) => decoded,
            Err(error) => {
                wrong.push(format!("{name}: {}", error.chain()));
                continue;
            }
        };
        let (found, expected) = (rgb(&decoded), expected(&entry.expected));
        if decoded.orientation.to_exif() != entry.orientation || (found.width, found.height) != expected.dimensions() {
            wrong.push(format!("{name}: orientation {:?}", decoded.orientation));
            continue;
        }
        let difference = furthest(&found.data, &expected);
        if difference > entry.tolerance {
            wrong.push(format!("{name}: differs by {difference}, {} allowed", entry.tolerance));
        }
        assert!(decoded.bytes() as u64 <= decoded_bytes(&header), "{name}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_file_cut_off_anywhere_is_an_invalid_image() {
    for (name, entry) in samples() {
        let whole = sample(&name);
        // What follows the end of these images is not a part of them.
        let end = match name.as_str() {
            "trailing.jpg" | "two-images.jpg" => continue,
            name if name.ends_with(".gif") => gif_pixels_end(&whole),
            _ => whole.len(),
        };
        let step = (end / 60).max(1);
        for cut in (0..end).step_by(step).chain(end - 12..end) {
            let found = kind(&whole[..cut]);
            assert_eq!(found, Some(ErrorKind::InvalidImage), "{name} cut at {cut} of {} ({entry:?})", whole.len());
        }
    }
}

/// Behind the last block of the first frame, as far as a cut can hurt: its terminator and what follows cannot.
fn gif_pixels_end(bytes: &[u8]) -> usize {
    let colours = |packed: u8| if packed & 0x80 == 0 { 0 } else { 3 << ((packed & 7) + 1) };
    let mut at = 13 + colours(bytes[10]);
    loop {
        let image = bytes[at] == 0x2c;
        at += if image { 11 + colours(bytes[at + 9]) } else { 2 };
        let mut last = 0;
        while bytes[at] != 0 {
            last = usize::from(bytes[at]);
            at += 1 + last;
        }
        if image {
            return at - last.min(4);
        }
        at += 1;
    }
}

#[test]
fn a_jpeg_cut_off_anywhere_is_an_invalid_image() {
    for name in ["420.jpg", "progressive.jpg", "restarts.jpg", "thumbnail.jpg", "grey.jpg", "orientation-6.jpg"] {
        let whole = sample(name);
        for cut in 0..whole.len() {
            assert_eq!(kind(&whole[..cut]), Some(ErrorKind::InvalidImage), "{name} cut at {cut}");
        }
    }
}

#[test]
fn a_jpeg_that_claims_more_than_its_data_can_hold_is_refused_before_its_pixels_exist() {
    let mut bytes = sample("420.jpg");
    let frame = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    bytes[frame + 5..frame + 9].copy_from_slice(&[0x1b, 0x58, 0x1b, 0x58]);
    let start = Instant::now();
    assert_eq!(kind(&bytes), Some(ErrorKind::InvalidImage));
    assert!(start.elapsed() < Duration::from_millis(200));
}

#[test]
fn an_image_over_the_limit_is_told_from_its_header_with_the_limit_and_its_key() {
    let mut png = sample("rgb.png");
    png[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
    let mut jpeg = sample("420.jpg");
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xea, 0x60, 0xea, 0x60]);
    let mut gif = sample("palette.gif");
    gif[6..10].copy_from_slice(&[0x60, 0xea, 0x60, 0xea]);
    let mut bmp = sample("rgb.bmp");
    bmp[18..26].copy_from_slice(&[0x60, 0xea, 0, 0, 0x60, 0xea, 0, 0]);
    for bytes in [png, jpeg, gif, bmp] {
        let start = Instant::now();
        let error = decode(&bytes, MAX_PIXELS).err().unwrap();
        assert!(start.elapsed() < Duration::from_millis(200));
        assert_eq!(error.kind(), ErrorKind::ImageTooLarge);
        for part in ["60000 × 60000", "3600000000", "limits.image_pixels", "50000000"] {
            assert!(error.message().contains(part), "{part} in {error}");
        }
    }
}

#[test]
fn an_image_just_at_the_limit_is_read_and_one_pixel_more_is_not() {
    let bytes = sample("rgb.png");
    assert!(decode(&bytes, 61 * 43).is_ok());
    assert_eq!(decode(&bytes, 61 * 43 - 1).err().map(|error| error.kind()), Some(ErrorKind::ImageTooLarge));
}

#[test]
fn a_side_too_long_is_refused_even_of_few_pixels() {
    let mut png = sample("rgb.png");
    png[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 1]);
    assert_eq!(kind(&png), Some(ErrorKind::ImageTooLarge));
}

#[test]
fn an_image_without_area_is_an_invalid_image() {
    let mut png = sample("rgb.png");
    png[16..20].copy_from_slice(&[0; 4]);
    let mut bmp = sample("rgb.bmp");
    bmp[18..22].copy_from_slice(&[0; 4]);
    for bytes in [png, bmp] {
        assert_eq!(kind(&bytes), Some(ErrorKind::InvalidImage));
    }
}

#[test]
fn damaged_bytes_give_pixels_or_an_error_but_never_a_panic() {
    // A small generator of our own keeps the run the same every time.
    let mut state = 0x1234_5678_9abc_def0_u64;
    let mut next = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 11).unwrap_or(0) % below
    };
    for name in samples().into_keys() {
        let whole = sample(&name);
        for _ in 0..60 {
            let mut bytes = whole.clone();
            for _ in 0..=next(3) {
                let at = next(bytes.len());
                bytes[at] = u8::try_from(next(256)).unwrap();
            }
            if let Ok(decoded) = decode(&bytes, 4_000_000) {
                assert!(decoded.bytes() <= 4 * 4_000_000 * 2, "{name}");
                let _ = rgb(&decoded);
            }
        }
    }
}

#[test]
fn sixteen_bit_samples_keep_their_upper_byte() {
    let mut data: Vec<u8> = [0x12ff_u16, 0x0080, 0xffff].iter().flat_map(|sample| sample.to_ne_bytes()).collect();
    keep_upper_bytes(&mut data);
    assert_eq!(data, [0x12, 0x00, 0xff]);
}
