//! JPEG: its segments, whether it is all there, and its pixels.
//!
//! The decoder fills what a truncated file lacks with grey and reports success, and it takes a few hundred bytes
//! that claim a large picture at their word. So the segments are walked first: the file must reach the end marker
//! of its own scans, and hold at least as many bits as its blocks need.

use ::image::metadata::Orientation;
use zune_jpeg::{
    JpegDecoder,
    errors::DecodeErrors,
    zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions},
};

use super::{header::broken, sniff::Format};
use crate::error::{Error, ErrorKind, Result};

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const TEM: u8 = 0x01;

/// The start-of-frame segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub width: u32,
    pub height: u32,
    pub components: u8,
    progressive: bool,
    /// 8×8 blocks over all components, without the padding of incomplete groups.
    blocks: u64,
}

impl Frame {
    /// Bytes per pixel at the peak of decoding: the pixels, and all coefficients if the scans are progressive.
    pub(super) fn weight(&self) -> u32 {
        let coefficients = if self.progressive { 2 * u32::from(self.components) } else { 0 };
        u32::from(self.channels()) + coefficients
    }

    /// Of the decoded pixels: 1 (grey) or 3 (RGB).
    pub(super) const fn channels(&self) -> u8 {
        if self.components == 1 { 1 } else { 3 }
    }

    /// The fewest bits that code the picture: every block takes a code for its first coefficient and, in a
    /// sequential scan, one for its end.
    const fn fewest_bits(&self) -> u64 {
        if self.progressive { self.blocks } else { 2 * self.blocks }
    }
}

/// The frame of a JPEG, read no further than its header.
///
/// # Errors
/// `invalid_image` when the segments break off before it, `unsupported_media_type` for arithmetic, lossless,
/// hierarchical and 12-bit files.
pub(super) fn frame(bytes: &[u8]) -> Result<Frame> {
    let mut segments = Segments { bytes, at: 0 };
    while let Some((marker, payload)) = segments.next_segment() {
        match marker {
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => return frame_of(marker, payload),
            SOS | EOI => break,
            _ => {}
        }
    }
    Err(broken(Format::Jpeg))
}

/// The pixels (1 or 3 channels) and the orientation.
///
/// # Errors
/// `invalid_image` when the file is truncated or corrupt, `unsupported_media_type` for a variant that is not read.
pub(super) fn decode(bytes: &[u8]) -> Result<(Vec<u8>, Orientation)> {
    let frame = frame(bytes)?;
    require_complete(bytes, &frame)?;
    let colour = if frame.channels() == 1 { ColorSpace::Luma } else { ColorSpace::RGB };
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_out_colorspace(colour);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let pixels = decoder.decode().map_err(explain)?;
    let expected = frame.width as usize * frame.height as usize * usize::from(frame.channels());
    if pixels.len() != expected {
        return Err(Error::invalid_image("the JPEG is corrupt: its data do not fit its header"));
    }
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    Ok((pixels, orientation.unwrap_or(Orientation::NoTransforms)))
}

fn frame_of(marker: u8, payload: &[u8]) -> Result<Frame> {
    let &[precision, h1, h0, w1, w0, components, ref sampling @ ..] = payload else {
        return Err(broken(Format::Jpeg));
    };
    let unsupported = |what: &str| {
        Err(Error::new(ErrorKind::UnsupportedMediaType, format!("a JPEG with {what} is not read by this server")))
    };
    match marker {
        0xc0..=0xc2 => {}
        0xc3 | 0xc7 | 0xcb | 0xcf => return unsupported("lossless coding"),
        0xc5 | 0xc6 => return unsupported("hierarchical coding"),
        _ => return unsupported("arithmetic coding"),
    }
    if precision != 8 {
        return unsupported("samples of other than 8 bits");
    }
    let (width, height) = (u32::from(u16::from_be_bytes([w1, w0])), u32::from(u16::from_be_bytes([h1, h0])));
    let sampling = sampling.get(..usize::from(components) * 3).unwrap_or_default();
    if width == 0 || height == 0 || !matches!(components, 1 | 3 | 4) || sampling.is_empty() {
        return Err(broken(Format::Jpeg));
    }
    let blocks = blocks(width, height, sampling).ok_or_else(|| broken(Format::Jpeg))?;
    Ok(Frame { width, height, components, progressive: marker == 0xc2, blocks })
}

/// Over all components, each with its sampling factors in the second of three bytes.
fn blocks(width: u32, height: u32, sampling: &[u8]) -> Option<u64> {
    let factors = || sampling.as_chunks().0.iter().map(|[_, factors, _]: &[u8; 3]| (factors >> 4, factors & 15));
    let most = factors().fold((0, 0), |most, (across, down)| (most.0.max(across), most.1.max(down)));
    factors()
        .map(|(across, down)| {
            let side = |length: u32, factor: u8, most: u8| {
                let allowed = (1..=4).contains(&factor);
                allowed.then(|| (u64::from(length) * u64::from(factor)).div_ceil(8 * u64::from(most)))
            };
            Some(side(width, across, most.0)? * side(height, down, most.1)?)
        })
        .sum()
}

/// Whether the scans reach their end marker and hold enough bits. What follows the end marker is nobody's business.
fn require_complete(bytes: &[u8], frame: &Frame) -> Result<()> {
    let mut segments = Segments { bytes, at: 0 };
    let mut coded: u64 = 0;
    while let Some((marker, _)) = segments.next_segment() {
        match marker {
            SOS => coded += segments.skip_scan() as u64,
            EOI if coded * 8 >= frame.fewest_bits() => return Ok(()),
            EOI => break,
            _ => {}
        }
    }
    Err(Error::invalid_image("the JPEG is truncated"))
}

/// The segments of a JPEG, by the length that each of them states, so that a thumbnail inside one is skipped.
struct Segments<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Segments<'a> {
    /// The next marker and its payload, or nothing where the file ends first.
    fn next_segment(&mut self) -> Option<(u8, &'a [u8])> {
        // As decoders do: bytes before a marker are skipped, and any number of 0xff may precede its code.
        let marker = loop {
            self.at += self.bytes.get(self.at..)?.iter().position(|byte| *byte == 0xff)? + 1;
            match *self.bytes.get(self.at)? {
                0x00 => self.at += 1,
                0xff => {}
                marker => break marker,
            }
        };
        self.at += 1;
        if matches!(marker, SOI | EOI | TEM | 0xd0..=0xd7) {
            return Some((marker, &[]));
        }
        let &[high, low, ..] = self.bytes.get(self.at..)? else { return None };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let payload = self.bytes.get(self.at + 2..self.at + length.max(2))?;
        self.at += length.max(2);
        Some((marker, payload))
    }

    /// Steps over entropy-coded data up to the next marker that is not a restart, and tells their length.
    fn skip_scan(&mut self) -> usize {
        let start = self.at;
        while let Some(found) = self.bytes.get(self.at..).and_then(|rest| rest.iter().position(|byte| *byte == 0xff)) {
            match self.bytes.get(self.at + found + 1) {
                Some(0x00 | 0xd0..=0xd7) => self.at += found + 2,
                Some(0xff) => self.at += found + 1,
                _ => {
                    self.at += found;
                    return self.at - start;
                }
            }
        }
        self.at = self.bytes.len();
        self.at - start
    }
}

fn explain(error: DecodeErrors) -> Error {
    match error {
        DecodeErrors::Unsupported(scheme) => {
            Error::new(ErrorKind::UnsupportedMediaType, format!("a JPEG of this kind is not read: {scheme:?}"))
        }
        error => Error::invalid_image("the JPEG is corrupt").with_source(format!("{error:?}")),
    }
}
