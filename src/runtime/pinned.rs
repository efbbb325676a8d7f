//! Runs whose tensors lie in pinned host memory, which a GPU reads and writes by itself.
//!
//! Inputs are copied there once and bound; outputs are written there by the device. Nothing here is CUDA's own: on the
//! CPU the same code runs with ordinary memory, which is how it is tested where there is no GPU.

use ort::{
    memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType},
    session::{IoBinding, NoSelectedOutputs, RunOptions, Session},
    value,
};

use super::{Port, Tensor, TensorView};

/// Fields go in this order, and all of them before the session.
pub(super) struct Pinned {
    /// Of the last run, one for each of the graph's inputs: taken again where the shape is the same.
    inputs: Vec<Option<value::Tensor<f32>>>,
    binding: IoBinding,
    allocator: Allocator,
    memory: MemoryInfo<'static>,
    input_names: Vec<String>,
    output_names: Vec<String>,
    worked: bool,
}

impl Pinned {
    pub(super) fn on_cuda(session: &Session, number: u32, ports: (&[Port], &[Port])) -> ort::Result<Self> {
        Self::new(session, AllocationDevice::CUDA_PINNED, i32::try_from(number).unwrap_or(i32::MAX), ports)
    }

    #[cfg(test)]
    pub(super) fn on_cpu(session: &Session, ports: (&[Port], &[Port])) -> ort::Result<Self> {
        Self::new(session, AllocationDevice::CPU, 0, ports)
    }

    fn new(
        session: &Session,
        device: AllocationDevice<'_>,
        number: i32,
        (inputs, outputs): (&[Port], &[Port]),
    ) -> ort::Result<Self> {
        let memory = MemoryInfo::new(device, number, AllocatorType::Device, MemoryType::CPUOutput)?;
        let names = |ports: &[Port]| ports.iter().map(|port| port.name.clone()).collect();
        Ok(Self {
            inputs: inputs.iter().map(|_| None).collect(),
            binding: session.create_binding()?,
            allocator: Allocator::new(session, memory.clone())?,
            memory,
            input_names: names(inputs),
            output_names: names(outputs),
            worked: false,
        })
    }

    /// Binds these outputs alone.
    pub(super) fn retain_outputs(&mut self, names: &[String]) {
        self.output_names.retain(|name| names.contains(name));
    }

    /// Whether any run has gone through.
    pub(super) const fn has_worked(&self) -> bool {
        self.worked
    }

    /// Runs the graph on one tensor for each of its inputs, in the graph's order.
    pub(super) fn run(
        &mut self,
        session: &mut Session,
        views: &[TensorView<'_>],
        options: &RunOptions<NoSelectedOutputs>,
    ) -> ort::Result<Vec<Tensor>> {
        for ((name, slot), view) in self.input_names.iter().zip(&mut self.inputs).zip(views) {
            let fits = |tensor: &value::Tensor<f32>| {
                tensor.shape().iter().map(|&size| usize::try_from(size).ok()).eq(view.shape.iter().copied().map(Some))
            };
            let mut tensor = match slot.take().filter(fits) {
                Some(tensor) => tensor,
                None => value::Tensor::new(&self.allocator, view.shape)?,
            };
            if !view.numbers.copy_to(tensor.extract_tensor_mut().1) {
                return Err(ort::Error::new("an input tensor does not fit its shape"));
            }
            self.binding.bind_input(name.as_str(), &tensor)?;
            *slot = Some(tensor);
        }
        // anew for each run: what a run has put there would be taken for the place of the next one's
        for name in &self.output_names {
            self.binding.bind_output_to_device(name.as_str(), &self.memory)?;
        }
        let outputs = session.run_binding_with_options(&self.binding, options)?;
        self.binding.synchronize_outputs()?;
        let outputs = self
            .output_names
            .iter()
            .map(|name| {
                let (shape, data) = outputs[name.as_str()].try_extract_tensor::<f32>()?;
                let shape = shape.iter().map(|&size| usize::try_from(size).unwrap_or(0)).collect();
                Ok(Tensor { shape, data: data.to_vec() })
            })
            .collect::<ort::Result<_>>()?;
        self.worked = true;
        Ok(outputs)
    }
}
