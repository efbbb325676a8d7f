//! Detectors: a graph that gives a score, a map or both, as Anomalib exports it, or an encoder whose patches are compared
//! with a memory of normal ones.

use super::{Capability, GraphRole, Rules, require_any_output, require_graph};
use crate::model::Manifest;

const FEATURES: &[&str] = &["latent", "tokens"];

pub(super) const RULES: Rules = Rules {
    graphs: &[GraphRole::Encoder, GraphRole::Anomaly],
    embeddings: FEATURES,
    latent: None,
    check,
    capabilities,
};

fn check(manifest: &Manifest, found: &mut Vec<String>) {
    let has = |role| manifest.graphs.contains_key(&role);
    match (has(GraphRole::Encoder), manifest.memory.is_some()) {
        (true, true) => require_any_output(manifest, FEATURES, found),
        (true, false) => found.push(
            "[memory] is missing: in family anomaly an encoder has the features of normal patches beside it".to_owned(),
        ),
        (false, true) => require_graph(manifest, GraphRole::Encoder, found),
        (false, false) if !has(GraphRole::Anomaly) => found.push(
            "graphs are missing: family anomaly needs [graphs.anomaly], or [graphs.encoder] and [memory]".to_owned(),
        ),
        (false, false) => {}
    }
}

fn capabilities(graphs: &[GraphRole], _denoises: bool) -> Vec<Capability> {
    let mut found = Vec::new();
    if graphs.contains(&GraphRole::Encoder) {
        found.push(Capability::Embed);
    }
    if graphs.contains(&GraphRole::Encoder) || graphs.contains(&GraphRole::Anomaly) {
        found.push(Capability::Score);
    }
    found
}
