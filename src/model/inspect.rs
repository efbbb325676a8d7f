//! A report on a model folder, a repository, or a bare ONNX file: what is there, what it would serve, what is wrong.

mod propose;
mod report;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

pub use report::Inspection;

use report::{GraphReport, Serves, Subject};

use super::{
    examine::{self, Examined, Settings},
    family::GraphRole,
    folder, load,
    manifest::{self, Manifest},
    onnx::OnnxFile,
    space,
};
use crate::{
    batch::RunPermits,
    domain::{Device, ModelName},
    error::{Error, Result},
    runtime::{GraphLoader, SessionOptions, cores},
};

/// How long a graph that is only looked at may run.
const RUN_LIMIT: Duration = Duration::from_secs(10);

/// Looks at a model folder, a folder of such folders, a folder with ONNX files and no manifest, or one ONNX file.
/// Graphs are opened and run on the CPU; nothing is written.
///
/// # Errors
/// `invalid_request` when there is nothing of the kind at that path.
pub fn inspect(path: &Path, loader: &dyn GraphLoader) -> Result<Inspection> {
    let missing = |error: std::io::Error| {
        Error::invalid_request(format!("{} cannot be read: {error}", path.display())).with_source(error)
    };
    let path = path.canonicalize().map_err(missing)?;
    let subjects = if path.is_file() {
        vec![bare(&path, std::slice::from_ref(&path), loader)]
    } else {
        match subject(&path, loader) {
            Some(subject) => vec![subject],
            None => children(&path).map_err(missing)?.iter().filter_map(|folder| subject(folder, loader)).collect(),
        }
    };
    if subjects.is_empty() {
        let text =
            format!("{} has no {}, no .onnx file, and no folder with either", path.display(), manifest::FILE_NAME);
        return Err(Error::invalid_request(text));
    }
    Ok(Inspection { subjects })
}

/// The report on one folder, if it is a model's or has graphs.
fn subject(path: &Path, loader: &dyn GraphLoader) -> Option<Subject> {
    if path.join(manifest::FILE_NAME).exists() {
        return Some(model(path, loader));
    }
    let files = graph_files(path);
    (!files.is_empty()).then(|| bare(path, &files, loader))
}

/// The folders in a folder, in order.
fn children(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(path)? {
        folders.push(entry?.path());
    }
    folders.retain(|folder| folder.is_dir());
    folders.sort();
    Ok(folders)
}

/// The ONNX files of a folder that has no manifest: its own, or those of its folder `onnx`, as exports of Hugging
/// Face have it.
fn graph_files(path: &Path) -> Vec<PathBuf> {
    let in_folder = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let mut files: Vec<PathBuf> =
            entries.filter(|file| file.is_file() && file.extension().is_some_and(|ext| ext == "onnx")).collect();
        files.sort();
        files
    };
    let files = in_folder(path);
    if files.is_empty() { in_folder(&path.join("onnx")) } else { files }
}

/// A folder with a manifest, looked at as the server would, variants included.
fn model(path: &Path, loader: &dyn GraphLoader) -> Subject {
    let mut subject = Subject::new(path);
    let manifest = match load::manifest_in(path) {
        Ok(manifest) => manifest,
        Err(reasons) => {
            subject.problems = reasons;
            subject.graphs = graph_files(path).iter().map(|file| look(path, file, loader)).collect();
            return subject;
        }
    };
    let folder_name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if let Err(error) = folder_name.parse::<ModelName>() {
        subject.problems.push(format!("the folder's name is the model's: {error}"));
    }
    let variants = manifest.variants.keys().filter_map(|variant| {
        Some((format!("{folder_name}:{variant}"), format!("variant {variant}: "), manifest.of_variant(variant)?))
    });
    let own = std::iter::once((folder_name.clone(), String::new(), manifest.clone()));
    for (name, prefix, manifest) in own.chain(variants) {
        let examination = examine::examine(path, &manifest, loader, &settings());
        if let (true, Some(hash)) = (examination.problems.is_empty(), examination.hash) {
            subject.serves.push(Serves {
                family: manifest.family,
                capabilities: manifest.family.capabilities(&manifest.roles(), manifest.denoises),
                dimension: examination.embedding.as_ref().map(super::EmbeddingHead::dimension),
                golden: examination.golden,
                space_key: space::key(&name, &manifest, &hash),
                name,
            });
        }
        let problems = examination.problems.into_iter().map(|problem| format!("{prefix}{problem}"));
        subject.problems.extend(problems);
        subject.graphs.extend(described(&manifest, &prefix, &examination.graphs));
    }
    subject
}

fn described(manifest: &Manifest, prefix: &str, graphs: &BTreeMap<GraphRole, Examined>) -> Vec<GraphReport> {
    let report = |(&role, graph): (&GraphRole, &Examined)| GraphReport {
        title: format!("{prefix}{role}: {}", manifest.graphs.get(&role).map_or("", |spec| &spec.file)),
        info: Ok(graph.info.clone()),
        external: graph.onnx.locations().into_iter().map(ToOwned::to_owned).collect(),
        opsets: graph.onnx.opsets.clone(),
    };
    graphs.iter().map(report).collect()
}

/// Graphs without a manifest: they are described, and a manifest is proposed.
fn bare(path: &Path, files: &[PathBuf], loader: &dyn GraphLoader) -> Subject {
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
    let mut subject = Subject::new(path);
    subject.graphs = files.iter().map(|file| look(folder, file, loader)).collect();
    let found: Vec<propose::Found> = files
        .iter()
        .zip(&subject.graphs)
        .filter_map(|(file, report)| {
            Some(propose::Found { file: relative(folder, file), info: report.info.as_ref().ok()? })
        })
        .collect();
    match propose::manifest(folder, &found) {
        Ok(text) => {
            // what the server would say of the proposal is a part of the report
            match Manifest::parse(&text) {
                // in a model's folder the golden outputs are for the manifest that is there
                Ok(_) if folder.join(manifest::FILE_NAME).exists() => {}
                Ok(manifest) => {
                    let examination = examine::examine(folder, &manifest, loader, &settings());
                    subject.problems.extend(examination.problems);
                }
                Err(violations) => subject.problems.extend(violations),
            }
            subject.proposal = Some(text);
        }
        Err(reason) => subject.problems.push(reason),
    }
    subject
}

/// One ONNX file by itself.
fn look(folder: &Path, file: &Path, loader: &dyn GraphLoader) -> GraphReport {
    let onnx = OnnxFile::read(file);
    let escapes = onnx
        .as_ref()
        .ok()
        .and_then(|onnx| onnx.external.iter().find_map(|data| space::external_path(folder, file, data).err()));
    let options = SessionOptions { device: Device::Cpu, threads: 1 };
    let info = match (&onnx, escapes) {
        (Err(reason), _) => Err(reason.clone()),
        (Ok(_), Some(reason)) => Err(reason),
        (Ok(_), None) => loader.open(file, options).map(|(_, info)| info).map_err(|error| error.chain()),
    };
    let onnx = onnx.unwrap_or_default();
    GraphReport {
        title: relative(folder, file),
        info,
        external: onnx.locations().into_iter().map(ToOwned::to_owned).collect(),
        opsets: onnx.opsets,
    }
}

fn relative(folder: &Path, file: &Path) -> String {
    file.strip_prefix(folder).unwrap_or(file).display().to_string()
}

fn settings() -> Settings {
    Settings {
        device: Device::Cpu,
        max_batch: Some(16),
        sessions: 1,
        threads: 1,
        run_limit: RUN_LIMIT,
        permits: RunPermits::new(cores()),
    }
}

/// Text that a manifest can hold between quotes, whatever is in it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Whether a file name can stand in a manifest.
fn fits(file: &str) -> bool {
    folder::unfit(file).is_none()
}

#[cfg(test)]
mod tests;
