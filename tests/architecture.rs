//! Holds the direction of the arrows between rooms. A room is a module, an arrow is an import: one that is not in the
//! table fails here, and so does a permission in the table that nothing uses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what a test takes for granted is a part of what it proves"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Every room may use these.
const LEAVES: [&str; 10] =
    ["admission", "compute", "config", "domain", "error", "memory", "simd", "telemetry", "threads", "tls"];

/// The rooms that a leaf may use all the same: each one's own ground.
const LEAF_ARROWS: [(&str, &[&str]); 10] = [
    ("admission", &["error", "telemetry"]),
    ("compute", &["error", "threads"]),
    ("config", &["domain", "error", "telemetry"]),
    ("domain", &["error"]),
    ("error", &[]),
    ("memory", &[]),
    ("simd", &[]),
    ("telemetry", &["error", "threads"]),
    ("threads", &[]),
    ("tls", &[]),
];

/// The rooms that a room may import besides the leaves and itself. An inner room stands with its whole path; what
/// remains of the room around it is a room of its own.
const ARROWS: [(&str, &[&str]); 24] = [
    ("runtime", &[]),
    ("batch", &["runtime"]),
    ("image", &[]),
    ("model", &["batch", "runtime", "image"]),
    ("anomaly", &["image"]),
    ("index", &[]),
    ("index/qdrant", &["index"]),
    (
        "index/embedded",
        &[
            "index",
            "index/embedded/storage",
            "index/embedded/quantized",
            "index/embedded/graph",
            "index/embedded/memory",
            "index/embedded/search",
            "index/embedded/maintenance",
        ],
    ),
    ("index/embedded/storage", &["index"]),
    ("index/embedded/quantized", &[]),
    ("index/embedded/graph", &["index/embedded/storage"]),
    ("index/embedded/memory", &["index", "index/embedded/quantized", "index/embedded/graph"]),
    (
        "index/embedded/search",
        &[
            "index",
            "index/embedded/storage",
            "index/embedded/quantized",
            "index/embedded/graph",
            "index/embedded/memory",
        ],
    ),
    (
        "index/embedded/maintenance",
        &[
            "index/embedded",
            "index/embedded/storage",
            "index/embedded/quantized",
            "index/embedded/graph",
            "index/embedded/memory",
            "index/embedded/search",
        ],
    ),
    ("statistics", &[]),
    ("store", &["index"]),
    ("webhook", &[]),
    ("pipeline", &["model", "anomaly", "image", "batch"]),
    ("service", &["pipeline", "model", "anomaly", "index", "statistics", "store", "webhook", "image", "batch"]),
    ("http", &["service", "model", "anomaly", "index", "image"]),
    ("app", &["http", "service", "model", "index", "store", "webhook", "batch", "runtime"]),
    ("cli", &["app", "http", "model"]),
    ("main", &["cli", "runtime"]),
    ("lib", &[]),
];

/// Crates that one room alone may name, or that one and the others that stand with it.
const KEPT_INSIDE: [(&str, &str); 14] = [
    ("axum", "src/http"),
    ("tower", "src/http"),
    ("utoipa_axum", "src/http"),
    ("ort", "src/runtime"),
    ("redb", "src/index/embedded"),
    ("qdrant_client", "src/index/qdrant"),
    ("tonic", "src/index/qdrant"),
    ("object_store", "src/store"),
    ("ring", "src/webhook"),
    ("rustls", "src/tls.rs"),
    ("bhtsne", "src/statistics"),
    ("nalgebra", "src/statistics"),
    ("rayon", "src/compute"),
    ("rayon", "src/statistics"),
];

#[test]
fn every_arrow_between_rooms_is_in_the_table_and_every_permission_is_used() {
    let rooms = Rooms::of_the_table();
    let mut forbidden = BTreeSet::new();
    let mut used = BTreeSet::new();
    for source in sources() {
        let from = rooms.of(&source.module).unwrap_or_else(|| panic!("{} is in no room", source.path.display()));
        for path in source.paths() {
            let Some(to) = rooms.of(&path).filter(|to| *to != from) else { continue };
            if rooms.allows(from, to) {
                used.insert((from, to));
            } else {
                forbidden.insert(format!("{}: {from} → {to} by {}", source.path.display(), path.join("::")));
            }
        }
    }
    let unused: Vec<_> = rooms.permissions().filter(|permission| !used.contains(permission)).collect();
    let forbidden: Vec<_> = forbidden.into_iter().collect();
    assert!(forbidden.is_empty(), "arrows that are not in the table:\n{}", forbidden.join("\n"));
    assert!(unused.is_empty(), "permissions that nothing uses: {unused:?}");
}

#[test]
fn each_foreign_engine_is_named_in_its_room_and_only_there() {
    let (mut wrong, mut at_home) = (Vec::new(), BTreeSet::new());
    for source in sources() {
        let heads = source.heads();
        for (name, _) in KEPT_INSIDE.iter().filter(|(name, _)| heads.contains(name)) {
            let home = KEPT_INSIDE.iter().find(|(other, home)| other == name && source.path.starts_with(home));
            if let Some(home) = home {
                at_home.insert(home);
            } else {
                wrong.push(format!("{} names {name}, which belongs elsewhere", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let missing: Vec<_> = KEPT_INSIDE.iter().filter(|home| !at_home.contains(home)).collect();
    assert!(missing.is_empty(), "crates that their room does not name: {missing:?}");
}

#[test]
fn no_path_climbs_two_modules_at_once() {
    let climbs = |source: &Source| source.text.contains("super::super");
    let climbing: Vec<_> = sources().into_iter().filter(climbs).map(|source| source.path).collect();
    assert!(climbing.is_empty(), "name the room instead (crate::room): {climbing:?}");
}

#[test]
fn every_type_that_the_glossary_names_is_there() {
    let glossary = fs::read_to_string(root().join("docs/GLOSSARY.md")).unwrap();
    let kinds = ["struct", "enum", "trait", "type"];
    let all: Vec<Source> = sources();
    let is_defined = |name: &str| {
        kinds.iter().any(|kind| {
            let defines = |source: &Source| {
                let mark = format!("{kind} {name}");
                let ends = |(at, _): (usize, &str)| !source.text[at + mark.len()..].starts_with(is_name);
                source.text.match_indices(&mark).any(ends)
            };
            all.iter().any(defines)
        })
    };
    let types =
        glossary.lines().filter_map(|line| line.trim_end_matches('|').rsplit_once('|')).flat_map(|(_, cell)| {
            let named = cell.split('`').skip(1).step_by(2);
            named.filter(|name| name.starts_with(|first: char| first.is_ascii_uppercase()))
        });
    let missing: Vec<&str> = types.filter(|name| !is_defined(name)).collect();
    assert!(missing.is_empty(), "types that docs/GLOSSARY.md names and src does not define: {missing:?}");
}

#[test]
fn main_only_boots() {
    let lines = fs::read_to_string(root().join("src/main.rs")).unwrap().lines().count();
    assert!(lines < 80, "main.rs has {lines} lines");
}

#[test]
fn relative_and_nested_imports_are_seen_as_the_modules_they_name() {
    let text = "
        // use crate::comment::Ignored;
        use crate::{error::{Error, Result}, index};
        use super::{super::runtime::Session, sibling as other};
        fn f() -> crate::domain::Name { self::inner::g::<super::Up>() }
        #[cfg(test)]
        mod tests { use crate::only_in_tests::T; }
    ";
    let source = Source::new(PathBuf::from("src/batch/deep/worker.rs"), text);
    let seen: BTreeSet<String> = source.paths().into_iter().map(|path| path.join("::")).collect();
    let expected = [
        "error::Error",
        "error::Result",
        "index",
        "batch::runtime::Session",
        "batch::deep::sibling",
        "domain::Name",
        "batch::deep::worker::inner::g",
        "batch::deep::Up",
    ];
    assert_eq!(seen, expected.into_iter().map(str::to_owned).collect());
    assert!(source.heads().contains("crate") && !source.heads().contains("inner"));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The table, with the modules that each room covers.
struct Rooms {
    arrows: BTreeMap<&'static str, &'static [&'static str]>,
}

impl Rooms {
    fn of_the_table() -> Self {
        let arrows: BTreeMap<_, _> = ARROWS.into_iter().chain(LEAF_ARROWS).collect();
        assert!(LEAVES.iter().all(|leaf| arrows.contains_key(leaf)), "every leaf says what it stands on");
        Self { arrows }
    }

    /// The room of a module or an item: the longest in the table that its path begins with.
    fn of(&self, path: &[String]) -> Option<&'static str> {
        let covers = |room: &&&'static str| {
            let parts: Vec<&str> = room.split('/').collect();
            path.len() >= parts.len() && parts.iter().zip(path).all(|(part, name)| part == name)
        };
        self.arrows.keys().filter(covers).max_by_key(|room| room.len()).copied()
    }

    fn allows(&self, from: &str, to: &str) -> bool {
        self.arrows[from].contains(&to) || LEAVES.contains(&to) && !LEAVES.contains(&from)
    }

    fn permissions(&self) -> impl Iterator<Item = (&'static str, &'static str)> + '_ {
        self.arrows.iter().flat_map(|(from, to)| to.iter().map(move |to| (*from, *to)))
    }
}

/// A source file, without its comments and its unit tests.
struct Source {
    path: PathBuf,
    /// The path of the module that the file is.
    module: Vec<String>,
    text: String,
}

impl Source {
    fn new(path: PathBuf, text: &str) -> Self {
        let inside = path.strip_prefix("src").unwrap().with_extension("");
        let mut module: Vec<String> =
            inside.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
        module.pop_if(|name| name == "mod");
        let tests = |&(at, mark): &(usize, &str)| text[at + mark.len()..].trim_start().starts_with("mod tests {");
        let end = text.match_indices("#[cfg(test)]").find(tests).map_or(text.len(), |(at, _)| at);
        let lines = text[..end].lines().filter(|line| !line.trim_start().starts_with("//"));
        Self { path, module, text: lines.collect::<Vec<_>>().join("\n") }
    }

    /// Every path of this crate that the file names, from the crate's root on.
    fn paths(&self) -> Vec<Vec<String>> {
        let mut found = Vec::new();
        let mut end = 0;
        for (at, head) in self.path_starts() {
            // Inside the braces of a use, `super::x` continues the path before them, and was read with it.
            if at < end {
                continue;
            }
            let rest = &self.text[at + head.len() + 2..];
            let base = match head {
                "crate" | "latentd" => Some(Vec::new()),
                "self" => Some(self.module.clone()),
                "super" => self.module.split_last().map(|(_, parent)| parent.to_vec()),
                _ => None,
            };
            if let Some(base) = base {
                end = self.text.len() - tree(rest, base, &mut found).len();
            }
        }
        found
    }

    /// The words that stand at the head of a path: the `a` of `a::b`, but not the `b` of `a::b::c`.
    fn heads(&self) -> BTreeSet<&str> {
        self.path_starts().into_iter().map(|(_, head)| head).collect()
    }

    /// Where paths begin, and their first words.
    fn path_starts(&self) -> Vec<(usize, &str)> {
        let mut starts = Vec::new();
        for (at, _) in self.text.match_indices("::") {
            let before = &self.text[..at];
            let word = before.trim_end_matches(is_name).len();
            if word < at && !before[..word].ends_with("::") {
                starts.push((word, &before[word..]));
            }
        }
        starts
    }
}

/// Collects the paths of a use tree (or of a plain path) that begins at `text`, below `base`. Returns what follows it.
fn tree<'a>(text: &'a str, base: Vec<String>, found: &mut Vec<Vec<String>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut list) = text.strip_prefix('{') {
        loop {
            list = tree(list, base.clone(), found).trim_start();
            match list.strip_prefix(',') {
                Some(more) => list = more,
                None => return list.strip_prefix('}').unwrap_or(list),
            }
        }
    }
    let length = text.len() - text.trim_start_matches(is_name).len();
    let (name, rest) = text.split_at(length);
    if name.is_empty() {
        return rest.strip_prefix('*').unwrap_or(rest);
    }
    let mut path = base;
    match name {
        "self" => {}
        "super" => drop(path.pop()),
        name => path.push(name.to_owned()),
    }
    match rest.strip_prefix("::") {
        Some(more) if more.starts_with(|c: char| is_name(c) || c == '{' || c == '*') => tree(more, path, found),
        _ => {
            found.push(path);
            // `as other` of a use
            rest.trim_start().strip_prefix("as ").map_or(rest, |alias| alias.trim_start().trim_start_matches(is_name))
        }
    }
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Every source file but those of tests.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") && !is_test_file(&path) {
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source::new(path.strip_prefix(root()).unwrap().to_path_buf(), &text));
            }
        }
    }
    assert!(found.len() > 50, "only {} sources were found", found.len());
    found
}

fn is_test_file(path: &Path) -> bool {
    let is_test = |name: &str| matches!(name, "tests" | "fixtures" | "fake" | "conformance");
    path.with_extension("").iter().any(|part| is_test(&part.to_string_lossy()))
        && !path.strip_prefix(root()).unwrap().starts_with("tests")
}
