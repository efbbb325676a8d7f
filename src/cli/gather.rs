//! The images of a command's folders, tar files and lists, as commands read them that send each image once.

use std::{collections::BTreeMap, ops::ControlFlow, path::PathBuf, str::FromStr};

use bytes::Bytes;
use regex_automata::meta::Regex;

use super::ingest::{
    exclude::Exclude,
    source::{Candidate, Content, Failed, Reading, Source},
};
use crate::error::{Error, Result};

/// What of a form is left for the lines around each image.
const PART_BYTES: u64 = 2 << 10;

/// Where the images come from.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ImageSources {
    /// Folders, .tar files, or lists: .csv, .ndjson, .jsonl
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Leave out what matches: a name at any depth (`*_small.jpg`, `thumbs`), or with a slash a path from the source on
    /// (`2019/**`); may be given more than once
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<Exclude>,
    /// The column or field of a list that holds the path of an image
    #[arg(long, value_name = "NAME", default_value = "path")]
    path_field: String,
}

/// An image that is to be sent.
#[derive(Debug)]
pub(super) struct Gathered {
    /// What it is called in reports.
    pub(super) name: String,
    pub(super) group: Option<String>,
    pub(super) label: Option<String>,
    content: Content,
}

/// The images of all sources, and those that cannot be read.
#[derive(Debug, Default)]
pub(super) struct GatheredImages {
    pub(super) images: Vec<Gathered>,
    pub(super) failed: Vec<Failed>,
}

/// A pattern that finds the group of an image in its path.
#[derive(Debug, Clone)]
pub(super) struct GroupPattern(Regex);

impl FromStr for GroupPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Regex::new(text).map(Self).map_err(|error| {
            let causes = std::iter::successors(std::error::Error::source(&error), |error| error.source());
            causes.last().map_or_else(|| error.to_string(), ToString::to_string)
        })
    }
}

impl GroupPattern {
    /// The first group of the pattern, or all that it matches where it has none.
    fn find(&self, path: &str) -> Option<String> {
        let mut found = self.0.create_captures();
        self.0.captures(path, &mut found);
        let span = found.get_group(1).or_else(|| found.get_group(0))?;
        path.get(span.range()).filter(|group| !group.is_empty()).map(str::to_owned)
    }
}

impl ImageSources {
    /// Lists the images; files are not read yet, entries of tar files are.
    ///
    /// # Errors
    /// `invalid_request` for a source that cannot be read, and for a path in which the pattern finds no group.
    pub(super) fn gather(
        &self,
        labels_from_folders: bool,
        groups: Option<&GroupPattern>,
        max_bytes: u64,
    ) -> Result<GatheredImages> {
        let reading = Reading {
            labels_from_folders,
            exclude: self.exclude.clone(),
            path_field: self.path_field.clone(),
            // Lists may have ids, which name nothing here.
            id_field: "id".to_owned(),
            vector_field: "vector".to_owned(),
            metadata: None,
            max_bytes: max_bytes.saturating_sub(PART_BYTES),
        };
        let mut gathered = GatheredImages::default();
        let mut ungrouped = None;
        for path in &self.paths {
            Source::of(path)?.each(&reading, &mut |found| {
                match found {
                    Ok(candidate) if candidate.is_vector() => {
                        let text = "a vector, where an image is to be";
                        gathered.failed.push(Failed::unreadable(candidate.name, text));
                    }
                    Ok(candidate) => {
                        let group = groups.map(|pattern| pattern.find(&path_of(&candidate)));
                        if group == Some(None) {
                            ungrouped.get_or_insert(candidate.name.clone());
                        }
                        gathered.images.push(image(candidate, group.flatten()));
                    }
                    Err(failed) => gathered.failed.push(failed),
                }
                ControlFlow::Continue(())
            })?;
        }
        match ungrouped {
            Some(name) => Err(Error::invalid_request(format!("--group-from finds no group in {name}"))),
            None if gathered.images.is_empty() && gathered.failed.is_empty() => {
                Err(Error::invalid_request("there are no images in these sources"))
            }
            None => Ok(gathered),
        }
    }
}

/// The path of an image from its source on, or all of it where it comes from a list.
fn path_of(candidate: &Candidate) -> String {
    match candidate.metadata.get("file").and_then(serde_json::Value::as_str) {
        Some(within) => within.to_owned(),
        None => candidate.name.clone(),
    }
}

fn image(candidate: Candidate, group: Option<String>) -> Gathered {
    let label = candidate.metadata.get("label").and_then(serde_json::Value::as_str).map(str::to_owned);
    let given = candidate.metadata.get("group").and_then(serde_json::Value::as_str).map(str::to_owned);
    Gathered { name: candidate.name, group: group.or(given), label, content: candidate.content }
}

impl Gathered {
    /// The file. Blocks.
    pub(super) fn read(&self, max_bytes: u64) -> Result<Bytes, Failed> {
        let bytes = match &self.content {
            Content::Bytes(bytes) => Bytes::copy_from_slice(bytes),
            Content::Vector(_) => return Err(Failed::unreadable(self.name.clone(), "a vector is no image")),
            Content::File(path) => {
                let read = std::fs::read(path).map_err(|error| Failed::unreadable(self.name.clone(), error))?;
                Bytes::from(read)
            }
        };
        if bytes.len() as u64 + PART_BYTES > max_bytes {
            let text = format!("{} bytes, and the server takes {max_bytes} in a request", bytes.len());
            return Err(Failed::unreadable(self.name.clone(), text));
        }
        Ok(bytes)
    }

    /// The bytes that an image takes in a form.
    pub(super) const fn form_bytes(file: &Bytes) -> u64 {
        file.len() as u64 + PART_BYTES
    }
}

/// Puts images of different groups side by side, so that the first few of them are of many groups.
pub(super) fn spread_groups(images: &mut [Gathered]) {
    let mut seen: BTreeMap<Option<String>, usize> = BTreeMap::new();
    let mut ranks: BTreeMap<String, usize> = BTreeMap::new();
    for image in images.iter() {
        let count = seen.entry(image.group.clone()).or_default();
        ranks.insert(image.name.clone(), *count);
        *count += 1;
    }
    images.sort_by_key(|image| ranks.get(&image.name).copied().unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(names: &[(&str, &str)]) -> Vec<Gathered> {
        let image = |(name, group): &(&str, &str)| Gathered {
            name: (*name).to_owned(),
            group: Some((*group).to_owned()),
            label: None,
            content: Content::Bytes(Vec::new()),
        };
        names.iter().map(image).collect()
    }

    #[test]
    fn a_group_is_what_the_first_group_of_the_pattern_finds() {
        let find = |pattern: &str, path: &str| pattern.parse::<GroupPattern>().unwrap().find(path);
        assert_eq!(find(r"part-(\d+)", "a/part-17_3.png"), Some("17".to_owned()));
        assert_eq!(find(r"^[^/]+", "lot-4/1.png"), Some("lot-4".to_owned()));
        assert_eq!(find(r"part-(\d+)", "a/1.png"), None);
        assert_eq!(find(r"x*", "a.png"), None);
        assert!("(".parse::<GroupPattern>().unwrap_err().contains("unclosed"));
    }

    #[test]
    fn the_first_images_are_of_many_groups() {
        let mut images = images(&[("1", "a"), ("2", "a"), ("3", "a"), ("4", "b"), ("5", "c"), ("6", "b")]);
        spread_groups(&mut images);
        let names: Vec<&str> = images.iter().map(|image| image.name.as_str()).collect();
        assert_eq!(names, ["1", "4", "5", "2", "6", "3"]);
    }

    #[test]
    fn a_folder_is_gathered_with_groups_and_labels() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["good/p1_a.png", "good/p2_a.png", "crack/p9_a.png"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"x").unwrap();
        }
        let sources =
            ImageSources { paths: vec![folder.path().to_owned()], exclude: Vec::new(), path_field: "path".to_owned() };
        let pattern = r"(p\d)_".parse().unwrap();
        let gathered = sources.gather(true, Some(&pattern), 1 << 20).unwrap();
        let found: Vec<(Option<&str>, Option<&str>)> =
            gathered.images.iter().map(|image| (image.group.as_deref(), image.label.as_deref())).collect();
        assert_eq!(found, [(Some("p9"), Some("crack")), (Some("p1"), Some("good")), (Some("p2"), Some("good"))]);
        let refused = sources.gather(false, Some(&"lot".parse().unwrap()), 1 << 20).unwrap_err();
        assert!(refused.message().contains("finds no group in"), "{refused}");
        assert!(gathered.images[0].read(1).is_err());
    }
}
