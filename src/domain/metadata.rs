use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result};

/// What a user says about an item: a JSON object.
pub type Metadata = Map<String, Value>;

/// Objects and arrays within each other, at most. JSON readers stop at about 128 levels, and metadata is stored and
/// sent inside other objects: what is accepted must always be readable again.
const MAX_DEPTH: usize = 64;

/// Refuses metadata that take more than `max_bytes` as JSON or nest too deeply.
pub fn check_metadata(metadata: &Metadata, max_bytes: usize) -> Result<()> {
    if deeper_than(metadata.values(), MAX_DEPTH - 1) {
        return Err(Error::invalid_request(format!("metadata nest at most {MAX_DEPTH} levels deep")));
    }
    let size = serde_json::to_string(metadata).map_or(usize::MAX, |text| text.len());
    if size > max_bytes {
        let text = format!("{size} bytes of metadata: limits.metadata_bytes is {max_bytes}");
        return Err(Error::new(ErrorKind::PayloadTooLarge, text));
    }
    Ok(())
}

fn deeper_than<'a>(mut values: impl Iterator<Item = &'a Value>, levels: usize) -> bool {
    values.any(|value| match value {
        Value::Object(inner) => levels == 0 || deeper_than(inner.values(), levels - 1),
        Value::Array(inner) => levels == 0 || deeper_than(inner.iter(), levels - 1),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(levels: usize) -> Metadata {
        let mut value = Value::from(1);
        for _ in 1..levels {
            value = Value::Object(Map::from_iter([("a".to_owned(), value)]));
        }
        Map::from_iter([("a".to_owned(), value)])
    }

    #[test]
    fn metadata_nest_to_the_limit_and_no_deeper() {
        assert!(check_metadata(&nested(MAX_DEPTH), 1 << 20).is_ok());
        let error = check_metadata(&nested(MAX_DEPTH + 1), 1 << 20).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    }

    #[test]
    fn metadata_over_the_limit_name_its_key() {
        let error = check_metadata(&nested(3), 10).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
        assert!(error.message().contains("limits.metadata_bytes"));
    }
}
