//! A request's body in any of the three ways, raw, `multipart/form-data` or JSON, with the same result.
//!
//! Images stay the slices of the body that they are; a form and base64 are copied once. What takes longer than a
//! change of thread is parsed on the CPU pool.

use axum::{
    body::to_bytes,
    extract::{FromRequest, Request},
    http::{HeaderMap, HeaderValue, Uri, header},
};
use bytes::Bytes;
use futures_util::{FutureExt as _, stream};
use multer::Multipart;
use serde::de::DeserializeOwned;

use super::{content::MAX_ELEMENTS, fields::Fields, image::of_bytes};
use crate::{
    admission::SharedPermit,
    error::{Error, ErrorKind, Result},
    http::{AppState, error::Failure, middleware::BodyShare},
    service::{Image, RoiRequest},
};

/// Bodies from this size on are parsed outside the async threads.
const LARGE_BODY: usize = 64 << 10;

/// Parts of a form that a message names.
const NAMED_PARTS: usize = 8;

/// What is wrong with a body of JSON that is not called JSON.
pub(in crate::http) const LOOKS_LIKE_JSON: &str =
    "the body looks like JSON and not like an image: send JSON with the header content-type: application/json";

/// The mark that some editors put before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What a route's body may look like.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct FormRules {
    /// The fields of a JSON body that are no options.
    pub(in crate::http) json: &'static [&'static str],
    /// The parts of a form that are files: `image`, perhaps `mask` or `roi`.
    pub(in crate::http) parts: &'static [&'static str],
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

/// A route that takes images and options about all of them.
pub(in crate::http) const IMAGES: FormRules =
    FormRules { json: &["images", "image"], parts: &["image"], images: Images::Needed, repeated: &[] };
/// A route that takes images, perhaps a mask for all of them, and options.
const MASKED_IMAGES: FormRules = FormRules { json: &["images", "image", "mask"], parts: &["image", "mask"], ..IMAGES };
/// A route that takes images, perhaps a region of interest for all of them, and options.
const SCORED_IMAGES: FormRules = FormRules { json: &["images", "image", "roi"], parts: &["image", "roi"], ..IMAGES };
/// A route that takes options alone.
pub(in crate::http) const OPTIONS: FormRules = FormRules { json: &[], parts: &[], images: Images::None, repeated: &[] };

/// A request as a value, made of its fields whichever way they came.
pub(in crate::http) trait FromFields: Sized + Send + 'static {
    const RULES: FormRules;

    fn from_fields(fields: Fields<'_>) -> Result<Self>;
}

/// Extracts a request from the body and the query.
pub(in crate::http) struct RequestBody<T>(pub(in crate::http) T);

impl<T: FromFields> FromRequest<AppState> for RequestBody<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Failure> {
        let sent = Sent::receive(request).await?;
        let parsed = if sent.encoding == Encoding::Raw || sent.body.len() < LARGE_BODY {
            sent.parse()
        } else {
            state.service.compute(move || sent.parse()).await?
        };
        Ok(Self(parsed?))
    }
}

/// How a body was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Raw,
    Multipart,
    Json,
}

impl Encoding {
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

/// What of a request its fields are made of.
struct Sent {
    uri: Uri,
    encoding: Encoding,
    content_type: Option<HeaderValue>,
    body: Bytes,
    share: Option<SharedPermit>,
}

impl Sent {
    async fn receive(request: Request) -> Result<Self> {
        let (parts, body) = request.into_parts();
        // The middleware has read the body before, within its limit.
        let body = to_bytes(body, usize::MAX)
            .await
            .map_err(|error| Error::invalid_request(format!("the body could not be read: {error}")))?;
        let encoding = Encoding::of(&parts.headers);
        let share = parts.extensions.get::<BodyShare>().map(|BodyShare(share)| share.clone());
        Ok(Self {
            share,
            uri: parts.uri,
            encoding,
            content_type: parts.headers.get(header::CONTENT_TYPE).cloned(),
            body,
        })
    }

    fn parse<T: FromFields>(&self) -> Result<T> {
        let rules = T::RULES;
        let mut fields = self.fields(rules);
        fields.share = self.share.clone();
        let mut query = Fields::of_query(&self.uri, rules.repeated);
        if rules.json.contains(&"roi") {
            fields.take_roi(&mut query);
        }
        fields.merge_query(query, rules.repeated);
        T::from_fields(fields)
    }

    fn fields(&self, rules: FormRules) -> Fields<'_> {
        let may_be_empty = match rules.images {
            Images::None => self.encoding == Encoding::Raw,
            Images::Possible => self.encoding != Encoding::Multipart,
            Images::Needed => false,
        };
        match self.encoding {
            _ if self.body.is_empty() && may_be_empty => Fields::new(rules.json),
            Encoding::Multipart => self.form(rules),
            Encoding::Raw if rules.images != Images::None => self.raw(),
            Encoding::Raw | Encoding::Json => Fields::of_json(without_mark(&self.body), rules.json),
        }
    }

    fn raw(&self) -> Fields<'_> {
        let mut fields = Fields::default();
        if self.body.is_empty() {
            fields.note(Err(Error::invalid_request(
                "the body is empty; send an image, multipart/form-data, or JSON with content-type application/json",
            )));
        } else if without_mark(&self.body).trim_ascii_start().starts_with(b"{") {
            fields.images = Some(vec![Err(Error::invalid_image(LOOKS_LIKE_JSON))]);
        } else {
            fields.images = Some(vec![of_bytes(self.body.clone())]);
        }
        fields
    }

    /// The fields of a form: its files, and its other parts as options.
    fn form(&self, rules: FormRules) -> Fields<'_> {
        let mut form = Form { rules, fields: Fields::new(rules.parts), names: Vec::new(), share: self.share.as_ref() };
        let outcome = self.read_form(&mut form);
        form.fields.note(outcome);
        if rules.images == Images::Needed && form.fields.images.is_none() {
            form.fields.note(Err(form.without_image()));
        }
        form.fields
    }

    fn read_form(&self, form: &mut Form<'_>) -> Result<()> {
        let declared = self.content_type.as_ref().and_then(|value| value.to_str().ok()).unwrap_or("");
        let boundary = multer::parse_boundary(declared).map_err(|error| malformed(&error))?;
        let body = stream::iter([Ok::<_, std::convert::Infallible>(self.body.clone())]);
        let reading = form.read(Multipart::new(body, boundary));
        // A body in memory never makes its reader wait.
        reading.now_or_never().unwrap_or_else(|| Err(Error::internal("a form in memory made its reader wait")))
    }
}

fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body)
}

/// A form while it is read.
struct Form<'a> {
    rules: FormRules,
    fields: Fields<'a>,
    names: Vec<String>,
    share: Option<&'a SharedPermit>,
}

impl Form<'_> {
    async fn read(&mut self, mut parts: Multipart<'_>) -> Result<()> {
        let mut count = 0;
        while let Some(part) = parts.next_field().await.map_err(|error| malformed(&error))? {
            count += 1;
            if count > MAX_ELEMENTS {
                let text = format!("more than {MAX_ELEMENTS} parts in one form");
                return Err(Error::new(ErrorKind::PayloadTooLarge, text));
            }
            let Some(name) = part.name().map(str::to_owned) else {
                return Err(Error::invalid_request("a part of multipart/form-data has no name"));
            };
            let file_name = part.file_name().map(str::to_owned);
            let content = part.bytes().await.map_err(|error| malformed(&error))?;
            let counted = self.share.map_or_else(|| content.clone(), |share| share.attach(content.clone()));
            self.add(name, file_name, counted)?;
        }
        Ok(())
    }

    fn add(&mut self, name: String, file_name: Option<String>, content: Bytes) -> Result<()> {
        let is_file = self.rules.parts.contains(&name.as_str());
        match name.as_str() {
            "image" if is_file => {
                self.fields.images.get_or_insert_default().push(of_bytes(content));
                self.fields.file_names.push(file_name);
            }
            "mask" if is_file => {
                if self.fields.mask.replace(of_bytes(content)).is_some() {
                    return Err(Error::invalid_request("`mask` is given twice"));
                }
            }
            "roi" if is_file => {
                if self.fields.roi.replace(content).is_some() {
                    return Err(Error::invalid_request("`roi` is given twice"));
                }
            }
            _ => {
                if self.names.len() < NAMED_PARTS && !self.names.contains(&name) {
                    self.names.push(name.clone());
                }
                match String::from_utf8(content.into()) {
                    Ok(text) => self.fields.add_text(name, text, self.rules.repeated),
                    Err(_) if self.rules.parts.contains(&"image") && self.fields.images.is_none() => {}
                    Err(_) => self.fields.note(Err(Error::invalid_request(format!("the part `{name}` is not text")))),
                }
            }
        }
        Ok(())
    }

    fn without_image(&self) -> Error {
        let names: Vec<String> = self.names.iter().map(|name| format!("`{name}`")).collect();
        let has = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Error::invalid_request(format!("the form has no part named `image`; it has {has}"))
    }
}

fn malformed(error: &multer::Error) -> Error {
    Error::invalid_request(format!("malformed multipart/form-data: {error}"))
}

/// The images of a request and the options about them.
#[derive(Debug)]
pub(in crate::http) struct ImagesRequest<O> {
    pub(in crate::http) images: Vec<Image>,
    pub(in crate::http) options: O,
}

impl<O: DeserializeOwned + Send + 'static> FromFields for ImagesRequest<O> {
    const RULES: FormRules = IMAGES;

    fn from_fields(fields: Fields<'_>) -> Result<Self> {
        let (mut content, options) = fields.split()?;
        Ok(Self { images: content.needed_images()?, options })
    }
}

/// The images of a request, a mask for all of them where there is one, and the options.
pub(in crate::http) struct MaskedRequest<O> {
    pub(in crate::http) images: Vec<Image>,
    pub(in crate::http) mask: Option<Image>,
    pub(in crate::http) options: O,
}

impl<O: DeserializeOwned + Send + 'static> FromFields for MaskedRequest<O> {
    const RULES: FormRules = MASKED_IMAGES;

    fn from_fields(fields: Fields<'_>) -> Result<Self> {
        let (mut content, options) = fields.split()?;
        Ok(Self { images: content.needed_images()?, mask: content.mask(), options })
    }
}

/// The images of a request, the part of them that counts where one is named, and the options.
pub(in crate::http) struct ScoredRequest<O> {
    pub(in crate::http) images: Vec<Image>,
    pub(in crate::http) roi: Option<RoiRequest>,
    pub(in crate::http) options: O,
}

impl<O: DeserializeOwned + Send + 'static> FromFields for ScoredRequest<O> {
    const RULES: FormRules = SCORED_IMAGES;

    fn from_fields(fields: Fields<'_>) -> Result<Self> {
        let (mut content, options) = fields.split()?;
        Ok(Self { images: content.needed_images()?, roi: content.roi()?, options })
    }
}

/// A request of options alone, in the query, in a form or in JSON.
#[derive(Debug)]
pub(in crate::http) struct OptionsRequest<O>(pub(in crate::http) O);

impl<O: DeserializeOwned + Send + 'static> FromFields for OptionsRequest<O> {
    const RULES: FormRules = OPTIONS;

    fn from_fields(fields: Fields<'_>) -> Result<Self> {
        fields.options().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Example {
        model: Option<String>,
        size: Option<u32>,
    }

    async fn take(uri: &str, media: &str, body: impl Into<Body>) -> Result<ImagesRequest<Example>> {
        let request = Request::post(uri).header(header::CONTENT_TYPE, media).body(body.into()).unwrap();
        Sent::receive(request).await?.parse()
    }

    /// The header of a GIF of 1 × 1 pixel.
    const GIF: &str = "GIF89a\x01\0\x01\0";

    const FORM: &str = "--B\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a\"\r\n\r\nGIF89a\x01\0\x01\0\r\n\
        --B\r\nContent-Disposition: form-data; name=\"size\"\r\n\r\n3\r\n\
        --B\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\nGIF89a\x01\0\x01\0\r\n--B--\r\n";

    #[tokio::test]
    async fn the_three_ways_give_the_same() {
        let expected = Example { model: Some("m".to_owned()), size: Some(3) };
        let marked = "\u{feff}{\"model\": \"m\", \"size\": 3, \"images\": [\"R0lGODlhAQABAA==\"]}";
        for (uri, media, body, count) in [
            ("/?model=m&size=3", "image/png", GIF, 1),
            ("/?model=m&size=3", "application/x-www-form-urlencoded", GIF, 1),
            ("/?model=m&size=3", "multipart/form-data; boundary=B", FORM, 2),
            ("/?model=m", "Multipart/Form-Data; boundary=\"B\"", FORM, 2),
            ("/?size=3", "application/json; charset=utf-8", r#"{"model": "m", "images": ["R0lGODlhAQABAA=="]}"#, 1),
            ("/?size=3.0", "application/json", r#"{"model": "m", "size": 3, "image": "R0lGODlhAQABAA"}"#, 1),
            ("/", "application/json", marked, 1),
        ] {
            let request = take(uri, media, body).await.unwrap();
            assert_eq!(request.options, expected, "{media}");
            assert_eq!(request.images.len(), count);
            assert!(request.images.into_iter().all(|image| image.unwrap().bytes() == GIF));
        }
    }

    #[tokio::test]
    async fn what_does_not_fit_is_refused() {
        for (uri, media, body, part) in [
            ("/", "image/png", "", "the body is empty"),
            ("/", "application/json", "", "malformed JSON"),
            ("/", "application/json", "{}", "`images` is missing"),
            ("/", "application/json", "\0", "malformed JSON"),
            ("/", "multipart/form-data", FORM, "malformed multipart/form-data"),
            ("/", "multipart/form-data; boundary=C", FORM, "malformed multipart/form-data"),
            ("/", "multipart/form-data; boundary=B", &FORM[..40], "malformed multipart/form-data"),
            ("/?size=4", "multipart/form-data; boundary=B", FORM, "`size` is given twice"),
            ("/?size=4", "application/json", r#"{"size": 3, "images": ["AA=="]}"#, "`size` is given twice"),
            ("/?colour=red", "image/png", GIF, "unknown option `colour`; known here: model, size"),
            ("/?colour=red", "multipart/form-data; boundary=B", FORM, "known here: image, model, size"),
            ("/", "application/json", r#"{"picture": "AA=="}"#, "known here: images, image, model, size"),
        ] {
            let error = take(uri, media, body).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidRequest);
            assert!(error.message().contains(part), "{uri} {media} {body:?}: {error}");
        }
    }

    #[tokio::test]
    async fn a_form_without_an_image_tells_which_parts_it_has() {
        let form = FORM.replace("name=\"image\"", "name=\"file\"");
        let binary = form.replace("GIF89a", "\u{fffd}").into_bytes();
        for form in [form.clone().into_bytes(), binary, form.replace("GIF", "\u{e9}").into_bytes()] {
            let mut form = form;
            if let Some(at) = form.iter().position(|byte| *byte == 0xc3) {
                form[at] = 0xff;
            }
            let error = take("/", "multipart/form-data; boundary=B", form).await.unwrap_err();
            assert_eq!(error.message(), "the form has no part named `image`; it has `file`, `size`");
        }
        let error = take("/", "multipart/form-data; boundary=B", "--B--\r\n").await.unwrap_err();
        assert!(error.message().ends_with("it has none"), "{error}");
    }

    #[tokio::test]
    async fn a_form_without_end_is_cut_off() {
        let part = "--B\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\nGIF\r\n";
        let form = format!("{}--B--\r\n", part.repeat(MAX_ELEMENTS + 1));
        let error = take("/", "multipart/form-data; boundary=B", form).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
        assert!(error.message().contains("more than 10000 parts"), "{error}");
    }

    #[tokio::test]
    async fn json_that_is_not_called_so_is_an_image_error_that_names_the_header() {
        for body in ["{\"images\": []}", "\u{feff} {}"] {
            let image = take("/", "", body).await.unwrap().images.remove(0).unwrap_err();
            assert_eq!(image.kind(), ErrorKind::InvalidImage);
            assert!(image.message().contains("content-type: application/json"), "{image}");
        }
    }
}
