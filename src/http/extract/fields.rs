//! A JSON body by its grammar.
//!
//! Pictures are decoded where they stand, so that a body of many megabytes is never copied into a tree of values;
//! every field that the grammar does not name is an option.

use std::fmt;

use serde::{
    Deserializer,
    de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

use super::{
    options::Options,
    picture::{JsonInput, JsonPicture, JsonVector},
};
use crate::{
    error::{Error, Result},
    service::Picture,
};

/// What a named field of a body holds.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) enum Kind {
    /// A list of pictures.
    Pictures,
    /// One picture.
    Picture,
    /// One picture or a list of them, as in OpenAI's `input`.
    Inputs,
    /// A vector.
    Vector,
    /// A list of objects with fields of their own.
    Elements(Grammar),
}

/// The fields of a body that are not options.
pub(in crate::http) type Grammar = &'static [(&'static str, Kind)];

/// What stands in a body, or in an element of one.
#[derive(Debug, Default)]
pub(in crate::http) struct Fields {
    pub(in crate::http) pictures: Option<Vec<Picture>>,
    pub(in crate::http) inputs: Option<Vec<Picture>>,
    pub(in crate::http) vector: Option<Result<Vec<f32>>>,
    pub(in crate::http) elements: Option<Vec<Fields>>,
    pub(in crate::http) options: Options,
}

impl Fields {
    /// The fields of a JSON object.
    pub(super) fn of_json(body: &[u8], grammar: Grammar) -> Result<Self> {
        let malformed = |error: serde_json::Error| Error::invalid_request(format!("malformed JSON: {error}"));
        let mut reader = serde_json::Deserializer::from_slice(body);
        let fields = ObjectSeed(grammar).deserialize(&mut reader).map_err(malformed)?;
        reader.end().map_err(malformed)?;
        Ok(fields)
    }

    fn read<'de, A: MapAccess<'de>>(&mut self, kind: Kind, map: &mut A) -> Result<bool, A::Error> {
        let again = match kind {
            Kind::Pictures => {
                let pictures: Option<Vec<JsonPicture>> = map.next_value()?;
                put(&mut self.pictures, pictures.map(unwrapped))
            }
            Kind::Picture => {
                let picture: Option<JsonPicture> = map.next_value()?;
                put(&mut self.pictures, picture.map(|picture| vec![picture.0]))
            }
            Kind::Inputs => put(&mut self.inputs, Some(map.next_value_seed(InputsSeed)?)),
            Kind::Vector => {
                let vector: Option<JsonVector> = map.next_value()?;
                put(&mut self.vector, vector.map(|vector| vector.0))
            }
            Kind::Elements(grammar) => put(&mut self.elements, Some(map.next_value_seed(ElementsSeed(grammar))?)),
        };
        Ok(again)
    }
}

/// Whether something was there already; a null puts nothing.
fn put<T>(place: &mut Option<T>, value: Option<T>) -> bool {
    value.is_some_and(|value| place.replace(value).is_some())
}

fn unwrapped(pictures: Vec<JsonPicture>) -> Vec<Picture> {
    pictures.into_iter().map(|picture| picture.0).collect()
}

struct ObjectSeed(Grammar);

impl<'de> DeserializeSeed<'de> for ObjectSeed {
    type Value = Fields;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Fields, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some(key) = map.next_key::<String>()? {
            match self.0.iter().find(|(name, _)| *name == key) {
                Some((_, kind)) => {
                    if fields.read(*kind, &mut map)? {
                        return Err(de::Error::custom(format_args!("`{key}` is given twice")));
                    }
                }
                None => {
                    let value = map.next_value::<Value>()?;
                    fields.options.add_json(key, value).map_err(de::Error::custom)?;
                }
            }
        }
        Ok(fields)
    }
}

struct ElementsSeed(Grammar);

impl<'de> DeserializeSeed<'de> for ElementsSeed {
    type Value = Vec<Fields>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Fields>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ElementsSeed {
    type Value = Vec<Fields>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Fields>, A::Error> {
        let mut elements = Vec::new();
        while let Some(fields) = list.next_element_seed(ObjectSeed(self.0))? {
            elements.push(fields);
        }
        Ok(elements)
    }
}

/// A text, an object or a list of them.
struct InputsSeed;

impl<'de> DeserializeSeed<'de> for InputsSeed {
    type Value = Vec<Picture>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Picture>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for InputsSeed {
    type Value = Vec<Picture>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a picture or a list of pictures")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<Picture>, E> {
        let picture = serde::Deserialize::deserialize(de::value::StrDeserializer::<E>::new(text));
        picture.map(|picture: JsonInput| vec![picture.0])
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<Picture>, A::Error> {
        let picture: JsonInput = serde::Deserialize::deserialize(de::value::MapAccessDeserializer::new(map))?;
        Ok(vec![picture.0])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Picture>, A::Error> {
        let mut pictures = Vec::new();
        while let Some(picture) = list.next_element::<JsonInput>()? {
            pictures.push(picture.0);
        }
        Ok(pictures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ELEMENT: Grammar = &[("image", Kind::Picture), ("vector", Kind::Vector)];
    const GRAMMAR: Grammar = &[("images", Kind::Pictures), ("input", Kind::Inputs), ("items", Kind::Elements(ELEMENT))];

    fn fields(json: &str) -> Result<Fields> {
        Fields::of_json(json.as_bytes(), GRAMMAR)
    }

    #[test]
    fn named_fields_are_read_and_the_others_are_options() {
        let fields =
            fields(r#"{"images": ["AA", "%"], "limit": 3, "items": [{"vector": [1], "id": "a"}, {}]}"#).unwrap();
        let pictures = fields.pictures.unwrap();
        assert!(pictures[0].is_ok() && pictures[1].is_err());
        let elements = fields.elements.unwrap();
        assert_eq!(elements[0].vector.as_ref().unwrap().as_ref().unwrap(), &[1.0]);
        assert!(!elements[0].options.is_empty() && elements[1].options.is_empty());
        assert!(!fields.options.is_empty());
    }

    #[test]
    fn inputs_are_one_or_many_texts_or_objects() {
        for (json, count) in [
            (r#""AA""#, 1),
            (r#"["AA", "AA"]"#, 2),
            (r#"{"image": "AA"}"#, 1),
            (r#"[{"image": "AA"}, {"bytes": "AA"}, "AA"]"#, 3),
            ("[]", 0),
        ] {
            let inputs = fields(&format!("{{\"input\": {json}}}")).unwrap().inputs.unwrap();
            assert_eq!(inputs.len(), count, "{json}");
            assert!(inputs.iter().all(Result::is_ok));
        }
    }

    #[test]
    fn a_null_is_nothing() {
        let fields = fields(r#"{"images": null, "items": [{"image": null, "vector": null}]}"#).unwrap();
        assert!(fields.pictures.is_none());
        assert!(fields.elements.unwrap()[0].vector.is_none());
    }

    #[test]
    fn malformed_bodies_are_refused_with_the_place() {
        for bad in [
            "",
            "[]",
            "{",
            "{} {}",
            r#"{"images": "AA"}"#,
            r#"{"images": ["AA"], "images": ["AA"]}"#,
            r#"{"items": [1]}"#,
            r#"{"items": [{"vector": [NaN]}]}"#,
            r#"{"a": 1, "a": 2}"#,
        ] {
            let error = fields(bad).unwrap_err();
            assert!(error.message().starts_with("malformed JSON: "), "{error}");
        }
    }
}
