//! Execution providers: the rule that a device asked for and missing is an error, never a silent CPU.
//!
//! Three levels guard it: the library must be built with the provider; its libraries must load when the session is
//! made; and after that no heavy operator may have been left on the CPU.

use std::collections::BTreeMap;

use ort::ep::ExecutionProvider;

use crate::{
    domain::Device,
    error::{Error, Result},
};

/// Operators that carry a network's work; one of them on the CPU means the device was not really used.
const HEAVY: [&str; 20] = [
    "Conv",
    "ConvTranspose",
    "MatMul",
    "Gemm",
    "Attention",
    "MultiHeadAttention",
    "FusedConv",
    "FusedMatMul",
    "FusedGemm",
    "NhwcConv",
    "ConvInteger",
    "MatMulInteger",
    "DynamicQuantizeMatMul",
    "MatMulIntegerToFloat",
    "QLinearConv",
    "QLinearMatMul",
    "QGemm",
    "MatMulNBits",
    "LSTM",
    "GRU",
];

/// The provider that `device` stands for, to be appended to a session; none for the CPU.
pub(super) fn dispatch(device: Device) -> Result<Option<ort::ep::ExecutionProviderDispatch>> {
    match device {
        Device::Cpu | Device::Auto => Ok(None),
        Device::Cuda(number) => {
            if !cuda_is_built_in() {
                return Err(Error::unavailable(format!(
                    "device cuda:{number} was asked for, but this onnx runtime library is built without cuda; install \
                     onnxruntime-gpu, or set device = \"cpu\" or \"auto\""
                )));
            }
            let number = i32::try_from(number)
                .map_err(|_| Error::invalid_request(format!("there is no cuda device {number}")))?;
            // TF32 would silently round every product to 10 bits of mantissa
            let provider = ort::ep::CUDA::default().with_device_id(number).with_tf32(false).build();
            Ok(Some(provider.error_on_failure()))
        }
    }
}

pub(super) fn cuda_is_built_in() -> bool {
    ort::ep::CUDA::is_available().unwrap_or(false)
}

/// Refuses a session on `device` that left heavy operators on the CPU. `placed` maps provider → operator → count.
pub(super) fn check_placement(device: Device, placed: &BTreeMap<String, BTreeMap<String, usize>>) -> Result<()> {
    let Device::Cuda(number) = device else { return Ok(()) };
    let Some(on_cpu) = placed.get("CPUExecutionProvider") else { return Ok(()) };
    let heavy: Vec<String> = HEAVY
        .iter()
        .filter_map(|operator| on_cpu.get(*operator).map(|count| format!("{count} × {operator}")))
        .collect();
    if heavy.is_empty() {
        Ok(())
    } else {
        Err(Error::unavailable(format!(
            "device cuda:{number} was asked for, but onnx runtime put {} on the cpu",
            heavy.join(", ")
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(provider: &str, operator: &str) -> BTreeMap<String, BTreeMap<String, usize>> {
        BTreeMap::from([(provider.to_owned(), BTreeMap::from([(operator.to_owned(), 2)]))])
    }

    #[test]
    fn a_heavy_operator_left_on_the_cpu_is_refused_only_where_a_gpu_was_asked_for() {
        let error = check_placement(Device::Cuda(0), &placed("CPUExecutionProvider", "Conv")).unwrap_err();
        assert!(error.message().contains("2 × Conv"), "{error}");
        assert!(check_placement(Device::Cuda(0), &placed("CPUExecutionProvider", "Shape")).is_ok());
        assert!(check_placement(Device::Cuda(0), &placed("CUDAExecutionProvider", "Conv")).is_ok());
        assert!(check_placement(Device::Cpu, &placed("CPUExecutionProvider", "Conv")).is_ok());
    }
}
