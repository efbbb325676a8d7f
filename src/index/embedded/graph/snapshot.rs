//! A graph on the disk: its file ([`mod@super::file`]), the key of each node, and a pointer that names the two.
//!
//! Saving writes two new files, syncs them, and then renames a new pointer over the old one, so the pointer always
//! names a whole graph: the old one or the new. It carries a length and a BLAKE3 of both files and the operation of the
//! log that the graph was saved after. Whatever does not fit is no error but a reason to build the graph again.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    file,
    hnsw::{Hnsw, Shape},
};
use crate::{
    domain::Metric,
    error::{Error, Result},
    index::embedded::storage::database::sync_folder,
};

/// The version of the pointer and what it names. 1 were graphs of usearch.
const FORMAT: u32 = 2;
const POINTER: &str = "current.json";
/// The folder of all graphs, beside the database.
const FOLDER: &str = "graphs";

/// A graph, the key of each of its nodes (0 for a node without an item), and the operation it was saved after.
pub(crate) struct Saved {
    pub(crate) graph: Hnsw,
    pub(crate) keys: Vec<u64>,
    pub(crate) sequence: u64,
    /// Candidates that its searches kept.
    pub(crate) expansion: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct Pointer {
    format: u32,
    sequence: u64,
    metric: Metric,
    dimension: usize,
    connectivity: usize,
    expansion_add: usize,
    /// Candidates that searches keep.
    expansion: usize,
    graph: Part,
    keys: Part,
}

/// A file as it has to be.
#[derive(Debug, Serialize, Deserialize)]
struct Part {
    name: String,
    bytes: u64,
    blake3: String,
}

/// The folder of a collection's graph.
pub(crate) fn folder_of(database: &Path, number: u32) -> PathBuf {
    database.with_file_name(FOLDER).join(number.to_string())
}

/// Removes the graphs of collections that are no longer there.
pub(crate) fn remove_orphaned(database: &Path, numbers: &HashSet<u32>) {
    let Ok(entries) = fs::read_dir(database.with_file_name(FOLDER)) else { return };
    for entry in entries.flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if number.is_some_and(|number: u32| !numbers.contains(&number)) {
            remove(&entry.path());
        }
    }
}

/// Removes a collection's graph from the disk. What stays for a failure costs space and nothing else.
pub(crate) fn remove(folder: &Path) {
    match fs::remove_dir_all(folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(folder = %folder.display(), reason = %error, "a saved graph cannot be removed");
        }
    }
}

/// Saves a graph; the one saved before stays until the new one is whole. Returns the bytes written.
pub(crate) fn save(folder: &Path, graph: &Hnsw, keys: &[u64], sequence: u64) -> Result<u64> {
    fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    let name = uuid::Uuid::new_v4().simple().to_string();
    let written = write_parts(folder, &name, graph, keys).and_then(|(graph_part, keys_part)| {
        let Shape { metric, dimension, connectivity, expansion_add, .. } = graph.shape();
        let bytes = graph_part.bytes + keys_part.bytes;
        let (expansion, graph, keys) = (graph.expansion(), graph_part, keys_part);
        let format = FORMAT;
        publish(
            folder,
            &Pointer { format, sequence, metric, dimension, connectivity, expansion_add, expansion, graph, keys },
        )?;
        Ok(bytes)
    });
    // Whichever pointer is there now, no other files are wanted.
    sweep(folder);
    written
}

/// Notes how many candidates searches of the saved graph keep, if there is one.
pub(crate) fn note_expansion(folder: &Path, expansion: usize) -> Result<()> {
    match read_pointer(folder)? {
        Some(pointer) => publish(folder, &Pointer { expansion, ..pointer }),
        None => Ok(()),
    }
}

fn write_parts(folder: &Path, name: &str, graph: &Hnsw, keys: &[u64]) -> Result<(Part, Part)> {
    let graph_name = format!("{name}.graph");
    let path = folder.join(&graph_name);
    let expected = file::write(graph, &path).map_err(|error| failed(&path, error))?;
    let graph_part = sync(&path, graph_name)?;
    if graph_part.bytes != expected {
        return Err(Error::internal(format!("a graph of {expected} bytes was saved as {}", graph_part.bytes)));
    }
    let keys_name = format!("{name}.keys");
    let path = folder.join(&keys_name);
    let bytes: Vec<u8> = keys.iter().flat_map(|key| key.to_le_bytes()).collect();
    fs::write(&path, bytes).map_err(|error| failed(&path, error))?;
    let keys_part = sync(&path, keys_name)?;
    sync_folder(folder).map_err(|error| failed(folder, error))?;
    Ok((graph_part, keys_part))
}

/// Brings a file to the disk and describes it by what can be read back.
fn sync(path: &Path, name: String) -> Result<Part> {
    let file = File::open(path).and_then(|file| file.sync_all().map(|()| file)).map_err(|error| failed(path, error))?;
    let bytes = file.metadata().map_err(|error| failed(path, error))?.len();
    Ok(Part { name, bytes, blake3: hash(path).map_err(|error| failed(path, error))? })
}

fn hash(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

fn publish(folder: &Path, pointer: &Pointer) -> Result<()> {
    let text = serde_json::to_vec(pointer).map_err(|error| Error::internal("a pointer as json").with_source(error))?;
    let (new, path) = (folder.join("new.json"), folder.join(POINTER));
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        sync_folder(folder)?;
        folder.parent().map_or(Ok(()), sync_folder)
    };
    write().map_err(|error| failed(&path, error))
}

/// Removes every file that the pointer does not name.
fn sweep(folder: &Path) {
    let pointer = read_pointer(folder).ok().flatten();
    let named = |name: &str| {
        name == POINTER
            || pointer
                .as_ref()
                .is_some_and(|pointer| [&pointer.graph.name, &pointer.keys.name].contains(&&name.to_owned()))
    };
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(|name| !named(name)) {
            // a file that stays is tried again with the next save
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn read_pointer(folder: &Path) -> Result<Option<Pointer>> {
    match fs::read(folder.join(POINTER)) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| Error::internal("the pointer to the saved graph is no json").with_source(error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(folder, error)),
    }
}

/// The graph that was saved last, none if none was. Any error means that it cannot be used.
pub(crate) fn load(folder: &Path, shape: Shape) -> Result<Option<Saved>> {
    let Some(pointer) = read_pointer(folder)? else { return Ok(None) };
    let same_shape = (pointer.metric, pointer.dimension) == (shape.metric, shape.dimension)
        && (pointer.connectivity, pointer.expansion_add) == (shape.connectivity, shape.expansion_add);
    if pointer.format != FORMAT || !same_shape {
        return Err(Error::internal("the saved graph was made with other settings"));
    }
    let graph_path = whole(folder, &pointer.graph)?;
    let keys_path = whole(folder, &pointer.keys)?;
    let bytes = fs::read(&keys_path).map_err(|error| failed(&keys_path, error))?;
    let (keys, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(Error::internal("the keys of the saved graph are not whole"));
    }
    let keys: Vec<u64> = keys.iter().map(|key| u64::from_le_bytes(*key)).collect();
    let graph = file::read(shape, &graph_path, keys.len())?;
    Ok(Some(Saved { graph, keys, sequence: pointer.sequence, expansion: pointer.expansion }))
}

/// The path of a file that is as the pointer says.
fn whole(folder: &Path, part: &Part) -> Result<PathBuf> {
    if part.name.contains(['/', '\\']) {
        return Err(Error::internal("the pointer to the saved graph names a file elsewhere"));
    }
    let path = folder.join(&part.name);
    let bytes = fs::metadata(&path).map_err(|error| failed(&path, error))?.len();
    if bytes != part.bytes || hash(&path).map_err(|error| failed(&path, error))? != part.blake3 {
        return Err(Error::internal(format!("the saved graph is torn: {} is not what was saved", part.name)));
    }
    Ok(path)
}

fn failed(path: &Path, error: io::Error) -> Error {
    Error::internal(format!("the saved graph at {} failed", path.display())).with_source(error)
}
