//! Contrastive encoders (SimCLR, MoCo, BYOL, SwAV, VICReg…) and every other encoder that stands alone.

use super::{Capability, GraphRole, Rules, require_any_output, require_graph};
use crate::model::Manifest;

const EMBEDDINGS: &[&str] = &["embedding", "latent", "tokens"];

pub(super) const RULES: Rules =
    Rules { graphs: &[GraphRole::Encoder], embeddings: EMBEDDINGS, latent: None, check, capabilities };

fn check(manifest: &Manifest, found: &mut Vec<String>) {
    require_graph(manifest, GraphRole::Encoder, found);
    require_any_output(manifest, EMBEDDINGS, found);
}

fn capabilities(graphs: &[GraphRole], _denoises: bool) -> Vec<Capability> {
    if graphs.contains(&GraphRole::Encoder) { vec![Capability::Embed] } else { Vec::new() }
}
