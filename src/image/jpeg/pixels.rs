//! The pixels of a JPEG whose segments have been walked.

use ::image::metadata::Orientation;

use super::{
    super::{decode::Decoded, header::broken, pixels::rgb_of_cmyk, resize::Size, shrink::Shrink, sniff::Format},
    Frame,
    libjpeg::{self, Failure, Request},
};
use crate::error::{Error, ErrorKind, Result};

/// Decodes a file whose frame this is; if libjpeg finds another one, the file is refused.
///
/// CMYK is decoded whole: its conversion to RGB is not linear, so that means of CMYK are other colours.
pub(super) fn decode(bytes: &[u8], frame: &Frame, shrink: Shrink) -> Result<Decoded> {
    decode_as(bytes, frame, shrink, false)
}

/// [`decode`], of which `stored_rgb` says that the three components of the file are RGB whatever its markers say.
pub(super) fn decode_as(bytes: &[u8], frame: &Frame, shrink: Shrink, stored_rgb: bool) -> Result<Decoded> {
    let shrink = if frame.components == 4 { Shrink::NONE } else { shrink };
    let stored = Size { width: frame.width, height: frame.height };
    let (width, height) = (shrink.side(stored.width), shrink.side(stored.height));
    let request = Request {
        width: frame.width,
        height: frame.height,
        components: frame.components.into(),
        progressive: frame.progressive.into(),
        factor: shrink.factor(),
        output_width: width,
        output_height: height,
        output_channels: frame.components.into(),
        stored_rgb: stored_rgb.into(),
    };
    let pixels = libjpeg::decode(bytes, &request).map_err(explain)?;
    let (data, channels) = if frame.components == 4 { (rgb_of_cmyk(pixels), 3) } else { (pixels, frame.components) };
    Ok(Decoded { width, height, stored, shrink, channels, orientation: Orientation::NoTransforms, data })
}

fn explain(failure: Failure) -> Error {
    match failure {
        Failure::Mismatch => broken(Format::Jpeg),
        Failure::Unfinished => Error::invalid_image("the JPEG is truncated: its last scans are missing"),
        Failure::Corrupt(reason) => Error::invalid_image(format!("the JPEG is truncated or corrupt: {reason}")),
        Failure::Unsupported(reason) => Error::new(
            ErrorKind::UnsupportedMediaType,
            format!("this kind of JPEG is not read by this server: {reason}"),
        ),
    }
}
