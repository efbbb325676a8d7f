//! What the CUDA provider needs from outside ONNX Runtime: NVIDIA's driver, CUDA and cuDNN.
//!
//! The provider names these libraries without a path. The dynamic linker takes one that is loaded already before it
//! searches for it, so loading them beforehand from the folder `cuda` beside the ONNX Runtime library makes
//! `LD_LIBRARY_PATH` unnecessary, and tells which one is missing.

use std::{error::Error as _, path::Path};

use ort::ep::{
    ExecutionProvider as _,
    cuda::{CUDA_DYLIBS, CUDNN_DYLIBS, ConvAlgorithmSearch},
};

use super::CudaOptions;
use crate::error::{Error, Result};

/// Comes with the driver, so no wheel has it.
const DRIVER: &str = "libcuda.so.1";

/// Beside the ONNX Runtime library, as scripts/fetch-onnxruntime.sh makes it.
const FOLDER: &str = "cuda";

/// Loaded by the provider when a graph holds a Fourier transform, which none that we know does.
const OPTIONAL: [&str; 1] = ["libcufft.so.12"];

const OR_ELSE: &str = "or set device = \"cpu\" or \"auto\"";

/// The provider for a device, once everything that it needs is loaded. `library` is the ONNX Runtime library's path.
pub(super) fn provider(
    number: u32,
    library: &Path,
    options: CudaOptions,
) -> Result<ort::ep::ExecutionProviderDispatch> {
    let asked = format!("device cuda:{number} was asked for");
    if !is_built_in() {
        return Err(Error::unavailable(format!(
            "{asked}, but this onnx runtime library is built without cuda; take that of onnxruntime-gpu (`make run \
             DEVICE=cuda` in a checkout), {OR_ELSE}"
        )));
    }
    preload(DRIVER, library).map_err(|reason| Error::unavailable(format!("{asked}, but {reason}")))?;
    let number =
        i32::try_from(number).map_err(|_| Error::invalid_request(format!("there is no cuda device {number}")))?;
    let mut provider = ort::ep::CUDA::default()
        .with_device_id(number)
        // TF32 rounds the factors of every product to 10 bits of mantissa
        .with_tf32(options.tf32)
        // an exhaustive search would run again for every new size of a batch
        .with_conv_algorithm_search(ConvAlgorithmSearch::Heuristic);
    if options.memory_bytes > 0 {
        provider = provider.with_memory_limit(options.memory_bytes);
    }
    Ok(provider.build().error_on_failure())
}

pub(super) fn is_built_in() -> bool {
    ort::ep::CUDA::is_available().unwrap_or(false)
}

/// Loads the driver and what the provider is linked against, in an order in which each finds what it needs itself.
fn preload(driver: &str, library: &Path) -> Result<(), String> {
    load(Path::new(driver)).map_err(|reason| {
        format!(
            "{reason}: it comes with NVIDIA's driver; install that (580 or newer), start a container with --gpus all, \
             {OR_ELSE}"
        )
    })?;
    // a link's own folder first would miss the libraries that lie beside what it points at
    let library = library.canonicalize().unwrap_or_else(|_| library.to_path_buf());
    let folder = library.parent().map(|parent| parent.join(FOLDER));
    for name in CUDA_DYLIBS.iter().chain(CUDNN_DYLIBS) {
        let beside = folder.as_ref().map(|folder| folder.join(name)).filter(|path| path.exists());
        let loaded = load(beside.as_deref().unwrap_or(Path::new(name)));
        if let (Err(reason), false) = (loaded, OPTIONAL.contains(name)) {
            return Err(format!(
                "{reason}; `make onnxruntime DEVICE=cuda` fetches CUDA and cuDNN into the folder `{FOLDER}` beside the \
                 onnx runtime library, {OR_ELSE}"
            ));
        }
    }
    Ok(())
}

/// Loads a library for the rest of the process; a name without a folder is searched for as the linker does it.
fn load(path: &Path) -> Result<(), String> {
    // the display of a failed load leaves the linker's own words out
    ort::util::preload_dylib(path)
        .map_err(|error| complaint(path, &error.source().map_or_else(|| error.to_string(), ToString::to_string)))
}

/// The linker's words on `path`, with the missing library named first.
fn complaint(path: &Path, words: &str) -> String {
    let wanted = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    match words.split_once(": cannot open shared object file") {
        Some((missing, _)) if missing == wanted => format!("{missing} is not there"),
        Some((missing, _)) => format!("{missing}, which {wanted} needs, is not there"),
        None => format!("{wanted} cannot be loaded ({words})"),
    }
}

/// What ONNX Runtime says of a failure, cut down to CUDA's own words where it holds them.
pub(super) fn reason(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    match line.split_once("CUDA failure ").or_else(|| line.split_once("CUDNN failure ")) {
        // "100: no CUDA-capable device is detected ; GPU=0 ; hostname=… ; file=… ; expr=…;"
        Some((_, rest)) => rest.split(" ; ").next().unwrap_or(rest).trim_start_matches(|c: char| c.is_ascii_digit()),
        None => line,
    }
    .trim_start_matches(": ")
    .trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A library that every Linux has, in the driver's place.
    const ANY: &str = "libc.so.6";

    #[test]
    #[cfg(target_os = "linux")]
    fn without_a_driver_the_error_names_its_library_and_says_what_to_do() {
        let error = preload("libnot-a-driver.so.1", Path::new("/nonexistent/libonnxruntime.so")).unwrap_err();
        assert!(error.starts_with("libnot-a-driver.so.1 is not there: it comes with NVIDIA's driver"), "{error}");
        assert!(error.contains("device = \"cpu\""), "{error}");
        assert_eq!(error.lines().count(), 1);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_first_library_that_cannot_be_loaded_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("real");
        std::fs::create_dir_all(real.join(FOLDER)).unwrap();
        std::fs::write(real.join("libonnxruntime.so"), b"").unwrap();
        let link = folder.path().join("libonnxruntime.so");
        std::os::unix::fs::symlink(real.join("libonnxruntime.so"), &link).unwrap();
        std::fs::write(real.join(FOLDER).join(CUDA_DYLIBS[0]), b"not a library").unwrap();
        // found beside what the link points at, and no library
        let error = preload(ANY, &link).unwrap_err();
        assert!(error.starts_with(&format!("{} cannot be loaded (", CUDA_DYLIBS[0])), "{error}");
        assert!(error.contains("make onnxruntime DEVICE=cuda"), "{error}");
        assert_eq!(error.lines().count(), 1);
    }

    #[test]
    fn the_linkers_words_become_the_name_of_what_is_missing() {
        let words = "libz.so.1: cannot open shared object file: No such file or directory";
        assert_eq!(complaint(Path::new("libz.so.1"), words), "libz.so.1 is not there");
        assert_eq!(
            complaint(Path::new("/cuda/libcudnn_graph.so.9"), words),
            "libz.so.1, which libcudnn_graph.so.9 needs, is not there"
        );
    }

    #[test]
    fn cudas_own_words_are_cut_out_of_onnx_runtimes() {
        let text = "/onnxruntime_src/cuda_call.cc:129 std::conditional_t<...> onnxruntime::CudaCall(...) CUDA failure \
                    100: no CUDA-capable device is detected ; GPU=-1 ; hostname=host ; file=cuda.cc ; line=289 ; \
                    expr=cudaSetDevice(info_.device_id); \nmore";
        assert_eq!(reason(text), "no CUDA-capable device is detected");
        assert_eq!(reason("Load model from x.onnx failed.\nmore"), "Load model from x.onnx failed");
    }
}
