//! A picture P inside JSON: a data URI, a bare base64 text, `{"b64": "…"}` or `{"url": "…"}`; and a vector.

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

/// An element of OpenAI's `input`, where clients have more names for a picture, and may send text.
pub(super) struct JsonInput(pub(super) Picture);

impl<'de> Deserialize<'de> for JsonInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = &["image", "b64", "bytes", "url", "text"];
        deserializer.deserialize_any(PictureVisitor { names }).map(Self)
    }
}

struct PictureVisitor {
    names: &'static [&'static str],
}

impl<'de> Visitor<'de> for PictureVisitor {
    type Value = Picture;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a picture: a data URI, base64, {\"b64\": …} or {\"url\": …}")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Picture, E> {
        Ok(of_text(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Picture, A::Error> {
        let mut picture = None;
        while let Some(key) = map.next_key::<String>()? {
            if !self.names.contains(&key.as_str()) {
                return Err(de::Error::unknown_field(&key, self.names));
            }
            let found = match key.as_str() {
                "url" => {
                    map.next_value::<String>()?;
                    Err(no_urls())
                }
                "text" => {
                    map.next_value::<IgnoredAny>()?;
                    Err(Error::invalid_request("the models here take pictures, not text"))
                }
                _ => map.next_value::<JsonPicture>()?.0,
            };
            if picture.replace(found).is_some() {
                return Err(de::Error::custom("a picture is given either as b64 or as url"));
            }
        }
        picture.ok_or_else(|| de::Error::invalid_length(0, &self))
    }
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

/// A vector as it stands in a body. Numbers that f32 does not hold are the item's error.
pub(super) struct JsonVector(pub(super) Result<Vec<f32>>);

impl<'de> Deserialize<'de> for JsonVector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(VectorVisitor).map(Self)
    }
}

struct VectorVisitor;

impl<'de> Visitor<'de> for VectorVisitor {
    type Value = Result<Vec<f32>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a vector: a list of numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        let mut wrong = None;
        while let Some(value) = list.next_element::<f64>()? {
            let narrow = value as f32;
            if !narrow.is_finite() && wrong.is_none() {
                wrong = Some(values.len());
            }
            values.push(narrow);
        }
        Ok(match wrong {
            None => Ok(values),
            Some(at) => Err(Error::invalid_request(format!("number {at} of the vector is beyond 32-bit floats"))),
        })
    }
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
    fn what_is_no_picture_at_all_is_the_requests_error() {
        for json in ["5", "null", "[]", "{}", r#"{"b64": "", "url": ""}"#, r#"{"image": "AA"}"#, r#"{"url": 1}"#] {
            assert!(serde_json::from_str::<JsonPicture>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn inputs_have_more_names_and_text_is_their_own_error() {
        let input = |json: &str| serde_json::from_str::<JsonInput>(json).map(|input| input.0);
        for json in [r#""AA""#, r#"{"image": "AA"}"#, r#"{"image": {"b64": "AA"}}"#, r#"{"bytes": "AA"}"#] {
            assert!(input(json).unwrap().is_ok(), "{json}");
        }
        assert_eq!(input(r#"{"text": "a cat"}"#).unwrap().unwrap_err().kind(), ErrorKind::InvalidRequest);
        assert!(input(r#"{"audio": "AA"}"#).is_err());
    }

    #[test]
    fn vectors_hold_finite_32_bit_numbers() {
        let vector = |json: &str| serde_json::from_str::<JsonVector>(json).map(|vector| vector.0);
        assert_eq!(vector("[1, -0.5, 1e-60]").unwrap().unwrap(), [1.0, -0.5, 0.0]);
        assert!(vector("[0, 1e39]").unwrap().unwrap_err().message().contains("number 1"));
        for bad in ["[NaN]", "[Infinity]", "[1e999]", "[\"1\"]", "[null]", "{}", "1"] {
            assert!(vector(bad).is_err(), "{bad}");
        }
    }
}
