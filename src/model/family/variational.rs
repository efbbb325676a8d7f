//! Variational autoencoders (VAE, CR-VAE): the encoder gives mean and log-variance, the decoder takes a latent.

use super::{Capability, GraphRole, Rules, require_graph, require_outputs};
use crate::model::Manifest;

pub(super) const RULES: Rules = Rules {
    graphs: &[GraphRole::Encoder, GraphRole::Decoder],
    embeddings: &["mean"],
    latent: Some("mean"),
    check,
    capabilities,
};

fn check(manifest: &Manifest, found: &mut Vec<String>) {
    require_graph(manifest, GraphRole::Encoder, found);
    require_outputs(manifest, &["mean", "log_variance"], found);
    require_graph(manifest, GraphRole::Decoder, found);
}

fn capabilities(graphs: &[GraphRole], denoises: bool) -> Vec<Capability> {
    let mut found = Vec::new();
    let encodes = graphs.contains(&GraphRole::Encoder);
    let decodes = graphs.contains(&GraphRole::Decoder);
    if encodes {
        found.push(Capability::Embed);
    }
    if decodes {
        found.push(Capability::Generate);
    }
    if encodes && decodes {
        found.extend([Capability::Reconstruct, Capability::Interpolate, Capability::Score]);
        if denoises {
            found.push(Capability::Denoise);
        }
    }
    found
}
