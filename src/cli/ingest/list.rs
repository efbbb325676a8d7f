//! Lists of images: CSV with a head line, or one JSON object a line.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    ops::ControlFlow,
    path::Path,
};

use serde_json::Value;

use super::source::{Candidate, Content, Failed, Reading, Visit, ending};
use crate::{
    domain::{Metadata, check_integers},
    error::{Error, Result},
};

/// Calls back with every row: its image's path, from the list's folder on; its id, if it has one; and all else as
/// metadata.
pub(super) fn each(file: &Path, reading: &Reading, visit: Visit<'_>) -> Result<()> {
    let failed = |error: std::io::Error| Error::invalid_request(format!("cannot read {}: {error}", file.display()));
    let opened = File::open(file).map_err(failed)?;
    if ending(file) == "csv" {
        return csv_rows(file, opened, reading, visit);
    }
    for (at, line) in BufReader::new(opened).lines().enumerate() {
        let line = line.map_err(failed)?;
        if line.trim().is_empty() {
            continue;
        }
        let name = format!("{}:{}", file.display(), at + 1);
        let row = match serde_json::from_str::<Value>(&line) {
            Ok(Value::Object(row)) => match check_integers(&line) {
                Ok(()) => candidate(&name, row, file, reading),
                Err(error) => Err(Failed::unreadable(name, error.message())),
            },
            Ok(_) => Err(Failed::unreadable(name, "the line is not a JSON object")),
            Err(error) => Err(Failed::unreadable(name, format_args!("the line is not JSON: {error}"))),
        };
        if visit(row).is_break() {
            return Ok(());
        }
    }
    Ok(())
}

fn csv_rows(file: &Path, opened: File, reading: &Reading, visit: Visit<'_>) -> Result<()> {
    let shown = file.display();
    let mut rows = csv::Reader::from_reader(opened);
    let head =
        rows.headers().map_err(|error| Error::invalid_request(format!("{shown} has no head line: {error}")))?.clone();
    if !head.iter().any(|name| name == reading.path_field) {
        let names = head.iter().collect::<Vec<_>>().join(", ");
        let text = format!("{shown} has no column {:?}: --path-field names one of {names}", reading.path_field);
        return Err(Error::invalid_request(text));
    }
    for row in rows.records() {
        let row = match row {
            Ok(row) => {
                let line = row.position().map_or(0, csv::Position::line);
                let cells = head.iter().zip(&row).filter(|(_, cell)| !cell.is_empty());
                let value = |(name, cell): (&str, &str)| {
                    let is_text = name == reading.path_field || name == reading.id_field;
                    (name.to_owned(), if is_text { cell.into() } else { typed(cell) })
                };
                candidate(&format!("{shown}:{line}"), cells.map(value).collect(), file, reading)
            }
            Err(error) => Err(Failed::unreadable(shown.to_string(), error)),
        };
        if visit(row) == ControlFlow::Break(()) {
            break;
        }
    }
    Ok(())
}

/// A cell that spells a JSON number or a truth value is one; every other is text: `007`, `1e999`, and whole numbers that
/// 64 bits do not hold.
fn typed(cell: &str) -> Value {
    match serde_json::from_str(cell) {
        Ok(value @ (Value::Number(_) | Value::Bool(_))) if check_integers(cell).is_ok() => value,
        _ => cell.into(),
    }
}

fn candidate(name: &str, mut row: Metadata, list: &Path, reading: &Reading) -> Result<Candidate, Failed> {
    let bad = |message: String| Failed::unreadable(name, message);
    let path = match row.shift_remove(&reading.path_field) {
        Some(Value::String(path)) if !path.is_empty() => path,
        _ => return Err(bad(format!("no path of an image stands in {:?}", reading.path_field))),
    };
    let id = match row.shift_remove(&reading.id_field) {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) => Some(id),
        Some(Value::Number(id)) => Some(id.to_string()),
        Some(_) => return Err(bad(format!("{:?} is neither a text nor a number", reading.id_field))),
    };
    let id = id.map(|id| id.parse()).transpose().map_err(|error: Error| bad(error.message().to_owned()))?;
    let mut metadata = row;
    let path = list.parent().unwrap_or_else(|| Path::new("")).join(path);
    if reading.labels_from_folders
        && !metadata.contains_key("label")
        && let Some(folder) = path.parent().and_then(Path::file_name)
    {
        metadata.insert("label".to_owned(), folder.to_string_lossy().into());
    }
    Ok(Candidate { name: path.display().to_string(), id, metadata, content: Content::File(path) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::source::{
            Source,
            tests::{all, reading},
        },
        *,
    };

    /// Path, id and metadata of a row, or what is wrong with it.
    type Row = Result<(String, Option<String>, Value), String>;

    fn read(name: &str, text: &str) -> Vec<Row> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        let prefix = format!("{}/", folder.path().display());
        let reading = Reading { labels_from_folders: false, ..reading() };
        let found = all(&Source::of(&file).unwrap(), &reading).into_iter().map(|row| {
            let row = row.map_err(|failed| format!("{}: {}", failed.name.replace(&prefix, ""), failed.message))?;
            Ok((row.name.replace(&prefix, ""), row.id.map(String::from), Value::Object(row.metadata)))
        });
        found.collect()
    }

    #[test]
    fn a_csv_gives_paths_ids_and_typed_metadata() {
        let rows = read(
            "list.csv",
            "id,path,label,price,ok,code\n7,a/1.png,cat,1.5,true,007\n,\"b,2.png\",18446744073709551616,-3,no,1e999\n",
        );
        assert_eq!(
            rows[0],
            Ok(("a/1.png".into(), Some("7".into()), json!({"label": "cat", "price": 1.5, "ok": true, "code": "007"})))
        );
        assert_eq!(
            rows[1],
            Ok((
                "b,2.png".into(),
                None,
                json!({"label": "18446744073709551616", "price": -3, "ok": "no", "code": "1e999"})
            ))
        );
    }

    #[test]
    fn ndjson_gives_its_objects_and_names_bad_lines() {
        let text = "{\"path\": \"1.png\", \"id\": 5, \"tags\": [\"a\"]}\n\n[1]\n{\"path\": 1}\nnot json\n{\"path\": \"2.png\", \"id\": \"\"}\n{\"path\": \"3.png\", \"n\": 18446744073709551616}\n";
        let rows = read("list.ndjson", text);
        assert_eq!(rows[0], Ok(("1.png".into(), Some("5".into()), json!({"tags": ["a"]}))));
        for (row, part) in rows[1..].iter().zip([
            "list.ndjson:3: the line is not a JSON object",
            "list.ndjson:4: no path",
            "list.ndjson:5: the line is not JSON",
            "list.ndjson:6: an item id has",
            "list.ndjson:7: the whole number 18446744073709551616 does not fit",
        ]) {
            assert!(row.as_ref().unwrap_err().contains(part), "{row:?}");
        }
    }

    #[test]
    fn a_csv_without_the_column_says_which_there_are() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("list.csv");
        std::fs::write(&file, "image,label\n1.png,cat\n").unwrap();
        let error = Source::of(&file).unwrap().each(&reading(), &mut |_| ControlFlow::Continue(())).unwrap_err();
        assert!(error.message().contains("--path-field") && error.message().contains("image, label"), "{error}");
    }
}
