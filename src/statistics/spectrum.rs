//! The spectrum of a set of vectors: eigenvalues without eigenvectors.

/// The effective rank of Roy and Vetterli 2007: the exponential of the entropy of the singular values of the centred
/// vectors, scaled to the sum 1. From 1 (all on a line) to the number of dimensions (spread alike in all); 0 where the
/// vectors do not differ. Fewer vectors than dimensions span fewer: then the number of vectors less 1 is the most.
///
/// Takes time with the cube of the lesser of both numbers.
#[must_use]
pub fn effective_rank(vectors: &[&[f32]], mean: &[f64]) -> f64 {
    let centred: Vec<Vec<f64>> = vectors
        .iter()
        .map(|vector| vector.iter().zip(mean).map(|(value, mean)| f64::from(*value) - mean).collect())
        .collect();
    let eigenvalues = symmetric_eigenvalues(gram(&centred, mean.len()));
    // rounding leaves small negative ones
    let singular: Vec<f64> = eigenvalues.into_iter().map(|value| value.max(0.0).sqrt()).collect();
    let largest = singular.iter().copied().fold(0.0, f64::max);
    // what is left of zeros by rounding, as numpy's rank cuts it off
    let floor = largest * f64::EPSILON.sqrt() * singular.len() as f64;
    let singular: Vec<f64> = singular.into_iter().filter(|value| *value > floor).collect();
    let sum: f64 = singular.iter().sum();
    if sum <= 0.0 {
        return 0.0;
    }
    let entropy: f64 = singular.iter().map(|value| value / sum).map(|share| -share * share.ln()).sum();
    entropy.exp()
}

/// `XᵀX` or `XXᵀ`, whichever is smaller: both have the same eigenvalues but for zeros.
fn gram(rows: &[Vec<f64>], dimension: usize) -> Vec<Vec<f64>> {
    if rows.len() <= dimension {
        let product = |a: &Vec<f64>, b: &Vec<f64>| a.iter().zip(b).map(|(a, b)| a * b).sum();
        return rows.iter().map(|a| rows.iter().map(|b| product(a, b)).collect()).collect();
    }
    let mut matrix = vec![vec![0.0; dimension]; dimension];
    for row in rows {
        for (line, a) in matrix.iter_mut().zip(row) {
            line.iter_mut().zip(row).for_each(|(sum, b)| *sum += a * b);
        }
    }
    matrix
}

/// The eigenvalues of a symmetric matrix, in any order: Householder's reduction to three diagonals, then bisection.
fn symmetric_eigenvalues(matrix: Vec<Vec<f64>>) -> Vec<f64> {
    let (diagonal, beside) = tridiagonal(matrix);
    bisect(&diagonal, &beside)
}

/// Reduces a symmetric matrix by reflections to its diagonal and the line beside it.
fn tridiagonal(mut a: Vec<Vec<f64>>) -> (Vec<f64>, Vec<f64>) {
    let n = a.len();
    let mut beside = Vec::with_capacity(n.saturating_sub(1));
    for k in 0..n.saturating_sub(1) {
        // the reflection that leaves only the first number below the diagonal of this column
        let mut v: Vec<f64> = (k + 1..n).map(|i| a[i][k]).collect();
        let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        let alpha = if v[0] > 0.0 { -length } else { length };
        beside.push(alpha);
        v[0] -= alpha;
        let norm = v.iter().map(|x| x * x).sum::<f64>();
        if norm <= f64::MIN_POSITIVE {
            continue;
        }
        // A ← (1 − 2vvᵀ/|v|²) A (1 − 2vvᵀ/|v|²), by a rank-two update of what is left
        let p: Vec<f64> =
            (k + 1..n).map(|i| 2.0 / norm * a[i][k + 1..].iter().zip(&v).map(|(a, v)| a * v).sum::<f64>()).collect();
        let half = p.iter().zip(&v).map(|(p, v)| p * v).sum::<f64>() / norm;
        let w: Vec<f64> = p.iter().zip(&v).map(|(p, v)| p - half * v).collect();
        for (i, row) in a[k + 1..].iter_mut().enumerate() {
            let (vi, wi) = (v[i], w[i]);
            row[k + 1..].iter_mut().zip(v.iter().zip(&w)).for_each(|(a, (v, w))| *a -= vi * w + wi * v);
        }
    }
    let diagonal = (0..n).map(|i| a[i][i]).collect();
    (diagonal, beside)
}

/// The eigenvalues of a symmetric tridiagonal matrix, each found by halving Gershgorin's interval: how many lie below a
/// number tells Sturm's sequence.
fn bisect(diagonal: &[f64], beside: &[f64]) -> Vec<f64> {
    let n = diagonal.len();
    let radius = |i: usize| {
        let left = if i > 0 { beside[i - 1].abs() } else { 0.0 };
        left + beside.get(i).map_or(0.0, |right| right.abs())
    };
    let low = (0..n).map(|i| diagonal[i] - radius(i)).fold(f64::INFINITY, f64::min);
    let high = (0..n).map(|i| diagonal[i] + radius(i)).fold(f64::NEG_INFINITY, f64::max);
    let smallest = f64::MIN_POSITIVE.sqrt();
    let below = |x: f64| {
        let mut count = 0;
        let mut q = 1.0;
        for i in 0..n {
            let square = if i > 0 { beside[i - 1] * beside[i - 1] } else { 0.0 };
            q = diagonal[i] - x - square / q;
            if q.abs() < smallest {
                q = -smallest;
            }
            count += usize::from(q < 0.0);
        }
        count
    };
    let tolerance = (high - low).abs() * 1e-14;
    let eigenvalue = |index: usize| {
        let (mut low, mut high) = (low, high);
        while high - low > tolerance {
            let middle = f64::midpoint(low, high);
            if middle <= low || middle >= high {
                break;
            }
            if below(middle) > index { high = middle } else { low = middle }
        }
        f64::midpoint(low, high)
    };
    (0..n).map(eigenvalue).collect()
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
        let mut found = symmetric_eigenvalues(vec![vec![2.0, 1.0, 0.0], vec![1.0, 2.0, 1.0], vec![0.0, 1.0, 2.0]]);
        found.sort_by(f64::total_cmp);
        let root = 2.0_f64.sqrt();
        for (a, b) in found.iter().zip([2.0 - root, 2.0, 2.0 + root]) {
            assert!((a - b).abs() < 1e-10, "{found:?}");
        }
        assert_eq!(symmetric_eigenvalues(vec![vec![3.0]]), [3.0]);
        assert!(symmetric_eigenvalues(Vec::new()).is_empty());
    }

    #[test]
    fn eigenvalues_keep_the_trace_and_the_sum_of_squares() {
        let rows = draw(40, &[1.0; 12]);
        let rows: Vec<Vec<f64>> = rows.iter().map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect();
        let matrix = gram(&rows, 12);
        let trace: f64 = (0..12).map(|i| matrix[i][i]).sum();
        let squares: f64 = matrix.iter().flatten().map(|x| x * x).sum();
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
