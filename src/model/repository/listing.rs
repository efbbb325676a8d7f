//! What the folder of a repository holds: folders of models, and what lies there by mistake.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{ModelEntry, ModelState};
use crate::{domain::ModelName, model::manifest};

/// A folder of models, read.
#[derive(Default)]
pub(super) struct Listing {
    pub(super) models: Vec<ListedModel>,
    /// Folders of models under names that no model can have: failed, with the rule as the reason.
    pub(super) misnamed: Vec<ModelEntry>,
    /// What an operator should be told.
    pub(super) warnings: Vec<String>,
}

/// A model, or a variant of one, by its folder.
pub(super) struct ListedModel {
    pub(super) name: ModelName,
    pub(super) folder: PathBuf,
    pub(super) required: bool,
}

impl Listing {
    /// Reads the folder. What begins with a dot is left out.
    pub(super) fn read(folder: &Path) -> io::Result<Self> {
        let mut paths = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        paths.retain(|path| !name_of(path).starts_with('.'));
        paths.sort();
        let (folders, files): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| path.is_dir());
        let mut listing = Self::default();
        for model in folders {
            listing.add(model);
        }
        let graphs: Vec<String> = files.iter().filter(|file| is_graph(file)).map(|file| name_of(file)).collect();
        let shown = folder.display();
        if folder.join(manifest::FILE_NAME).is_file() {
            listing.warnings.push(format!(
                "{shown} is itself a model's folder, for it has a {}: `models` names the folder that such folders lie in",
                manifest::FILE_NAME
            ));
        } else if !graphs.is_empty() {
            listing.warnings.push(format!(
                "not served are {} in {shown}: each model has a folder of its own with a {} there",
                graphs.join(", "),
                manifest::FILE_NAME
            ));
        }
        Ok(listing)
    }

    /// Adds the models of one folder: its own and those of its variants.
    fn add(&mut self, folder: PathBuf) {
        let text = std::fs::read_to_string(folder.join(manifest::FILE_NAME)).unwrap_or_default();
        let (required, variants) = manifest::glance(&text);
        let name = name_of(&folder);
        match name.parse::<ModelName>() {
            Ok(model) => {
                // a variant whose name cannot be one is a violation of the manifest, told by its model
                for variant in variants.iter().filter_map(|variant| format!("{name}:{variant}").parse().ok()) {
                    self.models.push(ListedModel { name: variant, folder: folder.clone(), required: false });
                }
                self.models.push(ListedModel { name: model, folder, required });
            }
            Err(error) if holds_a_model(&folder) => {
                let reason = format!("its folder has to be renamed: {}", error.message());
                self.misnamed.push(ModelEntry {
                    name,
                    required,
                    declared: None,
                    state: ModelState::Failed(vec![reason]),
                });
            }
            Err(_) => self.warnings.push(format!("{} is left out: its name cannot be a model's", folder.display())),
        }
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn is_graph(file: &Path) -> bool {
    file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("onnx"))
}

fn holds_a_model(folder: &Path) -> bool {
    let graph =
        || std::fs::read_dir(folder).is_ok_and(|mut all| all.any(|file| file.is_ok_and(|file| is_graph(&file.path()))));
    folder.join(manifest::FILE_NAME).exists() || graph()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with these files, each empty.
    fn folder_with(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let file = folder.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "").unwrap();
        }
        folder
    }

    #[test]
    fn a_models_folder_whose_name_breaks_the_rule_is_failed_with_the_rule() {
        let folder =
            folder_with(&["My_Model/model.toml", "bare graph/Encoder.ONNX", "lost+found/x", "good/model.toml"]);
        std::fs::write(folder.path().join("My_Model/model.toml"), "required = true").unwrap();
        let listing = Listing::read(folder.path()).unwrap();
        assert_eq!(listing.models.iter().map(|model| model.name.as_str()).collect::<Vec<_>>(), ["good"]);
        let failed: Vec<_> = listing.misnamed.iter().map(|entry| (entry.name.as_str(), entry.required)).collect();
        assert_eq!(failed, [("My_Model", true), ("bare graph", false)]);
        let ModelState::Failed(reasons) = &listing.misnamed[0].state else { panic!("it is not failed") };
        assert!(reasons[0].contains("\"My_Model\" is not 1 to 64 characters of a-z"), "{reasons:?}");
        assert!(listing.warnings.len() == 1 && listing.warnings[0].contains("lost+found"), "{:?}", listing.warnings);
    }

    #[test]
    fn graphs_beside_the_folders_are_warned_of_once() {
        let folder = folder_with(&["a.onnx", "b.onnx", "readme", ".c.onnx", "good/encoder.onnx"]);
        let warnings = Listing::read(folder.path()).unwrap().warnings;
        assert!(warnings.len() == 1 && warnings[0].contains("not served are a.onnx, b.onnx in "), "{warnings:?}");
    }

    #[test]
    fn a_models_folder_in_the_place_of_the_repository_is_told() {
        let folder = folder_with(&["model.toml", "encoder.onnx"]);
        let warnings = Listing::read(folder.path()).unwrap().warnings;
        assert!(warnings.len() == 1 && warnings[0].contains("is itself a model's folder"), "{warnings:?}");
    }
}
