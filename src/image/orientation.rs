//! Which way up a file says it is: the rules of Pillow's `exif_transpose`.
//!
//! The EXIF block decides, by a number of any type; an XMP packet is asked where EXIF does not name an orientation.

use std::{borrow::Cow, io::Read as _};

use ::image::metadata::Orientation;
use flate2::read::ZlibDecoder;

use super::{
    complete::{png_chunks, webp_chunks},
    ifd::Directory,
    jpeg,
    sniff::Format,
};

const ORIENTATION: u16 = 274;
const XMP: u16 = 700;

/// What names an orientation in a file.
#[derive(Debug, Default)]
pub(super) struct Metadata<'a> {
    /// A small TIFF, perhaps behind `Exif\0\0`.
    pub(super) exif: Option<Cow<'a, [u8]>>,
    pub(super) xmp: Option<Cow<'a, [u8]>>,
}

/// The orientation of a file of that format. Damaged metadata are no reason to refuse the pixels: they name none.
pub(super) fn read(format: Format, bytes: &[u8]) -> Orientation {
    let metadata = match format {
        Format::Jpeg => jpeg::metadata(bytes),
        Format::Png => png(bytes),
        Format::WebP => webp(bytes),
        Format::Tiff => Metadata {
            exif: Some(Cow::Borrowed(bytes)),
            xmp: Directory::first(bytes).and_then(|directory| directory.entry(XMP)).map(|xmp| xmp.data().into()),
        },
        Format::Gif | Format::Bmp => return Orientation::NoTransforms,
    };
    metadata.orientation()
}

impl Metadata<'_> {
    fn orientation(&self) -> Orientation {
        let number = match self.exif.as_deref().and_then(exif_number) {
            Some(number) => Some(number),
            None => self.xmp.as_deref().and_then(xmp_number),
        };
        number.and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms)
    }
}

/// The orientation of an EXIF block: 0 where it has one that is not a whole number of 8 bits.
fn exif_number(exif: &[u8]) -> Option<u8> {
    const MARK: &[u8] = b"Exif\0\0";
    let exif = exif.strip_prefix(MARK).unwrap_or(exif);
    let exif = exif.strip_prefix(MARK).unwrap_or(exif);
    let entry = Directory::first(exif)?.entry(ORIENTATION)?;
    let number = entry.real().filter(|number| (0.0..=255.0).contains(number) && number.fract() == 0.0);
    Some(number.map_or(0, |number| number as u8))
}

/// The digit of the first `tiff:Orientation="6"` or `<tiff:Orientation>6` in an XMP packet.
fn xmp_number(xmp: &[u8]) -> Option<u8> {
    const NAME: &[u8] = b"tiff:Orientation";
    let named = xmp.windows(NAME.len()).enumerate().filter(|(_, window)| *window == NAME);
    named
        .filter_map(|(at, _)| {
            let rest = &xmp[at + NAME.len()..];
            rest.strip_prefix(b"=\"").or_else(|| rest.strip_prefix(b">"))?.first()
        })
        .find(|digit| digit.is_ascii_digit())
        .map(|digit| digit - b'0')
}

/// The chunk `eXIf`; without one the text that ImageMagick keeps EXIF in. Of two texts of a name the last counts.
fn png(bytes: &[u8]) -> Metadata<'_> {
    let mut metadata = Metadata::default();
    let mut profile = None;
    for (name, payload) in png_chunks(bytes) {
        if name == b"eXIf" {
            metadata.exif = Some(payload.into());
        }
        match png_text(*name, payload) {
            Some((b"XML:com.adobe.xmp", text)) => metadata.xmp = Some(text),
            Some((b"Raw profile type exif", text)) => profile = hexadecimal(&text),
            _ => {}
        }
    }
    metadata.exif = metadata.exif.or(profile.map(Cow::Owned));
    metadata
}

/// The keyword and the text of a chunk `tEXt`, `zTXt` or `iTXt` of a PNG.
fn png_text(name: [u8; 4], payload: &[u8]) -> Option<(&[u8], Cow<'_, [u8]>)> {
    let end = payload.iter().position(|byte| *byte == 0)?;
    let (keyword, rest) = (&payload[..end], &payload[end + 1..]);
    let text = match &name {
        b"tEXt" => Cow::Borrowed(rest),
        // The number of the compression, of which there is one.
        b"zTXt" => Cow::Owned(inflated(rest.strip_prefix(&[0])?)?),
        b"iTXt" => {
            let (&[compressed, _], rest) = rest.split_first_chunk::<2>()?;
            // The language and the translated keyword, each with its end.
            let text = rest.splitn(3, |byte| *byte == 0).nth(2)?;
            if compressed == 0 { Cow::Borrowed(text) } else { Cow::Owned(inflated(text)?) }
        }
        _ => return None,
    };
    Some((keyword, text))
}

/// What is compressed by zlib, if it is whole and no larger than any text that Pillow reads.
fn inflated(compressed: &[u8]) -> Option<Vec<u8>> {
    const MOST_BYTES: u64 = 1 << 20;
    let mut text = Vec::new();
    let read = ZlibDecoder::new(compressed).take(MOST_BYTES + 1).read_to_end(&mut text);
    (read.is_ok() && text.len() as u64 <= MOST_BYTES).then_some(text)
}

/// The bytes that a raw profile spells, behind its first three lines: a line break, its name, its length.
fn hexadecimal(profile: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let body = profile.splitn(4, |byte| *byte == b'\n').nth(3)?;
    let digits: Vec<u8> = body.iter().filter(|byte| !byte.is_ascii_whitespace()).map(digit).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// The chunks that the header announces, the first of each name.
fn webp(bytes: &[u8]) -> Metadata<'_> {
    const EXIF_ANNOUNCED: u8 = 0x08;
    const XMP_ANNOUNCED: u8 = 0x04;
    let mut metadata = Metadata::default();
    let mut announced = 0;
    for (name, payload) in webp_chunks(bytes) {
        match name {
            b"VP8X" => announced = payload.first().copied().unwrap_or(0),
            b"EXIF" if announced & EXIF_ANNOUNCED != 0 && metadata.exif.is_none() => {
                metadata.exif = Some(payload.into())
            }
            b"XMP " if announced & XMP_ANNOUNCED != 0 && metadata.xmp.is_none() => metadata.xmp = Some(payload.into()),
            _ => {}
        }
    }
    metadata
}

#[cfg(test)]
mod tests;
