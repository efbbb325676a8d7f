//! Cursors of pages: the Qdrant collection, the stamp of the last item and the items seen that have it; opaque to
//! callers.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

use crate::{error::Result, index::rules::foreign_cursor};

const VERSION: u8 = 2;

/// Where a page begins: behind these items of this stamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) stamp: i64,
    /// More than one only where replicas made the same stamp at the same moment.
    pub(super) seen: Vec<Uuid>,
}

pub(super) fn encode(physical: &str, cursor: &Cursor) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend(mark(physical));
    bytes.extend(cursor.stamp.to_be_bytes());
    cursor.seen.iter().for_each(|id| bytes.extend(id.as_bytes()));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The cursor that a page of this Qdrant collection gave.
pub(super) fn decode(physical: &str, text: &str) -> Result<Cursor> {
    let read = || {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (head, rest) = bytes.split_first_chunk::<9>()?;
        let (stamp, ids) = rest.split_first_chunk::<8>()?;
        let (ids, odd) = ids.as_chunks::<16>();
        let ours = head[0] == VERSION && head[1..] == mark(physical) && odd.is_empty();
        let seen = ids.iter().map(|id| Uuid::from_bytes(*id)).collect();
        ours.then(|| Cursor { stamp: i64::from_be_bytes(*stamp), seen })
    };
    read().ok_or_else(foreign_cursor)
}

/// Tells the cursors of one collection from those of others.
fn mark(physical: &str) -> [u8; 8] {
    let mut mark = [0; 8];
    mark.copy_from_slice(&blake3::hash(physical.as_bytes()).as_bytes()[..8]);
    mark
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text_and_belongs_to_its_collection() {
        for seen in [vec![], vec![Uuid::from_u128(1)], vec![Uuid::from_u128(1), Uuid::from_u128(2)]] {
            let cursor = Cursor { stamp: 1_790_000_000_000_000, seen };
            let text = encode("c-1", &cursor);
            assert_eq!(decode("c-1", &text).unwrap(), cursor);
            for (physical, text) in [("c-2", text.as_str()), ("c-1", ""), ("c-1", "AAAA"), ("c-1", &text[1..])] {
                assert!(decode(physical, text).is_err(), "{text}");
            }
        }
    }
}
