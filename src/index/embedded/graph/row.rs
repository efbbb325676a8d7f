//! What a node stands for: a vector's codes and its scale; and how far two of them lie apart.
//!
//! The codes are those of the scan, one byte a dimension. Both sides of a distance are approximations, which is all that
//! a proposal of candidates needs.

use super::kernel::{Codes, RowLine, code};
use crate::domain::Metric;

/// What is kept of a node's vector beside its codes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stats {
    /// What a code counts.
    pub(super) scale: f32,
    /// The sum of the squared codes.
    squares: u32,
}

impl Stats {
    pub(super) const fn to_bits(self) -> u64 {
        (self.squares as u64) << 32 | self.scale.to_bits() as u64
    }

    #[inline(always)]
    pub(super) const fn from_bits(bits: u64) -> Self {
        // the lower half is the scale
        Self { scale: f32::from_bits(bits as u32), squares: (bits >> 32) as u32 }
    }

    /// The squared length of the vector.
    #[inline(always)]
    fn norm(self) -> f64 {
        let scale = f64::from(self.scale);
        scale * scale * f64::from(self.squares)
    }
}

/// A vector as the graph keeps and compares it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NodeRow {
    codes: Vec<i8>,
    stats: Stats,
}

impl NodeRow {
    pub(crate) fn new(codes: Vec<i8>, scale: f32) -> Self {
        let squares = codes.iter().map(|&code| i32::from(code).pow(2).cast_unsigned()).sum();
        Self { codes, stats: Stats { scale, squares } }
    }

    /// The vector that the lines of a row hold.
    pub(super) fn of(row: &[RowLine], stats: Stats, dimension: usize) -> Self {
        let bytes = row.iter().flat_map(|line| line.0).take(dimension);
        Self { codes: bytes.map(code).collect(), stats }
    }

    pub(super) fn codes(&self) -> &[i8] {
        &self.codes
    }

    pub(super) const fn scale(&self) -> f32 {
        self.stats.scale
    }

    pub(super) const fn stats(&self) -> Stats {
        self.stats
    }
}

/// What rows are compared with.
#[derive(Debug, Clone)]
pub(super) struct Query {
    metric: Metric,
    pub(super) codes: Codes,
    scale: f64,
    norm: f64,
}

impl Query {
    pub(super) fn new(metric: Metric, row: &NodeRow) -> Self {
        let Stats { scale, .. } = row.stats;
        Self { metric, codes: Codes::new(&row.codes), scale: f64::from(scale), norm: row.stats.norm() }
    }

    /// A query of this metric for [`set_to`](Self::set_to).
    pub(super) fn empty(metric: Metric) -> Self {
        Self { metric, codes: Codes::default(), scale: 0.0, norm: 0.0 }
    }

    /// Becomes the vector of a node.
    #[inline(always)]
    pub(super) fn set_to(&mut self, row: &[RowLine], stats: Stats) {
        self.codes.set_to(row);
        (self.scale, self.norm) = (f64::from(stats.scale), stats.norm());
    }

    /// The distance to itself.
    pub(super) fn to_itself(&self) -> f32 {
        match self.metric {
            Metric::Cosine | Metric::Dot => -self.norm as f32,
            Metric::Euclid => 0.0,
        }
    }

    /// The distance to a row by the product with it: smaller is nearer. Never no number; infinite where f32 ends.
    #[inline(always)]
    pub(super) fn distance(&self, product: i32, stats: Stats) -> f32 {
        let product = self.scale * f64::from(stats.scale) * f64::from(product);
        match self.metric {
            Metric::Cosine | Metric::Dot => -product as f32,
            Metric::Euclid => (self.norm + stats.norm() - 2.0 * product) as f32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::kernel::{LINE, shifted},
        *,
    };
    use crate::index::embedded::quantized::codes::Encoded;

    fn distance(metric: Metric, a: &[f32], b: &[f32]) -> f32 {
        let row = |vector| {
            let Encoded { codes, stats, .. } = Encoded::new(vector);
            NodeRow::new(codes, stats.scale())
        };
        let (a, b) = (row(a), row(b));
        let query = Query::new(metric, &a);
        let product = a.codes.iter().zip(&b.codes).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum();
        query.distance(product, Stats::from_bits(b.stats.to_bits()))
    }

    #[test]
    fn rows_lie_as_far_apart_as_their_vectors() {
        let (a, b) = ([0.5_f32, -2.0, 1.0], [1.5_f32, 1.0, 0.25]);
        let inner: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
        let squared: f32 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
        for (metric, expected) in [(Metric::Dot, -inner), (Metric::Cosine, -inner), (Metric::Euclid, squared)] {
            let found = distance(metric, &a, &b);
            assert!((found - expected).abs() < 0.05, "{metric:?}: {found} is not {expected}");
        }
    }

    #[test]
    fn distances_of_huge_vectors_are_numbers() {
        let (huge, other, zero) = ([f32::MAX, -f32::MAX], [-f32::MAX, f32::MAX], [0.0, 0.0]);
        for metric in [Metric::Dot, Metric::Euclid] {
            for (a, b) in [(huge, huge), (huge, other), (huge, zero)] {
                assert!(!distance(metric, &a, &b).is_nan());
            }
        }
    }

    #[test]
    fn a_query_of_a_row_is_as_one_of_its_vector() {
        let row = NodeRow::new(vec![3, -119, 7], 0.25);
        let mut line = RowLine([shifted(0); LINE]);
        line.0.iter_mut().zip(&row.codes).for_each(|(byte, &code)| *byte = shifted(code));
        assert_eq!(NodeRow::of(&[line], row.stats, 3), row);
        let mut query = Query::empty(Metric::Euclid);
        query.set_to(&[line], row.stats);
        for metric in [Metric::Dot, Metric::Euclid] {
            query.metric = metric;
            assert_eq!(query.distance(3 * 3 + 119 * 119 + 7 * 7, row.stats), query.to_itself(), "{metric:?}");
        }
    }
}
