//! An image P inside JSON: a data URI, a bare base64 text, `{"b64": "…"}` or `{"url": "…"}`; and lists of them.

use std::fmt;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use utoipa::ToSchema;

use super::misfit::{MAX_ELEMENTS, misfits, too_many};
use crate::{
    error::{Error, ErrorKind, Result},
    image::Encoded,
    service::Image,
};

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// An image as JSON documents describe it.
#[derive(ToSchema)]
#[schema(title = "Image")]
#[serde(untagged)]
#[expect(dead_code, reason = "it is read by a visitor and stands here for the documentation")]
pub enum ImageSchema {
    /// `data:image/png;base64,…` or the base64 alone, standard or URL-safe.
    Text(String),
    Base64 {
        /// Base64 of the image's file.
        b64: String,
    },
    Url {
        /// Refused as `forbidden` while fetching of URLs is off.
        url: String,
    },
}

/// An image as it stands in a body; why it cannot be read is the item's error, not the request's.
pub(super) struct JsonImage(pub(super) Image);

impl<'de> Deserialize<'de> for JsonImage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ImageVisitor { names: &["b64", "url"] }).map(Self)
    }
}

struct ImageVisitor {
    names: &'static [&'static str],
}

impl ImageVisitor {
    fn misfit(&self) -> Image {
        Err(Error::invalid_request("not an image: that is a data URI, base64, {\"b64\": …} or {\"url\": …}"))
    }

    fn unknown(&self, key: &str) -> Error {
        Error::invalid_request(format!("an image has no field `{key}`; known here: {}", self.names.join(", ")))
    }
}

impl<'de> Visitor<'de> for ImageVisitor {
    type Value = Image;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an image")
    }

    misfits!(scalars, numbers, list);

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Image, E> {
        Ok(of_text(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Image, A::Error> {
        let (mut image, mut fault) = (None, None);
        while let Some(key) = map.next_key::<String>()? {
            let found = match key.as_str() {
                name if !self.names.contains(&name) => {
                    map.next_value::<IgnoredAny>()?;
                    fault.get_or_insert_with(|| self.unknown(name));
                    continue;
                }
                "url" => {
                    map.next_value::<IgnoredAny>()?;
                    Err(no_urls())
                }
                "text" => {
                    map.next_value::<IgnoredAny>()?;
                    Err(no_text())
                }
                _ => map.next_value::<JsonImage>()?.0,
            };
            if image.replace(found).is_some() {
                fault.get_or_insert_with(|| Error::invalid_request("an image is given once: as b64 or as url"));
            }
        }
        Ok(fault.map_or_else(|| image.unwrap_or_else(|| self.misfit()), Err))
    }
}

/// A list of images, or why it is none.
pub(super) struct JsonImages(pub(super) Result<Vec<Image>>);

impl<'de> Deserialize<'de> for JsonImages {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ImagesVisitor).map(Self)
    }
}

struct ImagesVisitor;

impl ImagesVisitor {
    fn misfit(&self) -> Result<Vec<Image>> {
        Err(Error::invalid_request("not a list of images"))
    }
}

impl<'de> Visitor<'de> for ImagesVisitor {
    type Value = Result<Vec<Image>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of images")
    }

    misfits!(scalars, numbers, text, object);

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut images = Vec::new();
        while let Some(image) = list.next_element::<JsonImage>()? {
            images.push(image.0);
            if images.len() > MAX_ELEMENTS {
                return too_many(&mut list).map(Err);
            }
        }
        Ok(Ok(images))
    }
}

/// OpenAI's `input`: one element or a list of them. A list of nothing but numbers is the tokens of one text.
pub(super) struct JsonInputs(pub(super) Vec<Image>);

impl<'de> Deserialize<'de> for JsonInputs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(InputsVisitor).map(Self)
    }
}

struct InputsVisitor;

impl InputsVisitor {
    fn misfit(&self) -> Vec<Image> {
        vec![Err(no_text())]
    }
}

impl<'de> Visitor<'de> for InputsVisitor {
    type Value = Vec<Image>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an image or a list of images")
    }

    misfits!(numbers);

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Vec<Image>, E> {
        Ok(self.misfit())
    }

    fn visit_unit<E: de::Error>(self) -> Result<Vec<Image>, E> {
        Ok(Vec::new())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<Image>, E> {
        Ok(vec![of_text(text)])
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<Image>, A::Error> {
        InputVisitor.visit_map(map).map(|input| vec![input.image()])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Image>, A::Error> {
        let mut images = Vec::new();
        let mut tokens = true;
        while let Some(input) = list.next_element::<JsonInput>()? {
            tokens &= matches!(input, JsonInput::Number);
            images.push(input.image());
            if images.len() > MAX_ELEMENTS && !tokens {
                return too_many(&mut list).map(|error| vec![Err(error)]);
            }
            // the tokens of one text are one input, however many they are
            if tokens {
                images.truncate(1);
            }
        }
        if tokens {
            images.truncate(1);
        }
        Ok(images)
    }
}

/// An element of `input`, where clients have more names for an image, and may send text.
enum JsonInput {
    Image(Image),
    /// A token of a text.
    Number,
}

impl JsonInput {
    fn image(self) -> Image {
        match self {
            Self::Image(image) => image,
            Self::Number => Err(no_text()),
        }
    }
}

impl<'de> Deserialize<'de> for JsonInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(InputVisitor)
    }
}

struct InputVisitor;

impl InputVisitor {
    fn misfit(&self) -> JsonInput {
        JsonInput::Image(Err(no_text()))
    }
}

impl<'de> Visitor<'de> for InputVisitor {
    type Value = JsonInput;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an image")
    }

    misfits!(scalars, list);

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<JsonInput, E> {
        Ok(JsonInput::Number)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<JsonInput, E> {
        Ok(JsonInput::Number)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<JsonInput, E> {
        Ok(JsonInput::Number)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<JsonInput, E> {
        Ok(JsonInput::Image(of_text(text)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<JsonInput, A::Error> {
        let names = &["image", "b64", "bytes", "url", "text"];
        ImageVisitor { names }.visit_map(map).map(JsonInput::Image)
    }
}

fn no_text() -> Error {
    Error::invalid_request("the models here take images, as data URIs or base64, and neither text nor tokens")
}

fn no_urls() -> Error {
    Error::new(ErrorKind::Forbidden, "images are not fetched from URLs here; send the bytes")
}

/// The bytes of a data URI or of base64.
fn of_text(text: &str) -> Image {
    let has = |scheme: &str| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    if has("http://") || has("https://") {
        return Err(no_urls());
    }
    if !has("data:") {
        return of_base64(text);
    }
    match text.split_once(',') {
        Some((head, data)) if head.len() >= 7 && head[head.len() - 7..].eq_ignore_ascii_case(";base64") => {
            of_base64(data)
        }
        _ => Err(Error::invalid_request("the data URI is not a base64 one: data:image/png;base64,…")),
    }
}

fn of_base64(text: &str) -> Image {
    let decoded = if text.contains(['\r', '\n']) { decode(&text.replace(['\r', '\n'], "")) } else { decode(text) };
    match decoded {
        Ok(bytes) if bytes.is_empty() => Err(Error::invalid_request("the image is empty")),
        Ok(bytes) => Ok(Encoded::new(bytes.into())),
        Err(error) => Err(Error::invalid_request(format!("the image is neither a data URI nor base64: {error}"))),
    }
}

fn decode(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    if text.contains(['-', '_']) { URL_SAFE.decode(text) } else { STANDARD.decode(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(json: &str) -> Image {
        serde_json::from_str::<JsonImage>(json).unwrap().0
    }

    #[test]
    fn an_image_is_read_from_every_form() {
        for json in [
            r#""-_8""#,
            r#""+/8=""#,
            r#""+/8""#,
            r#""+/\n8=""#,
            r#""data:image/png;base64,+/8=""#,
            r#""DATA:image/png;name=a;BASE64,-_8""#,
            r#"{"b64": "+/8="}"#,
            r#"{"b64": "data:;base64,+/8="}"#,
        ] {
            assert_eq!(image(json).unwrap().bytes(), &[0xfb, 0xff][..], "{json}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_the_items_error() {
        for (json, kind) in [
            (r#""""#, ErrorKind::InvalidRequest),
            (r#""a photo of a cat""#, ErrorKind::InvalidRequest),
            (r#""data:image/png,abc""#, ErrorKind::InvalidRequest),
            (r#""data:image/png;base64""#, ErrorKind::InvalidRequest),
            (r#"{"url": "https://example.org/a.png"}"#, ErrorKind::Forbidden),
            (r#""https://example.org/a.png""#, ErrorKind::Forbidden),
        ] {
            assert_eq!(image(json).unwrap_err().kind(), kind, "{json}");
        }
    }

    #[test]
    fn what_is_no_image_at_all_is_the_items_error_too() {
        for json in [
            "5",
            "-1.5",
            "true",
            "null",
            "[\"AA\", {}]",
            "{}",
            r#"{"b64": "AA", "url": ""}"#,
            r#"{"image": "AA"}"#,
            r#"{"b64": [1, {"a": 2}]}"#,
            r#"{"b64": "AA", "size": {"w": 1}}"#,
        ] {
            assert_eq!(image(json).unwrap_err().kind(), ErrorKind::InvalidRequest, "{json}");
        }
        assert!(serde_json::from_str::<JsonImage>("[1").is_err());
    }

    #[test]
    fn inputs_have_more_names_and_text_is_their_own_error() {
        let inputs = |json: &str| serde_json::from_str::<JsonInputs>(json).unwrap().0;
        for json in [
            r#""AA""#,
            r#"["AA"]"#,
            r#"{"image": "AA"}"#,
            r#"[{"image": {"b64": "AA"}}]"#,
            r#"[{"bytes": "AA"}, {"b64": "AA"}]"#,
        ] {
            assert!(inputs(json).iter().all(Result::is_ok), "{json}");
        }
        for json in ["5", "true", "{}", "[null]", "[[1, 2]]", r#"{"text": "a cat"}"#, r#"[{"audio": "AA"}]"#] {
            let [input] = &inputs(json)[..] else { panic!("{json} is not one input") };
            assert_eq!(input.as_ref().unwrap_err().kind(), ErrorKind::InvalidRequest, "{json}");
        }
        assert!(inputs("null").is_empty() && inputs("[]").is_empty());
    }

    #[test]
    fn tokens_are_one_input() {
        let inputs = |json: &str| serde_json::from_str::<JsonInputs>(json).unwrap().0;
        assert_eq!(inputs("[1, 2, 3]").len(), 1);
        assert_eq!(inputs("[[1, 2], [3]]").len(), 2);
        assert_eq!(inputs("[\"AA\", 2, 3]").len(), 3);
    }
}
