//! Opening a model's graphs and holding them against its manifest: everything that is wrong is found at once, before
//! anything is served. The server and `latentd inspect` judge by this code.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    checks, consistency,
    family::GraphRole,
    folder,
    golden::{Golden, Subject},
    graph::role_of,
    head::{EmbeddingHead, Source},
    manifest::{GraphSpec, Manifest},
    memory::PatchMemory,
    onnx::{self, OnnxFile},
    remarks::Remarks,
    space,
    trial::Trial,
};
use crate::{
    batch::RunPermits,
    domain::Device,
    error::{Error, ErrorKind},
    image::Preprocessor,
    runtime::{Axis, Binding, GraphInfo, GraphLoader, Port, Runner, SessionOptions, Tensor},
};

/// How a model is run, with the manifest's own `[runtime]` applied.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) device: Device,
    /// None where it is to be measured.
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
    /// The graph as the file declares it.
    pub(super) declared: GraphInfo,
    /// The graph as it is served: the outputs that are bound, and images with their channels first.
    pub(super) info: GraphInfo,
    /// What turns the one into the other.
    pub(super) binding: Binding,
    /// Taken when the model starts to serve.
    pub(super) runner: Option<Box<dyn Runner>>,
    /// One item that the graph can run on; none where its shapes leave that open, or where it did not end in time.
    pub(super) warm_up: Option<Vec<Tensor>>,
    /// The shape of each output for one item, as it came, without the batch axis.
    observed: Vec<Vec<usize>>,
}

/// The findings about a model.
#[derive(Default)]
pub(super) struct Examination {
    /// The graphs that could be opened.
    pub(super) graphs: BTreeMap<GraphRole, Examined>,
    /// The hash of the graph that defines the space.
    pub(super) hash: Option<blake3::Hash>,
    /// The hash of every graph.
    pub(super) hashes: BTreeMap<GraphRole, blake3::Hash>,
    pub(super) embedding: Option<EmbeddingHead>,
    /// The shape of what the decoder takes from the encoder, without the batch axis.
    pub(super) latent: Option<Vec<usize>>,
    pub(super) memory: Option<PatchMemory>,
    /// The graphs whose golden outputs were replayed; a disagreement with them is among the problems.
    pub(super) golden: Vec<GraphRole>,
    /// Everything that is wrong, one line each; empty for a model that can serve.
    pub(super) problems: Vec<String>,
    /// What keeps nothing from serving.
    pub(super) remarks: Remarks,
}

/// Opens every graph once, checks it, replays its golden outputs, and runs it on noise, alone and among others, where it
/// takes images, or once on zeros where it takes none.
pub(super) fn examine(
    folder: &Path,
    manifest: &Manifest,
    loader: &dyn GraphLoader,
    settings: &Settings,
) -> Examination {
    let mut examination = Examination::of_graphs(folder, manifest, loader, settings.session());
    examination.hash_space(folder, manifest);
    let golden = examination.read_golden(folder, manifest);
    if examination.problems.is_empty() {
        examination.try_out(manifest, golden.as_ref(), settings);
    }
    if examination.problems.is_empty() {
        examination.make_head(manifest);
        examination.read_memory(folder, manifest);
    }
    examination.remarks = Remarks::of(manifest, &examination, golden.as_ref());
    examination
}

/// Everything in which the graphs differ from a manifest, one line each; none of them is run. For a manifest with
/// violations of its own: what is wrong with its graphs is told together with those.
pub(super) fn differences(folder: &Path, manifest: &Manifest, loader: &dyn GraphLoader) -> Vec<String> {
    let options = SessionOptions { device: Device::Cpu, threads: 1 };
    Examination::of_graphs(folder, manifest, loader, options).problems
}

fn open(
    folder: &Path,
    spec: &GraphSpec,
    loader: &dyn GraphLoader,
    options: SessionOptions,
) -> Result<Examined, String> {
    let file = folder::resolve(folder, &spec.file).map_err(|reason| with_others(folder, &reason))?;
    let onnx = OnnxFile::read(&file).map_err(|reason| format!("{}: {reason}", spec.file))?;
    check_external(folder, &file, &onnx)?;
    let (runner, declared) = loader.open(&file, options).map_err(|error| error.chain())?;
    let (info, runner) = (declared.clone(), Some(runner));
    Ok(Examined {
        file,
        onnx,
        declared,
        info,
        binding: Binding::default(),
        runner,
        warm_up: None,
        observed: Vec::new(),
    })
}

/// The reason why a graph's file cannot be used, with the graphs that are there where it is not.
fn with_others(folder: &Path, reason: &str) -> String {
    let others = folder::onnx_files(folder);
    if others.is_empty() || !reason.ends_with("is not there") {
        return reason.to_owned();
    }
    let names: Vec<String> =
        others.iter().filter_map(|file| Some(file.file_name()?.to_string_lossy().into_owned())).collect();
    format!("{reason}; there is {}", names.join(", "))
}

/// Checks the files that a graph's weights lie in, before the runtime sees the graph: it would follow a location to
/// wherever it leads.
///
/// # Errors
/// One line: a file outside the model's folder, or a git-lfs pointer in its place.
pub(super) fn check_external(folder: &Path, file: &Path, onnx: &OnnxFile) -> Result<(), String> {
    let mut checked = BTreeSet::new();
    for data in &onnx.external {
        let path = space::external_path(folder, file, data)?;
        if !checked.insert(path.clone()) {
            continue;
        }
        let mut start = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(64).read_to_end(&mut start));
        // A file that cannot be read is the affair of whoever reads it whole.
        if read.is_ok() && start.starts_with(b"version https://git-lfs") {
            return Err(format!("{}: {}", data.location, onnx::impostor(&start).unwrap_or("it is a git-lfs pointer")));
        }
    }
    Ok(())
}

impl Examination {
    /// Opens every graph and holds it against the manifest.
    fn of_graphs(folder: &Path, manifest: &Manifest, loader: &dyn GraphLoader, options: SessionOptions) -> Self {
        let mut examination = Self::default();
        // A file whose name is a violation of the manifest is told there.
        let named = manifest.graphs.iter().filter(|(_, spec)| folder::unfit(&spec.file).is_none());
        for (&role, spec) in named {
            match open(folder, spec, loader, options) {
                Ok(mut examined) => {
                    examination.problems.extend(examined.bind(manifest, role));
                    examination.graphs.insert(role, examined);
                }
                Err(reason) => examination.problems.push(format!("graphs.{role}: {reason}")),
            }
        }
        examination.check_agreement(manifest);
        examination
    }

    fn check_agreement(&mut self, manifest: &Manifest) {
        let (encoder, decoder) = (self.graphs.get(&GraphRole::Encoder), self.graphs.get(&GraphRole::Decoder));
        if let (Some(encoder), Some(decoder)) = (encoder, decoder) {
            self.problems.extend(checks::agreement(manifest, &encoder.info, &decoder.info));
        }
    }

    fn hash_space(&mut self, folder: &Path, manifest: &Manifest) {
        for (&role, graph) in &self.graphs {
            match space::hash_graph(folder, &graph.file, &graph.onnx) {
                Ok(hash) => {
                    self.hashes.insert(role, hash);
                }
                Err(reason) => self.problems.push(reason),
            }
        }
        self.hash = space::defining_graph(manifest).and_then(|role| self.hashes.get(&role).copied());
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

    /// Runs each graph, the encoder first: its outputs tell what the decoder takes.
    fn try_out(&mut self, manifest: &Manifest, golden: Option<&Golden>, settings: &Settings) {
        for (&role, graph) in &mut self.graphs {
            let covering = golden.filter(|golden| golden.covers(role));
            if covering.is_some() {
                self.golden.push(role);
            }
            let attempt = Attempt { manifest, role, golden: covering, settings };
            match attempt.run(graph, self.latent.as_deref()) {
                Ok(Some(outputs)) => {
                    let seen = observed_info(&graph.info, &outputs);
                    self.problems.extend(checks::graph(manifest, role, &seen));
                    graph.observed =
                        outputs.iter().map(|tensor| tensor.shape.iter().skip(1).copied().collect()).collect();
                }
                Ok(None) => {}
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

impl Examination {
    /// Reads the memory of a model and holds it against what the encoder gives.
    fn read_memory(&mut self, folder: &Path, manifest: &Manifest) {
        let (Some(spec), Some(head)) = (&manifest.memory, &self.embedding) else { return };
        let memory = match PatchMemory::read(folder, spec) {
            Ok(memory) => memory,
            Err(reason) => return self.problems.push(reason),
        };
        match head.patch_dimension() {
            Some(dimension) if dimension == memory.dimension() => self.memory = Some(memory),
            Some(dimension) => self.problems.push(format!(
                "memory: {} has features of {} numbers, and the patches of {} have {dimension}",
                spec.file,
                memory.dimension(),
                head.spec().output
            )),
            None => self.problems.push(format!(
                "memory: {} of the encoder is no feature map [batch, c, h, w] and no tokens [batch, n, dim]",
                head.spec().output
            )),
        }
    }
}

/// The runs by which a graph is tried.
struct Attempt<'a> {
    manifest: &'a Manifest,
    role: GraphRole,
    /// The golden outputs, where they cover the graph.
    golden: Option<&'a Golden>,
    settings: &'a Settings,
}

impl Attempt<'_> {
    /// The outputs of one run; none where no run was possible, or none was done in time.
    fn run(&self, graph: &mut Examined, latent: Option<&[usize]>) -> Result<Option<Vec<Tensor>>, Vec<String>> {
        let role = self.role;
        let Some(mut runner) = graph.runner.take() else { return Ok(None) };
        let result = self.run_on(graph, runner.as_mut(), latent);
        graph.runner = Some(runner);
        let late = |error: &Error| error.kind() == ErrorKind::DeadlineExceeded;
        match result {
            Err(Failure::Run(error)) if late(&error) && self.golden.is_none() => {
                // The graph may be quicker when less else is going on; its requests will tell.
                tracing::warn!(graph = %role, file = %graph.file.display(), "the first run was not done in time");
                graph.warm_up = None;
                Ok(None)
            }
            Err(Failure::Run(error)) => Err(vec![format!("graphs.{role}: the first run failed: {}", error.chain())]),
            Err(Failure::Reasons(reasons)) => Err(reasons),
            Ok(outputs) => Ok(outputs),
        }
    }

    fn run_on(
        &self,
        graph: &mut Examined,
        runner: &mut dyn Runner,
        latent: Option<&[usize]>,
    ) -> Result<Option<Vec<Tensor>>, Failure> {
        let Self { manifest, role, golden, settings } = *self;
        let frozen = checks::is_frozen_at_one(&graph.info);
        let max_batch = if frozen { 1 } else { settings.max_batch.unwrap_or(usize::MAX) };
        let random_operators: Vec<String> = graph.onnx.random.iter().cloned().collect();
        let subject =
            consistency::Subject { role, manifest, info: &graph.info, random_operators: &random_operators, max_batch };
        let noise = consistency::applies(role).then(|| subject.item(0)).flatten();
        graph.warm_up = noise.clone().or_else(|| warm_up_inputs(manifest, role, &graph.info, latent));
        let trial = settings.trial();
        let replayed = match golden {
            Some(golden) => {
                let subject = Subject { role, info: &graph.info, runner, max_batch };
                Some(golden.replay(manifest, subject, &trial).map_err(Failure::Reasons)?)
            }
            None => None,
        };
        let outputs = match (&graph.warm_up, replayed) {
            (Some(inputs), None) => trial.run(runner, inputs)?,
            (Some(inputs), Some(_)) if noise.is_some() => trial.run(runner, inputs)?,
            (_, replayed) => return Ok(replayed),
        };
        if noise.is_some() {
            let problems = subject.problems(&outputs, runner, &trial)?;
            if !problems.is_empty() {
                return Err(Failure::Reasons(problems));
            }
        }
        Ok(Some(outputs))
    }
}

/// Why there are no outputs.
enum Failure {
    Run(Error),
    Reasons(Vec<String>),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Run(error)
    }
}

impl Examined {
    /// Binds the graph to the manifest's roles; everything in which they differ, one line each.
    fn bind(&mut self, manifest: &Manifest, role: GraphRole) -> Vec<String> {
        self.binding = checks::binding(manifest, role, &self.declared);
        let turned = self.binding.channels_first(&self.declared);
        let problems = checks::graph(manifest, role, &turned);
        self.info = self.binding.without_dropped(turned);
        if let Some(runner) = &mut self.runner {
            runner.configure(&self.binding);
        }
        problems
    }

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
