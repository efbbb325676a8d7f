//! Pillow's resampling, bit for bit, in integers: the same pixels on every machine.
//!
//! Two passes, horizontal then vertical, each rounded to 8 bits: Pillow up to version 12, and torchvision. (Pillow 13
//! goes vertically first where that is less work, so its images of some shapes differ by a few levels.) The weights
//! are `f64`, normalised to a sum of 1 and rounded to 22 fractional bits, as in Pillow's `src/libImaging/Resample.c`;
//! `nearest` is its `ImagingScaleAffine`.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod passes;
mod taps;

use std::borrow::Cow;

use self::taps::{Kernel, Line, Taps};
use super::spec::{Channels, FilterKind};

/// Width and height in pixels, both above 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub width: u32,
    pub height: u32,
}

/// Samples, and where among them the image lies that is to be resized.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Source {
    pub size: Size,
    pub area: Area,
}

impl From<Size> for Source {
    fn from(size: Size) -> Self {
        let (width, height) = (f64::from(size.width), f64::from(size.height));
        Self { size, area: Area { left: 0.0, top: 0.0, width, height } }
    }
}

/// A rectangle that may begin and end within a pixel: Pillow's `box`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Area {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

/// A rectangle of an image, in its pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    pub left: u32,
    pub top: u32,
    pub size: Size,
}

impl Region {
    /// The whole of an image.
    #[must_use]
    pub const fn all(size: Size) -> Self {
        Self { left: 0, top: 0, size }
    }
}

/// Interleaved 8-bit samples at another size, of which only `region` is computed: its samples are those that
/// resizing as a whole and cropping would give, at the cost of the region alone.
///
/// `data` holds `width · height · channels` samples of the source's size, its area lies within that, and `region`
/// lies within `to`. `nearest` picks from all samples, whatever the area.
#[must_use]
pub fn resize(
    data: &[u8],
    from: impl Into<Source>,
    (to, region): (Size, Region),
    channels: Channels,
    filter: FilterKind,
) -> Cow<'_, [u8]> {
    let from = from.into();
    if from == to.into() && region == Region::all(to) {
        return Cow::Borrowed(data);
    }
    let mut out = Vec::with_capacity(region.size.width as usize * region.size.height as usize * channels.count());
    resize_rows(data, from, &Scaling { to, region, channels, filter }, |row| out.extend_from_slice(row));
    Cow::Owned(out)
}

/// What is made of an image by resizing: a region of it at another size.
#[derive(Debug, Clone, Copy)]
pub struct Scaling {
    pub to: Size,
    pub region: Region,
    pub channels: Channels,
    pub filter: FilterKind,
}

/// [`resize`], which hands each row of the region to `each` as soon as it is there, from the top down: the image at its
/// new size need not be written where it is only passed on.
pub fn resize_rows(data: &[u8], from: impl Into<Source>, scaling: &Scaling, mut each: impl FnMut(&[u8])) {
    let Scaling { to, region, channels, filter } = *scaling;
    let from = from.into();
    if from == to.into() && region == Region::all(to) {
        return data.chunks_exact(to.width as usize * channels.count()).for_each(each);
    }
    let columns = Line {
        from: from.size.width,
        start: from.area.left,
        span: from.area.width,
        to: to.width,
        first: region.left,
        count: region.size.width,
    };
    let rows = Line {
        from: from.size.height,
        start: from.area.top,
        span: from.area.height,
        to: to.height,
        first: region.top,
        count: region.size.height,
    };
    match channels {
        Channels::Rgb => resample::<3>(data, columns, rows, filter, &mut each),
        Channels::Gray => resample::<1>(data, columns, rows, filter, &mut each),
    }
}

/// The largest size with the aspect ratio of `from` that fits `within`: the side that does not fill it is rounded
/// to the nearest pixel and at least 1.
#[must_use]
pub fn fit(from: Size, within: Size) -> Size {
    let (width, height) = (u64::from(from.width), u64::from(from.height));
    let (most_wide, most_high) = (u64::from(within.width), u64::from(within.height));
    let scaled = |side: u64, by: u64, over: u64, most: u32| {
        let rounded = (2 * side * by + over) / (2 * over);
        u32::try_from(rounded).unwrap_or(most).clamp(1, most)
    };
    if most_wide * height <= most_high * width {
        Size { width: within.width, height: scaled(height, most_wide, width, within.height) }
    } else {
        Size { width: scaled(width, most_high, height, within.width), height: within.height }
    }
}

fn resample<const N: usize>(data: &[u8], columns: Line, rows: Line, filter: FilterKind, each: &mut impl FnMut(&[u8])) {
    let Some(kernel) = Kernel::of(filter) else { return nearest::<N>(data, columns, rows, each) };
    let horizontal = Taps::new(columns, &kernel);
    let mut vertical = Taps::new(rows, &kernel);
    let needed = vertical.rebase();
    let stride = columns.from as usize * N;
    let data =
        passes::across::<N>(&data[needed.start * stride..needed.end * stride], columns.from as usize, &horizontal);
    let stride = columns.count as usize * N;
    if rows.is_copy() {
        data.chunks_exact(stride).for_each(each);
    } else {
        passes::down(&data, stride, &vertical, each);
    }
}

fn nearest<const N: usize>(data: &[u8], columns: Line, rows: Line, each: &mut impl FnMut(&[u8])) {
    let pixels = data.as_chunks::<N>().0;
    let from_columns = positions(columns);
    let mut picked = Vec::with_capacity(columns.count as usize * N);
    for y in positions(rows) {
        let row = &pixels[y * columns.from as usize..];
        picked.clear();
        picked.extend(from_columns.iter().flat_map(|x| row[*x]));
        each(&picked);
    }
}

/// ⌊(i + ½) · from / to⌋, by adding up steps as Pillow does, so that sums which fall on a whole number round alike.
fn positions(line: Line) -> Vec<usize> {
    let step = f64::from(line.from) / f64::from(line.to);
    let mut at = step * 0.5;
    let mut found = Vec::with_capacity(line.count as usize);
    for i in 0..line.first + line.count {
        if i >= line.first {
            found.push((at as usize).min(line.from as usize - 1));
        }
        at += step;
    }
    found
}

#[cfg(test)]
mod tests;
