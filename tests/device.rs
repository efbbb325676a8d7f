//! A server that is asked for a device which is not there.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what a test takes for granted is a part of what it proves"
)]

use std::{path::Path, process::Command};

#[test]
fn a_server_asked_for_a_gpu_that_is_not_there_does_not_start_and_says_why_in_one_line() {
    let data = tempfile::tempdir().unwrap();
    let library = if cfg!(target_os = "macos") { "libonnxruntime.dylib" } else { "libonnxruntime.so" };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let configured = std::env::var_os("LATENTD_ONNXRUNTIME").map(Into::into);
    // number 99 is missing on machines with GPUs too
    let ended = Command::new(env!("CARGO_BIN_EXE_latentd"))
        .args(["serve", "--listen", "127.0.0.1:0", "--set", "runtime.device=cuda:99", "--set", "log.level=off"])
        .arg("--onnxruntime")
        .arg(configured.unwrap_or_else(|| root.join(".ort/lib").join(library)))
        .arg("--models")
        .arg(root.join("tests/data/models"))
        .arg("--data")
        .arg(data.path())
        .current_dir(data.path())
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{words}");
    assert!(words.starts_with("latentd: ") && words.contains("cuda:99"), "{words}");
    assert_eq!(words.lines().count(), 1, "{words}");
}
