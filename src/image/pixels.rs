//! Stored pixels → the pixels a model looks at: transparency, colour, orientation.

use std::borrow::Cow;

use ::image::metadata::Orientation;

use super::{
    decode::Decoded,
    resize::{Area, Size, Source},
    spec::{Background, Channels, InputSpec},
};

/// An 8-bit image, row by row, channels interleaved (HWC).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pixels {
    pub width: u32,
    pub height: u32,
    pub channels: Channels,
    /// `width · height · channels` values.
    pub data: Vec<u8>,
}

/// An image with values in 0…1, channel after channel (CHW).
#[derive(Debug, Clone, PartialEq)]
pub struct Plane {
    pub width: u32,
    pub height: u32,
    pub channels: usize,
    /// `channels · height · width` values.
    pub data: Vec<f32>,
}

impl Plane {
    /// Pixels of one channel.
    #[must_use]
    pub const fn area(&self) -> usize {
        self.width as usize * self.height as usize
    }

    #[must_use]
    pub const fn same_shape(&self, other: &Self) -> bool {
        self.width == other.width && self.height == other.height && self.channels == other.channels
    }
}

impl Decoded {
    /// The image at its own size as a model's input describes it: transparent pixels flattened on the
    /// background, in the channels asked for, upright (if the input wants that). Shrunk, if it was decoded so.
    #[must_use]
    pub fn to_pixels(&self, input: &InputSpec) -> Pixels {
        let View { source: Source { size, .. }, data, .. } = self.view(input);
        Pixels { width: size.width, height: size.height, channels: input.channels, data: data.into_owned() }
    }

    /// The size of the image in the file, turned upright if the input wants that.
    #[must_use]
    pub const fn upright(&self, input: &InputSpec) -> Size {
        if input.orientation { turned(self.stored, self.orientation) } else { self.stored }
    }

    /// What [`to_pixels`](Self::to_pixels) holds, borrowed where nothing has to change.
    pub(super) fn view(&self, input: &InputSpec) -> View<'_> {
        let size = Size { width: self.width, height: self.height };
        let data = coloured(&self.data, self.channels, input.channels, input.background);
        if !input.orientation || self.orientation == Orientation::NoTransforms {
            let source = Source { size, area: self.area(Orientation::NoTransforms) };
            return View { upright: self.stored, source, data };
        }
        let upright = match input.channels {
            Channels::Rgb => oriented::<3>(&data, size, self.orientation),
            Channels::Gray => oriented::<1>(&data, size, self.orientation),
        };
        let source = Source { size: turned(size, self.orientation), area: self.area(self.orientation) };
        View { upright: turned(self.stored, self.orientation), source, data: Cow::Owned(upright) }
    }

    /// Where the stored image lies in the pixels, once they are turned: all of them, but for the pixels at the far
    /// edges of a shrunk image, which may stand for fewer of the file's than the others do.
    fn area(&self, orientation: Orientation) -> Area {
        let side = |stored: u32| f64::from(stored) / f64::from(self.shrink.factor());
        let (width, height) = (side(self.stored.width), side(self.stored.height));
        let spare = (f64::from(self.width) - width, f64::from(self.height) - height);
        let (flipped_x, flipped_y, swapped) = match orientation {
            Orientation::NoTransforms => (false, false, false),
            Orientation::FlipHorizontal => (true, false, false),
            Orientation::FlipVertical => (false, true, false),
            Orientation::Rotate180 => (true, true, false),
            Orientation::Rotate90FlipH => (false, false, true),
            Orientation::Rotate90 => (false, true, true),
            Orientation::Rotate270FlipH => (true, true, true),
            Orientation::Rotate270 => (true, false, true),
        };
        let left = if flipped_x { spare.0 } else { 0.0 };
        let top = if flipped_y { spare.1 } else { 0.0 };
        if swapped {
            Area { left: top, top: left, width: height, height: width }
        } else {
            Area { left, top, width, height }
        }
    }
}

/// An image as a model's input describes it, before it is resized.
pub(super) struct View<'a> {
    /// The size of the image in the file, turned upright.
    pub(super) upright: Size,
    pub(super) source: Source,
    pub(super) data: Cow<'a, [u8]>,
}

/// Rec. 601 luma in 16-bit fixed point, rounded: Pillow's conversion to mode L.
pub(super) const fn luma([r, g, b]: [u8; 3]) -> u8 {
    ((r as u32 * 19595 + g as u32 * 38470 + b as u32 * 7471 + 0x8000) >> 16) as u8
}

/// Inverted CMYK, as Adobe's programs write it, → RGB by Pillow's conversion, in place.
pub(super) fn rgb_of_cmyk(mut pixels: Vec<u8>) -> Vec<u8> {
    let count = pixels.len() / 4;
    for pixel in 0..count {
        let black = pixels[4 * pixel + 3];
        for channel in 0..3 {
            // Pillow's (255 − k) − (255 − k) · c / 255, of c and k that are inverted here.
            pixels[3 * pixel + channel] = black - scaled(255 - pixels[4 * pixel + channel], black);
        }
    }
    pixels.truncate(3 * count);
    pixels.shrink_to_fit();
    pixels
}

/// a · b / 255, rounded, in integers.
const fn scaled(a: u8, b: u8) -> u8 {
    let sum = a as u32 * b as u32 + 128;
    (((sum >> 8) + sum) >> 8) as u8
}

/// The background in the channels of an image, 1 or 3 values.
pub(super) fn background(colour: Background, channels: Channels) -> Vec<u8> {
    match channels {
        Channels::Rgb => colour.0.to_vec(),
        Channels::Gray => vec![luma(colour.0)],
    }
}

fn coloured(data: &[u8], stored: u8, channels: Channels, background: Background) -> Cow<'_, [u8]> {
    match (stored, channels) {
        (1, Channels::Gray) | (3, Channels::Rgb) => Cow::Borrowed(data),
        (1, Channels::Rgb) => Cow::Owned(data.iter().flat_map(|grey| [*grey; 3]).collect()),
        (3, Channels::Gray) => Cow::Owned(data.as_chunks::<3>().0.iter().map(|rgb| luma(*rgb)).collect()),
        (2, Channels::Rgb) => Cow::Owned(flattened(data.as_chunks().0, background).flatten().collect()),
        (2, Channels::Gray) => Cow::Owned(flattened(data.as_chunks().0, background).map(luma).collect()),
        (_, Channels::Rgb) => Cow::Owned(flattened_rgba(data.as_chunks().0, background).flatten().collect()),
        (_, Channels::Gray) => Cow::Owned(flattened_rgba(data.as_chunks().0, background).map(luma).collect()),
    }
}

fn flattened(pixels: &[[u8; 2]], Background(under): Background) -> impl Iterator<Item = [u8; 3]> + '_ {
    pixels.iter().map(move |&[grey, alpha]| under.map(|under| blend(under, grey, alpha)))
}

fn flattened_rgba(pixels: &[[u8; 4]], Background([r, g, b]): Background) -> impl Iterator<Item = [u8; 3]> + '_ {
    pixels.iter().map(move |&[over_r, over_g, over_b, alpha]| {
        [blend(r, over_r, alpha), blend(g, over_g, alpha), blend(b, over_b, alpha)]
    })
}

/// Pillow's blend under a mask: (under · (255 − α) + over · α) / 255, rounded, in integers.
const fn blend(under: u8, over: u8, alpha: u8) -> u8 {
    let sum = under as u32 * (255 - alpha as u32) + over as u32 * alpha as u32 + 128;
    (((sum >> 8) + sum) >> 8) as u8
}

const fn turned(size: Size, orientation: Orientation) -> Size {
    match orientation {
        Orientation::NoTransforms
        | Orientation::FlipHorizontal
        | Orientation::FlipVertical
        | Orientation::Rotate180 => size,
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH => {
            Size { width: size.height, height: size.width }
        }
    }
}

/// The upright image. Each of its rows is a row or a column of the stored one, read forwards or backwards.
fn oriented<const N: usize>(data: &[u8], size: Size, orientation: Orientation) -> Vec<u8> {
    let (width, height) = (size.width as usize, size.height as usize);
    let pixels = data.as_chunks::<N>().0;
    let mut out = Vec::with_capacity(data.len());
    match orientation {
        Orientation::NoTransforms => out.extend_from_slice(data),
        Orientation::FlipVertical => {
            pixels.chunks_exact(width).rev().for_each(|row| out.extend_from_slice(row.as_flattened()))
        }
        Orientation::FlipHorizontal => {
            pixels.chunks_exact(width).for_each(|row| out.extend(row.iter().rev().copied().flatten()));
        }
        Orientation::Rotate180 => out.extend(pixels.iter().rev().copied().flatten()),
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH => {
            // EXIF 5: transposed; 6: rows are columns from below; 8: columns from the right; 7: both.
            let from_below = matches!(orientation, Orientation::Rotate90 | Orientation::Rotate270FlipH);
            let from_right = matches!(orientation, Orientation::Rotate270 | Orientation::Rotate270FlipH);
            out.resize(data.len(), 0);
            let target = out.as_chunks_mut::<N>().0;
            // In strips of source rows, so that the lines of the cache that are written stay in it.
            const STRIP: usize = 32;
            for strip in (0..height).step_by(STRIP) {
                for column in 0..width {
                    let row = if from_right { width - 1 - column } else { column };
                    for y in strip..(strip + STRIP).min(height) {
                        let x = if from_below { height - 1 - y } else { y };
                        target[row * height + x] = pixels[y * width + column];
                    }
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
