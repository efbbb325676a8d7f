//! Holds the direction of the arrows between rooms: an import that runs back up fails here.
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

/// Anyone may use these.
const LEAVES: [&str; 10] =
    ["admission", "compute", "domain", "error", "config", "memory", "simd", "telemetry", "threads", "tls"];

/// Which rooms a room may import besides the leaves and itself.
const ARROWS: [(&str, &[&str]); 23] = [
    ("admission", &[]),
    ("compute", &[]),
    ("domain", &[]),
    ("error", &[]),
    ("config", &[]),
    ("simd", &[]),
    ("telemetry", &[]),
    ("memory", &[]),
    ("threads", &[]),
    ("tls", &[]),
    ("runtime", &[]),
    ("batch", &["runtime"]),
    ("image", &[]),
    ("model", &["batch", "runtime", "image"]),
    ("anomaly", &["image", "batch"]),
    ("index", &[]),
    ("statistics", &[]),
    ("store", &["index"]),
    ("service", &["model", "anomaly", "index", "statistics", "store", "image", "batch"]),
    ("http", &["service", "model", "anomaly", "index", "image"]),
    ("app", &["http", "service", "model", "index", "store", "image", "batch", "runtime"]),
    ("cli", &["app", "http", "model"]),
    ("main", &["cli", "runtime"]),
];

/// Crates that only one room may name.
const KEPT_INSIDE: [(&str, &str); 12] = [
    ("axum", "src/http"),
    ("tower", "src/http"),
    ("utoipa_axum", "src/http"),
    ("ort", "src/runtime"),
    ("redb", "src/index/embedded"),
    ("usearch", "src/index/embedded"),
    ("qdrant_client", "src/index/qdrant"),
    ("tonic", "src/index/qdrant"),
    ("object_store", "src/store"),
    ("rustls", "src/tls.rs"),
    ("bhtsne", "src/statistics"),
    ("rayon", "src/statistics"),
];

#[test]
fn no_arrow_between_rooms_runs_back_up() {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let room = room_of(&path);
        if room == "lib" {
            continue;
        }
        let targets = allowed.get(room.as_str()).unwrap_or_else(|| panic!("{room} is not in the table of rooms"));
        for target in imports(&text) {
            let fine = target == room || LEAVES.contains(&target.as_str()) || targets.contains(&target.as_str());
            if !fine {
                wrong.push(format!("{}: {room} → {target}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows against the direction:\n{}", wrong.join("\n"));
}

#[test]
fn each_foreign_engine_is_named_in_its_room_only() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        for (name, home) in KEPT_INSIDE {
            let named = text.contains(&format!("use {name}::")) || words_before_path(&text).contains(name);
            if named && !path.starts_with(home) {
                wrong.push(format!("{} names {name}, which belongs to {home}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn main_only_boots() {
    let lines = fs::read_to_string(root().join("src/main.rs")).unwrap().lines().count();
    assert!(lines < 80, "main.rs has {lines} lines");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn room_of(path: &Path) -> String {
    let first = path.components().nth(1).unwrap().as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// Every source file with its text, without comments and unit tests.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") && !is_test_file(&path) {
                let text = fs::read_to_string(&path).unwrap();
                let relative = path.strip_prefix(root()).unwrap().to_path_buf();
                found.push((relative, without_comments_and_tests(&text)));
            }
        }
    }
    assert!(found.len() > 50, "only {} sources were found", found.len());
    found
}

fn is_test_file(path: &Path) -> bool {
    let name = path.file_stem().unwrap().to_string_lossy();
    let folder = path.parent().unwrap().file_name().unwrap().to_string_lossy();
    matches!(name.as_ref(), "tests" | "fixtures" | "fake" | "conformance")
        || matches!(folder.as_ref(), "tests" | "conformance")
}

fn without_comments_and_tests(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The rooms named in `crate::room` and in `use crate::{room::…, room, …}`.
fn imports(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for after in text.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            None => found.extend(word(after)),
            Some(list) => {
                let mut depth = 0;
                let mut at_start = true;
                for (at, character) in list.char_indices() {
                    match character {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => at_start = true,
                        c if at_start && !c.is_whitespace() => {
                            found.extend(word(&list[at..]));
                            at_start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found.retain(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
    found
}

fn word(text: &str) -> Option<String> {
    let word: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!word.is_empty()).then_some(word)
}

/// Every word that stands at the head of a path: the `a` of `a::b`, but not the `b` of `a::b::c`.
fn words_before_path(text: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("::") {
        let head = &text[..at];
        let start = head
            .rfind(|c: char| !(c.is_alphanumeric() || c == '_'))
            .map_or(0, |found| found + head[found..].chars().next().map_or(1, char::len_utf8));
        if !head[..start].ends_with("::") {
            found.insert(&head[start..]);
        }
    }
    found
}
