//! From the low frequencies of a block to its pixels at a reduced size.
//!
//! A block of 8 × 8 frequencies is 8 × 8 pixels by the inverse DCT. The same cosines, read at fewer places and without
//! those that would be aliased there, are the block at a half, a quarter or an eighth of its size.

use std::f32::consts::{FRAC_1_SQRT_2, PI};

/// Where the coefficients of a scan lie in their block, row by row.
#[rustfmt::skip]
pub(super) const ZIGZAG: [u8; 64] = [
     0,  1,  8, 16,  9,  2,  3, 10, 17, 24, 32, 25, 18, 11,  4,  5,
    12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13,  6,  7, 14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
    58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// What a coefficient of this frequency weighs along one side.
pub(super) fn weight(frequency: usize) -> f32 {
    if frequency == 0 { FRAC_1_SQRT_2 / 2.0 } else { 0.5 }
}

/// The last step of a block.
pub(super) trait Inverse {
    /// Writes the pixels of a block, whose weighted coefficients lie 8 to a row, into rows of `stride` pixels.
    fn write(&self, block: &[f32; 64], out: &mut [u8], stride: usize);
}

/// To so many pixels across and down; none if a block has no such sides.
pub(super) fn inverse(pixels: (usize, usize)) -> Option<Box<dyn Inverse>> {
    Some(match pixels {
        (1, 1) => Box::new(Cosines::<1, 1>::new()),
        (1, 2) => Box::new(Cosines::<1, 2>::new()),
        (1, 4) => Box::new(Cosines::<1, 4>::new()),
        (2, 1) => Box::new(Cosines::<2, 1>::new()),
        (2, 2) => Box::new(Cosines::<2, 2>::new()),
        (2, 4) => Box::new(Cosines::<2, 4>::new()),
        (2, 8) => Box::new(Cosines::<2, 8>::new()),
        (4, 1) => Box::new(Cosines::<4, 1>::new()),
        (4, 2) => Box::new(Cosines::<4, 2>::new()),
        (4, 4) => Box::new(Cosines::<4, 4>::new()),
        (4, 8) => Box::new(Cosines::<4, 8>::new()),
        (8, 2) => Box::new(Cosines::<8, 2>::new()),
        (8, 4) => Box::new(Cosines::<8, 4>::new()),
        (8, 8) => Box::new(Cosines::<8, 8>::new()),
        _ => return None,
    })
}

/// Each frequency at each pixel, along each side.
struct Cosines<const ACROSS: usize, const DOWN: usize> {
    across: [[f32; ACROSS]; ACROSS],
    down: [[f32; DOWN]; DOWN],
}

fn cosines<const N: usize>(frequency: usize) -> [f32; N] {
    std::array::from_fn(|pixel| ((2 * pixel + 1) as f32 * frequency as f32 * PI / (2 * N) as f32).cos())
}

impl<const ACROSS: usize, const DOWN: usize> Cosines<ACROSS, DOWN> {
    fn new() -> Self {
        Self { across: std::array::from_fn(cosines), down: std::array::from_fn(cosines) }
    }
}

impl<const ACROSS: usize, const DOWN: usize> Inverse for Cosines<ACROSS, DOWN> {
    #[inline]
    fn write(&self, block: &[f32; 64], out: &mut [u8], stride: usize) {
        let mut levels = [[0.0; ACROSS]; DOWN];
        for (row, down) in block.as_chunks::<8>().0.iter().zip(&self.down) {
            // a row of frequencies across, then what each of its pixels has of a frequency down
            let mut pixels = [0.0; ACROSS];
            for (coefficient, across) in row.iter().zip(&self.across) {
                for (pixel, cosine) in pixels.iter_mut().zip(across) {
                    *pixel += coefficient * cosine;
                }
            }
            for (levels, cosine) in levels.iter_mut().zip(down) {
                for (level, pixel) in levels.iter_mut().zip(&pixels) {
                    *level += cosine * pixel;
                }
            }
        }
        for (row, levels) in levels.iter().enumerate() {
            for (level, out) in levels.iter().zip(&mut out[row * stride..][..ACROSS]) {
                // around zero until here; the cast cuts off what is beyond
                *out = (level + 128.5) as u8;
            }
        }
    }
}
