//! Whether a file is all there and of one mind, by its own table of contents; what decoders forgive, a server should
//! not.

use super::{decode::Header, sniff::Format};
use crate::error::{Error, Result};

/// Refuses a PNG without its end chunk, and a WebP shorter than it says or with a frame that exceeds its canvas:
/// its decoder makes room for a lossy frame before it compares the two. JPEG has its own walk; the decoders of GIF,
/// BMP and TIFF fail by themselves when pixels are missing.
///
/// Returns the bytes that belong to the file, which are all that a decoder should see.
pub(super) fn require<'a>(header: &Header, bytes: &'a [u8]) -> Result<&'a [u8]> {
    let file = match header.format {
        Format::Png => png(bytes).then_some(bytes),
        Format::WebP => webp(bytes),
        Format::Jpeg | Format::Gif | Format::Bmp | Format::Tiff => Some(bytes),
    };
    let name = header.format.name();
    let file = file.ok_or_else(|| Error::invalid_image(format!("the {name} is truncated")))?;
    if header.format == Format::WebP && !frames_fit(file.get(12..).unwrap_or_default(), header) {
        return Err(Error::invalid_image(format!("the {name} is corrupt: a frame exceeds its canvas")));
    }
    Ok(file)
}

fn png(bytes: &[u8]) -> bool {
    png_chunks(bytes).any(|(name, _)| name == b"IEND")
}

/// The chunks of a PNG up to its end chunk, each with its name, as far as they are whole.
pub(super) fn png_chunks(bytes: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    let mut rest = bytes.get(8..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        let (name, tail) = tail.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let payload = tail.get(..length)?;
        // The check sum follows.
        let after = tail.get(length.checked_add(4)?..)?;
        rest = if name == b"IEND" { &[] } else { after };
        Some((name, payload))
    })
}

/// The chunks of a WebP, each with its name, as far as they are whole.
pub(super) fn webp_chunks(bytes: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    Chunks(bytes.get(12..).unwrap_or_default())
}

/// The bytes up to the end that the header states, if they and all chunks within are there.
fn webp(bytes: &[u8]) -> Option<&[u8]> {
    let (&[_, _, _, _, a, b, c, d], _) = bytes.split_first_chunk::<8>()?;
    let end = u64::from(u32::from_le_bytes([a, b, c, d])) + 8;
    // The byte that pads the last chunk to an even length holds nothing.
    if end > bytes.len() as u64 + 1 {
        return None;
    }
    let file = &bytes[..usize::try_from(end).unwrap_or(usize::MAX).min(bytes.len())];
    let mut chunks = Chunks(file.get(12..).unwrap_or_default());
    while chunks.0.len() >= 8 {
        chunks.next()?;
    }
    Some(file)
}

/// The chunks of a WebP or of a frame in it.
struct Chunks<'a>(&'a [u8]);

impl<'a> Iterator for Chunks<'a> {
    type Item = (&'a [u8; 4], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = self.0.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let payload = rest.get(..length)?;
        self.0 = rest.get(length + length % 2..).unwrap_or_default();
        Some((name, payload))
    }
}

/// Whether every lossy frame in these chunks lies within the canvas.
fn frames_fit(chunks: &[u8], canvas: &Header) -> bool {
    Chunks(chunks).all(|(name, payload)| match name {
        b"VP8 " => frame_fits(payload, canvas),
        // Behind its place and size, a frame of an animation has chunks of its own. One that follows alpha is read as
        // an image whatever its name.
        b"ANMF" => {
            let mut parts = Chunks(payload.get(16..).unwrap_or_default());
            let fit = parts.all(|(name, part)| matches!(name, b"ALPH" | b"VP8L") || frame_fits(part, canvas));
            // What is left is at most padding, not a chunk that is cut off.
            fit && parts.0.len() < 8
        }
        _ => true,
    })
}

/// What does not begin like a lossy frame is not decoded as one.
fn frame_fits(payload: &[u8], canvas: &Header) -> bool {
    let Some(&[_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1]) = payload.first_chunk() else { return true };
    let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
    side(w0, w1) <= canvas.width && side(h0, h1) <= canvas.height
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(name: &[u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut bytes = name.to_vec();
        bytes.extend(u32::try_from(payload.len()).unwrap().to_le_bytes());
        bytes.extend(payload);
        bytes.resize(bytes.len() + payload.len() % 2, 0);
        bytes
    }

    /// An extended WebP of 8 × 8 with these chunks.
    fn extended(chunks: &[u8]) -> Vec<u8> {
        let canvas = chunk(b"VP8X", &[0, 0, 0, 0, 7, 0, 0, 7, 0, 0]);
        chunk(b"RIFF", &[b"WEBP", canvas.as_slice(), chunks].concat())
    }

    fn refused(bytes: &[u8]) -> bool {
        let header = crate::image::header::read(Format::WebP, bytes).unwrap();
        assert_eq!((header.width, header.height), (8, 8));
        require(&header, bytes).is_err()
    }

    #[test]
    fn a_lossy_frame_larger_than_its_canvas_is_refused_before_it_is_decoded() {
        let large = [0, 0, 0, 0x9d, 0x01, 0x2a, 0xff, 0x3f, 0xff, 0x3f];
        let small = [0, 0, 0, 0x9d, 0x01, 0x2a, 8, 0, 8, 0];
        let animated = |name, frame| {
            let alpha = chunk(b"ALPH", &[0; 3]);
            extended(&chunk(b"ANMF", &[[0; 16].as_slice(), &alpha, &chunk(name, frame)].concat()))
        };
        assert!(refused(&extended(&chunk(b"VP8 ", &large))));
        assert!(refused(&animated(b"VP8 ", &large)) && refused(&animated(b"what", &large)));
        assert!(!refused(&extended(&chunk(b"VP8 ", &small))));
        assert!(!refused(&animated(b"VP8 ", &small)));
    }

    #[test]
    fn a_decoder_sees_nothing_behind_the_end_of_a_webp() {
        let mut bytes = extended(&chunk(b"EXIF", b"ab"));
        let end = bytes.len();
        bytes.extend(chunk(b"VP8 ", &[0, 0, 0, 0x9d, 0x01, 0x2a, 0xff, 0x3f, 0xff, 0x3f]));
        let header = crate::image::header::read(Format::WebP, &bytes).unwrap();
        assert_eq!(require(&header, &bytes).unwrap().len(), end);
    }
}
