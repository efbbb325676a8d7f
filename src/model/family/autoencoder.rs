//! Autoencoders: an encoder and a decoder with a latent between them, or one graph from image to image.

use super::{Capability, GraphRole, Rules, require_any_output, require_graph, require_outputs};
use crate::model::Manifest;

pub(super) const RULES: Rules = Rules {
    graphs: &[GraphRole::Encoder, GraphRole::Decoder, GraphRole::Autoencoder],
    embeddings: &["latent", "embedding"],
    latent: Some("latent"),
    check,
    capabilities,
};

fn check(manifest: &Manifest, found: &mut Vec<String>) {
    let has = |role| manifest.graphs.contains_key(&role);
    match (has(GraphRole::Encoder), has(GraphRole::Decoder), has(GraphRole::Autoencoder)) {
        (true, true, _) => require_outputs(manifest, &["latent"], found),
        (true, false, true) => require_any_output(manifest, &["latent", "embedding", "tokens"], found),
        (false, false, true) => {}
        (false, true, _) => require_graph(manifest, GraphRole::Encoder, found),
        (true, false, false) => found.push(
            "[graphs.decoder] is missing: family autoencoder needs it; an encoder that stands alone is family = \"encoder\""
                .to_owned(),
        ),
        (false, false, false) => found.push(
            "graphs are missing: family autoencoder needs [graphs.encoder] and [graphs.decoder], or [graphs.autoencoder]"
                .to_owned(),
        ),
    }
}

fn capabilities(graphs: &[GraphRole], denoises: bool) -> Vec<Capability> {
    let encodes = graphs.contains(&GraphRole::Encoder);
    let redraws = graphs.contains(&GraphRole::Autoencoder) || encodes && graphs.contains(&GraphRole::Decoder);
    [
        (Capability::Embed, encodes),
        (Capability::Reconstruct, redraws),
        (Capability::Denoise, redraws && denoises),
        (Capability::Score, redraws),
    ]
    .into_iter()
    .filter_map(|(capability, has)| has.then_some(capability))
    .collect()
}
