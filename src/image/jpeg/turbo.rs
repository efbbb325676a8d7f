//! Any size by libjpeg-turbo: the feature `turbojpeg`.

use turbojpeg::{Decompressor, Image, PixelFormat, ScalingFactor};

use super::{
    Frame,
    pixels::{Colours, Wanted, corrupt, unfit},
};
use crate::error::Result;

/// Scans of a progressive file, at most: each of them may visit every block.
const MAX_SCANS: u32 = 500;

pub(super) fn decode(bytes: &[u8], frame: &Frame, wanted: &Wanted) -> Result<Vec<u8>> {
    let explain = |error: turbojpeg::Error| corrupt(error.to_string());
    let mut decoder = Decompressor::new().map_err(explain)?;
    decoder.set_scan_limit(MAX_SCANS).map_err(explain)?;
    let header = decoder.read_header(bytes).map_err(explain)?;
    if (header.width, header.height) != (frame.width as usize, frame.height as usize) {
        return Err(unfit());
    }
    decoder.set_scaling_factor(ScalingFactor::new(1, wanted.shrink.factor() as usize)).map_err(explain)?;
    let mut pixels = vec![0; wanted.samples()];
    let image = Image {
        pixels: &mut pixels[..],
        width: wanted.size.width as usize,
        pitch: wanted.size.width as usize * wanted.channels(),
        height: wanted.size.height as usize,
        format: if wanted.colours == Colours::Grey { PixelFormat::GRAY } else { PixelFormat::RGB },
    };
    decoder.decompress(bytes, image).map_err(explain)?;
    Ok(pixels)
}
