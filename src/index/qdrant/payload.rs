//! What a point carries beside its vector.
//!
//! | field | what |
//! | --- | --- |
//! | `id` | the item's id |
//! | `metadata` | the caller's metadata as JSON text: order of keys, large integers and depth are kept as they came |
//! | `terms`, `numbers` | what conditions can name of them, see [`fields`](super::fields) |
//! | `picture`, `media_type` | the stored image, if there is one |
//! | `added` | the stamp of the item's creation, which orders pages and equal scores |
//! | `written` | the stamp of the last write |
//! | `mark` | drawn anew at each write, so that a patch can tell whether another came between |

use std::collections::HashMap;

use qdrant_client::qdrant::{
    DenseVector, ListValue, PointStruct, Struct, Value, Vector, Vectors, VectorsOutput, value::Kind, vector,
    vector_output, vectors::VectorsOptions, vectors_output,
};

use super::{
    fields::{Fields, NUMBERS, TERMS},
    request,
};
use crate::{
    domain::{Embedding, ItemId, Metadata},
    error::{Error, Result},
    index::ImageRef,
};

pub(super) const ID: &str = "id";
pub(super) const METADATA: &str = "metadata";
/// The field keeps the name that clusters of all versions have for it: replicas of two versions may share one.
pub(super) const IMAGE: &str = "picture";
pub(super) const MEDIA_TYPE: &str = "media_type";
pub(super) const ADDED: &str = "added";
pub(super) const WRITTEN: &str = "written";
pub(super) const MARK: &str = "mark";

pub(super) type Payload = HashMap<String, Value>;

pub(super) fn text(value: impl Into<String>) -> Value {
    Value { kind: Some(Kind::StringValue(value.into())) }
}

pub(super) fn integer(value: i64) -> Value {
    Value { kind: Some(Kind::IntegerValue(value)) }
}

fn double(value: f64) -> Value {
    Value { kind: Some(Kind::DoubleValue(value)) }
}

fn list(values: impl IntoIterator<Item = Value>) -> Value {
    Value { kind: Some(Kind::ListValue(ListValue { values: values.into_iter().collect() })) }
}

fn object(fields: impl IntoIterator<Item = (String, Value)>) -> Value {
    Value { kind: Some(Kind::StructValue(Struct { fields: fields.into_iter().collect() })) }
}

/// A mark that no other write has.
pub(super) fn new_mark() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// An item about to be written.
pub(super) struct Row<'a> {
    pub(super) id: &'a ItemId,
    pub(super) vector: &'a Embedding,
    pub(super) metadata: &'a Metadata,
    pub(super) fields: &'a Fields,
    pub(super) image: Option<&'a ImageRef>,
    pub(super) added: i64,
    pub(super) written: i64,
}

pub(super) fn point(row: &Row<'_>) -> Result<PointStruct> {
    let mut payload = changing(row.metadata, row.fields, row.written, &new_mark())?;
    payload.insert(ID.to_owned(), text(row.id.as_str()));
    payload.insert(ADDED.to_owned(), integer(row.added));
    if let Some(image) = row.image {
        payload.insert(IMAGE.to_owned(), text(&image.key));
        payload.insert(MEDIA_TYPE.to_owned(), text(&image.media_type));
    }
    Ok(PointStruct { id: Some(request::point(request::uuid_of(row.id))), payload, vectors: Some(dense(row.vector)) })
}

/// The fields that change with the metadata.
pub(super) fn changing(metadata: &Metadata, fields: &Fields, written: i64, mark: &str) -> Result<Payload> {
    let json = serde_json::to_string(metadata)
        .map_err(|error| Error::internal("metadata could not be written as json").with_source(error))?;
    let terms = fields.terms.iter().map(|(name, texts)| (name.clone(), list(texts.iter().map(text))));
    let numbers =
        fields.numbers.iter().map(|(name, numbers)| (name.clone(), list(numbers.iter().copied().map(double))));
    Ok([
        (METADATA, text(json)),
        (TERMS, object(terms)),
        (NUMBERS, object(numbers)),
        (WRITTEN, integer(written)),
        (MARK, text(mark)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect())
}

fn dense(vector: &Embedding) -> Vectors {
    let dense = DenseVector { data: vector.as_slice().to_vec() };
    let vector = Vector { vector: Some(vector::Vector::Dense(dense)), ..Vector::default() };
    Vectors { vectors_options: Some(VectorsOptions::Vector(vector)) }
}

/// The vector of an answer.
pub(super) fn vector_of(vectors: Option<VectorsOutput>) -> Result<Vec<f32>> {
    let broken = || Error::internal("a point of the index engine has no vector");
    let Some(vectors_output::VectorsOptions::Vector(vector)) = vectors.and_then(|some| some.vectors_options) else {
        return Err(broken());
    };
    match vector.vector {
        Some(vector_output::Vector::Dense(dense)) => Ok(dense.data),
        // servers before 1.16 put the numbers here
        #[expect(deprecated, reason = "it is what older servers fill")]
        None if !vector.data.is_empty() => Ok(vector.data),
        _ => Err(broken()),
    }
}

pub(super) fn text_of<'a>(payload: &'a Payload, field: &str) -> Option<&'a str> {
    match payload.get(field)?.kind.as_ref()? {
        Kind::StringValue(text) => Some(text),
        _ => None,
    }
}

pub(super) fn integer_of(payload: &Payload, field: &str) -> Option<i64> {
    match payload.get(field)?.kind.as_ref()? {
        Kind::IntegerValue(number) => Some(*number),
        _ => None,
    }
}

/// The texts at a name of the terms, as an answer with only those has them.
pub(super) fn terms_of<'a>(payload: &'a Payload, name: &str) -> impl Iterator<Item = &'a str> {
    let terms = payload.get(TERMS).and_then(|value| match value.kind.as_ref()? {
        Kind::StructValue(object) => object.fields.get(name)?.kind.as_ref(),
        _ => None,
    });
    let values = match terms {
        Some(Kind::ListValue(list)) => list.values.as_slice(),
        _ => &[],
    };
    values.iter().filter_map(|value| match value.kind.as_ref()? {
        Kind::StringValue(text) => Some(text.as_str()),
        _ => None,
    })
}

pub(super) fn id_of(payload: &Payload) -> Result<ItemId> {
    let id = text_of(payload, ID).ok_or_else(|| foreign(ID))?;
    id.parse().map_err(|error: Error| foreign(ID).with_source(error))
}

pub(super) fn metadata_of(payload: &Payload) -> Result<Metadata> {
    let json = text_of(payload, METADATA).ok_or_else(|| foreign(METADATA))?;
    serde_json::from_str(json).map_err(|error| foreign(METADATA).with_source(error))
}

pub(super) fn image_of(payload: &Payload) -> Option<ImageRef> {
    let key = text_of(payload, IMAGE)?.to_owned();
    Some(ImageRef { key, media_type: text_of(payload, MEDIA_TYPE).unwrap_or_default().to_owned() })
}

/// Someone else wrote into the collection.
fn foreign(field: &str) -> Error {
    Error::internal(format!("a point of the index engine was not written by latentd: its {field} is not as it should"))
}
