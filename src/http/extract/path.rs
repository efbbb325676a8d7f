//! Names in the path, and the options of routes without a body.

use std::str::FromStr;

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned},
};

use super::options::Options;
use crate::{error::Error, http::error::Failure};

/// The decoded segments of the path as domain types.
pub(in crate::http) struct Segments<T>(pub(in crate::http) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Segments<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(segments)| Self(segments)).map_err(|rejection| {
            let text = rejection.body_text();
            let text = text.strip_prefix("Invalid URL: ").unwrap_or(&text);
            Failure::from(Error::invalid_request(format!("the path is not valid: {text}")))
        })
    }
}

/// The options of a route that takes them in the query alone.
pub(in crate::http) struct QueryOptions<O>(pub(in crate::http) O);

impl<S: Send + Sync, O: DeserializeOwned> FromRequestParts<S> for QueryOptions<O> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        Ok(Self(Options::of_query(&parts.uri, &[])?.read()?))
    }
}

/// The options of a route that has none, so that every one is refused.
#[derive(Debug, Deserialize)]
pub(in crate::http) struct NoOptions {}

/// Reads a field that is written as text, by the type's own rule.
pub(in crate::http) fn from_text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = Error>,
{
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse()).transpose().map_err(de::Error::custom)
}
