//! Names in the path, and the options of routes without a body.

use std::str::FromStr;

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use serde::{Deserialize, de::DeserializeOwned};
use utoipa::IntoParams;

use super::fields::Fields;
use crate::{
    domain::{CalibrationName, CalibrationRef, CollectionName, ItemId, ModelName, SpaceKey},
    error::{Error, ErrorKind},
    http::error::Failure,
};

/// The decoded parameters of the path as domain types; what breaks their rules is refused as malformed.
pub(in crate::http) struct PathParams<T>(pub(in crate::http) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for PathParams<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(params)| Self(params)).map_err(|rejection| {
            let text = rejection.body_text();
            malformed(text.strip_prefix("Invalid URL: ").unwrap_or(&text)).into()
        })
    }
}

fn malformed(text: &str) -> Error {
    Error::invalid_request(format!("the path is not valid: {text}"))
}

/// A name that something is looked up by. A name that breaks the rule of names cannot exist, so it is answered as not
/// found, as any other absent name.
pub(in crate::http) trait LookupName: FromStr<Err = Error> {
    /// The error kind of a lookup that finds nothing.
    const NOT_FOUND: ErrorKind;

    fn for_lookup(text: &str) -> Result<Self, Error> {
        text.parse().map_err(|error: Error| Error::new(Self::NOT_FOUND, format!("not found: {}", error.message())))
    }
}

impl LookupName for ModelName {
    const NOT_FOUND: ErrorKind = ErrorKind::ModelNotFound;
}

impl LookupName for CollectionName {
    const NOT_FOUND: ErrorKind = ErrorKind::CollectionNotFound;
}

impl LookupName for CalibrationName {
    const NOT_FOUND: ErrorKind = ErrorKind::CalibrationNotFound;
}

impl LookupName for CalibrationRef {
    const NOT_FOUND: ErrorKind = ErrorKind::CalibrationNotFound;
}

/// The parameters of the path of a route that looks them up.
pub(in crate::http) struct LookupParams<T>(pub(in crate::http) T);

impl<S: Send + Sync, T: LookupName> FromRequestParts<S> for LookupParams<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let PathParams(text) = PathParams::<String>::from_request_parts(parts, state).await?;
        Ok(Self(T::for_lookup(&text)?))
    }
}

/// A collection and the id of one of its items. The path `…/items/delete`, which is a route of its own, names the item
/// `delete` with every method but that route's.
impl<S: Send + Sync> FromRequestParts<S> for LookupParams<(CollectionName, ItemId)> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let PathParams(mut params) = PathParams::<Vec<String>>::from_request_parts(parts, state).await?;
        let (id, collection) = match params.len() {
            1 => ("delete".to_owned(), params.remove(0)),
            _ => (params.pop().unwrap_or_default(), params.pop().unwrap_or_default()),
        };
        let id: Result<ItemId, Error> = id.parse();
        Ok(Self((CollectionName::for_lookup(&collection)?, id.map_err(|error| malformed(error.message()))?)))
    }
}

/// A model and one of its calibrations.
impl<S: Send + Sync, C: LookupName> FromRequestParts<S> for LookupParams<(ModelName, C)> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let PathParams((model, calibration)) = PathParams::<(String, String)>::from_request_parts(parts, state).await?;
        Ok(Self((ModelName::for_lookup(&model)?, C::for_lookup(&calibration)?)))
    }
}

/// The options of a route that takes them in the query alone.
pub(in crate::http) struct QueryOptions<O>(pub(in crate::http) O);

impl<S: Send + Sync, O: DeserializeOwned> FromRequestParts<S> for QueryOptions<O> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        Ok(Self(Fields::of_query(&parts.uri, &[]).options()?))
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
