//! Cursors of pages: the collection's number and the last key seen, opaque to callers.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{error::Result, index::rules::foreign_cursor};

const VERSION: u8 = 1;

pub(super) fn encode(number: u32, key: u64) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend(number.to_be_bytes());
    bytes.extend(key.to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The key of a cursor that a collection of this number made.
pub(super) fn decode(number: u32, cursor: &str) -> Result<u64> {
    let key = || {
        let bytes: [u8; 13] = URL_SAFE_NO_PAD.decode(cursor).ok()?.try_into().ok()?;
        let (head, key) = bytes.split_last_chunk::<8>()?;
        let expected = [[VERSION].as_slice(), &number.to_be_bytes()].concat();
        (head == expected).then(|| u64::from_be_bytes(*key))
    };
    key().ok_or_else(foreign_cursor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text_and_belongs_to_its_collection() {
        let cursor = encode(7, u64::MAX - 1);
        assert_eq!(decode(7, &cursor).unwrap(), u64::MAX - 1);
        for (number, cursor) in [(8, cursor.as_str()), (7, ""), (7, "AAAA"), (7, "!"), (7, &cursor[1..])] {
            assert!(decode(number, cursor).is_err(), "{cursor}");
        }
    }
}
