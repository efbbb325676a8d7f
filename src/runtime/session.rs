//! Sessions of ONNX Runtime as [`Runner`]s.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use ort::{
    environment::Environment,
    session::{NoSelectedOutputs, RunOptions, Session, builder::GraphOptimizationLevel},
    value::{Outlet, TensorElementType, TensorRef, ValueType},
};

use super::{Axis, GraphInfo, Port, Runner, SessionOptions, Stop, Tensor, TensorView, from_ort, placement, provider};
use crate::{
    domain::Device,
    error::{Error, Result},
};

/// Opens a graph file on the device of the options. `auto` tries CUDA first and says in the log when it falls back.
pub(super) fn open(
    environment: &Environment,
    file: &Path,
    options: SessionOptions,
) -> Result<(Box<dyn Runner>, GraphInfo)> {
    if options.device == Device::Auto {
        let on_cuda = open_on(environment, file, SessionOptions { device: Device::Cuda(0), ..options });
        return on_cuda.or_else(|error| {
            tracing::warn!(file = %file.display(), reason = %error.chain(), "device auto falls back to the cpu");
            open_on(environment, file, SessionOptions { device: Device::Cpu, ..options })
        });
    }
    open_on(environment, file, options)
}

fn open_on(environment: &Environment, file: &Path, options: SessionOptions) -> Result<(Box<dyn Runner>, GraphInfo)> {
    let provider = provider::dispatch(options.device)?;
    let session = build(environment, file, options.threads, provider).map_err(|error| {
        let text = error.to_string();
        if options.device == Device::Cpu {
            Error::invalid_request(format!("onnx runtime cannot load {}: {}", display_name(file), first_line(&text)))
        } else {
            Error::unavailable(format!(
                "cannot run {} on {}: {}",
                display_name(file),
                options.device,
                first_line(&text)
            ))
        }
    })?;
    let placed = placement::assignment(&session)
        .map_err(|error| from_ort("cannot read where onnx runtime placed the graph", &error))?;
    provider::check_placement(options.device, &placed)?;
    let info = describe(&session, options.device, &placed);
    let inputs = info.inputs.iter().map(|port| port.name.clone()).collect();
    let runner = SessionRunner { session, inputs, options: None };
    Ok((Box::new(runner), info))
}

fn build(
    environment: &Environment,
    file: &Path,
    threads: usize,
    provider: Option<ort::ep::ExecutionProviderDispatch>,
) -> ort::Result<Session> {
    let mut builder = Session::builder(environment)?
        .with_intra_threads(threads)?
        .with_inter_threads(1)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        // spinning threads would take the cores that decoding and HTTP need
        .with_intra_op_spinning(false)?
        .with_config_entry(placement::RECORD.0, placement::RECORD.1)?;
    if let Some(provider) = provider {
        builder = builder.with_execution_providers([provider])?;
    }
    builder.commit_from_file(file)
}

fn display_name(file: &Path) -> String {
    file.file_name().map_or_else(|| file.display().to_string(), |name| name.to_string_lossy().into_owned())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default().trim_end_matches('.')
}

fn describe(session: &Session, device: Device, placed: &BTreeMap<String, BTreeMap<String, usize>>) -> GraphInfo {
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

struct SessionRunner {
    session: Session,
    inputs: Vec<String>,
    /// Of the prepared run: the terminate flag is sticky, so each run gets its own.
    options: Option<Arc<RunOptions<NoSelectedOutputs>>>,
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

    fn run(&mut self, inputs: &[TensorView<'_>]) -> Result<Vec<Tensor>> {
        if inputs.len() != self.inputs.len() {
            let text = format!("the graph takes {} inputs, {} were given", self.inputs.len(), inputs.len());
            return Err(Error::internal(text));
        }
        let options = match self.options.take() {
            Some(options) => options,
            None => Arc::new(RunOptions::new().map_err(|error| from_ort("cannot prepare a run", &error))?),
        };
        let mut values = Vec::with_capacity(inputs.len());
        for (name, view) in self.inputs.iter().zip(inputs) {
            let value = TensorRef::from_array_view((view.shape, view.data))
                .map_err(|error| from_ort("an input tensor does not fit its shape", &error))?;
            values.push((name.as_str(), value));
        }
        let outputs = self.session.run_with_options(values, &options).map_err(|error| run_error(&error))?;
        outputs
            .iter()
            .map(|(name, value)| {
                let (shape, data) = value
                    .try_extract_tensor::<f32>()
                    .map_err(|error| from_ort(format!("output {name} is not a float32 tensor"), &error))?;
                let shape = shape.iter().map(|&size| usize::try_from(size).unwrap_or(0)).collect();
                Ok(Tensor { shape, data: data.to_vec() })
            })
            .collect()
    }
}

fn run_error(error: &ort::Error) -> Error {
    let text = error.to_string();
    if text.contains("terminate flag") {
        Error::deadline_exceeded("the run was stopped: nobody waits for it any more, or it took too long")
    } else {
        Error::internal("onnx runtime failed to run the graph").with_source(text)
    }
}
