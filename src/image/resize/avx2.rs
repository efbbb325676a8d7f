//! The horizontal pass of colour images with AVX2.
//!
//! A weight of 24 bits is too wide for the instruction that multiplies and adds pairs of 16 bits, so it is split,
//! `weight = high · 2¹¹ + low`, and both sums are taken. They are joined in 32 bits, where they are what the sum of the
//! whole products is.
#![expect(unsafe_code, reason = "loads of vectors from arrays of their size")]

use std::{
    arch::x86_64::{
        __m128i, __m256i, _mm_add_epi32, _mm_cvtsi128_si32, _mm_loadu_si128, _mm_packs_epi32, _mm_packus_epi16,
        _mm_set1_epi32, _mm_slli_epi32, _mm_srai_epi32, _mm256_add_epi32, _mm256_broadcastsi128_si256,
        _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_setzero_si256,
        _mm256_shuffle_epi8,
    },
    ops::Range,
};

use super::{
    passes::HALF,
    taps::{PRECISION, Taps},
};

/// Bits of the lower part of a weight.
const LOW_BITS: u32 = 11;
/// Pixels of a row that are taken at a time.
const PIXELS: usize = 4;
/// Bytes of a load: four pixels, and four bytes that do not count.
const LOAD: usize = 16;
/// The most that a load reaches beyond the end of a row, in bytes.
const BEYOND: usize = LOAD - 3;
/// Rows that share the loads of a weight.
const ROWS: usize = 4;

/// Colours of two pixels side by side in 16 bits, `r₀ r₁ g₀ g₁ b₀ b₁`: the first two pixels below, the others above.
const PAIRS: [i8; 32] = [
    0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, //
    6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1,
];
/// The higher parts of two weights for each colour of a pair.
const HIGHER: [i8; 32] = [
    0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, -1, -1, -1, -1, //
    4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7, -1, -1, -1, -1,
];
/// The lower parts.
const LOWER: [i8; 32] = [
    8, 9, 10, 11, 8, 9, 10, 11, 8, 9, 10, 11, -1, -1, -1, -1, //
    12, 13, 14, 15, 12, 13, 14, 15, 12, 13, 14, 15, -1, -1, -1, -1,
];

/// Four weights, in parts: the higher four, then the lower four.
type Quad = [i16; 8];

/// The weights of a window by fours, padded with zeros.
struct Split {
    first: usize,
    quads: Range<usize>,
}

fn split(taps: &Taps) -> (Vec<Split>, Vec<Quad>) {
    let mut quads = Vec::new();
    let mut windows = Vec::with_capacity(taps.windows.len());
    for (first, weights) in taps.iter() {
        let start = quads.len();
        for four in weights.chunks(PIXELS) {
            let mut quad = [0; 2 * PIXELS];
            for (at, weight) in four.iter().enumerate() {
                quad[at] = (weight >> LOW_BITS) as i16;
                quad[PIXELS + at] = (weight & ((1 << LOW_BITS) - 1)) as i16;
            }
            quads.push(quad);
        }
        windows.push(Split { first, quads: start..quads.len() });
    }
    (windows, quads)
}

/// The horizontal pass of images of three channels.
#[target_feature(enable = "avx2")]
pub(super) fn across_rgb(data: &[u8], width: usize, taps: &Taps) -> Vec<u8> {
    let (windows, quads) = split(taps);
    let (stride, out_stride) = (width * 3, windows.len() * 3);
    let mut out = vec![0; data.len() / stride * out_stride];
    // Rows behind which every load still ends within the data; the others are read from a copy with room behind it.
    let inside = data.len().saturating_sub(BEYOND) / stride;
    let (out_inside, out_last) = out.split_at_mut(inside * out_stride);
    let mut last = data[inside * stride..].to_vec();
    last.resize(last.len() + BEYOND, 0);
    for (data, out) in [(data, out_inside), (&last, out_last)] {
        let mut starts = (0..).step_by(stride);
        let mut blocks = out.chunks_exact_mut(ROWS * out_stride);
        for block in &mut blocks {
            let mut lines = block.chunks_exact_mut(out_stride);
            some_rows::<ROWS>(data, &mut starts, &mut lines, (&windows, &quads));
        }
        let mut lines = blocks.into_remainder().chunks_exact_mut(out_stride);
        while lines.len() > 0 {
            some_rows::<1>(data, &mut starts, &mut lines, (&windows, &quads));
        }
    }
    out
}

/// `R` rows together: each begins at the next of `starts` and goes to the next of `lines`.
#[target_feature(enable = "avx2")]
fn some_rows<'a, const R: usize>(
    data: &[u8],
    starts: &mut impl Iterator<Item = usize>,
    lines: &mut impl Iterator<Item = &'a mut [u8]>,
    (windows, quads): (&[Split], &[Quad]),
) {
    let rows: [&[u8]; R] = std::array::from_fn(|_| starts.next().map_or(&[][..], |start| &data[start..]));
    let mut lines: [&mut [u8]; R] = std::array::from_fn(|_| lines.next().unwrap_or_default());
    let (pairs, higher, lower) = (load_pattern(&PAIRS), load_pattern(&HIGHER), load_pattern(&LOWER));
    for (at, window) in windows.iter().enumerate() {
        let mut high_sums = [_mm256_setzero_si256(); R];
        let mut low_sums = [_mm256_setzero_si256(); R];
        let mut from = window.first * 3;
        for quad in &quads[window.quads.clone()] {
            let quad = _mm256_broadcastsi128_si256(load_weights(quad));
            let (high, low) = (_mm256_shuffle_epi8(quad, higher), _mm256_shuffle_epi8(quad, lower));
            for ((row, high_sum), low_sum) in rows.iter().zip(&mut high_sums).zip(&mut low_sums) {
                let samples = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load_bytes(&row[from..])), pairs);
                *high_sum = _mm256_add_epi32(*high_sum, _mm256_madd_epi16(samples, high));
                *low_sum = _mm256_add_epi32(*low_sum, _mm256_madd_epi16(samples, low));
            }
            from += PIXELS * 3;
        }
        for ((line, high), low) in lines.iter_mut().zip(high_sums).zip(low_sums) {
            let sums = _mm_add_epi32(_mm_slli_epi32::<{ LOW_BITS as i32 }>(halves(high)), halves(low));
            line[at * 3..][..3].copy_from_slice(&to_samples(sums)[..3]);
        }
    }
}

/// The sums of the first two and of the second two pixels, together.
#[target_feature(enable = "avx2")]
fn halves(sums: __m256i) -> __m128i {
    _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums))
}

/// Four sums, rounded to samples; what lies beyond 0…255 is cut off by both narrowings.
#[target_feature(enable = "avx2")]
fn to_samples(sums: __m128i) -> [u8; 4] {
    let rounded = _mm_srai_epi32::<{ PRECISION as i32 }>(_mm_add_epi32(sums, _mm_set1_epi32(HALF)));
    let words = _mm_packs_epi32(rounded, rounded);
    _mm_cvtsi128_si32(_mm_packus_epi16(words, words)).to_le_bytes()
}

#[target_feature(enable = "avx2")]
fn load_bytes(bytes: &[u8]) -> __m128i {
    let bytes = &bytes[..LOAD];
    // SAFETY: there are as many bytes as the vector has, and the load takes any alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn load_weights(quad: &Quad) -> __m128i {
    // SAFETY: as above.
    unsafe { _mm_loadu_si128(quad.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
fn load_pattern(pattern: &[i8; 32]) -> __m256i {
    // SAFETY: as above.
    unsafe { _mm256_loadu_si256(pattern.as_ptr().cast()) }
}
