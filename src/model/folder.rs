//! Files of a model, which all lie inside its folder.

use std::path::{Component, Path, PathBuf};

use super::manifest;
use crate::{
    domain::ModelName,
    error::{Error, Result as LatentResult},
};

/// The model's name that a folder's name is.
///
/// # Errors
/// `invalid_request`, with the rule. A name with a colon is that of a variant, which has no folder.
pub(super) fn model_name(folder: &str) -> LatentResult<ModelName> {
    if folder.contains(':') {
        let text = format!("model name {folder:?} has a colon, which stands before the name of a variant");
        return Err(Error::invalid_request(text));
    }
    folder.parse()
}

/// The ONNX files that lie in a folder, in order.
pub(super) fn onnx_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let is_graph = |file: &PathBuf| file.is_file() && file.extension().is_some_and(|end| end == "onnx");
    let mut files: Vec<PathBuf> = entries.filter(is_graph).collect();
    files.sort();
    files
}

/// The folders in a folder that would be models if they lay one level higher.
pub(super) fn nested_models(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    entries
        .filter(|inner| inner.is_dir() && (inner.join(manifest::FILE_NAME).exists() || !onnx_files(inner).is_empty()))
}

/// Why a folder without a manifest is no model although models lie in it.
pub(super) fn too_deep(folder: &Path) -> Option<String> {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if folder.join(manifest::FILE_NAME).exists() || !onnx_files(folder).is_empty() {
        return None;
    }
    let inner = nested_models(folder).filter(|inner| name(inner) != "onnx").min()?;
    let (outer, inner) = (name(folder), name(&inner));
    Some(format!("models are one level deep: move {outer}/{inner} to {outer}-{inner}"))
}

/// Why a file's name in a manifest or graph cannot be one of a file inside the folder.
pub(super) fn unfit(file: &str) -> Option<String> {
    let path = Path::new(file);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if file.is_empty() || !path.components().any(|part| matches!(part, Component::Normal(_))) {
        Some(format!("\"{file}\" is not the name of a file"))
    } else if !inside || file.contains('\\') {
        Some(format!("\"{file}\" leaves the model's folder; files are named relative to it and stay inside"))
    } else {
        None
    }
}

/// The path of a model's file, links resolved.
///
/// # Errors
/// One line that names the file: it is not there, not a file, or outside the folder.
pub(super) fn resolve(folder: &Path, file: &str) -> Result<PathBuf, String> {
    if let Some(violation) = unfit(file) {
        return Err(violation);
    }
    let root = folder.canonicalize().map_err(|error| format!("{}: {error}", folder.display()))?;
    let path = match folder.join(file).canonicalize() {
        Ok(path) => path,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(format!("{file} is not there")),
        Err(error) => return Err(format!("{file} cannot be read: {error}")),
    };
    if !path.starts_with(&root) {
        return Err(format!("{file} is a link that leaves the model's folder"));
    }
    if !path.is_file() {
        return Err(format!("{file} is not a file"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        for bad in ["", ".", "..", "../x.onnx", "a/../../x", "/etc/passwd", "..\\x"] {
            assert!(unfit(bad).is_some(), "{bad:?}");
        }
        for good in ["x.onnx", "./x.onnx", "onnx/x.onnx", "a..b"] {
            assert!(unfit(good).is_none(), "{good:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_out_of_the_folder_is_refused_and_one_inside_is_followed() {
        let outside = tempfile::NamedTempFile::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("real.onnx"), b"x").unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("out.onnx")).unwrap();
        std::os::unix::fs::symlink("real.onnx", folder.path().join("in.onnx")).unwrap();
        assert!(resolve(folder.path(), "out.onnx").unwrap_err().contains("leaves the model's folder"));
        assert!(resolve(folder.path(), "in.onnx").is_ok());
        assert_eq!(resolve(folder.path(), "none.onnx").unwrap_err(), "none.onnx is not there");
    }
}
