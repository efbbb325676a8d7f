//! The space key of a model: a name for everything that decides what its vectors mean.
//!
//! The hash is BLAKE3 over the *canonical text* of the settings, of which one line is the hash of the graph's bytes:
//!
//! ```text
//! latentd-space=1
//! preprocessing=1                    version of our preprocessing code
//! graph=<64 hex digits>              the encoder's bytes, see below
//! input.width=32
//! input.height=32
//! input.channels=rgb
//! input.background=#ffffff
//! input.orientation=true
//! preprocess.resize=exact
//! preprocess.edge=0                  0 where the manifest has none
//! preprocess.filter=bicubic
//! preprocess.crop=none
//! preprocess.rescale=3f70101010101010          the bits of the f64
//! preprocess.mean=3f0…,3f0…,3f0…               the bits of each f32; zeros where omitted
//! preprocess.std=3e8…,3e8…,3e8…                ones where omitted
//! output=mean                        the output's name in the graph
//! pooling=none
//! normalize=true
//! ```
//!
//! Each line ends with a newline. Settings are written as resolved, so a default that is spelled out changes nothing;
//! numbers are written by their bits, so no way of printing them can. File names, the decoder, the metric and texts
//! are not in it.
//!
//! The hash of a graph is BLAKE3 over the length of its file (u64, little-endian) and its bytes, and then, for each
//! stretch of external data in the order of (location, offset, length): offset, length (u64, little-endian) and
//! bytes.
//!
//! A model without an encoder gives images or scores and no vectors; its key is made the same way from its `autoencoder`
//! or `anomaly` graph, with the image, the map or the score as output, no pooling and no normalisation.

use std::{
    collections::BTreeMap,
    fmt::{Display, Write as _},
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::Path,
};

use serde::Serialize;

use super::{
    family::GraphRole,
    folder,
    manifest::{EmbeddingSpec, Manifest, Pooling},
    onnx::{ExternalData, OnnxFile},
};
use crate::{domain::SpaceKey, image::PREPROCESSING_VERSION};

/// The version of the code that makes scores of a model's outputs: another one makes scores that do not compare.
const SCORE_VERSION: u32 = 1;

/// The graph whose bytes define the space.
#[must_use]
pub(super) fn defining_graph(manifest: &Manifest) -> Option<GraphRole> {
    [GraphRole::Encoder, GraphRole::Autoencoder, GraphRole::Anomaly]
        .into_iter()
        .find(|role| manifest.graphs.contains_key(role))
}

/// The key of the model called `name`, whose defining graph has this hash.
pub(super) fn key(name: &str, manifest: &Manifest, graph: &blake3::Hash) -> SpaceKey {
    SpaceKey::new(name, &blake3::hash(canonical(manifest, graph).as_bytes()))
}

/// The canonical text that is hashed.
fn canonical(manifest: &Manifest, graph: &blake3::Hash) -> String {
    let (output, pooling, normalize) = output(manifest);
    let mut text = String::new();
    let mut line = |key: &str, value: &dyn Display| write_line(&mut text, key, value);
    line("latentd-space", &1);
    line("preprocessing", &PREPROCESSING_VERSION);
    line("graph", &graph.to_hex());
    prepared_as(manifest, &mut line);
    line("output", &output);
    line("pooling", &pooling.as_str());
    line("normalize", &normalize);
    text
}

fn write_line(text: &mut String, key: &str, value: &dyn Display) {
    // writing to a string cannot fail
    let _ = writeln!(text, "{key}={value}");
}

/// How images are prepared, line by line.
fn prepared_as(manifest: &Manifest, line: &mut impl FnMut(&str, &dyn Display)) {
    let Manifest { input, preprocess, .. } = manifest;
    let channels = input.channels.count();
    line("input.width", &input.width);
    line("input.height", &input.height);
    line("input.channels", &if input.bgr { "bgr".to_owned() } else { word(&input.channels) });
    line("input.background", &input.background);
    line("input.orientation", &input.orientation);
    line("preprocess.resize", &word(&preprocess.resize));
    line("preprocess.edge", &preprocess.edge.unwrap_or(0));
    line("preprocess.filter", &word(&preprocess.filter));
    line("preprocess.crop", &word(&preprocess.crop));
    line("preprocess.rescale", &format_args!("{:016x}", preprocess.rescale.to_bits()));
    line("preprocess.mean", &bits(preprocess.mean.as_deref(), 0.0, channels));
    line("preprocess.std", &bits(preprocess.std.as_deref(), 1.0, channels));
}

/// The key of scores: `name#` and 12 hex digits of a BLAKE3 hash over every graph that makes the score, what its inputs
/// and outputs are bound to, the preparation of images, and the settings of the score.
///
/// The space key leaves the decoder out; a score by reconstruction depends on it.
pub(super) fn score_key(
    name: &str,
    manifest: &Manifest,
    graphs: &[(GraphRole, blake3::Hash)],
    settings: &str,
) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &dyn Display| write_line(&mut text, key, value);
    line("latentd-score", &SCORE_VERSION);
    line("preprocessing", &PREPROCESSING_VERSION);
    for (role, hash) in graphs {
        line(&format!("graph.{role}"), &hash.to_hex());
        if let Some(spec) = manifest.graphs.get(role) {
            let bound = |kind: &str, names: &BTreeMap<String, String>| format!("graph.{role}.{kind}={names:?}");
            line("bound", &bound("inputs", &spec.inputs));
            line("bound", &bound("outputs", &spec.outputs));
        }
    }
    prepared_as(manifest, &mut line);
    line("reconstruction", &word(&manifest.reconstruction));
    if let Some(masked) = &manifest.masked {
        line("masked.patch", &masked.patch);
        line("masked.ratio", &format_args!("{:016x}", masked.ratio.to_bits()));
    }
    line("settings", &settings);
    format!("{name}#{}", &blake3::hash(text.as_bytes()).to_hex()[..12])
}

fn output(manifest: &Manifest) -> (&str, Pooling, bool) {
    let bound = |role: GraphRole, output: &str| {
        manifest.graphs.get(&role).and_then(|graph| graph.outputs.get(output)).map_or("", String::as_str)
    };
    match &manifest.embedding {
        Some(EmbeddingSpec { output, pooling, normalize, .. }) => {
            (bound(GraphRole::Encoder, output), *pooling, *normalize)
        }
        None => {
            let outputs =
                [(GraphRole::Autoencoder, "image"), (GraphRole::Anomaly, "map"), (GraphRole::Anomaly, "score")];
            let found = outputs.into_iter().map(|(role, part)| bound(role, part)).find(|name| !name.is_empty());
            (found.unwrap_or_default(), Pooling::None, false)
        }
    }
}

/// An enumeration's value as manifests write it.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        other => format!("{other:?}"),
    }
}

fn bits(values: Option<&[f32]>, default: f32, channels: usize) -> String {
    let hex = |value: &f32| format!("{:08x}", (value + 0.0).to_bits());
    match values {
        Some(values) => values.iter().map(hex).collect::<Vec<_>>().join(","),
        None => vec![hex(&default); channels].join(","),
    }
}

/// The hash of a graph's file and of the external data that it refers to.
///
/// # Errors
/// One line: a file that cannot be read, ends early, or lies outside the model's folder.
pub(super) fn hash_graph(folder: &Path, file: &Path, onnx: &OnnxFile) -> Result<blake3::Hash, String> {
    let mut hasher = blake3::Hasher::new();
    let length = std::fs::metadata(file).map_err(|error| unreadable(file, &error))?.len();
    hasher.update(&length.to_le_bytes());
    hash_range(&mut hasher, file, 0, length)?;
    for data in &onnx.external {
        let path = external_path(folder, file, data)?;
        let size = std::fs::metadata(&path).map_err(|error| unreadable(&path, &error))?.len();
        let length = data.length.unwrap_or_else(|| size.saturating_sub(data.offset));
        hasher.update(&data.offset.to_le_bytes());
        hasher.update(&length.to_le_bytes());
        hash_range(&mut hasher, &path, data.offset, length)?;
    }
    Ok(hasher.finalize())
}

/// The file that external data lies in: beside the ONNX file, and inside the model's folder.
pub(super) fn external_path(folder: &Path, file: &Path, data: &ExternalData) -> Result<std::path::PathBuf, String> {
    let beside = file.parent().unwrap_or(folder);
    let external = |reason: String| format!("external data: {reason}");
    let path = folder::resolve(beside, &data.location).map_err(external)?;
    // the ONNX file may lie in a folder of the folder; its data may not lie above that
    match folder.canonicalize() {
        Ok(root) if path.starts_with(&root) => Ok(path),
        _ => Err(external(format!("{} lies outside the model's folder", data.location))),
    }
}

fn hash_range(hasher: &mut blake3::Hasher, path: &Path, offset: u64, length: u64) -> Result<(), String> {
    let mut file = File::open(path).map_err(|error| unreadable(path, &error))?;
    file.seek(SeekFrom::Start(offset)).map_err(|error| unreadable(path, &error))?;
    let before = hasher.count();
    hasher.update_reader(file.take(length)).map_err(|error| unreadable(path, &error))?;
    if hasher.count() - before == length {
        Ok(())
    } else {
        Err(format!("{} ends before byte {}", path.display(), offset.saturating_add(length)))
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("{} cannot be read: {error}", path.display())
}

#[cfg(test)]
mod tests;
