//! Reduced sizes in pure Rust: of sequential files by our own decoder, of others by jpeg-decoder, which starts a thread for
//! each component.

use jpeg_decoder::{ColorTransform, Decoder, Error as JpegError};

use super::{
    Frame,
    pixels::{Colours, Wanted, corrupt, unfit},
    reduced,
};
use crate::error::{Error, ErrorKind, Result};

pub(super) fn decode(bytes: &[u8], frame: &Frame, wanted: &Wanted) -> Result<Vec<u8>> {
    match reduced::decode(bytes, frame, wanted)? {
        Some(pixels) => Ok(pixels),
        None => by_library(bytes, frame, wanted),
    }
}

pub(super) fn by_library(bytes: &[u8], frame: &Frame, wanted: &Wanted) -> Result<Vec<u8>> {
    let mut decoder = Decoder::new(bytes);
    decoder.set_max_decoding_buffer_size(wanted.samples());
    decoder.set_color_transform(match wanted.colours {
        Colours::Grey => ColorTransform::Grayscale,
        Colours::YCbCr => ColorTransform::YCbCr,
        Colours::Rgb => ColorTransform::RGB,
    });
    decoder.read_info().map_err(explain)?;
    let seen = decoder.info().map(|info| (u32::from(info.width), u32::from(info.height)));
    if seen != Some((frame.width, frame.height)) {
        return Err(unfit());
    }
    // sides came from 16 bits, so that nothing is cut off
    let size = (wanted.shrink.side(frame.width) as u16, wanted.shrink.side(frame.height) as u16);
    if decoder.scale(size.0, size.1).map_err(explain)? != size {
        return Err(Error::internal("jpeg-decoder chose another size than the one that was asked for"));
    }
    decoder.decode().map_err(explain)
}

fn explain(error: JpegError) -> Error {
    match error {
        JpegError::Unsupported(feature) => {
            Error::new(ErrorKind::UnsupportedMediaType, format!("a JPEG of this kind is not read: {feature:?}"))
        }
        error => corrupt(error.to_string()),
    }
}
