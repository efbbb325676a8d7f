//! NumPy's archives of arrays: a zip file of `.npy` files, as `numpy.savez` and `savez_compressed` write them.
//!
//! <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>, versions 1.0 and 2.0, arrays of `<f4` and
//! `|u1` in C order: what a training script has to save for a golden replay.
//!
//! The reader is our own on the crate `zip`: `npyz` reads such archives too, but with a second, older `zip` and a parser
//! of Python's grammar (some 15 crates), and without a limit on what an archive unfolds to.

use std::{collections::BTreeMap, fs::File, io::Read, path::Path};

/// The most bytes that the arrays of an archive may have together. A small archive can unfold to any size, and more than
/// this are no test images.
const MAX_BYTES: usize = 256 << 20;
/// The most bytes that an array's header may have.
const MAX_HEADER: usize = 1 << 16;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Array {
    pub(super) shape: Vec<usize>,
    pub(super) values: Values,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Values {
    F32(Vec<f32>),
    U8(Vec<u8>),
}

/// Reads the arrays of an archive, by name without `.npy`.
///
/// # Errors
/// Every file in it that cannot be read, one line each; none behind the one that exceeds 256 MiB in all.
pub(super) fn read(path: &Path) -> Result<BTreeMap<String, Array>, Vec<String>> {
    read_within(path, MAX_BYTES)
}

fn read_within(path: &Path, budget: usize) -> Result<BTreeMap<String, Array>, Vec<String>> {
    let file = File::open(path).map_err(|error| vec![format!("it cannot be read: {error}")])?;
    let mut archive = zip::ZipArchive::new(std::io::BufReader::new(file))
        .map_err(|error| vec![format!("it is not an archive: {error}")])?;
    let mut budget = Budget { all: budget, left: Some(budget) };
    let mut arrays = BTreeMap::new();
    let mut failures = Vec::new();
    for at in 0..archive.len() {
        let mut entry = match archive.by_index(at) {
            Ok(entry) => entry,
            Err(error) => {
                failures.push(format!("entry {at}: {error}"));
                continue;
            }
        };
        let name = match entry.name() {
            Ok(name) => name.into_owned(),
            Err(error) => {
                failures.push(format!("entry {at}: {error}"));
                continue;
            }
        };
        match array(&mut entry, &mut budget) {
            Ok(array) => {
                arrays.insert(name.strip_suffix(".npy").unwrap_or(&name).to_owned(), array);
            }
            Err(reason) => failures.push(format!("{name}: {reason}")),
        }
        if budget.left.is_none() {
            break;
        }
    }
    if failures.is_empty() { Ok(arrays) } else { Err(failures) }
}

/// Reads one `.npy` file.
///
/// # Errors
/// One line.
pub(super) fn read_array(reader: &mut impl Read) -> Result<Array, String> {
    array(reader, &mut Budget { all: MAX_BYTES, left: Some(MAX_BYTES) })
}

/// The unpacked bytes that may still be read of an archive.
struct Budget {
    all: usize,
    /// The bytes that are left; none once too many were asked for.
    left: Option<usize>,
}

impl Budget {
    fn spend(&mut self, bytes: usize) -> Result<(), String> {
        self.left = self.left.and_then(|left| left.checked_sub(bytes));
        self.left.map(drop).ok_or_else(|| format!("with it, the archive unfolds to more than {} bytes", self.all))
    }
}

/// What stands before the numbers of an `.npy` file in C order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NpyHeader {
    /// As NumPy spells it: `<f4`.
    pub(crate) dtype: String,
    pub(crate) shape: Vec<usize>,
}

impl NpyHeader {
    /// Reads up to the numbers.
    ///
    /// # Errors
    /// Why it is no `.npy` file that can be read.
    pub(crate) fn read(reader: &mut impl Read) -> Result<Self, String> {
        let most = MAX_HEADER + 16;
        Self::read_within(reader, &mut Budget { all: most, left: Some(most) })
    }

    fn read_within(reader: &mut impl Read, budget: &mut Budget) -> Result<Self, String> {
        let header = header(reader, budget)?;
        let dtype = quoted(field(&header, "descr")?)?.to_owned();
        if field(&header, "fortran_order")?.starts_with("True") {
            return Err("the array is in Fortran order; save numpy.ascontiguousarray of it".to_owned());
        }
        Ok(Self { dtype, shape: shape(field(&header, "shape")?)? })
    }
}

/// Reads one `.npy` file.
fn array(reader: &mut impl Read, budget: &mut Budget) -> Result<Array, String> {
    let NpyHeader { dtype, shape } = NpyHeader::read_within(reader, budget)?;
    let bytes_of = |width: usize| {
        let bytes = shape.iter().try_fold(width, |bytes, &side| bytes.checked_mul(side));
        bytes.ok_or_else(|| format!("shape {shape:?} is too large"))
    };
    let values = match dtype.as_str() {
        "<f4" => {
            let bytes = exactly(reader, bytes_of(4)?, budget)?;
            Values::F32(bytes.as_chunks().0.iter().map(|number| f32::from_le_bytes(*number)).collect())
        }
        "|u1" => Values::U8(exactly(reader, bytes_of(1)?, budget)?),
        other => return Err(format!("the array is of type {other}; save it as float32 (<f4) or uint8 (|u1)")),
    };
    Ok(Array { shape, values })
}

fn header(reader: &mut impl Read, budget: &mut Budget) -> Result<String, String> {
    let start = exactly(reader, 8, budget)?;
    if &start[..6] != b"\x93NUMPY" {
        return Err("it is not an .npy file".to_owned());
    }
    let length = match start[6] {
        1 => exactly(reader, 2, budget).map(|b| usize::from(u16::from_le_bytes([b[0], b[1]])))?,
        2 => exactly(reader, 4, budget).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize)?,
        other => return Err(format!("it is an .npy file of version {other}; 1 and 2 are read")),
    };
    if length > MAX_HEADER {
        return Err(format!("its header claims {length} bytes"));
    }
    String::from_utf8(exactly(reader, length, budget)?).map_err(|_| "its header is not text".to_owned())
}

/// The text that follows the key in the header, which is a Python dictionary.
fn field<'a>(header: &'a str, key: &str) -> Result<&'a str, String> {
    header
        .split_once(&format!("'{key}'"))
        .and_then(|(_, rest)| rest.trim_start().strip_prefix(':'))
        .map(str::trim_start)
        .ok_or_else(|| format!("its header has no {key}"))
}

fn quoted(text: &str) -> Result<&str, String> {
    let inside = text.strip_prefix('\'').and_then(|rest| rest.split_once('\''));
    inside.map(|(inside, _)| inside).ok_or_else(|| "the array is structured; save plain numbers".to_owned())
}

fn shape(text: &str) -> Result<Vec<usize>, String> {
    let inside = text.strip_prefix('(').and_then(|rest| rest.split_once(')')).map(|(inside, _)| inside);
    let inside = inside.ok_or("its header has no shape")?;
    let sides = inside.split(',').map(str::trim).filter(|side| !side.is_empty());
    sides.map(|side| side.parse().map_err(|_| format!("its shape has {side:?}"))).collect()
}

fn exactly(reader: &mut impl Read, count: usize, budget: &mut Budget) -> Result<Vec<u8>, String> {
    budget.spend(count)?;
    let mut bytes = Vec::new();
    reader.take(count as u64).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() == count { Ok(bytes) } else { Err("it ends early".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::npy::npy_f32;

    fn npy(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY".to_vec();
        bytes.extend([version, 0]);
        let length = u32::try_from(header.len()).unwrap().to_le_bytes();
        bytes.extend(if version == 1 { &length[..2] } else { &length[..] });
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn read_one(bytes: &[u8]) -> Result<Array, String> {
        array(&mut &*bytes, &mut Budget { all: MAX_BYTES, left: Some(MAX_BYTES) })
    }

    #[test]
    fn an_array_of_our_own_writing_is_read_back() {
        let read = read_one(&npy_f32(&[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0])).unwrap();
        assert_eq!(read.shape, [2, 3]);
        assert_eq!(read.values, Values::F32(vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
    }

    #[test]
    fn bytes_scalars_and_version_two_are_read() {
        let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }";
        let expected = Array { shape: vec![3], values: Values::U8(vec![7, 8, 9]) };
        assert_eq!(read_one(&npy(2, header, &[7, 8, 9])).unwrap(), expected);
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (), }";
        assert!(read_one(&npy(1, header, &[0; 4])).unwrap().shape.is_empty());
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let with = |dtype: &str, order: &str, shape: &str| {
            format!("{{'descr': {dtype}, 'fortran_order': {order}, 'shape': {shape}, }}")
        };
        for (header, reason) in [
            (with("'<f8'", "False", "(1,)"), "<f8"),
            (with("[('a', '<f4')]", "False", "(1,)"), "structured"),
            (with("'<f4'", "True", "(1,)"), "Fortran"),
            (with("'<f4'", "False", "(9,)"), "ends early"),
            (with("'<f4'", "False", "(99999999999, 99999999999)"), "too large"),
            (with("'<f4'", "False", "(-1,)"), "shape"),
            ("{}".to_owned(), "descr"),
        ] {
            let error = read_one(&npy(1, &header, &[0; 4])).unwrap_err();
            assert!(error.contains(reason), "{header}: {error}");
        }
        assert!(read_one(b"PK").is_err());
        assert!(read_one(&npy(3, "{}", &[])).unwrap_err().contains("version 3"));
    }

    #[test]
    fn a_small_archive_that_unfolds_to_more_than_the_budget_is_refused_at_the_first_array_too_many() {
        use std::io::Write as _;
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut archive = zip::ZipWriter::new(file.reopen().unwrap());
        let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
        for name in ["a.npy", "b.npy", "c.npy"] {
            archive.start_file(name, options).unwrap();
            archive.write_all(&npy_f32(&[1 << 18], &vec![0.0; 1 << 18])).unwrap();
        }
        archive.finish().unwrap();
        assert!(file.path().metadata().unwrap().len() < 1 << 16);
        assert_eq!(read(file.path()).unwrap().len(), 3);
        let errors = read_within(file.path(), 3 << 19).unwrap_err();
        assert_eq!(errors.len(), 1);
        assert!(errors[0].starts_with("b.npy") && errors[0].contains("more than 1572864 bytes"), "{errors:?}");
    }

    #[test]
    fn a_file_that_is_no_archive_is_one_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"not a zip").unwrap();
        assert_eq!(read(file.path()).unwrap_err().len(), 1);
    }
}
