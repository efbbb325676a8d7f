//! A picture P inside JSON: a data URI, a bare base64 text, `{"b64": "…"}` or `{"url": "…"}`; and lists of them.

use std::fmt;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use utoipa::ToSchema;

use super::misfit::{MAX_ELEMENTS, misfits, too_many};
use crate::{
    error::{Error, ErrorKind, Result},
    service::Picture,
};

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// A picture as JSON documents describe it.
#[derive(ToSchema)]
#[schema(title = "Picture")]
#[serde(untagged)]
#[expect(dead_code, reason = "it is read by a visitor and stands here for the documentation")]
pub enum PictureSchema {
    /// `data:image/png;base64,…` or the base64 alone, standard or URL-safe.
    Text(String),
    Base64 {
        /// Base64 of the picture's file.
        b64: String,
    },
    Url {
        /// Refused as `forbidden` while fetching of URLs is off.
        url: String,
    },
}

/// A picture as it stands in a body; why it cannot be read is the item's error, not the request's.
pub(super) struct JsonPicture(pub(super) Picture);

impl<'de> Deserialize<'de> for JsonPicture {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PictureVisitor { names: &["b64", "url"] }).map(Self)
    }
}

struct PictureVisitor {
    names: &'static [&'static str],
}

impl PictureVisitor {
    fn misfit(&self) -> Picture {
        Err(Error::invalid_request("not a picture: that is a data URI, base64, {\"b64\": …} or {\"url\": …}"))
    }

    fn unknown(&self, key: &str) -> Error {
        Error::invalid_request(format!("a picture has no field `{key}`; known here: {}", self.names.join(", ")))
    }
}

impl<'de> Visitor<'de> for PictureVisitor {
    type Value = Picture;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a picture")
    }

    misfits!(scalars, numbers, list);

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Picture, E> {
        Ok(of_text(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Picture, A::Error> {
        let (mut picture, mut fault) = (None, None);
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
                _ => map.next_value::<JsonPicture>()?.0,
            };
            if picture.replace(found).is_some() {
                fault.get_or_insert_with(|| Error::invalid_request("a picture is given once: as b64 or as url"));
            }
        }
        Ok(fault.map_or_else(|| picture.unwrap_or_else(|| self.misfit()), Err))
    }
}

/// A list of pictures, or why it is none.
pub(super) struct JsonPictures(pub(super) Result<Vec<Picture>>);

impl<'de> Deserialize<'de> for JsonPictures {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PicturesVisitor).map(Self)
    }
}

struct PicturesVisitor;

impl PicturesVisitor {
    fn misfit(&self) -> Result<Vec<Picture>> {
        Err(Error::invalid_request("not a list of pictures"))
    }
}

impl<'de> Visitor<'de> for PicturesVisitor {
    type Value = Result<Vec<Picture>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of pictures")
    }

    misfits!(scalars, numbers, text, object);

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut pictures = Vec::new();
        while let Some(picture) = list.next_element::<JsonPicture>()? {
            pictures.push(picture.0);
            if pictures.len() > MAX_ELEMENTS {
                return too_many(&mut list).map(Err);
            }
        }
        Ok(Ok(pictures))
    }
}

/// OpenAI's `input`: one element or a list of them. A list of nothing but numbers is the tokens of one text.
pub(super) struct JsonInputs(pub(super) Vec<Picture>);

impl<'de> Deserialize<'de> for JsonInputs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(InputsVisitor).map(Self)
    }
}

struct InputsVisitor;

impl InputsVisitor {
    fn misfit(&self) -> Vec<Picture> {
        vec![Err(no_text())]
    }
}

impl<'de> Visitor<'de> for InputsVisitor {
    type Value = Vec<Picture>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a picture or a list of pictures")
    }

    misfits!(numbers);

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Vec<Picture>, E> {
        Ok(self.misfit())
    }

    fn visit_unit<E: de::Error>(self) -> Result<Vec<Picture>, E> {
        Ok(Vec::new())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<Picture>, E> {
        Ok(vec![of_text(text)])
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Vec<Picture>, A::Error> {
        InputVisitor.visit_map(map).map(|input| vec![input.picture()])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Picture>, A::Error> {
        let mut pictures = Vec::new();
        let mut tokens = true;
        while let Some(input) = list.next_element::<JsonInput>()? {
            tokens &= matches!(input, JsonInput::Number);
            pictures.push(input.picture());
            if pictures.len() > MAX_ELEMENTS && !tokens {
                return too_many(&mut list).map(|error| vec![Err(error)]);
            }
            // the tokens of one text are one input, however many they are
            if tokens {
                pictures.truncate(1);
            }
        }
        if tokens {
            pictures.truncate(1);
        }
        Ok(pictures)
    }
}

/// An element of `input`, where clients have more names for a picture, and may send text.
enum JsonInput {
    Picture(Picture),
    /// A token of a text.
    Number,
}

impl JsonInput {
    fn picture(self) -> Picture {
        match self {
            Self::Picture(picture) => picture,
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
        JsonInput::Picture(Err(no_text()))
    }
}

impl<'de> Visitor<'de> for InputVisitor {
    type Value = JsonInput;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a picture")
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
        Ok(JsonInput::Picture(of_text(text)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<JsonInput, A::Error> {
        let names = &["image", "b64", "bytes", "url", "text"];
        PictureVisitor { names }.visit_map(map).map(JsonInput::Picture)
    }
}

fn no_text() -> Error {
    Error::invalid_request("the models here take pictures, as data URIs or base64, and neither text nor tokens")
}

fn no_urls() -> Error {
    Error::new(ErrorKind::Forbidden, "pictures are not fetched from URLs here; send the bytes")
}

/// The bytes of a data URI or of base64.
fn of_text(text: &str) -> Picture {
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

fn of_base64(text: &str) -> Picture {
    let decoded = if text.contains(['\r', '\n']) { decode(&text.replace(['\r', '\n'], "")) } else { decode(text) };
    match decoded {
        Ok(bytes) if bytes.is_empty() => Err(Error::invalid_request("the picture is empty")),
        Ok(bytes) => Ok(Bytes::from(bytes)),
        Err(error) => Err(Error::invalid_request(format!("the picture is neither a data URI nor base64: {error}"))),
    }
}

fn decode(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    if text.contains(['-', '_']) { URL_SAFE.decode(text) } else { STANDARD.decode(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(json: &str) -> Picture {
        serde_json::from_str::<JsonPicture>(json).unwrap().0
    }

    #[test]
    fn a_picture_is_read_from_every_form() {
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
            assert_eq!(picture(json).unwrap(), &[0xfb, 0xff][..], "{json}");
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
            assert_eq!(picture(json).unwrap_err().kind(), kind, "{json}");
        }
    }

    #[test]
    fn what_is_no_picture_at_all_is_the_items_error_too() {
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
            assert_eq!(picture(json).unwrap_err().kind(), ErrorKind::InvalidRequest, "{json}");
        }
        assert!(serde_json::from_str::<JsonPicture>("[1").is_err());
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
