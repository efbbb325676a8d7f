//! How strange an image is: its distance from what a model makes of it.
//!
//! | file | idea |
//! | --- | --- |
//! | `score` | the metrics a request may ask for |
//! | `metric` | errors of reconstruction |
//! | `variational` | what a variational model knows beside the image it makes: KL and the negative ELBO |
//! | `map` | where an image is strange |

pub mod map;
pub mod metric;
pub mod score;
pub mod variational;

pub use map::ErrorMap;
pub use metric::ErrorMetric;
pub use score::ScoreMetric;
