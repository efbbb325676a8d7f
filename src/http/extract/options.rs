//! Options from the query, from text parts and from JSON, merged and read into a route's struct.

use std::fmt;

use axum::http::Uri;
use serde::{
    de::{self, DeserializeOwned, Deserializer, MapAccess, Visitor},
    forward_to_deserialize_any,
};
use serde_json::Value;

use super::coerce::Text;
use crate::error::{Error, Result};

/// Options by name, each from one place or from several that agree.
#[derive(Debug, Default)]
pub(in crate::http) struct Options {
    entries: Vec<(String, Given)>,
}

/// A value as it was given: a text that becomes what the field needs, or JSON that is taken as it is.
#[derive(Debug, Clone)]
enum Given {
    Text(String),
    Json(Value),
}

impl Given {
    /// Whether two places say the same; a text says the JSON it spells.
    fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Json(a), Self::Json(b)) => same(a, b),
            (Self::Text(text), Self::Json(value)) | (Self::Json(value), Self::Text(text)) => match value {
                Value::String(value) => value == text,
                value => serde_json::from_str::<Value>(text).is_ok_and(|spelled| same(&spelled, value)),
            },
        }
    }
}

/// Equal, 1 and 1.0 included.
fn same(a: &Value, b: &Value) -> bool {
    a == b || matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if a == b)
}

impl Options {
    /// The options of a query; those named in `repeated` may come several times with different values.
    pub(super) fn of_query(uri: &Uri, repeated: &[&str]) -> Result<Self> {
        let mut options = Self::default();
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| Error::invalid_request(format!("the query is malformed: {error}")))?;
        for (key, text) in pairs.0 {
            options.add_text(key, text, repeated)?;
        }
        Ok(options)
    }

    pub(super) fn add_text(&mut self, key: String, text: String, repeated: &[&str]) -> Result<()> {
        if repeated.contains(&key.as_str()) {
            self.entries.push((key, Given::Text(text)));
            return Ok(());
        }
        self.add(key, Given::Text(text))
    }

    pub(super) fn add_json(&mut self, key: String, value: Value) -> Result<()> {
        self.add(key, Given::Json(value))
    }

    fn add(&mut self, key: String, given: Given) -> Result<()> {
        match self.entries.iter().find(|(name, _)| *name == key) {
            None => self.entries.push((key, given)),
            Some((_, there)) if there.agrees(&given) => {}
            Some(_) => return Err(given_twice(&key)),
        }
        Ok(())
    }

    /// Adds the options of another place. What may be repeated stands in one of them, or in both alike.
    pub(super) fn merge(&mut self, mut other: Self, repeated: &[&str]) -> Result<()> {
        for name in repeated {
            let (here, there) = (self.take_texts(name), other.take_texts(name));
            if !here.is_empty() && !there.is_empty() && here != there {
                return Err(given_twice(name));
            }
            let texts = if here.is_empty() { there } else { here };
            self.entries.extend(texts.into_iter().map(|text| ((*name).to_owned(), Given::Text(text))));
        }
        other.entries.into_iter().try_for_each(|(key, given)| self.add(key, given))
    }

    /// Takes out every text given under a name.
    pub(in crate::http) fn take_texts(&mut self, name: &str) -> Vec<String> {
        let taken = self.entries.extract_if(.., |(key, given)| key == name && matches!(given, Given::Text(_)));
        taken.filter_map(|(_, given)| if let Given::Text(text) = given { Some(text) } else { None }).collect()
    }

    #[cfg(test)]
    pub(in crate::http) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The struct of a route. Every unknown option is named, with the ones that are known.
    pub(in crate::http) fn read<O: DeserializeOwned>(self) -> Result<O> {
        O::deserialize(Reader { options: self }).map_err(|error| Error::invalid_request(error.0))
    }
}

fn given_twice(name: &str) -> Error {
    Error::invalid_request(format!("`{name}` is given twice with different values"))
}

/// Why options do not fit, as the caller will read it.
#[derive(Debug)]
pub(super) struct Misfit(pub(super) String);

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misfit {}

impl de::Error for Misfit {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }

    fn missing_field(field: &'static str) -> Self {
        Self(format!("`{field}` is missing"))
    }
}

struct Reader {
    options: Options,
}

impl Reader {
    fn check_names(&self, known: &'static [&'static str]) -> Result<(), Misfit> {
        let mut unknown: Vec<String> = Vec::new();
        for (key, _) in &self.options.entries {
            let name = format!("`{key}`");
            if !known.contains(&key.as_str()) && !unknown.contains(&name) {
                unknown.push(name);
            }
        }
        if unknown.is_empty() {
            return Ok(());
        }
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(Misfit(format!("unknown option {}; known here: {known}", unknown.join(", "))))
    }
}

impl<'de> Deserializer<'de> for Reader {
    type Error = Misfit;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.check_names(fields)?;
        self.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_map(Entries { entries: self.options.entries.into_iter(), current: None })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Entries {
    entries: std::vec::IntoIter<(String, Given)>,
    current: Option<(String, Given)>,
}

impl<'de> MapAccess<'de> for Entries {
    type Error = Misfit;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Misfit> {
        self.current = self.entries.next();
        let Some((key, _)) = &self.current else { return Ok(None) };
        seed.deserialize(de::value::StrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Misfit> {
        let Some((key, given)) = self.current.take() else { return Err(Misfit("a value without a name".to_owned())) };
        let value = match given {
            Given::Text(text) => seed.deserialize(Text(text)),
            Given::Json(value) => seed.deserialize(value).map_err(|error| Misfit(error.to_string())),
        };
        value.map_err(|error| Misfit(format!("`{key}`: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::domain::{Filter, Metric, ModelName};

    #[derive(Debug, Deserialize, PartialEq)]
    struct Example {
        model: ModelName,
        limit: Option<usize>,
        score: Option<f32>,
        #[serde(default)]
        strict: bool,
        metric: Option<Metric>,
        filter: Option<Filter>,
    }

    fn query(text: &str) -> Result<Options> {
        Options::of_query(&format!("/x?{text}").parse().unwrap(), &[])
    }

    fn read(text: &str) -> Result<Example> {
        query(text)?.read()
    }

    #[test]
    fn texts_become_what_the_fields_need() {
        let example =
            read("model=5&limit=3&score=-0.5&strict=true&metric=dot&filter=%7B%22must%22%3A%5B%5D%7D").unwrap();
        assert_eq!(example.model.as_str(), "5");
        assert_eq!((example.limit, example.score, example.strict), (Some(3), Some(-0.5), true));
        assert_eq!((example.metric, example.filter), (Some(Metric::Dot), Some(Filter::default())));
    }

    #[test]
    fn refusals_name_the_option() {
        for (text, part) in [
            ("limit=1", "`model` is missing"),
            ("model=m&limit=x", "`limit`"),
            ("model=m&limit=-1", "`limit`"),
            ("model=m&score=NaN", "`score`"),
            ("model=m&score=1e39", "`score`"),
            ("model=m&strict=yes", "`strict`"),
            ("model=m&metric=far", "`metric`"),
            ("model=m&filter=x", "`filter`"),
            ("model=M", "`model`"),
            ("model=m&colour=red&size=1", "unknown option `colour`, `size`; known here: model, limit, score"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.message().contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn places_that_agree_are_one_and_others_contradict() {
        for (text, value, agree) in [
            ("limit=3", json!(3), true),
            ("limit=3", json!(3.0), true),
            ("limit=3", json!("3"), true),
            ("limit=3", json!(4), false),
            ("model=m", json!("m"), true),
            ("model=m", json!("n"), false),
            ("strict=true", json!(true), true),
            ("strict=true", json!(false), false),
            ("filter=%7B%22a%22%3A1%7D", json!({"a": 1}), true),
        ] {
            let mut options = query(text).unwrap();
            let key = text.split('=').next().unwrap().to_owned();
            assert_eq!(options.add_json(key, value).is_ok(), agree, "{text}");
        }
        assert!(query("a=1&a=1").is_ok());
        assert!(query("a=1&a=2").unwrap_err().message().contains("`a` is given twice"));
    }

    #[test]
    fn repeated_options_keep_every_value() {
        let mut options = Options::of_query(&"/x?id=a&id=b&id=a".parse().unwrap(), &["id"]).unwrap();
        assert_eq!(options.take_texts("id"), ["a", "b", "a"]);
        assert!(options.is_empty());
    }

    #[test]
    fn repeated_options_of_two_places_must_be_the_same() {
        let ids = |text: &str| Options::of_query(&format!("/x?{text}").parse().unwrap(), &["id"]).unwrap();
        for (query, body, merged) in [
            ("id=a", "id=a", Some(&["a"][..])),
            ("id=a&id=b", "id=a&id=b", Some(&["a", "b"])),
            ("id=a", "", Some(&["a"])),
            ("", "id=a&id=a", Some(&["a", "a"])),
            ("id=a", "id=b", None),
            ("id=a", "id=a&id=b", None),
            ("id=b&id=a", "id=a&id=b", None),
        ] {
            let mut options = ids(body);
            let outcome = options.merge(ids(query), &["id"]);
            assert_eq!(
                outcome.ok().map(|()| options.take_texts("id")),
                merged.map(|ids| ids.iter().map(ToString::to_string).collect()),
                "{query} {body}"
            );
        }
    }

    #[test]
    fn a_json_null_is_an_absent_option() {
        let mut options = query("model=m").unwrap();
        options.add_json("limit".to_owned(), Value::Null).unwrap();
        assert_eq!(options.read::<Example>().unwrap().limit, None);
    }
}
