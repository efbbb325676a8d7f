//! Execution providers: the rule that a device asked for and missing is an error, never a silent CPU.
//!
//! Three levels guard it: the library must be built with the provider; its libraries must load when the session is
//! made; and after that no heavy operator may have been left on the CPU.

use std::{collections::BTreeMap, path::Path};

use super::{CudaOptions, cuda};
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

/// Provider → operator → number of nodes.
pub(super) type Placement = BTreeMap<String, BTreeMap<String, usize>>;

/// The provider that `device` stands for, to be appended to a session; none for the CPU.
pub(super) fn dispatch(
    device: Device,
    library: &Path,
    options: CudaOptions,
) -> Result<Option<ort::ep::ExecutionProviderDispatch>> {
    match device {
        Device::Cpu | Device::Auto => Ok(None),
        Device::Cuda(number) => cuda::provider(number, library, options).map(Some),
    }
}

/// Refuses a session on `device` that left heavy operators on the CPU.
pub(super) fn check_placement(device: Device, placed: &Placement) -> Result<()> {
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

/// One line: how many nodes are where, and which operators the CPU got where it is not alone.
pub(super) fn report(placed: &Placement) -> String {
    let line = |(provider, operators): (&String, &BTreeMap<String, usize>)| {
        let count: usize = operators.values().sum();
        let named: Vec<String> = operators.iter().map(|(operator, count)| format!("{count} × {operator}")).collect();
        let detail = provider == "CPUExecutionProvider" && placed.len() > 1;
        if detail { format!("{provider} {count} ({})", named.join(", ")) } else { format!("{provider} {count}") }
    };
    placed.iter().map(line).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(provider: &str, operator: &str) -> Placement {
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

    #[test]
    fn the_report_names_what_the_cpu_got_beside_a_gpu() {
        let mut both = placed("CUDAExecutionProvider", "Conv");
        both.extend(placed("CPUExecutionProvider", "Shape"));
        assert_eq!(report(&both), "CPUExecutionProvider 2 (2 × Shape); CUDAExecutionProvider 2");
        assert_eq!(report(&placed("CPUExecutionProvider", "Conv")), "CPUExecutionProvider 2");
    }
}
