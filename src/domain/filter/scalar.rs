//! The values that conditions compare.

use std::fmt;

use serde_json::{Value, json};

use super::Number;

/// A value that conditions compare: text, a truth value, or a number (1 equals 1.0).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scalar {
    /// Never made of a condition's value: an index keeps it for `is_null`.
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
}

impl Scalar {
    /// The scalar of a JSON value; none for null, arrays and objects.
    #[must_use]
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(value) => Some(Self::Bool(*value)),
            Value::Number(number) => Some(Self::Number(Number::of(number))),
            Value::String(text) => Some(Self::Text(text.clone())),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    pub(super) fn equals(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Text(text), Value::String(other)) => text == other,
            (Self::Bool(value), Value::Bool(other)) => value == other,
            (Self::Null, Value::Null) => true,
            (Self::Number(number), Value::Number(other)) => *number == Number::of(other),
            _ => false,
        }
    }

    /// The JSON of it.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => json!(value),
            Self::Number(number) => number.to_value(),
            Self::Text(text) => json!(text),
        }
    }
}

/// The text itself, and numbers and truth values as JSON writes them.
impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            other => other.to_value().fmt(f),
        }
    }
}
