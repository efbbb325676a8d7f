//! JPEG: its segments, whether it is all there, and its pixels.
//!
//! libjpeg-turbo makes the pixels, whole or reduced. It takes a few hundred bytes that claim a large image at their
//! word, and it reads on where scans are missing. So the segments are walked first: the file must reach the end marker
//! of its own scans, which must hold all its components and at least as many bits as its blocks need.

mod libjpeg;
mod pixels;

use std::borrow::Cow;

use super::{
    decode::{Decoded, Header},
    header::broken,
    orientation::Metadata,
    resize::Size,
    shrink::Shrink,
    sniff::Format,
};
use crate::error::{Error, ErrorKind, Result};

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const APP1: u8 = 0xe1;

/// Segments before a scan, at most: an ICC profile takes 255 of 64 KiB, extended XMP a few dozen.
const MAX_SEGMENTS: usize = 1024;
/// Bytes between segments before a scan, at most: writers align with a few.
const MAX_FILL: usize = 1 << 16;

/// Scans of a file, at most: each of them may visit every block.
const MAX_SCANS: usize = 500;

/// The start-of-frame segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub width: u32,
    pub height: u32,
    pub components: u8,
    progressive: bool,
    /// Whether the first scan holds only some of the components, so that the decoder keeps all coefficients.
    partial: bool,
    /// 8×8 blocks over all components, without the padding of incomplete groups.
    blocks: u64,
}

impl Frame {
    /// Bytes per pixel at the peak of decoding: the pixels, and all coefficients if more than one scan makes them.
    pub(super) fn weight(&self) -> u32 {
        let coefficients = if self.progressive || self.partial { 2 * u32::from(self.components) } else { 0 };
        u32::from(self.components) + coefficients
    }

    /// The fewest bits that code the image: every block takes a code for its first coefficient and, in a
    /// sequential scan, one for its end.
    const fn fewest_bits(&self) -> u64 {
        if self.progressive { self.blocks } else { 2 * self.blocks }
    }
}

/// The frame of a JPEG, read no further than the header of its first scan.
///
/// # Errors
/// `invalid_image` when the segments break off before it, `unsupported_media_type` for arithmetic, lossless,
/// hierarchical and 12-bit files.
pub(super) fn frame(bytes: &[u8]) -> Result<Frame> {
    let mut segments = Segments::new(bytes);
    let mut frame: Option<Frame> = None;
    while let Some((marker, payload)) = segments.next_segment() {
        match (marker, frame) {
            (0xc0..=0xcf, None) if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => frame = Some(frame_of(marker, payload)?),
            (SOS, Some(frame)) => {
                let partial = payload.first().is_some_and(|components| *components < frame.components);
                return Ok(Frame { partial, ..frame });
            }
            // Of two frames, a decoder could take the other one.
            (0xc0..=0xc3 | SOS | EOI, _) => break,
            _ => {}
        }
    }
    Err(broken(Format::Jpeg))
}

/// The pixels of a file with this header: 1 channel (grey) or 3 (RGB), not yet turned upright.
///
/// # Errors
/// `invalid_image` when the file is truncated or corrupt, `unsupported_media_type` for a variant that is not read.
pub(super) fn decode(bytes: &[u8], header: &Header, shrink: Shrink) -> Result<Decoded> {
    let frame = header.frame.ok_or_else(|| broken(Format::Jpeg))?;
    require_complete(bytes, &frame)?;
    pixels::decode(bytes, &frame, shrink)
}

/// Decodes a part of another file, at most as large as `most`. `stored_rgb` says that its three components are RGB
/// whatever its markers say.
///
/// # Errors
/// Those of [`decode`].
pub(super) fn decode_part(bytes: &[u8], stored_rgb: bool, most: Size) -> Result<Decoded> {
    let frame = frame(bytes)?;
    if frame.width > most.width || frame.height > most.height {
        return Err(broken(Format::Jpeg));
    }
    require_complete(bytes, &frame)?;
    pixels::decode_as(bytes, &frame, Shrink::NONE, stored_rgb && frame.components == 3)
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
    Ok(Frame { width, height, components, progressive: marker == 0xc2, partial: false, blocks })
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

/// What names the orientation, before the first scan. EXIF may be split over several segments: the first holds its
/// beginning. Of several XMP packets the last one counts, as in Pillow.
pub(super) fn metadata(bytes: &[u8]) -> Metadata<'_> {
    const EXIF: &[u8] = b"Exif\0\0";
    const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
    let mut segments = Segments::new(bytes);
    let mut metadata = Metadata::default();
    while let Some((marker, payload)) = segments.next_segment().filter(|(marker, _)| !matches!(*marker, SOS | EOI)) {
        if marker != APP1 {
            continue;
        }
        if let Some(part) = payload.strip_prefix(EXIF) {
            match &mut metadata.exif {
                Some(whole) => whole.to_mut().extend_from_slice(part),
                none => *none = Some(Cow::Borrowed(part)),
            }
        } else if let Some(packet) = payload.strip_prefix(XMP) {
            metadata.xmp = Some(Cow::Borrowed(packet));
        }
    }
    metadata
}

/// Whether the scans reach their end marker, hold every component and enough bits. What follows the end marker is
/// nobody's business.
fn require_complete(bytes: &[u8], frame: &Frame) -> Result<()> {
    let mut segments = Segments::new(bytes);
    let mut missing: Vec<u8> = Vec::new();
    let (mut scans, mut coded_bytes) = (0, 0_u64);
    while let Some((marker, payload)) = segments.next_segment() {
        match marker {
            0xc0..=0xc2 => missing = ids(payload.get(5..).unwrap_or_default(), 3).collect(),
            SOS if scans == MAX_SCANS => {
                return Err(Error::invalid_image(format!("the JPEG has more than {MAX_SCANS} scans")));
            }
            SOS => {
                scans += 1;
                coded_bytes += segments.skip_scan() as u64;
                missing.retain(|missing| !ids(payload, 2).any(|found| found == *missing));
            }
            EOI if missing.is_empty() && coded_bytes * 8 >= frame.fewest_bits() => return Ok(()),
            EOI => break,
            _ => {}
        }
    }
    Err(Error::invalid_image("the JPEG is truncated"))
}

/// The components that a frame or a scan names: their number, then for each of them `size` bytes, the id first.
fn ids(payload: &[u8], size: usize) -> impl Iterator<Item = u8> + '_ {
    let (count, rest) = payload.split_first().map_or((0, payload), |(count, rest)| (usize::from(*count), rest));
    rest.chunks_exact(size).take(count).filter_map(|component| component.first().copied())
}

/// The segments of a JPEG, by the length that each of them states, so that a thumbnail inside one is skipped.
struct Segments<'a> {
    bytes: &'a [u8],
    at: usize,
    /// What of [`MAX_SEGMENTS`] and [`MAX_FILL`] is left before the next scan.
    segments_left: usize,
    fill_left: usize,
}

impl<'a> Segments<'a> {
    /// The segments after the marker that begins the file.
    fn new(bytes: &'a [u8]) -> Self {
        let bytes = bytes.strip_prefix(&[0xff, SOI]).unwrap_or_default();
        Self { bytes, at: 0, segments_left: MAX_SEGMENTS, fill_left: MAX_FILL }
    }

    /// The next marker and its payload, or nothing where the file ends first or breaks the rules.
    ///
    /// Restart markers have no place between segments and no payload: they are skipped, as libjpeg and Pillow do.
    fn next_segment(&mut self) -> Option<(u8, &'a [u8])> {
        let marker = loop {
            self.segments_left = self.segments_left.checked_sub(1)?;
            match self.next_marker()? {
                0xd0..=0xd7 => {}
                marker => break marker,
            }
        };
        match marker {
            EOI => return Some((marker, &[])),
            0x01 | SOI => return None,
            _ => {}
        }
        let &[high, low, ..] = self.bytes.get(self.at..)? else { return None };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let payload = self.bytes.get(self.at..self.at + length)?.get(2..)?;
        self.at += length;
        Some((marker, payload))
    }

    /// As decoders do: bytes before a marker are skipped, and any number of 0xff may precede its code.
    fn next_marker(&mut self) -> Option<u8> {
        let start = self.at;
        let limit = start.saturating_add(self.fill_left).saturating_add(2).min(self.bytes.len());
        let mut after_ff = false;
        for (at, &byte) in self.bytes.get(..limit)?.iter().enumerate().skip(start) {
            match byte {
                0xff => after_ff = true,
                0x00 => after_ff = false,
                marker if after_ff => {
                    self.at = at + 1;
                    self.fill_left -= self.at - start - 2;
                    return Some(marker);
                }
                _ => {}
            }
        }
        None
    }

    /// Steps over entropy-coded data up to the next marker that is not a restart, and tells their length.
    fn skip_scan(&mut self) -> usize {
        (self.segments_left, self.fill_left) = (MAX_SEGMENTS, MAX_FILL);
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

#[cfg(test)]
mod tests;
