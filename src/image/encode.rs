//! Pixels → files.

use std::io::Cursor;

use ::image::{
    ExtendedColorType, ImageEncoder as _, ImageResult,
    codecs::{
        jpeg::JpegEncoder,
        png::{CompressionType, FilterType, PngEncoder},
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    decode::{Decoded, Header},
    pixels::{Pixels, Plane},
    resize::{Region, Size, fit, resize},
    shrink::Shrink,
    spec::{Background, Channels, FilterKind, InputSpec},
};
use crate::error::{Error, Result};

/// Of thumbnails, 1…100.
const THUMBNAIL_QUALITY: u8 = 85;

/// An image of one or three channels as an 8-bit PNG: each value is `round(255 · v)`, clamped; not a number is 0.
///
/// # Errors
/// `internal` when the shape is not an image's.
pub fn png(plane: &Plane) -> Result<Vec<u8>> {
    png_pixels(&to_bytes(plane)?)
}

/// An image as an 8-bit PNG.
///
/// # Errors
/// `internal` when the data do not fit the size.
pub fn png_pixels(pixels: &Pixels) -> Result<Vec<u8>> {
    let colour = match pixels.channels {
        Channels::Rgb => ExtendedColorType::Rgb8,
        Channels::Gray => ExtendedColorType::L8,
    };
    png_raw(&pixels.data, pixels.width, pixels.height, colour)
}

/// At most `max_edge` pixels on the longer side (never enlarged), upright, transparency on white, as JPEG.
///
/// # Errors
/// `internal` when encoding fails.
pub fn thumbnail(decoded: &Decoded, max_edge: u32) -> Result<Vec<u8>> {
    let input = shown(max_edge);
    let view = decoded.view(&input);
    let to = thumbnail_size(view.upright, input.width);
    let data = resize(&view.data, view.source, (to, Region::all(to)), input.channels, FilterKind::Bicubic);
    jpeg(&data, to)
}

/// The middle of an image as a square with sides of `edge` pixels: upright, in RGB, transparency on white.
#[must_use]
pub fn square(decoded: &Decoded, edge: u32) -> Pixels {
    let input = shown(edge);
    let (width, height) = (input.width, input.height);
    let view = decoded.view(&input);
    let to = cover(view.upright, width);
    let middle = Region { left: (to.width - width) / 2, top: (to.height - height) / 2, size: Size { width, height } };
    let data = resize(&view.data, view.source, (to, middle), input.channels, FilterKind::Bicubic);
    Pixels { width, height, channels: input.channels, data: data.into_owned() }
}

/// An RGB image as a JPEG, at the quality of thumbnails.
///
/// # Errors
/// `internal` when the data do not fit the size.
pub fn jpeg_pixels(pixels: &Pixels) -> Result<Vec<u8>> {
    let size = Size { width: pixels.width, height: pixels.height };
    if pixels.channels != Channels::Rgb {
        return Err(Error::internal("an image that is not RGB was to be written as JPEG"));
    }
    jpeg(&pixels.data, size)
}

fn jpeg(rgb: &[u8], size: Size) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    let encoder = JpegEncoder::new_with_quality(Cursor::new(&mut file), THUMBNAIL_QUALITY);
    encoded(encoder.write_image(rgb, size.width, size.height, ExtendedColorType::Rgb8), "encode a jpeg")?;
    Ok(file)
}

/// What people are shown of an image, within a square.
fn shown(edge: u32) -> InputSpec {
    InputSpec {
        bgr: false,
        width: edge.max(1),
        height: edge.max(1),
        channels: Channels::Rgb,
        background: Background::WHITE,
        orientation: true,
    }
}

/// By how much a file may be decoded smaller for its [`square`].
#[must_use]
pub fn square_shrink(header: &Header, edge: u32) -> Shrink {
    Shrink::of_file(header, |from| cover(from, edge.max(1)))
}

/// The size of an image of this shape whose shorter side is `edge`.
fn cover(from: Size, edge: u32) -> Size {
    let (shorter, longer) = (u64::from(from.width.min(from.height)), u64::from(from.width.max(from.height)));
    let long = u32::try_from((longer * u64::from(edge)).div_ceil(shorter.max(1))).unwrap_or(u32::MAX).max(edge);
    if from.width <= from.height { Size { width: edge, height: long } } else { Size { width: long, height: edge } }
}

/// By how much a file may be decoded smaller for its [`thumbnail`].
#[must_use]
pub fn thumbnail_shrink(header: &Header, max_edge: u32) -> Shrink {
    Shrink::of_file(header, |from| thumbnail_size(from, max_edge.max(1)))
}

fn thumbnail_size(from: Size, max_edge: u32) -> Size {
    let longer = from.width.max(from.height);
    if longer <= max_edge { from } else { fit(from, Size { width: max_edge, height: max_edge }) }
}

/// A PNG as a `data:` URI.
#[must_use]
pub fn data_uri(png: &[u8]) -> String {
    const PREFIX: &str = "data:image/png;base64,";
    let mut uri = String::with_capacity(PREFIX.len() + png.len().div_ceil(3) * 4);
    uri.push_str(PREFIX);
    STANDARD.encode_string(png, &mut uri);
    uri
}

/// Samples of `colour` (16-bit ones in the machine's byte order) as a PNG.
pub(crate) fn png_raw(data: &[u8], width: u32, height: u32, colour: ExtendedColorType) -> Result<Vec<u8>> {
    let expected = u64::from(width) * u64::from(height) * u64::from(colour.bits_per_pixel()) / 8;
    if data.len() as u64 != expected || expected == 0 {
        return Err(Error::internal(format!("{} bytes are no image of {width} × {height}", data.len())));
    }
    let mut file = Vec::new();
    let encoder = PngEncoder::new_with_quality(Cursor::new(&mut file), CompressionType::Fast, FilterType::Adaptive);
    encoded(encoder.write_image(data, width, height, colour), "encode a png")?;
    Ok(file)
}

/// `round(255 · v)` for a value that should be in 0…1; not a number is 0.
pub(crate) fn to_byte(value: f32) -> u8 {
    // `as` saturates and turns NaN into 0, so the cast is the clamp.
    (value * 255.0).round() as u8
}

fn to_bytes(plane: &Plane) -> Result<Pixels> {
    let channels = match plane.channels {
        1 => Channels::Gray,
        3 => Channels::Rgb,
        other => return Err(Error::internal(format!("an image of {other} channels cannot be written as PNG"))),
    };
    let area = plane.area();
    let mut data = vec![0; area * plane.channels];
    for (channel, values) in plane.data.chunks_exact(area.max(1)).enumerate() {
        for (pixel, value) in data.chunks_exact_mut(plane.channels).zip(values) {
            pixel[channel] = to_byte(*value);
        }
    }
    Ok(Pixels { width: plane.width, height: plane.height, channels, data })
}

fn encoded(result: ImageResult<()>, what: &'static str) -> Result<()> {
    result.map_err(|error| Error::internal(what).with_source(error))
}

#[cfg(test)]
mod tests;
