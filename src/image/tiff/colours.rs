//! The samples of a TIFF → grey, grey and alpha, RGB or RGBA, by Pillow's conversions.

use super::{
    super::{ifd::Directory, pixels::rgb_of_cmyk},
    Alpha, Colours, Layout, corrupt, tag,
};
use crate::error::Result;

/// Channels, 1 to 4, and the pixels. There are as many samples as the layout says.
pub(super) fn interpret(layout: &Layout, bytes: &[u8], samples: Vec<u8>) -> Result<(u8, Vec<u8>)> {
    let stride = layout.samples as usize;
    Ok(match (layout.colours, layout.alpha) {
        (Colours::Grey | Colours::InvertedGrey, Alpha::None) => (1, grey(layout, samples)),
        (Colours::Grey | Colours::InvertedGrey, alpha) => (2, with_alpha::<2>(samples, stride, alpha)),
        (Colours::Rgb, Alpha::None) => (3, first_of::<3>(samples, stride)),
        (Colours::Rgb, alpha) => (4, with_alpha::<4>(samples, stride, alpha)),
        (Colours::Palette, alpha) => {
            let palette = Palette::read(layout, bytes)?;
            if alpha == Alpha::None {
                (3, samples.chunks_exact(stride).flat_map(|pixel| palette.colour(pixel[0])).collect())
            } else {
                let pixel = |pixel: &[u8]| {
                    let [r, g, b] = palette.colour(pixel[0]);
                    [r, g, b, pixel[1]]
                };
                (4, samples.chunks_exact(stride).flat_map(pixel).collect())
            }
        }
        (Colours::Cmyk, _) => {
            let mut inks = first_of::<4>(samples, stride);
            inks.iter_mut().for_each(|ink| *ink = 255 - *ink);
            (3, rgb_of_cmyk(inks))
        }
        // libjpeg has made RGB of it already
        (Colours::YCbCr, _) if layout.jpeg => (3, samples),
        (Colours::YCbCr, _) => (3, samples.chunks_exact(stride).flat_map(rgb_of_ycbcr).collect()),
    })
}

fn grey(layout: &Layout, samples: Vec<u8>) -> Vec<u8> {
    let mut levels = first_of::<1>(samples, layout.samples as usize);
    let step = match layout.bits {
        1 => 255,
        2 => 85,
        4 => 17,
        _ => 1,
    };
    let inverted = layout.colours == Colours::InvertedGrey;
    if step > 1 || inverted {
        for level in &mut levels {
            let bright = *level * step;
            *level = if inverted { 255 - bright } else { bright };
        }
    }
    levels
}

/// The first `N` samples of each pixel of `stride`, in place.
fn first_of<const N: usize>(mut samples: Vec<u8>, stride: usize) -> Vec<u8> {
    if stride > N {
        let count = samples.len() / stride;
        for pixel in 0..count {
            samples.copy_within(pixel * stride..pixel * stride + N, pixel * N);
        }
        samples.truncate(count * N);
        samples.shrink_to_fit();
    }
    samples
}

/// Pixels whose last of `N` samples is alpha, with straight colours.
fn with_alpha<const N: usize>(samples: Vec<u8>, stride: usize, alpha: Alpha) -> Vec<u8> {
    let mut pixels = first_of::<N>(samples, stride);
    if alpha == Alpha::Associated {
        for pixel in pixels.as_chunks_mut::<N>().0 {
            let alpha = u32::from(pixel[N - 1]);
            for colour in &mut pixel[..N - 1] {
                // Divided without rounding and cut off at white, as Pillow does; without alpha there is no colour.
                let straight = (255 * u32::from(*colour)).checked_div(alpha).unwrap_or(0);
                *colour = u8::try_from(straight).unwrap_or(u8::MAX);
            }
        }
    }
    pixels
}

/// JPEG's colours, as in JFIF.
fn rgb_of_ycbcr(pixel: &[u8]) -> [u8; 3] {
    let [y, cb, cr] = [f32::from(pixel[0]), f32::from(pixel[1]) - 128.0, f32::from(pixel[2]) - 128.0];
    // a float is cut off at 0 and 255 as it becomes a byte
    [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb].map(|level| level.round() as u8)
}

/// The upper bytes of a colour map: all reds, then all greens, then all blues.
struct Palette {
    levels: Vec<u8>,
    size: usize,
}

impl Palette {
    fn read(layout: &Layout, bytes: &[u8]) -> Result<Self> {
        let entry = Directory::first(bytes).and_then(|directory| directory.entry(tag::PALETTE)).ok_or_else(corrupt)?;
        let size = 1 << layout.bits;
        // of 16 bits
        let levels: Vec<u8> = entry.numbers().take(3 * size).map(|level| (level >> 8) as u8).collect();
        if levels.len() == 3 * size { Ok(Self { levels, size }) } else { Err(corrupt()) }
    }

    fn colour(&self, number: u8) -> [u8; 3] {
        [0, 1, 2].map(|channel| self.levels[channel * self.size + usize::from(number)])
    }
}
