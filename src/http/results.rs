//! What the routes share that make one result of each image: one bare file, or a list with the errors beside it.

use std::borrow::Cow;

use axum::{
    Json,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

use super::{
    accept::{Media, negotiate},
    answer::{ItemError, bare, item_errors, only_one},
};
use crate::{
    error::{Error, Result},
    service::ByModel,
};

/// One image's result in a list.
pub(super) trait ResultEntry: Serialize + ToSchema {
    /// The name of the list in the OpenAPI document.
    const LIST: &'static str;
}

/// The results of a request's images, made by one model.
#[derive(Debug, Serialize)]
pub struct ResultList<E> {
    model: String,
    space_key: String,
    data: Vec<E>,
    errors: Vec<ItemError>,
}

/// A list with more fields beside its own.
#[derive(Serialize)]
struct ListBeside<E, B> {
    #[serde(flatten)]
    list: ResultList<E>,
    #[serde(flatten)]
    beside: B,
}

#[derive(Serialize)]
struct NothingBeside {}

/// The schema of a [`ResultList`] under the name that its entry gives it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a list is written by `ResultList`; this type describes it for the documentation")]
struct ListSchema<E: ToSchema> {
    model: String,
    space_key: String,
    data: Vec<E>,
    errors: Vec<ItemError>,
}

impl<E: ResultEntry> PartialSchema for ResultList<E> {
    fn schema() -> RefOr<Schema> {
        ListSchema::<E>::schema()
    }
}

impl<E: ResultEntry> ToSchema for ResultList<E> {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed(E::LIST)
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((E::name().into_owned(), E::schema()));
        E::schemas(schemas);
        ListSchema::<E>::schemas(schemas);
    }
}

/// The form of an answer, chosen before there is work.
pub(super) struct ResultForm {
    pub(super) media: Media,
}

impl ResultForm {
    /// The form that the caller likes best. A bare file needs a request of one image.
    pub(super) fn choose(headers: &HeaderMap, offers: &[Media], images: usize) -> Result<Self> {
        let media = negotiate(headers, offers)?;
        only_one(media, images)?;
        Ok(Self { media })
    }

    /// The answer: the file of the one result, or the list of all. With `strict`, and for a bare file, the first bad
    /// image's error is the request's.
    pub(super) fn answer<T, E: ResultEntry>(
        &self,
        by_model: ByModel<T>,
        strict: bool,
        entry: impl Fn(usize, T) -> E,
        file: impl FnOnce(T) -> Option<Vec<u8>>,
    ) -> Result<Response> {
        self.answer_beside(by_model, strict, (entry, file), NothingBeside {})
    }

    /// As [`answer`](Self::answer), with more fields beside those of the list.
    pub(super) fn answer_beside<T, E: ResultEntry, B: Serialize>(
        &self,
        by_model: ByModel<T>,
        strict: bool,
        (entry, file): (impl Fn(usize, T) -> E, impl FnOnce(T) -> Option<Vec<u8>>),
        beside: B,
    ) -> Result<Response> {
        let ByModel { model, space_key, items } = by_model;
        let items = items.settle(strict || self.media.is_binary())?;
        if self.media.is_binary() {
            let one = items.good.into_iter().next().and_then(|(_, made)| file(made));
            let one = one.ok_or_else(|| Error::internal("one image gave no file"))?;
            return bare(self.media.as_str(), one, Some(&space_key));
        }
        let errors = item_errors(&items.errors);
        let data = items.good.into_iter().map(|(index, made)| entry(index, made)).collect();
        let (model, space_key) = (model.name().to_string(), space_key.to_string());
        let list = ResultList { model, space_key, data, errors };
        Ok(Json(ListBeside { list, beside }).into_response())
    }
}
