//! An image inside JSON: a data URI, a bare base64 text or `{"b64": "…"}`; a URL is refused with its reason.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    error::{Error, ErrorKind, Result},
    image::{Encoded, sniff::sniff},
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
#[expect(dead_code, reason = "an image is read by its first character; this type describes it for the documentation")]
pub enum ImageSchema {
    /// `data:image/png;base64,…` or the base64 alone, standard or URL-safe.
    Text(String),
    Base64 {
        /// Base64 of the image's file.
        b64: String,
    },
}

/// An image as an object. The field `url` is accepted so that the error can say why it is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageObject<'a> {
    #[serde(borrow)]
    b64: Option<&'a RawValue>,
    #[serde(borrow)]
    url: Option<&'a RawValue>,
}

/// An element of OpenAI's `input` as an object: clients have more names for an image, and may send text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InputObject<'a> {
    #[serde(borrow)]
    image: Option<&'a RawValue>,
    #[serde(borrow)]
    b64: Option<&'a RawValue>,
    #[serde(borrow)]
    bytes: Option<&'a RawValue>,
    #[serde(borrow)]
    url: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
}

/// The file of an image, from a body or from a part of a form.
pub(super) fn of_bytes(bytes: Bytes) -> Image {
    if bytes.is_empty() { Err(Error::invalid_request("the image is empty")) } else { Ok(Encoded::new(bytes)) }
}

/// An image from its JSON; why it cannot be read is the item's error, not the request's.
pub(super) fn of_json(json: &str) -> Image {
    match json.bytes().next() {
        Some(b'"') => of_text(json),
        Some(b'{') => {
            let ImageObject { b64, url } = object(json)?;
            only_one([b64.map(|b64| of_json(b64.get())), url.map(|_| Err(no_urls()))])
        }
        _ => Err(no_image()),
    }
}

/// An image from an element of OpenAI's `input`.
pub(super) fn of_input(json: &str) -> Image {
    match json.bytes().next() {
        Some(b'"') => of_text(json),
        Some(b'{') => {
            let InputObject { image, b64, bytes, url, text } = object(json)?;
            let [image, b64, bytes] = [image, b64, bytes].map(|named| named.map(|named| of_json(named.get())));
            only_one([image, b64, bytes, url.map(|_| Err(no_urls())), text.map(|_| Err(no_text()))])
        }
        _ => Err(no_text()),
    }
}

fn object<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T> {
    serde_json::from_str(json).map_err(|error| Error::invalid_request(format!("the image: {error}")))
}

fn only_one(given: impl IntoIterator<Item = Option<Image>>) -> Image {
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(image), None) => image,
        (Some(_), Some(_)) => Err(Error::invalid_request("an image is given once")),
        (None, _) => Err(no_image()),
    }
}

fn no_image() -> Error {
    Error::invalid_request("not an image: that is a data URI, base64 or {\"b64\": …}")
}

fn no_text() -> Error {
    Error::invalid_request("the models here take images, as data URIs or base64, and neither text nor tokens")
}

fn no_urls() -> Error {
    Error::new(ErrorKind::Forbidden, "images are not fetched from URLs here; send the bytes")
}

/// The image of a JSON text.
fn of_text(json: &str) -> Image {
    if let Ok(text) = serde_json::from_str::<&str>(json) {
        return of_uri_or_base64(text);
    }
    // A text with escapes, such as `\/`, cannot be borrowed.
    let text: String = object(json)?;
    of_uri_or_base64(&text)
}

fn of_uri_or_base64(text: &str) -> Image {
    let has = |scheme: &str| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    if has("http://") || has("https://") {
        return Err(no_urls());
    }
    if !has("data:") {
        return of_base64(text);
    }
    match text.split_once(',') {
        Some((head, data)) if head.len() >= 7 && head[head.len() - 7..].eq_ignore_ascii_case(";base64") => {
            of_bytes(decode(data)?)
        }
        _ => Err(Error::invalid_request("the data URI is not a base64 one: data:image/png;base64,…")),
    }
}

/// Words are base64 too once their spaces are gone, so a text with spaces inside must become an image.
fn of_base64(text: &str) -> Image {
    let image = of_bytes(decode(text)?)?;
    let has_spaces = text.trim().contains([' ', '\t']);
    if has_spaces && sniff(image.bytes()).is_err_and(|error| error.kind() == ErrorKind::InvalidImage) {
        return Err(Error::invalid_request("the image is neither a data URI nor base64"));
    }
    Ok(image)
}

/// Decodes base64, standard or URL-safe, padded or not, with white space anywhere.
fn decode(text: &str) -> Result<Bytes> {
    let strict = |text: &str| {
        let engine = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
        engine.decode(text)
    };
    let decoded = strict(text).or_else(|error| {
        let packed: String = text.split_ascii_whitespace().collect();
        if packed.len() < text.len() { strict(&packed) } else { Err(error) }
    });
    let refused = |error| Error::invalid_request(format!("the image is neither a data URI nor base64: {error}"));
    decoded.map(Bytes::from).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header of a GIF.
    const GIF: &[u8] = b"GIF89a\xfb\xff\xbf\x01";

    #[test]
    fn an_image_is_read_from_every_form() {
        for json in [
            r#""R0lGODlh-_-_AQ""#,
            r#""R0lGODlh+/+/AQ==""#,
            r#""R0lGODlh+/+/AQ""#,
            r#""R0lGODlh+\/+\/AQ""#,
            r#""R0lGODlh+/+/\nAQ==""#,
            r#"" R0lGOD lh+/+/\r\n\tAQ==\n""#,
            r#""data:image/gif;base64,R0lGODlh+/+/AQ==""#,
            r#""data:image/gif;base64, R0lGODlh +/+/AQ==""#,
            r#""DATA:image/gif;name=a;BASE64,R0lGODlh-_-_AQ""#,
            r#"{"b64": "R0lGODlh+/+/AQ=="}"#,
            r#"{"b64": "data:;base64,R0lGODlh+/+/AQ==", "url": null}"#,
        ] {
            assert_eq!(of_json(json).unwrap().bytes(), GIF, "{json}");
            assert_eq!(of_input(json).unwrap().bytes(), GIF, "{json}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_the_items_error() {
        for (json, kind) in [
            (r#""""#, ErrorKind::InvalidRequest),
            (r#""a photo of a cat""#, ErrorKind::InvalidRequest),
            (r#""data:image/png,abc""#, ErrorKind::InvalidRequest),
            (r#""data:image/png;base64""#, ErrorKind::InvalidRequest),
            (r#""\ud800""#, ErrorKind::InvalidRequest),
            (r#"{"url": "https://example.org/a.png"}"#, ErrorKind::Forbidden),
            (r#""https://example.org/a.png""#, ErrorKind::Forbidden),
        ] {
            assert_eq!(of_json(json).unwrap_err().kind(), kind, "{json}");
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
            r#"{"b64": "AA", "b64": "AA"}"#,
            r#"{"image": "AA"}"#,
            r#"{"b64": [1, {"a": 2}]}"#,
            r#"{"b64": "AA", "size": {"w": 1}}"#,
        ] {
            assert_eq!(of_json(json).unwrap_err().kind(), ErrorKind::InvalidRequest, "{json}");
        }
        let unknown = of_json(r#"{"size": 1}"#).unwrap_err();
        assert!(unknown.message().contains("unknown field `size`, expected `b64` or `url`"), "{unknown}");
    }

    #[test]
    fn inputs_have_more_names_and_text_is_their_own_error() {
        for json in [
            r#"{"image": "R0lGODlh-_-_AQ"}"#,
            r#"{"image": {"b64": "R0lGODlh-_-_AQ"}}"#,
            r#"{"bytes": "R0lGODlh-_-_AQ"}"#,
        ] {
            assert_eq!(of_input(json).unwrap().bytes(), GIF, "{json}");
        }
        for json in ["5", "true", "{}", "null", "[1, 2]", r#"{"text": "a cat"}"#, r#"{"audio": "AA"}"#] {
            assert_eq!(of_input(json).unwrap_err().kind(), ErrorKind::InvalidRequest, "{json}");
        }
    }
}
