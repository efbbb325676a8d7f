//! Files of a model, which all lie inside its folder.

use std::path::{Component, Path, PathBuf};

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
