//! One small convolution, to find out whether a device works before any model is loaded.

use super::{
    Runner as _, SessionOptions, TensorView,
    session::{self, Place},
};
use crate::{
    domain::Device,
    error::{Error, Result},
};

/// A graph of one node: y = Conv(x, w), each of shape [1, 1, 1, 1]. On CUDA it takes cuDNN and a kernel for the device.
const GRAPH: &[u8] = b"\x08\x08\x3a\x6f\
    \x0a\x0f\x0a\x01x\x0a\x01w\x12\x01y\x22\x04Conv\
    \x12\x05probe\
    \x5a\x1b\x0a\x01x\x12\x16\x0a\x14\x08\x01\x12\x10\x0a\x02\x08\x01\x0a\x02\x08\x01\x0a\x02\x08\x01\x0a\x02\x08\x01\
    \x5a\x1b\x0a\x01w\x12\x16\x0a\x14\x08\x01\x12\x10\x0a\x02\x08\x01\x0a\x02\x08\x01\x0a\x02\x08\x01\x0a\x02\x08\x01\
    \x62\x1b\x0a\x01y\x12\x16\x0a\x14\x08\x01\x12\x10\x0a\x02\x08\x01\x0a\x02\x08\x01\x0a\x02\x08\x01\x0a\x02\x08\x01\
    \x42\x02\x10\x0d";

/// Runs the convolution on `device`.
pub(super) fn run(place: &Place, device: Device) -> Result<()> {
    let options = SessionOptions { device, threads: 1 };
    let (mut runner, _) =
        session::open_graph(place, "a trial graph", options, |mut builder| builder.commit_from_memory(GRAPH))?;
    let shape = &[1, 1, 1, 1];
    let given = [TensorView::new(shape, &[1.5]), TensorView::new(shape, &[2.0])];
    let outputs = runner.run(&given).map_err(|error| {
        Error::unavailable(format!("device {device} does not run a trial graph: {}", error.chain()))
    })?;
    match outputs.first().and_then(|tensor| tensor.data.first()) {
        Some(product) if (product - 3.0).abs() < 1e-3 => Ok(()),
        other => Err(Error::unavailable(format!("device {device} says that 1.5 × 2 is {other:?}"))),
    }
}
