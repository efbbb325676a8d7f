//! How strange an image is: its distance from what a model makes of it.
//!
//! | file | idea |
//! | --- | --- |
//! | `score` | the metrics a request may ask for |
//! | `metric` | errors of reconstruction |
//! | `variational` | what a variational model knows beside the image it makes: KL and the negative ELBO |
//! | `map` | where an image is strange |
//! | `gradient` | similarity of gradient magnitudes at several scales |
//! | `smoothing` | a Gaussian over a map |
//! | `projection` | from a map at the model's size to one of the image that was sent |
//! | `tiles` | large images cut into tiles, whose maps are stitched |
//! | `roi` | the part of an image that counts |
//! | `colour` | the colours of heat maps |
//! | `pooling` | from a map to one score |
//! | `regions` | connected places of a map above a threshold |
//! | `settings` | how a score is made, apart from the model |
//! | `conformal` | p-values and thresholds that hold at a chosen rate |
//! | `calibration` | the scores of normal images, and verdicts by them |
//! | `combination` | several scores in one, by their p-values |
//! | `evaluation` | how well scores tell labelled anomalies |
//! | `martingale` | whether p-values drift |

pub mod calibration;
pub mod colour;
pub mod combination;
pub mod conformal;
pub mod evaluation;
pub mod gradient;
pub mod map;
pub mod martingale;
pub mod metric;
pub mod pooling;
mod projection;
pub mod regions;
pub mod roi;
pub mod score;
pub mod settings;
pub mod smoothing;
pub mod tiles;
pub mod variational;

pub use map::ErrorMap;
pub use metric::ErrorMetric;
pub use score::ScoreMetric;
