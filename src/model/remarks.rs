//! What is worth knowing of a model and keeps nothing from serving: implausible settings, conversions, and what no check
//! has looked at.

use super::{
    checks,
    examine::{Examination, Examined},
    family::GraphRole,
    golden::{self, Golden},
    manifest::Manifest,
};
use crate::runtime::{Axis, Port};

/// Means of pixels scaled to 0…1 are below this; one above it was made for 0…255.
const LARGEST_MEAN: f32 = 2.0;
/// Vectors of more numbers than this are rarely what is wanted.
const MANY_NUMBERS: usize = 8192;

/// Remarks on a model.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Remarks {
    /// What is likely to be a mistake; the server logs it.
    pub(super) warnings: Vec<String>,
    /// What is as it should be or cannot be known; `latentd inspect` prints it.
    pub(super) notes: Vec<String>,
}

impl Remarks {
    pub(super) fn of(manifest: &Manifest, examination: &Examination, golden: Option<&Golden>) -> Self {
        let mut remarks = Self { warnings: preprocessing(manifest), notes: Vec::new() };
        for (&role, graph) in &examination.graphs {
            remarks.on_graph(manifest, role, graph);
        }
        if let Some(head) = examination.embedding.as_ref().filter(|head| head.dimension() > MANY_NUMBERS) {
            remarks.warnings.push(format!(
                "vectors have {} numbers: a feature map is usually pooled, embedding.pooling = \"mean\" or \"gem\"",
                head.dimension()
            ));
        }
        if manifest.preprocess.mean.is_none() && manifest.preprocess.std.is_none() && manifest.preprocess.rescale < 0.1
        {
            remarks.notes.push("no mean and std: values go in as 0…1".to_owned());
        }
        let unchecked = match golden {
            None => Some(format!("no {}: nothing is compared with the training framework", golden::FILE_NAME)),
            Some(golden) if !golden.has_image() => {
                Some(format!("the preprocessing is not checked: {} has no image", golden::FILE_NAME))
            }
            Some(_) => None,
        };
        remarks.notes.extend(unchecked);
        remarks
    }

    fn on_graph(&mut self, manifest: &Manifest, role: GraphRole, graph: &Examined) {
        let Some(spec) = manifest.graphs.get(&role) else { return };
        for (side, ports) in [("input", &graph.declared.inputs), ("output", &graph.declared.outputs)] {
            for port in ports {
                let bound = side == "input" || spec.outputs.values().any(|name| *name == port.name);
                self.on_port(role, (side, bound), (port, graph));
            }
        }
        let byte_input = graph.declared.inputs.iter().any(|port| port.dtype == "uint8");
        if byte_input && (manifest.preprocess.rescale - 1.0).abs() > f64::EPSILON {
            self.warnings.push(format!(
                "graphs.{role} takes uint8, but preprocess.rescale = {} leaves few of its 256 values: 1.0 is usual",
                manifest.preprocess.rescale
            ));
        }
        if !graph.onnx.random.is_empty() {
            let operators: Vec<&str> = graph.onnx.random.iter().map(String::as_str).collect();
            self.notes.push(format!("graphs.{role} has random operators: {}", operators.join(", ")));
        }
        let more = graph.declared.inputs.iter().chain(&graph.declared.outputs);
        if checks::is_frozen_at_one(&graph.info)
            && let Some(port) = more.into_iter().find(|port| port.shape.first() == Some(&Axis::Fixed(1)))
        {
            self.notes.push(format!(
                "graphs.{role}: its batch is frozen at 1, so that images are run one by one; \
                 torch.onnx.export(…, dynamic_shapes={{\"{}\": {{0: torch.export.Dim(\"batch\")}}}}) leaves it open",
                port.name
            ));
        }
    }

    fn on_port(&mut self, role: GraphRole, (side, bound): (&str, bool), (port, graph): (&Port, &Examined)) {
        let name = &port.name;
        if !bound {
            self.notes.push(format!("graphs.{role}: {side} {name} is bound to no role and ignored"));
            return;
        }
        if !port.is_f32() {
            self.notes.push(format!("graphs.{role}: {side} {name} is {}; numbers are converted", port.dtype));
        }
        if graph.binding.channels_last.contains(name) {
            self.notes.push(format!(
                "graphs.{role}: {side} {name} has its channels last, {}; images are transposed",
                checks::shape(&port.shape)
            ));
        }
    }
}

/// What is implausible in `[preprocess]`.
fn preprocessing(manifest: &Manifest) -> Vec<String> {
    let spec = &manifest.preprocess;
    let mut warnings = Vec::new();
    let scaled = spec.rescale < 0.1;
    let largest = spec.mean.iter().flatten().map(|mean| mean.abs()).fold(0.0, f32::max);
    if scaled && largest > LARGEST_MEAN {
        warnings.push(format!(
            "preprocess.mean holds {largest}, which is in 0…255, but rescale = {} brings pixels to 0…1: divide mean and \
             std by 255, or use rescale = 1.0",
            spec.rescale
        ));
    }
    if !scaled && largest > 0.0 && largest <= 1.0 {
        warnings.push(format!("preprocess.mean is within 0…1, but rescale = {} leaves pixels in 0…255", spec.rescale));
    }
    match (&spec.mean, &spec.std) {
        (Some(_), None) => warnings.push("preprocess.mean is there without std: values are not divided".to_owned()),
        (None, Some(_)) => warnings.push("preprocess.std is there without mean: nothing is subtracted".to_owned()),
        (Some(_), Some(_)) | (None, None) => {}
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warnings(preprocess: &str) -> Vec<String> {
        let text = format!(
            "manifest = 1\nfamily = \"contrastive\"\n[input]\nwidth = 8\nheight = 8\nchannels = \"rgb\"\n\
             [graphs.encoder]\nfile = \"e.onnx\"\ninputs = {{ image = \"x\" }}\noutputs = {{ embedding = \"z\" }}\n\
             [preprocess]\n{preprocess}"
        );
        preprocessing(&Manifest::parse(&text).unwrap())
    }

    #[test]
    fn settings_made_for_another_scale_and_half_a_normalisation_are_warned_of() {
        let (imagenet, bytes) = ("[0.485, 0.456, 0.406]", "[123.675, 116.28, 103.53]");
        assert!(warnings(&format!("mean = {bytes}\nstd = [58.395, 57.12, 57.375]"))[0].contains("in 0…255"));
        assert!(warnings(&format!("mean = {imagenet}"))[0].contains("without std"));
        assert!(warnings("std = [0.2, 0.2, 0.2]")[0].contains("without mean"));
        assert!(warnings(&format!("rescale = 1.0\nmean = {imagenet}\nstd = {imagenet}"))[0].contains("leaves pixels"));
        for fine in [
            String::new(),
            format!("mean = {imagenet}\nstd = {imagenet}"),
            format!("rescale = 1.0\nmean = {bytes}\nstd = {bytes}"),
            "mean = [0.0, 0.0, 0.0]\nstd = [1.0, 1.0, 1.0]".to_owned(),
        ] {
            assert!(warnings(&fine).is_empty(), "{fine}: {:?}", warnings(&fine));
        }
    }
}
