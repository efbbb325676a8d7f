//! Where items come from: folders and tar files of images, lists in CSV or NDJSON, and vectors in `.npy` files.

use std::{
    fs::File,
    io::Read as _,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use super::{exclude::Exclude, list, npy};
use crate::{
    domain::{ItemId, Metadata},
    error::{Error, Result},
};

/// Files of other names in folders and tar files are passed over.
const ENDINGS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"];

/// What is done with a source's images beside sending them.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Reading {
    /// Puts the name of the folder that holds an image into `label` of its metadata.
    pub(in crate::cli) labels_from_folders: bool,
    /// Paths from the source on that are passed over.
    pub(in crate::cli) exclude: Vec<Exclude>,
    /// The column or field of a list that holds an image's path, and the one that may hold its id.
    pub(in crate::cli) path_field: String,
    pub(in crate::cli) id_field: String,
    /// The field of a list that may hold a vector in place of an image.
    pub(in crate::cli) vector_field: String,
    /// A list with ids and metadata for the vectors of `.npy` files.
    pub(in crate::cli) metadata: Option<PathBuf>,
    /// A larger image is not read: the server would refuse it.
    pub(in crate::cli) max_bytes: u64,
}

impl Reading {
    fn excludes(&self, within: &Path) -> bool {
        self.exclude.iter().any(|pattern| pattern.matches(within))
    }
}

/// An item to send.
#[derive(Debug)]
pub(in crate::cli) struct Candidate {
    /// How messages and the report call it.
    pub(in crate::cli) name: String,
    /// None: the BLAKE3 of the image's bytes. A vector has one always.
    pub(in crate::cli) id: Option<ItemId>,
    pub(in crate::cli) metadata: Metadata,
    pub(in crate::cli) content: Content,
}

#[derive(Debug)]
pub(in crate::cli) enum Content {
    /// A file with an image.
    File(PathBuf),
    /// The bytes of an image.
    Bytes(Vec<u8>),
    Vector(Vec<f32>),
}

impl Content {
    /// A vector of finite numbers.
    pub(in crate::cli) fn vector(name: &str, vector: Vec<f32>) -> Result<Self, Failed> {
        match vector.iter().position(|value| !value.is_finite()) {
            None => Ok(Self::Vector(vector)),
            Some(at) => {
                let text = format!("element {at} of the vector is not a finite number of 32 bits");
                Err(Failed::unreadable(name, text))
            }
        }
    }
}

/// What cannot be sent, and why.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) struct Failed {
    pub(in crate::cli) name: String,
    pub(in crate::cli) id: Option<String>,
    /// One of the server's, or `unreadable`.
    pub(in crate::cli) code: String,
    pub(in crate::cli) message: String,
}

impl Failed {
    pub(in crate::cli) fn unreadable(name: impl Into<String>, message: impl std::fmt::Display) -> Self {
        Self { name: name.into(), id: None, code: "unreadable".to_owned(), message: message.to_string() }
    }
}

/// Takes what a source holds, one by one; a break ends the reading.
pub(in crate::cli) type Visit<'a> = &'a mut dyn FnMut(Result<Candidate, Failed>) -> ControlFlow<()>;

/// A path of the command line.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) enum Source {
    Folder(PathBuf),
    Tar(PathBuf),
    List(PathBuf),
    Vectors(PathBuf),
}

impl Source {
    /// A folder as it is; a file by its ending.
    pub(in crate::cli) fn of(path: &Path) -> Result<Self> {
        let found = std::fs::metadata(path)
            .map_err(|error| Error::invalid_request(format!("cannot read {}: {error}", path.display())))?;
        let path = path.to_owned();
        if found.is_dir() {
            return Ok(Self::Folder(path));
        }
        match ending(&path).as_str() {
            "tar" => Ok(Self::Tar(path)),
            "csv" | "ndjson" | "jsonl" => Ok(Self::List(path)),
            "npy" => Ok(Self::Vectors(path)),
            _ => Err(Error::invalid_request(format!(
                "{} is neither a folder nor a .tar, .csv, .ndjson, .jsonl or .npy file",
                path.display()
            ))),
        }
    }

    /// Whether it can only hold images.
    pub(in crate::cli) const fn is_of_images(&self) -> bool {
        matches!(self, Self::Folder(_) | Self::Tar(_))
    }

    /// The dimension of its first vector, if it has one.
    pub(in crate::cli) fn dimension(&self, reading: &Reading) -> Result<Option<usize>> {
        let mut dimension = None;
        if !self.is_of_images() {
            self.each(reading, &mut |found| match found {
                Ok(Candidate { content: Content::Vector(vector), .. }) => {
                    dimension = Some(vector.len());
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            })?;
        }
        Ok(dimension)
    }

    /// Calls back with every item, in the order of names or of the file.
    ///
    /// # Errors
    /// Only what makes the source as a whole unreadable.
    pub(in crate::cli) fn each(&self, reading: &Reading, visit: Visit<'_>) -> Result<()> {
        match self {
            Self::Folder(root) => walk(root, root, reading, visit).map(drop),
            Self::Tar(file) => unpack(file, reading, visit),
            Self::Vectors(file) => npy::each(file, reading, visit),
            Self::List(file) => {
                let folder = file.parent().unwrap_or_else(|| Path::new(""));
                list::each(file, reading, &mut |found| match &found {
                    Ok(Candidate { content: Content::File(path), .. })
                        if reading.excludes(path.strip_prefix(folder).unwrap_or(path)) =>
                    {
                        ControlFlow::Continue(())
                    }
                    _ => visit(found),
                })
            }
        }
    }
}

pub(in crate::cli) fn ending(path: &Path) -> String {
    path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}

/// An image by its name; names with a dot in front are those of other things.
fn is_image(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && ENDINGS.contains(&ending(path).as_str())
}

/// `file`: the path from the source on, with slashes; with labels from folders, `label`: the innermost folder of it.
fn metadata_of(within: &Path, reading: &Reading) -> Metadata {
    let parts: Vec<_> = within.iter().map(|part| part.to_string_lossy()).filter(|part| part != ".").collect();
    let mut metadata = Metadata::from_iter([("file".to_owned(), parts.join("/").into())]);
    if reading.labels_from_folders
        && let [.., folder, _] = parts.as_slice()
    {
        metadata.insert("label".to_owned(), folder.as_ref().into());
    }
    metadata
}

/// Follows links to files but not to folders, which could lead around in circles.
fn walk(folder: &Path, root: &Path, reading: &Reading, visit: Visit<'_>) -> Result<ControlFlow<()>> {
    let failed = |error| Error::invalid_request(format!("cannot read the folder {}: {error}", folder.display()));
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if folder == root => return Err(failed(error)),
        Err(error) => return Ok(visit(Err(Failed::unreadable(folder.display().to_string(), error)))),
    };
    let mut paths =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    paths.sort();
    for path in paths {
        let within = path.strip_prefix(root).unwrap_or(&path);
        if reading.excludes(within) {
            continue;
        }
        let is_folder = std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
        let flow = if is_folder {
            walk(&path, root, reading, visit)?
        } else if is_image(&path) {
            let metadata = metadata_of(within, reading);
            let name = path.display().to_string();
            visit(Ok(Candidate { name, id: None, metadata, content: Content::File(path) }))
        } else {
            ControlFlow::Continue(())
        };
        if flow.is_break() {
            return Ok(flow);
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn unpack(file: &Path, reading: &Reading, visit: Visit<'_>) -> Result<()> {
    let failed = |error| Error::invalid_request(format!("cannot read {}: {error}", file.display()));
    let mut archive = tar::Archive::new(File::open(file).map_err(failed)?);
    for entry in archive.entries_with_seek().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let within = entry.path().map(|path| path.into_owned()).unwrap_or_default();
        if !entry.header().entry_type().is_file() || !is_image(&within) || reading.excludes(&within) {
            continue;
        }
        let name = format!("{}:{}", file.display(), within.display());
        let candidate = if entry.size() > reading.max_bytes {
            Err(too_large(name, entry.size(), reading.max_bytes))
        } else {
            let mut bytes = Vec::new();
            let metadata = metadata_of(&within, reading);
            match entry.read_to_end(&mut bytes) {
                Ok(_) => Ok(Candidate { name, id: None, metadata, content: Content::Bytes(bytes) }),
                Err(error) => Err(Failed::unreadable(name, error)),
            }
        };
        if visit(candidate).is_break() {
            break;
        }
    }
    Ok(())
}

/// Bytes that a number of a vector has in JSON, at most, with its comma.
const NUMBER_BYTES: u64 = 16;

impl Candidate {
    /// An item with a vector.
    ///
    /// # Errors
    /// It has no id: nothing else tells it from others.
    pub(in crate::cli) fn with_vector(
        name: String,
        id: Option<ItemId>,
        metadata: Metadata,
        content: Content,
    ) -> Result<Self, Failed> {
        if id.is_none() {
            let text = "a vector needs an id: --id-field names the column or field that holds it";
            return Err(Failed::unreadable(name, text));
        }
        Ok(Self { name, id, metadata, content })
    }

    pub(in crate::cli) const fn is_vector(&self) -> bool {
        matches!(self.content, Content::Vector(_))
    }

    /// Bytes of the image, or of the vector as it is sent.
    pub(in crate::cli) fn size(&self) -> u64 {
        match &self.content {
            Content::Vector(vector) => vector.len() as u64 * NUMBER_BYTES,
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File(path) => std::fs::metadata(path).map_or(0, |found| found.len()),
        }
    }

    /// Reads the image, unless it is larger than the server takes. A vector has no bytes to read.
    pub(in crate::cli) fn read(&mut self, max_bytes: u64) -> Result<&[u8], Failed> {
        if let Content::File(path) = &self.content {
            let read = std::fs::metadata(path).and_then(|found| {
                // Opening a pipe would wait for somebody to write into it.
                if !found.is_file() {
                    return Err(std::io::Error::other("skipped: it is not a regular file"));
                }
                let size = found.len();
                if size > max_bytes { Ok(Err(size)) } else { std::fs::read(path).map(Ok) }
            });
            match read {
                Ok(Ok(bytes)) => self.content = Content::Bytes(bytes),
                Ok(Err(size)) => return Err(too_large(self.name.clone(), size, max_bytes)),
                Err(error) => return Err(Failed::unreadable(self.name.clone(), error)),
            }
        }
        match &self.content {
            Content::Bytes(bytes) => Ok(bytes),
            Content::Vector(_) => Ok(&[]),
            Content::File(_) => Err(Failed::unreadable(self.name.clone(), "it was not read")),
        }
    }
}

fn too_large(name: String, size: u64, max_bytes: u64) -> Failed {
    let message = format!("the file has {size} bytes, the server takes {max_bytes}: limits.body_bytes");
    Failed { name, id: None, code: "payload_too_large".to_owned(), message }
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use serde_json::{Value, json};

    use super::*;

    pub(crate) fn reading() -> Reading {
        Reading {
            labels_from_folders: true,
            exclude: Vec::new(),
            path_field: "path".to_owned(),
            id_field: "id".to_owned(),
            vector_field: "vector".to_owned(),
            metadata: None,
            max_bytes: 10,
        }
    }

    /// Everything a source holds.
    pub(crate) fn all(source: &Source, reading: &Reading) -> Vec<Result<Candidate, Failed>> {
        let mut found = Vec::new();
        let mut each = |entry| {
            found.push(entry);
            ControlFlow::Continue(())
        };
        source.each(reading, &mut each).unwrap();
        found
    }

    fn metadata(found: &[Result<Candidate, Failed>]) -> Vec<Value> {
        found.iter().map(|found| Value::Object(found.as_ref().unwrap().metadata.clone())).collect()
    }

    #[test]
    fn folders_are_walked_by_name_and_label_their_images() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for path in ["b/cat/2.JPG", "b/cat/1.png", "b/dog/3.webp", "a.gif", ".hidden.png", "notes.txt", "b/.git/x"] {
            std::fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            std::fs::write(root.join(path), path).unwrap();
        }
        let found = all(&Source::of(root).unwrap(), &reading());
        let expected = [
            json!({"file": "a.gif"}),
            json!({"file": "b/cat/1.png", "label": "cat"}),
            json!({"file": "b/cat/2.JPG", "label": "cat"}),
            json!({"file": "b/dog/3.webp", "label": "dog"}),
        ];
        assert_eq!(metadata(&found), expected);
        let unlabelled = all(&Source::of(root).unwrap(), &Reading { labels_from_folders: false, ..reading() });
        assert_eq!(metadata(&unlabelled)[1], json!({"file": "b/cat/1.png"}));
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_regular_file_is_named_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("a.png");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let mut found = all(&Source::of(folder.path()).unwrap(), &reading());
        let failed = found.pop().unwrap().unwrap().read(10).map(<[u8]>::to_vec).unwrap_err();
        assert!(failed.message.contains("not a regular file") && failed.name.ends_with("a.png"), "{failed:?}");
    }

    #[test]
    fn a_break_ends_the_reading() {
        let folder = tempfile::tempdir().unwrap();
        (0..5).for_each(|n| std::fs::write(folder.path().join(format!("{n}.png")), "x").unwrap());
        let mut seen = 0;
        let mut visit = |_| {
            seen += 1;
            if seen == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        Source::of(folder.path()).unwrap().each(&reading(), &mut visit).unwrap();
        assert_eq!(seen, 2);
    }

    #[test]
    fn tar_files_hold_what_a_folder_would() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set.tar");
        let mut archive = tar::Builder::new(File::create(&path).unwrap());
        for (name, bytes) in [("./cat/1.png", "one"), ("cat/notes.txt", "no"), ("large.png", "more than ten bytes")] {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, bytes.as_bytes()).unwrap();
        }
        archive.finish().unwrap();
        let mut found = all(&Source::of(&path).unwrap(), &reading());
        assert_eq!(found.len(), 2);
        let large = found.pop().unwrap().unwrap_err();
        assert_eq!(large.code, "payload_too_large");
        let mut one = found.pop().unwrap().unwrap();
        assert_eq!(Value::Object(one.metadata.clone()), json!({"file": "cat/1.png", "label": "cat"}));
        assert!(one.name.ends_with("set.tar:./cat/1.png") || one.name.ends_with("set.tar:cat/1.png"), "{}", one.name);
        assert_eq!(one.read(10).unwrap(), b"one");
    }

    #[test]
    fn other_paths_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("set.zip");
        std::fs::write(&file, "x").unwrap();
        assert!(Source::of(&file).unwrap_err().message().contains("neither a folder"));
        assert!(Source::of(&folder.path().join("none")).unwrap_err().message().contains("cannot read"));
    }

    #[test]
    fn images_that_cannot_be_read_say_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let candidate = |path: PathBuf| Candidate {
            name: "a".to_owned(),
            id: None,
            metadata: Metadata::new(),
            content: Content::File(path),
        };
        assert_eq!(candidate(path.clone()).read(10).unwrap_err().code, "unreadable");
        std::fs::write(&path, "more than ten bytes").unwrap();
        assert_eq!(candidate(path.clone()).read(10).unwrap_err().code, "payload_too_large");
        assert_eq!(candidate(path).read(100).unwrap(), b"more than ten bytes");
    }
}
