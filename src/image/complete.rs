//! Whether a file is all there, by its own table of contents; what decoders forgive, a server should not.

use super::sniff::Format;
use crate::error::{Error, Result};

/// Refuses a PNG without its end chunk and a WebP shorter than it says. JPEG has its own walk; the decoders of GIF,
/// BMP and TIFF fail by themselves when pixels are missing.
pub(super) fn require(format: Format, bytes: &[u8]) -> Result<()> {
    let complete = match format {
        Format::Png => png(bytes),
        Format::WebP => webp(bytes),
        Format::Jpeg | Format::Gif | Format::Bmp | Format::Tiff => true,
    };
    if complete { Ok(()) } else { Err(Error::invalid_image(format!("the {} is truncated", format.name()))) }
}

fn png(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(8..).unwrap_or_default();
    loop {
        let Some((&[a, b, c, d, ref kind @ ..], tail)) = rest.split_first_chunk::<8>() else { return false };
        // The payload and its check sum.
        let length = u64::from(u32::from_be_bytes([a, b, c, d])) + 4;
        let Some(after) = usize::try_from(length).ok().and_then(|length| tail.get(length..)) else { return false };
        if kind == b"IEND" {
            return true;
        }
        rest = after;
    }
}

fn webp(bytes: &[u8]) -> bool {
    let Some((&[_, _, _, _, a, b, c, d], _)) = bytes.split_first_chunk::<8>() else { return false };
    let end = u64::from(u32::from_le_bytes([a, b, c, d])) + 8;
    // The byte that pads the last chunk to an even length holds nothing.
    if end > bytes.len() as u64 + 1 {
        return false;
    }
    let end = usize::try_from(end).unwrap_or(usize::MAX).min(bytes.len());
    let mut rest = bytes.get(12..end).unwrap_or_default();
    while let Some((&[_, _, _, _, a, b, c, d], tail)) = rest.split_first_chunk::<8>() {
        let length = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if length > tail.len() {
            return false;
        }
        rest = tail.get(length.saturating_add(length % 2)..).unwrap_or_default();
    }
    true
}
