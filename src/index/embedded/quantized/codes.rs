//! int8 codes of vectors, and what they prove about scores.
//!
//! A stored vector x is kept as x̂ = s·c with c in −119…119 and a scale s of its own, and the length of its residual
//! ‖x − x̂‖; and so it is for the upper halves of c alone (`nibbles`). A query q becomes q̂ = t·d with wider d, so
//! that its own residual hardly counts. The integer product c·d
//! then bounds the exact score from both sides:
//!
//! - inner product: |q·x − q̂·x̂| ≤ ‖q − q̂‖·‖x̂‖ + ‖q‖·‖x − x̂‖ (Cauchy–Schwarz);
//! - distance: |‖q − x‖ − ‖q̂ − x̂‖| ≤ ‖q − q̂‖ + ‖x − x̂‖ (triangle inequality).
//!
//! A scan that keeps every vector whose upper bound reaches the k-th best score therefore finds exactly what the
//! plain scan finds.

use std::cell::OnceCell;

use super::{
    bounds::{Lengths, UpperBounds},
    kernel,
    nibbles::{self, QueryCodes, upper_part},
};
use crate::{
    domain::{Embedding, Metric},
    simd::compiled_for_each_processor,
};

const CODE_LIMIT: f64 = nibbles::CODE_LIMIT as f64;

/// Relative allowance for rounding: scores are f32, where half a unit is 2^-24; all else is f64.
const ROUNDING: f64 = 1.0 / (1 << 21) as f64;

/// What is kept of a vector beside its codes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct CodeStats {
    /// s
    scale: f32,
    /// ‖x − x̂‖; in f64, because norms of f32 vectors overflow f32.
    residual: f64,
    /// ‖c‖², exact.
    squares: u32,
}

impl CodeStats {
    pub(crate) const ZERO: Self = Self { scale: 0.0, residual: 0.0, squares: 0 };

    pub(crate) const fn scale(&self) -> f32 {
        self.scale
    }

    pub(crate) const fn residual(&self) -> f64 {
        self.residual
    }

    /// ‖x̂‖
    pub(crate) fn norm(&self) -> f64 {
        f64::from(self.scale) * f64::from(self.squares).sqrt()
    }
}

/// A vector's codes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Encoded {
    pub(crate) codes: Vec<i8>,
    pub(crate) stats: CodeStats,
    /// What is kept of the vector that the upper halves of the codes alone stand for.
    pub(crate) upper: CodeStats,
}

impl Encoded {
    pub(crate) fn new(values: &[f32]) -> Self {
        let (codes, scale) = quantize(values);
        let step = f64::from(scale);
        let stats = |part: fn(i8) -> i8| {
            let mut squares = 0;
            let mut residual = 0.0;
            for (&value, &code) in values.iter().zip(&codes) {
                let code = i32::from(part(code));
                let missed = f64::from(value) - step * f64::from(code);
                residual += missed * missed;
                squares += (code * code) as u32;
            }
            CodeStats { scale, residual: f64::sqrt(residual), squares }
        };
        let (stats, upper) = (stats(|code| code), stats(upper_part));
        Self { codes, stats, upper }
    }
}

/// The codes of a vector alone, and what one of them counts.
fn quantize(values: &[f32]) -> (Vec<i8>, f32) {
    let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let scale = (f64::from(largest) / CODE_LIMIT) as f32;
    // A scale that would be subnormal has too few digits to divide by: all codes are 0, all of x is residual.
    let scale = if scale.is_normal() { scale } else { 0.0 };
    let mut codes = vec![0; values.len()];
    if scale > 0.0 {
        to_codes(values, f64::from(scale), &mut codes);
    }
    (codes, scale)
}

compiled_for_each_processor! {
    fn to_codes(values: &[f32], step: f64, codes: &mut [i8]) = plain_to_codes;
}

#[inline(always)]
fn plain_to_codes(values: &[f32], step: f64, codes: &mut [i8]) {
    for (&value, code) in values.iter().zip(codes) {
        *code = (f64::from(value) / step).round().clamp(-CODE_LIMIT, CODE_LIMIT) as i8;
    }
}

/// A query, ready to be compared with stored rows, and with codes once that is asked for.
#[derive(Debug, Clone)]
pub(crate) struct QuantizedQuery {
    metric: Metric,
    exact: Vec<f64>,
    quantized: OnceCell<Quantized>,
}

/// What comparing a query with codes takes.
#[derive(Debug, Clone)]
struct Quantized {
    codes: QueryCodes,
    lengths: Lengths,
    code_bounds: UpperBounds,
    nibble_bounds: UpperBounds,
}

impl Quantized {
    fn new(metric: Metric, exact: &[f64]) -> Self {
        // The widest codes whose product with any row stays within i32.
        let limit = i32::MAX / i32::from(nibbles::CODE_LIMIT) / i32::try_from(exact.len()).unwrap_or(i32::MAX);
        let limit = f64::from(limit.clamp(1, QueryCodes::LIMIT));
        let largest = exact.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
        let scale = largest / limit;
        let code = |value: f64| if scale > 0.0 { (value / scale).round().clamp(-limit, limit) as i32 } else { 0 };
        let wide: Vec<i32> = exact.iter().map(|&value| code(value)).collect();
        let codes = QueryCodes::new(&wide);
        let norm = length(exact.iter().copied());
        let lengths = |scale: f64, part: &dyn Fn(usize) -> i32| {
            let approximate = |at| scale * f64::from(part(at));
            let residual = length(exact.iter().enumerate().map(|(at, value)| value - approximate(at)));
            let squares = (0..exact.len()).map(|at| approximate(at).powi(2)).sum();
            Lengths { scale, residual, norm, squares, rounding: ROUNDING }
        };
        let lengths_of_all = lengths(scale, &|at| wide[at]);
        let high = lengths(scale * f64::from(codes.base()), &|at| codes.high(at));
        let (code_bounds, nibble_bounds) = (UpperBounds::new(metric, lengths_of_all), UpperBounds::new(metric, high));
        Self { codes, lengths: lengths_of_all, code_bounds, nibble_bounds }
    }
}

/// Between what the exact score lies, both inclusive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bounds {
    pub(crate) lower: f64,
    pub(crate) upper: f64,
}

impl QuantizedQuery {
    pub(crate) fn new(metric: Metric, query: &Embedding) -> Self {
        let exact = query.as_slice().iter().map(|&value| f64::from(value)).collect();
        Self { metric, exact, quantized: OnceCell::new() }
    }

    fn quantized(&self) -> &Quantized {
        self.quantized.get_or_init(|| Quantized::new(self.metric, &self.exact))
    }

    pub(crate) fn codes(&self) -> &QueryCodes {
        &self.quantized().codes
    }

    /// The upper bounds that products with whole codes give.
    pub(crate) fn code_bounds(&self) -> &UpperBounds {
        &self.quantized().code_bounds
    }

    /// The upper bounds that products with the upper halves of codes give.
    pub(crate) fn nibble_bounds(&self) -> &UpperBounds {
        &self.quantized().nibble_bounds
    }

    /// What an integer product says of the exact score.
    pub(crate) fn bounds(&self, product: i32, stats: &CodeStats) -> Bounds {
        let query = &self.quantized().lengths;
        let step = f64::from(stats.scale);
        let (residual, norm) = (stats.residual, stats.norm());
        let product = query.scale * step * f64::from(product);
        let (score, error) = match self.metric {
            Metric::Cosine | Metric::Dot => {
                let error = query.residual * norm + query.norm * residual;
                (product, error + ROUNDING * query.norm * (norm + residual))
            }
            Metric::Euclid => {
                let squared = query.squares + step * step * f64::from(stats.squares) - 2.0 * product;
                let error = query.residual + residual + ROUNDING * (query.norm + norm + residual);
                (-squared.max(0.0).sqrt(), error)
            }
        };
        let error = error + f64::from(f32::MIN_POSITIVE);
        let (least, most) = self.score_range();
        Bounds { lower: (score - error).clamp(least, most), upper: (score + error).clamp(least, most) }
    }

    /// A number that the exact score of a row does not exceed, but for rounding, by how far the codes of the query and the
    /// row's lie apart: the inner product with its sign turned, or the squared distance.
    pub(crate) fn upper_of_codes(&self, distance: f64, query: &CodeStats, row: &CodeStats) -> f64 {
        match self.metric {
            Metric::Cosine | Metric::Dot => {
                -distance + query.residual * row.norm() + (query.norm() + query.residual) * row.residual
            }
            Metric::Euclid => query.residual + row.residual - distance.max(0.0).sqrt(),
        }
    }

    /// The exact score of a stored row; always finite, and never -0.
    pub(crate) fn score(&self, row: &[u8]) -> f32 {
        let score = match self.metric {
            Metric::Cosine | Metric::Dot => kernel::inner_product(&self.exact, row),
            Metric::Euclid => -kernel::squared_distance(&self.exact, row).sqrt(),
        };
        let (least, most) = self.score_range();
        // Adding zero turns the -0 of two equal vectors into 0.
        score.clamp(least, most) as f32 + 0.0
    }

    /// What scores are cut to, so that rounding lifts no cosine above 1 and large numbers stay finite.
    fn score_range(&self) -> (f64, f64) {
        match self.metric {
            Metric::Cosine => (-1.0, 1.0),
            Metric::Dot | Metric::Euclid => (f64::from(f32::MIN), f64::from(f32::MAX)),
        }
    }
}

/// The length of a vector.
fn length(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{bounds::BoundTerms, nibbles::NibblePackedCodes},
        *,
    };

    fn row(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    /// The bounds of a vector's score, and the upper bounds of chunks by its codes and by their upper halves alone.
    fn bounds_of(query: &QuantizedQuery, vector: &[f32]) -> (Bounds, [f32; 2]) {
        let encoded = Encoded::new(vector);
        let mut packed = NibblePackedCodes::new(vector.len());
        packed.append(vector.len());
        packed.set(0, &encoded.codes);
        let upper = query.codes().upper_product(&packed, 0);
        let whole = query.codes().product(&packed, 0);
        let both = [(query.code_bounds(), whole, encoded.stats), (query.nibble_bounds(), upper, encoded.upper)];
        let uppers = both.map(|(code_bounds, product, stats)| {
            let (mut bound_terms, mut uppers) = (BoundTerms::default(), [0.0]);
            bound_terms.set(0, &stats);
            code_bounds.uppers(&bound_terms, &[product], &mut uppers);
            assert_eq!(uppers[0].to_bits(), code_bounds.upper(&bound_terms, 0, product).to_bits());
            uppers[0]
        });
        (query.bounds(whole, &encoded.stats), uppers)
    }

    fn bounds_hold(metric: Metric, query: &[f32], vector: &[f32]) -> Result<(), TestCaseError> {
        let query = QuantizedQuery::new(metric, &Embedding::new(query.to_vec()).unwrap());
        let score = f64::from(query.score(&row(vector)));
        let (bounds, uppers) = bounds_of(&query, vector);
        prop_assert!(bounds.lower <= score && score <= bounds.upper, "{bounds:?} {score}");
        prop_assert!(uppers[0].is_nan() || f64::from(uppers[0]) >= bounds.upper, "{uppers:?} {bounds:?}");
        prop_assert!(uppers[1].is_nan() || f64::from(uppers[1]) >= score, "{uppers:?} {score}");
        Ok(())
    }

    fn any_magnitude() -> impl Strategy<Value = f32> + Clone + 'static {
        use prop::num::f32::{NEGATIVE, NORMAL, POSITIVE, SUBNORMAL, ZERO};
        POSITIVE | NEGATIVE | NORMAL | SUBNORMAL | ZERO
    }

    fn vectors(numbers: impl Strategy<Value = f32> + Clone + 'static) -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
        (1_usize..80).prop_flat_map(move |dimension| {
            (prop::collection::vec(numbers.clone(), dimension), prop::collection::vec(numbers.clone(), dimension))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn the_exact_score_lies_within_the_bounds((query, vector) in vectors(-1.0_f32..1.0)) {
            for metric in [Metric::Dot, Metric::Euclid] {
                bounds_hold(metric, &query, &vector)?;
                bounds_hold(metric, &query, &query)?;
            }
        }

        #[test]
        fn so_it_does_for_unit_vectors_under_cosine((query, vector) in vectors(-1.0_f32..1.0)) {
            let unit = |values: Vec<f32>| Embedding::new(values).unwrap().normalized().into_vec();
            let (query, vector) = (unit(query), unit(vector));
            bounds_hold(Metric::Cosine, &query, &vector)?;
            bounds_hold(Metric::Cosine, &query, &query)?;
        }

        #[test]
        fn and_for_numbers_of_any_magnitude((query, vector) in vectors(any_magnitude())) {
            for metric in [Metric::Dot, Metric::Euclid] {
                bounds_hold(metric, &query, &vector)?;
            }
        }
    }

    #[test]
    fn a_score_of_nothing_has_no_sign() {
        let vector = [0.25, -1.5];
        let euclid = QuantizedQuery::new(Metric::Euclid, &Embedding::new(vector.to_vec()).unwrap());
        assert_eq!(euclid.score(&row(&vector)).to_bits(), 0);
        let dot = QuantizedQuery::new(Metric::Dot, &Embedding::new(vec![0.0, -0.0]).unwrap());
        assert_eq!(dot.score(&row(&[-1.0, 1.0])).to_bits(), 0);
    }

    proptest! {
        #[test]
        fn codes_on_both_sides_bound_the_score_too((query, vector) in vectors(-1.0_f32..1.0)) {
            let (a, b) = (Encoded::new(&query), Encoded::new(&vector));
            let scaled = |of: &Encoded| -> Vec<f64> {
                of.codes.iter().map(|&code| f64::from(of.stats.scale()) * f64::from(code)).collect()
            };
            let pairs: Vec<(f64, f64)> = scaled(&a).into_iter().zip(scaled(&b)).collect();
            let inner: f64 = pairs.iter().map(|(a, b)| a * b).sum();
            let squared: f64 = pairs.iter().map(|(a, b)| (a - b) * (a - b)).sum();
            for (metric, distance) in [(Metric::Dot, -inner), (Metric::Euclid, squared)] {
                let exact = QuantizedQuery::new(metric, &Embedding::new(query.clone()).unwrap());
                let score = f64::from(exact.score(&row(&vector)));
                let upper = exact.upper_of_codes(distance, &a.stats, &b.stats);
                prop_assert!(score <= upper + 1e-5 && upper < score + 1.5, "{metric:?}: {score} {upper}");
            }
        }
    }

    #[test]
    fn the_bounds_of_unit_vectors_are_narrow() {
        let vector: Vec<f32> = (0..256).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
        let vector = Embedding::new(vector).unwrap().normalized();
        let query = QuantizedQuery::new(Metric::Cosine, &vector);
        let (bounds, [upper, upper_by_nibbles]) = bounds_of(&query, vector.as_slice());
        assert!(bounds.upper - bounds.lower < 0.01, "{bounds:?}");
        assert!(f64::from(upper) - bounds.lower < 0.01, "{upper:?} {bounds:?}");
        assert!(f64::from(upper_by_nibbles) - bounds.lower < 0.15, "{upper_by_nibbles:?} {bounds:?}");
    }

    #[test]
    fn zeros_cost_the_bounds_of_the_upper_halves_nothing() {
        let mut vector = vec![0.0; 256];
        vector[7] = 1.0;
        let query = QuantizedQuery::new(Metric::Cosine, &Embedding::new(vector.clone()).unwrap());
        let (_, [_, upper]) = bounds_of(&query, &vector);
        assert!(upper < 1.08, "{upper}");
    }
}
