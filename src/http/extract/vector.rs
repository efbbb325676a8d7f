//! A vector inside JSON.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error as _, SeqAccess, Visitor},
};
use serde_path_to_error::Segment;

use crate::error::{Error, Result};

/// The numbers of a JSON list; why they are no vector is the item's error.
pub(super) fn vector(json: &str) -> Result<Vec<f32>> {
    let Ok(values) = serde_json::from_str::<Vec<f32>>(json) else { return Err(why_not(json)) };
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(values),
        Some(at) => Err(element(at, "beyond 32-bit floats")),
    }
}

/// Reads the numbers of a list, or a null, where they stand in a larger document. What is no vector fails the document,
/// which is read again by [`vector`] then, for the error of this one.
#[derive(Clone, Copy)]
pub(super) struct VectorSeed {
    /// Numbers that are expected: as many as the vector before had.
    pub(super) expected: usize,
}

impl<'de> DeserializeSeed<'de> for VectorSeed {
    type Value = Option<Vec<f32>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for VectorSeed {
    type Value = Option<Vec<f32>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of numbers")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::with_capacity(self.expected);
        while let Some(value) = list.next_element::<f32>()? {
            if !value.is_finite() {
                return Err(A::Error::custom("beyond 32-bit floats"));
            }
            values.push(value);
        }
        Ok(Some(values))
    }
}

/// Reads the list again with its places, which is slower.
fn why_not(json: &str) -> Error {
    let read = serde_path_to_error::deserialize::<_, Vec<f32>>(&mut serde_json::Deserializer::from_str(json));
    let Err(error) = read else { return Error::internal("a vector was read at the second try") };
    match error.path().iter().next() {
        Some(Segment::Seq { index }) if error.inner().is_data() => element(*index, "not a number"),
        Some(Segment::Seq { index }) => element(*index, "beyond 32-bit floats"),
        _ => Error::invalid_request("not a vector: that is a list of numbers"),
    }
}

fn element(at: usize, is: &str) -> Error {
    Error::invalid_request(format!("element {at} of the vector is {is}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_hold_finite_32_bit_numbers() {
        assert_eq!(vector("[1, -0.5, 1e-60, -2]").unwrap(), [1.0, -0.5, 0.0, -2.0]);
        assert!(vector("[]").unwrap().is_empty());
        for (json, part) in [
            ("[0, 1e39]", "element 1 of the vector is beyond"),
            ("[0, 1e999]", "element 1 of the vector is beyond"),
            ("[\"1\"]", "element 0 of the vector is not a number"),
            ("[0, {\"a\": [1]}]", "element 1 of the vector is not a number"),
            ("[0, 1, null]", "element 2 of the vector is not a number"),
            ("{}", "not a vector"),
            ("1", "not a vector"),
            ("\"far\"", "not a vector"),
        ] {
            let error = vector(json).unwrap_err();
            assert!(error.message().contains(part), "{json}: {error}");
        }
    }
}
