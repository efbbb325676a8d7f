//! The fields of a request, whichever way they came: merged from query, parts and JSON, and read into a route's struct.
//!
//! Unknown names are checked here and not by `serde(deny_unknown_fields)`, because the message names all of them, and
//! the known ones of the body and of the options together, which are two structs.

use std::fmt;

use axum::http::Uri;
use bytes::Bytes;
use serde::{
    de::{
        self, DeserializeOwned, DeserializeSeed, Deserializer as _, MapAccess, SeqAccess, Visitor,
        value::MapDeserializer,
    },
    forward_to_deserialize_any,
};
use serde_json::value::RawValue;

use super::{
    content::{Content, MAX_ELEMENTS},
    value::{FieldValue, TypeMismatch},
    vector::VectorSeed,
};
use crate::{
    admission::SharedPermit,
    error::{Error, Result},
    service::Image,
};

/// Fields of one place that may stand there once: each costs a comparison with all others.
const MAX_FIELDS: usize = 256;

/// The name of a field of content that is parsed at once where it stands in a list of objects.
const VECTOR: &str = "vector";

/// Named values, and the first thing that is wrong with any of them.
#[derive(Debug, Default)]
pub(in crate::http) struct Fields<'a> {
    entries: Vec<(String, FieldValue<'a>)>,
    /// The number of entries that may stand there once.
    single: usize,
    /// The names that are no options where these fields came from: images, vectors, lists.
    content: &'static [&'static str],
    /// The images of a raw body or of a form.
    pub(super) images: Option<Vec<Image>>,
    /// The names that a form gives the files of its images, in their order.
    pub(super) file_names: Vec<Option<String>>,
    /// The mask of a form.
    pub(super) mask: Option<Image>,
    /// The vector of an object of a list.
    vector: Option<Vec<f32>>,
    /// The region of interest of a form or a query: a box as text, or an image.
    pub(super) roi: Option<Bytes>,
    /// What counts the bytes of the body: what is copied out of it is counted with it.
    pub(super) share: Option<SharedPermit>,
    fault: Option<Error>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(content: &'static [&'static str]) -> Self {
        Self { content, ..Self::default() }
    }

    /// The fields of a JSON object, whose values are not parsed yet. What was read before something malformed is there.
    pub(super) fn of_json(json: &'a [u8], content: &'static [&'static str]) -> Self {
        let mut fields = Self::new(content);
        let mut reader = serde_json::Deserializer::from_slice(json);
        if let Err(error) = reader.deserialize_map(ObjectVisitor(&mut fields)).and_then(|()| reader.end()) {
            fields.note(Err(Error::invalid_request(format!("malformed JSON: {error}"))));
        }
        fields
    }

    /// The fields of each object of a JSON list, read in one pass, vectors included: a list of a thousand vectors is
    /// nearly all numbers, and each pass over it costs milliseconds. None where anything is amiss with the list or one of
    /// its vectors; what that is shows when it is read object by object.
    pub(super) fn list_of_json(json: &'a str, content: &'static [&'static str]) -> Option<Vec<Self>> {
        serde_json::Deserializer::from_str(json).deserialize_seq(ListVisitor { content }).ok()
    }

    /// The options of a query; those named in `repeated` may come several times with different values.
    pub(super) fn of_query(uri: &Uri, repeated: &[&str]) -> Self {
        let mut fields = Self::default();
        match axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri) {
            Ok(pairs) => pairs.0.into_iter().for_each(|(name, text)| fields.add_text(name, text, repeated)),
            Err(error) => fields.note(Err(Error::invalid_request(format!("the query is malformed: {error}")))),
        }
        fields
    }

    /// Notes what is wrong, unless something was before.
    pub(super) fn note(&mut self, outcome: Result<()>) {
        self.fault = self.fault.take().or(outcome.err());
    }

    pub(super) fn add_text(&mut self, name: String, text: String, repeated: &[&str]) {
        if repeated.contains(&name.as_str()) {
            self.entries.push((name, FieldValue::Text(text)));
        } else {
            self.add(name, FieldValue::Text(text));
        }
    }

    /// Adds a value that may stand once. A null is as good as absent, so that another place may give the value.
    fn add(&mut self, name: String, value: FieldValue<'a>) {
        let existing = self.entries.iter_mut().find(|(existing, _)| *existing == name).map(|(_, existing)| existing);
        let outcome = match (existing, &value) {
            (None, _) if self.single == MAX_FIELDS => {
                Err(Error::invalid_request(format!("more than {MAX_FIELDS} fields")))
            }
            (None, _) => {
                self.single += 1;
                self.entries.push((name, value));
                Ok(())
            }
            (Some(existing), FieldValue::Text(_)) if existing.is_null() => {
                *existing = value;
                Ok(())
            }
            (Some(existing), _) if existing.agrees(&value) => Ok(()),
            (Some(FieldValue::Json(_)), FieldValue::Json(_)) => {
                Err(Error::invalid_request(format!("`{name}` is given twice")))
            }
            _ => Err(differ(&name)),
        };
        self.note(outcome);
    }

    /// Adds the options of a query. What may be repeated stands in one of the two places, or in both alike.
    pub(super) fn merge_query(&mut self, mut query: Self, repeated: &[&str]) {
        for name in repeated {
            let (in_body, in_query) = (self.take_texts(name), query.take_texts(name));
            if !in_body.is_empty() && !in_query.is_empty() && in_body != in_query {
                self.note(Err(differ(name)));
            }
            let texts = if in_body.is_empty() { in_query } else { in_body };
            self.entries.extend(texts.into_iter().map(|text| ((*name).to_owned(), FieldValue::Text(text))));
        }
        for (name, value) in query.entries {
            if self.content.contains(&name.as_str()) {
                self.note(Err(Error::invalid_request(format!("`{name}` stands in the body, not in the query"))));
            } else if !repeated.contains(&name.as_str()) {
                self.add(name, value);
            }
        }
        self.note(query.fault.map_or(Ok(()), Err));
    }

    /// Takes a region of interest over from a query.
    pub(super) fn take_roi(&mut self, query: &mut Self) {
        for text in query.take_texts("roi") {
            let text = Bytes::from(text);
            if self.has_json("roi") || self.roi.as_ref().is_some_and(|roi| *roi != text) {
                self.note(Err(differ("roi")));
            }
            self.roi = Some(text);
        }
    }

    /// Takes out every text given under a name.
    pub(super) fn take_texts(&mut self, name: &str) -> Vec<String> {
        let texts =
            |(entry, value): &mut (String, FieldValue<'_>)| entry == name && matches!(value, FieldValue::Text(_));
        let taken = self.entries.extract_if(.., texts);
        taken.filter_map(|(_, value)| if let FieldValue::Text(text) = value { Some(text) } else { None }).collect()
    }

    /// The text or the JSON of a field, as it was given.
    pub(in crate::http) fn text_of(&self, name: &str) -> Option<&str> {
        self.entries.iter().find(|(entry, _)| entry == name).map(|(_, value)| value.text())
    }

    /// Whether a JSON body has a field of this name, whatever is wrong with it or with the rest.
    pub(in crate::http) fn has_json(&self, name: &str) -> bool {
        self.entries.iter().any(|(entry, value)| entry == name && matches!(value, FieldValue::Json(_)))
    }

    /// The struct of a route's options, and the fields that are no options; an error if anything is wrong with the
    /// request so far. Every unknown option is named, with the names that are known.
    pub(in crate::http) fn split<O: DeserializeOwned>(self) -> Result<(Content<'a>, O)> {
        let Self { entries, content, images, mask, vector, roi, share, fault, file_names: _, single: _ } = self;
        if let Some(fault) = fault {
            return Err(fault);
        }
        let (bodies, options): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|(name, _)| content.contains(&name.as_str()));
        let options = read(&options, content)?;
        let json = bodies.into_iter().filter_map(|(name, value)| match value {
            FieldValue::Json(raw) => Some((name, raw)),
            FieldValue::Text(_) => None,
        });
        Ok((Content { json: json.collect(), images, mask, vector, roi, share }, options))
    }

    /// The struct of a route that takes options alone.
    pub(in crate::http) fn options<O: DeserializeOwned>(self) -> Result<O> {
        self.split().map(|(_, options)| options)
    }
}

fn differ(name: &str) -> Error {
    Error::invalid_request(format!("`{name}` is given twice with different values"))
}

struct ObjectVisitor<'f, 'a>(&'f mut Fields<'a>);

impl<'de> Visitor<'de> for ObjectVisitor<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
            self.0.add(name, FieldValue::Json(value));
        }
        Ok(())
    }
}

struct ListVisitor {
    content: &'static [&'static str],
}

impl<'de> Visitor<'de> for ListVisitor {
    type Value = Vec<Fields<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut objects: Vec<Fields<'de>> = Vec::new();
        let mut expected = 0;
        while let Some(fields) = list.next_element_seed(ObjectSeed { content: self.content, expected })? {
            if objects.len() == MAX_ELEMENTS {
                return Err(de::Error::custom("the list is too long"));
            }
            expected = fields.vector.as_ref().map_or(0, Vec::len);
            objects.push(fields);
        }
        Ok(objects)
    }
}

/// Reads an object of a list.
struct ObjectSeed {
    content: &'static [&'static str],
    /// Numbers that its vector is expected to have.
    expected: usize,
}

impl<'de> DeserializeSeed<'de> for ObjectSeed {
    type Value = Fields<'de>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::new(self.content);
        let mut has_vector = false;
        while let Some(name) = map.next_key::<String>()? {
            if name != VECTOR || !self.content.contains(&VECTOR) {
                fields.add(name, FieldValue::Json(map.next_value()?));
            } else if std::mem::replace(&mut has_vector, true) {
                return Err(de::Error::duplicate_field(VECTOR));
            } else {
                fields.vector = map.next_value_seed(VectorSeed { expected: self.expected })?;
            }
        }
        Ok(fields)
    }
}

fn read<O: DeserializeOwned>(entries: &[(String, FieldValue<'_>)], content: &[&str]) -> Result<O> {
    serde_path_to_error::deserialize(OptionReader { entries, content }).map_err(|error| {
        let path = error.path().to_string();
        let TypeMismatch(text) = error.into_inner();
        Error::invalid_request(if path == "." { text } else { format!("`{path}`: {text}") })
    })
}

struct OptionReader<'f, 'a> {
    entries: &'f [(String, FieldValue<'a>)],
    content: &'f [&'f str],
}

impl OptionReader<'_, '_> {
    fn check_names(&self, options: &[&str]) -> Result<(), TypeMismatch> {
        let mut unknown: Vec<String> = Vec::new();
        for (name, _) in self.entries {
            let name_of = format!("`{name}`");
            if !options.contains(&name.as_str()) && !unknown.contains(&name_of) {
                unknown.push(name_of);
            }
        }
        if unknown.is_empty() {
            return Ok(());
        }
        let known = [self.content, options].concat();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(TypeMismatch(format!("unknown option {}; known here: {known}", unknown.join(", "))))
    }
}

impl<'de> serde::Deserializer<'de> for OptionReader<'de, '_> {
    type Error = TypeMismatch;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TypeMismatch> {
        self.check_names(fields)?;
        self.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeMismatch> {
        let given = self.entries.iter().filter(|(_, value)| !value.is_null());
        visitor.visit_map(MapDeserializer::new(given.map(|(name, value)| (name.as_str(), value))))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

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
        patches: Option<Vec<u64>>,
    }

    fn query(text: &str, repeated: &[&str]) -> Fields<'static> {
        Fields::of_query(&format!("/x?{text}").parse().unwrap(), repeated)
    }

    fn example(text: &str) -> Result<Example> {
        query(text, &[]).options()
    }

    fn merged(body: &'static str, text: &str) -> Result<Example> {
        let mut fields = Fields::of_json(body.as_bytes(), &["images"]);
        fields.merge_query(query(text, &[]), &[]);
        fields.options()
    }

    #[test]
    fn texts_become_what_the_fields_need() {
        let example =
            example("model=5&limit=3&score=-0.5&strict=True&metric=dot&filter=%7B%22must%22%3A%5B%5D%7D").unwrap();
        assert_eq!(example.model.as_str(), "5");
        assert_eq!((example.limit, example.score, example.strict), (Some(3), Some(-0.5), true));
        assert_eq!((example.metric, example.filter), (Some(Metric::Dot), Some(Filter::default())));
    }

    #[test]
    fn error_messages_name_the_option() {
        for (text, part) in [
            ("limit=1", "`model` is missing"),
            ("model=m&limit=x", "`limit`: \"x\" is not"),
            ("model=m&limit=-1", "`limit`"),
            ("model=m&score=NaN", "`score`"),
            ("model=m&score=1e39", "`score`"),
            ("model=m&strict=yes", "`strict`"),
            ("model=m&metric=far", "`metric`"),
            ("model=m&filter=x", "`filter`"),
            ("model=M", "`model`"),
            ("modle=m", "unknown option `modle`; known here: model, limit"),
            ("model=m&colour=red&size=1", "unknown option `colour`, `size`; known here: model, limit, score"),
            ("model=m&model=n", "`model` is given twice with different values"),
        ] {
            let error = example(text).unwrap_err();
            assert!(error.message().contains(part), "{text}: {error}");
        }
        assert!(example("model=m&model=m").is_ok());
    }

    #[test]
    fn errors_inside_json_name_their_place() {
        for (json, part) in [
            (r#"{"model": "m", "patches": [0, -1]}"#, "`patches[1]`: invalid value: integer `-1`"),
            (r#"{"model": "m", "patches": 5}"#, "`patches`: "),
            (r#"{"model": 5}"#, "`model`: invalid type: integer `5`"),
            (r#"{"model": "m", "limit": 10.5}"#, "`limit`: 10.5 is not a whole number in range"),
            (r#"{"model": "m", "filter": {"must": [{"key": ""}]}}"#, "`filter`: filter.must[0]"),
            (r#"{"model": "m", "colour": "red"}"#, "unknown option `colour`; known here: images, model"),
            (r#"{"model": "m", "model": "m"}"#, "`model` is given twice"),
        ] {
            let error = merged(json, "").unwrap_err();
            assert!(error.message().contains(part), "{json}: {error}");
        }
        let example = merged(r#"{"model": "m", "limit": 10.0, "score": null, "patches": [1]}"#, "").unwrap();
        assert_eq!((example.limit, example.score, example.patches), (Some(10), None, Some(vec![1])));
    }

    #[test]
    fn what_is_no_json_object_is_refused_with_the_place() {
        for bad in ["", "[]", "{", "{} {}", r#"{"items": [{"vector": [NaN]}]}"#, "{\"a\": 1, \"b\" 2}"] {
            let error = Fields::of_json(bad.as_bytes(), &[]).options::<Example>().unwrap_err();
            assert!(error.message().starts_with("malformed JSON: ") && error.message().contains("line 1"), "{error}");
        }
        let many: Vec<String> = (0..=MAX_FIELDS).map(|n| format!("\"{n}\": 0")).collect();
        let error =
            Fields::of_json(format!("{{{}}}", many.join(",")).as_bytes(), &[]).options::<Example>().unwrap_err();
        assert!(error.message().contains("more than 256 fields"), "{error}");
        let many: Vec<String> = (0..=MAX_FIELDS).map(|n| format!("{n}=0")).collect();
        assert!(example(&many.join("&")).unwrap_err().message().contains("more than 256 fields"));
        let many = vec!["id=a"; 2 * MAX_FIELDS].join("&");
        assert_eq!(query(&many, &["id"]).take_texts("id").len(), 2 * MAX_FIELDS);
    }

    #[test]
    fn fields_before_a_fault_are_there() {
        assert!(Fields::of_json(br#"{"input": "AA", "#, &["input"]).has_json("input"));
        assert!(!query("input=AA", &[]).has_json("input"));
    }

    #[test]
    fn query_and_json_are_one_and_must_not_contradict() {
        assert_eq!(merged(r#"{"model": "m", "limit": 3}"#, "limit=3&strict=true").unwrap().limit, Some(3));
        for (text, part) in
            [("limit=4", "`limit` is given twice with different values"), ("images=AA", "`images` stands in the body")]
        {
            let error = merged(r#"{"model": "m", "limit": 3}"#, text).unwrap_err();
            assert!(error.message().contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_null_is_absent_but_its_name_must_be_known() {
        let example =
            merged(r#"{"model": null, "strict": null, "limit": null, "patches": null}"#, "model=m&limit=3").unwrap();
        assert_eq!(
            (example.model.as_str(), example.strict, example.limit, example.patches),
            ("m", false, Some(3), None)
        );
        assert!(merged(r#"{"model": null}"#, "").unwrap_err().message().contains("`model` is missing"));
        assert!(
            merged(r#"{"model": "m", "colour": null}"#, "").unwrap_err().message().contains("unknown option `colour`")
        );
        assert!(merged(r#"{"model": null, "model": "m"}"#, "").unwrap_err().message().contains("given twice"));
    }

    #[test]
    fn repeated_options_keep_every_value() {
        let mut options = query("id=a&id=b&id=a", &["id"]);
        assert_eq!(options.take_texts("id"), ["a", "b", "a"]);
        assert!(options.entries.is_empty());
    }

    #[test]
    fn repeated_options_of_two_places_must_be_the_same() {
        for (text, body, together) in [
            ("id=a", "id=a", Some(&["a"][..])),
            ("id=a&id=b", "id=a&id=b", Some(&["a", "b"])),
            ("id=a", "", Some(&["a"])),
            ("", "id=a&id=a", Some(&["a", "a"])),
            ("id=a", "id=b", None),
            ("id=a", "id=a&id=b", None),
            ("id=b&id=a", "id=a&id=b", None),
        ] {
            let mut fields = query(body, &["id"]);
            fields.merge_query(query(text, &["id"]), &["id"]);
            assert_eq!(fields.fault.is_some(), together.is_none(), "{text} {body}");
            if let Some(together) = together {
                assert_eq!(fields.take_texts("id"), together, "{text} {body}");
            }
        }
    }
}
