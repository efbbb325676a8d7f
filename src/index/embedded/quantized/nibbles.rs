//! Nibble-packed codes: the upper four bits of every code lie together and so do the lower four, so that a scan reads the
//! upper nibbles, and of the lower ones only what those leave open.
//!
//! A code c of −119…119 is 16·u + l with u in −7…7 and l in −8…7. The upper nibbles alone stand for the vector s·16·u,
//! which is an approximation like any other: it has a length and a residual, and so bounds of its own. A code of 0 has
//! the upper half 0, so what is 0 in a vector costs the bounds nothing.
//!
//! Two nibbles, each 8 more than it is, make a byte: those of the dimensions j and j + n make byte j of a row of n bytes,
//! so that a query's numbers are multiplied in the order in which they lie. Rows are whole blocks of 32 bytes.

use super::kernel::{self, BLOCK};

/// The slots of a chunk, which is the unit that a write copies while a search still reads the old one.
pub(crate) const CHUNK_SLOTS: usize = 256;

/// The greatest code: the greatest that has its upper half within −7…7.
pub(crate) const CODE_LIMIT: i8 = 119;

/// What the lower half of a code counts to.
const BASE: i32 = 16;
const OFFSET: i32 = 8;

/// What the upper half of a code alone stands for.
pub(crate) const fn upper_part(code: i8) -> i8 {
    ((code + 8) >> 4) * BASE as i8
}

/// The blocks that the upper nibbles of a row take, and the lower ones too.
const fn row_blocks(dimension: usize) -> usize {
    dimension.div_ceil(2 * BLOCK)
}

/// The codes of the rows of a chunk.
///
/// Upper and lower nibbles have their capacity from the beginning, and the lower ones a quarter more than they can use:
/// then they are of another size for the allocator, which puts what is of one size side by side. A scan reads upper
/// nibbles, one chunk's after another's, and the processor fetches ahead what comes next in memory: with lower nibbles in
/// between it waits twice as long for each row. Capacity that is not used takes addresses and no memory.
#[derive(Debug)]
pub(crate) struct NibblePackedCodes {
    upper: Vec<[u8; BLOCK]>,
    lower: Vec<[u8; BLOCK]>,
}

impl Clone for NibblePackedCodes {
    fn clone(&self) -> Self {
        let copy = |nibbles: &Vec<_>| {
            let mut copy = Vec::with_capacity(nibbles.capacity());
            copy.extend_from_slice(nibbles);
            copy
        };
        Self { upper: copy(&self.upper), lower: copy(&self.lower) }
    }
}

impl NibblePackedCodes {
    /// Codes of no rows yet.
    pub(crate) fn new(dimension: usize) -> Self {
        let room = CHUNK_SLOTS * row_blocks(dimension);
        Self { upper: Vec::with_capacity(room), lower: Vec::with_capacity(room + room / 4) }
    }

    /// Adds a row of zeros.
    pub(crate) fn append(&mut self, dimension: usize) {
        let (upper, lower) = pack([0, 0]);
        self.upper.resize(self.upper.len() + row_blocks(dimension), [upper; BLOCK]);
        self.lower.resize(self.lower.len() + row_blocks(dimension), [lower; BLOCK]);
    }

    /// Writes the codes of a row; says whether they were others before.
    pub(crate) fn set(&mut self, row: usize, codes: &[i8]) -> bool {
        let blocks = row_blocks(codes.len());
        let upper = self.upper[row * blocks..][..blocks].as_flattened_mut();
        let lower = self.lower[row * blocks..][..blocks].as_flattened_mut();
        let code = |at: usize| codes.get(at).copied().unwrap_or(0);
        let bytes = upper.len();
        let mut changed = false;
        for (at, (upper, lower)) in upper.iter_mut().zip(lower).enumerate() {
            let new = pack([code(at), code(at + bytes)]);
            changed |= new != (*upper, *lower);
            (*upper, *lower) = new;
        }
        changed
    }

    /// The codes of a row.
    pub(crate) fn codes(&self, row: usize, dimension: usize) -> Vec<i8> {
        let blocks = row_blocks(dimension);
        let (upper, lower) = (&self.upper[row * blocks..][..blocks], &self.lower[row * blocks..][..blocks]);
        let half = |byte: u8, shift: u32| i32::from(byte >> shift & 15) - OFFSET;
        let codes = |shift| {
            let halves = upper.as_flattened().iter().zip(lower.as_flattened());
            halves.map(move |(&upper, &lower)| (BASE * half(upper, shift) + half(lower, shift)) as i8)
        };
        codes(0).chain(codes(4)).take(dimension).collect()
    }
}

/// The upper and the lower halves of two codes.
fn pack([first, second]: [i8; 2]) -> (u8, u8) {
    let halves = |code: i8| {
        let upper = i32::from(upper_part(code));
        ((upper / BASE + OFFSET) as u8, (i32::from(code) - upper + OFFSET) as u8)
    };
    let ((upper, lower), (next_upper, next_lower)) = (halves(first), halves(second));
    (upper | next_upper << 4, lower | next_lower << 4)
}

/// The codes of a query as rows are compared with them: a code d is base·h + l, where h and l each fit a byte. To begin
/// with, h alone is compared with the upper halves of rows.
#[derive(Debug, Clone)]
pub(crate) struct QueryCodes {
    base: i32,
    high: HalfQuery,
    low: HalfQuery,
}

impl QueryCodes {
    /// The greatest code there may be.
    pub(crate) const LIMIT: i32 = 128 * 127 + 63;

    /// The caller keeps codes within the limit, and `‖codes‖∞ · CODE_LIMIT · codes.len()` within `i32`, as
    /// [`crate::index::embedded::quantized::codes::QuantizedQuery`] does.
    pub(crate) fn new(codes: &[i32]) -> Self {
        let largest = codes.iter().map(|code| code.abs()).max().unwrap_or(0);
        let base = (1..8).map(|bits| 1 << bits).find(|base| (largest + base / 2) / base <= 127).unwrap_or(128);
        // to the nearest, so that h alone is as good as it can be
        let high = |code: i32| (code + base / 2).div_euclid(base);
        Self {
            base,
            high: HalfQuery::new(codes.iter().map(|&code| high(code))),
            low: HalfQuery::new(codes.iter().map(|&code| code - base * high(code))),
        }
    }

    /// The h of a code.
    pub(crate) fn high(&self, at: usize) -> i32 {
        i32::from(self.high.codes.as_flattened()[at])
    }

    /// What one of h counts.
    pub(crate) const fn base(&self) -> i32 {
        self.base
    }

    /// The integer products of h with what the upper halves of the first rows stand for, one for each of `products`.
    pub(crate) fn upper_products(&self, packed: &NibblePackedCodes, products: &mut [i32]) {
        self.high.products(&packed.upper, 0, products);
        products.iter_mut().for_each(|product| *product *= BASE);
    }

    /// The integer product of h with what the upper halves of one row stand for.
    pub(crate) fn upper_product(&self, packed: &NibblePackedCodes, row: usize) -> i32 {
        self.high.product(&packed.upper, row) * BASE
    }

    /// The integer products with the whole codes of the first rows.
    pub(crate) fn products(&self, packed: &NibblePackedCodes, products: &mut [i32]) {
        self.products_from(packed, 0, products);
    }

    /// The integer product with the whole codes of one row.
    pub(crate) fn product(&self, packed: &NibblePackedCodes, row: usize) -> i32 {
        let mut product = [0];
        self.products_from(packed, row, &mut product);
        product[0]
    }

    fn products_from(&self, packed: &NibblePackedCodes, row: usize, products: &mut [i32]) {
        let from = row * self.high.codes.len() / 2;
        let rows = [&packed.upper[from..], &packed.lower[from..]];
        // of high and upper, high and lower, low and upper, low and lower
        let weights = [BASE * self.base, self.base, BASE, 1].map(|weight| weight as i16);
        kernel::weighted_products([&self.high.codes, &self.low.codes], rows, weights, products);
        let offset = (self.high.offset.wrapping_mul(self.base)).wrapping_add(self.low.offset).wrapping_mul(BASE + 1);
        // the difference is within `i32`, what it is the difference of need not be
        products.iter_mut().for_each(|product| *product = product.wrapping_sub(offset));
    }
}

/// A byte of each code of a query.
#[derive(Debug, Clone)]
struct HalfQuery {
    /// The codes for the first half of each byte of a row, and then those for the second: an even number of blocks.
    codes: Vec<[i8; BLOCK]>,
    /// What the offset of the rows' halves adds to a product.
    offset: i32,
}

impl HalfQuery {
    fn new(codes: impl Iterator<Item = i32>) -> Self {
        let codes: Vec<i8> = codes.map(|code| code as i8).collect();
        let offset = codes.iter().map(|&code| i32::from(code)).sum::<i32>() * OFFSET;
        let mut blocks = vec![[0; BLOCK]; 2 * row_blocks(codes.len())];
        blocks.as_flattened_mut()[..codes.len()].copy_from_slice(&codes);
        Self { codes: blocks, offset }
    }

    fn products(&self, plane: &[[u8; BLOCK]], row: usize, products: &mut [i32]) {
        kernel::half_products(&self.codes, &plane[row * self.codes.len() / 2..], products);
        products.iter_mut().for_each(|product| *product -= self.offset);
    }

    fn product(&self, plane: &[[u8; BLOCK]], row: usize) -> i32 {
        let mut product = [0];
        self.products(plane, row, &mut product);
        product[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(seed: usize, dimension: usize) -> Vec<i8> {
        (0..dimension).map(|at| ((at * 31 + seed * 57) % 239) as i32 - 119).map(|code| code as i8).collect()
    }

    fn packed_of(rows: usize, dimension: usize) -> NibblePackedCodes {
        let mut packed = NibblePackedCodes::new(dimension);
        (0..rows).for_each(|_| packed.append(dimension));
        packed
    }

    #[test]
    fn every_code_is_the_sum_of_its_halves_and_of_zero_the_upper_is_zero() {
        for code in -CODE_LIMIT..=CODE_LIMIT {
            let upper = i32::from(upper_part(code));
            assert!(upper % 16 == 0 && upper.abs() <= 7 * 16, "{code}");
            assert!((-8..=7).contains(&(i32::from(code) - upper)), "{code}");
        }
        assert_eq!(upper_part(0), 0);
    }

    #[test]
    fn rows_come_back_as_they_were_written() {
        for dimension in [1, 3, 4, 5, 64, 257] {
            let mut packed = packed_of(3, dimension);
            assert_eq!(packed.codes(1, dimension), vec![0; dimension]);
            for row in 0..3 {
                assert!(packed.set(row, &codes(row + 1, dimension)));
                assert!(!packed.set(row, &codes(row + 1, dimension)));
            }
            for row in 0..3 {
                assert_eq!(packed.codes(row, dimension), codes(row + 1, dimension));
            }
        }
    }

    #[test]
    fn products_equal_the_definition_for_every_length() {
        for dimension in [1, 2, 7, 63, 64, 65, 127, 128, 130, 1029, 5000] {
            let most = (i32::MAX / i32::from(CODE_LIMIT) / dimension).min(QueryCodes::LIMIT);
            let query: Vec<i32> =
                (0..dimension).map(|at| (at * 7919 % (2 * most + 1) - most) * (1 - at % 2 * 2)).collect();
            let extreme: Vec<i32> = (0..dimension).map(|at| if at % 3 == 0 { -most } else { most }).collect();
            let dimension = dimension as usize;
            let rows: Vec<_> =
                (0..5).map(|row| codes(row, dimension)).chain([vec![119; dimension], vec![-119; dimension]]).collect();
            let mut packed = packed_of(rows.len(), dimension);
            for (row, codes) in rows.iter().enumerate() {
                packed.set(row, codes);
            }
            for query in [query, extreme] {
                let ours = QueryCodes::new(&query);
                for (at, &code) in query.iter().enumerate() {
                    assert!((code - ours.base() * ours.high(at)).abs() <= ours.base() / 2, "{code}");
                }
                let (mut uppers, mut whole) = (vec![0; rows.len()], vec![0; rows.len()]);
                ours.upper_products(&packed, &mut uppers);
                ours.products(&packed, &mut whole);
                for (row, codes) in rows.iter().enumerate() {
                    let sum = |term: &dyn Fn(usize) -> i64| (0..dimension).map(term).sum::<i64>();
                    let upper = sum(&|at| i64::from(ours.high(at)) * i64::from(upper_part(codes[at])));
                    assert_eq!(i64::from(uppers[row]), upper);
                    assert_eq!(uppers[row], ours.upper_product(&packed, row));
                    assert_eq!(i64::from(whole[row]), sum(&|at| i64::from(query[at]) * i64::from(codes[at])));
                    assert_eq!(whole[row], ours.product(&packed, row));
                }
            }
        }
    }
}
