//! Kernels for x86-64. A kernel is made only where its instructions were found, so having one is the proof of them.
#![expect(unsafe_code, reason = "calls functions for instructions that were detected, and loads lines of their size")]

use std::arch::{is_x86_feature_detected as has, x86_64::*};

use super::{CodeLine, Codes, Kernel, RowLine, Task};

#[inline(always)]
fn prefetch<T>(place: &T) {
    // SAFETY: it reads nothing, and SSE is part of x86-64.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast()) };
}

/// AVX-512 with VNNI: 64 codes an instruction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        let has = has!("avx512f") && has!("avx512bw") && has!("avx512vl") && has!("avx512dq") && has!("avx512vnni");
        (has && has!("bmi1") && has!("bmi2") && has!("popcnt")).then_some(Self(()))
    }

    pub(super) fn run<T: Task>(self, task: T) -> T::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,bmi1,bmi2,popcnt")]
        fn run<T: Task>(kernel: Avx512, task: T) -> T::Output {
            task.run(kernel)
        }
        // SAFETY: the processor has what was detected.
        unsafe { run(self, task) }
    }
}

impl Kernel for Avx512 {
    #[inline(always)]
    fn products<const N: usize>(self, codes: &Codes, rows: [&[RowLine]; N]) -> [i32; N] {
        // SAFETY: the processor has what was detected.
        unsafe { products_512(codes, rows) }
    }

    #[inline(always)]
    fn prefetch<T>(self, place: &T) {
        prefetch(place);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
fn products_512<const N: usize>(codes: &Codes, rows: [&[RowLine]; N]) -> [i32; N] {
    let mut sums = [_mm512_setzero_si512(); N];
    let mut lines = rows;
    for row in &mut lines {
        *row = &row[..codes.lines.len()];
    }
    for (at, codes) in codes.lines.iter().enumerate() {
        // SAFETY: a line is 64 bytes, aligned to as many.
        let codes = unsafe { _mm512_load_si512(codes.0.as_ptr().cast()) };
        for (sum, row) in sums.iter_mut().zip(lines) {
            // SAFETY: a line is 64 bytes, aligned to as many.
            let row = unsafe { _mm512_load_si512(row[at].0.as_ptr().cast()) };
            *sum = _mm512_dpbusd_epi32(*sum, row, codes);
        }
    }
    let mut products = [0; N];
    for (product, sum) in products.iter_mut().zip(sums) {
        let half = _mm256_add_epi32(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64::<1>(sum));
        *product = sum_of_lanes(half).wrapping_sub(codes.offset);
    }
    products
}

/// AVX2: 32 codes at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        (has!("avx2") && has!("bmi1") && has!("bmi2") && has!("popcnt")).then_some(Self(()))
    }

    pub(super) fn run<T: Task>(self, task: T) -> T::Output {
        #[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
        fn run<T: Task>(kernel: Avx2, task: T) -> T::Output {
            task.run(kernel)
        }
        // SAFETY: the processor has what was detected.
        unsafe { run(self, task) }
    }
}

impl Kernel for Avx2 {
    #[inline(always)]
    fn products<const N: usize>(self, codes: &Codes, rows: [&[RowLine]; N]) -> [i32; N] {
        // SAFETY: the processor has what was detected.
        unsafe { products_256(codes, rows) }
    }

    #[inline(always)]
    fn prefetch<T>(self, place: &T) {
        prefetch(place);
    }
}

/// Two products of codes, of which each is within ±119·119, fit 16 bits; of a code and a byte of a row they need not. So
/// the row is taken back to codes, and its sign is moved to the query.
#[inline]
#[target_feature(enable = "avx2")]
fn products_256<const N: usize>(codes: &Codes, rows: [&[RowLine]; N]) -> [i32; N] {
    let (ones, shift) = (_mm256_set1_epi16(1), _mm256_set1_epi8(-128));
    let mut sums = [_mm256_setzero_si256(); N];
    let mut lines = rows;
    for row in &mut lines {
        *row = &row[..codes.lines.len()];
    }
    for (at, codes) in codes.lines.iter().enumerate() {
        let codes = halves(codes);
        for (sum, row) in sums.iter_mut().zip(lines) {
            for (codes, row) in codes.into_iter().zip(row_halves(&row[at])) {
                let row = _mm256_xor_si256(row, shift);
                let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(row), _mm256_sign_epi8(codes, row));
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
            }
        }
    }
    let mut products = [0; N];
    for (product, sum) in products.iter_mut().zip(sums) {
        *product = sum_of_lanes(sum);
    }
    products
}

#[inline]
#[target_feature(enable = "avx2")]
fn halves(line: &CodeLine) -> [__m256i; 2] {
    let place: *const __m256i = line.0.as_ptr().cast();
    // SAFETY: a line is 64 bytes, aligned to as many.
    unsafe { [_mm256_load_si256(place), _mm256_load_si256(place.add(1))] }
}

#[inline]
#[target_feature(enable = "avx2")]
fn row_halves(line: &RowLine) -> [__m256i; 2] {
    let place: *const __m256i = line.0.as_ptr().cast();
    // SAFETY: a line is 64 bytes, aligned to as many.
    unsafe { [_mm256_load_si256(place), _mm256_load_si256(place.add(1))] }
}

#[inline]
#[target_feature(enable = "avx2")]
fn sum_of_lanes(lanes: __m256i) -> i32 {
    let sums = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes));
    let sums = _mm_add_epi32(sums, _mm_shuffle_epi32::<0b01_00_11_10>(sums));
    let sums = _mm_add_epi32(sums, _mm_shuffle_epi32::<0b10_11_00_01>(sums));
    _mm_cvtsi128_si32(sums)
}
