use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Metadata, Scalar};
use crate::error::{Error, Result};

/// Bytes of a dotted key that an index can hold.
const MAX_BYTES: usize = 256;

/// A dotted key of metadata, such as `label` or `camera.lens`, that reaches into objects and through arrays as the
/// conditions of a [`Filter`](super::Filter) do.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FieldPath(String);

impl FieldPath {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The different texts, numbers and truth values that stand at this key, in the order of the metadata. An array
    /// stands for its elements, one level deep; null and what is absent give nothing.
    #[must_use]
    pub fn values(&self, metadata: &Metadata) -> Vec<Scalar> {
        let mut found = Vec::new();
        collect(metadata, &self.0, &mut found);
        found
    }
}

fn collect(object: &Metadata, path: &str, found: &mut Vec<Scalar>) {
    let (head, rest) = path.split_once('.').map_or((path, None), |(head, rest)| (head, Some(rest)));
    let mut visit = |value: &Value| match rest {
        Some(rest) => {
            if let Value::Object(inner) = value {
                collect(inner, rest, found);
            }
        }
        None => found.extend(Scalar::of(value).filter(|value| !found.contains(value))),
    };
    match object.get(head) {
        Some(Value::Array(elements)) => elements.iter().for_each(visit),
        Some(value) => visit(value),
        None => {}
    }
}

impl FromStr for FieldPath {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.len() > MAX_BYTES {
            return Err(Error::invalid_request(format!(
                "a key has at most {MAX_BYTES} bytes, dots included; this one has {}",
                text.len()
            )));
        }
        if text.split('.').any(str::is_empty) {
            return Err(Error::invalid_request(format!(
                "{text:?} is not a dotted key such as \"label\" or \"camera.lens\""
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for FieldPath {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<FieldPath> for String {
    fn from(path: FieldPath) -> Self {
        path.0
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_reaches_what_conditions_reach() {
        let item = json!({
            "label": "cat", "n": 1, "ok": true, "none": null, "tags": ["a", "b", "a", ["c"], 1, 1.0],
            "camera": {"lens": {"mm": 50}}, "boxes": [{"class": 1}, {"class": [2, 1]}, 5], "x.y": 3
        });
        for (path, expected) in [
            ("label", json!(["cat"])),
            ("n", json!([1])),
            ("ok", json!([true])),
            ("none", json!([])),
            ("absent", json!([])),
            ("tags", json!(["a", "b", 1])),
            ("camera", json!([])),
            ("camera.lens.mm", json!([50])),
            ("boxes.class", json!([1, 2])),
            ("x.y", json!([])),
            ("label.x", json!([])),
        ] {
            let found = path.parse::<FieldPath>().unwrap().values(item.as_object().unwrap());
            let expected: Vec<Scalar> = expected.as_array().unwrap().iter().filter_map(Scalar::of).collect();
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn what_is_no_dotted_key_is_refused() {
        assert!("k".repeat(256).parse::<FieldPath>().is_ok());
        for bad in ["", ".", "a.", ".a", "a..b", &"k".repeat(257)] {
            assert!(bad.parse::<FieldPath>().is_err(), "{bad}");
        }
    }
}
