use serde::{Deserialize, Serialize};

/// Which engine holds the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IndexEngine {
    #[default]
    Embedded,
    Qdrant,
}
