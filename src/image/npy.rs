//! NumPy's array file format, version 1.0, for f32 arrays.
//!
//! <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>
//!
//! The writer is our own: thirty lines, where the crate `npyz` brings a parser of Python's grammar and arithmetic of big
//! integers for its reader.

use std::fmt::Write as _;

/// The data begin at a multiple of this many bytes.
const ALIGNMENT: usize = 64;

/// `data` as the bytes of an `.npy` file: little-endian f32, C order. `data` holds one value for each element of
/// `shape`; an empty shape is one number.
#[must_use]
pub fn npy_f32(shape: &[usize], data: &[f32]) -> Vec<u8> {
    debug_assert_eq!(shape.iter().product::<usize>(), data.len(), "the shape does not match the data");
    let mut header = String::from("{'descr': '<f4', 'fortran_order': False, 'shape': (");
    for side in shape {
        // Writing to a String cannot fail.
        let _ = write!(header, "{side}, ");
    }
    header.push_str("), }");
    // 10 bytes of magic, version and length before the header, a newline at its end.
    let padding = (ALIGNMENT - (10 + header.len() + 1) % ALIGNMENT) % ALIGNMENT;
    header.extend(std::iter::repeat_n(' ', padding));
    header.push('\n');
    let mut bytes = Vec::with_capacity(10 + header.len() + data.len() * 4);
    bytes.extend_from_slice(b"\x93NUMPY\x01\x00");
    bytes.extend_from_slice(&u16::try_from(header.len()).unwrap_or(u16::MAX).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(&little_endian(data));
    bytes
}

/// The bytes of the numbers, as little-endian f32.
#[must_use]
pub fn little_endian(values: &[f32]) -> Vec<u8> {
    // A loop over single bytes is several times slower than one over words.
    let words: Vec<[u8; 4]> = values.iter().map(|value| value.to_le_bytes()).collect();
    words.into_flattened()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_what_numpy_writes_and_the_data_are_aligned() {
        let bytes = npy_f32(&[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
        let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        assert_eq!((10 + length) % ALIGNMENT, 0);
        let header = std::str::from_utf8(&bytes[10..10 + length]).unwrap();
        assert!(header.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, ), }"));
        assert!(header.ends_with('\n'));
        assert_eq!(bytes.len(), 10 + length + 24);
        assert_eq!(&bytes[bytes.len() - 4..], &5.0_f32.to_le_bytes());
    }

    #[test]
    fn one_dimension_and_none_are_python_tuples() {
        assert!(String::from_utf8_lossy(&npy_f32(&[1], &[0.0])).contains("'shape': (1, ), }"));
        assert!(String::from_utf8_lossy(&npy_f32(&[], &[0.0])).contains("'shape': (), }"));
    }
}
