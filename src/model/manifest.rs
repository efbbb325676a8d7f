//! `model.toml`: what a model is made of, as its author writes it.

mod parse;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::family::{Family, GraphRole};
use crate::{
    domain::{Device, Metric},
    image::{Grid, InputSpec, PreprocessSpec, Values},
};

/// The file's name in the model's folder.
pub const FILE_NAME: &str = "model.toml";

/// The version of the format that this code reads.
pub const VERSION: u32 = 1;

/// A manifest without violations. What only the graphs can tell (names, types, sizes) is checked when they are
/// loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    pub family: Family,
    pub description: Option<String>,
    pub license: Option<String>,
    /// The server does not become ready without this model.
    pub required: bool,
    /// Trained on noisy input.
    pub denoises: bool,
    pub input: InputSpec,
    pub preprocess: PreprocessSpec,
    pub graphs: BTreeMap<GraphRole, GraphSpec>,
    /// There if and only if there is an encoder; resolved to the family's own output where the file names none.
    pub embedding: Option<EmbeddingSpec>,
    /// There if and only if the family is `masked-autoencoder`.
    pub masked: Option<MaskedSpec>,
    /// There if and only if the family is `anomaly` and there is an encoder.
    pub memory: Option<MemorySpec>,
    /// In which range the graphs' images are.
    pub reconstruction: Values,
    pub golden: Tolerance,
    pub runtime: RuntimeSpec,
    /// By name: other builds of the same graphs.
    pub variants: BTreeMap<String, Variant>,
}

/// `[graphs.ROLE]`: a file, and which of its inputs and outputs plays which role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphSpec {
    /// Relative to the model's folder, and inside it.
    pub file: String,
    /// Role → name in the graph.
    pub inputs: BTreeMap<String, String>,
    /// Role → name in the graph.
    pub outputs: BTreeMap<String, String>,
}

/// `[embedding]`: how the encoder's output becomes the vector that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddingSpec {
    /// A role of the encoder's outputs.
    pub output: String,
    pub pooling: Pooling,
    /// Scale to unit L2 length.
    pub normalize: bool,
    /// What collections of this model use unless told otherwise.
    pub metric: Metric,
}

/// How an output `[tokens, dim]` becomes one vector; [`super::EmbeddingHead`] defines each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    None,
    Cls,
    Mean,
    Gem,
}

impl Pooling {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Cls => "cls",
            Self::Mean => "mean",
            Self::Gem => "gem",
        }
    }
}

/// `[masked]`
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MaskedSpec {
    /// Pixels a side of one patch.
    pub patch: u32,
    /// The share of the patches that is hidden where a request names none, in 0…1; of a graph that takes `noise` in
    /// place of a mask, the share that it always hides.
    pub ratio: f64,
}

impl MaskedSpec {
    /// The share that MAE was trained with (arXiv 2111.06377).
    pub const RATIO: f64 = 0.75;
}

/// `[memory]`: features of normal patches, with which those of an image are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemorySpec {
    /// An `.npy` file of float32, `[features, dimension]`, relative to the model's folder and inside it.
    pub file: String,
    /// The nearest features whose distances are averaged, 1 or more.
    pub neighbours: usize,
}

/// `[golden]`: how far a graph may be from its golden outputs, `|a − b| ≤ atol + rtol·|b|`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    pub atol: f32,
    pub rtol: f32,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self { atol: 1e-3, rtol: 1e-3 }
    }
}

/// `[runtime]`: what this model wants otherwise than the server's configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RuntimeSpec {
    pub max_batch: Option<usize>,
    pub sessions: Option<usize>,
    pub threads: Option<usize>,
    pub device: Option<Device>,
    /// Whether answers that differ from run to run, or with the images beside one in a batch, are accepted.
    pub random: bool,
}

/// `[variants.NAME]`: another build of the same graphs, served as `model:NAME`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Variant {
    /// The files that take the place of the manifest's.
    pub files: BTreeMap<GraphRole, String>,
    pub golden: Option<Tolerance>,
}

impl Manifest {
    /// Reads the text of a `model.toml`.
    ///
    /// # Errors
    /// Every violation, one line each: unknown keys, missing keys and roles, values that do not fit.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        match parse::manifest(text) {
            (Some(manifest), violations) if violations.is_empty() => Ok(manifest),
            (_, violations) => Err(violations),
        }
    }

    /// What can be read of a manifest that may have violations, to hold its graphs against it too; none without its
    /// family and its input.
    #[must_use]
    pub(super) fn parse_partly(text: &str) -> Option<Self> {
        parse::manifest(text).0
    }

    /// The manifest as it stands for a variant: its files, and its tolerance where it has one. A variant has no
    /// variants and is never required.
    #[must_use]
    pub fn of_variant(&self, name: &str) -> Option<Self> {
        let variant = self.variants.get(name)?;
        let mut manifest = Self { variants: BTreeMap::new(), required: false, ..self.clone() };
        for (role, file) in &variant.files {
            if let Some(graph) = manifest.graphs.get_mut(role) {
                graph.file.clone_from(file);
            }
        }
        manifest.golden = variant.golden.unwrap_or(self.golden);
        Some(manifest)
    }

    /// The roles of its graphs, in order.
    #[must_use]
    pub fn roles(&self) -> Vec<GraphRole> {
        self.graphs.keys().copied().collect()
    }

    /// The shape of the image the graphs take, without the batch axis.
    #[must_use]
    pub fn image_shape(&self) -> [usize; 3] {
        [self.input.channels.count(), self.input.height as usize, self.input.width as usize]
    }

    /// The patches of an image at the model's size.
    #[must_use]
    pub fn grid(&self) -> Option<Grid> {
        let patch = self.masked?.patch;
        let (columns, rows) = (self.input.width.checked_div(patch)?, self.input.height.checked_div(patch)?);
        Some(Grid { columns: columns as usize, rows: rows as usize, side: patch as usize })
    }
}

/// Whether the server waits for this model, and the names of its variants, as far as a manifest tells that may be
/// full of other errors.
#[must_use]
pub fn glance(text: &str) -> (bool, Vec<String>) {
    let Ok(table) = text.parse::<toml::Table>() else {
        // a file that is no TOML may still say, in a line of its own, that the server must not do without it
        let says_required = |line: &str| {
            let line = line.split('#').next().unwrap_or_default();
            line.split_once('=').is_some_and(|(key, value)| key.trim() == "required" && value.trim() == "true")
        };
        return (text.lines().any(says_required), Vec::new());
    };
    let required = table.get("required").and_then(toml::Value::as_bool).unwrap_or(false);
    let variants = table.get("variants").and_then(toml::Value::as_table);
    (required, variants.map(|table| table.keys().cloned().collect()).unwrap_or_default())
}

#[cfg(test)]
mod tests;
