//! Files of a folder. Taken in by `#[path]`, as a file of a test's own.

use std::path::{Path, PathBuf};

/// How many files lie below a folder.
#[allow(dead_code, reason = "not every test that asks for files counts them")]
pub fn files_below(folder: &Path) -> usize {
    paths_below(folder).len()
}

/// Every file below a folder; none if there is no such folder.
pub fn paths_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { paths_below(&path) } else { vec![path] }).collect()
}
