//! What a set of vectors looks like: plain figures over plain numbers, without knowing what the vectors mean.
//!
//! | file | idea |
//! | --- | --- |
//! | `moments` | means and variances, also of a stream, and how far two of them lie apart |
//! | `spectrum` | the eigenvalues of the covariance, and the effective rank |
//! | `projection` | the plane in which the vectors spread the most |
//! | `neighbours` | a plane in which near vectors stay near |
//! | `groups` | what belongs together by links |

use nalgebra::DMatrix;

mod groups;
mod moments;
mod neighbours;
mod projection;
mod spectrum;

pub use groups::{Group, Groups};
pub use moments::{Moments, Spread};
pub use neighbours::keep_neighbours;
pub use projection::{Axes, Plane, project};
pub use spectrum::effective_rank;

/// The vectors less their mean, as the columns of a matrix.
fn centred(vectors: &[&[f32]], mean: &[f64]) -> DMatrix<f64> {
    let values =
        vectors.iter().flat_map(|vector| vector.iter().zip(mean).map(|(value, mean)| f64::from(*value) - mean));
    DMatrix::from_iterator(mean.len(), vectors.len(), values)
}
