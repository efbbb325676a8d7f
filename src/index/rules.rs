//! What every engine asks of its input, and how every engine refuses, so that a caller cannot tell one from another.

use super::{CollectionSpec, terms::check_indexable};
use crate::{
    domain::{CollectionName, Embedding, ItemId, Metadata, Metric, check_metadata},
    error::{Error, ErrorKind, Result},
};

/// The longest vectors a collection takes.
const MAX_DIMENSION: usize = 65_536;

/// Refuses a dimension that no engine takes.
pub(super) fn check_dimension(spec: &CollectionSpec) -> Result<()> {
    let given = spec.dimension;
    if (1..=MAX_DIMENSION).contains(&given) {
        return Ok(());
    }
    Err(Error::invalid_request(format!("a collection's dimension is 1 to {MAX_DIMENSION}, not {given}")))
}

/// A vector as a collection stores and compares it: of its dimension, and of length 1 under the cosine.
pub(super) fn admit(spec: &CollectionSpec, vector: Embedding) -> Result<Embedding> {
    let dimension = spec.dimension;
    if vector.dimension() != dimension {
        let given = vector.dimension();
        return Err(Error::invalid_request(format!(
            "the vector has {given} numbers, the collection's have {dimension}"
        )));
    }
    if spec.metric != Metric::Cosine {
        return Ok(vector);
    }
    if vector.as_slice().iter().all(|&value| value == 0.0) {
        return Err(Error::invalid_request("a vector of zeros has no direction, so no cosine"));
    }
    Ok(vector.normalized())
}

/// The vector of an item to write, if item and vector fit the collection; a refusal names the item.
pub(super) fn admit_item(
    spec: &CollectionSpec,
    id: &ItemId,
    vector: Embedding,
    metadata: &Metadata,
) -> Result<Embedding> {
    admit(spec, vector)
        .and_then(|vector| check_indexable(metadata).map(|()| vector))
        .map_err(|error| Error::new(error.kind(), format!("item {:?}: {}", id.as_str(), error.message())))
}

/// Metadata with a patch merged in (a null removes its key), if they may be stored.
pub(super) fn patched(mut metadata: Metadata, patch: Metadata, max_bytes: usize) -> Result<Metadata> {
    for (name, value) in patch {
        if value.is_null() {
            metadata.shift_remove(&name);
        } else {
            metadata.insert(name, value);
        }
    }
    check_metadata(&metadata, max_bytes)?;
    check_indexable(&metadata)?;
    Ok(metadata)
}

pub(super) fn not_found(name: &CollectionName) -> Error {
    Error::new(ErrorKind::CollectionNotFound, format!("there is no collection {name:?}", name = name.as_str()))
}

pub(super) fn item_not_found(name: &CollectionName, id: &ItemId) -> Error {
    let (name, id) = (name.as_str(), id.as_str());
    Error::new(ErrorKind::ItemNotFound, format!("the collection {name:?} has no item {id:?}"))
}

/// For a name that a collection of other settings has.
pub(super) fn taken(name: &CollectionName) -> Error {
    let name = name.as_str();
    Error::new(ErrorKind::AlreadyExists, format!("a collection {name:?} exists with other settings"))
}

/// For an import under a name that is in use.
pub(super) fn in_use(name: &CollectionName) -> Error {
    Error::new(ErrorKind::AlreadyExists, format!("a collection {:?} is there already", name.as_str()))
}

pub(super) fn foreign_cursor() -> Error {
    Error::invalid_request("the cursor is not one that a page of this collection gave")
}
