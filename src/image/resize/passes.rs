//! The two passes of a resize: sums of samples by weights, each rounded to 8 bits.
//!
//! The loops are plain Rust; the vertical one is compiled for several instruction sets, and the horizontal one of
//! colour images is also written for AVX2. All of them give the same samples.

#[cfg(target_arch = "x86_64")]
use super::avx2;
use super::taps::{PRECISION, Taps};
use crate::simd::compiled_for_each_processor;

/// Half a unit of a sample.
pub(super) const HALF: i32 = 1 << (PRECISION - 1);

/// Samples of a row that are summed at a time.
const BLOCK: usize = 64;

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

/// The horizontal pass over rows of `width` pixels: nearly all of the work.
pub(super) fn across<const N: usize>(data: &[u8], width: usize, taps: &Taps) -> Vec<u8> {
    match N {
        3 => across_rgb(data, width, taps),
        _ => across_plain::<N>(data, width, taps),
    }
}

#[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "AVX2 was just detected"))]
fn across_rgb(data: &[u8], width: usize, taps: &Taps) -> Vec<u8> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { avx2::across_rgb(data, width, taps) };
    }
    across_plain::<3>(data, width, taps)
}

/// The vertical pass, over rows of `stride` samples: each row of the result goes to `each` while it is in the cache.
pub(super) fn down(data: &[u8], stride: usize, taps: &Taps, each: &mut impl FnMut(&[u8])) {
    let mut out = vec![0; stride];
    for (first, weights) in taps.iter() {
        sum_rows(&data[first * stride..][..weights.len() * stride], weights, &mut out);
        each(&out);
    }
}

compiled_for_each_processor! {
    /// One row of the vertical pass: rows as long as `out`, each by its weight.
    pub(super) fn sum_rows(rows: &[u8], weights: &[i32], out: &mut [u8]) = sum_rows_plain;
}

pub(super) fn across_plain<const N: usize>(data: &[u8], width: usize, taps: &Taps) -> Vec<u8> {
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

#[inline(always)]
pub(super) fn sum_rows_plain(rows: &[u8], weights: &[i32], out: &mut [u8]) {
    let stride = out.len();
    let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
    for (at, block) in blocks.iter_mut().enumerate() {
        let mut sums = [HALF; BLOCK];
        for (row, weight) in rows.chunks_exact(stride).zip(weights) {
            let samples = &row.as_chunks::<BLOCK>().0[at];
            for (sum, sample) in sums.iter_mut().zip(samples) {
                *sum += i32::from(*sample) * weight;
            }
        }
        *block = sums.map(to_sample);
    }
    let from = stride - rest.len();
    for (at, sample) in rest.iter_mut().enumerate() {
        let column = rows.chunks_exact(stride).map(|row| i32::from(row[from + at]));
        *sample = to_sample(column.zip(weights).fold(HALF, |sum, (sample, weight)| sum + sample * weight));
    }
}
