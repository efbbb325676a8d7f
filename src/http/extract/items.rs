//! Items to add, however they were sent.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    body::{FormRules, FromFields, IMAGES},
    fields::Fields,
};
use crate::{
    domain::{ItemId, Metadata, check_integers},
    error::{Error, Result},
    service::{Entry, EntrySource, Image},
};

/// The fields of an item that are no options of it.
const ITEM: &[&str] = &["image", "vector"];

/// The items of a request and the options about all of them; what is wrong with one item is its own error.
#[derive(Debug)]
pub(in crate::http) struct ItemsRequest<O> {
    pub(in crate::http) entries: Vec<Result<Entry>>,
    /// Of each entry, as far as a form gives one.
    pub(in crate::http) file_names: Vec<Option<String>>,
    pub(in crate::http) options: O,
}

impl<O> ItemsRequest<O> {
    /// Puts the names of the files into `file` of the metadata, without the folders that some clients send, unless there
    /// is such a key.
    pub(in crate::http) fn keep_file_names(&mut self) {
        for (entry, name) in self.entries.iter_mut().zip(self.file_names.drain(..)) {
            let name = name.as_deref().and_then(|name| name.rsplit(['/', '\\']).next()).filter(|name| !name.is_empty());
            if let (Ok(entry), Some(name)) = (entry, name) {
                entry.metadata.entry("file").or_insert_with(|| name.into());
            }
        }
    }
}

impl<O: DeserializeOwned + Send + 'static> FromFields for ItemsRequest<O> {
    const RULES: FormRules = FormRules { json: &["items"], repeated: &["id", "metadata"], ..IMAGES };

    fn from_fields(mut fields: Fields<'_>) -> Result<Self> {
        let file_names = std::mem::take(&mut fields.file_names);
        let each = OfEachImage { ids: fields.take_texts("id"), metadata: fields.take_texts("metadata") };
        let (mut content, options) = fields.split()?;
        let mut entries: Vec<Result<Entry>> = match (content.images()?, content.objects("items", ITEM)?) {
            (Some(images), _) => each.pair(images)?,
            (None, Some(items)) if each.ids.is_empty() && each.metadata.is_empty() => {
                items.into_iter().map(|item| entry(item?)).collect()
            }
            (None, Some(_)) => {
                return Err(Error::invalid_request("`id` and `metadata` stand inside the items of a JSON body"));
            }
            (None, None) => return Err(Error::invalid_request("`items` is missing")),
        };
        count_vectors(&mut entries)?;
        Ok(Self { entries, file_names, options })
    }
}

/// Counts vectors that take more memory than the body that they were parsed from: a number of one digit is two bytes in
/// JSON, and four in a vector.
fn count_vectors(entries: &mut [Result<Entry>]) -> Result<()> {
    let bytes_of = |entry: &Entry| match &entry.source {
        EntrySource::Vector(vector) => size_of_val(&vector[..]) as u64,
        EntrySource::Image(_) => 0,
    };
    let bytes = entries.iter().flatten().map(bytes_of).sum();
    let shares: Vec<_> = entries.iter_mut().flatten().filter_map(|entry| entry.share.as_mut()).collect();
    let Some(share) = shares.first() else { return Ok(()) };
    let share = share.grown_to(bytes)?;
    shares.into_iter().for_each(|held| held.clone_from(&share));
    Ok(())
}

/// The ids and the metadata of the images of a raw body or a form, in their order.
struct OfEachImage {
    ids: Vec<String>,
    metadata: Vec<String>,
}

impl OfEachImage {
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
                share: None,
            })
        };
        Ok(images.into_iter().enumerate().map(entry).collect())
    }
}

fn metadata_of(text: &str) -> Result<Metadata> {
    match serde_json::from_str(text) {
        Ok(Value::Object(metadata)) => check_integers(text).map(|()| metadata),
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

fn entry(fields: Fields<'_>) -> Result<Entry> {
    fields.text_of("metadata").map_or(Ok(()), check_integers)?;
    let (mut content, ItemOptions { id, metadata }) = fields.split()?;
    let image = content.images()?.and_then(|mut images| images.pop());
    let source = match (image, content.vector()) {
        (Some(image), None) => EntrySource::Image(image),
        (None, Some(vector)) => EntrySource::Vector(vector?),
        _ => return Err(Error::invalid_request("an item has either an `image` or a `vector`")),
    };
    Ok(Entry { id, source, metadata: metadata.unwrap_or_default(), share: content.share })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use prometheus_client::metrics::gauge::Gauge;

    use super::*;
    use crate::{
        admission::{Budget, BudgetOptions},
        error::ErrorKind,
        http::extract::image::of_bytes,
    };

    fn of_each(ids: &[&str], metadata: &[&str]) -> OfEachImage {
        let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        OfEachImage { ids: texts(ids), metadata: texts(metadata) }
    }

    fn images(count: usize) -> Vec<Image> {
        (0..count).map(|_| of_bytes("GIF89a\x01\0\x01\0".into())).collect()
    }

    #[test]
    fn ids_and_metadata_pair_with_the_images_by_order() {
        let entries = of_each(&["a", "b"], &[r#"{"n": 1}"#, r#"{"n": 2}"#]).pair(images(2)).unwrap();
        let second = entries[1].as_ref().unwrap();
        assert_eq!(second.id.as_ref().unwrap().as_str(), "b");
        assert_eq!(second.metadata["n"], 2);
    }

    #[test]
    fn one_metadata_serves_all_and_other_counts_are_refused() {
        let entries = of_each(&[], &[r#"{"n": 1}"#]).pair(images(3)).unwrap();
        assert!(entries.iter().all(|entry| entry.as_ref().unwrap().metadata["n"] == 1));
        assert!(of_each(&["a"], &[]).pair(images(2)).is_err());
        assert!(of_each(&[], &["{}", "{}"]).pair(images(3)).is_err());
    }

    #[test]
    fn a_vector_out_of_json_keeps_its_body_counted_for_as_long_as_it_is_there() {
        let budget = budget();
        let mut request = request(&budget, r#"{"items": [{"id": "a", "vector": [1]}]}"#).unwrap();
        let kept = request.entries.pop();
        drop(request);
        assert!(budget.check(100).is_err(), "the parsed vector is counted");
        drop(kept);
        assert!(budget.check(100).is_ok());
    }

    #[test]
    fn vectors_that_are_larger_than_their_json_are_counted_as_they_are() {
        let budget = budget();
        let items = |numbers: usize| format!(r#"{{"items":[{{"id":"a","vector":[{}1]}}]}}"#, "1,".repeat(numbers - 1));
        assert!(items(24).len() < 100);
        let held = request(&budget, &items(24)).unwrap();
        assert!(budget.check(4).is_ok() && budget.check(5).is_err(), "24 numbers of 4 bytes");
        drop(held);
        assert_eq!(request(&budget, &items(26)).unwrap_err().kind(), ErrorKind::PayloadTooLarge);
    }

    fn budget() -> Arc<Budget> {
        Budget::new(BudgetOptions {
            noun: "request bodies",
            key: "limits.bodies_in_flight_bytes",
            limit: 100,
            too_large: ErrorKind::PayloadTooLarge,
            held: Gauge::default(),
        })
    }

    /// The items of a body that is counted by the budget.
    fn request(budget: &Arc<Budget>, json: &str) -> Result<ItemsRequest<NoOptions>> {
        let mut permit = budget.empty();
        permit.grow_to(json.len() as u64)?;
        let mut fields = Fields::of_json(json.as_bytes(), ItemsRequest::<NoOptions>::RULES.json);
        fields.share = Some(permit.shared());
        ItemsRequest::from_fields(fields)
    }

    #[derive(Debug, Deserialize)]
    struct NoOptions {}

    #[test]
    fn what_is_wrong_with_one_item_is_its_own_error() {
        let entries = of_each(&["a", ""], &["{}", "{}"]).pair(images(2)).unwrap();
        assert!(entries[0].is_ok() && entries[1].is_err());
        for bad in ["[]", "{", r#"{"n": 18446744073709551616}"#] {
            let entries = of_each(&[], &["{}", bad]).pair(images(2)).unwrap();
            assert!(entries[0].is_ok() && entries[1].is_err(), "{bad}");
        }
        for (item, part) in [
            (r#"{"vector": [1], "id": "a", "metadata": {"n": 18446744073709551615}}"#, None),
            (r#"{"vector": [18446744073709551616], "id": "a"}"#, None),
            (r#"{"vector": [1], "id": "a", "metadata": {"n": 18446744073709551616}}"#, Some("does not fit in 64 bits")),
            (r#"{"image": "R0lGODlhAQABAA"}"#, None),
            (r#"{"image": "R0lGODlhAQABAA", "vector": [1]}"#, Some("either")),
            (r#"{"id": "a"}"#, Some("either")),
            (r#"{"id": 5, "vector": [1]}"#, Some("`id`: invalid type")),
            (r#"{"image": "R0lGODlhAQABAA", "colour": "red"}"#, Some("known here: image, vector, id, metadata")),
            (r#"{"image": "R0lGODlhAQABAA", "metadata": []}"#, Some("`metadata`: invalid type")),
            (r#"{"vector": [1e39], "id": "a"}"#, Some("element 0")),
        ] {
            let outcome = entry(Fields::of_json(item.as_bytes(), ITEM));
            let message = outcome.as_ref().err().map(Error::message);
            assert_eq!(message.is_some(), part.is_some(), "{item}: {message:?}");
            assert!(message.unwrap_or("").contains(part.unwrap_or("")), "{item}: {message:?}");
        }
    }
}
