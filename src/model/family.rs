//! Families, the graphs they are made of, and what a model can do with them.

mod anomaly;
mod autoencoder;
mod contrastive;
mod masked_autoencoder;
mod variational;

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::manifest::Manifest;

/// How a model was trained, and so what its graphs mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    Autoencoder,
    /// Every encoder that stands alone; manifests may write `encoder` too.
    #[serde(alias = "encoder")]
    Contrastive,
    MaskedAutoencoder,
    Variational,
    /// Detectors: a graph that says itself how strange an image is, or an encoder with a memory of normal patches.
    Anomaly,
}

/// What a model can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    Embed,
    Reconstruct,
    Denoise,
    Inpaint,
    Generate,
    Interpolate,
    Score,
}

/// The part that one ONNX file plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum GraphRole {
    /// image → latent
    Encoder,
    /// latent → image
    Decoder,
    /// image → image, without a latent
    Autoencoder,
    /// image and mask → image
    Masked,
    /// image → score, map of the image, or both
    Anomaly,
}

/// What a family asks of a manifest and makes of it; one constant for each family, in a file of its own.
pub(super) struct Rules {
    /// The graph roles that the family knows.
    pub(super) graphs: &'static [GraphRole],
    /// The outputs of the encoder that are an embedding when the manifest does not say which, the likeliest first.
    pub(super) embeddings: &'static [&'static str],
    /// The output of the encoder that the decoder takes.
    pub(super) latent: Option<&'static str>,
    /// Pushes what is wrong with the graphs of the manifest.
    pub(super) check: fn(&Manifest, &mut Vec<String>),
    /// What a model with these graphs can do; the flag says that it was trained on noisy input.
    pub(super) capabilities: fn(&[GraphRole], bool) -> Vec<Capability>,
}

impl Family {
    pub const ALL: [Self; 5] =
        [Self::Autoencoder, Self::Contrastive, Self::MaskedAutoencoder, Self::Variational, Self::Anomaly];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Autoencoder => "autoencoder",
            Self::Contrastive => "contrastive",
            Self::MaskedAutoencoder => "masked-autoencoder",
            Self::Variational => "variational",
            Self::Anomaly => "anomaly",
        }
    }

    pub(super) const fn rules(self) -> &'static Rules {
        match self {
            Self::Autoencoder => &autoencoder::RULES,
            Self::Contrastive => &contrastive::RULES,
            Self::MaskedAutoencoder => &masked_autoencoder::RULES,
            Self::Variational => &variational::RULES,
            Self::Anomaly => &anomaly::RULES,
        }
    }

    /// What a model of this family with these graphs can do, in the order of [`Capability::ALL`].
    #[must_use]
    pub fn capabilities(self, graphs: &[GraphRole], denoises: bool) -> Vec<Capability> {
        let mut found = (self.rules().capabilities)(graphs, denoises);
        found.sort_unstable();
        found
    }
}

impl Capability {
    pub const ALL: [Self; 7] =
        [Self::Embed, Self::Reconstruct, Self::Denoise, Self::Inpaint, Self::Generate, Self::Interpolate, Self::Score];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Embed => "embed",
            Self::Reconstruct => "reconstruct",
            Self::Denoise => "denoise",
            Self::Inpaint => "inpaint",
            Self::Generate => "generate",
            Self::Interpolate => "interpolate",
            Self::Score => "score",
        }
    }
}

impl GraphRole {
    pub const ALL: [Self; 5] = [Self::Encoder, Self::Decoder, Self::Autoencoder, Self::Masked, Self::Anomaly];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Encoder => "encoder",
            Self::Decoder => "decoder",
            Self::Autoencoder => "autoencoder",
            Self::Masked => "masked",
            Self::Anomaly => "anomaly",
        }
    }

    /// The roles that its inputs may have.
    pub(super) const fn inputs(self) -> &'static [&'static str] {
        match self {
            Self::Encoder | Self::Autoencoder | Self::Anomaly => &["image"],
            Self::Decoder => &["latent"],
            Self::Masked => &["image", "mask", "noise"],
        }
    }

    /// The roles that its outputs may have.
    pub(super) const fn outputs(self) -> &'static [&'static str] {
        match self {
            Self::Encoder => &["embedding", "latent", "mean", "log_variance", "tokens"],
            Self::Decoder | Self::Autoencoder | Self::Masked => &["image"],
            Self::Anomaly => &["score", "map"],
        }
    }
}

macro_rules! display_as_str {
    ($($name:ident),+) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )+};
}

display_as_str!(Family, Capability, GraphRole);

/// Pushes that `family` needs the graph, unless the manifest has it.
fn require_graph(manifest: &Manifest, role: GraphRole, found: &mut Vec<String>) {
    if !manifest.graphs.contains_key(&role) {
        found.push(format!("[graphs.{role}] is missing: family {} needs it", manifest.family));
    }
}

/// Pushes each of these outputs that the encoder, if there is one, does not have.
fn require_outputs(manifest: &Manifest, outputs: &[&str], found: &mut Vec<String>) {
    let Some(encoder) = manifest.graphs.get(&GraphRole::Encoder) else { return };
    for role in outputs.iter().filter(|role| !encoder.outputs.contains_key(**role)) {
        found.push(format!("graphs.encoder.outputs.{role} is missing: family {} needs it", manifest.family));
    }
}

/// Pushes that the encoder, if there is one, has none of these outputs.
fn require_any_output(manifest: &Manifest, outputs: &[&str], found: &mut Vec<String>) {
    let Some(encoder) = manifest.graphs.get(&GraphRole::Encoder) else { return };
    if !outputs.iter().any(|role| encoder.outputs.contains_key(*role)) {
        found.push(format!("graphs.encoder.outputs needs one of {}", outputs.join(", ")));
    }
}

#[cfg(test)]
mod tests;
