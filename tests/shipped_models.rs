//! Every model folder that ships is whole, small, and agrees with its golden outputs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what a test takes for granted is a part of what it proves"
)]

use std::{fs, path::PathBuf, process::Command};

const MAX_FILE_BYTES: u64 = 12_000_000;

fn folders() -> Vec<PathBuf> {
    let models = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models");
    let mut folders: Vec<PathBuf> =
        fs::read_dir(models).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    assert!(!folders.is_empty(), "no model ships");
    folders
}

#[test]
fn each_folder_has_its_card_figures_and_golden_outputs_and_no_large_file() {
    for folder in folders() {
        for name in ["model.toml", "README.md", "metrics.json", "golden.npz"] {
            assert!(folder.join(name).is_file(), "{} has no {name}", folder.display());
        }
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let size = entry.metadata().unwrap().len();
            assert!(size < MAX_FILE_BYTES, "{} has {size} bytes", entry.path().display());
        }
        let figures: serde_json::Value =
            serde_json::from_slice(&fs::read(folder.join("metrics.json")).unwrap()).expect("metrics.json is JSON");
        assert!(figures.is_object());
    }
}

#[test]
fn each_folder_loads_and_agrees_with_its_golden_outputs() {
    for folder in folders() {
        let output = Command::new(env!("CARGO_BIN_EXE_latentd"))
            .arg("inspect")
            .arg(&folder)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}:\n{text}\n{errors}", folder.display());
        assert!(text.contains("all within tolerance"), "the golden outputs were not replayed:\n{text}");
    }
}
