//! The fields of a request that are no options: images, masks, vectors, and lists of objects with fields of their own.

use std::fmt;

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{fields::Fields, image, vector::vector};
use crate::{
    admission::SharedPermit,
    error::{Error, ErrorKind, Result},
    service::{Image, RoiRequest},
};

/// Elements that a list is read to, however high its own limit is set: each keeps memory beside the bytes it came in.
pub(super) const MAX_ELEMENTS: usize = 10_000;

/// What stands in a request beside its options. One bad element of a list is its own error.
#[derive(Debug)]
pub(in crate::http) struct Content<'a> {
    pub(super) json: Vec<(String, &'a RawValue)>,
    pub(super) images: Option<Vec<Image>>,
    pub(super) mask: Option<Image>,
    /// The vector of an object of a list, which was read with the list.
    pub(super) vector: Option<Vec<f32>>,
    pub(super) roi: Option<Bytes>,
    pub(super) share: Option<SharedPermit>,
}

impl<'a> Content<'a> {
    /// The JSON of a field; a null is nothing.
    fn json_of(&self, name: &str) -> Option<&'a str> {
        let value = self.json.iter().find(|(entry, _)| entry == name).map(|(_, value)| value.get());
        value.filter(|json| *json != "null")
    }

    fn list(&self, name: &str, of: &str) -> Result<Option<Vec<&'a RawValue>>> {
        let list = self.json_of(name).map(|json| elements(json, of)).transpose();
        list.map_err(|error| Error::new(error.kind(), format!("`{name}`: {}", error.message())))
    }

    /// An image that was copied out of the body, counted with the body's bytes.
    fn counted(&self, mut image: Image) -> Image {
        if let (Ok(image), Some(share)) = (&mut image, &self.share) {
            image.count_by(share);
        }
        image
    }

    /// The images of a raw body, of a form, or of the fields `images` and `image`.
    pub(in crate::http) fn images(&mut self) -> Result<Option<Vec<Image>>> {
        let list = self.list("images", "images")?;
        let list = list.map(|list| list.into_iter().map(|one| self.counted(image::of_json(one.get()))).collect());
        let one = self.json_of("image").map(|json| vec![self.counted(image::of_json(json))]);
        match (self.images.take(), list, one) {
            (Some(images), None, None) | (None, Some(images), None) | (None, None, Some(images)) => Ok(Some(images)),
            (None, None, None) => Ok(None),
            _ => Err(Error::invalid_request("images are given once: as `images` or as `image`")),
        }
    }

    /// The images of a request that is about images and nothing else.
    pub(in crate::http) fn needed_images(&mut self) -> Result<Vec<Image>> {
        self.images()?.ok_or_else(|| Error::invalid_request("`images` is missing"))
    }

    /// The image whose dark patches are to be hidden.
    pub(in crate::http) fn mask(&mut self) -> Option<Image> {
        self.mask.take().or_else(|| self.json_of("mask").map(|json| self.counted(image::of_json(json))))
    }

    /// The part of the images that counts: a box, as a list or as four numbers with commas between, or an image.
    pub(in crate::http) fn roi(&mut self) -> Result<Option<RoiRequest>> {
        if let Some(bytes) = self.roi.take() {
            let text = std::str::from_utf8(&bytes).ok().map(str::trim);
            let is_box =
                text.is_some_and(|text| text.starts_with(|first: char| first == '[' || first.is_ascii_digit()));
            return match text.filter(|_| is_box) {
                Some(text) => box_of(text).map(Some),
                None => Ok(Some(RoiRequest::Mask(image::of_bytes(bytes)))),
            };
        }
        Ok(match self.json_of("roi") {
            None => None,
            Some(json) if json.starts_with('[') => Some(box_of(json)?),
            Some(json) => Some(RoiRequest::Mask(self.counted(image::of_json(json)))),
        })
    }

    /// OpenAI's `input`: one image or a list of them.
    pub(in crate::http) fn inputs(&self) -> Result<Vec<Image>> {
        let Some(json) = self.json_of("input") else { return Ok(Vec::new()) };
        if !json.starts_with('[') {
            return Ok(vec![self.counted(image::of_input(json))]);
        }
        // The tokens of one text are one input, however many they are.
        let is_tokens = serde_json::from_str::<Vec<Token>>(json).is_ok_and(|tokens| !tokens.is_empty());
        if is_tokens {
            return Ok(vec![image::of_input("0")]);
        }
        let list = elements(json, "images")?;
        Ok(list.into_iter().map(|element| self.counted(image::of_input(element.get()))).collect())
    }

    pub(in crate::http) fn vector(&mut self) -> Option<Result<Vec<f32>>> {
        self.vector.take().map(Ok).or_else(|| self.json_of("vector").map(vector))
    }

    pub(in crate::http) fn vectors(&self, name: &str) -> Result<Option<Vec<Result<Vec<f32>>>>> {
        let list = self.list(name, "vectors")?;
        Ok(list.map(|list| list.into_iter().map(|one| vector(one.get())).collect()))
    }

    /// A list of objects, each with its own fields; `content` names those that are no options.
    pub(in crate::http) fn objects(
        &self,
        name: &str,
        content: &'static [&'static str],
    ) -> Result<Option<Vec<Result<Fields<'a>>>>> {
        let counted = |mut fields: Fields<'a>| {
            fields.share.clone_from(&self.share);
            Ok(fields)
        };
        if let Some(objects) = self.json_of(name).and_then(|json| Fields::list_of_json(json, content)) {
            return Ok(Some(objects.into_iter().map(counted).collect()));
        }
        let object = |one: &'a RawValue| match one.get() {
            json if json.starts_with('{') => counted(Fields::of_json(json.as_bytes(), content)),
            _ => Err(Error::invalid_request("not an object")),
        };
        Ok(self.list(name, "objects")?.map(|list| list.into_iter().map(object).collect()))
    }
}

/// A box from `[10, 20, 300, 200]`, with or without the brackets.
fn box_of(text: &str) -> Result<RoiRequest> {
    let inside = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let numbers: Result<Vec<u32>, _> = inside.split(',').map(|number| number.trim().parse()).collect();
    match numbers.as_deref() {
        Ok([left, top, width, height]) => Ok(RoiRequest::Box([*left, *top, *width, *height])),
        _ => Err(Error::invalid_request(
            "`roi` is an image, or a box of four whole numbers of pixels: [left, top, width, height]",
        )),
    }
}

/// A number that takes no memory.
struct Token;

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        f64::deserialize(deserializer).map(|_| Self)
    }
}

/// The elements of a JSON list, not parsed yet.
fn elements<'a>(json: &'a str, of: &str) -> Result<Vec<&'a RawValue>> {
    if !json.starts_with('[') {
        return Err(Error::invalid_request(format!("not a list of {of}")));
    }
    let mut list = ListVisitor { elements: Vec::new(), more: false };
    let read = serde_json::Deserializer::from_str(json).deserialize_seq(&mut list);
    match read {
        _ if list.more => {
            let text = format!("more than {MAX_ELEMENTS} elements in one list");
            Err(Error::new(ErrorKind::PayloadTooLarge, text))
        }
        Ok(()) => Ok(list.elements),
        Err(error) => Err(Error::invalid_request(format!("malformed JSON: {error}"))),
    }
}

struct ListVisitor<'a> {
    elements: Vec<&'a RawValue>,
    /// Whether the list goes on after the most that are read.
    more: bool,
}

impl<'de> Visitor<'de> for &mut ListVisitor<'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(element) = list.next_element::<&'de RawValue>()? {
            if self.elements.len() == MAX_ELEMENTS {
                self.more = true;
                return Err(de::Error::custom("the list is too long"));
            }
            self.elements.push(element);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIF: &str = "R0lGODlhAQABAA==";

    fn content(json: &str) -> Content<'_> {
        #[derive(Deserialize)]
        struct None {}
        const NAMES: &[&str] = &["images", "image", "input", "mask", "roi", "vector", "latents", "items"];
        Fields::of_json(json.as_bytes(), NAMES).split::<None>().unwrap().0
    }

    #[test]
    fn one_bad_image_of_a_list_is_its_own_error() {
        let images = content(&format!(r#"{{"images": ["{GIF}", 5, {{"b64": "{GIF}"}}, null]}}"#)).images();
        let good: Vec<bool> = images.unwrap().unwrap().iter().map(Result::is_ok).collect();
        assert_eq!(good, [true, false, true, false]);
    }

    #[test]
    fn images_are_a_list_or_one_but_not_both() {
        assert_eq!(content(&format!(r#"{{"image": "{GIF}"}}"#)).needed_images().unwrap().len(), 1);
        assert!(content(r#"{"images": null, "image": null}"#).images().unwrap().is_none());
        for (json, part) in [
            (r#"{"images": "AA"}"#, "`images`: not a list of images"),
            (r#"{"images": {"b64": "AA"}}"#, "`images`: not a list of images"),
            (r#"{"images": ["AA"], "image": "AA"}"#, "images are given once"),
            ("{}", "`images` is missing"),
        ] {
            let error = content(json).needed_images().unwrap_err();
            assert!(error.message().contains(part), "{json}: {error}");
        }
    }

    #[test]
    fn inputs_are_one_or_many_texts_or_objects_and_tokens_are_one() {
        let count = |input: &str| content(&format!(r#"{{"input": {input}}}"#)).inputs().unwrap().len();
        for (input, expected) in [
            (r#""AA""#, 1),
            (r#"["AA", "AA"]"#, 2),
            (r#"{"image": "AA"}"#, 1),
            ("5", 1),
            ("[1, 2, 3]", 1),
            ("[[1, 2], [3]]", 2),
            (r#"["AA", 2, 3]"#, 3),
            ("[]", 0),
            ("null", 0),
        ] {
            assert_eq!(count(input), expected, "{input}");
        }
    }

    #[test]
    fn a_list_without_end_is_cut_off() {
        let list = |count: usize| format!(r#"{{"images": [{}"AA"]}}"#, "\"AA\",".repeat(count));
        assert_eq!(content(&list(MAX_ELEMENTS - 1)).images().unwrap().unwrap().len(), MAX_ELEMENTS);
        let error = content(&list(MAX_ELEMENTS)).images().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
        assert!(error.message().contains("more than 10000 elements"), "{error}");
    }

    #[test]
    fn what_is_wrong_with_an_object_of_a_list_is_its_own_error() {
        #[derive(Deserialize)]
        struct Item {
            id: Option<String>,
        }
        let json = r#"{"items": [{"id": "a"}, 1, null, [{}], {"id": 1}, {"id": "a", "id": "a"}, {"size": 1}, {}]}"#;
        let objects = content(json).objects("items", &["vector"]).unwrap().unwrap();
        let read = |fields: Result<Fields<'_>>| fields?.options::<Item>().map(|item| item.id);
        let items: Vec<Result<Option<String>>> = objects.into_iter().map(read).collect();
        let good: Vec<bool> = items.iter().map(Result::is_ok).collect();
        assert_eq!(good, [true, false, false, false, false, false, false, true]);
        assert!(items[6].as_ref().unwrap_err().message().contains("known here: vector, id"));
    }

    #[test]
    fn a_region_of_interest_is_a_box_or_an_image() {
        let roi = |json: &str| content(json).roi();
        assert!(roi("{}").unwrap().is_none() && roi(r#"{"roi": null}"#).unwrap().is_none());
        assert!(matches!(roi(r#"{"roi": [1, 2, 3, 4]}"#).unwrap(), Some(RoiRequest::Box([1, 2, 3, 4]))));
        assert!(matches!(roi(&format!(r#"{{"roi": "{GIF}"}}"#)).unwrap(), Some(RoiRequest::Mask(Ok(_)))));
        for json in [r#"{"roi": [1, 2, 3]}"#, r#"{"roi": [1, 2, 3, -4]}"#, r#"{"roi": ["a"]}"#] {
            assert!(roi(json).unwrap_err().message().contains("[left, top, width, height]"), "{json}");
        }
        let text = |text: &'static str| {
            let mut content = content("{}");
            content.roi = Some(Bytes::from_static(text.as_bytes()));
            content.roi()
        };
        assert!(matches!(text(" 1,2, 3,4").unwrap(), Some(RoiRequest::Box([1, 2, 3, 4]))));
        assert!(matches!(text("[1,2,3,4]").unwrap(), Some(RoiRequest::Box([1, 2, 3, 4]))));
        assert!(matches!(text("GIF89a").unwrap(), Some(RoiRequest::Mask(Ok(_)))));
        assert!(text("1,2").is_err());
    }

    #[test]
    fn vectors_of_a_list_have_their_own_errors() {
        let vectors = content(r#"{"latents": [[1, 2], [3, null]]}"#).vectors("latents").unwrap().unwrap();
        assert!(vectors[0].is_ok() && vectors[1].is_err());
        assert!(
            content(r#"{"latents": 5}"#).vectors("latents").unwrap_err().message().contains("`latents`: not a list")
        );
        assert!(content(r#"{"vector": null}"#).vector().is_none());
    }
}
