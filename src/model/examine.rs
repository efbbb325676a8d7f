//! Opening a model's graphs and holding them against its manifest: everything that is wrong is found at once, before
//! anything is served.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    checks,
    family::GraphRole,
    folder,
    golden::{Golden, Subject},
    graph::role_of,
    head::{EmbeddingHead, Source},
    manifest::{GraphSpec, Manifest},
    onnx::OnnxFile,
    space,
    trial::Trial,
};
use crate::{
    batch::RunPermits,
    domain::Device,
    error::ErrorKind,
    image::Preprocessor,
    runtime::{Axis, GraphInfo, GraphLoader, Port, Runner, SessionOptions, Tensor},
};

/// How a model is run, the manifest's own wishes counted in.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) device: Device,
    /// None: to be measured.
    pub(super) max_batch: Option<usize>,
    pub(super) sessions: usize,
    pub(super) threads: usize,
    pub(super) run_limit: Duration,
    pub(super) permits: RunPermits,
}

impl Settings {
    pub(super) const fn session(&self) -> SessionOptions {
        SessionOptions { device: self.device, threads: self.threads }
    }

    pub(super) fn trial(&self) -> Trial {
        Trial { permits: self.permits.clone(), threads: self.threads, limit: self.run_limit }
    }
}

/// A graph that was opened.
pub(super) struct Examined {
    pub(super) file: PathBuf,
    pub(super) onnx: OnnxFile,
    pub(super) info: GraphInfo,
    /// Taken when the model starts to serve.
    pub(super) runner: Option<Box<dyn Runner>>,
    /// One item that the graph can run on; none where its shapes leave that open, or where it did not end in time.
    pub(super) warm_up: Option<Vec<Tensor>>,
    /// The shape of each output for one item, as it came, without the batch axis.
    observed: Vec<Vec<usize>>,
}

/// What came of looking at a model.
#[derive(Default)]
pub(super) struct Examination {
    /// Those that could be opened.
    pub(super) graphs: BTreeMap<GraphRole, Examined>,
    /// Of the graph that defines the space.
    pub(super) hash: Option<blake3::Hash>,
    pub(super) embedding: Option<EmbeddingHead>,
    /// Of what the decoder takes from the encoder, without the batch axis.
    pub(super) latent: Option<Vec<usize>>,
    /// The graphs whose golden outputs were replayed; a disagreement with them is among the problems.
    pub(super) golden: Vec<GraphRole>,
    /// Everything that is wrong, one line each; empty for a model that can serve.
    pub(super) problems: Vec<String>,
}

/// Outputs that do not have the batch as their first axis, bound to a role or not: a run's answers are handed out by
/// rows, so each output must have one for every item. A run that was tried gave all others as many rows as items.
fn not_by_batch(role: GraphRole, info: &GraphInfo, outputs: &[Tensor]) -> Vec<String> {
    let rows = outputs.iter().filter_map(|tensor| tensor.shape.first()).min().copied();
    let complaint = |(port, tensor): (&Port, &Tensor)| {
        let differs = tensor.shape.is_empty() || tensor.shape.first().copied() != rows;
        differs.then(|| {
            let name = &port.name;
            format!("graphs.{role}: output {name} came as {:?}: its first axis is not the batch", tensor.shape)
        })
    };
    info.outputs.iter().zip(outputs).filter_map(complaint).collect()
}

/// Opens every graph once, checks it, replays its golden outputs or runs it once on zeros.
pub(super) fn examine(
    folder: &Path,
    manifest: &Manifest,
    loader: &dyn GraphLoader,
    settings: &Settings,
) -> Examination {
    let mut examination = Examination::default();
    for (&role, spec) in &manifest.graphs {
        match open(folder, spec, loader, settings) {
            Ok(examined) => {
                examination.problems.extend(checks::graph(manifest, role, &examined.info));
                examination.graphs.insert(role, examined);
            }
            Err(reason) => examination.problems.push(format!("graphs.{role}: {reason}")),
        }
    }
    examination.check_agreement(manifest);
    examination.hash_space(folder, manifest);
    let golden = examination.read_golden(folder, manifest);
    if examination.problems.is_empty() {
        examination.try_out(manifest, golden.as_ref(), settings);
    }
    if examination.problems.is_empty() {
        examination.make_head(manifest);
    }
    examination
}

fn open(folder: &Path, spec: &GraphSpec, loader: &dyn GraphLoader, settings: &Settings) -> Result<Examined, String> {
    let file = folder::resolve(folder, &spec.file)?;
    let onnx = OnnxFile::read(&file).map_err(|reason| format!("{}: {reason}", spec.file))?;
    // before the runtime sees the file: it would follow a location to wherever it leads
    for data in &onnx.external {
        space::external_path(folder, &file, data)?;
    }
    let (runner, info) = loader.open(&file, settings.session()).map_err(|error| error.chain())?;
    Ok(Examined { file, onnx, info, runner: Some(runner), warm_up: None, observed: Vec::new() })
}

impl Examination {
    fn check_agreement(&mut self, manifest: &Manifest) {
        let (encoder, decoder) = (self.graphs.get(&GraphRole::Encoder), self.graphs.get(&GraphRole::Decoder));
        if let (Some(encoder), Some(decoder)) = (encoder, decoder) {
            self.problems.extend(checks::agreement(manifest, &encoder.info, &decoder.info));
        }
    }

    fn hash_space(&mut self, folder: &Path, manifest: &Manifest) {
        let defining = space::defining_graph(manifest).and_then(|role| self.graphs.get(&role));
        match defining.map(|graph| space::hash_graph(folder, &graph.file, &graph.onnx)) {
            Some(Ok(hash)) => self.hash = Some(hash),
            Some(Err(reason)) => self.problems.push(reason),
            None => {}
        }
    }

    fn read_golden(&mut self, folder: &Path, manifest: &Manifest) -> Option<Golden> {
        let golden = Golden::read(folder, manifest).unwrap_or_else(|reasons| {
            self.problems.extend(reasons);
            None
        })?;
        if !manifest.graphs.keys().any(|role| golden.covers(*role)) {
            self.problems.push("golden.npz: it has no inputs and outputs of any graph to replay".to_owned());
        }
        let preprocessor = Preprocessor::new(manifest.input.clone(), manifest.preprocess.clone()).ok()?;
        self.problems.extend(golden.check_image(manifest, &preprocessor));
        Some(golden)
    }

    /// Runs each graph, the encoder first: what it gives tells what the decoder takes.
    fn try_out(&mut self, manifest: &Manifest, golden: Option<&Golden>, settings: &Settings) {
        for (&role, graph) in &mut self.graphs {
            let Some(runner) = graph.runner.as_deref_mut() else { continue };
            graph.warm_up = warm_up_inputs(manifest, role, &graph.info, self.latent.as_deref());
            let frozen = checks::is_frozen_at_one(&graph.info);
            let max_batch = if frozen { 1 } else { settings.max_batch.unwrap_or(usize::MAX) };
            let outputs = match (golden.filter(|golden| golden.covers(role)), &graph.warm_up) {
                (Some(golden), _) => {
                    self.golden.push(role);
                    let subject = Subject { role, info: &graph.info, runner, max_batch };
                    golden.replay(manifest, subject, &settings.trial())
                }
                (None, Some(inputs)) => match settings.trial().run(runner, inputs) {
                    Err(error) if error.kind() == ErrorKind::DeadlineExceeded => {
                        // it may be quicker when less else is going on; its requests will tell
                        tracing::warn!(graph = %role, file = %graph.file.display(), "the first run was not done in time");
                        graph.warm_up = None;
                        continue;
                    }
                    result => {
                        result.map_err(|error| vec![format!("graphs.{role}: the first run failed: {}", error.chain())])
                    }
                },
                (None, None) => continue,
            };
            match outputs {
                Ok(outputs) => {
                    self.problems.extend(not_by_batch(role, &graph.info, &outputs));
                    let seen = observed_info(&graph.info, &outputs);
                    self.problems.extend(checks::graph(manifest, role, &seen));
                    graph.observed =
                        outputs.iter().map(|tensor| tensor.shape.iter().skip(1).copied().collect()).collect();
                }
                Err(reasons) => self.problems.extend(reasons),
            }
            if role == GraphRole::Encoder {
                self.latent = manifest.family.rules().latent.and_then(|part| graph.output_shape(manifest, role, part));
            }
        }
    }

    fn make_head(&mut self, manifest: &Manifest) {
        let Some(spec) = &manifest.embedding else { return };
        let Some(encoder) = self.graphs.get(&GraphRole::Encoder) else { return };
        let name = manifest.graphs[&GraphRole::Encoder].outputs.get(&spec.output);
        let at = encoder.info.outputs.iter().position(|port| Some(&port.name) == name);
        let shape = encoder.output_shape(manifest, GraphRole::Encoder, &spec.output);
        let (Some(at), Some(shape)) = (at, shape) else {
            self.problems
                .push(format!("graphs.encoder: the shape of {} is neither declared nor could be seen", spec.output));
            return;
        };
        let source = Source { at, shape: &shape, width: manifest.input.width, height: manifest.input.height };
        match EmbeddingHead::new(spec, source) {
            Ok(head) => self.embedding = Some(head),
            Err(reason) => self.problems.push(reason),
        }
    }
}

impl Examined {
    /// The shape of an output without the batch axis: as it came, or else as the file declares it, where it does.
    /// A count of tokens may stay open and is 0 then.
    fn output_shape(&self, manifest: &Manifest, role: GraphRole, part: &str) -> Option<Vec<usize>> {
        let name = manifest.graphs.get(&role)?.outputs.get(part)?;
        let at = self.info.outputs.iter().position(|port| port.name == *name)?;
        if let Some(shape) = self.observed.get(at) {
            return Some(shape.clone());
        }
        let axes = self.info.outputs[at].shape.get(1..).filter(|axes| !axes.is_empty())?;
        let size = |(at, axis): (usize, &Axis)| match axis {
            Axis::Fixed(size) => Some(*size),
            Axis::Dynamic(_) => (axes.len() == 2 && at == 0).then_some(0),
        };
        axes.iter().enumerate().map(size).collect()
    }
}

/// The graph's description with its outputs as they came.
fn observed_info(info: &GraphInfo, outputs: &[Tensor]) -> GraphInfo {
    let ports = info.outputs.iter().zip(outputs).map(|(port, tensor)| {
        let batch = port.shape.first().cloned().unwrap_or_else(|| Axis::Dynamic("batch".to_owned()));
        let rest = tensor.shape.iter().skip(1).map(|&size| Axis::Fixed(size));
        Port { shape: std::iter::once(batch).chain(rest).collect(), ..port.clone() }
    });
    GraphInfo { outputs: ports.collect(), ..info.clone() }
}

/// One item of zeros for each input, where their shapes are known.
fn warm_up_inputs(
    manifest: &Manifest,
    role: GraphRole,
    info: &GraphInfo,
    latent: Option<&[usize]>,
) -> Option<Vec<Tensor>> {
    let spec = manifest.graphs.get(&role)?;
    info.inputs
        .iter()
        .map(|port| {
            let known: Option<Vec<usize>> = match role_of(&spec.inputs, &port.name) {
                "image" => Some(manifest.image_shape().to_vec()),
                "mask" | "noise" => manifest.grid().map(|grid| vec![grid.patches()]),
                _ => latent.map(<[usize]>::to_vec),
            };
            let fixed = |axis: &Axis| if let Axis::Fixed(size) = axis { Some(*size) } else { None };
            let declared = || port.shape.iter().skip(1).map(fixed).collect::<Option<Vec<usize>>>();
            let row = known.or_else(declared)?;
            let shape: Vec<usize> = std::iter::once(1).chain(row).collect();
            Some(Tensor { data: vec![0.0; shape.iter().product()], shape })
        })
        .collect()
}
