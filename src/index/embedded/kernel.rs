//! Inner products: the innermost loops of every search. They are plain Rust that the compiler vectorises.

use crate::simd::compiled_for_each_processor;

compiled_for_each_processor! {
    /// The integer inner products of a query with rows of codes that lie one after another, one for each element of
    /// `products`.
    ///
    /// The caller keeps `‖query‖∞ · 127 · query.len()` within `i32`, as [`super::codes::Probe`] does.
    pub(super) fn code_products(query: &[i16], codes: &[i8], products: &mut [i32]) = plain_products;

    /// The integer inner product of two rows of codes of one length, of at most 65,536 codes.
    pub(super) fn code_product(a: &[i8], b: &[i8]) -> i32 = plain_product;
}

#[inline(always)]
fn plain_products(query: &[i16], codes: &[i8], products: &mut [i32]) {
    for (product, row) in products.iter_mut().zip(codes.chunks_exact(query.len())) {
        *product = query.iter().zip(row).map(|(&q, &c)| i32::from(q) * i32::from(c)).sum();
    }
}

#[inline(always)]
fn plain_product(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
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

/// The inner product with a stored row.
pub(super) fn inner_product(query: &[f64], row: &[u8]) -> f64 {
    sum_over_row(query, row, |query, number| query * number)
}

/// The squared L2 distance to a stored row.
pub(super) fn squared_distance(query: &[f64], row: &[u8]) -> f64 {
    sum_over_row(query, row, |query, number| (query - number) * (query - number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_integer_products_equal_the_definition_for_every_length() {
        for length in [1, 7, 16, 31, 64, 257] {
            let query: Vec<i16> = (0..length).map(|i| (i * 7919 % 2001 - 1000) as i16).collect();
            let codes: Vec<i8> = (0..length * 3).map(|i| (i * 31 % 255 - 127) as i8).collect();
            let mut products = [0; 3];
            code_products(&query, &codes, &mut products);
            for (row, product) in codes.chunks(length as usize).zip(products) {
                let expected: i64 = query.iter().zip(row).map(|(&q, &c)| i64::from(q) * i64::from(c)).sum();
                assert_eq!(i64::from(product), expected);
            }
        }
    }

    #[test]
    fn the_product_of_codes_equals_the_definition_for_every_length() {
        for length in [1, 31, 32, 65, 65_536_i64] {
            let a: Vec<i8> = (0..length).map(|i| (i * 31 % 255 - 127) as i8).collect();
            let expected: i64 = a.iter().map(|&code| i64::from(code).pow(2)).sum();
            assert_eq!(i64::from(code_product(&a, &a)), expected);
        }
        assert_eq!(code_product(&vec![-127; 65_536], &vec![127; 65_536]), -127 * 127 * 65_536);
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let query = vec![f64::from(f32::MAX); 1000];
        let row: Vec<u8> = std::iter::repeat_n(f32::MAX.to_le_bytes(), 1000).flatten().collect();
        assert!(inner_product(&query, &row).is_finite());
        assert_eq!(squared_distance(&query, &row), 0.0);
    }
}
