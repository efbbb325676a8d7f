//! What a node is in the graph: a vector's codes, its scale and its length, as bytes of one row; and the distance of
//! two rows.
//!
//! The codes are those of the scan, so the graph takes one byte a dimension too. Both rows are approximations, which
//! is all that a proposal of candidates needs.
#![expect(unsafe_code, reason = "usearch hands the rows to compare over as pointers")]

use std::slice;

use crate::{
    domain::Metric,
    index::embedded::quantized::{
        codes::{CodeStats, Encoded},
        kernel,
    },
};

/// Bytes of a row beyond the codes: the scale as f32 and the sum of the squared codes as u32.
const TAIL: usize = 8;

/// A vector as the graph keeps and compares it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NodeRow(Vec<i8>);

impl NodeRow {
    pub(crate) fn new(codes: &[i8], stats: &CodeStats) -> Self {
        let mut row = Vec::with_capacity(codes.len() + TAIL);
        row.extend_from_slice(codes);
        let tail = stats.scale().to_le_bytes().into_iter().chain(stats.squares().to_le_bytes());
        row.extend(tail.map(|byte| byte as i8));
        Self(row)
    }

    pub(crate) fn as_slice(&self) -> &[i8] {
        &self.0
    }
}

impl From<&Encoded> for NodeRow {
    fn from(vector: &Encoded) -> Self {
        Self::new(&vector.codes, &vector.stats)
    }
}

/// Numbers of a row for vectors of this dimension.
pub(crate) const fn row_length(dimension: usize) -> usize {
    dimension + TAIL
}

/// Compares the rows behind two pointers.
pub(crate) type RowDistance = Box<dyn Fn(*const i8, *const i8) -> f32 + Send + Sync>;

/// The distance of two rows of an index whose rows are `row_length(dimension)` long.
pub(crate) fn row_distance(metric: Metric, dimension: usize) -> RowDistance {
    let length = row_length(dimension);
    Box::new(move |a, b| {
        // SAFETY: the index compares rows that were added or searched for, and checks that each has its length.
        let (a, b) = unsafe { (slice::from_raw_parts(a, length), slice::from_raw_parts(b, length)) };
        distance(metric, a, b)
    })
}

/// Smaller is nearer; always finite.
fn distance(metric: Metric, a: &[i8], b: &[i8]) -> f32 {
    let (a, (a_scale, a_squares)) = read(a);
    let (b, (b_scale, b_squares)) = read(b);
    let product = a_scale * b_scale * f64::from(kernel::code_product(a, b));
    let distance = match metric {
        Metric::Cosine | Metric::Dot => -product,
        Metric::Euclid => a_scale * a_scale * a_squares + b_scale * b_scale * b_squares - 2.0 * product,
    };
    distance.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
}

/// The codes of a row, its scale and the sum of its squared codes.
fn read(row: &[i8]) -> (&[i8], (f64, f64)) {
    let Some((codes, tail)) = row.split_last_chunk::<TAIL>() else { return (&[], (0.0, 0.0)) };
    let [a, b, c, d, e, f, g, h] = tail.map(|byte| byte as u8);
    let (scale, squares) = (f32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    (codes, (f64::from(scale), f64::from(squares)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_lie_as_far_apart_as_their_vectors() {
        let (a, b) = ([0.5_f32, -2.0, 1.0], [1.5_f32, 1.0, 0.25]);
        let row = |vector: &[f32]| NodeRow::from(&Encoded::new(vector));
        let (a_row, b_row) = (row(&a), row(&b));
        let inner: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
        let squared: f32 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
        for (metric, expected) in [(Metric::Dot, -inner), (Metric::Cosine, -inner), (Metric::Euclid, squared)] {
            let compare = row_distance(metric, 3);
            let found = compare(a_row.as_slice().as_ptr(), b_row.as_slice().as_ptr());
            assert!((found - expected).abs() < 0.05, "{metric:?}: {found} is not {expected}");
        }
    }

    #[test]
    fn distances_of_huge_vectors_are_finite() {
        let row = NodeRow::from(&Encoded::new(&[f32::MAX, -f32::MAX]));
        let other = NodeRow::from(&Encoded::new(&[-f32::MAX, f32::MAX]));
        for metric in [Metric::Dot, Metric::Euclid] {
            for (a, b) in [(&row, &row), (&row, &other)] {
                assert!(distance(metric, a.as_slice(), b.as_slice()).is_finite());
            }
        }
    }
}
