//! Masked autoencoders: an encoder that sees the whole image, and a graph that fills hidden patches in.

use super::{Capability, GraphRole, Rules, require_any_output, require_graph};
use crate::model::Manifest;

const EMBEDDINGS: &[&str] = &["tokens", "embedding", "latent"];

pub(super) const RULES: Rules = Rules {
    graphs: &[GraphRole::Encoder, GraphRole::Masked],
    embeddings: EMBEDDINGS,
    latent: None,
    check,
    capabilities,
};

fn check(manifest: &Manifest, found: &mut Vec<String>) {
    require_graph(manifest, GraphRole::Encoder, found);
    require_any_output(manifest, EMBEDDINGS, found);
    require_graph(manifest, GraphRole::Masked, found);
    if let Some(masked) = manifest.graphs.get(&GraphRole::Masked) {
        match (masked.inputs.contains_key("mask"), masked.inputs.contains_key("noise")) {
            (false, false) => found.push("graphs.masked.inputs needs mask, or noise in its place".to_owned()),
            (true, true) => found.push("graphs.masked.inputs has both mask and noise; a graph takes one".to_owned()),
            (true, false) | (false, true) => {}
        }
    }
    check_masked(manifest, found);
}

fn check_masked(manifest: &Manifest, found: &mut Vec<String>) {
    let Some(masked) = &manifest.masked else {
        found.push("[masked] is missing: family masked-autoencoder needs patch, the pixels a side".to_owned());
        return;
    };
    let (width, height) = (manifest.input.width, manifest.input.height);
    if masked.patch == 0 || !width.is_multiple_of(masked.patch) || !height.is_multiple_of(masked.patch) {
        found.push(format!("masked.patch = {} does not divide the input of {width} × {height}", masked.patch));
    } else if let Some(grid) = manifest.grid()
        && !(1..grid.patches()).contains(&grid.hidden_at(masked.ratio))
    {
        let (ratio, patches) = (masked.ratio, grid.patches());
        found.push(format!("masked.ratio = {ratio} does not hide some and leave some of the {patches} patches"));
    }
}

fn capabilities(graphs: &[GraphRole], _denoises: bool) -> Vec<Capability> {
    let mut found = Vec::new();
    if graphs.contains(&GraphRole::Encoder) {
        found.push(Capability::Embed);
    }
    if graphs.contains(&GraphRole::Masked) {
        found.extend([Capability::Reconstruct, Capability::Inpaint, Capability::Score]);
    }
    found
}
