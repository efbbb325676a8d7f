//! Upper bounds of the scores of many rows at once, in f32: looser than
//! [`QuantizedQuery::bounds`](super::codes::QuantizedQuery::bounds), but the processor computes them by the vector, so
//! that few rows need the others.
//!
//! Every number that goes in is rounded up, and what f32 arithmetic can lose is added: of the magnitudes that are
//! summed, 2⁻¹⁹ parts, where no sum here loses more than 2⁻²⁰; and twice the smallest normal number, for what
//! underflows.
//! What overflows or is no number passes.

use super::{codes::CodeStats, nibbles::CHUNK_SLOTS};
use crate::{domain::Metric, simd::compiled_for_each_processor};

/// Allowance for the rounding of f32, beside magnitudes.
const SLACK: f64 = 1.0 / (1 << 19) as f64;
/// Allowance for what underflows.
const TINY: f32 = 2.0 * f32::MIN_POSITIVE;

/// What upper bounds read of the slots of a chunk: an array of each number, one after another, since every place in
/// memory where a scan begins to read costs it a wait.
#[derive(Debug, Clone)]
pub(crate) struct BoundTerms(Box<[[f32; CHUNK_SLOTS]; 3]>);

impl Default for BoundTerms {
    /// The terms of zero vectors.
    fn default() -> Self {
        Self(Box::new([[0.0; CHUNK_SLOTS]; 3]))
    }
}

impl BoundTerms {
    pub(crate) fn set(&mut self, slot: usize, stats: &CodeStats) {
        let [scales, norms, residuals] = &mut *self.0;
        scales[slot] = stats.scale();
        norms[slot] = rounded_up(stats.norm());
        residuals[slot] = rounded_up(stats.residual());
    }

    /// The terms of one slot.
    #[inline(always)]
    fn at(&self, slot: usize) -> [f32; 3] {
        [self.0[0][slot], self.0[1][slot], self.0[2][slot]]
    }

    /// Scale, length and length of the residual of each slot.
    #[inline(always)]
    fn iter(&self) -> impl Iterator<Item = ((&f32, &f32), &f32)> {
        let [scales, norms, residuals] = &*self.0;
        scales.iter().zip(norms).zip(residuals)
    }
}

/// The least f32 that is certainly not below a number ≥ 0.
fn rounded_up(number: f64) -> f32 {
    (number as f32).next_up()
}

/// What upper bounds take of the query: an upper bound is a product or a distance, and an error that grows with the
/// row's length and residual.
#[derive(Debug, Clone)]
pub(crate) enum UpperBounds {
    /// Query and rows are of magnitudes that f32 cannot tell apart: everything passes.
    Open,
    Product {
        scale: f32,
        by_norm: f32,
        by_residual: f32,
        least: f32,
    },
    Distance {
        scale: f32,
        /// ‖q̂‖², rounded down.
        squares: f32,
        error: f32,
        by_norm: f32,
        by_residual: f32,
    },
}

/// The lengths that bounds are made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lengths {
    /// t
    pub(crate) scale: f64,
    /// ‖q − q̂‖
    pub(crate) residual: f64,
    /// ‖q‖
    pub(crate) norm: f64,
    /// ‖q̂‖²
    pub(crate) squares: f64,
    /// The relative allowance of the bounds themselves.
    pub(crate) rounding: f64,
}

impl UpperBounds {
    pub(crate) fn new(metric: Metric, query: Lengths) -> Self {
        let Lengths { scale, residual, norm, squares, rounding } = query;
        let scale = scale as f32;
        let slack = rounding + SLACK;
        if !scale.is_normal() || !((norm + residual) as f32).is_normal() {
            return Self::Open;
        }
        match metric {
            Metric::Cosine | Metric::Dot => Self::Product {
                scale,
                by_norm: rounded_up(residual + slack * (norm + residual)),
                by_residual: rounded_up(norm * (1.0 + slack)),
                least: if metric == Metric::Cosine { -1.0 } else { f32::MIN },
            },
            Metric::Euclid => Self::Distance {
                scale,
                squares: ((squares * (1.0 - SLACK)) as f32).next_down().max(0.0),
                error: rounded_up(residual * (1.0 + slack) + norm * slack),
                by_norm: rounded_up(slack),
                by_residual: rounded_up(1.0 + slack),
            },
        }
    }

    /// For each integer product with a row of a chunk, a number that the row's score does not exceed, or no number.
    pub(crate) fn uppers(&self, bound_terms: &BoundTerms, products: &[i32], uppers: &mut [f32]) {
        match *self {
            Self::Open => uppers.fill(f32::INFINITY),
            Self::Product { scale, by_norm, by_residual, least } => {
                of_products([scale, by_norm, by_residual, least], bound_terms, products, uppers);
            }
            Self::Distance { scale, squares, error, by_norm, by_residual } => {
                of_distances([scale, squares, error, by_norm, by_residual], bound_terms, products, uppers);
            }
        }
    }

    /// A number that the score of one row of a chunk does not exceed, or no number.
    pub(crate) fn upper(&self, bound_terms: &BoundTerms, slot: usize, product: i32) -> f32 {
        match *self {
            Self::Open => f32::INFINITY,
            Self::Product { scale, by_norm, by_residual, least } => {
                of_product([scale, by_norm, by_residual, least], bound_terms.at(slot), product)
            }
            Self::Distance { scale, squares, error, by_norm, by_residual } => {
                of_distance([scale, squares, error, by_norm, by_residual], bound_terms.at(slot), product)
            }
        }
    }
}

compiled_for_each_processor! {
    fn of_products(query: [f32; 4], bound_terms: &BoundTerms, products: &[i32], uppers: &mut [f32]) = plain_of_products;
    fn of_distances(query: [f32; 5], bound_terms: &BoundTerms, products: &[i32], uppers: &mut [f32]) = plain_of_distances;
}

#[inline(always)]
fn plain_of_products(query: [f32; 4], bound_terms: &BoundTerms, products: &[i32], uppers: &mut [f32]) {
    for ((upper, product), ((scale, norm), residual)) in uppers.iter_mut().zip(products).zip(bound_terms.iter()) {
        *upper = of_product(query, [*scale, *norm, *residual], *product);
    }
}

#[inline(always)]
fn plain_of_distances(query: [f32; 5], bound_terms: &BoundTerms, products: &[i32], uppers: &mut [f32]) {
    for ((upper, product), ((scale, norm), residual)) in uppers.iter_mut().zip(products).zip(bound_terms.iter()) {
        *upper = of_distance(query, [*scale, *norm, *residual], *product);
    }
}

#[inline(always)]
fn of_product(
    [scale, by_norm, by_residual, least]: [f32; 4],
    [row_scale, norm, residual]: [f32; 3],
    product: i32,
) -> f32 {
    let product = scale * product as f32 * row_scale;
    let bound = product + by_norm * norm + by_residual * residual + TINY;
    // what is no number passes, and so does a bound that an overflow has made of a product too large for f32
    if bound >= least {
        bound
    } else if bound.is_finite() {
        least
    } else {
        f32::INFINITY
    }
}

#[inline(always)]
fn of_distance(query: [f32; 5], [row_scale, norm, residual]: [f32; 3], product: i32) -> f32 {
    const KEPT: f32 = 1.0 - SLACK as f32;
    let [scale, squares, error, by_norm, by_residual] = query;
    let product = scale * product as f32 * row_scale;
    let squared = squares + norm * norm * KEPT - 2.0 * product - TINY;
    let squared = if squared > 0.0 && squared < f32::MAX { squared } else { 0.0 };
    let bound = error + by_norm * norm + by_residual * residual - squared.sqrt() + TINY;
    if bound < f32::MIN { f32::MIN } else { bound }
}
