//! Pillow's resampling, bit for bit, in integers: the same pixels on every machine.
//!
//! Two passes, horizontal then vertical, each rounded to 8 bits: Pillow up to version 12, and torchvision. (Pillow 13
//! goes vertically first where that is less work, so its pictures of some shapes differ by a few levels.) The weights are `f64`, normalised to a sum of 1
//! and rounded to 22 fractional bits, as in Pillow's `src/libImaging/Resample.c`; `nearest` is its
//! `ImagingScaleAffine`.

use std::{borrow::Cow, f64::consts::PI, ops::Range};

use super::spec::{Channels, FilterKind};

/// Fractional bits of a weight: 32 less 8 of the sample and 2 of headroom for weights outside 0…1.
const PRECISION: u32 = 32 - 8 - 2;

/// Width and height in pixels, both above 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub width: u32,
    pub height: u32,
}

/// Samples, and where among them the picture lies that is to be resized.
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

/// A rectangle of a picture, in its pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    pub left: u32,
    pub top: u32,
    pub size: Size,
}

impl Region {
    /// The whole of a picture.
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
    Cow::Owned(match channels {
        Channels::Rgb => resample::<3>(data, columns, rows, filter),
        Channels::Gray => resample::<1>(data, columns, rows, filter),
    })
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

/// One dimension of a resize: `count` samples from `first` on, of `to` samples made of what lies within `span` from
/// `start` on, of `from` samples.
#[derive(Clone, Copy)]
struct Line {
    from: u32,
    start: f64,
    span: f64,
    to: u32,
    first: u32,
    count: u32,
}

impl Line {
    /// Whether every sample is one of the source's.
    fn is_copy(&self) -> bool {
        self.from == self.to && self.start == 0.0 && self.span == f64::from(self.from)
    }
}

fn resample<const N: usize>(data: &[u8], columns: Line, rows: Line, filter: FilterKind) -> Vec<u8> {
    let Some(kernel) = Kernel::of(filter) else { return nearest::<N>(data, columns, rows) };
    let horizontal = Taps::new(columns, &kernel);
    let mut vertical = Taps::new(rows, &kernel);
    let needed = vertical.rebase();
    let stride = columns.from as usize * N;
    let data = across::<N>(&data[needed.start * stride..needed.end * stride], columns.from as usize, &horizontal);
    if rows.is_copy() { data } else { down(&data, columns.count as usize * N, &vertical) }
}

/// A filter's weight at a distance, 0 beyond its support, in pixels of the coarser picture.
struct Kernel {
    support: f64,
    weight: fn(f64) -> f64,
}

impl Kernel {
    const fn of(filter: FilterKind) -> Option<Self> {
        match filter {
            FilterKind::Nearest => None,
            FilterKind::Bilinear => Some(Self { support: 1.0, weight: triangle }),
            FilterKind::Bicubic => Some(Self { support: 2.0, weight: cubic }),
            FilterKind::Lanczos => Some(Self { support: 3.0, weight: lanczos }),
        }
    }
}

fn triangle(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 { 1.0 - x } else { 0.0 }
}

/// Keys 1981 with a = −0.5.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn lanczos(x: f64) -> f64 {
    fn sinc(x: f64) -> f64 {
        if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) }
    }
    if (-3.0..3.0).contains(&x) { sinc(x) * sinc(x / 3.0) } else { 0.0 }
}

/// For each sample of the result, the samples it is made of: `weights[i · most..][..count]` from `first` on.
struct Taps {
    windows: Vec<Window>,
    weights: Vec<i32>,
    most: usize,
}

#[derive(Clone, Copy)]
struct Window {
    first: usize,
    count: usize,
}

impl Taps {
    fn new(line: Line, kernel: &Kernel) -> Self {
        let wanted = line.first..line.first + line.count;
        if line.is_copy() {
            let windows = wanted.map(|first| Window { first: first as usize, count: 1 }).collect();
            return Self { windows, weights: vec![1 << PRECISION; line.count as usize], most: 1 };
        }
        let scale = line.span / f64::from(line.to);
        let stretch = scale.max(1.0);
        let support = kernel.support * stretch;
        let most = support.ceil() as usize * 2 + 1;
        let mut windows = Vec::with_capacity(line.count as usize);
        let mut weights = vec![0; line.count as usize * most];
        let mut exact = Vec::with_capacity(most);
        for (i, rounded) in wanted.zip(weights.chunks_exact_mut(most)) {
            let center = line.start + (f64::from(i) + 0.5) * scale;
            // The casts cut off, and at 0, as C's do here.
            let first = (center - support + 0.5) as usize;
            let end = ((center + support + 0.5) as usize).min(line.from as usize);
            let reciprocal = 1.0 / stretch;
            exact.clear();
            exact.extend((first..end).map(|at| (kernel.weight)((at as f64 - center + 0.5) * reciprocal)));
            let sum: f64 = exact.iter().sum();
            for (rounded, exact) in rounded.iter_mut().zip(&exact) {
                *rounded = fixed_point(if sum == 0.0 { *exact } else { exact / sum });
            }
            windows.push(Window { first, count: exact.len() });
        }
        Self { windows, weights, most }
    }

    /// Counts positions from the first sample that is needed, and tells which ones are.
    fn rebase(&mut self) -> Range<usize> {
        let start = self.windows.first().map_or(0, |window| window.first);
        let end = self.windows.last().map_or(0, |window| window.first + window.count);
        for window in &mut self.windows {
            window.first -= start;
        }
        start..end
    }

    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        let weights = self.weights.chunks_exact(self.most);
        self.windows.iter().zip(weights).map(|(window, weights)| (window.first, &weights[..window.count]))
    }
}

fn fixed_point(weight: f64) -> i32 {
    let scaled = weight * f64::from(1 << PRECISION);
    (scaled + if weight < 0.0 { -0.5 } else { 0.5 }) as i32
}

const HALF: i32 = 1 << (PRECISION - 1);

const fn to_sample(sum: i32) -> u8 {
    let value = sum >> PRECISION;
    if value < 0 {
        0
    } else if value > 255 {
        255
    } else {
        value as u8
    }
}

/// The horizontal pass: nearly all of the work. Sums in 16-bit halves, in f64 and over several rows at once were no
/// faster without instructions that not every machine has.
fn across<const N: usize>(data: &[u8], width: usize, taps: &Taps) -> Vec<u8> {
    let rows = data.len() / (width * N);
    let mut out = Vec::with_capacity(rows * taps.windows.len() * N);
    for row in data.chunks_exact(width * N) {
        let row = row.as_chunks::<N>().0;
        for (first, weights) in taps.iter() {
            let mut sums = [HALF; N];
            for (pixel, weight) in row[first..first + weights.len()].iter().zip(weights) {
                for (sum, sample) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(*sample) * weight;
                }
            }
            out.extend(sums.map(to_sample));
        }
    }
    out
}

/// The vertical pass, over rows of `stride` samples.
fn down(data: &[u8], stride: usize, taps: &Taps) -> Vec<u8> {
    let mut out = Vec::with_capacity(stride * taps.windows.len());
    let mut sums = vec![0; stride];
    for (first, weights) in taps.iter() {
        sums.fill(HALF);
        for (row, weight) in data[first * stride..].chunks_exact(stride).zip(weights) {
            for (sum, sample) in sums.iter_mut().zip(row) {
                *sum += i32::from(*sample) * weight;
            }
        }
        out.extend(sums.iter().map(|sum| to_sample(*sum)));
    }
    out
}

fn nearest<const N: usize>(data: &[u8], columns: Line, rows: Line) -> Vec<u8> {
    let pixels = data.as_chunks::<N>().0;
    let from_columns = positions(columns);
    let mut out = Vec::with_capacity(columns.count as usize * rows.count as usize * N);
    for y in positions(rows) {
        let row = &pixels[y * columns.from as usize..];
        out.extend(from_columns.iter().flat_map(|x| row[*x]));
    }
    out
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
