//! What is wanted of a graph otherwise than its file declares it: fewer outputs, images with their channels first, and
//! other numbers than float32. A session converts, so that every other room sees float32 and channels first.

use half::f16;
use ort::{
    session::SessionInputValue,
    value::{DynValue, Tensor as OrtTensor},
};

use super::{Axis, GraphInfo, Port, Tensor, from_ort};
use crate::error::{Error, Result};

/// The outputs and axes that a session's runs have; a session that is not bound has those of its file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Binding {
    /// The outputs that runs give, by name; all others are dropped.
    pub outputs: Vec<String>,
    /// The inputs and outputs, by name, whose images the graph has as `[batch, height, width, channels]`.
    pub channels_last: Vec<String>,
}

impl Binding {
    fn is_channels_last(&self, name: &str) -> bool {
        self.channels_last.iter().any(|other| other == name)
    }

    /// The description with images as callers see them, channels first.
    #[must_use]
    pub fn channels_first(&self, info: &GraphInfo) -> GraphInfo {
        let turned = |port: &Port| match &port.shape[..] {
            [batch, height, width, channels] if self.is_channels_last(&port.name) => {
                let shape: Vec<Axis> = [batch, channels, height, width].map(Clone::clone).into();
                Port { shape, ..port.clone() }
            }
            _ => port.clone(),
        };
        GraphInfo {
            inputs: info.inputs.iter().map(turned).collect(),
            outputs: info.outputs.iter().map(turned).collect(),
            ..info.clone()
        }
    }

    /// The description with the outputs that runs give.
    #[must_use]
    pub fn without_dropped(&self, info: GraphInfo) -> GraphInfo {
        let outputs = info.outputs.into_iter().filter(|port| self.outputs.contains(&port.name)).collect();
        GraphInfo { outputs, ..info }
    }
}

/// The form in which a session has an input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) name: String,
    dtype: String,
    channels_last: bool,
}

impl Form {
    pub(super) fn of(port: &Port) -> Self {
        Self { name: port.name.clone(), dtype: port.dtype.clone(), channels_last: false }
    }

    pub(super) fn bind(&mut self, binding: &Binding) {
        self.channels_last = binding.is_channels_last(&self.name);
    }

    /// Whether numbers are taken and given as they are.
    pub(super) fn is_plain(&self) -> bool {
        self.dtype == "float32" && !self.channels_last
    }

    /// The numbers in the form that the session takes.
    pub(super) fn convert(&self, shape: &[usize], numbers: &[f32]) -> Result<SessionInputValue<'static>> {
        let (shape, numbers) =
            if self.channels_last { channels_moved_last(shape, numbers) } else { (shape.to_vec(), numbers.to_vec()) };
        let value = match self.dtype.as_str() {
            "float16" => {
                let halves: Vec<f16> = numbers.into_iter().map(f16::from_f32).collect();
                OrtTensor::from_array((shape, halves)).map(SessionInputValue::from)
            }
            "uint8" => {
                // The conversion saturates, and a NaN becomes 0.
                let bytes: Vec<u8> = numbers.into_iter().map(|value| value.round() as u8).collect();
                OrtTensor::from_array((shape, bytes)).map(SessionInputValue::from)
            }
            _ => OrtTensor::from_array((shape, numbers)).map(SessionInputValue::from),
        };
        value.map_err(|error| from_ort("an input tensor does not fit its shape", &error))
    }

    /// The numbers that the session gave, as float32 with channels first.
    pub(super) fn extract(&self, value: &DynValue) -> Result<Tensor> {
        let name = &self.name;
        let unreadable = |error: ort::Error| from_ort(format!("output {name} is not a tensor of floats"), &error);
        let (shape, data) = match self.dtype.as_str() {
            "float16" => {
                let (shape, halves) = value.try_extract_tensor::<f16>().map_err(unreadable)?;
                (shape, halves.iter().map(|half| half.to_f32()).collect())
            }
            "float64" => {
                let (shape, doubles) = value.try_extract_tensor::<f64>().map_err(unreadable)?;
                (shape, doubles.iter().map(|double| *double as f32).collect())
            }
            _ => {
                let (shape, floats) = value.try_extract_tensor::<f32>().map_err(unreadable)?;
                (shape, floats.to_vec())
            }
        };
        let tensor = Tensor { shape: shape.iter().map(|&size| usize::try_from(size).unwrap_or(0)).collect(), data };
        if !self.channels_last {
            return Ok(tensor);
        }
        channels_moved_first(&tensor)
            .ok_or_else(|| Error::internal(format!("output {name} came as {:?}, not as images", tensor.shape)))
    }
}

/// `[batch, channels, height, width]` as `[batch, height, width, channels]`; another shape is left as it is.
fn channels_moved_last(shape: &[usize], numbers: &[f32]) -> (Vec<usize>, Vec<f32>) {
    let &[batch, channels, height, width] = shape else { return (shape.to_vec(), numbers.to_vec()) };
    (vec![batch, height, width, channels], transposed(numbers, channels, height * width))
}

/// `[batch, height, width, channels]` as `[batch, channels, height, width]`; none for another shape.
#[must_use]
pub fn channels_moved_first(tensor: &Tensor) -> Option<Tensor> {
    let [batch, height, width, channels] = tensor.shape[..] else { return None };
    let data = transposed(&tensor.data, height * width, channels);
    Some(Tensor { shape: vec![batch, channels, height, width], data })
}

/// Each matrix of `rows` × `columns` that follows another in the numbers, transposed.
fn transposed(numbers: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut turned = Vec::with_capacity(numbers.len());
    for matrix in numbers.chunks_exact((rows * columns).max(1)) {
        turned.extend((0..columns).flat_map(|column| matrix.iter().skip(column).step_by(columns)));
    }
    turned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_moved_last_and_back() {
        let numbers: Vec<f32> = (0..24).map(|at| at as f32).collect();
        let (shape, last) = channels_moved_last(&[2, 3, 1, 4], &numbers);
        assert_eq!((&shape[..], &last[..6]), (&[2, 1, 4, 3][..], &[0.0, 4.0, 8.0, 1.0, 5.0, 9.0][..]));
        let first = channels_moved_first(&Tensor { shape, data: last }).unwrap();
        assert_eq!((first.shape, first.data), (vec![2, 3, 1, 4], numbers));
    }
}
