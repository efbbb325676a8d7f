//! What each sample of a resized line is made of: Pillow's windows and weights.

use std::{f64::consts::PI, ops::Range};

use crate::image::spec::FilterKind;

/// Fractional bits of a weight: 32 less 8 of the sample and 2 of headroom for weights outside 0…1.
pub(super) const PRECISION: u32 = 32 - 8 - 2;

/// One dimension of a resize: `count` samples from `first` on, of `to` samples made of what lies within `span` from
/// `start` on, of `from` samples.
#[derive(Clone, Copy)]
pub(super) struct Line {
    pub(super) from: u32,
    pub(super) start: f64,
    pub(super) span: f64,
    pub(super) to: u32,
    pub(super) first: u32,
    pub(super) count: u32,
}

impl Line {
    /// Whether every sample is one of the source's.
    pub(super) fn is_copy(&self) -> bool {
        self.from == self.to && self.start == 0.0 && self.span == f64::from(self.from)
    }
}

/// A filter's weight at a distance, 0 beyond its support, in pixels of the coarser image.
pub(super) struct Kernel {
    pub(super) support: f64,
    pub(super) weight: fn(f64) -> f64,
}

impl Kernel {
    pub(super) const fn of(filter: FilterKind) -> Option<Self> {
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
pub(super) struct Taps {
    pub(super) windows: Vec<Window>,
    pub(super) weights: Vec<i32>,
    pub(super) most: usize,
}

#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) first: usize,
    pub(super) count: usize,
}

impl Taps {
    pub(super) fn new(line: Line, kernel: &Kernel) -> Self {
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
    pub(super) fn rebase(&mut self) -> Range<usize> {
        let start = self.windows.first().map_or(0, |window| window.first);
        let end = self.windows.last().map_or(0, |window| window.first + window.count);
        for window in &mut self.windows {
            window.first -= start;
        }
        start..end
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        let weights = self.weights.chunks_exact(self.most);
        self.windows.iter().zip(weights).map(|(window, weights)| (window.first, &weights[..window.count]))
    }
}

fn fixed_point(weight: f64) -> i32 {
    let scaled = weight * f64::from(1 << PRECISION);
    (scaled + if weight < 0.0 { -0.5 } else { 0.5 }) as i32
}
