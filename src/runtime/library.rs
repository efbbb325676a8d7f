//! Where the ONNX Runtime library is, and loading it once a process.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use super::{
    CudaOptions, GraphInfo, GraphLoader, Runner, SessionOptions, probe,
    session::{self, Place},
};
use crate::{
    domain::Device,
    error::{Error, Result},
};

/// The file name the platform's linker gives the library.
const FILE_NAME: &str = if cfg!(target_os = "macos") { "libonnxruntime.dylib" } else { "libonnxruntime.so" };

const HOW_TO_GET_IT: &str = "run `make onnxruntime`, or `pip install onnxruntime` and point LATENTD_ONNXRUNTIME at its \
                             capi/libonnxruntime file";

/// One environment per process, ever: ONNX Runtime allows no second, so it is kept to the end.
static LOADED: OnceLock<Result<Runtime, String>> = OnceLock::new();

/// A loaded ONNX Runtime library.
#[derive(Debug, Clone)]
pub struct Runtime {
    place: Place,
    build: String,
    /// What `auto` stands for, found out once.
    automatic: Arc<OnceLock<Device>>,
}

impl Runtime {
    /// Loads the library from `configured`, or where it is usually found: `ORT_DYLIB_PATH`, beside the executable,
    /// `../lib/latentd` from there, `.ort/lib` in the working directory, and last the system's own search. The first
    /// call decides for the whole process. The library's telemetry is switched off before it is loaded.
    pub fn load(configured: Option<&Path>) -> Result<Self> {
        LOADED
            .get_or_init(|| {
                let path = configured.map_or_else(find, Path::to_path_buf);
                load_from(&path)
            })
            .clone()
            .map_err(Error::unavailable)
    }

    /// The same library, using CUDA devices in another way.
    #[must_use]
    pub fn with_cuda(mut self, options: CudaOptions) -> Self {
        self.place.cuda = options;
        self.automatic = Arc::default();
        self
    }

    /// Runs one small convolution on a device that was asked for by name.
    ///
    /// # Errors
    /// `unavailable`, with the library or the device that is missing.
    pub fn check(&self, device: Device) -> Result<()> {
        if device == Device::Auto { Ok(()) } else { probe::run(&self.place, device) }
    }

    /// The file that was loaded.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.place.library
    }

    #[cfg(test)]
    pub(super) const fn place(&self) -> &Place {
        &self.place
    }

    /// The library's own words on its version and build.
    #[must_use]
    pub fn build(&self) -> &str {
        &self.build
    }
}

impl GraphLoader for Runtime {
    fn open(&self, file: &Path, options: SessionOptions) -> Result<(Box<dyn Runner>, GraphInfo)> {
        let device = self.device(options.device);
        let opened = session::open(&self.place, file, SessionOptions { device, ..options });
        match (options.device, device) {
            (Device::Auto, Device::Cuda(_)) => opened.or_else(|error| {
                tracing::warn!(file = %file.display(), reason = %error.chain(), "device auto falls back to the cpu");
                session::open(&self.place, file, SessionOptions { device: Device::Cpu, ..options })
            }),
            _ => opened,
        }
    }

    fn device(&self, asked: Device) -> Device {
        if asked != Device::Auto {
            return asked;
        }
        *self.automatic.get_or_init(|| match self.check(Device::Cuda(0)) {
            Ok(()) => Device::Cuda(0),
            Err(error) => {
                tracing::warn!(reason = %error.chain(), "device auto falls back to the cpu");
                Device::Cpu
            }
        })
    }
}

/// Forbids ONNX Runtime to report anything to its makers, in the one way that works before the library's start-up
/// code runs. The program calls it first thing in `main`.
pub fn forbid_telemetry() {
    const SWITCH: &str = "ORT_DISABLE_TELEMETRY";
    if std::env::var_os(SWITCH).is_none() {
        #[expect(unsafe_code, reason = "the environment is written before other threads of ours read it")]
        unsafe {
            std::env::set_var(SWITCH, "1");
        }
    }
}

fn find() -> PathBuf {
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH") {
        return path.into();
    }
    let executable = std::env::current_exe().ok();
    let beside = executable.as_deref().and_then(Path::parent);
    let candidates = [
        beside.map(|folder| folder.join(FILE_NAME)),
        beside.map(|folder| folder.join("../lib/latentd").join(FILE_NAME)),
        std::env::current_dir().ok().map(|folder| folder.join(".ort/lib").join(FILE_NAME)),
    ];
    candidates.into_iter().flatten().find(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(FILE_NAME))
}

fn load_from(path: &Path) -> Result<Runtime, String> {
    forbid_telemetry();
    let builder = ort::init_from(path).map_err(|error| complaint(path, &error))?;
    let environment = builder
        .with_name("latentd")
        .with_telemetry(false)
        .build()
        .map_err(|error| format!("onnx runtime at {} did not start: {error}", path.display()))?;
    let place = Place { environment, library: path.to_path_buf(), cuda: CudaOptions::default() };
    Ok(Runtime { place, build: ort::info().to_owned(), automatic: Arc::default() })
}

/// One line: what is wrong with the library, and what to do.
fn complaint(path: &Path, error: &ort::LoadDynamicError) -> String {
    // the display of a failed dlopen leaves the loader's own reason out; only its debug form has it
    let detail = format!("{error:?}");
    let reason = if detail.contains("wrong ELF class") || detail.contains("incompatible architecture") {
        "it is built for another processor".to_owned()
    } else if path.components().count() > 1 && !path.exists() {
        "there is no such file".to_owned()
    } else if path.is_dir() {
        "it is a folder, not a library".to_owned()
    } else if detail.contains("cannot open shared object file") && path.components().count() == 1 {
        "it is not installed".to_owned()
    } else {
        error.to_string()
    };
    format!("cannot load onnx runtime from {}: {reason}; {HOW_TO_GET_IT}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a test of this module again in a process of its own, and tells whether this is that process: once a
    /// library is loaded, as other tests do, no process looks at a second one.
    fn is_alone(test: &str) -> bool {
        const ALONE: &str = "LATENTD_TEST_ALONE";
        if std::env::var_os(ALONE).is_some() {
            return true;
        }
        let name = format!("{}::{test}", module_path!().trim_start_matches("latentd::"));
        let run = std::process::Command::new(std::env::current_exe().unwrap())
            .args([name.as_str(), "--exact", "--nocapture"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&run.stderr));
        false
    }

    #[test]
    fn a_missing_library_is_one_line_that_says_what_to_do() {
        if !is_alone("a_missing_library_is_one_line_that_says_what_to_do") {
            return;
        }
        let error = load_from(Path::new("/nonexistent/libonnxruntime.so")).unwrap_err();
        assert!(error.contains("there is no such file") && error.contains("pip install onnxruntime"), "{error}");
        assert_eq!(error.lines().count(), 1);
    }

    #[test]
    fn a_library_for_another_processor_or_of_another_kind_is_named() {
        if !is_alone("a_library_for_another_processor_or_of_another_kind_is_named") {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let error = load_from(folder.path()).unwrap_err();
        assert!(error.contains("folder"), "{error}");

        // an ELF header of a 32-bit library
        let file = folder.path().join("lib32.so");
        let mut header = vec![0u8; 4096];
        header[..7].copy_from_slice(b"\x7fELF\x01\x01\x01");
        header[16] = 3;
        header[18] = 3;
        header[20] = 1;
        std::fs::write(&file, &header).unwrap();
        let error = load_from(&file).unwrap_err();
        assert!(error.contains("another processor") || error.contains("lib32.so"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }

    #[test]
    fn telemetry_is_off_in_the_environment_before_the_library_loads() {
        forbid_telemetry();
        assert!(std::env::var_os("ORT_DISABLE_TELEMETRY").is_some());
    }
}
