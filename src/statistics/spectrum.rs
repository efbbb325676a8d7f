//! The spectrum of a set of vectors: eigenvalues without eigenvectors.

use nalgebra::DMatrix;

use super::centred;

/// The effective rank of Roy and Vetterli 2007: the exponential of the entropy of the singular values of the centred
/// vectors, scaled to the sum 1. It runs from 1 (all vectors on a line) to the number of dimensions (vectors spread
/// alike in all) and is 0 where the vectors do not differ. Fewer vectors than dimensions span fewer: then the number of
/// vectors less 1 is the most.
///
/// The time taken grows with the cube of the lesser of both numbers.
#[must_use]
pub fn effective_rank(vectors: &[&[f32]], mean: &[f64]) -> f64 {
    let eigenvalues = symmetric_eigenvalues(gram(&centred(vectors, mean)));
    // Rounding leaves small negative eigenvalues, which have no root.
    let singular: Vec<f64> = eigenvalues.into_iter().map(|value| value.max(0.0).sqrt()).collect();
    let largest = singular.iter().copied().fold(0.0, f64::max);
    // Zeros come out as small numbers by rounding; numpy's rank cuts them off at the same floor.
    let floor = largest * f64::EPSILON.sqrt() * singular.len() as f64;
    let singular: Vec<f64> = singular.into_iter().filter(|value| *value > floor).collect();
    let sum: f64 = singular.iter().sum();
    if sum <= 0.0 {
        return 0.0;
    }
    let entropy: f64 = singular.iter().map(|value| value / sum).map(|share| -share * share.ln()).sum();
    entropy.exp()
}

/// `XXᵀ` or `XᵀX` of a matrix, whichever is smaller: both have the same eigenvalues but for zeros.
fn gram(columns: &DMatrix<f64>) -> DMatrix<f64> {
    let transposed = columns.transpose();
    if columns.ncols() <= columns.nrows() { transposed * columns } else { columns * transposed }
}

/// The eigenvalues of a symmetric matrix, in any order.
fn symmetric_eigenvalues(matrix: DMatrix<f64>) -> Vec<f64> {
    // The library has no decomposition of a matrix without numbers.
    if matrix.is_empty() { Vec::new() } else { matrix.symmetric_eigenvalues().as_slice().to_vec() }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::statistics::Moments;

    fn rank(rows: &[Vec<f32>]) -> f64 {
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let moments = Moments::of(rows.iter().copied(), rows[0].len());
        effective_rank(&rows, moments.mean())
    }

    fn draw(count: usize, scales: &[f32]) -> Vec<Vec<f32>> {
        let mut draw = ChaCha8Rng::seed_from_u64(7);
        let mut row = || scales.iter().map(|scale| scale * draw.random_range(-1.0..1.0_f32)).collect();
        (0..count).map(|_| row()).collect()
    }

    #[test]
    fn eigenvalues_of_known_matrices_are_found() {
        let mut found =
            symmetric_eigenvalues(DMatrix::from_row_slice(3, 3, &[2.0, 1.0, 0.0, 1.0, 2.0, 1.0, 0.0, 1.0, 2.0]));
        found.sort_by(f64::total_cmp);
        let root = 2.0_f64.sqrt();
        for (a, b) in found.iter().zip([2.0 - root, 2.0, 2.0 + root]) {
            assert!((a - b).abs() < 1e-10, "{found:?}");
        }
        assert_eq!(symmetric_eigenvalues(DMatrix::from_element(1, 1, 3.0)), [3.0]);
        assert!(symmetric_eigenvalues(DMatrix::zeros(0, 0)).is_empty());
    }

    #[test]
    fn eigenvalues_keep_the_trace_and_the_sum_of_squares() {
        let rows = draw(40, &[1.0; 12]);
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let matrix = gram(&centred(&rows, &[0.0; 12]));
        let (trace, squares) = (matrix.trace(), matrix.norm_squared());
        let found = symmetric_eigenvalues(matrix);
        assert!((found.iter().sum::<f64>() - trace).abs() < 1e-8);
        assert!((found.iter().map(|x| x * x).sum::<f64>() - squares).abs() < 1e-6);
    }

    #[test]
    fn the_rank_is_that_of_the_space_the_vectors_fill() {
        let even = rank(&draw(4000, &[1.0; 8]));
        assert!(even > 7.9 && even <= 8.0 + 1e-9, "{even}");
        let line = rank(&(0..50).map(|at| vec![at as f32, 2.0 * at as f32, 1.0]).collect::<Vec<_>>());
        assert!((line - 1.0).abs() < 1e-6, "{line}");
        assert!(rank(&vec![vec![1.0, 2.0]; 5]).abs() < 1e-12);
        let two = rank(&draw(2000, &[1.0, 1.0, 0.0, 0.0]));
        assert!((two - 2.0).abs() < 0.01, "{two}");
    }

    #[test]
    fn few_vectors_of_many_dimensions_give_the_same_as_the_other_way_round() {
        let few = draw(6, &[1.0; 50]);
        let found = rank(&few);
        assert!(found > 4.0 && found <= 5.0 + 1e-9, "six points, centred, span five dimensions: {found}");
    }
}
