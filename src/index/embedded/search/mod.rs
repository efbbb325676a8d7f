//! How the best items are found: the plan of a search, the scan of the codes, and the exact scores of what may matter.
//!
//! This room imports `storage`, `quantized`, `graph` and `memory`.

pub(crate) mod plan;
pub(crate) mod scan;
pub(crate) mod view;
