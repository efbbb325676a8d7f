//! Texts of query and parts, read as the type that a field asks for.

use std::str::FromStr;

use serde::{
    de::{Deserializer, IntoDeserializer as _, Visitor},
    forward_to_deserialize_any,
};
use serde_json::Value;

use super::options::Misfit;

/// A text that becomes a number, a truth value or JSON where the field is one.
pub(super) struct Text(pub(super) String);

impl Text {
    fn parse<T: FromStr>(&self, what: &str) -> Result<T, Misfit> {
        self.0.parse().map_err(|_| Misfit(format!("{:?} is not {what}", self.0)))
    }

    fn json(&self) -> Result<Value, Misfit> {
        serde_json::from_str(&self.0).map_err(|error| Misfit(format!("not JSON: {error}")))
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident $what:literal),+ $(,)?) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
                visitor.$visit(self.parse($what)?)
            }
        )+
    };
}

impl<'de> Deserializer<'de> for Text {
    type Error = Misfit;

    integers! {
        deserialize_bool visit_bool "true or false",
        deserialize_i8 visit_i8 "a whole number in range",
        deserialize_i16 visit_i16 "a whole number in range",
        deserialize_i32 visit_i32 "a whole number in range",
        deserialize_i64 visit_i64 "a whole number in range",
        deserialize_u8 visit_u8 "a whole number in range",
        deserialize_u16 visit_u16 "a whole number in range",
        deserialize_u32 visit_u32 "a whole number in range",
        deserialize_u64 visit_u64 "a whole number in range",
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let value: f32 = self.parse("a number")?;
        if value.is_finite() { visitor.visit_f32(value) } else { Err(Misfit("not a finite number".to_owned())) }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        let value: f64 = self.parse("a number")?;
        if value.is_finite() { visitor.visit_f64(value) } else { Err(Misfit("not a finite number".to_owned())) }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_enum(self.0.into_deserializer())
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_string(self.0)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_string(self.0)
    }

    /// Lists, objects and whatever decides by itself: the JSON that the text spells.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.json()?.deserialize_any(visitor).map_err(|error| Misfit(error.to_string()))
    }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
