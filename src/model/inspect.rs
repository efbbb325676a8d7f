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
    domain::Device,
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
    let missing = |error: std::io::Error| Error::invalid_request(format!("{} cannot be read: {error}", path.display()));
    let path = path.canonicalize().map_err(missing)?;
    let subjects = if path.is_file() {
        vec![bare(&path, std::slice::from_ref(&path), loader)]
    } else if is_repository(&path) {
        children(&path).map_err(missing)?.iter().filter_map(|folder| child(folder, loader)).collect()
    } else {
        subject(&path, loader).into_iter().collect()
    };
    if subjects.is_empty() {
        let text = format!(
            "{} has no {}, no .onnx file, and no folder with either{}",
            path.display(),
            manifest::FILE_NAME,
            checkpoints(&path)
        );
        return Err(Error::invalid_request(text));
    }
    let stray = if is_repository(&path) { folder::onnx_files(&path) } else { Vec::new() };
    let notes = stray.iter().map(|file| format!("{} is left out: models are folders", relative(&path, file))).collect();
    Ok(Inspection { subjects, notes })
}

/// Whether a folder holds model folders and is none itself.
fn is_repository(path: &Path) -> bool {
    let holds = |folder: &PathBuf| folder.join(manifest::FILE_NAME).exists() || !graph_files(folder).is_empty();
    let inner = || children(path).unwrap_or_default();
    if path.join(manifest::FILE_NAME).exists() {
        return false;
    }
    // An export of Hugging Face has its graphs in a folder `onnx`.
    let graphs_of_its_own = !graph_files(path).is_empty();
    inner()
        .iter()
        .any(|folder| if graphs_of_its_own { folder.join(manifest::FILE_NAME).exists() } else { holds(folder) })
        || !graphs_of_its_own && inner().iter().any(|folder| folder::nested_models(folder).next().is_some())
}

/// The report on a folder of a repository.
fn child(path: &Path, loader: &dyn GraphLoader) -> Option<Subject> {
    subject(path, loader).or_else(|| {
        let problem = folder::too_deep(path)?;
        let mut subject = Subject::new(path);
        subject.problems.push(problem);
        Some(subject)
    })
}

/// The checkpoints of a folder, as the end of a message that finds no graph in it.
fn checkpoints(path: &Path) -> String {
    let endings = ["pt", "pth", "ckpt", "safetensors", "bin", "h5", "keras"];
    let entries = std::fs::read_dir(path).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let is_checkpoint = |file: &PathBuf| file.extension().is_some_and(|end| endings.iter().any(|known| end == *known));
    let names: Vec<String> = entries.filter(is_checkpoint).map(|file| relative(path, &file)).collect();
    if names.is_empty() {
        return String::new();
    }
    format!("; {} holds weights without a graph: export the model to ONNX", names.join(", "))
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
    let files = folder::onnx_files(path);
    if files.is_empty() { folder::onnx_files(&path.join("onnx")) } else { files }
}

/// Why a folder cannot be a model's, by its name. Folders that begin with a dot are never models.
fn misnamed(path: &Path) -> Option<String> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if name.starts_with('.') {
        return None;
    }
    folder::model_name(&name).err().map(|error| format!("the folder's name is the model's: {error}"))
}

/// A folder with a manifest, looked at as the server would, variants included.
fn model(path: &Path, loader: &dyn GraphLoader) -> Subject {
    let mut subject = Subject::new(path);
    let manifest = match load::manifest_in(path) {
        Ok(manifest) => manifest,
        Err(reasons) => {
            subject.problems = reasons;
            subject.problems.extend(load::graph_problems(path, loader));
            subject.graphs = graph_files(path).iter().map(|file| look(path, file, loader)).collect();
            return subject;
        }
    };
    let folder_name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    subject.problems.extend(misnamed(path));
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
        subject.remark(&prefix, examination.remarks);
        subject.graphs.extend(described(&manifest, &prefix, &examination.graphs));
    }
    subject
}

fn described(manifest: &Manifest, prefix: &str, graphs: &BTreeMap<GraphRole, Examined>) -> Vec<GraphReport> {
    let report = |(&role, graph): (&GraphRole, &Examined)| GraphReport {
        title: format!("{prefix}{role}: {}", manifest.graphs.get(&role).map_or("", |spec| &spec.file)),
        info: Ok(graph.declared.clone()),
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
    if let Some(problem) = misnamed(folder).filter(|_| path.is_dir()) {
        subject.problems.push(problem);
        subject.misnamed = true;
    }
    let found: Vec<propose::Found> = files
        .iter()
        .zip(&subject.graphs)
        .filter_map(|(file, report)| Some(propose::Found::new(relative(folder, file), report.info.as_ref().ok()?)))
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
                    subject.remark("", examination.remarks);
                }
                Err(violations) => subject.problems.extend(violations),
            }
            subject.proposal = Some(text);
        }
        Err(reasons) => subject.problems.extend(reasons),
    }
    subject
}

/// One ONNX file by itself.
fn look(folder: &Path, file: &Path, loader: &dyn GraphLoader) -> GraphReport {
    let onnx = OnnxFile::read(file);
    let escapes = onnx.as_ref().ok().and_then(|onnx| examine::check_external(folder, file, onnx).err());
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
