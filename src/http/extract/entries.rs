//! Items to add, however they were sent.

use axum::extract::{FromRequest, Request};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    fields::{Fields, Grammar, Kind},
    submission::{Form, Images, Submission},
};
use crate::{
    domain::{ItemId, Metadata},
    error::{Error, Result},
    http::error::Failure,
    service::{Entry, EntrySource, Image},
};

const ITEM: Grammar = &[("image", Kind::Image), ("vector", Kind::Vector)];
const ITEMS: Form =
    Form { json: &[("items", Kind::Elements(ITEM))], images: Images::Needed, repeated: &["id", "metadata"] };

/// The items of a request and the options about all of them; what is wrong with one item is its own error.
#[derive(Debug)]
pub(in crate::http) struct ItemsRequest<O> {
    pub(in crate::http) entries: Vec<Result<Entry>>,
    pub(in crate::http) options: O,
}

impl<S: Send + Sync, O: DeserializeOwned> FromRequest<S> for ItemsRequest<O> {
    type Rejection = Failure;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Failure> {
        let mut fields = Submission::read(request, ITEMS).await.whole()?;
        let own = Own { ids: fields.options.take_texts("id"), metadata: fields.options.take_texts("metadata") };
        let entries = match (fields.images, fields.elements) {
            (Some(images), _) => own.pair(images)?,
            (None, Some(items)) if own.ids.is_empty() && own.metadata.is_empty() => {
                items.into_iter().map(|item| entry(item?)).collect()
            }
            (None, Some(_)) => {
                return Err(Error::invalid_request("`id` and `metadata` stand inside the items of a JSON body").into());
            }
            (None, None) => return Err(Error::invalid_request("`items` is missing").into()),
        };
        Ok(Self { entries, options: fields.options.read()? })
    }
}

/// What belongs to single images of a raw body or a form, in their order.
struct Own {
    ids: Vec<String>,
    metadata: Vec<String>,
}

impl Own {
    fn pair(self, images: Vec<Image>) -> Result<Vec<Result<Entry>>> {
        let count = images.len();
        if !self.ids.is_empty() && self.ids.len() != count {
            let text = format!("{} ids for {count} images: give one for each, or none", self.ids.len());
            return Err(Error::invalid_request(text));
        }
        if self.metadata.len() > 1 && self.metadata.len() != count {
            let text = format!("{} metadata for {count} images: give one for each, or one", self.metadata.len());
            return Err(Error::invalid_request(text));
        }
        let entry = |(at, image)| {
            let metadata = if self.metadata.len() == 1 { self.metadata.first() } else { self.metadata.get(at) };
            Ok(Entry {
                id: self.ids.get(at).map(|text: &String| text.parse()).transpose()?,
                source: EntrySource::Image(image),
                metadata: metadata.map(|text| metadata_of(text)).transpose()?.unwrap_or_default(),
            })
        };
        Ok(images.into_iter().enumerate().map(entry).collect())
    }
}

fn metadata_of(text: &str) -> Result<Metadata> {
    match serde_json::from_str(text) {
        Ok(Value::Object(metadata)) => Ok(metadata),
        Ok(_) => Err(Error::invalid_request("metadata is a JSON object")),
        Err(error) => Err(Error::invalid_request(format!("metadata is not JSON: {error}"))),
    }
}

/// What stands beside the image or vector of an item in JSON.
#[derive(Debug, Deserialize)]
struct ItemOptions {
    id: Option<ItemId>,
    metadata: Option<Metadata>,
}

fn entry(fields: Fields) -> Result<Entry> {
    let ItemOptions { id, metadata } = fields.options.read()?;
    let image = fields.images.and_then(|mut images| images.pop());
    let source = match (image, fields.vector) {
        (Some(image), None) => EntrySource::Image(image),
        (None, Some(vector)) => EntrySource::Vector(vector?),
        _ => return Err(Error::invalid_request("an item has either an `image` or a `vector`")),
    };
    Ok(Entry { id, source, metadata: metadata.unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{http::extract::fields::Object, image::Encoded};

    fn own(ids: &[&str], metadata: &[&str]) -> Own {
        let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        Own { ids: texts(ids), metadata: texts(metadata) }
    }

    fn images(count: usize) -> Vec<Image> {
        (0..count).map(|_| Ok(Encoded::new("x".into()))).collect()
    }

    #[test]
    fn ids_and_metadata_pair_with_the_images_by_order() {
        let entries = own(&["a", "b"], &[r#"{"n": 1}"#, r#"{"n": 2}"#]).pair(images(2)).unwrap();
        let second = entries[1].as_ref().unwrap();
        assert_eq!(second.id.as_ref().unwrap().as_str(), "b");
        assert_eq!(second.metadata["n"], 2);
    }

    #[test]
    fn one_metadata_serves_all_and_other_counts_are_refused() {
        let entries = own(&[], &[r#"{"n": 1}"#]).pair(images(3)).unwrap();
        assert!(entries.iter().all(|entry| entry.as_ref().unwrap().metadata["n"] == 1));
        assert!(own(&["a"], &[]).pair(images(2)).is_err());
        assert!(own(&[], &["{}", "{}"]).pair(images(3)).is_err());
    }

    #[test]
    fn what_is_wrong_with_one_item_is_its_own_error() {
        let entries = own(&["a", ""], &["{}", "{}"]).pair(images(2)).unwrap();
        assert!(entries[0].is_ok() && entries[1].is_err());
        let entries = own(&[], &["{}", "[]"]).pair(images(2)).unwrap();
        assert!(entries[0].is_ok() && entries[1].is_err());
        for (item, good) in [
            (r#"{"vector": [1], "id": "a"}"#, true),
            (r#"{"image": "AA"}"#, true),
            (r#"{"image": "AA", "vector": [1]}"#, false),
            (r#"{"id": "a"}"#, false),
            (r#"{"image": "AA", "colour": "red"}"#, false),
            (r#"{"image": "AA", "metadata": []}"#, false),
            (r#"{"vector": [1e39], "id": "a"}"#, false),
        ] {
            let fields = Object::of_json(item.as_bytes(), ITEM).whole().unwrap();
            assert_eq!(entry(fields).is_ok(), good, "{item}");
        }
    }
}
