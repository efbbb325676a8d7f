//! A body in any of the three ways: raw, `multipart/form-data` or JSON, with the same result.

use axum::{
    body::{Body, to_bytes},
    extract::{DefaultBodyLimit, FromRequest, Multipart, Request, multipart::MultipartError},
    http::{HeaderMap, HeaderValue, header},
};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::{
    fields::{Fields, Grammar, Kind, Object},
    options::Options,
};
use crate::{
    error::{Error, Result},
    http::{error::Failure, middleware::BodyShare},
    image::Encoded,
    service::Image,
};

/// JSON bodies from this size on are read outside the async threads.
const LARGE_BODY: usize = 64 << 10;

/// What a route's body may look like.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct Form {
    /// The named fields of a JSON body.
    pub(in crate::http) json: Grammar,
    /// Whether images come as raw bodies and as parts.
    pub(in crate::http) images: Images,
    /// Options of which each image has its own.
    pub(in crate::http) repeated: &'static [&'static str],
}

/// Whether a body that is not JSON holds images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Images {
    None,
    /// There may be one, or something else instead.
    Possible,
    Needed,
}

impl Form {
    /// Whether a mask comes beside the images.
    fn takes_mask(&self) -> bool {
        self.json.iter().any(|(_, kind)| matches!(kind, Kind::Mask))
    }
}

/// A route that takes images, perhaps a mask for all of them, and options.
const MASKED_IMAGES: Form =
    Form { json: &[("images", Kind::Images), ("mask", Kind::Mask)], images: Images::Needed, repeated: &[] };
/// A route that takes images and options about all of them.
const IMAGES: Form = Form { json: &[("images", Kind::Images)], images: Images::Needed, repeated: &[] };
/// A route that takes options alone.
const OPTIONS: Form = Form { json: &[], images: Images::None, repeated: &[] };

/// How a body was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Raw,
    Multipart,
    Json,
}

impl Way {
    /// JSON and forms are told by their type; all else is bytes, whatever it is called.
    fn of(headers: &HeaderMap) -> Self {
        let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let media = declared.split(';').next().unwrap_or("").trim();
        if media.eq_ignore_ascii_case("application/json") {
            Self::Json
        } else if media.eq_ignore_ascii_case("multipart/form-data") {
            Self::Multipart
        } else {
            Self::Raw
        }
    }
}

/// What a request holds, however it was sent, the options of its query included; and what is wrong with it.
pub(in crate::http) struct Submission(Object);

impl Submission {
    /// Reads a request by the form of its route.
    pub(in crate::http) async fn read(request: Request, form: Form) -> Self {
        let way = Way::of(request.headers());
        let content_type = request.headers().get(header::CONTENT_TYPE).cloned();
        let share = request.extensions().get::<BodyShare>().cloned();
        let query = Options::of_query(request.uri(), form.repeated);
        // the body has been read before, within its limit
        let body = to_bytes(request.into_body(), usize::MAX)
            .await
            .map_err(|error| Error::invalid_request(format!("the body could not be read: {error}")));
        let mut object = match body {
            Ok(body) => read_body(way, content_type, body, form).await,
            Err(error) => Err(error).into(),
        };
        if let Some(BodyShare(share)) = share {
            object.fields.count_by(&share);
        }
        let merged = query.and_then(|query| object.fields.options.merge(query, form.repeated));
        object.note(merged);
        Self(object)
    }

    /// Whether there is OpenAI's `input`, whatever is wrong with it or with the rest.
    pub(in crate::http) fn has_input(&self) -> bool {
        self.0.fields.inputs.is_some()
    }

    /// The fields, if nothing is wrong with the request.
    pub(in crate::http) fn whole(self) -> Result<Fields> {
        self.0.whole()
    }
}

impl From<Result<Fields>> for Object {
    fn from(fields: Result<Fields>) -> Self {
        match fields {
            Ok(fields) => Self { fields, fault: None },
            Err(error) => Self { fault: Some(error), ..Self::default() },
        }
    }
}

async fn read_body(way: Way, content_type: Option<HeaderValue>, body: Bytes, form: Form) -> Object {
    let empty_may_be = match form.images {
        Images::None => way == Way::Raw,
        Images::Possible => way != Way::Multipart,
        Images::Needed => false,
    };
    match way {
        _ if body.is_empty() && empty_may_be => Object::default(),
        Way::Multipart => parts(content_type, body, form).await.into(),
        Way::Raw if form.images != Images::None => raw(body).into(),
        Way::Raw | Way::Json => json(body, form.json).await,
    }
}

fn raw(body: Bytes) -> Result<Fields> {
    if body.is_empty() {
        return Err(Error::invalid_request(
            "the body is empty; send an image, multipart/form-data, or JSON with content-type application/json",
        ));
    }
    Ok(Fields { images: Some(vec![Ok(Encoded::new(body))]), ..Fields::default() })
}

async fn json(body: Bytes, grammar: Grammar) -> Object {
    if body.len() < LARGE_BODY {
        return Object::of_json(&body, grammar);
    }
    let span = tracing::Span::current();
    let read = tokio::task::spawn_blocking(move || span.in_scope(|| Object::of_json(&body, grammar)));
    read.await.unwrap_or_else(|error| Err(Error::internal("reading a JSON body failed").with_source(error)).into())
}

/// Parts named `image` are images, all others are options.
async fn parts(content_type: Option<HeaderValue>, body: Bytes, form: Form) -> Result<Fields> {
    let mut request = Request::new(Body::from(body));
    request.headers_mut().extend(content_type.map(|value| (header::CONTENT_TYPE, value)));
    DefaultBodyLimit::disable().apply(&mut request);
    let mut parts = Multipart::from_request(request, &())
        .await
        .map_err(|error| Error::invalid_request(format!("malformed multipart/form-data: {}", error.body_text())))?;
    let mut fields = Fields::default();
    while let Some(part) = parts.next_field().await.map_err(|error| malformed(&error))? {
        let Some(name) = part.name().map(str::to_owned) else {
            return Err(Error::invalid_request("a part of multipart/form-data has no name"));
        };
        if form.images != Images::None && name == "image" {
            let bytes = part.bytes().await.map_err(|error| malformed(&error))?;
            fields.images.get_or_insert_default().push(image(bytes));
        } else if form.takes_mask() && name == "mask" {
            let bytes = part.bytes().await.map_err(|error| malformed(&error))?;
            if fields.mask.replace(image(bytes)).is_some() {
                return Err(Error::invalid_request("`mask` is given twice"));
            }
        } else {
            let text = part.text().await.map_err(|error| malformed(&error))?;
            fields.options.add_text(name, text, form.repeated)?;
        }
    }
    if form.images == Images::Needed && fields.images.is_none() {
        return Err(Error::invalid_request("the form has no part named `image`"));
    }
    Ok(fields)
}

fn image(bytes: Bytes) -> Image {
    if bytes.is_empty() { Err(Error::invalid_request("the image is empty")) } else { Ok(Encoded::new(bytes)) }
}

fn malformed(error: &MultipartError) -> Error {
    Error::invalid_request(format!("malformed multipart/form-data: {}", error.body_text()))
}

/// The images of a request and the options about them.
#[derive(Debug)]
pub(in crate::http) struct ImagesRequest<O> {
    pub(in crate::http) images: Vec<Image>,
    pub(in crate::http) options: O,
}

impl<S: Send + Sync, O: DeserializeOwned> FromRequest<S> for ImagesRequest<O> {
    type Rejection = Failure;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Failure> {
        let fields = Submission::read(request, IMAGES).await.whole()?;
        let options = fields.options.read()?;
        let images = fields.images.ok_or_else(|| Error::invalid_request("`images` is missing"))?;
        Ok(Self { images, options })
    }
}

/// The images of a request, a mask for all of them where there is one, and the options.
pub(in crate::http) struct MaskedRequest<O> {
    pub(in crate::http) images: Vec<Image>,
    pub(in crate::http) mask: Option<Image>,
    pub(in crate::http) options: O,
}

impl<S: Send + Sync, O: DeserializeOwned> FromRequest<S> for MaskedRequest<O> {
    type Rejection = Failure;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Failure> {
        let fields = Submission::read(request, MASKED_IMAGES).await.whole()?;
        let options = fields.options.read()?;
        let images = fields.images.ok_or_else(|| Error::invalid_request("`images` is missing"))?;
        Ok(Self { images, mask: fields.mask, options })
    }
}

/// A request of options alone, in the query or in JSON.
#[derive(Debug)]
pub(in crate::http) struct OptionsRequest<O>(pub(in crate::http) O);

impl<S: Send + Sync, O: DeserializeOwned> FromRequest<S> for OptionsRequest<O> {
    type Rejection = Failure;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Failure> {
        Ok(Self(Submission::read(request, OPTIONS).await.whole()?.options.read()?))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Example {
        model: Option<String>,
        size: Option<u32>,
    }

    async fn take(uri: &str, content_type: &str, body: impl Into<Body>) -> Result<ImagesRequest<Example>, Failure> {
        let request = Request::post(uri).header(header::CONTENT_TYPE, content_type).body(body.into()).unwrap();
        ImagesRequest::from_request(request, &()).await
    }

    const FORM: &str = "--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a\"\r\n\r\n\0\r\n\
        --B\r\nContent-Disposition: form-data; name=\"size\"\r\n\r\n3\r\n\
        --B\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\n\x01\r\n--B--\r\n";

    #[tokio::test]
    async fn the_three_ways_give_the_same() {
        let expected = Example { model: Some("m".to_owned()), size: Some(3) };
        for (uri, media, body, count) in [
            ("/?model=m&size=3", "image/png", "\0", 1),
            ("/?model=m&size=3", "application/x-www-form-urlencoded", "\0", 1),
            ("/?model=m&size=3", "multipart/form-data; boundary=B", FORM, 2),
            ("/?model=m", "Multipart/Form-Data; boundary=B", FORM, 2),
            ("/?size=3", "application/json; charset=utf-8", r#"{"model": "m", "images": ["AA=="]}"#, 1),
            ("/?size=3", "application/json", r#"{"model": "m", "size": 3, "images": ["AA==", "AQ=="]}"#, 2),
        ] {
            let request = take(uri, media, body).await.unwrap();
            assert_eq!(request.options, expected, "{media}");
            assert_eq!(request.images.len(), count);
            for (image, byte) in request.images.into_iter().zip(0_u8..) {
                assert_eq!(image.unwrap().bytes(), &[byte][..]);
            }
        }
    }

    #[tokio::test]
    async fn what_does_not_fit_is_refused() {
        for (uri, media, body) in [
            ("/", "image/png", ""),
            ("/", "application/json", ""),
            ("/", "application/json", "{}"),
            ("/", "application/json", "\0"),
            ("/", "multipart/form-data", FORM),
            ("/", "multipart/form-data; boundary=C", FORM),
            ("/", "multipart/form-data; boundary=B", &FORM[..40]),
            ("/?size=4", "multipart/form-data; boundary=B", FORM),
            ("/?size=4", "application/json", r#"{"size": 3, "images": ["AA=="]}"#),
            ("/?colour=red", "image/png", "\0"),
            ("/", "application/json", r#"{"colour": "red", "images": ["AA=="]}"#),
        ] {
            assert!(take(uri, media, body).await.is_err(), "{uri} {media} {body:?}");
        }
    }

    #[tokio::test]
    async fn a_large_json_body_is_read_all_the_same() {
        let body = format!(r#"{{"images": ["{}"]}}"#, "AAAA".repeat(LARGE_BODY / 2));
        let request = take("/", "application/json", body).await.unwrap();
        assert_eq!(request.images[0].as_ref().unwrap().bytes().len(), LARGE_BODY / 2 * 3);
    }
}
