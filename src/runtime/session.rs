//! Sessions of ONNX Runtime as [`Runner`]s.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use ort::{
    environment::Environment,
    session::{
        NoSelectedOutputs, RunOptions, Session, SessionInputValue,
        builder::{GraphOptimizationLevel, SessionBuilder},
    },
    value::{Outlet, TensorElementType, TensorRef, ValueType},
};

use super::{
    Axis, Binding, CudaOptions, GraphInfo, Numbers, Port, Runner, SessionOptions, Stop, Tensor, TensorView,
    binding::Form,
    cuda, from_ort,
    pinned::Pinned,
    placement,
    provider::{self, Placement},
    reason,
};
use crate::{
    domain::Device,
    error::{Error, ErrorKind, Result},
};

/// Has a run end with giving the processor's arena back as far as nothing is in it.
const SHRINK: (&str, &str) = ("memory.enable_memory_arena_shrinkage", "cpu:0");

/// What sessions are made with.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) environment: Environment,
    /// The file that was loaded.
    pub(super) library: PathBuf,
    pub(super) cuda: CudaOptions,
}

/// Opens a graph file on the device of the options, which is a real one.
pub(super) fn open(place: &Place, file: &Path, options: SessionOptions) -> Result<(Box<dyn Runner>, GraphInfo)> {
    let name = display_name(file);
    let (runner, info) = open_graph(place, &name, options, |mut builder| builder.commit_from_file(file))?;
    Ok((Box::new(runner), info))
}

/// Opens what `commit` reads; `name` is what messages call it.
pub(super) fn open_graph(
    place: &Place,
    name: &str,
    options: SessionOptions,
    commit: impl FnOnce(SessionBuilder) -> ort::Result<Session>,
) -> Result<(SessionRunner, GraphInfo)> {
    let device = options.device;
    let provider = provider::dispatch(device, &place.library, place.cuda)?;
    let session = builder(place, options.threads, provider).and_then(commit).map_err(|error| {
        let text = error.to_string();
        let text = reason::plain(&text);
        let reason = cuda::reason(&text);
        if device == Device::Cpu {
            Error::invalid_request(format!("onnx runtime cannot load {name}: {reason}"))
        } else {
            Error::unavailable(format!("cannot run {name} on {device}: {reason}"))
        }
    })?;
    let placed = placement::assignment(&session)
        .map_err(|error| from_ort("cannot read where onnx runtime placed the graph", &error))?;
    provider::check_placement(device, &placed)?;
    let placement = provider::report(&placed);
    if device == Device::Cpu {
        tracing::debug!(graph = name, %device, placement, "a session is open");
    } else {
        tracing::info!(graph = name, %device, placement, "a session is open");
    }
    let info = describe(&session, device, &placed);
    let pinned = match device {
        Device::Cuda(number) => Pinned::on_cuda(&session, number, (&info.inputs, &info.outputs))
            .inspect_err(|error| tracing::warn!(graph = name, %error, "no pinned memory: copies will be slower"))
            .ok(),
        Device::Cpu | Device::Auto => None,
    };
    let inputs: Vec<Form> = info.inputs.iter().map(Form::of).collect();
    let outputs = info.outputs.iter().map(Form::of).collect();
    let buffers = vec![Vec::new(); inputs.len()];
    Ok((SessionRunner { pinned, session, inputs, outputs, buffers, options: None }, info))
}

pub(super) fn builder(
    place: &Place,
    threads: usize,
    provider: Option<ort::ep::ExecutionProviderDispatch>,
) -> ort::Result<SessionBuilder> {
    let builder = Session::builder(&place.environment)?
        .with_intra_threads(threads)?
        .with_inter_threads(1)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        // spinning threads would take the cores that decoding and HTTP need
        .with_intra_op_spinning(false)?
        .with_config_entry(placement::RECORD.0, placement::RECORD.1)?;
    match provider {
        Some(provider) => Ok(builder.with_execution_providers([provider])?),
        None => Ok(builder),
    }
}

fn display_name(file: &Path) -> String {
    file.file_name().map_or_else(|| file.display().to_string(), |name| name.to_string_lossy().into_owned())
}

fn describe(session: &Session, device: Device, placed: &Placement) -> GraphInfo {
    GraphInfo {
        inputs: session.inputs().iter().map(port).collect(),
        outputs: session.outputs().iter().map(port).collect(),
        opset: session.opset_for_domain(""),
        producer: session.metadata().ok().and_then(|metadata| metadata.producer()).filter(|name| !name.is_empty()),
        placement: placed.iter().map(|(name, operators)| (name.clone(), operators.values().sum())).collect(),
        device,
    }
}

fn port(outlet: &Outlet) -> Port {
    match outlet.dtype() {
        ValueType::Tensor { ty, shape, dimension_symbols } => Port {
            name: outlet.name().to_owned(),
            dtype: dtype_name(*ty),
            shape: shape
                .iter()
                .enumerate()
                .map(|(at, &size)| match usize::try_from(size) {
                    Ok(size) => Axis::Fixed(size),
                    Err(_) => Axis::Dynamic(dimension_symbols.get(at).map(ToString::to_string).unwrap_or_default()),
                })
                .collect(),
        },
        other => Port { name: outlet.name().to_owned(), dtype: other.to_string(), shape: Vec::new() },
    }
}

fn dtype_name(ty: TensorElementType) -> String {
    match ty {
        TensorElementType::Float32 => "float32".to_owned(),
        TensorElementType::Float16 => "float16".to_owned(),
        TensorElementType::Float64 => "float64".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    }
}

pub(super) struct SessionRunner {
    /// On CUDA; before the session, whose memory it holds.
    pinned: Option<Pinned>,
    session: Session,
    inputs: Vec<Form>,
    /// The outputs that runs give.
    outputs: Vec<Form>,
    /// What came apart, put together: one for each input, kept from run to run.
    buffers: Vec<Vec<f32>>,
    /// Of the prepared run: the terminate flag is sticky, so each run gets its own.
    options: Option<Arc<RunOptions<NoSelectedOutputs>>>,
}

#[cfg(test)]
impl SessionRunner {
    /// Makes it run as on CUDA.
    pub(super) fn bind(&mut self, pinned: impl FnOnce(&Session) -> Pinned) {
        self.pinned = Some(pinned(&self.session));
    }
}

struct Terminate(Arc<RunOptions<NoSelectedOutputs>>);

impl Stop for Terminate {
    fn stop(&self) {
        if let Err(error) = self.0.terminate() {
            tracing::error!(%error, "a run could not be terminated");
        }
    }
}

impl Runner for SessionRunner {
    fn prepare(&mut self) -> Result<Arc<dyn Stop>> {
        let options = RunOptions::new().map_err(|error| from_ort("cannot prepare a run", &error))?;
        let options = Arc::new(options);
        self.options = Some(Arc::clone(&options));
        Ok(Arc::new(Terminate(options)))
    }

    fn configure(&mut self, binding: &Binding) {
        self.outputs.retain(|form| binding.outputs.contains(&form.name));
        self.inputs.iter_mut().chain(&mut self.outputs).for_each(|form| form.bind(binding));
        // Pinned memory is bound as float32 in the graph's own order.
        if self.inputs.iter().chain(&self.outputs).all(Form::is_plain) {
            self.pinned.iter_mut().for_each(|pinned| pinned.retain_outputs(&binding.outputs));
        } else {
            self.pinned = None;
        }
    }

    /// On a GPU the memory stays: giving it back would stop the device, and the next large run would ask for it again.
    fn shrink(&mut self) {
        if self.pinned.is_none() {
            let options = RunOptions::new().and_then(|mut options| options.set(SHRINK.0, SHRINK.1).map(|()| options));
            match options {
                Ok(options) => self.options = Some(Arc::new(options)),
                Err(error) => tracing::debug!(%error, "a session keeps its memory"),
            }
        }
    }

    fn run(&mut self, inputs: &[TensorView<'_>]) -> Result<Vec<Tensor>> {
        if inputs.len() != self.inputs.len() {
            let text = format!("the graph takes {} inputs, {} were given", self.inputs.len(), inputs.len());
            return Err(Error::internal(text));
        }
        let options = match self.options.take() {
            Some(options) => options,
            None => Arc::new(RunOptions::new().map_err(|error| from_ort("cannot prepare a run", &error))?),
        };
        if let Some(pinned) = &mut self.pinned {
            match pinned.run(&mut self.session, inputs, &options).map_err(|error| run_error(&error)) {
                Err(error) if !pinned.has_worked() && error.kind() != ErrorKind::DeadlineExceeded => {
                    tracing::warn!(reason = error.chain(), "runs in pinned memory fail: copies will be slower");
                    self.pinned = None;
                }
                result => return result,
            }
        }
        let mut values = Vec::with_capacity(inputs.len());
        for ((form, view), buffer) in self.inputs.iter().zip(inputs).zip(&mut self.buffers) {
            let numbers = match view.numbers {
                // run from where it lies
                Numbers::Together(numbers) => numbers,
                apart @ Numbers::Apart(_) => {
                    buffer.clear();
                    apart.append_to(buffer);
                    buffer
                }
            };
            let value: SessionInputValue<'_> = if form.is_plain() {
                TensorRef::from_array_view((view.shape, numbers))
                    .map_err(|error| from_ort("an input tensor does not fit its shape", &error))?
                    .into()
            } else {
                form.convert(view.shape, numbers)?
            };
            values.push((form.name.as_str(), value));
        }
        let outputs = self.session.run_with_options(values, &options).map_err(|error| run_error(&error))?;
        self.outputs.iter().map(|form| form.extract(&outputs[form.name.as_str()])).collect()
    }
}

fn run_error(error: &ort::Error) -> Error {
    let text = error.to_string();
    if text.contains("terminate flag") {
        Error::deadline_exceeded("the run was stopped: nobody waits for it any more, or it took too long")
    } else {
        Error::internal("onnx runtime failed to run the graph").with_source(reason::plain(&text))
    }
}
