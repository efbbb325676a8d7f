//! Vectors of a NumPy file `.npy`: one for each row of an array of two axes.

use std::{
    fs::File,
    io::{BufReader, Read as _},
    ops::ControlFlow,
    path::Path,
};

use half::f16;

use super::{
    list::{self, Row},
    source::{Candidate, Content, Failed, Reading, Visit},
};
use crate::{
    domain::{ItemId, Metadata},
    error::{Error, Result},
    model::NpyHeader,
};

/// How a number lies in the file.
#[derive(Debug, Clone, Copy)]
enum Number {
    F16,
    F32,
    F64,
}

impl Number {
    const fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    fn all(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F16 => bytes.as_chunks().0.iter().map(|number| f16::from_le_bytes(*number).to_f32()).collect(),
            Self::F32 => bytes.as_chunks().0.iter().map(|number| f32::from_le_bytes(*number)).collect(),
            #[expect(clippy::cast_possible_truncation, reason = "vectors are kept as f32")]
            Self::F64 => bytes.as_chunks().0.iter().map(|number| f64::from_le_bytes(*number) as f32).collect(),
        }
    }
}

/// An open file, before its first or behind its last row that was read.
struct Rows {
    reader: BufReader<File>,
    number: Number,
    count: usize,
    dimension: usize,
    /// Rows that were read.
    read: usize,
}

impl Rows {
    fn open(file: &Path) -> Result<Self> {
        let wrong = |reason: String| Error::invalid_request(format!("{}: {reason}", file.display()));
        let opened = File::open(file).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        let mut reader = BufReader::new(opened);
        let NpyHeader { dtype, shape } = NpyHeader::read(&mut reader).map_err(wrong)?;
        let number = match dtype.as_str() {
            "<f2" => Number::F16,
            "<f4" => Number::F32,
            "<f8" => Number::F64,
            other => {
                let text =
                    format!("the array is of type {other}; vectors are float16, float32 or float64 (<f2, <f4, <f8)");
                return Err(wrong(text));
            }
        };
        let [count, dimension] = shape[..] else {
            return Err(wrong(format!("the array has the shape {shape:?}; vectors are [count, dimension]")));
        };
        Ok(Self { reader, number, count, dimension, read: 0 })
    }

    /// The next vector; none behind the last.
    fn next(&mut self) -> std::io::Result<Option<Vec<f32>>> {
        if self.read == self.count {
            return Ok(None);
        }
        let mut bytes = vec![0; self.number.bytes() * self.dimension];
        self.reader.read_exact(&mut bytes)?;
        self.read += 1;
        Ok(Some(self.number.all(&bytes)))
    }
}

/// Calls back with every vector. Its id and metadata are those of its row in the list that `--metadata` names; without
/// one, the id is the number of the row, from 0.
pub(super) fn each(file: &Path, reading: &Reading, visit: Visit<'_>) -> Result<()> {
    let mut rows = Rows::open(file)?;
    let short = |error: std::io::Error| Error::invalid_request(format!("{} ends early: {error}", file.display()));
    let Some(list) = &reading.metadata else {
        while let Some(vector) = rows.next().map_err(short)? {
            let at = rows.read - 1;
            let id = at.to_string().parse::<ItemId>();
            let id = id.map_err(|error| Failed::unreadable(at.to_string(), error.message()));
            let named = id.map(|id| (Some(id), Metadata::new()));
            if visit(candidate_of(file, at, named, vector)).is_break() {
                return Ok(());
            }
        }
        return Ok(());
    };
    let mut outcome = Ok(());
    let mut stopped = false;
    list::rows(list, reading, &mut |row| {
        match rows.next() {
            Ok(Some(vector)) => {
                let at = rows.read - 1;
                let named = row.and_then(|row: Row| row.id_and_metadata(reading));
                let flow = visit(candidate_of(file, at, named, vector));
                stopped = flow.is_break();
                return flow;
            }
            Ok(None) => {
                let (shown, count) = (list.display(), rows.count);
                let text = format!("{shown} has more rows than {} has vectors, {count}", file.display());
                outcome = Err(Error::invalid_request(text));
            }
            Err(error) => outcome = Err(short(error)),
        }
        ControlFlow::Break(())
    })?;
    if !stopped && outcome.is_ok() && rows.read < rows.count {
        let (shown, read) = (list.display(), rows.read);
        let text = format!("{shown} has {read} rows for the {} vectors of {}", rows.count, file.display());
        return Err(Error::invalid_request(text));
    }
    outcome
}

fn candidate_of(
    file: &Path,
    at: usize,
    named: Result<(Option<ItemId>, Metadata), Failed>,
    vector: Vec<f32>,
) -> Result<Candidate, Failed> {
    let name = format!("{}:{at}", file.display());
    let (id, metadata) = named?;
    let content = Content::vector(&name, vector)?;
    Candidate::with_vector(name, id, metadata, content)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{
        super::source::{Source, tests::reading},
        *,
    };

    /// The bytes of an `.npy` file.
    fn npy(dtype: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let length = u16::try_from(header.len()).unwrap().to_le_bytes();
        [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
    }

    type Found = (String, Vec<f32>, Value);

    fn read(bytes: &[u8], list: Option<&str>) -> Result<Vec<Result<Found, Failed>>> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("v.npy");
        std::fs::write(&file, bytes).unwrap();
        let metadata = list.map(|text| {
            let list = folder.path().join("rows.csv");
            std::fs::write(&list, text).unwrap();
            list
        });
        let reading = Reading { metadata, max_bytes: 1000, ..reading() };
        let mut found = Vec::new();
        Source::of(&file)?.each(&reading, &mut |row| {
            found.push(row);
            ControlFlow::Continue(())
        })?;
        let vector = |candidate: Candidate| match candidate.content {
            Content::Vector(vector) => (candidate.id.unwrap().into(), vector, Value::Object(candidate.metadata)),
            other => panic!("{other:?} is no vector"),
        };
        Ok(found.into_iter().map(|row| row.map(vector)).collect())
    }

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn each_row_is_a_vector_with_its_number_as_id() {
        let found = read(&npy("<f4", "(2, 3)", &floats(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])), None).unwrap();
        assert_eq!(found[0], Ok(("0".to_owned(), vec![1.0, 2.0, 3.0], json!({}))));
        assert_eq!(found[1], Ok(("1".to_owned(), vec![4.0, 5.0, 6.0], json!({}))));
        let doubles: Vec<u8> = [0.5_f64, -2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(read(&npy("<f8", "(1, 2)", &doubles), None).unwrap()[0].as_ref().unwrap().1, [0.5, -2.0]);
        let halves: Vec<u8> = [0.5, -2.0].iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect();
        assert_eq!(read(&npy("<f2", "(1, 2)", &halves), None).unwrap()[0].as_ref().unwrap().1, [0.5, -2.0]);
    }

    #[test]
    fn ids_and_metadata_come_from_the_rows_of_a_list() {
        let bytes = npy("<f4", "(3, 1)", &floats(&[1.0, f32::NAN, 3.0]));
        let found = read(&bytes, Some("id,label\na,cat\nb,dog\n,bird\n")).unwrap();
        assert_eq!(found[0], Ok(("a".to_owned(), vec![1.0], json!({"label": "cat"}))));
        assert!(found[1].as_ref().unwrap_err().message.contains("element 0 of the vector is not a finite number"));
        assert!(found[2].as_ref().unwrap_err().message.contains("a vector needs an id"));
    }

    #[test]
    fn what_does_not_fit_together_says_why() {
        let three = npy("<f4", "(3, 1)", &floats(&[1.0, 2.0, 3.0]));
        for (bytes, list, part) in [
            (three.clone(), Some("id\na\n"), "has 1 rows for the 3 vectors"),
            (three.clone(), Some("id\na\nb\nc\nd\n"), "more rows than"),
            (three[..three.len() - 1].to_vec(), None, "ends early"),
            (npy("<f4", "(3,)", &floats(&[1.0, 2.0, 3.0])), None, "vectors are [count, dimension]"),
            (npy("<i8", "(1, 1)", &[0; 8]), None, "the array is of type <i8"),
            (b"no array".to_vec(), None, "not an .npy file"),
        ] {
            let error = read(&bytes, list).unwrap_err();
            assert!(error.message().contains(part), "{error}");
        }
    }
}
