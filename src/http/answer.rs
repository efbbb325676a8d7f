//! Answers in their forms: errors beside results, bare images, vectors as bytes.

use axum::{
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{accept::Media, error::public_message};
use crate::{
    domain::SpaceKey,
    error::{Error, ErrorKind, Result},
    image::npy::{little_endian, npy_f32},
};

const SHAPE: HeaderName = HeaderName::from_static("x-latentd-shape");
const SPACE_KEY: HeaderName = HeaderName::from_static("x-latentd-space-key");

/// An item of the request that failed, beside the good ones in `data`.
#[derive(Debug, Serialize, ToSchema)]
pub struct ItemError {
    /// The item's place in the request, from 0.
    index: usize,
    #[schema(example = "invalid_image")]
    code: &'static str,
    message: String,
}

/// A failure inside an answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct InnerError {
    #[schema(example = "invalid_request")]
    code: &'static str,
    message: String,
}

impl InnerError {
    pub(super) fn of(error: &Error) -> Self {
        log_internal(error);
        Self { code: error.kind().code(), message: public_message(error).to_owned() }
    }
}

/// The failed items of a request.
pub(super) fn item_errors(errors: &[(usize, Error)]) -> Vec<ItemError> {
    let item = |(index, error): &(usize, Error)| {
        let InnerError { code, message } = InnerError::of(error);
        ItemError { index: *index, code, message }
    };
    errors.iter().map(item).collect()
}

/// The cause of an internal error stays in the log.
fn log_internal(error: &Error) {
    if error.kind() == ErrorKind::Internal {
        tracing::error!(code = error.kind().code(), cause = error.chain(), "an item of the request failed");
    }
}

/// The encoding of a vector in JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EncodingFormat {
    #[default]
    Float,
    /// Base64 of the little-endian f32.
    Base64,
}

/// A vector as numbers or as base64.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Vector {
    Float(Vec<f32>),
    Base64(String),
}

impl Vector {
    pub(super) fn new(values: Vec<f32>, format: EncodingFormat) -> Self {
        match format {
            EncodingFormat::Float => Self::Float(values),
            EncodingFormat::Base64 => Self::Base64(STANDARD.encode(little_endian(&values))),
        }
    }
}

/// An array of f32 on its way out.
pub(super) struct Array<'a> {
    pub(super) shape: &'a [usize],
    pub(super) data: &'a [f32],
    pub(super) space_key: &'a SpaceKey,
}

impl Array<'_> {
    /// The array as bytes, with its shape and its space key in headers.
    pub(super) fn answer(&self, media: Media) -> Result<Response> {
        let bytes = match media {
            Media::Npy => npy_f32(self.shape, self.data),
            _ => little_endian(self.data),
        };
        with_shape(bare(media.as_str(), bytes, Some(self.space_key))?, self.shape)
    }
}

/// An array's answer with its shape in a header.
pub(super) fn with_shape(mut response: Response, shape: &[usize]) -> Result<Response> {
    let shape: Vec<String> = shape.iter().map(ToString::to_string).collect();
    response.headers_mut().insert(SHAPE, value(&shape.join(","))?);
    Ok(response)
}

/// A response of bytes with this media type.
pub(super) fn bare(media_type: &str, bytes: impl Into<Bytes>, space_key: Option<&SpaceKey>) -> Result<Response> {
    let mut response = bytes.into().into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, value(media_type)?);
    if let Some(key) = space_key {
        response.headers_mut().insert(SPACE_KEY, value(key.as_str())?);
    }
    Ok(response)
}

fn value(text: &str) -> Result<HeaderValue> {
    HeaderValue::try_from(text).map_err(|error| Error::internal("an answer's header is not text").with_source(error))
}

/// Refuses a bare answer to a request of several images.
pub(super) fn only_one(media: Media, images: usize) -> Result<()> {
    if media.is_binary() && images != 1 {
        let text = format!("{} takes one image, the request has {images}", media.as_str());
        return Err(Error::new(ErrorKind::NotAcceptable, text));
    }
    Ok(())
}

/// Bytes as a `data:` URI.
pub(super) fn data_uri(media_type: &str, bytes: &[u8]) -> String {
    let mut uri = format!("data:{media_type};base64,");
    STANDARD.encode_string(bytes, &mut uri);
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_the_little_endian_bytes() {
        let Vector::Base64(text) = Vector::new(vec![1.0, -2.5], EncodingFormat::Base64) else { panic!("not base64") };
        assert_eq!(text, "AACAPwAAIMA=");
        assert_eq!(serde_json::to_string(&Vector::new(vec![0.1], EncodingFormat::Float)).unwrap(), "[0.1]");
    }

    #[test]
    fn arrays_name_their_shape_and_space() {
        let space_key: SpaceKey = "m@0123456789ab".parse().unwrap();
        let array = Array { shape: &[2, 1], data: &[1.0, 2.0], space_key: &space_key };
        for media in [Media::Octets, Media::Npy] {
            let response = array.answer(media).unwrap();
            assert_eq!(response.headers()["x-latentd-shape"], "2,1");
            assert_eq!(response.headers()["x-latentd-space-key"], "m@0123456789ab");
            assert_eq!(response.headers()["content-type"], media.as_str());
        }
    }

    #[test]
    fn internal_errors_of_items_keep_their_cause() {
        let errors = item_errors(&[(3, Error::internal("disk")), (4, Error::invalid_image("truncated"))]);
        assert!(!errors[0].message.contains("disk"));
        assert_eq!((errors[1].index, errors[1].code, errors[1].message.as_str()), (4, "invalid_image", "truncated"));
    }
}
