use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How the vectors of a collection are laid out in a plane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MapMethod {
    /// The first two principal components: distances in the unit of the vectors, little but the large shape is seen.
    #[default]
    Pca,
    /// t-SNE: neighbours stay neighbours; distances between groups mean little, and have no unit.
    Tsne,
}
