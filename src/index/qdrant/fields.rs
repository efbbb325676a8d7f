//! Metadata as Qdrant finds them: for each dotted key a field of texts that stand for its values, and one of its
//! numbers for ranges.
//!
//! The keys and values are those of [`terms`], which the embedded engine indexes as well, so that a filter means the
//! same in both: 1 equals 1.0, a text never equals a number, an array stands for its elements, long texts compare by
//! their hash.

use std::collections::BTreeMap;

use crate::{
    domain::{Date, Metadata, Scalar},
    index::terms::{shorten, terms},
};

/// The fields of the payload that hold them.
pub(super) const TERMS: &str = "terms";
pub(super) const NUMBERS: &str = "numbers";
/// What stands behind the name of a field of numbers that are dates, in microseconds since 1970: no name has a `t` behind
/// an underscore.
const DATES: &str = "_t";
/// Longer names are replaced by their hash: Qdrant makes files of them.
const LONGEST_NAME: usize = 96;

/// What of an item's metadata conditions can name: by encoded key, the terms and the numbers.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Fields {
    pub(super) terms: BTreeMap<String, Vec<String>>,
    pub(super) numbers: BTreeMap<String, Vec<f64>>,
}

impl Fields {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let mut fields = Self::default();
        for term in terms(metadata) {
            let key = name(&term.key);
            if let Some(number) = float(&term.value) {
                fields.numbers.entry(key.clone()).or_default().push(number);
            }
            if let Scalar::Text(text) = &term.value
                && let Some(date) = Date::of(text)
            {
                fields.numbers.entry(format!("{key}{DATES}")).or_default().push(date.micros() as f64);
            }
            fields.terms.entry(key).or_default().push(encoded(&term.value));
        }
        fields
    }

    /// The paths that have to be indexed.
    pub(super) fn paths(&self) -> impl Iterator<Item = String> {
        let terms = self.terms.keys().map(|name| format!("{TERMS}.{name}"));
        terms.chain(self.numbers.keys().map(|name| format!("{NUMBERS}.{name}")))
    }
}

/// The path of the texts of a dotted key.
pub(super) fn terms_path(key: &str) -> String {
    format!("{TERMS}.{}", name(key))
}

/// The path of its numbers.
pub(super) fn numbers_path(key: &str) -> String {
    format!("{NUMBERS}.{}", name(key))
}

/// The path of its dates.
pub(super) fn dates_path(key: &str) -> String {
    format!("{NUMBERS}.{}{DATES}", name(key))
}

/// A dotted key in letters, digits and underscores: every other byte is `_` and two hex digits, so no two keys share
/// a name and none is a path.
fn name(key: &str) -> String {
    let mut name = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("_{byte:02x}"));
        }
    }
    // no other name has an `h` behind an underscore
    if name.len() > LONGEST_NAME { format!("_h{}", blake3::hash(key.as_bytes()).to_hex()) } else { name }
}

/// The text that stands for a value.
pub(super) fn text(value: &Scalar) -> String {
    encoded(&shorten(value.clone()))
}

/// Of a value that is short already.
fn encoded(value: &Scalar) -> String {
    match value {
        Scalar::Text(text) => format!("t{text}"),
        Scalar::Bool(value) => format!("b{value}"),
        Scalar::Number(_) => format!("n{value}"),
        Scalar::Null => "z".to_owned(),
    }
}

/// The value that a text stands for; a long text's is its hash.
pub(super) fn value(text: &str) -> Option<Scalar> {
    let (kind, rest) = text.split_at_checked(1)?;
    match kind {
        "t" => Some(Scalar::Text(rest.to_owned())),
        "b" => rest.parse().ok().map(Scalar::Bool),
        "n" => serde_json::from_str(rest).ok().and_then(|value| Scalar::of(&value)),
        _ => None,
    }
}

/// A number as a float, the nearest to it.
pub(super) fn float(value: &Scalar) -> Option<f64> {
    match value {
        Scalar::Number(_) => value.to_value().as_f64(),
        Scalar::Null | Scalar::Bool(_) | Scalar::Text(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_become_names_that_are_no_paths_and_never_the_same() {
        for (key, expected) in
            [("label", "label"), ("camera.lens", "camera_2elens"), ("a_b", "a_5fb"), ("../x", "_2e_2e_2fx")]
        {
            assert_eq!(name(key), expected);
        }
        let long = name(&"k".repeat(256));
        assert!(long.starts_with("_h") && long.len() <= LONGEST_NAME, "{long}");
        assert_ne!(long, name(&"k".repeat(255)));
    }

    #[test]
    fn values_survive_their_texts() {
        for value_ in [json!("cat"), json!(""), json!(true), json!(1), json!(1.5), json!(u64::MAX), json!(-1e300)] {
            let scalar = Scalar::of(&value_).unwrap();
            assert_eq!(value(&text(&scalar)), Some(scalar));
        }
        let equal = |a: serde_json::Value, b: serde_json::Value| {
            text(&Scalar::of(&a).unwrap()) == text(&Scalar::of(&b).unwrap())
        };
        assert!(equal(json!(1), json!(1.0)) && !equal(json!(1), json!("1")) && !equal(json!(true), json!("true")));
        assert!(equal(json!(0.0), json!(-0.0)) && equal(json!(1e20), json!(100_000_000_000_000_000_000_f64)));
    }

    #[test]
    fn every_value_of_a_key_is_found_under_its_name() {
        let long = "x".repeat(100);
        let metadata = json!({"tags": ["a", 2, 2.0], "camera": {"lens": {"mm": 50}}, "none": null, "note": long});
        let mut fields = Fields::of(metadata.as_object().unwrap());
        fields.terms.values_mut().for_each(|texts| texts.sort());
        assert_eq!(fields.terms["tags"], ["n2", "ta"]);
        assert_eq!(fields.numbers["tags"], [2.0]);
        assert_eq!(fields.numbers["camera_2elens_2emm"], [50.0]);
        assert_eq!(fields.terms["note"], [text(&Scalar::Text(long))]);
        assert_eq!(fields.terms["none"], ["z"]);
        assert_eq!(fields.paths().count(), 6);
    }
}
