use super::*;
use crate::image::{
    decode::{decode, probe},
    fixtures::{MAX_PIXELS, expected, furthest, read, rgb},
};

/// A little-endian file of 2 × 2 pixels in one strip. Values of 16 bits; those that do not fit an entry follow.
fn file(tags: &[(u16, &[u16])], strip: &[u8]) -> Vec<u8> {
    let length = u16::try_from(strip.len()).unwrap();
    let common: [(u16, &[u16]); 5] = [
        (tag::WIDTH, &[2]),
        (tag::HEIGHT, &[2]),
        (tag::STRIP_OFFSETS, &[8]),
        (tag::STRIP_LENGTHS, &[length]),
        (278, &[2]),
    ];
    let mut all: Vec<_> = common.into_iter().chain(tags.iter().copied()).collect();
    all.sort_by_key(|(tag, _)| *tag);
    let directory = 8 + strip.len();
    let mut bytes = [&b"II*\0"[..], &u32::try_from(directory).unwrap().to_le_bytes(), strip].concat();
    bytes.extend(u16::try_from(all.len()).unwrap().to_le_bytes());
    let mut behind = Vec::new();
    let after = directory + 2 + all.len() * 12 + 4;
    for (tag, values) in all {
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        bytes.extend([tag, 3].map(u16::to_le_bytes).concat());
        bytes.extend(u32::try_from(values.len()).unwrap().to_le_bytes());
        if data.len() <= 4 {
            bytes.extend(data.iter().copied().chain([0; 4]).take(4));
        } else {
            bytes.extend(u32::try_from(after + behind.len()).unwrap().to_le_bytes());
            behind.extend(data);
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(behind);
    bytes
}

fn decoded(tags: &[(u16, &[u16])], strip: &[u8]) -> (u8, Vec<u8>) {
    let decoded = decode(&file(tags, strip), MAX_PIXELS).unwrap();
    (decoded.channels, decoded.data)
}

#[test]
fn the_kinds_that_were_refused_or_wrong_are_as_pillow_has_them() {
    for name in ["m_P.tif", "m_YCbCr_jpeg.tif", "assoc_premult.tif"] {
        let found = rgb(&decode(&read(&format!("cases/{name}")), MAX_PIXELS).unwrap());
        let expected = expected(&format!("cases/{name}.png"));
        assert_eq!((found.width, found.height), expected.dimensions(), "{name}");
        assert!(furthest(&found.data, &expected) <= 1, "{name}: {}", furthest(&found.data, &expected));
    }
}

#[test]
fn grey_of_few_bits_is_spread_over_all_levels() {
    let grey = |photometric: u16, bits: u16, strip: &[u8]| {
        decoded(&[(tag::PHOTOMETRIC, &[photometric]), (tag::BITS, &[bits])], strip)
    };
    assert_eq!(grey(1, 1, &[0b1000_0000, 0b0100_0000]), (1, vec![255, 0, 0, 255]));
    assert_eq!(grey(0, 1, &[0b1000_0000, 0b0100_0000]), (1, vec![0, 255, 255, 0]));
    assert_eq!(grey(1, 2, &[0b0110_0000, 0b1100_0000]), (1, vec![85, 170, 255, 0]));
    assert_eq!(grey(1, 4, &[0x1f, 0x80]), (1, vec![17, 255, 136, 0]));
    assert_eq!(grey(1, 16, &[9, 1, 9, 2, 9, 3, 9, 4]), (1, vec![1, 2, 3, 4]));
    assert_eq!(grey(0, 8, &[0, 1, 254, 255]), (1, vec![255, 254, 1, 0]));
}

#[test]
fn palettes_of_any_size_are_looked_up() {
    let colours: Vec<u16> = [[10, 20, 30, 40], [50, 60, 70, 80], [90, 100, 110, 120]].concat();
    let wide: Vec<u16> = colours.iter().map(|level| level << 8 | 0x7f).collect();
    let tags: [(u16, &[u16]); 3] = [(tag::PHOTOMETRIC, &[3]), (tag::BITS, &[2]), (tag::PALETTE, &wide)];
    assert_eq!(
        decoded(&tags, &[0b0001_0000, 0b1011_0000]),
        (3, vec![10, 50, 90, 20, 60, 100, 30, 70, 110, 40, 80, 120])
    );
    let short: [(u16, &[u16]); 3] = [(tag::PHOTOMETRIC, &[3]), (tag::BITS, &[2]), (tag::PALETTE, &wide[..11])];
    assert!(decode(&file(&short, &[0, 0]), MAX_PIXELS).is_err());
}

#[test]
fn associated_alpha_is_divided_out_and_other_extra_samples_are_left_out() {
    let grey = |extra: u16| {
        let tags: [(u16, &[u16]); 4] =
            [(tag::PHOTOMETRIC, &[1]), (tag::BITS, &[8, 8]), (tag::SAMPLES, &[2]), (tag::EXTRA_SAMPLES, &[extra])];
        decoded(&tags, &[100, 200, 9, 0, 200, 100, 30, 255])
    };
    assert_eq!(grey(2), (2, vec![100, 200, 9, 0, 200, 100, 30, 255]));
    assert_eq!(grey(1), (2, vec![127, 200, 0, 0, 255, 100, 30, 255]));
    assert_eq!(grey(0), (1, vec![100, 9, 200, 30]));
}

#[test]
fn planes_that_are_stored_apart_are_put_together() {
    let tags: [(u16, &[u16]); 4] =
        [(tag::PHOTOMETRIC, &[2]), (tag::BITS, &[8, 8, 8]), (tag::SAMPLES, &[3]), (tag::PLANAR, &[2])];
    let mut bytes = file(&tags, &[1, 2, 3, 4, 11, 12, 13, 14, 21, 22, 23, 24]);
    // Three strips of one plane each.
    let starts: Vec<u8> = [8_u16, 12, 16].iter().flat_map(|start| start.to_le_bytes()).collect();
    let lengths: Vec<u8> = [4_u16; 3].iter().flat_map(|length| length.to_le_bytes()).collect();
    for (tag, values) in [(tag::STRIP_OFFSETS, starts), (tag::STRIP_LENGTHS, lengths)] {
        let at = bytes.windows(4).position(|window| window == [tag.to_le_bytes(), [3, 0]].concat()).unwrap();
        let place = u32::try_from(bytes.len()).unwrap();
        bytes[at + 4..at + 8].copy_from_slice(&3_u32.to_le_bytes());
        bytes[at + 8..at + 12].copy_from_slice(&place.to_le_bytes());
        bytes.extend(values);
    }
    let decoded = decode(&bytes, MAX_PIXELS).unwrap();
    assert_eq!((decoded.channels, decoded.data), (3, vec![1, 11, 21, 2, 12, 22, 3, 13, 23, 4, 14, 24]));
}

/// A file of 2 × 2 pixels in one square tile of this side.
fn tiled(side: u16, tile: &[u8]) -> Vec<u8> {
    let tags: [(u16, &[u16]); 4] =
        [(tag::PHOTOMETRIC, &[1]), (tag::BITS, &[8]), (tag::TILE_WIDTH, &[side]), (tag::TILE_HEIGHT, &[side])];
    let mut bytes = file(&tags, tile);
    for (from, to) in [(tag::STRIP_OFFSETS, tag::TILE_OFFSETS), (tag::STRIP_LENGTHS, tag::TILE_LENGTHS)] {
        let at = bytes.windows(4).position(|window| window == [from.to_le_bytes(), [3, 0]].concat()).unwrap();
        bytes[at..at + 2].copy_from_slice(&to.to_le_bytes());
    }
    bytes
}

#[test]
fn of_tiles_that_reach_beyond_the_image_the_image_is_taken() {
    let tile: Vec<u8> = (0..16).collect();
    let decoded = decode(&tiled(4, &tile), MAX_PIXELS).unwrap();
    assert_eq!((decoded.width, decoded.height, decoded.data), (2, 2, vec![0, 1, 4, 5]));
    let error = decode(&tiled(60_000, &tile), MAX_PIXELS).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidImage, "a tile of gigabytes is not made room for");
}

#[test]
fn samples_that_libtiff_does_not_predict_are_taken_as_they_are() {
    let tags: [(u16, &[u16]); 3] = [(tag::PHOTOMETRIC, &[1]), (tag::BITS, &[8]), (tag::PREDICTOR, &[2])];
    assert_eq!(decoded(&tags, &[1, 2, 3, 4]), (1, vec![1, 2, 3, 4]));
}

#[test]
fn kinds_that_are_not_read_are_refused_by_name_before_anything_is_decoded() {
    let grey: (u16, &[u16]) = (tag::PHOTOMETRIC, &[1]);
    let byte: (u16, &[u16]) = (tag::BITS, &[8]);
    for (tags, words) in [
        (vec![grey, byte, (tag::COMPRESSION, &[3][..])], "CCITT group 3"),
        (vec![grey, byte, (tag::COMPRESSION, &[50_000])], "zstd"),
        (vec![grey, byte, (tag::COMPRESSION, &[34_925])], "LZMA"),
        (vec![grey, byte, (tag::COMPRESSION, &[6])], "old kind of JPEG"),
        (vec![grey, byte, (tag::COMPRESSION, &[777])], "compression number 777"),
        (vec![grey, (tag::BITS, &[32]), (tag::SAMPLE_FORMAT, &[3])], "floating-point"),
        (vec![grey, (tag::BITS, &[16]), (tag::SAMPLE_FORMAT, &[2])], "signed"),
        (vec![grey, (tag::BITS, &[12])], "12 bits"),
        (vec![grey, byte, (tag::FILL_ORDER, &[2])], "reversed"),
        (vec![byte, (tag::PHOTOMETRIC, &[8]), (tag::SAMPLES, &[3])], "L*a*b*"),
        (vec![byte, (tag::PHOTOMETRIC, &[6]), (tag::SAMPLES, &[3])], "YCbCr"),
        (vec![byte, (tag::PHOTOMETRIC, &[4])], "transparency mask"),
        (vec![byte], "no photometric interpretation"),
        (vec![grey, byte, (tag::SAMPLES, &[2])], "not all of which are named"),
    ] {
        let error = probe(&file(&tags, &[0; 4]), MAX_PIXELS).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnsupportedMediaType, "{words}");
        assert!(error.message().starts_with("a TIFF with") && error.message().contains(words), "{words}: {error}");
    }
}

#[test]
fn a_file_without_a_directory_or_a_size_is_broken() {
    for bytes in [&b"II*\0\xff\0\0\0"[..], b"II*\0\x08\0\0\0\0\0\0\0\0\0", b"MM\0*"] {
        assert_eq!(Layout::read(bytes).unwrap_err().kind(), ErrorKind::InvalidImage);
    }
}
