use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How two vectors of a collection compare; a higher score is nearer under each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// The cosine of the angle, −1…1; vectors are normalised when they are stored.
    Cosine,
    /// The inner product.
    Dot,
    /// Minus the L2 distance.
    Euclid,
}

impl Metric {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Dot => "dot",
            Self::Euclid => "euclid",
        }
    }
}
