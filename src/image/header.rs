//! How large an image claims to be, from its first bytes, without decoding or allocating anything.

use super::{decode::Header, gif, jpeg, sniff::Format, tiff};
use crate::error::{Error, Result};

/// The header of a file of that format; the sides are above 0.
///
/// # Errors
/// `invalid_image` when the header is broken or cut off, `unsupported_media_type` when it announces a variant of
/// the format that is not read.
pub(super) fn read(format: Format, bytes: &[u8]) -> Result<Header> {
    if format == Format::Jpeg {
        let frame = jpeg::frame(bytes)?;
        return Ok(Header {
            format,
            width: frame.width,
            height: frame.height,
            weight: frame.weight(),
            frame: Some(frame),
        });
    }
    let found = match format {
        Format::Tiff => {
            let layout = tiff::Layout::read(bytes)?;
            Some((layout.image.width, layout.image.height, layout.weight()))
        }
        Format::Jpeg | Format::Png => png(&Bytes(bytes)),
        Format::WebP => webp(&Bytes(bytes)),
        Format::Gif => gif(bytes),
        Format::Bmp => bmp(&Bytes(bytes)),
    };
    match found {
        Some((width, height, weight)) if width > 0 && height > 0 => {
            Ok(Header { format, width, height, weight, frame: None })
        }
        _ => Err(broken(format)),
    }
}

pub(super) fn broken(format: Format) -> Error {
    Error::invalid_image(format!("the header of the {} is broken or cut off", format.name()))
}

/// Width, height, and the bytes per pixel that decoding takes at its peak.
type Claim = (u32, u32, u32);

fn png(bytes: &Bytes<'_>) -> Option<Claim> {
    if bytes.get(12, 4)? != b"IHDR" {
        return None;
    }
    let samples = match bytes.byte(25)? {
        0 => 2, // grey, or grey and the alpha of a tRNS chunk
        2 | 3 | 6 => 4,
        4 => 2,
        _ => return None,
    };
    let depth = if bytes.byte(24)? == 16 { 2 } else { 1 };
    Some((bytes.u32_be(16)?, bytes.u32_be(20)?, samples * depth))
}

fn webp(bytes: &Bytes<'_>) -> Option<Claim> {
    const WEIGHT: u32 = 8;
    // Animations are put together on a canvas, and alpha comes apart from the colours.
    const EXTENDED_WEIGHT: u32 = 12;
    match bytes.get(12, 4)? {
        b"VP8X" => Some((bytes.u24_le(24)? + 1, bytes.u24_le(27)? + 1, EXTENDED_WEIGHT)),
        b"VP8L" if bytes.byte(20)? == 0x2f => {
            let packed = bytes.u32_le(21)?;
            Some(((packed & 0x3fff) + 1, ((packed >> 14) & 0x3fff) + 1, WEIGHT))
        }
        b"VP8 " if bytes.get(23, 3)? == [0x9d, 0x01, 0x2a] => {
            Some((u32::from(bytes.u16_le(26)? & 0x3fff), u32::from(bytes.u16_le(28)? & 0x3fff), WEIGHT))
        }
        _ => None,
    }
}

/// The screen and the first frame: the numbers of its colours, its data put together, and RGBA.
fn gif(bytes: &[u8]) -> Option<Claim> {
    const WEIGHT: u32 = 9;
    let image = gif::Layout::read(bytes)?.image;
    Some((image.width, image.height, WEIGHT))
}

fn bmp(bytes: &Bytes<'_>) -> Option<Claim> {
    if bytes.u32_le(14)? == 12 {
        return Some((u32::from(bytes.u16_le(18)?), u32::from(bytes.u16_le(20)?), 4));
    }
    // A negative height means that the rows come from the top.
    let width = u32::try_from(bytes.u32_le(18)?.cast_signed()).ok()?;
    Some((width, bytes.u32_le(22)?.cast_signed().unsigned_abs(), 4))
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn get(&self, at: usize, length: usize) -> Option<&'a [u8]> {
        self.0.get(at..at.checked_add(length)?)
    }

    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.get(at, N)?.try_into().ok()
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    fn u16_le(&self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    fn u24_le(&self, at: usize) -> Option<u32> {
        let [a, b, c] = self.array(at)?;
        Some(u32::from_le_bytes([a, b, c, 0]))
    }

    fn u32_le(&self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    fn u32_be(&self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_be_bytes)
    }
}
