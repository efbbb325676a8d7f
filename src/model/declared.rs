//! What a model's folder tells before its graphs are opened.

use std::{collections::HashSet, path::Path, time::SystemTime};

use super::{family::Capability, folder, load::read_manifest, manifest::Manifest, space};
use crate::{domain::ModelName, error::Error};

/// A model as its files declare it; whether the graphs agree is known when they are loaded.
#[derive(Debug)]
pub struct Declared {
    pub manifest: Manifest,
    /// What the model can do by its family and graphs.
    pub capabilities: Vec<Capability>,
    /// When its defining graph's file was last written, in seconds since 1970; 0 where that is not known.
    pub created_unix: u64,
    /// The file `metrics.json` beside the manifest: what the model's author measured.
    pub metrics_json: Option<serde_json::Value>,
    /// The hashes of the image files that the model was trained on, of the list `images_blake3` in `training.json`; none
    /// where there is no such list.
    pub trained_on: Option<HashSet<blake3::Hash>>,
}

impl Declared {
    /// Reads a model's folder; a variant's name tells which variant is meant.
    ///
    /// # Errors
    /// Everything that is wrong with the manifest, one line each.
    pub(super) fn read(folder: &Path, name: &ModelName) -> Result<Self, Vec<String>> {
        let manifest = read_manifest(folder, name)?;
        Ok(Self {
            capabilities: manifest.family.capabilities(&manifest.roles(), manifest.denoises),
            created_unix: written(folder, &manifest),
            metrics_json: measured(folder, name),
            trained_on: trained_on(folder, name),
            manifest,
        })
    }
}

fn written(folder: &Path, manifest: &Manifest) -> u64 {
    let graph = space::defining_graph(manifest).and_then(|role| manifest.graphs.get(&role));
    let modified = graph.and_then(|graph| std::fs::metadata(folder.join(&graph.file)).ok()?.modified().ok());
    let since = modified.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_secs())
}

/// The images that the model was trained on, by the BLAKE3 of their files in hexadecimal digits. A list that cannot be read
/// is said in the log and does not keep the model from serving.
fn trained_on(folder: &Path, name: &ModelName) -> Option<HashSet<blake3::Hash>> {
    #[derive(serde::Deserialize)]
    struct Training {
        #[serde(default)]
        images_blake3: Option<Vec<String>>,
    }
    const FILE: &str = "training.json";
    if !folder.join(FILE).exists() {
        return None;
    }
    let read = || -> Result<Option<HashSet<blake3::Hash>>, Error> {
        let path = folder::resolve(folder, FILE).map_err(Error::invalid_request)?;
        let bytes = std::fs::read(path).map_err(|error| Error::internal("unreadable").with_source(error))?;
        let training: Training =
            serde_json::from_slice(&bytes).map_err(|error| Error::internal("not JSON").with_source(error))?;
        let hashes = training.images_blake3.map(|hashes| hashes.iter().map(blake3::Hash::from_hex).collect());
        hashes.transpose().map_err(|error| Error::internal("images_blake3 is no list of hashes").with_source(error))
    };
    read().unwrap_or_else(|error| {
        tracing::warn!(model = %name, file = FILE, reason = %error.chain(), "a model's training images are not known");
        None
    })
}

/// What the author measured; a file that cannot be read is said in the log and does not keep the model from serving.
fn measured(folder: &Path, name: &ModelName) -> Option<serde_json::Value> {
    const FILE: &str = "metrics.json";
    if !folder.join(FILE).exists() {
        return None;
    }
    let read = || {
        let path = folder::resolve(folder, FILE).map_err(Error::invalid_request)?;
        let bytes = std::fs::read(path).map_err(|error| Error::internal("unreadable").with_source(error))?;
        serde_json::from_slice(&bytes).map_err(|error| Error::internal("not JSON").with_source(error))
    };
    match read() {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::warn!(model = %name, file = FILE, reason = %error.chain(), "a model's measurements are left out");
            None
        }
    }
}
