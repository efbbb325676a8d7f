//! Models: the folders of the repository, checked, loaded and served.
//!
//! | file | idea |
//! | --- | --- |
//! | `family` | families, graph roles, capabilities; one file for each family's rules |
//! | `manifest` | `model.toml`: parsed whole, every violation at once |
//! | `declared` | what a model's files tell before its graphs are opened |
//! | `folder` | files that stay inside a model's folder |
//! | `onnx` | what an ONNX file says without being run |
//! | `space` | the space key: its canonical text and its hash |
//! | `checks` | the manifest against what the graphs say |
//! | `npz`, `golden`, `trial` | golden outputs, replayed at load |
//! | `consistency` | whether a graph gives each image one finite answer of its own |
//! | `remarks` | what is worth knowing of a model and keeps nothing from serving |
//! | `masking` | how patches are hidden from a masked autoencoder |
//! | `latent` | latents of a variational model: drawn, and interpolated between two |
//! | `memory` | features of normal patches, and how far those of an image are from them |
//! | `head` | from the encoder's output to the vector that is served |
//! | `examine`, `load` | from a folder to a model, or to everything that is wrong with it |
//! | `graph`, `served` | a loaded graph and a loaded model |
//! | `repository` | all models, by name, each loading, ready or failed |
//! | `inspect` | a report on a folder or file, with a manifest where one is missing |

mod checks;
mod consistency;
mod declared;
mod examine;
mod family;
mod folder;
mod golden;
mod graph;
mod head;
mod inspect;
pub mod latent;
mod load;
mod manifest;
mod masking;
mod memory;
mod npz;
mod onnx;
mod remarks;
mod repository;
mod served;
mod space;
mod trial;

pub use declared::Declared;
pub use family::{Capability, Family, GraphRole};
pub use graph::Graph;
pub use head::{EmbeddingHead, VectorOptions};
pub use inspect::{Inspection, inspect};
pub use latent::Interpolation;
pub use load::ModelDefaults;
pub use manifest::{
    EmbeddingSpec, GraphSpec, Manifest, MaskedSpec, MemorySpec, Pooling, RuntimeSpec, Tolerance, Variant,
};
pub use masking::{Hiding, Masking};
pub use memory::{PatchMemory, Patches};
pub(crate) use npz::NpyHeader;
pub use repository::{ModelEntry, ModelState, Repository, RepositoryParts};
pub use served::Model;

#[cfg(test)]
mod tests;
