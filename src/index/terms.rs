//! What of an item's metadata conditions can name, and how much of it an item may have.
//!
//! An index keeps each term of each item in memory, so both their number and the length of their keys are bounded.

use std::{collections::HashSet, sync::Arc};

use serde_json::Value;

use crate::{
    domain::{Metadata, Scalar},
    error::{Error, Result},
};

/// Different values that conditions can name, of one item.
const MAX_TERMS: usize = 1024;
/// Bytes of a key with all the keys it stands under and the dots between them.
const MAX_KEY_BYTES: usize = 256;
/// Texts longer than this are indexed by their hash.
const LONGEST_TEXT: usize = 64;

/// A value found in metadata, or null, and the dotted key it stands at. Long texts are replaced by their hash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Term {
    pub(super) key: Arc<str>,
    pub(super) value: Scalar,
}

/// Refuses metadata that cannot be indexed in full: more than 1,024 different values, or a dotted key of more than
/// 256 bytes. Keys that conditions cannot name, empty ones and those with a dot, do not count.
///
/// # Errors
/// `invalid_request`.
pub fn check_indexable(metadata: &Metadata) -> Result<()> {
    match Collector::of(metadata).excess {
        None => Ok(()),
        Some(Excess::Terms) => Err(Error::invalid_request(format!(
            "the metadata have more than {MAX_TERMS} different values; join some of them or leave them out"
        ))),
        Some(Excess::Key { length, start }) => Err(Error::invalid_request(format!(
            "the metadata key {start:?}… has {length} bytes with the keys it stands under; {MAX_KEY_BYTES} is the most"
        ))),
    }
}

/// Every different scalar of the metadata under the key by which conditions name it; what [`check_indexable`] would
/// refuse is left out, and always the same.
pub(super) fn terms(metadata: &Metadata) -> Vec<Term> {
    Collector::of(metadata).terms.into_iter().collect()
}

/// A value as it is indexed.
pub(super) fn shorten(value: Scalar) -> Scalar {
    match value {
        // The mark makes a hash longer than any text that is kept as it is.
        Scalar::Text(text) if text.len() > LONGEST_TEXT => {
            Scalar::Text(format!("#{}", blake3::hash(text.as_bytes()).to_hex()))
        }
        value => value,
    }
}

/// Whether a value is indexed by its hash.
pub(super) fn is_shortened(value: &Scalar) -> bool {
    matches!(value, Scalar::Text(text) if text.len() > LONGEST_TEXT)
}

/// Why metadata are not indexed in full.
enum Excess {
    Terms,
    Key { length: usize, start: String },
}

#[derive(Default)]
struct Collector {
    terms: HashSet<Term>,
    /// The first one found.
    excess: Option<Excess>,
}

impl Collector {
    fn of(metadata: &Metadata) -> Self {
        let mut collector = Self::default();
        collector.object(metadata, "");
        collector
    }

    fn object(&mut self, object: &Metadata, prefix: &str) {
        for (name, value) in object {
            // Dots separate levels, so conditions cannot name such keys.
            if name.is_empty() || name.contains('.') {
                continue;
            }
            let length = if prefix.is_empty() { name.len() } else { prefix.len() + 1 + name.len() };
            if length > MAX_KEY_BYTES {
                let start = || name.chars().take(32).collect();
                self.excess.get_or_insert_with(|| Excess::Key { length, start: start() });
                continue;
            }
            // Made once, however many values stand at it.
            let key: Arc<str> =
                if prefix.is_empty() { name.as_str().into() } else { format!("{prefix}.{name}").into() };
            match value {
                Value::Array(elements) => elements.iter().for_each(|element| self.element(&key, element)),
                value => self.element(&key, value),
            }
        }
    }

    fn element(&mut self, key: &Arc<str>, element: &Value) {
        if let Value::Object(inner) = element {
            return self.object(inner, key);
        }
        let value = match element {
            Value::Null => Scalar::Null,
            element => match Scalar::of(element) {
                Some(value) => value,
                None => return,
            },
        };
        let term = Term { key: Arc::clone(key), value: shorten(value) };
        if self.terms.len() < MAX_TERMS {
            self.terms.insert(term);
        } else if !self.terms.contains(&term) {
            self.excess.get_or_insert(Excess::Terms);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::ErrorKind;

    fn metadata(value: Value) -> Metadata {
        value.as_object().cloned().unwrap()
    }

    fn refusal(value: Value) -> String {
        let error = check_indexable(&metadata(value)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
        error.message().to_owned()
    }

    #[test]
    fn equal_values_at_one_key_are_one_term() {
        let repeated = metadata(json!({"a": vec![1; 16_000], "o": [{"p": true}, {"p": true}]}));
        assert!(check_indexable(&repeated).is_ok());
        assert_eq!(terms(&repeated).len(), 2);
    }

    #[test]
    fn the_values_of_an_array_share_their_key() {
        let terms = terms(&metadata(json!({"k".repeat(256): (0..1000).collect::<Vec<_>>()})));
        assert!(terms.len() == 1000 && terms.iter().all(|term| Arc::ptr_eq(&term.key, &terms[0].key)));
    }

    #[test]
    fn an_item_has_so_many_different_values_and_no_more() {
        let numbers = |count: usize| json!({"n": (0..count).collect::<Vec<_>>()});
        assert!(check_indexable(&metadata(numbers(MAX_TERMS))).is_ok());
        assert!(refusal(numbers(MAX_TERMS + 1)).contains("1024"));
        assert_eq!(terms(&metadata(numbers(MAX_TERMS + 1))).len(), MAX_TERMS);
    }

    #[test]
    fn a_dotted_key_is_so_long_and_no_longer() {
        let below = |length: usize| json!({"a": 1, "outer": {"i".repeat(length - 6): 2}});
        assert!(check_indexable(&metadata(below(MAX_KEY_BYTES))).is_ok());
        assert!(refusal(below(MAX_KEY_BYTES + 1)).contains("257 bytes"));
        assert_eq!(terms(&metadata(below(MAX_KEY_BYTES + 1))).len(), 1);
    }

    #[test]
    fn keys_that_conditions_cannot_name_do_not_count() {
        let long = format!("{}.", "x".repeat(1000));
        assert!(check_indexable(&metadata(json!({long: 1, "": vec![0; 5000]}))).is_ok());
    }

    #[test]
    fn hostile_metadata_are_neither_kept_nor_copied_for_each_value() {
        let key = "k".repeat(32 << 10);
        let names: Metadata = (0..4000).map(|at| (at.to_string(), Value::from(1))).collect();
        for value in [json!({key.clone(): vec![1; 16_000]}), json!({key.clone(): names})] {
            assert!(refusal(value.clone()).len() < 200);
            assert!(terms(&metadata(value)).is_empty());
        }
    }
}
