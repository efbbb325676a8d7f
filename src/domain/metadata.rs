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

/// Refuses JSON with a whole number that 64 bits do not hold, which a reader would round to a float without a word.
pub fn check_integers(json: &str) -> Result<()> {
    let mut rest = json;
    while let Some(at) = rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit()) {
        rest = &rest[at..];
        let length = if rest.starts_with('"') { string_length(rest) } else { number_length(rest) };
        let (token, after) = rest.split_at(length);
        let is_wide =
            !token.contains(['"', '.', 'e', 'E']) && token.parse::<i64>().is_err() && token.parse::<u64>().is_err();
        if is_wide {
            let text =
                format!("the whole number {token} does not fit in 64 bits and would be rounded: send it as a text");
            return Err(Error::invalid_request(text));
        }
        rest = after;
    }
    Ok(())
}

/// The bytes of the text that JSON begins with, both quotes included.
fn string_length(json: &str) -> usize {
    let mut escaped = true;
    let end = json.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(json.len(), |end| end + 1)
}

fn number_length(json: &str) -> usize {
    json.find(|c: char| !(c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E'))).unwrap_or(json.len())
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
    fn whole_numbers_beyond_64_bits_are_refused_and_all_else_is_kept() {
        for json in [
            r#"{"n": 18446744073709551615, "m": -9223372036854775808, "f": 1e300, "g": 123456789012345678901.5}"#,
            r#"{"123456789012345678901": "99999999999999999999", "q": "\\\"99999999999999999999", "e": "\\"}"#,
            "[]",
            "5",
            "not JSON \"",
            "ü",
        ] {
            assert!(check_integers(json).is_ok(), "{json}");
        }
        for (json, number) in [
            (r#"{"n": 18446744073709551616}"#, "18446744073709551616"),
            (r#"{"a": "\\", "n": [1, {"m": -9223372036854775809}]}"#, "-9223372036854775809"),
        ] {
            assert!(check_integers(json).unwrap_err().message().contains(number), "{json}");
        }
    }

    #[test]
    fn metadata_over_the_limit_name_its_key() {
        let error = check_metadata(&nested(3), 10).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
        assert!(error.message().contains("limits.metadata_bytes"));
    }
}
