//! How a score is made, apart from the model.

use serde::{Deserialize, Serialize};

use super::{ScoreMetric, pooling::Pooling};

/// How a score is made, apart from the model: two scores compare only where all of it is the same.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct ScoreSettings {
    pub metric: ScoreMetric,
    pub pooling: Pooling,
    /// The standard deviation of the smoothing of the map, in pixels of the model's image; 0: none.
    pub sigma: f64,
}
