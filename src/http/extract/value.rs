//! The value of one field, read as the type that the field asks for.
//!
//! A text of the query or of a form becomes a number, a truth value or JSON where the field is one. JSON keeps its own
//! types, with one exception for both: a number without a fraction is a whole number, however it is written.

use std::{fmt, str::FromStr};

use serde::{
    Deserialize as _,
    de::{self, Deserializer, IntoDeserializer, Visitor, value::StrDeserializer},
    forward_to_deserialize_any,
};
use serde_json::{Value, value::RawValue};

use crate::error::Error;

/// A value as it was given: a text of the query or of a form, or JSON that is not parsed yet.
#[derive(Debug, Clone)]
pub(super) enum FieldValue<'a> {
    Text(String),
    Json(&'a RawValue),
}

/// Characters of a value that a message shows.
const SHOWN: usize = 60;
/// Up to here every whole number is a 64-bit float of its own.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

impl FieldValue<'_> {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Json(raw) => raw.get(),
        }
    }

    /// Whether two places say the same: a text says the JSON that it spells. Two values of one JSON object never agree,
    /// since readers differ in which of them they keep.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Json(_), Self::Json(_)) => false,
            (Self::Text(text), Self::Json(raw)) | (Self::Json(raw), Self::Text(text)) => {
                match serde_json::from_str(raw.get()) {
                    Ok(Value::String(value)) => value == *text,
                    Ok(value) => says(text, &value),
                    Err(_) => false,
                }
            }
        }
    }

    /// Whether the value is the JSON null.
    pub(super) fn is_null(&self) -> bool {
        matches!(self, Self::Json(raw) if raw.get() == "null")
    }

    fn parse<T: FromStr>(&self, what: &str) -> Result<T, TypeMismatch> {
        self.text().parse().map_err(|_| self.is_not(what))
    }

    fn whole<T: TryFrom<i128>>(&self) -> Result<T, TypeMismatch> {
        let number = whole_number(self.text()).and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| self.is_not("a whole number in range"))
    }

    fn is_not(&self, what: &str) -> TypeMismatch {
        let start: String = self.text().chars().take(SHOWN).collect();
        match self {
            Self::Text(_) => TypeMismatch(format!("{start:?} is not {what}")),
            Self::Json(_) => TypeMismatch(format!("{start} is not {what}")),
        }
    }
}

fn says(text: &str, value: &Value) -> bool {
    if let Value::Bool(value) = value {
        return truth(text) == Some(*value);
    }
    serde_json::from_str::<Value>(text).is_ok_and(|spelled| {
        spelled == *value || matches!((spelled.as_f64(), value.as_f64()), (Some(a), Some(b)) if a == b)
    })
}

/// `true` and `false` in any case: Python writes them with a capital.
fn truth(text: &str) -> Option<bool> {
    [true, false].into_iter().find(|value| text.eq_ignore_ascii_case(if *value { "true" } else { "false" }))
}

/// A whole number, also one that is written as `10.0` or `1e1`.
fn whole_number(text: &str) -> Option<i128> {
    text.parse().ok().or_else(|| {
        let number: f64 = text.parse().ok()?;
        (number.fract() == 0.0 && number.abs() <= MAX_EXACT).then_some(number as i128)
    })
}

/// Why a value does not fit its field, as the caller will read it.
#[derive(Debug)]
pub(super) struct TypeMismatch(pub(super) String);

impl fmt::Display for TypeMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TypeMismatch {}

impl de::Error for TypeMismatch {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }

    fn missing_field(field: &'static str) -> Self {
        Self(format!("`{field}` is missing"))
    }
}

/// The position in a value says nothing to a caller who sees the whole body.
impl From<serde_json::Error> for TypeMismatch {
    fn from(error: serde_json::Error) -> Self {
        let text = error.to_string();
        let position = format!(" at line {} column {}", error.line(), error.column());
        Self(text.strip_suffix(&position).unwrap_or(&text).to_owned())
    }
}

macro_rules! as_json {
    ($($method:ident($($argument:ident: $type:ty),*)),+ $(,)?) => {
        $(
            fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, TypeMismatch> {
                let mut reader = serde_json::Deserializer::from_str(self.text());
                let value = reader.$method($($argument,)* visitor)?;
                reader.end()?;
                Ok(value)
            }
        )+
    };
}

/// The JSON of a value, whether it came as JSON or as a text that spells it.
struct Spelled<'a, 'b>(&'a FieldValue<'b>);

impl<'a> Spelled<'a, '_> {
    fn text(&self) -> &'a str {
        self.0.text()
    }
}

impl<'de> Deserializer<'de> for Spelled<'de, '_> {
    type Error = TypeMismatch;

    as_json! {
        deserialize_any(), deserialize_bool(), deserialize_f32(), deserialize_f64(), deserialize_string(),
        deserialize_enum(name: &'static str, variants: &'static [&'static str]),
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 char str bytes byte_buf option unit unit_struct newtype_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

macro_rules! whole_numbers {
    ($($method:ident $visit:ident),+ $(,)?) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeMismatch> {
                visitor.$visit(self.whole()?)
            }
        )+
    };
}

macro_rules! finite_numbers {
    ($($method:ident $visit:ident $type:ty),+ $(,)?) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeMismatch> {
                let FieldValue::Text(_) = self else { return Spelled(self).$method(visitor) };
                let number: $type = self.parse("a number")?;
                if number.is_finite() { visitor.$visit(number) } else { Err(self.is_not("a finite number")) }
            }
        )+
    };
}

impl<'de> Deserializer<'de> for &'de FieldValue<'_> {
    type Error = TypeMismatch;

    whole_numbers! {
        deserialize_i8 visit_i8, deserialize_i16 visit_i16, deserialize_i32 visit_i32, deserialize_i64 visit_i64,
        deserialize_u8 visit_u8, deserialize_u16 visit_u16, deserialize_u32 visit_u32, deserialize_u64 visit_u64,
    }

    finite_numbers! { deserialize_f32 visit_f32 f32, deserialize_f64 visit_f64 f64 }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeMismatch> {
        match self {
            FieldValue::Text(text) => visitor.visit_bool(truth(text).ok_or_else(|| self.is_not("true or false"))?),
            FieldValue::Json(_) => Spelled(self).deserialize_bool(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeMismatch> {
        match self {
            value if value.is_null() => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, v: V) -> Result<V::Value, TypeMismatch> {
        v.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TypeMismatch> {
        match self {
            FieldValue::Text(text) => visitor.visit_enum(StrDeserializer::new(text)),
            FieldValue::Json(_) => Spelled(self).deserialize_enum(name, variants, visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeMismatch> {
        match self {
            FieldValue::Text(text) => visitor.visit_borrowed_str(text),
            FieldValue::Json(_) => Spelled(self).deserialize_string(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeMismatch> {
        self.deserialize_string(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeMismatch> {
        Spelled(self).deserialize_any(visitor).map_err(|error| match self {
            FieldValue::Text(text) if serde_json::from_str::<de::IgnoredAny>(text).is_err() => self.is_not("JSON"),
            _ => error,
        })
    }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, TypeMismatch> for &'de FieldValue<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Reads a field that is written as text, by the type's own rule.
pub(in crate::http) fn from_text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = Error>,
{
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse()).transpose().map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::domain::Metric;

    fn of_text<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, TypeMismatch> {
        T::deserialize(&FieldValue::Text(text.to_owned()))
    }

    fn of_json<T: for<'de> Deserialize<'de>>(json: &str) -> Result<T, TypeMismatch> {
        T::deserialize(&FieldValue::Json(serde_json::from_str(json).unwrap()))
    }

    #[test]
    fn a_number_without_a_fraction_is_whole_however_it_is_written() {
        for text in ["10", "10.0", "1e1", "10.00"] {
            assert_eq!(of_text::<usize>(text).unwrap(), 10, "{text}");
            assert_eq!(of_json::<Option<u8>>(text).unwrap(), Some(10), "{text}");
        }
        assert_eq!(of_json::<u64>("18446744073709551615").unwrap(), u64::MAX);
        assert_eq!(of_json::<i64>("-3").unwrap(), -3);
        for text in ["10.5", "-1", "1e40", "NaN", "inf", "", "18446744073709551616", "1e16"] {
            assert!(of_text::<u64>(text).unwrap_err().0.contains("is not a whole number in range"), "{text}");
        }
        for json in ["10.5", "-1", "\"10\"", "[10]", "true", "null"] {
            assert!(of_json::<u64>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn truth_is_told_in_any_case_by_texts_and_exactly_by_json() {
        for (text, value) in [("true", true), ("True", true), ("FALSE", false)] {
            assert_eq!(of_text::<bool>(text).unwrap(), value);
        }
        assert!(of_text::<bool>("yes").unwrap_err().0.contains("true or false"));
        assert!(of_json::<bool>("false").is_ok_and(|value| !value));
        assert!(of_json::<bool>("\"True\"").is_err() && of_json::<bool>("1").is_err());
    }

    #[test]
    fn texts_spell_numbers_names_and_json() {
        assert_eq!(of_text::<f32>("-0.5").unwrap(), -0.5);
        for text in ["1e39", "NaN", "near"] {
            assert!(of_text::<f32>(text).is_err(), "{text}");
        }
        assert_eq!(of_text::<String>("5").unwrap(), "5");
        assert!(of_json::<String>("5").is_err());
        assert_eq!(of_text::<Metric>("dot").unwrap(), Metric::Dot);
        assert_eq!(of_json::<Metric>("\"dot\"").unwrap(), Metric::Dot);
        assert_eq!(of_text::<Value>(r#"{"a": [1]}"#).unwrap(), json!({"a": [1]}));
        assert_eq!(of_text::<Vec<u64>>("[1, 2]").unwrap(), [1, 2]);
        assert!(of_text::<Value>("x").unwrap_err().0.contains("is not JSON"));
    }

    #[test]
    fn a_json_null_is_nothing_and_messages_have_no_position() {
        assert_eq!(of_json::<Option<u64>>("null").unwrap(), None);
        assert_eq!(of_json::<String>("{}").unwrap_err().0, "invalid type: map, expected a string");
    }

    #[test]
    fn places_agree_where_they_say_the_same() {
        let agree = |text: &str, json: &str| {
            let (text, json) =
                (FieldValue::Text(text.to_owned()), FieldValue::Json(serde_json::from_str(json).unwrap()));
            assert!(!json.agrees(&json));
            text.agrees(&json) && json.agrees(&text)
        };
        for (text, json) in
            [("3", "3"), ("3", "3.0"), ("3", "\"3\""), ("m", "\"m\""), ("True", "true"), (r#"{"a":1}"#, r#"{"a": 1}"#)]
        {
            assert!(agree(text, json), "{text} {json}");
        }
        for (text, json) in [("3", "4"), ("m", "\"n\""), ("true", "false"), ("x", "{}")] {
            assert!(!agree(text, json), "{text} {json}");
        }
    }
}
