//! What a set of vectors looks like: plain figures over plain numbers, without knowing what the vectors mean.
//!
//! | file | idea |
//! | --- | --- |
//! | `moments` | means and variances, also of a stream, and how far two of them lie apart |
//! | `spectrum` | the eigenvalues of the covariance, and the effective rank |
//! | `projection` | the plane in which the vectors spread the most |
//! | `neighbours` | a plane in which near vectors stay near |
//! | `groups` | what belongs together by links |

mod groups;
mod moments;
mod neighbours;
mod projection;
mod spectrum;

pub use groups::{Group, Groups};
pub use moments::{Moments, Spread};
pub use neighbours::keep_neighbours;
pub use projection::{Plane, project};
pub use spectrum::effective_rank;
