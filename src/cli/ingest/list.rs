//! Lists of items: CSV with a head line, or one JSON object a line.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    ops::ControlFlow,
    path::Path,
};

use serde_json::Value;

use super::source::{Candidate, Content, Failed, Reading, Visit, ending};
use crate::{
    domain::{ItemId, Metadata, check_integers},
    error::{Error, Result},
};

/// A row of a list.
#[derive(Debug)]
pub(super) struct Row {
    /// How messages call it: the file and the line.
    name: String,
    fields: Metadata,
}

/// Takes what a list holds, row by row; a break ends the reading.
type VisitRow<'a> = &'a mut dyn FnMut(Result<Row, Failed>) -> ControlFlow<()>;

/// Calls back with every row: an image by its path, from the list's folder on, or a vector; its id, if it has one; and
/// all else as metadata.
pub(super) fn each(file: &Path, reading: &Reading, visit: Visit<'_>) -> Result<()> {
    let column = Some(reading.path_field.as_str());
    read(file, reading, column, &mut |row| visit(row.and_then(|row| row.candidate(file, reading))))
}

/// Calls back with every row of a list that need not name images.
pub(super) fn rows(file: &Path, reading: &Reading, visit: VisitRow<'_>) -> Result<()> {
    read(file, reading, None, visit)
}

/// Reads a list; of a CSV, `column` has to be among the columns.
fn read(file: &Path, reading: &Reading, column: Option<&str>, visit: VisitRow<'_>) -> Result<()> {
    let failed = |error: std::io::Error| Error::invalid_request(format!("cannot read {}: {error}", file.display()));
    let opened = File::open(file).map_err(failed)?;
    if ending(file) == "csv" {
        return csv_rows(file, csv::Reader::from_reader(opened), (reading, column), visit);
    }
    for (at, line) in BufReader::new(opened).lines().enumerate() {
        let line = line.map_err(failed)?;
        if line.trim().is_empty() {
            continue;
        }
        let name = format!("{}:{}", file.display(), at + 1);
        let row = match serde_json::from_str::<Value>(&line) {
            Ok(Value::Object(fields)) => match check_integers(&line) {
                Ok(()) => Ok(Row { name, fields }),
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

fn csv_rows(
    file: &Path,
    mut rows: csv::Reader<File>,
    (reading, column): (&Reading, Option<&str>),
    visit: VisitRow<'_>,
) -> Result<()> {
    let shown = file.display();
    let head =
        rows.headers().map_err(|error| Error::invalid_request(format!("{shown} has no head line: {error}")))?.clone();
    if let Some(column) = column.filter(|column| !head.iter().any(|name| name == *column)) {
        let names = head.iter().collect::<Vec<_>>().join(", ");
        let text = format!("{shown} has no column {column:?}: --path-field names one of {names}");
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
                Ok(Row { name: format!("{shown}:{line}"), fields: cells.map(value).collect() })
            }
            Err(error) => Err(Failed::unreadable(shown.to_string(), error)),
        };
        if visit(row).is_break() {
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

impl Row {
    /// The row's id, if it has one, and what else stands in it.
    pub(super) fn id_and_metadata(mut self, reading: &Reading) -> Result<(Option<ItemId>, Metadata), Failed> {
        let bad = |message: String| Failed::unreadable(&self.name, message);
        let id = match self.fields.shift_remove(&reading.id_field) {
            None | Some(Value::Null) => None,
            Some(Value::String(id)) => Some(id),
            Some(Value::Number(id)) => Some(id.to_string()),
            Some(_) => return Err(bad(format!("{:?} is neither a text nor a number", reading.id_field))),
        };
        let id = id.map(|id| id.parse()).transpose().map_err(|error: Error| bad(error.message().to_owned()))?;
        Ok((id, self.fields))
    }

    fn candidate(mut self, list: &Path, reading: &Reading) -> Result<Candidate, Failed> {
        if let Some(vector) = self.fields.shift_remove(&reading.vector_field) {
            let name = self.name.clone();
            let content = Content::vector(&name, numbers(&vector).map_err(|why| Failed::unreadable(&name, why))?)?;
            let (id, metadata) = self.id_and_metadata(reading)?;
            return Candidate::with_vector(name, id, metadata, content);
        }
        let path = match self.fields.shift_remove(&reading.path_field) {
            Some(Value::String(path)) if !path.is_empty() => path,
            _ => {
                let text = format!(
                    "no path of an image stands in {:?}, and no vector in {:?}",
                    reading.path_field, reading.vector_field
                );
                return Err(Failed::unreadable(self.name, text));
            }
        };
        let (id, mut metadata) = self.id_and_metadata(reading)?;
        let path = list.parent().unwrap_or_else(|| Path::new("")).join(path);
        if reading.labels_from_folders
            && !metadata.contains_key("label")
            && let Some(folder) = path.parent().and_then(Path::file_name)
        {
            metadata.insert("label".to_owned(), folder.to_string_lossy().into());
        }
        Ok(Candidate { name: path.display().to_string(), id, metadata, content: Content::File(path) })
    }
}

/// The numbers of a JSON list.
fn numbers(value: &Value) -> Result<Vec<f32>, String> {
    let Value::Array(values) = value else { return Err("the vector is not a list of numbers".to_owned()) };
    let number = |(at, value): (usize, &Value)| match value.as_f64() {
        #[expect(clippy::cast_possible_truncation, reason = "vectors are kept as f32")]
        Some(number) => Ok(number as f32),
        None => Err(format!("element {at} of the vector is not a number")),
    };
    values.iter().enumerate().map(number).collect()
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
    fn a_row_with_a_vector_is_one_and_needs_an_id() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("list.ndjson");
        let text = "{\"id\": \"a\", \"vector\": [1, -0.5], \"n\": 7}\n{\"vector\": [1]}\n\
                    {\"id\": \"b\", \"vector\": [1, \"x\"]}\n{\"id\": \"c\", \"vector\": 5}\n\
                    {\"id\": \"d\", \"vector\": [1e39]}\n";
        std::fs::write(&file, text).unwrap();
        let reading = Reading { max_bytes: 1000, ..reading() };
        let mut rows = all(&Source::of(&file).unwrap(), &reading).into_iter();
        let first = rows.next().unwrap().unwrap();
        assert_eq!((first.id.map(String::from), Value::Object(first.metadata)), (Some("a".into()), json!({"n": 7})));
        assert!(matches!(first.content, Content::Vector(vector) if vector == [1.0, -0.5]));
        for (row, part) in rows.zip([
            "list.ndjson:2: a vector needs an id",
            "list.ndjson:3: element 1 of the vector is not a number",
            "list.ndjson:4: the vector is not a list of numbers",
            "list.ndjson:5: element 0 of the vector is not a finite number",
        ]) {
            let failed = row.unwrap_err();
            assert!(format!("{}: {}", failed.name, failed.message).contains(part), "{failed:?}");
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
