//! Bytes → 8-bit pixels as stored, within limits told from the header.

use std::{
    io::Cursor,
    panic::{AssertUnwindSafe, catch_unwind},
};

use ::image::{
    ColorType, ImageDecoder, ImageError, ImageResult, Limits,
    codecs::{bmp::BmpDecoder, png::PngDecoder, webp::WebPDecoder},
    error::ImageFormatHint,
    metadata::Orientation,
};

use super::{
    bmp, complete, gif, header, jpeg, orientation,
    resize::Size,
    shrink::Shrink,
    sniff::{Format, sniff},
    tiff,
};
use crate::{
    compute::panic_message,
    error::{Error, ErrorKind, Result},
};

/// The longest side of an image: as long as the 16 bits of most formats allow. What resizing takes grows with it.
const MAX_SIDE: u32 = 65_535;

/// What a decoder may allocate beside the pixels: palettes, tables, metadata.
pub(super) const SPARE_BYTES: u64 = 16 << 20;

/// What a file says about itself before anything is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub format: Format,
    /// As stored, before orientation.
    pub width: u32,
    /// As stored, before orientation.
    pub height: u32,
    /// Bytes per pixel that decoding takes at its peak.
    pub(super) weight: u32,
    /// The frame of a JPEG, so that its decoder need not walk the segments again.
    pub(super) frame: Option<jpeg::Frame>,
}

impl Header {
    /// The pixels of the image as stored.
    #[must_use]
    pub fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// Whether an image of this size is decoded at all.
    ///
    /// # Errors
    /// `image_too_large`: more than `max_pixels` pixels, or a side of more than 65,535.
    pub fn check_size(&self, max_pixels: u64) -> Result<()> {
        let pixels = self.pixels();
        if pixels > max_pixels {
            return Err(Error::new(
                ErrorKind::ImageTooLarge,
                format!(
                    "the image has {} × {} = {pixels} pixels; the limit `limits.image_pixels` is {max_pixels}",
                    self.width, self.height
                ),
            ));
        }
        let longer = self.width.max(self.height);
        if longer > MAX_SIDE {
            return Err(Error::new(
                ErrorKind::ImageTooLarge,
                format!("the image has a side of {longer} pixels; {MAX_SIDE} is the most"),
            ));
        }
        Ok(())
    }

    /// The pixels that decoding gives: fewer than the file has for a JPEG that is decoded at a reduced size.
    #[must_use]
    pub fn decoded_pixels(&self, shrink: Shrink) -> u64 {
        let shrink = if self.is_reducible() { shrink } else { Shrink::NONE };
        u64::from(shrink.side(self.width)) * u64::from(shrink.side(self.height))
    }

    /// An upper estimate of the memory that decoding the image at this size takes at its peak, in bytes.
    #[must_use]
    pub fn decoded_bytes(&self, shrink: Shrink) -> u64 {
        match self.frame {
            // The coefficients of a progressive file are kept at full size, however small its pixels get.
            Some(frame) if self.is_reducible() => {
                let channels = u64::from(frame.components);
                let coefficients = u64::from(self.weight).saturating_sub(channels);
                self.decoded_pixels(shrink) * channels + self.pixels() * coefficients
            }
            _ => self.pixels() * u64::from(self.weight),
        }
    }

    /// Whether the decoder gives fewer pixels than the file has; CMYK is always decoded at full size.
    fn is_reducible(&self) -> bool {
        self.frame.is_some_and(|frame| frame.components <= 3)
    }
}

/// The format and size of an image, from its first bytes: microseconds, no allocation.
///
/// # Errors
/// - `invalid_image`: empty, not an image, or a header that is broken or cut off
/// - `unsupported_media_type`: an image format, or a variant of one, that is not read
pub fn read_header(bytes: &[u8]) -> Result<Header> {
    header::read(sniff(bytes)?, bytes)
}

/// The header of an image of at most `max_pixels` pixels.
///
/// # Errors
/// Those of [`read_header`] and of [`Header::check_size`].
pub fn probe(bytes: &[u8], max_pixels: u64) -> Result<Header> {
    let header = read_header(bytes)?;
    header.check_size(max_pixels)?;
    Ok(header)
}

/// An upper estimate of the memory that decoding the image at full size takes at its peak, in bytes.
#[must_use]
pub fn decoded_bytes(header: &Header) -> u64 {
    header.decoded_bytes(Shrink::NONE)
}

/// An image as stored: 8-bit grey, grey and alpha, RGB, or RGBA, with an orientation that is not yet applied.
///
/// Of a JPEG there may be fewer pixels than the file has ([`decode_shrunk`]).
pub struct Decoded {
    /// Of the pixels in `data`.
    pub(super) width: u32,
    pub(super) height: u32,
    /// Of the image in the file.
    pub(super) stored: Size,
    pub(super) shrink: Shrink,
    /// 1…4.
    pub(super) channels: u8,
    pub(super) orientation: Orientation,
    pub(super) data: Vec<u8>,
}

impl Decoded {
    /// As stored, before orientation.
    #[must_use]
    pub const fn width(&self) -> u32 {
        self.stored.width
    }

    /// As stored, before orientation.
    #[must_use]
    pub const fn height(&self) -> u32 {
        self.stored.height
    }

    /// By how much it was decoded smaller than it is.
    #[must_use]
    pub const fn shrink(&self) -> Shrink {
        self.shrink
    }

    /// The memory of the pixels.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.data.capacity()
    }
}

/// Decodes an image of at most `max_pixels` pixels: the first frame of a GIF, the still image of an animated
/// PNG, the first frame of a WebP, the first page of a TIFF. 16-bit samples keep their upper byte, as
/// those of colours do in Pillow. Embedded colour profiles are not applied.
///
/// # Errors
/// Those of [`probe`], and `invalid_image` for a file that is truncated or corrupt.
pub fn decode(bytes: &[u8], max_pixels: u64) -> Result<Decoded> {
    decode_shrunk(bytes, max_pixels, Shrink::NONE)
}

/// [`decode`] for an image that will be resized to a size of which [`Shrink::between`] made `shrink`. Formats other
/// than JPEG are decoded as they are.
///
/// # Errors
/// Those of [`decode`].
pub fn decode_shrunk(bytes: &[u8], max_pixels: u64, shrink: Shrink) -> Result<Decoded> {
    decode_known(&probe(bytes, max_pixels)?, bytes, shrink)
}

/// [`decode_shrunk`] of bytes whose header has been read and whose size has been checked before.
///
/// # Errors
/// `invalid_image` for a file that is truncated or corrupt, `unsupported_media_type` for a variant that is not read.
pub fn decode_known(header: &Header, bytes: &[u8], shrink: Shrink) -> Result<Decoded> {
    let bytes = complete::require(header, bytes)?;
    // The decoders are other people's code and the bytes are anybody's: a panic is a corrupt image.
    let decoded =
        catch_unwind(AssertUnwindSafe(|| decode_format(header, bytes, shrink))).unwrap_or_else(|payload| {
            let reason = panic_message(payload.as_ref()).to_owned();
            Err(corrupt(header.format).with_source(format!("the decoder panicked: {reason}")))
        })?;
    Ok(Decoded { orientation: orientation::read(header.format, bytes), ..decoded })
}

fn decode_format(header: &Header, bytes: &[u8], shrink: Shrink) -> Result<Decoded> {
    let reader = Cursor::new(bytes);
    let limits = limits(header);
    let decoded = match header.format {
        Format::Jpeg => return jpeg::decode(bytes, header, shrink),
        Format::Tiff => return tiff::Layout::read(bytes)?.decode(bytes, decoded_bytes(header)),
        Format::Gif => {
            let decoded = gif::Layout::read(bytes).and_then(|layout| layout.decode());
            return decoded.ok_or_else(|| corrupt(header.format));
        }
        Format::Png => {
            PngDecoder::with_limits(reader, limits.clone()).and_then(|decoder| read(decoder, header, limits))
        }
        Format::WebP => WebPDecoder::new(reader).and_then(|decoder| read(decoder, header, limits)),
        Format::Bmp => match bmp::RunLengths::read(bytes) {
            Some(runs) => return runs.decode().ok_or_else(|| corrupt(header.format)),
            None => BmpDecoder::new(reader).and_then(|decoder| read(decoder, header, limits)),
        },
    };
    decoded.map_err(|error| explain(error, header.format))
}

/// `set_limits` alone would leave the buffer for the pixels out of the account.
fn limits(header: &Header) -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(header.width);
    limits.max_image_height = Some(header.height);
    limits.max_alloc = Some(decoded_bytes(header) + SPARE_BYTES);
    limits
}

fn read<D: ImageDecoder>(mut decoder: D, header: &Header, limits: Limits) -> ImageResult<Decoded> {
    // The decoder must see the image that was admitted, not another one deeper in the file.
    if decoder.dimensions() != (header.width, header.height) {
        return Err(ImageError::Limits(::image::error::LimitError::from_kind(
            ::image::error::LimitErrorKind::DimensionError,
        )));
    }
    decoder.set_limits(limits)?;
    let colour = decoder.color_type();
    let (channels, wide) = match colour {
        ColorType::L8 => (1, false),
        ColorType::La8 => (2, false),
        ColorType::Rgb8 => (3, false),
        ColorType::Rgba8 => (4, false),
        ColorType::L16 => (1, true),
        ColorType::La16 => (2, true),
        ColorType::Rgb16 => (3, true),
        ColorType::Rgba16 => (4, true),
        other => {
            return Err(ImageError::Unsupported(::image::error::UnsupportedError::from_format_and_kind(
                ImageFormatHint::Unknown,
                ::image::error::UnsupportedErrorKind::Color(other.into()),
            )));
        }
    };
    let mut data = vec![0; usize::try_from(decoder.total_bytes()).unwrap_or(usize::MAX)];
    decoder.read_image(&mut data)?;
    if wide {
        keep_upper_bytes(&mut data);
    }
    let Header { width, height, .. } = *header;
    let stored = Size { width, height };
    let orientation = Orientation::NoTransforms;
    Ok(Decoded { width, height, stored, shrink: Shrink::NONE, channels, orientation, data })
}

/// 16-bit samples in the machine's byte order → their upper 8 bits, in place.
pub(super) fn keep_upper_bytes(data: &mut Vec<u8>) {
    let upper = usize::from(cfg!(target_endian = "little"));
    for sample in 0..data.len() / 2 {
        data[sample] = data[2 * sample + upper];
    }
    data.truncate(data.len() / 2);
    data.shrink_to_fit();
}

fn corrupt(format: Format) -> Error {
    Error::invalid_image(format!("the {} is truncated or corrupt", format.name()))
}

fn explain(error: ImageError, format: Format) -> Error {
    match error {
        ImageError::Unsupported(reason) => Error::new(
            ErrorKind::UnsupportedMediaType,
            format!("this kind of {} is not read by this server: {reason}", format.name()),
        ),
        other => corrupt(format).with_source(other),
    }
}

#[cfg(test)]
mod tests;
