//! Images drawn for the tests, whole and damaged.

use std::io::Cursor;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use image::{ImageFormat, Rgb, RgbImage};

/// An image of waves that differ with the seed.
pub fn drawn(seed: u32) -> RgbImage {
    RgbImage::from_fn(16, 16, |x, y| {
        let wave = |step: u32| ((x * (3 + seed % 7) + y * (5 + step) + seed * 37 + step * 71) % 256) as u8;
        Rgb([wave(0), wave(1), wave(2)])
    })
}

fn encoded(image: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    image.write_to(&mut file, format).unwrap();
    file.into_inner()
}

pub fn png(seed: u32) -> Vec<u8> {
    encoded(&drawn(seed), ImageFormat::Png)
}

pub fn jpeg(seed: u32) -> Vec<u8> {
    encoded(&drawn(seed), ImageFormat::Jpeg)
}

/// A square image as a PNG.
pub fn painted(side: u32, colour: impl Fn(u32, u32) -> [u8; 3]) -> Vec<u8> {
    encoded(&RgbImage::from_fn(side, side, |x, y| Rgb(colour(x, y))), ImageFormat::Png)
}

/// Red, green and blue of each pixel of a PNG, row by row.
pub fn pixels(file: &[u8]) -> Vec<u8> {
    image::load_from_memory_with_format(file, ImageFormat::Png).unwrap().into_rgb8().into_raw()
}

pub fn data_uri(file: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(file))
}

/// The image of a seed as JSON requests carry it.
pub fn uri(seed: u32) -> String {
    data_uri(&png(seed))
}

pub fn truncated_jpeg() -> Vec<u8> {
    let mut file = jpeg(1);
    file.truncate(file.len() / 2);
    file
}

/// A few bytes that claim 60,000 × 60,000 pixels.
pub fn enormous_png() -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = b"IHDR".to_vec();
    header.extend(60_000_u32.to_be_bytes());
    header.extend(60_000_u32.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    for chunk in [header, b"IDAT\x78\x9c\x03\0\0\0\0\x01".to_vec(), b"IEND".to_vec()] {
        file.extend((chunk.len() as u32 - 4).to_be_bytes());
        file.extend_from_slice(&chunk);
        file.extend(crc32(&chunk).to_be_bytes());
    }
    file
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

/// The file inside a data URI of this type.
#[track_caller]
pub fn file_of(uri: &serde_json::Value, media_type: &str) -> Vec<u8> {
    let prefix = format!("data:{media_type};base64,");
    let uri = uri.as_str().unwrap();
    STANDARD.decode(uri.strip_prefix(&prefix).unwrap_or_else(|| panic!("{uri} is not {media_type}"))).unwrap()
}

/// Width and height of a PNG.
pub fn size_of(file: &[u8]) -> (u32, u32) {
    let image = image::load_from_memory_with_format(file, ImageFormat::Png).unwrap();
    (image.width(), image.height())
}
