//! A JSON body by its grammar.
//!
//! Images are decoded where they stand, so that a body of many megabytes is never copied into a tree of values;
//! every field that the grammar does not name is an option.

use std::fmt;

use serde::{
    Deserializer,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

use super::{
    image::{JsonImage, JsonImages, JsonInputs},
    misfit::{MAX_ELEMENTS, misfits, too_many},
    options::Options,
    vector::{JsonVector, JsonVectors},
};
use crate::{
    admission::SharedPermit,
    error::{Error, Result},
    service::Image,
};

/// What a named field of a body holds.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) enum Kind {
    /// A list of images.
    Images,
    /// One image.
    Image,
    /// One image or a list of them, as in OpenAI's `input`.
    Inputs,
    /// An image whose dark patches are to be hidden; a part of a form too.
    Mask,
    /// A vector.
    Vector,
    /// A list of vectors.
    Vectors,
    /// A list of objects with fields of their own.
    Elements(Grammar),
}

/// The fields of a body that are not options.
pub(in crate::http) type Grammar = &'static [(&'static str, Kind)];

/// What stands in a body, or in an element of one.
#[derive(Debug, Default)]
pub(in crate::http) struct Fields {
    pub(in crate::http) images: Option<Vec<Image>>,
    pub(in crate::http) inputs: Option<Vec<Image>>,
    pub(in crate::http) mask: Option<Image>,
    pub(in crate::http) vector: Option<Result<Vec<f32>>>,
    pub(in crate::http) vectors: Option<Vec<Result<Vec<f32>>>>,
    /// Each with what is wrong with it, which is its own error.
    pub(in crate::http) elements: Option<Vec<Result<Fields>>>,
    pub(in crate::http) options: Options,
}

/// An object as far as it could be read: beside its fields, the first thing that is wrong with it.
#[derive(Debug, Default)]
pub(super) struct Object {
    pub(super) fields: Fields,
    pub(super) fault: Option<Error>,
}

impl Object {
    /// Reads a JSON object.
    pub(super) fn of_json(body: &[u8], grammar: Grammar) -> Self {
        let mut object = Self::default();
        let mut reader = serde_json::Deserializer::from_slice(body);
        let seed = ObjectSeed { grammar, object: &mut object };
        if let Err(error) = seed.deserialize(&mut reader).and_then(|()| reader.end()) {
            object.fault = Some(Error::invalid_request(format!("malformed JSON: {error}")));
        }
        object
    }

    /// The fields, if nothing is wrong with them.
    pub(super) fn whole(self) -> Result<Fields> {
        self.fault.map_or(Ok(self.fields), Err)
    }

    /// Notes what is wrong, unless something was before.
    pub(super) fn note(&mut self, outcome: Result<()>) {
        self.fault = self.fault.take().or(outcome.err());
    }

    /// Reads all fields; only what is not JSON at all ends it early.
    fn fill<'de, A: MapAccess<'de>>(&mut self, grammar: Grammar, map: &mut A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let outcome = match grammar.iter().find(|(name, _)| *name == key) {
                Some((name, kind)) => self.fields.read(name, *kind, map)?,
                None => {
                    let value = map.next_value::<Value>()?;
                    self.fields.options.add_json(key, value)
                }
            };
            self.note(outcome);
        }
        Ok(())
    }
}

impl Fields {
    /// Has the images count as bytes of the body that they were copied out of.
    pub(super) fn count_by(&mut self, share: &SharedPermit) {
        let lists = self.images.iter_mut().chain(self.inputs.iter_mut()).flatten();
        lists.chain(&mut self.mask).flatten().for_each(|image| image.count_by(share));
        self.elements.iter_mut().flatten().flatten().for_each(|element| element.count_by(share));
    }

    /// Reads a named field; the inner result is what is wrong with it.
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &str, kind: Kind, map: &mut A) -> Result<Result<()>, A::Error> {
        Ok(match kind {
            Kind::Images => {
                let images: Option<JsonImages> = map.next_value()?;
                put(name, &mut self.images, images.map(|images| images.0))
            }
            Kind::Image => {
                let image: Option<JsonImage> = map.next_value()?;
                put(name, &mut self.images, image.map(|image| Ok(vec![image.0])))
            }
            Kind::Inputs => put(name, &mut self.inputs, Some(Ok(map.next_value::<JsonInputs>()?.0))),
            Kind::Mask => {
                let image: Option<JsonImage> = map.next_value()?;
                put(name, &mut self.mask, image.map(|image| Ok(image.0)))
            }
            Kind::Vectors => {
                let vectors: Option<JsonVectors> = map.next_value()?;
                put(name, &mut self.vectors, vectors.map(|vectors| vectors.0))
            }
            Kind::Vector => {
                let vector: Option<JsonVector> = map.next_value()?;
                put(name, &mut self.vector, vector.map(|vector| Ok(vector.0)))
            }
            Kind::Elements(grammar) => {
                put(name, &mut self.elements, map.next_value_seed(ElementsSeed(grammar))?.transpose())
            }
        })
    }
}

/// Puts a value where there is none yet; a null puts nothing.
fn put<T>(name: &str, place: &mut Option<T>, value: Option<Result<T>>) -> Result<()> {
    let Some(value) = value else { return Ok(()) };
    let value = value.map_err(|error| Error::invalid_request(format!("`{name}`: {}", error.message())))?;
    if place.replace(value).is_some() {
        return Err(Error::invalid_request(format!("`{name}` is given twice")));
    }
    Ok(())
}

struct ObjectSeed<'a> {
    grammar: Grammar,
    object: &'a mut Object,
}

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.object.fill(self.grammar, &mut map)
    }
}

/// A list of objects; the inner result is an error where it is no list, and none for a null.
struct ElementsSeed(Grammar);

type Elements = Result<Option<Vec<Result<Fields>>>>;

impl ElementsSeed {
    fn misfit(&self) -> Elements {
        Err(Error::invalid_request("not a list of objects"))
    }
}

impl<'de> DeserializeSeed<'de> for ElementsSeed {
    type Value = Elements;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Elements, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ElementsSeed {
    type Value = Elements;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    misfits!(numbers, text, object);

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Elements, E> {
        Ok(self.misfit())
    }

    fn visit_unit<E: de::Error>(self) -> Result<Elements, E> {
        Ok(Ok(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Elements, A::Error> {
        let mut elements = Vec::new();
        while let Some(fields) = list.next_element_seed(ElementSeed(self.0))? {
            elements.push(fields);
            if elements.len() > MAX_ELEMENTS {
                return too_many(&mut list).map(Err);
            }
        }
        Ok(Ok(Some(elements)))
    }
}

/// An element of a list, or what is wrong with it.
struct ElementSeed(Grammar);

impl ElementSeed {
    fn misfit(&self) -> Result<Fields> {
        Err(Error::invalid_request("not an object"))
    }
}

impl<'de> DeserializeSeed<'de> for ElementSeed {
    type Value = Result<Fields>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ElementSeed {
    type Value = Result<Fields>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    misfits!(scalars, numbers, text, list);

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut object = Object::default();
        object.fill(self.0, &mut map)?;
        Ok(object.whole())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ELEMENT: Grammar = &[("image", Kind::Image), ("vector", Kind::Vector)];
    const GRAMMAR: Grammar = &[("images", Kind::Images), ("input", Kind::Inputs), ("items", Kind::Elements(ELEMENT))];

    fn object(json: &str) -> Object {
        Object::of_json(json.as_bytes(), GRAMMAR)
    }

    fn fields(json: &str) -> Result<Fields> {
        object(json).whole()
    }

    #[test]
    fn named_fields_are_read_and_the_others_are_options() {
        let fields =
            fields(r#"{"images": ["AA", "%"], "limit": 3, "items": [{"vector": [1], "id": "a"}, {}]}"#).unwrap();
        let images = fields.images.unwrap();
        assert!(images[0].is_ok() && images[1].is_err());
        let elements: Vec<Fields> = fields.elements.unwrap().into_iter().map(Result::unwrap).collect();
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
    fn a_null_is_nothing_but_an_input_is_there() {
        let fields = fields(r#"{"images": null, "items": [{"image": null, "vector": null}], "input": null}"#).unwrap();
        assert!(fields.images.is_none());
        assert!(fields.elements.unwrap().remove(0).unwrap().vector.is_none());
        assert!(fields.inputs.is_some_and(|inputs| inputs.is_empty()));
    }

    #[test]
    fn what_is_no_json_object_is_refused_with_the_place() {
        for bad in ["", "[]", "{", "{} {}", r#"{"items": [{"vector": [NaN]}]}"#] {
            let error = fields(bad).unwrap_err();
            assert!(error.message().starts_with("malformed JSON: "), "{error}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_field_is_told_and_the_others_are_read() {
        for (bad, part) in [
            (r#""images": "AA""#, "`images`: not a list"),
            (r#""images": {"b64": "AA"}"#, "`images`: not a list"),
            (r#""images": ["AA"], "images": ["AA"]"#, "`images` is given twice"),
            (r#""items": 5"#, "`items`: not a list"),
            (r#""items": {"id": {}}"#, "`items`: not a list"),
            (r#""a": 1, "a": 2"#, "`a` is given twice"),
        ] {
            let object = object(&format!(r#"{{{bad}, "input": "AA"}}"#));
            let fault = object.fault.unwrap();
            assert!(fault.message().contains(part), "{bad}: {fault}");
            assert_eq!(object.fields.inputs.unwrap().len(), 1, "{bad}");
        }
    }

    #[test]
    fn what_is_wrong_with_an_element_is_its_own_error() {
        let json = r#"{"items": [{"id": "a"}, 1, null, [{}], {"vector": [1], "vector": [1]}, {"id": 1, "id": 2}, {}]}"#;
        let elements = fields(json).unwrap().elements.unwrap();
        let good: Vec<bool> = elements.iter().map(Result::is_ok).collect();
        assert_eq!(good, [true, false, false, false, false, false, true]);
    }
}
