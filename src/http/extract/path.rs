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
use utoipa::IntoParams;

use super::options::Options;
use crate::{
    domain::{CollectionName, ItemId, ModelName, SpaceKey},
    error::{Error, ErrorKind},
    http::error::Failure,
};

/// The decoded segments of the path as domain types; what breaks their rules is refused as malformed.
pub(in crate::http) struct Segments<T>(pub(in crate::http) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Segments<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(segments)| Self(segments)).map_err(|rejection| {
            let text = rejection.body_text();
            malformed(text.strip_prefix("Invalid URL: ").unwrap_or(&text)).into()
        })
    }
}

fn malformed(text: &str) -> Error {
    Error::invalid_request(format!("the path is not valid: {text}"))
}

/// A name that something is looked up by. One that breaks the rule of names is the name of nothing: the caller is
/// told that it is not found, as with any other.
pub(in crate::http) trait Name: FromStr<Err = Error> {
    /// What a lookup in vain is.
    const NOT_FOUND: ErrorKind;

    fn seek(text: &str) -> Result<Self, Error> {
        text.parse().map_err(|error: Error| Error::new(Self::NOT_FOUND, format!("not found: {}", error.message())))
    }
}

impl Name for ModelName {
    const NOT_FOUND: ErrorKind = ErrorKind::ModelNotFound;
}

impl Name for CollectionName {
    const NOT_FOUND: ErrorKind = ErrorKind::CollectionNotFound;
}

/// The names in the path of a route that looks them up.
pub(in crate::http) struct Sought<T>(pub(in crate::http) T);

impl<S: Send + Sync, T: Name> FromRequestParts<S> for Sought<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Segments(text) = Segments::<String>::from_request_parts(parts, state).await?;
        Ok(Self(T::seek(&text)?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Sought<(CollectionName, ItemId)> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Segments((collection, id)) = Segments::<(String, String)>::from_request_parts(parts, state).await?;
        let id: Result<ItemId, Error> = id.parse();
        Ok(Self((CollectionName::seek(&collection)?, id.map_err(|error| malformed(error.message()))?)))
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

/// The option of routes on collections that have no other.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct SpaceOptions {
    /// Refuse unless this is the collection's space.
    #[param(value_type = Option<String>)]
    pub(in crate::http) space_key: Option<SpaceKey>,
}

/// Reads a field that is written as text, by the type's own rule.
pub(in crate::http) fn from_text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = Error>,
{
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse()).transpose().map_err(de::Error::custom)
}
