//! Inner products: the innermost loops of every scan. They are plain Rust that the compiler vectorises.

use crate::simd::compiled_for_each_processor;

/// Bytes that rows of halves of codes come in.
pub(crate) const BLOCK: usize = 32;

/// The integer inner products of half a query with rows of halves of codes ([`super::nibbles`]) that lie one after
/// another, two to a byte, one for each element of `products`.
///
/// The query has twice as many blocks as a row, and at most 65,536 codes.
#[cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "calls a function for instructions whose presence was just detected")
)]
pub(crate) fn half_products(query: &[[i8; BLOCK]], rows: &[[u8; BLOCK]], products: &mut [i32]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { avx2::half_products(query, rows, products) };
    }
    plain_half_products(query, rows, products);
}

/// The integer inner products of both halves of a query with both halves of the codes of rows: the sum of the products of
/// each pair, weighted, all of it modulo 2³².
#[cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "calls a function for instructions whose presence was just detected")
)]
pub(crate) fn weighted_products(
    query: [&[[i8; BLOCK]]; 2],
    rows: [&[[u8; BLOCK]]; 2],
    weights: [i16; 4],
    products: &mut [i32],
) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { avx2::weighted_products(query, rows, weights, products) };
    }
    plain_weighted_products(query, rows, weights, products);
}

fn plain_half_products(query: &[[i8; BLOCK]], rows: &[[u8; BLOCK]], products: &mut [i32]) {
    for (product, row) in products.iter_mut().zip(rows.chunks_exact(query.len() / 2)) {
        *product = half_product(query, row);
    }
}

fn plain_weighted_products(
    [high, low]: [&[[i8; BLOCK]]; 2],
    rows: [&[[u8; BLOCK]]; 2],
    weights: [i16; 4],
    products: &mut [i32],
) {
    let [upper, lower] = rows.map(|rows| rows.chunks_exact(high.len() / 2));
    for (product, (upper, lower)) in products.iter_mut().zip(upper.zip(lower)) {
        let pairs = [(high, upper), (high, lower), (low, upper), (low, lower)].into_iter().zip(weights);
        let weighted = pairs.map(|((query, row), weight)| half_product(query, row).wrapping_mul(i32::from(weight)));
        *product = weighted.fold(0, i32::wrapping_add);
    }
}

#[inline(always)]
fn half_product(query: &[[i8; BLOCK]], row: &[[u8; BLOCK]]) -> i32 {
    let (first, second) = query.as_flattened().split_at(row.len() * BLOCK);
    let product = |code: i8, half: u8| i32::from(code) * i32::from(half);
    let bytes = row.as_flattened().iter().zip(first.iter().zip(second));
    bytes.map(|(&byte, (&a, &b))| product(a, byte & 15) + product(b, byte >> 4)).sum()
}

/// What the compiler makes of the loops above takes three times as long: it does not see that products of a byte and
/// half a byte can be added in 16 bits.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::BLOCK;

    #[target_feature(enable = "avx2")]
    pub(crate) fn half_products(query: &[[i8; BLOCK]], rows: &[[u8; BLOCK]], products: &mut [i32]) {
        let (first, second) = query.split_at(query.len() / 2);
        let ones = _mm256_set1_epi16(1);
        for (product, row) in products.iter_mut().zip(rows.chunks_exact(first.len())) {
            let mut sums = _mm256_setzero_si256();
            for (row, (first, second)) in row.iter().zip(first.iter().zip(second)) {
                let products = sums_of_four(halves(load(row)), [load_signed(first), load_signed(second)]);
                sums = _mm256_add_epi32(sums, _mm256_madd_epi16(products, ones));
            }
            *product = sum(sums);
        }
    }

    #[target_feature(enable = "avx2")]
    pub(crate) fn weighted_products(
        [high, low]: [&[[i8; BLOCK]]; 2],
        [uppers, lowers]: [&[[u8; BLOCK]]; 2],
        weights: [i16; 4],
        products: &mut [i32],
    ) {
        let blocks = high.len() / 2;
        let ((high, high_second), (low, low_second)) = (high.split_at(blocks), low.split_at(blocks));
        let [high_upper, high_lower, low_upper, low_lower] = [
            _mm256_set1_epi16(weights[0]),
            _mm256_set1_epi16(weights[1]),
            _mm256_set1_epi16(weights[2]),
            _mm256_set1_epi16(weights[3]),
        ];
        let rows = uppers.chunks_exact(blocks).zip(lowers.chunks_exact(blocks));
        for (product, (upper, lower)) in products.iter_mut().zip(rows) {
            let mut sums = _mm256_setzero_si256();
            let query = high.iter().zip(high_second).zip(low.iter().zip(low_second));
            for ((upper, lower), ((high, high_second), (low, low_second))) in upper.iter().zip(lower).zip(query) {
                let (upper, lower) = (halves(load(upper)), halves(load(lower)));
                let high = [load_signed(high), load_signed(high_second)];
                sums = _mm256_add_epi32(sums, _mm256_madd_epi16(sums_of_four(upper, high), high_upper));
                sums = _mm256_add_epi32(sums, _mm256_madd_epi16(sums_of_four(lower, high), high_lower));
                let low = [load_signed(low), load_signed(low_second)];
                sums = _mm256_add_epi32(sums, _mm256_madd_epi16(sums_of_four(upper, low), low_upper));
                sums = _mm256_add_epi32(sums, _mm256_madd_epi16(sums_of_four(lower, low), low_lower));
            }
            *product = sum(sums);
        }
    }

    /// The lower and the upper half of each byte.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn halves(bytes: __m256i) -> [__m256i; 2] {
        let mask = _mm256_set1_epi8(15);
        [_mm256_and_si256(bytes, mask), _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), mask)]
    }

    /// Products of bytes in sums of four, each within 4·15·128.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn sums_of_four(halves: [__m256i; 2], query: [__m256i; 2]) -> __m256i {
        _mm256_add_epi16(_mm256_maddubs_epi16(halves[0], query[0]), _mm256_maddubs_epi16(halves[1], query[1]))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn sum(sums: __m256i) -> i32 {
        let sums = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
        let sums = _mm_add_epi32(sums, _mm_shuffle_epi32::<0b01_00_11_10>(sums));
        let sums = _mm_add_epi32(sums, _mm_shuffle_epi32::<0b10_11_00_01>(sums));
        _mm_cvtsi128_si32(sums)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    #[expect(unsafe_code, reason = "reads through a pointer")]
    fn load(block: &[u8; BLOCK]) -> __m256i {
        // SAFETY: it points to as many bytes, and need not be aligned.
        unsafe { _mm256_loadu_si256(block.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    #[expect(unsafe_code, reason = "reads through a pointer")]
    fn load_signed(block: &[i8; BLOCK]) -> __m256i {
        // SAFETY: it points to as many bytes, and need not be aligned.
        unsafe { _mm256_loadu_si256(block.as_ptr().cast()) }
    }
}

const LANES: usize = 8;

/// Sums `term(query, number)` over a query and a stored row of little-endian f32, in f64: no sum of squares of f32
/// overflows there, and the rounding error lies far below that of the f32 score.
#[inline(always)]
fn sum_over_row(query: &[f64], row: &[u8], term: impl Fn(f64, f64) -> f64) -> f64 {
    let (row, _) = row.as_chunks::<4>();
    let number = |bytes: &[u8; 4]| f64::from(f32::from_le_bytes(*bytes));
    let (query_lanes, query_rest) = query.as_chunks::<LANES>();
    let (row_lanes, row_rest) = row.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (queries, numbers) in query_lanes.iter().zip(row_lanes) {
        for lane in 0..LANES {
            sums[lane] += term(queries[lane], number(&numbers[lane]));
        }
    }
    let rest: f64 = query_rest.iter().zip(row_rest).map(|(&query, bytes)| term(query, number(bytes))).sum();
    sums.iter().sum::<f64>() + rest
}

compiled_for_each_processor! {
    /// The inner product with a stored row.
    pub(crate) fn inner_product(query: &[f64], row: &[u8]) -> f64 = plain_inner_product;
    /// The squared L2 distance to a stored row.
    pub(crate) fn squared_distance(query: &[f64], row: &[u8]) -> f64 = plain_squared_distance;
}

#[inline(always)]
fn plain_inner_product(query: &[f64], row: &[u8]) -> f64 {
    sum_over_row(query, row, |query, number| query * number)
}

#[inline(always)]
fn plain_squared_distance(query: &[f64], row: &[u8]) -> f64 {
    sum_over_row(query, row, |query, number| (query - number) * (query - number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks<T: Copy + Default>(numbers: impl Iterator<Item = T>) -> Vec<[T; BLOCK]> {
        let numbers: Vec<T> = numbers.collect();
        let block = |numbers: &[T]| std::array::from_fn(|at| numbers.get(at).copied().unwrap_or_default());
        numbers.chunks(BLOCK).map(block).collect()
    }

    #[test]
    fn products_of_halves_equal_the_definition_for_every_length() {
        for length in [1, 2, 5] {
            let bytes = (length * BLOCK) as i32;
            let query = blocks((0..2 * bytes).map(|i| (i * 31 % 256 - 128) as i8));
            let row = |row: i32| (0..bytes).map(move |i| ((i * 97 + row * 13) % 256) as u8);
            let rows = blocks((0..3).flat_map(row).chain((0..bytes).map(|_| 255)));
            let (mut products, mut plain) = ([0; 4], [0; 4]);
            half_products(&query, &rows, &mut products);
            plain_half_products(&query, &rows, &mut plain);
            assert_eq!(products, plain);
            for (row, product) in rows.chunks(length).zip(products) {
                let bytes = row.as_flattened().iter();
                let halves = bytes.clone().map(|byte| byte & 15).chain(bytes.map(|byte| byte >> 4));
                let pairs = query.as_flattened().iter().zip(halves);
                assert_eq!(product, pairs.map(|(&a, b)| i32::from(a) * i32::from(b)).sum::<i32>());
            }
        }
        let mut product = [0];
        half_products(&[[-128; BLOCK]; 2048], &[[255; BLOCK]; 1024], &mut product);
        assert_eq!(product, [-128 * 15 * 65_536]);
    }

    #[test]
    fn weighted_products_are_the_same_with_and_without_instructions_for_them() {
        for length in [1, 3] {
            let bytes = (length * BLOCK) as i32;
            let query = |seed: i32| blocks((0..2 * bytes).map(move |i| ((i + seed) * 31 % 256 - 128) as i8));
            let rows = |seed: i32| blocks((0..3 * bytes).map(move |i| ((i + seed) * 97 % 256) as u8));
            let ([high, low], [upper, lower]) = ([query(1), query(2)], [rows(3), rows(4)]);
            let (mut products, mut plain) = ([0; 3], [0; 3]);
            let weights = [2048, 128, 16, 1];
            weighted_products([&high, &low], [&upper, &lower], weights, &mut products);
            plain_weighted_products([&high, &low], [&upper, &lower], weights, &mut plain);
            assert_eq!(products, plain);
        }
    }

    #[test]
    fn scores_are_the_same_to_the_bit_whatever_instructions_there_are() {
        for length in [1, 7, 8, 250, 256] {
            let number = |at: usize, seed: f64| ((at + 1) as f64 * seed).sin();
            let query: Vec<f64> = (0..length).map(|at| number(at, 1.3)).collect();
            let row: Vec<u8> = (0..length).flat_map(|at| (number(at, 0.7) as f32).to_le_bytes()).collect();
            assert_eq!(inner_product(&query, &row).to_bits(), plain_inner_product(&query, &row).to_bits());
            assert_eq!(squared_distance(&query, &row).to_bits(), plain_squared_distance(&query, &row).to_bits());
        }
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let query = vec![f64::from(f32::MAX); 1000];
        let row: Vec<u8> = std::iter::repeat_n(f32::MAX.to_le_bytes(), 1000).flatten().collect();
        assert!(inner_product(&query, &row).is_finite());
        assert_eq!(squared_distance(&query, &row), 0.0);
    }
}
