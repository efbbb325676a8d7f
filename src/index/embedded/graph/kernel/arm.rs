//! Kernels for 64-bit Arm, where every processor has NEON and most have its dot product.
#![expect(unsafe_code, reason = "calls functions for instructions that were detected, and loads lines of their size")]

use std::arch::{aarch64::*, asm, is_aarch64_feature_detected as has};

use super::{Codes, Kernel, LINE, RowLine, Task};

/// Codes of a register.
const LANES: usize = 16;

#[inline(always)]
fn prefetch<T>(place: &T) {
    // SAFETY: it reads nothing.
    unsafe {
        asm!("prfm pldl1keep, [{}]", in(reg) std::ptr::from_ref(place), options(nostack, preserves_flags, readonly));
    }
}

/// The codes of a line and of a line of a row, by registers.
#[inline(always)]
fn registers(codes: &[i8; LINE], row: &[u8; LINE]) -> [(int8x16_t, int8x16_t); LINE / LANES] {
    std::array::from_fn(|at| {
        // SAFETY: NEON is part of 64-bit Arm, and a line is four registers.
        unsafe {
            let row = veorq_u8(vld1q_u8(row.as_ptr().add(at * LANES)), vdupq_n_u8(super::SHIFT));
            (vld1q_s8(codes.as_ptr().add(at * LANES)), vreinterpretq_s8_u8(row))
        }
    })
}

/// NEON alone: widening products.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Neon;

impl Kernel for Neon {
    #[inline(always)]
    fn products<const N: usize>(self, codes: &Codes, rows: [&[RowLine]; N]) -> [i32; N] {
        rows.map(|row| {
            // SAFETY: NEON is part of 64-bit Arm. Two products of codes, each within ±119·119, fit 16 bits.
            unsafe {
                let mut sums = vdupq_n_s32(0);
                for (codes, row) in codes.lines.iter().zip(row) {
                    for (a, b) in registers(&codes.0, &row.0) {
                        let pairs = vmull_s8(vget_low_s8(a), vget_low_s8(b));
                        sums = vpadalq_s16(sums, vmlal_s8(pairs, vget_high_s8(a), vget_high_s8(b)));
                    }
                }
                vaddvq_s32(sums)
            }
        })
    }

    #[inline(always)]
    fn prefetch<T>(self, place: &T) {
        prefetch(place);
    }
}

/// NEON with the dot product of four codes a lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dot(());

impl Dot {
    pub(super) fn detect() -> Option<Self> {
        has!("dotprod").then_some(Self(()))
    }

    pub(super) fn run<T: Task>(self, task: T) -> T::Output {
        #[target_feature(enable = "neon,dotprod")]
        fn run<T: Task>(kernel: Dot, task: T) -> T::Output {
            task.run(kernel)
        }
        // SAFETY: the processor has what was detected.
        unsafe { run(self, task) }
    }
}

impl Kernel for Dot {
    #[inline(always)]
    fn products<const N: usize>(self, codes: &Codes, rows: [&[RowLine]; N]) -> [i32; N] {
        // SAFETY: the processor has what was detected.
        rows.map(|row| unsafe { product(codes, row) })
    }

    #[inline(always)]
    fn prefetch<T>(self, place: &T) {
        prefetch(place);
    }
}

#[inline]
#[target_feature(enable = "neon,dotprod")]
fn product(codes: &Codes, row: &[RowLine]) -> i32 {
    let mut sums = [vdupq_n_s32(0); LINE / LANES];
    for (codes, row) in codes.lines.iter().zip(row) {
        for (sum, (a, b)) in sums.iter_mut().zip(registers(&codes.0, &row.0)) {
            // SAFETY: the instruction is there; its intrinsic is not yet stable.
            unsafe {
                asm!("sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b", sum = inout(vreg) *sum, a = in(vreg) a, b = in(vreg) b,
                    options(pure, nomem, nostack, preserves_flags));
            }
        }
    }
    vaddvq_s32(vaddq_s32(vaddq_s32(sums[0], sums[1]), vaddq_s32(sums[2], sums[3])))
}
