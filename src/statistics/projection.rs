//! Principal components: the plane in which vectors spread the most (Pearson 1901).

/// Rounds of the power iteration; the plane of data with any shape at all is found in far fewer.
const ROUNDS: usize = 100;
/// Directions turned together: more than two make the first two come sooner.
const BESIDE: usize = 4;
/// Where a round turns the plane by less, it has been found.
const STILL: f64 = 1e-12;

/// Points in a plane.
#[derive(Debug, Clone, PartialEq)]
pub struct Plane {
    /// In the order of the vectors.
    pub points: Vec<[f64; 2]>,
    /// The shares of the variance along x and along y.
    pub explained: [f64; 2],
}

/// Projects vectors on their first two principal components. The same vectors always give the same points: the sign of
/// an axis is the one in which its largest number is positive.
#[must_use]
pub fn project(vectors: &[&[f32]], mean: &[f64]) -> Plane {
    let dimension = mean.len();
    let centred: Vec<Vec<f64>> = vectors
        .iter()
        .map(|vector| vector.iter().zip(mean).map(|(value, mean)| f64::from(*value) - mean).collect())
        .collect();
    let axes = principal_axes(&centred, dimension);
    let along = |row: &Vec<f64>, axis: usize| axes.get(axis).map_or(0.0, |axis| dot(row, axis));
    let points: Vec<[f64; 2]> = centred.iter().map(|row| [along(row, 0), along(row, 1)]).collect();
    let total: f64 = centred.iter().map(|row| dot(row, row)).sum();
    let share = |axis: usize| {
        let sum: f64 = points.iter().map(|point| point[axis] * point[axis]).sum();
        if total > 0.0 { sum / total } else { 0.0 }
    };
    Plane { explained: [share(0), share(1)], points }
}

/// Up to two orthogonal directions of unit length, by orthogonal iteration with `XᵀX`, which is never written out.
fn principal_axes(rows: &[Vec<f64>], dimension: usize) -> Vec<Vec<f64>> {
    let mut axes = orthonormal((0..BESIDE.min(dimension)).map(|axis| start(axis, dimension)).collect());
    for _ in 0..ROUNDS {
        let turned = orthonormal(axes.iter().map(|axis| times_covariance(rows, axis)).collect());
        let moved = turned.iter().zip(&axes).take(2).map(|(a, b)| 1.0 - dot(a, b).abs()).fold(0.0, f64::max);
        let fewer = turned.len() != axes.len();
        axes = turned;
        if !fewer && moved < STILL {
            break;
        }
    }
    axes.truncate(2);
    axes.iter_mut().for_each(|axis| upright(axis));
    axes
}

/// Directions that no data is likely to be orthogonal to, the same each time.
fn start(axis: usize, dimension: usize) -> Vec<f64> {
    (0..dimension).map(|at| (((at + 1) * (2 * axis + 3)) as f64 * 0.618_033_988_749_895).sin() + 0.1).collect()
}

fn times_covariance(rows: &[Vec<f64>], axis: &[f64]) -> Vec<f64> {
    let mut sum = vec![0.0; axis.len()];
    for row in rows {
        let along = dot(row, axis);
        sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += along * value);
    }
    sum
}

/// Gram and Schmidt; what is nothing but rounding beside the others is left out.
fn orthonormal(vectors: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let mut done: Vec<Vec<f64>> = Vec::with_capacity(vectors.len());
    for mut vector in vectors {
        let before = dot(&vector, &vector).sqrt();
        // twice is enough
        for _ in 0..2 {
            for axis in &done {
                let along = dot(&vector, axis);
                vector.iter_mut().zip(axis).for_each(|(value, axis)| *value -= along * axis);
            }
        }
        let length = dot(&vector, &vector).sqrt();
        if length > before * 1e-10 && length > 0.0 {
            vector.iter_mut().for_each(|value| *value /= length);
            done.push(vector);
        }
    }
    done
}

fn upright(axis: &mut [f64]) {
    let largest = axis.iter().copied().fold(0.0, |a: f64, b| if b.abs() > a.abs() { b } else { a });
    if largest < 0.0 {
        axis.iter_mut().for_each(|value| *value = -*value);
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
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
    fn vectors_with_nothing_to_spread_are_points_all_the_same() {
        let same = plane(&vec![vec![1.0, 2.0, 3.0]; 4]);
        assert_eq!((same.points, same.explained), (vec![[0.0; 2]; 4], [0.0; 2]));
        let line = plane(&[vec![1.0], vec![3.0]]);
        assert_eq!(line.points.iter().map(|point| point[1]).collect::<Vec<_>>(), [0.0, 0.0]);
        assert!((line.explained[0] - 1.0).abs() < 1e-12);
    }
}
