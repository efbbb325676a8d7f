//! The pixels of a JPEG whose segments have been walked.
//!
//! Its headers are read by zune-jpeg, which also tells its colours and its orientation. Its pixels come from zune-jpeg
//! at full size, from `scaled` at a reduced one, and with the feature `turbojpeg` from libjpeg-turbo at any size.
//! CMYK is zune-jpeg's in any case, at full size.

use ::image::metadata::Orientation;
use zune_jpeg::{
    JpegDecoder,
    errors::DecodeErrors,
    zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions},
};

use super::{
    super::{decode::Decoded, header::broken, resize::Size, shrink::Shrink, sniff::Format},
    Frame,
};
use crate::error::{Error, ErrorKind, Result};

/// How the components of a file become grey or RGB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colours {
    Grey,
    /// Luma and two chromas.
    YCbCr,
    Rgb,
}

/// What is to be decoded: 8-bit samples, 1 or 3 to a pixel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) colours: Colours,
    pub(super) shrink: Shrink,
    /// The size after shrinking.
    pub(super) size: Size,
}

impl Wanted {
    pub(super) const fn channels(&self) -> usize {
        if matches!(self.colours, Colours::Grey) { 1 } else { 3 }
    }

    pub(super) const fn samples(&self) -> usize {
        self.size.width as usize * self.size.height as usize * self.channels()
    }
}

/// Decodes a file whose frame this is; if a decoder finds another one, it is refused before its pixels exist.
pub(super) fn decode(bytes: &[u8], frame: &Frame, shrink: Shrink) -> Result<Decoded> {
    let out = if frame.channels() == 1 { ColorSpace::Luma } else { ColorSpace::RGB };
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(frame.width as usize)
        .set_max_height(frame.height as usize)
        .jpeg_set_out_colorspace(out);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(explain)?;
    let seen = decoder.info().is_some_and(|info| {
        (u32::from(info.width), u32::from(info.height)) == (frame.width, frame.height)
            && (info.components, info.sof.is_progressive()) == (frame.components, frame.progressive)
    });
    if !seen {
        return Err(broken(Format::Jpeg));
    }
    let stored = Size { width: frame.width, height: frame.height };
    let colours = match (decoder.input_colorspace(), frame.components) {
        (Some(ColorSpace::Luma), 1) => Some(Colours::Grey),
        (Some(ColorSpace::YCbCr), 3) => Some(Colours::YCbCr),
        (Some(ColorSpace::RGB), 3) => Some(Colours::Rgb),
        _ => None,
    };
    let wanted = colours.map(|colours| Wanted {
        colours,
        shrink,
        size: Size { width: shrink.side(stored.width), height: shrink.side(stored.height) },
    });
    let (data, size, shrink) = match wanted {
        Some(wanted) if elsewhere(shrink) => (other(bytes, frame, &wanted)?, wanted.size, shrink),
        _ => (decoder.decode().map_err(explain)?, stored, Shrink::NONE),
    };
    let channels = frame.channels();
    if data.len() != size.width as usize * size.height as usize * usize::from(channels) {
        return Err(unfit());
    }
    let orientation = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    Ok(Decoded { width: size.width, height: size.height, stored, shrink, channels, orientation, data })
}

/// Whether the pixels come from another decoder than the one of the headers.
fn elsewhere(shrink: Shrink) -> bool {
    cfg!(feature = "turbojpeg") || shrink != Shrink::NONE
}

#[cfg(feature = "turbojpeg")]
use super::turbo::decode as other;

#[cfg(not(feature = "turbojpeg"))]
use super::scaled::decode as other;

pub(super) fn unfit() -> Error {
    Error::invalid_image("the JPEG is corrupt: its data do not fit its header")
}

fn explain(error: DecodeErrors) -> Error {
    match error {
        DecodeErrors::Unsupported(scheme) => {
            Error::new(ErrorKind::UnsupportedMediaType, format!("a JPEG of this kind is not read: {scheme:?}"))
        }
        error => corrupt(format!("{error:?}")),
    }
}

pub(super) fn corrupt(reason: String) -> Error {
    Error::invalid_image("the JPEG is corrupt").with_source(reason)
}
