//! Principal components: the plane in which vectors spread the most (Pearson 1901).
//!
//! The iteration is our own on the library's matrices: a whole eigendecomposition takes the cube of the dimension, and
//! two directions of it are wanted.

use nalgebra::{DMatrix, DVector};

use super::centred;

/// Rounds of the iteration, at most; the plane of data with any shape at all is found in far fewer.
const ROUNDS: usize = 100;
/// Directions turned together: more than two make the first two come sooner.
const DIRECTIONS: usize = 4;
/// The plane has been found once a round turns it by less.
const CONVERGED: f64 = 1e-12;
/// A direction along which the vectors spread by no more than this share of the first one's variance is rounding.
const NEGLIGIBLE: f64 = 1e-10;

/// Points in a plane.
#[derive(Debug, Clone, PartialEq)]
pub struct Plane {
    /// The points, in the order of the vectors.
    pub points: Vec<[f64; 2]>,
    /// The shares of the variance along x and along y.
    pub explained: [f64; 2],
}

/// Projects vectors on their first two principal components. The same vectors always give the same points: the sign of
/// an axis is the one in which its largest number is positive.
#[must_use]
pub fn project(vectors: &[&[f32]], mean: &[f64]) -> Plane {
    Axes::of(vectors, mean).1
}

/// The plane of some vectors, in which further ones have their points too.
#[derive(Debug, Clone, PartialEq)]
pub struct Axes {
    mean: Vec<f64>,
    /// Up to two orthogonal directions of unit length.
    directions: Vec<DVector<f64>>,
}

impl Axes {
    /// The first two principal components of the vectors, and their points there.
    #[must_use]
    pub fn of(vectors: &[&[f32]], mean: &[f64]) -> (Self, Plane) {
        let columns = centred(vectors, mean);
        let directions = principal_axes(&columns);
        let along: Vec<DVector<f64>> = directions.iter().map(|axis| columns.tr_mul(axis)).collect();
        let coordinate = |axis: usize, at: usize| along.get(axis).map_or(0.0, |values| values[at]);
        let points = (0..vectors.len()).map(|at| [coordinate(0, at), coordinate(1, at)]).collect();
        let total = columns.norm_squared();
        let share = |axis: usize| {
            let sum = along.get(axis).map_or(0.0, |values| values.norm_squared());
            if total > 0.0 { sum / total } else { 0.0 }
        };
        let plane = Plane { points, explained: [share(0), share(1)] };
        (Self { mean: mean.to_vec(), directions }, plane)
    }

    /// The point of a vector of the same dimension.
    #[must_use]
    pub fn point(&self, vector: &[f32]) -> [f64; 2] {
        let along = |axis: usize| {
            let axis = self.directions.get(axis)?;
            let parts = vector.iter().zip(&self.mean).zip(axis.iter());
            Some(parts.map(|((value, mean), direction)| (f64::from(*value) - mean) * direction).sum())
        };
        [along(0).unwrap_or(0.0), along(1).unwrap_or(0.0)]
    }
}

/// Up to two orthogonal directions of unit length, by orthogonal iteration with `XXᵀ`, which is never written out.
fn principal_axes(columns: &DMatrix<f64>) -> Vec<DVector<f64>> {
    let dimension = columns.nrows();
    let start = DMatrix::from_fn(dimension, DIRECTIONS.min(dimension), initial_direction);
    let mut axes = orthonormal(start);
    for _ in 0..ROUNDS {
        let turned = orthonormal(columns * columns.tr_mul(&axes));
        let moved = (0..turned.ncols().min(2)).map(|at| 1.0 - turned.column(at).dot(&axes.column(at)).abs());
        let moved = moved.fold(0.0, f64::max);
        let fewer = turned.ncols() != axes.ncols();
        axes = turned;
        if !fewer && moved < CONVERGED {
            break;
        }
    }
    axes.column_iter().take(2).map(|axis| upright(axis.into_owned())).collect()
}

/// The numbers of directions that no data is likely to be orthogonal to, the same each time.
fn initial_direction(at: usize, axis: usize) -> f64 {
    (((at + 1) * (2 * axis + 3)) as f64 * 0.618_033_988_749_895).sin() + 0.1
}

/// An orthonormal basis of the columns; the columns that are nothing but rounding beside the first are left out.
fn orthonormal(columns: DMatrix<f64>) -> DMatrix<f64> {
    let count = columns.ncols();
    if columns.is_empty() {
        return columns;
    }
    let decomposed = columns.qr();
    let weights = decomposed.r().diagonal().abs();
    let floor = weights[0] * NEGLIGIBLE;
    let kept = (0..count).take_while(|at| weights[*at] > floor).count();
    decomposed.q().columns(0, kept).into_owned()
}

fn upright(axis: DVector<f64>) -> DVector<f64> {
    if axis[axis.icamax()] < 0.0 { -axis } else { axis }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Moments;

    fn plane(rows: &[Vec<f32>]) -> Plane {
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let moments = Moments::of(rows.iter().copied(), rows[0].len());
        project(&rows, moments.mean())
    }

    #[test]
    fn a_flat_cloud_is_laid_flat_with_its_distances() {
        // an ellipse in a plane of five dimensions
        let row = |at: usize| {
            let (sin, cos) = (at as f32 * 0.37).sin_cos();
            vec![3.0 * cos + 1.0, 3.0 * cos, sin, -sin, 2.0]
        };
        let rows: Vec<Vec<f32>> = (0..60).map(row).collect();
        let found = plane(&rows);
        assert!((found.explained[0] + found.explained[1] - 1.0).abs() < 1e-6, "{:?}", found.explained);
        assert!(found.explained[0] > found.explained[1]);
        for (a, b) in [(0, 7), (3, 50), (20, 21)] {
            let before: f64 = rows[a].iter().zip(&rows[b]).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            let [ax, ay] = found.points[a];
            let [bx, by] = found.points[b];
            assert!((before - (ax - bx).powi(2) - (ay - by).powi(2)).abs() < 1e-4);
        }
        assert_eq!(plane(&rows), found);
    }

    #[test]
    fn a_vector_has_the_same_point_among_the_others_and_by_itself() {
        let row = |at: usize| (0..6).map(|n| ((at * 7 + n * 13) as f32 * 0.61).sin()).collect::<Vec<f32>>();
        let rows: Vec<Vec<f32>> = (0..40).map(row).collect();
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let (axes, plane) = Axes::of(&rows, Moments::of(rows.iter().copied(), 6).mean());
        for (row, point) in rows.iter().zip(&plane.points) {
            let alone = axes.point(row);
            assert!((alone[0] - point[0]).abs() < 1e-9 && (alone[1] - point[1]).abs() < 1e-9);
        }
    }

    #[test]
    fn vectors_with_nothing_to_spread_are_points_all_the_same() {
        let same = plane(&vec![vec![1.0, 2.0, 3.0]; 4]);
        assert_eq!((same.points, same.explained), (vec![[0.0; 2]; 4], [0.0; 2]));
        let line = plane(&[vec![1.0], vec![3.0]]);
        assert_eq!(line.points.iter().map(|point| point[1]).collect::<Vec<_>>(), [0.0, 0.0]);
        assert!((line.explained[0] - 1.0).abs() < 1e-12);
    }
}
