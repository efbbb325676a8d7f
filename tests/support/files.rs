//! What lies in a folder. Taken in by `#[path]`, as a file of a test's own.

use std::path::Path;

/// How many files there are, in folders below too; none where there is no folder.
pub fn files_below(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files_below(&path) } else { 1 }).sum()
}
