//! How alike two images of the same shape are, with values in 0…1.
//!
//! Every function panics when the shapes differ: both planes come from one preprocessor, so a difference is a
//! defect of ours.

use super::pixels::Plane;

/// Side of the window of [`ssim`], in pixels, when the image is large enough.
const WINDOW: usize = 7;
/// (K1 · L)² and (K2 · L)² of Wang et al. 2004 with K1 = 0.01, K2 = 0.03 and the data range L = 1.
const C1: f64 = 0.01 * 0.01;
const C2: f64 = 0.03 * 0.03;

/// The mean of the squared differences over pixels and channels.
#[must_use]
pub fn mse(a: &Plane, b: &Plane) -> f64 {
    mean_of(a, b, |difference| difference * difference)
}

/// The mean of the absolute differences over pixels and channels.
#[must_use]
pub fn l1(a: &Plane, b: &Plane) -> f64 {
    mean_of(a, b, f64::abs)
}

/// 10 · log₁₀(1 / mse) in dB, that is, with peak 1; infinite for equal images.
#[must_use]
pub fn psnr(a: &Plane, b: &Plane) -> f64 {
    // The reciprocal of an mse of 0 is infinity, and so is its logarithm.
    10.0 * mse(a, b).recip().log10()
}

/// The structural similarity of Wang et al. 2004 as scikit-image's `structural_similarity` computes it by default
/// with `data_range=1` and `channel_axis`: uniform 7×7 windows, sample covariance, the mean over all windows that
/// lie inside the image and over channels. −1…1, 1 for equal images.
///
/// An image with a side below 7 gets the largest odd window that fits.
#[must_use]
pub fn ssim(a: &Plane, b: &Plane) -> f64 {
    assert!(a.same_shape(b), "images of different shapes are compared");
    let (width, height) = (a.width as usize, a.height as usize);
    let margin = window(a) / 2;
    let mut sum = 0.0;
    for map in channel_maps(a, b) {
        for row in map.chunks_exact(width).take(height - margin).skip(margin) {
            sum += row[margin..width - margin].iter().sum::<f64>();
        }
    }
    sum / ((width - 2 * margin) * (height - 2 * margin) * a.channels) as f64
}

/// The local [`ssim`] around every pixel, the mean over channels, row by row: what scikit-image returns with
/// `full=True`. Windows that reach over the edge see the image mirrored (d c b a | a b c d | d c b a).
#[must_use]
pub fn ssim_map(a: &Plane, b: &Plane) -> Vec<f32> {
    assert!(a.same_shape(b), "images of different shapes are compared");
    let mut mean = vec![0.0; a.area()];
    for map in channel_maps(a, b) {
        for (total, value) in mean.iter_mut().zip(map) {
            *total += value;
        }
    }
    mean.iter().map(|total| (total / a.channels as f64) as f32).collect()
}

fn mean_of(a: &Plane, b: &Plane, of: impl Fn(f64) -> f64) -> f64 {
    assert!(a.same_shape(b), "images of different shapes are compared");
    let sum: f64 = a.data.iter().zip(&b.data).map(|(a, b)| of(f64::from(*a) - f64::from(*b))).sum();
    sum / a.data.len() as f64
}

/// The largest odd number up to [`WINDOW`] and both sides.
fn window(plane: &Plane) -> usize {
    let side = WINDOW.min(plane.width as usize).min(plane.height as usize);
    if side % 2 == 1 { side } else { side.saturating_sub(1).max(1) }
}

fn channel_maps<'a>(a: &'a Plane, b: &'a Plane) -> impl Iterator<Item = Vec<f64>> + 'a {
    let (width, height, side) = (a.width as usize, a.height as usize, window(a));
    let filter = move |values: Vec<f64>| uniform(&values, width, height, side);
    let samples = (side * side) as f64;
    // A window of one pixel has no covariance; its factor is irrelevant as long as it is finite.
    let covariance = if side == 1 { 1.0 } else { samples / (samples - 1.0) };
    a.data.chunks_exact(a.area()).zip(b.data.chunks_exact(a.area())).map(move |(x, y)| {
        let product =
            |x: &[f32], y: &[f32]| filter(x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).collect());
        let mean_x = filter(x.iter().copied().map(f64::from).collect());
        let mean_y = filter(y.iter().copied().map(f64::from).collect());
        let (xx, yy, xy) = (product(x, x), product(y, y), product(x, y));
        (0..x.len())
            .map(|i| {
                let (ux, uy) = (mean_x[i], mean_y[i]);
                let variance_x = covariance * (xx[i] - ux * ux);
                let variance_y = covariance * (yy[i] - uy * uy);
                let together = covariance * (xy[i] - ux * uy);
                (2.0 * ux * uy + C1) * (2.0 * together + C2)
                    / ((ux * ux + uy * uy + C1) * (variance_x + variance_y + C2))
            })
            .collect()
    })
}

/// The mean over a square of `side` pixels around each pixel, edges mirrored: SciPy's `uniform_filter`.
fn uniform(values: &[f64], width: usize, height: usize, side: usize) -> Vec<f64> {
    let mut across = vec![0.0; values.len()];
    let mut padded = vec![0.0; width + side - 1];
    for (row, out) in values.chunks_exact(width).zip(across.chunks_exact_mut(width)) {
        for (at, value) in padded.iter_mut().enumerate() {
            *value = row[mirrored(at, side / 2, width)];
        }
        for tap in 0..side {
            add(out, &padded[tap..tap + width]);
        }
    }
    let mut out = vec![0.0; values.len()];
    for (y, row) in out.chunks_exact_mut(width).enumerate() {
        for tap in 0..side {
            let start = mirrored(y + tap, side / 2, height) * width;
            add(row, &across[start..start + width]);
        }
        for total in row {
            *total /= (side * side) as f64;
        }
    }
    out
}

fn add(totals: &mut [f64], values: &[f64]) {
    for (total, value) in totals.iter_mut().zip(values) {
        *total += value;
    }
}

/// The index that position `at − before` of a line of `length` values shows, mirrored at both ends.
/// The window is never longer than the line, so one reflection is enough.
fn mirrored(at: usize, before: usize, length: usize) -> usize {
    if at < before {
        before - at - 1
    } else if at - before >= length {
        2 * length - 1 - (at - before)
    } else {
        at - before
    }
}

#[cfg(test)]
mod tests;
