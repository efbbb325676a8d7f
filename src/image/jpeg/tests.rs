use std::time::{Duration, Instant};

use super::*;
use crate::image::{
    decode::{decode, decoded_bytes, probe},
    fixtures::{MAX_PIXELS, sample},
};

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

/// A whole small picture behind a marker that some decoders give a length, and where that would end, a huge one.
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
fn a_small_picture_that_hides_a_huge_one_from_the_decoder_is_refused_before_its_pixels_exist() {
    let small = super::frame(&sample("420.jpg")).unwrap();
    for marker in [0x01, SOI, 0xd0, 0xd7] {
        let bytes = two_faced(marker);
        let start = Instant::now();
        assert_eq!(kind(probe(&bytes, MAX_PIXELS)), Some(ErrorKind::InvalidImage), "{marker:02x}");
        assert_eq!(kind(decode(&bytes, MAX_PIXELS)), Some(ErrorKind::InvalidImage), "{marker:02x}");
        // Even if it had been admitted: the decoder comes upon the other one.
        let error = decode_frame(&bytes, &small).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidImage);
        assert!(error.chain().contains("65000 greater than width limit"), "{marker:02x}: {}", error.chain());
        assert!(start.elapsed() < Duration::from_millis(200));
    }
}

#[test]
fn a_frame_other_than_the_admitted_one_is_refused_even_if_it_is_smaller() {
    let bytes = sample("420.jpg");
    let frame = super::frame(&bytes).unwrap();
    assert!(decode_frame(&bytes, &frame).is_ok());
    for other in [
        Frame { width: frame.width + 1, ..frame },
        Frame { height: frame.height + 1, ..frame },
        Frame { components: 1, ..frame },
        Frame { progressive: true, ..frame },
    ] {
        assert_eq!(kind(decode_frame(&bytes, &other)), Some(ErrorKind::InvalidImage), "{other:?}");
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
