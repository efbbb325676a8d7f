use super::*;
use crate::image::{
    decode::{decode, probe},
    fixtures::{MAX_PIXELS, expected, furthest, read, rgb, sample},
};

const COLOURS: [u8; 12] = [10, 20, 30, 200, 0, 0, 0, 200, 0, 0, 0, 200];

/// A file with a screen, and a frame of colours 1 and 2 at a place, in rows of 2 pixels.
fn file(screen: (u16, u16), frame: (u16, u16, u16, u16), transparent: Option<u8>) -> Vec<u8> {
    let mut bytes = b"GIF89a".to_vec();
    bytes.extend([screen.0.to_le_bytes(), screen.1.to_le_bytes()].concat());
    bytes.extend([0x81, 0, 0]);
    bytes.extend(COLOURS);
    if let Some(colour) = transparent {
        bytes.extend([b'!', 0xf9, 4, 1, 0, 0, colour, 0]);
    }
    bytes.push(b',');
    bytes.extend([frame.0, frame.1, frame.2, frame.3].map(u16::to_le_bytes).concat());
    bytes.push(0);
    let numbers: Vec<u8> = (0..frame.2 * frame.3).map(|at| 1 + (at % 2) as u8).collect();
    let codes = weezl::encode::Encoder::new(BitOrder::Lsb, 2).encode(&numbers).unwrap();
    bytes.push(2);
    for block in codes.chunks(255) {
        bytes.push(u8::try_from(block.len()).unwrap());
        bytes.extend(block);
    }
    bytes.extend([0, b';']);
    bytes
}

fn pixel(decoded: &Decoded, x: u32, y: u32) -> &[u8] {
    let at = (y * decoded.width + x) as usize * usize::from(decoded.channels);
    &decoded.data[at..at + usize::from(decoded.channels)]
}

#[test]
fn a_screen_of_no_size_is_as_large_as_its_frame() {
    let bytes = file((0, 0), (0, 0, 4, 3), None);
    let decoded = decode(&bytes, MAX_PIXELS).unwrap();
    assert_eq!((decoded.width(), decoded.height(), decoded.channels), (4, 3, 3));
    assert_eq!((pixel(&decoded, 0, 0), pixel(&decoded, 1, 2)), (&[200, 0, 0][..], &[0, 200, 0][..]));
    let reported = decode(&read("cases/gif_screen0.gif"), MAX_PIXELS).unwrap();
    let expected = expected("cases/gif_screen0.gif.png");
    assert_eq!((reported.width(), reported.height()), expected.dimensions());
    assert_eq!(furthest(&rgb(&reported).data, &expected), 0);
}

#[test]
fn an_image_grows_to_its_first_frame() {
    let decoded = decode(&file((2, 6), (0, 0, 4, 3), None), MAX_PIXELS).unwrap();
    assert_eq!((decoded.width(), decoded.height()), (4, 6));
    assert_eq!(pixel(&decoded, 3, 2), [0, 200, 0]);
    assert_eq!(pixel(&decoded, 0, 5), [10, 20, 30], "the first colour of the palette around it");
}

#[test]
fn around_a_frame_that_is_set_off_is_its_transparent_colour() {
    let decoded = decode(&file((6, 6), (2, 1, 2, 2), Some(3)), MAX_PIXELS).unwrap();
    assert_eq!((decoded.width(), decoded.height(), decoded.channels), (6, 6, 4));
    assert_eq!(pixel(&decoded, 0, 0), [0, 0, 200, 0]);
    assert_eq!((pixel(&decoded, 2, 1), pixel(&decoded, 3, 2)), (&[200, 0, 0, 255][..], &[0, 200, 0, 255][..]));
    let decoded = decode(&file((6, 6), (2, 1, 2, 2), Some(1)), MAX_PIXELS).unwrap();
    assert_eq!((pixel(&decoded, 2, 1), pixel(&decoded, 3, 1)), (&[200, 0, 0, 0][..], &[0, 200, 0, 255][..]));
}

#[test]
fn a_file_without_a_frame_or_with_an_empty_one_is_refused() {
    for frame in [(0, 0, 0, 3), (0, 0, 3, 0)] {
        assert!(decode(&file((4, 4), frame, None), MAX_PIXELS).is_err());
    }
    let whole = file((4, 4), (0, 0, 4, 4), None);
    let empty = [&whole[..25], b";"].concat();
    assert!(probe(&empty, MAX_PIXELS).is_err());
}

#[test]
fn a_frame_far_off_counts_towards_the_limit_of_pixels() {
    let error = probe(&file((1, 1), (60_000, 60_000, 2, 2), None), MAX_PIXELS).unwrap_err();
    assert!(error.message().contains("60002 × 60002"), "{error}");
}

#[test]
fn a_file_without_a_palette_is_grey() {
    let mut bytes = file((4, 3), (0, 0, 4, 3), None);
    bytes[10] = 0;
    bytes.drain(13..25);
    assert_eq!(decode(&bytes, MAX_PIXELS).unwrap().data[..6], [1, 1, 1, 2, 2, 2]);
}

#[test]
fn a_frame_that_ends_early_is_refused() {
    let whole = sample("palette.gif");
    let layout = Layout::read(&whole).unwrap();
    assert!(layout.decode().is_some());
    for cut in [1, layout.data.len() / 2] {
        assert!(Layout { data: &layout.data[..cut], ..Layout::read(&whole).unwrap() }.decode().is_none(), "{cut}");
    }
}
