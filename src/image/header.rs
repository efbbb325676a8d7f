//! How large an image claims to be, from its first bytes, without decoding or allocating anything.

use super::{decode::Header, jpeg, sniff::Format};
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
    let bytes = Bytes(bytes);
    let found = match format {
        Format::Jpeg | Format::Png => png(&bytes),
        Format::WebP => webp(&bytes),
        Format::Gif => gif(&bytes),
        Format::Bmp => bmp(&bytes),
        Format::Tiff => tiff(&bytes),
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

fn gif(bytes: &Bytes<'_>) -> Option<Claim> {
    Some((u32::from(bytes.u16_le(6)?), u32::from(bytes.u16_le(8)?), 9))
}

fn bmp(bytes: &Bytes<'_>) -> Option<Claim> {
    if bytes.u32_le(14)? == 12 {
        return Some((u32::from(bytes.u16_le(18)?), u32::from(bytes.u16_le(20)?), 4));
    }
    // A negative height means that the rows come from the top.
    let width = u32::try_from(bytes.u32_le(18)?.cast_signed()).ok()?;
    Some((width, bytes.u32_le(22)?.cast_signed().unsigned_abs(), 4))
}

/// The first directory of a TIFF or BigTIFF.
fn tiff(bytes: &Bytes<'_>) -> Option<Claim> {
    const WIDTH: u16 = 256;
    const HEIGHT: u16 = 257;
    const BITS: u16 = 258;
    const SAMPLES: u16 = 277;
    let order = Order { little: bytes.byte(0)? == b'I', big: bytes.byte(2)? == 43 || bytes.byte(3)? == 43 };
    let start = order.offset(bytes, if order.big { 8 } else { 4 })?;
    let (entries, first, step) = if order.big {
        (order.u64(bytes, start)?, start.checked_add(8)?, 20)
    } else {
        (u64::from(order.u16(bytes, start)?), start.checked_add(2)?, 12)
    };
    let (mut width, mut height, mut bits, mut samples) = (None, None, 1, 1);
    for entry in 0..usize::try_from(entries).ok()?.min(4096) {
        let at = first.checked_add(entry.checked_mul(step)?)?;
        match order.u16(bytes, at)? {
            WIDTH => width = order.number(bytes, at),
            HEIGHT => height = order.number(bytes, at),
            // One number a sample; where they do not fit the entry, it holds their place instead: taken as 16.
            BITS => bits = order.number(bytes, at).filter(|bits| *bits <= 64).unwrap_or(16),
            SAMPLES => samples = order.number(bytes, at).unwrap_or(1),
            _ => {}
        }
    }
    // The decoder's own buffer and the image made of it.
    Some((width?, height?, samples.clamp(1, 5) * bits.div_ceil(8).clamp(1, 4) * 2))
}

/// How the numbers of a TIFF are written.
struct Order {
    little: bool,
    big: bool,
}

impl Order {
    fn u16(&self, bytes: &Bytes<'_>, at: usize) -> Option<u16> {
        let raw = bytes.array(at)?;
        Some(if self.little { u16::from_le_bytes(raw) } else { u16::from_be_bytes(raw) })
    }

    fn u32(&self, bytes: &Bytes<'_>, at: usize) -> Option<u32> {
        let raw = bytes.array(at)?;
        Some(if self.little { u32::from_le_bytes(raw) } else { u32::from_be_bytes(raw) })
    }

    fn u64(&self, bytes: &Bytes<'_>, at: usize) -> Option<u64> {
        let raw = bytes.array(at)?;
        Some(if self.little { u64::from_le_bytes(raw) } else { u64::from_be_bytes(raw) })
    }

    fn offset(&self, bytes: &Bytes<'_>, at: usize) -> Option<usize> {
        if self.big { usize::try_from(self.u64(bytes, at)?).ok() } else { usize::try_from(self.u32(bytes, at)?).ok() }
    }

    /// The number in the directory entry at `at`, if it is a single one.
    fn number(&self, bytes: &Bytes<'_>, at: usize) -> Option<u32> {
        const SHORT: u16 = 3;
        const LONG: u16 = 4;
        const LONG8: u16 = 16;
        let kind = self.u16(bytes, at.checked_add(2)?)?;
        let count = self.offset(bytes, at.checked_add(4)?)?;
        let value = at.checked_add(if self.big { 12 } else { 8 })?;
        match kind {
            _ if count != 1 => None,
            SHORT => self.u16(bytes, value).map(u32::from),
            LONG => self.u32(bytes, value),
            LONG8 => u32::try_from(self.u64(bytes, value)?).ok(),
            _ => None,
        }
    }
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
