//! A vector inside JSON, and lists of them.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::misfit::{MAX_ELEMENTS, misfits, too_many};
use crate::error::{Error, Result};

/// A vector as it stands in a body; why it is none is the item's error.
pub(super) struct JsonVector(pub(super) Result<Vec<f32>>);

impl<'de> Deserialize<'de> for JsonVector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VectorVisitor).map(Self)
    }
}

struct VectorVisitor;

impl VectorVisitor {
    fn misfit(&self) -> Result<Vec<f32>> {
        Err(Error::invalid_request("not a vector: that is a list of numbers"))
    }
}

impl<'de> Visitor<'de> for VectorVisitor {
    type Value = Result<Vec<f32>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a vector: a list of numbers")
    }

    misfits!(scalars, numbers, text, object);

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        let mut wrong = None;
        while let Some(JsonNumber(value)) = list.next_element()? {
            let at = values.len();
            let fault = match value {
                None => Some("not a number"),
                Some(value) if (value as f32).is_finite() => None,
                Some(_) => Some("beyond 32-bit floats"),
            };
            wrong = wrong.or_else(|| fault.map(|fault| format!("element {at} of the vector is {fault}")));
            values.push(value.map_or(0.0, |value| value as f32));
        }
        Ok(wrong.map_or(Ok(values), |wrong| Err(Error::invalid_request(wrong))))
    }
}

/// A list of vectors, or why it is none.
pub(super) struct JsonVectors(pub(super) Result<Vec<Result<Vec<f32>>>>);

impl<'de> Deserialize<'de> for JsonVectors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VectorsVisitor).map(Self)
    }
}

struct VectorsVisitor;

impl VectorsVisitor {
    fn misfit(&self) -> Result<Vec<Result<Vec<f32>>>> {
        Err(Error::invalid_request("not a list of vectors"))
    }
}

impl<'de> Visitor<'de> for VectorsVisitor {
    type Value = Result<Vec<Result<Vec<f32>>>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of vectors")
    }

    misfits!(scalars, numbers, text, object);

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut vectors = Vec::new();
        while let Some(vector) = list.next_element::<JsonVector>()? {
            vectors.push(vector.0);
            if vectors.len() > MAX_ELEMENTS {
                return too_many(&mut list).map(Err);
            }
        }
        Ok(Ok(vectors))
    }
}

/// A number, or none where something else stands.
struct JsonNumber(Option<f64>);

impl<'de> Deserialize<'de> for JsonNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor).map(Self)
    }
}

struct NumberVisitor;

impl NumberVisitor {
    fn misfit(&self) -> Option<f64> {
        None
    }
}

impl<'de> Visitor<'de> for NumberVisitor {
    type Value = Option<f64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    misfits!(scalars, text, list, object);

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Option<f64>, E> {
        Ok(Some(value as f64))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Option<f64>, E> {
        Ok(Some(value as f64))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Option<f64>, E> {
        Ok(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_hold_finite_32_bit_numbers() {
        let vector = |json: &str| serde_json::from_str::<JsonVector>(json).map(|vector| vector.0);
        assert_eq!(vector("[1, -0.5, 1e-60, -2]").unwrap().unwrap(), [1.0, -0.5, 0.0, -2.0]);
        for (json, part) in [
            ("[0, 1e39, null]", "element 1 of the vector is beyond"),
            ("[\"1\"]", "element 0 of the vector is not a number"),
            ("[0, {\"a\": [1]}]", "element 1"),
            ("{}", "not a vector"),
            ("1", "not a vector"),
        ] {
            let error = vector(json).unwrap().unwrap_err();
            assert!(error.message().contains(part), "{json}: {error}");
        }
        let vectors = |json: &str| serde_json::from_str::<JsonVectors>(json).unwrap().0;
        let two = vectors("[[1, 2], [3, null]]").unwrap();
        assert!(two[0].is_ok() && two[1].is_err());
        assert!(vectors("[1]").unwrap()[0].is_err() && vectors("{}").is_err());
        for bad in ["[NaN]", "[Infinity]", "[1e999]", "[1"] {
            assert!(vector(bad).is_err(), "{bad}");
        }
    }
}
