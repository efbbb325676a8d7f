//! Which image format some bytes are, by their first bytes alone.

use crate::error::{Error, ErrorKind, Result};

/// The formats this build reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    Jpeg,
    Png,
    WebP,
    Gif,
    Bmp,
    Tiff,
}

impl Format {
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::WebP => "image/webp",
            Self::Gif => "image/gif",
            Self::Bmp => "image/bmp",
            Self::Tiff => "image/tiff",
        }
    }

    /// The name for messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::WebP => "WebP",
            Self::Gif => "GIF",
            Self::Bmp => "BMP",
            Self::Tiff => "TIFF",
        }
    }
}

/// The readable formats, for messages.
pub(super) const READABLE: &str = "JPEG, PNG, WebP, GIF, BMP and TIFF";

/// The format of `bytes`.
///
/// # Errors
/// `invalid_image` when they are no image, `unsupported_media_type` when they are one of another format.
pub fn sniff(bytes: &[u8]) -> Result<Format> {
    if bytes.is_empty() {
        return Err(Error::invalid_image("the image is empty"));
    }
    if let Some(format) = readable(bytes) {
        return Ok(format);
    }
    match foreign(bytes) {
        Some(name) => Err(Error::new(
            ErrorKind::UnsupportedMediaType,
            format!("{name} is not read by this server; send {READABLE}"),
        )),
        None => Err(Error::invalid_image(format!("not an image: the bytes are none of {READABLE}"))),
    }
}

fn readable(bytes: &[u8]) -> Option<Format> {
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    if starts(b"\xff\xd8\xff") {
        Some(Format::Jpeg)
    } else if starts(b"\x89PNG\r\n\x1a\n") {
        Some(Format::Png)
    } else if starts(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        Some(Format::WebP)
    } else if starts(b"GIF87a") || starts(b"GIF89a") {
        Some(Format::Gif)
    } else if starts(b"BM") && known_bitmap_header(bytes) {
        Some(Format::Bmp)
    } else if starts(b"II*\0") || starts(b"MM\0*") || starts(b"II+\0") || starts(b"MM\0+") {
        Some(Format::Tiff)
    } else {
        None
    }
}

/// "BM" alone could begin any text: the size of the header that follows is one of a few, or cut off.
fn known_bitmap_header(bytes: &[u8]) -> bool {
    match bytes.get(14..18) {
        Some(&[size, 0, 0, 0]) => matches!(size, 12 | 16 | 40 | 52 | 56 | 64 | 108 | 124),
        Some(_) => false,
        None => bytes.iter().any(|byte| *byte == 0 || !byte.is_ascii()),
    }
}

/// Real image formats that are not enabled, by their magic.
fn foreign(bytes: &[u8]) -> Option<&'static str> {
    const MAGICS: [(&[u8], &str); 17] = [
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x4f\xff\x51", "JPEG 2000"),
        (b"\0\0\x01\0", "ICO"),
        (b"\0\0\x02\0", "CUR"),
        (b"8BPS", "PSD"),
        (b"%PDF-", "PDF"),
        (b"%!PS", "PostScript"),
        (b"DDS ", "DDS"),
        (b"qoif", "QOI"),
        (b"farbfeld", "farbfeld"),
        (b"#?RADIANCE", "Radiance HDR"),
        (b"\x76\x2f\x31\x01", "OpenEXR"),
        (b"II\xbc\x01", "JPEG XR"),
        (b"gimp xcf", "XCF"),
        (b"BPG\xfb", "BPG"),
    ];
    if bytes.get(4..8) == Some(b"ftyp") {
        return iso_brand(bytes);
    }
    if let [b'P', b'1'..=b'7', b' ' | b'\t' | b'\r' | b'\n', ..] = bytes {
        return Some("PNM");
    }
    if let Some((_, name)) = MAGICS.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Some(name);
    }
    is_svg(bytes).then_some("SVG")
}

/// The image formats in an ISO base media file, by the major brand.
fn iso_brand(bytes: &[u8]) -> Option<&'static str> {
    match bytes.get(8..12)? {
        b"avif" | b"avis" => Some("AVIF"),
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"mif1" | b"msf1" => Some("HEIC"),
        b"crx " => Some("CR3"),
        _ => None,
    }
}

fn is_svg(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(1024)];
    let Some(start) = head.iter().position(|byte| *byte == b'<') else { return false };
    head[..start].iter().all(|byte| byte.is_ascii_whitespace() || matches!(byte, 0xef | 0xbb | 0xbf))
        && head.windows(4).any(|window| window == b"<svg")
}

#[cfg(test)]
mod tests;
