//! How strange a picture is: its distance from what a model makes of it.

pub mod map;
pub mod metric;

pub use map::ErrorMap;
pub use metric::ErrorMetric;
