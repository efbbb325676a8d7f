//! ONNX Runtime: finding its library, opening sessions on a device, running them. `ort` is named in this room and
//! nowhere else; the other rooms see [`Runtime`], [`Runner`] and plain tensors.

mod binding;
mod cuda;
mod library;
mod pinned;
mod placement;
mod probe;
mod provider;
mod reason;
mod session;

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::Path, sync::Arc};

pub use binding::{Binding, channels_moved_first};
pub use library::{Runtime, forbid_telemetry};

use crate::{
    domain::Device,
    error::{Error, Result},
};

/// A dense f32 tensor in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub data: Vec<f32>,
}

/// A tensor that somebody else owns.
#[derive(Debug, Clone, Copy)]
pub struct TensorView<'a> {
    pub shape: &'a [usize],
    pub numbers: Numbers<'a>,
}

/// Where the numbers of a tensor lie.
#[derive(Debug, Clone, Copy)]
pub enum Numbers<'a> {
    Together(&'a [f32]),
    /// In pieces that follow one another, as the items of a batch: a runner puts them where its device reads them, and
    /// nobody has to put them together before.
    Apart(&'a [&'a [f32]]),
}

impl<'a> TensorView<'a> {
    #[must_use]
    pub const fn new(shape: &'a [usize], numbers: &'a [f32]) -> Self {
        Self { shape, numbers: Numbers::Together(numbers) }
    }
}

impl Numbers<'_> {
    /// Copies them to where they lie together, after what is there.
    pub fn append_to(self, numbers: &mut Vec<f32>) {
        match self {
            Self::Together(piece) => numbers.extend_from_slice(piece),
            Self::Apart(pieces) => pieces.iter().for_each(|piece| numbers.extend_from_slice(piece)),
        }
    }

    /// Copies them into a place of just their size; false, and what is there may be anything, if it is of another.
    #[must_use]
    pub fn copy_to(self, place: &mut [f32]) -> bool {
        let pieces = match self {
            Self::Together(ref piece) => std::slice::from_ref(piece),
            Self::Apart(pieces) => pieces,
        };
        let mut rest = place;
        for piece in pieces {
            let Some((here, after)) = rest.split_at_mut_checked(piece.len()) else { return false };
            here.copy_from_slice(piece);
            rest = after;
        }
        rest.is_empty()
    }
}

impl<'a> From<&'a Tensor> for TensorView<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Self::new(&tensor.shape, &tensor.data)
    }
}

/// An input or output of a graph as the file declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub name: String,
    /// ONNX element type in lower case: `float32`, `float16`, `int64`…
    pub dtype: String,
    /// One entry an axis; a dynamic one carries its symbol where it has one.
    pub shape: Vec<Axis>,
}

impl Port {
    #[must_use]
    pub fn is_f32(&self) -> bool {
        self.dtype == "float32"
    }

    /// Whether a session takes float32 for this input, converting it where the graph wants other numbers.
    #[must_use]
    pub fn takes_f32(&self) -> bool {
        matches!(self.dtype.as_str(), "float32" | "float16" | "uint8")
    }

    /// Whether a session gives this output as float32, converting it where the graph gives other numbers.
    #[must_use]
    pub fn gives_f32(&self) -> bool {
        matches!(self.dtype.as_str(), "float32" | "float16" | "float64")
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Axis {
    Fixed(usize),
    Dynamic(String),
}

impl std::fmt::Display for Axis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Dynamic(symbol) if symbol.is_empty() => f.write_str("?"),
            Self::Dynamic(symbol) => f.write_str(symbol),
        }
    }
}

/// What a graph says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphInfo {
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    /// Of the default operator set.
    pub opset: Option<u32>,
    pub producer: Option<String>,
    /// How many nodes run on which execution provider.
    pub placement: BTreeMap<String, usize>,
    /// The device the session ended up on: never [`Device::Auto`].
    pub device: Device,
}

impl GraphInfo {
    #[must_use]
    pub fn input(&self, name: &str) -> Option<&Port> {
        self.inputs.iter().find(|port| port.name == name)
    }

    #[must_use]
    pub fn output(&self, name: &str) -> Option<&Port> {
        self.outputs.iter().find(|port| port.name == name)
    }
}

/// How CUDA devices are used, by every session on one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CudaOptions {
    /// What one session may take of the device's memory for its tensors; 0: as much as there is.
    pub memory_bytes: usize,
    /// Whether products may be rounded to TF32.
    pub tf32: bool,
}

/// How a session is opened.
#[derive(Debug, Clone, Copy)]
pub struct SessionOptions {
    pub device: Device,
    /// Threads inside one run; 1 starts no pool.
    pub threads: usize,
}

/// Ends a run from another thread.
pub trait Stop: Send + Sync {
    fn stop(&self);
}

/// A loaded graph, owned by the one thread that runs it.
pub trait Runner: Send {
    /// A handle that ends the next run, and only that one.
    fn prepare(&mut self) -> Result<Arc<dyn Stop>>;

    /// Runs the graph on one tensor for each of its inputs, in the graph's order; the outputs come in the graph's
    /// order. A stopped run is `deadline_exceeded`.
    fn run(&mut self, inputs: &[TensorView<'_>]) -> Result<Vec<Tensor>>;

    /// Makes runs give the outputs and take the axes of the binding. A runner that has no file leaves it at that.
    fn configure(&mut self, _binding: &Binding) {}

    /// Lets go, once the next run is done, of memory that only larger runs before it needed.
    fn shrink(&mut self) {}
}

/// Opens graphs; the seam at which tests put scripted ones.
pub trait GraphLoader: Send + Sync {
    /// Opens a graph file once; `Err` says what is wrong with the file or the device.
    fn open(&self, file: &Path, options: SessionOptions) -> Result<(Box<dyn Runner>, GraphInfo)>;

    /// The device that `asked` stands for here: what it says, unless it is [`Device::Auto`].
    fn device(&self, asked: Device) -> Device {
        if asked == Device::Auto { Device::Cpu } else { asked }
    }
}

/// Cores that this process may use: cgroup limits and affinity counted in.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn from_ort(what: impl Into<std::borrow::Cow<'static, str>>, error: &ort::Error) -> Error {
    Error::internal(what).with_source(reason::plain(&error.to_string()))
}
