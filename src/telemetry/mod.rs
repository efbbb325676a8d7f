//! Logging and every metric, declared once.

pub mod logging;
pub mod metrics;

pub use metrics::Metrics;
