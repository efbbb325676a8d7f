//! The manifest against what the graphs say about themselves.

use std::fmt::Write as _;

use super::{
    family::GraphRole,
    manifest::{GraphSpec, Manifest},
};
use crate::{
    image::Grid,
    runtime::{Axis, Binding, GraphInfo, Port},
};

/// What a role asks of an axis after that of the batch; none asks nothing.
type Wanted = Vec<Option<usize>>;

/// Everything in which a graph differs from what the manifest says of it, one line each.
#[must_use]
pub(super) fn graph(manifest: &Manifest, role: GraphRole, info: &GraphInfo) -> Vec<String> {
    let Some(spec) = manifest.graphs.get(&role) else { return Vec::new() };
    let mut found = Vec::new();
    bound(manifest, role, (&spec.inputs, &info.inputs, "input"), &mut found);
    bound(manifest, role, (&spec.outputs, &info.outputs, "output"), &mut found);
    unbound(spec, role, info, &mut found);
    frozen(role, &served(spec, info), &mut found);
    found
}

/// The description with the outputs that some role is bound to: the others are ignored, whatever they are.
fn served(spec: &GraphSpec, info: &GraphInfo) -> GraphInfo {
    let outputs = info.outputs.iter().filter(|port| spec.outputs.values().any(|name| *name == port.name));
    GraphInfo { outputs: outputs.cloned().collect(), ..info.clone() }
}

/// How a graph is bound: the outputs that roles are bound to, and the images that it has with their channels last.
#[must_use]
pub(super) fn binding(manifest: &Manifest, role: GraphRole, info: &GraphInfo) -> Binding {
    let Some(spec) = manifest.graphs.get(&role) else { return Binding::default() };
    let outputs = served(spec, info).outputs.into_iter().map(|port| port.name).collect();
    let images =
        [(&spec.inputs, &info.inputs), (&spec.outputs, &info.outputs)].into_iter().filter_map(|(names, ports)| {
            let name = names.get("image")?;
            ports.iter().find(|port| port.name == *name)
        });
    let last = images.filter(|port| has_channels_last(&port.shape, manifest.image_shape()));
    Binding { outputs, channels_last: last.map(|port| port.name.clone()).collect() }
}

/// Whether a shape is that of images `[batch, height, width, channels]`, and not of images with their channels first.
fn has_channels_last(axes: &[Axis], [channels, height, width]: [usize; 3]) -> bool {
    let last = [Some(height), Some(width), Some(channels)];
    let first = [Some(channels), Some(height), Some(width)];
    let names_channels = axes.get(3) == Some(&Axis::Fixed(channels)) && axes.get(1) != Some(&Axis::Fixed(channels));
    names_channels && fits(axes, &last.to_vec()) && !(fits(axes, &first.to_vec()) && width == channels)
}

type Side<'a> = (&'a std::collections::BTreeMap<String, String>, &'a [Port], &'static str);

fn bound(manifest: &Manifest, role: GraphRole, (names, ports, side): Side<'_>, found: &mut Vec<String>) {
    for (part, name) in names {
        let Some(port) = ports.iter().find(|port| port.name == *name) else {
            let there: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
            found.push(format!(
                "graphs.{role}.{side}s.{part} = \"{name}\" is not an {side} of the graph; it has {}",
                there.join(", ")
            ));
            continue;
        };
        let (convertible, types) = match side {
            "input" => (port.takes_f32(), "float32, float16 or uint8"),
            _ => (port.gives_f32(), "float32, float16 or float64"),
        };
        if !convertible {
            found.push(format!("graphs.{role}: {side} {name} is {}; export the graph with it as {types}", port.dtype));
        }
        // A file need not declare the shapes of its outputs; a run shows them.
        let told = side == "input" || !port.shape.is_empty();
        let wanted = wanted(manifest, part);
        if told && !wanted.iter().any(|wanted| fits(&port.shape, wanted)) {
            let forms: Vec<String> = wanted.iter().map(described).collect();
            found.push(format!(
                "graphs.{role}: {side} {name} is {}; by the manifest, {part} is {}",
                shape(&port.shape),
                forms.join(" or ")
            ));
        }
    }
}

/// The forms that a role's tensor may have.
fn wanted(manifest: &Manifest, part: &str) -> Vec<Wanted> {
    match part {
        "image" => vec![manifest.image_shape().into_iter().map(Some).collect()],
        "mask" | "noise" => vec![vec![manifest.grid().map(Grid::patches)]],
        "tokens" => vec![vec![None, None]],
        "score" => vec![vec![], vec![Some(1)]],
        "map" => vec![vec![Some(1), None, None], vec![None, None]],
        // latent, embedding, mean, log_variance
        _ => vec![vec![None], vec![None, None, None]],
    }
}

fn fits(axes: &[Axis], wanted: &Wanted) -> bool {
    axes.len() == wanted.len() + 1
        && axes[1..].iter().zip(wanted).all(|(axis, wanted)| match (axis, wanted) {
            (Axis::Fixed(size), Some(wanted)) => size == wanted,
            (Axis::Fixed(_), None) | (Axis::Dynamic(_), _) => true,
        })
}

fn described(wanted: &Wanted) -> String {
    let mut text = "[batch".to_owned();
    for axis in wanted {
        // writing to a string cannot fail
        let _ = match axis {
            Some(size) => write!(text, ", {size}"),
            None => write!(text, ", n"),
        };
    }
    text + "]"
}

/// A tensor's shape as people write it.
#[must_use]
pub(super) fn shape(axes: &[Axis]) -> String {
    let axes: Vec<String> = axes.iter().map(ToString::to_string).collect();
    format!("[{}]", axes.join(", "))
}

fn unbound(spec: &GraphSpec, role: GraphRole, info: &GraphInfo, found: &mut Vec<String>) {
    for port in info.inputs.iter().filter(|port| !spec.inputs.values().any(|name| *name == port.name)) {
        found.push(format!(
            "graphs.{role}: the graph also takes {} {}, which no role is bound to; its roles are {}",
            port.name,
            shape(&port.shape),
            role.inputs().join(", ")
        ));
    }
}

fn frozen(role: GraphRole, info: &GraphInfo, found: &mut Vec<String>) {
    for port in info.inputs.iter().chain(&info.outputs) {
        if let Some(Axis::Fixed(size)) = port.shape.first().filter(|axis| !matches!(axis, Axis::Fixed(1))) {
            found.push(format!(
                "graphs.{role}: {} {} has its batch axis frozen at {size}; export it with a dynamic one, as in \
                 torch.onnx.export(…, dynamic_shapes={{\"{}\": {{0: torch.export.Dim(\"batch\")}}}})",
                port.name,
                shape(&port.shape),
                port.name
            ));
        }
    }
}

/// Whether a graph takes one item a run and no more.
#[must_use]
pub(super) fn is_frozen_at_one(info: &GraphInfo) -> bool {
    info.inputs.iter().chain(&info.outputs).any(|port| port.shape.first() == Some(&Axis::Fixed(1)))
}

/// What is wrong between two graphs: the decoder takes what the encoder gives.
#[must_use]
pub(super) fn agreement(manifest: &Manifest, encoder: &GraphInfo, decoder: &GraphInfo) -> Option<String> {
    let given = manifest.family.rules().latent?;
    let port = |info: &GraphInfo, role: GraphRole, part: &str| {
        let spec = manifest.graphs.get(&role)?;
        match role {
            GraphRole::Decoder => info.input(spec.inputs.get(part)?).cloned(),
            _ => info.output(spec.outputs.get(part)?).cloned(),
        }
    };
    let out = port(encoder, GraphRole::Encoder, given)?.shape;
    let taken = port(decoder, GraphRole::Decoder, "latent")?.shape;
    let clash = |(a, b): (&Axis, &Axis)| matches!((a, b), (Axis::Fixed(a), Axis::Fixed(b)) if a != b);
    let differ = out.len() != taken.len() || out.iter().zip(&taken).skip(1).any(clash);
    (!out.is_empty() && differ)
        .then(|| format!("the encoder gives {given} {}, but the decoder takes latent {}", shape(&out), shape(&taken)))
}

#[cfg(test)]
mod tests;
