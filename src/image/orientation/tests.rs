use super::*;
use crate::image::{
    decode::decode,
    fixtures::{MAX_PIXELS, read as fixture, sample},
};

/// An EXIF block in little-endian whose only entry is the orientation.
fn exif(kind: u16, count: u32, value: [u8; 4]) -> Vec<u8> {
    let mut block = b"II*\0\x08\0\0\0\x01\0".to_vec();
    block.extend(ORIENTATION.to_le_bytes());
    block.extend(kind.to_le_bytes());
    block.extend(count.to_le_bytes());
    block.extend(value);
    block.extend([0; 4]);
    block
}

fn app1(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 2).unwrap().to_be_bytes();
    [&[0xff, 0xe1], length.as_slice(), payload].concat()
}

/// A JPEG with these segments behind its first marker.
fn jpeg_with(segments: &[Vec<u8>]) -> Vec<u8> {
    let file = sample("420.jpg");
    [&file[..2], &segments.concat(), &file[2..]].concat()
}

fn exif_segment(block: &[u8]) -> Vec<u8> {
    app1(&[b"Exif\0\0", block].concat())
}

fn xmp_segment(text: &str) -> Vec<u8> {
    app1(format!("http://ns.adobe.com/xap/1.0/\0{text}").as_bytes())
}

fn turned(segments: &[Vec<u8>]) -> u8 {
    read(Format::Jpeg, &jpeg_with(segments)).to_exif()
}

#[test]
fn an_orientation_is_a_number_of_any_type_but_not_bytes_or_text() {
    for (kind, value, expected) in [
        (3, [6, 0, 0, 0], 6),
        (4, [6, 0, 0, 0], 6),
        (6, [6, 0, 0, 0], 6),
        (8, [6, 0, 0, 0], 6),
        (9, [6, 0, 0, 0], 6),
        (11, 6_f32.to_le_bytes(), 6),
        (13, [6, 0, 0, 0], 6),
        (11, 6.5_f32.to_le_bytes(), 1),
        (4, [6, 1, 0, 0], 1),
        (1, [6, 0, 0, 0], 1),
        (2, *b"6\0\0\0", 1),
        (7, [6, 0, 0, 0], 1),
        (3, [9, 0, 0, 0], 1),
        (99, [6, 0, 0, 0], 1),
    ] {
        assert_eq!(turned(&[exif_segment(&exif(kind, 1, value))]), expected, "type {kind}, {value:?}");
    }
    assert_eq!(turned(&[exif_segment(&exif(3, 0, [6, 0, 0, 0]))]), 1, "no values");
    assert_eq!(turned(&[exif_segment(&exif(3, 2, [6, 0, 3, 0]))]), 6, "the first of two values");
}

#[test]
fn a_rational_stands_behind_the_entry() {
    let mut block = exif(5, 1, [26, 0, 0, 0]);
    block.extend([12, 0, 0, 0, 2, 0, 0, 0]);
    assert_eq!(turned(&[exif_segment(&block)]), 6);
    block.truncate(30);
    assert_eq!(turned(&[exif_segment(&block)]), 1, "cut off");
}

#[test]
fn of_two_exif_segments_the_first_is_the_beginning() {
    let [six, three] = [6, 3].map(|value| exif_segment(&exif(3, 1, [value, 0, 0, 0])));
    assert_eq!(turned(&[six.clone(), three.clone()]), 6);
    assert_eq!(turned(&[three, six]), 3);
    // A value in the second part of a block that is split over two segments.
    let mut block = exif(5, 1, [26, 0, 0, 0]);
    block.extend([8, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(turned(&[exif_segment(&block[..28]), exif_segment(&block[28..])]), 8);
}

#[test]
fn xmp_is_asked_where_exif_names_no_orientation() {
    let attribute = xmp_segment("<x:xmpmeta tiff:Orientation=\"6\"/>");
    let element = xmp_segment("<tiff:Orientation>8</tiff:Orientation>");
    let plain = exif_segment(&exif(3, 1, [1, 0, 0, 0]));
    assert_eq!(turned(std::slice::from_ref(&attribute)), 6);
    assert_eq!(turned(std::slice::from_ref(&element)), 8);
    assert_eq!(turned(&[attribute.clone(), element]), 8, "the last packet counts");
    assert_eq!(turned(&[attribute.clone(), plain]), 1, "EXIF decides");
    let bytes = exif_segment(&exif(1, 1, [3, 0, 0, 0]));
    assert_eq!(turned(&[bytes, attribute]), 1, "EXIF names one, though not a number");
    assert_eq!(turned(&[xmp_segment("tiff:Orientation='6' tiff:Orientation=\"5\"")]), 5);
    assert_eq!(turned(&[xmp_segment("tiff:Orientation")]), 1);
}

#[test]
fn png_and_webp_name_it_in_their_own_chunks() {
    let png = sample("rgb.png");
    let end = png.len() - 12;
    let chunk = |name: &[u8; 4], payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        // Its check sum is not looked at.
        [&png[..end], &length, name, payload, &[0; 4], &png[end..]].concat()
    };
    let packet = "XML:com.adobe.xmp\0\0\0\0\0<rdf tiff:Orientation=\"6\"/>";
    assert_eq!(read(Format::Png, &chunk(b"iTXt", packet.as_bytes())).to_exif(), 6);
    assert_eq!(read(Format::Png, &chunk(b"eXIf", &exif(4, 1, [6, 0, 0, 0]))).to_exif(), 6);

    let webp = |announced: u8, name: &[u8; 4], payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        let canvas = [announced, 0, 0, 0, 7, 0, 0, 7, 0, 0];
        let chunks = [b"WEBPVP8X", &[10, 0, 0, 0][..], &canvas, name, &length, payload].concat();
        [b"RIFF", &u32::try_from(chunks.len()).unwrap().to_le_bytes()[..], &chunks].concat()
    };
    let block = exif(3, 1, [6, 0, 0, 0]);
    assert_eq!(read(Format::WebP, &webp(0x08, b"EXIF", &block)).to_exif(), 6);
    assert_eq!(read(Format::WebP, &webp(0x00, b"EXIF", &block)).to_exif(), 1, "not announced");
    assert_eq!(read(Format::WebP, &webp(0x04, b"XMP ", b"tiff:Orientation>3<")).to_exif(), 3);
}

#[test]
fn a_png_may_have_it_in_texts_of_any_kind() {
    let png = sample("rgb.png");
    let end = png.len() - 12;
    let turned = |chunks: &[(&[u8; 4], Vec<u8>)]| {
        let chunk = |(name, payload): &(&[u8; 4], Vec<u8>)| {
            let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
            [&length[..], *name, payload, &[0; 4]].concat()
        };
        let chunks: Vec<u8> = chunks.iter().flat_map(chunk).collect();
        read(Format::Png, &[&png[..end], &chunks, &png[end..]].concat()).to_exif()
    };
    let deflated = |text: &[u8]| {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, text).unwrap();
        encoder.finish().unwrap()
    };
    let digits: String = exif(3, 1, [6, 0, 0, 0]).iter().map(|byte| format!("{byte:02x}")).collect();
    let profile = format!("\nexif\n      26\n{}\n{}\n", &digits[..20], &digits[20..]);
    let text = |keyword: &str, rest: &[u8]| [keyword.as_bytes(), &[0], rest].concat();
    let named = "Raw profile type exif";
    let compressed = |bytes: &[u8]| [&[0], &deflated(bytes)[..]].concat();
    assert_eq!(turned(&[(b"tEXt", text(named, profile.as_bytes()))]), 6);
    assert_eq!(turned(&[(b"zTXt", text(named, &compressed(profile.as_bytes())))]), 6);
    let eight = exif(3, 1, [8, 0, 0, 0]);
    assert_eq!(turned(&[(b"eXIf", eight), (b"tEXt", text(named, profile.as_bytes()))]), 8, "the chunk decides");
    assert_eq!(turned(&[(b"tEXt", text(named, b"\nexif\n 3\n4x"))]), 1, "no hexadecimal number");
    assert_eq!(turned(&[(b"zTXt", text(named, &compressed(&vec![b'0'; 2 << 20])))]), 1, "more than any text");
    let packet = b"<rdf tiff:Orientation=\"6\"/>";
    let xmp = "XML:com.adobe.xmp";
    assert_eq!(turned(&[(b"tEXt", text(xmp, packet))]), 6);
    let international = [&[1, 0, 0, 0], &deflated(packet)[..]].concat();
    assert_eq!(turned(&[(b"iTXt", text(xmp, &international))]), 6);
}

#[test]
fn an_entry_that_is_cut_off_names_none() {
    let block = exif(3, 1, [6, 0, 0, 0]);
    for (length, expected) in [(22, 6), (21, 1), (20, 1), (12, 1)] {
        assert_eq!(turned(&[exif_segment(&block[..length])]), expected, "{length} bytes");
    }
}

#[test]
fn the_cases_that_were_not_turned_are() {
    for name in ["exif_6_long.jpg", "xmp_orient6.jpg"] {
        let decoded = decode(&fixture(&format!("cases/{name}")), MAX_PIXELS).unwrap();
        assert_eq!(decoded.orientation, Orientation::Rotate90, "{name}");
    }
}
