//! What the server is asked about a collection.

use bytes::Bytes;
use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    cli::remote::{Refusal, Remote, Trouble, answer},
    domain::{CollectionName, ItemId, Metadata},
    error::ErrorKind,
};

/// One collection of one server.
#[derive(Debug, Clone)]
pub(super) struct Api {
    remote: Remote,
    collection: CollectionName,
}

/// Ids that are asked for by one request: they stand in its address.
const ASKED: usize = 50;

/// An item on its way.
#[derive(Debug, Clone)]
pub(super) struct Upload {
    pub(super) id: ItemId,
    pub(super) metadata: Metadata,
    pub(super) payload: Payload,
}

#[derive(Debug, Clone)]
pub(super) enum Payload {
    Image(Bytes),
    Vector(Vec<f32>),
}

/// An item with a vector, as it is sent.
#[derive(Serialize)]
struct VectorItem<'a> {
    id: &'a ItemId,
    vector: &'a [f32],
    metadata: &'a Metadata,
}

/// What a collection of vectors is made with.
#[derive(Debug, Clone, Copy)]
pub(super) struct VectorSpace<'a> {
    pub(super) dimension: usize,
    pub(super) metric: &'a str,
}

/// What became of the images of one request.
#[derive(Debug, Deserialize)]
pub(super) struct Added {
    pub(super) data: Vec<AddedItem>,
    pub(super) errors: Vec<ItemError>,
}

#[derive(Debug, Deserialize)]
pub(super) struct AddedItem {
    pub(super) index: usize,
}

#[derive(Debug, Deserialize)]
pub(super) struct ItemError {
    pub(super) index: usize,
    #[serde(flatten)]
    pub(super) refusal: Refusal,
}

impl Api {
    pub(super) const fn new(remote: Remote, collection: CollectionName) -> Self {
        Self { remote, collection }
    }

    /// The server that the collection is on.
    pub(super) const fn remote(&self) -> &Remote {
        &self.remote
    }

    fn path(&self, rest: &str) -> String {
        format!("v1/collections/{}{rest}", self.collection)
    }

    /// The collection's description, none if there is no such collection.
    pub(super) async fn describe(&self) -> Result<Option<Value>, Trouble> {
        match answer(self.remote.request(Method::GET, &self.path(""), &[])?).await {
            Ok(description) => Ok(Some(description)),
            Err(Trouble::Fatal(error)) if error.kind() == ErrorKind::CollectionNotFound => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    /// Makes the collection.
    pub(super) async fn create(&self, model: &str, store: Option<&str>) -> Result<Value, Trouble> {
        let mut body = json!({ "model": model });
        if let Some(store) = store {
            body["store"] = store.into();
        }
        answer(self.remote.request(Method::PUT, &self.path(""), &[])?.json(&body)).await
    }

    /// Makes the collection for vectors of no model.
    pub(super) async fn create_for_vectors(&self, space: VectorSpace<'_>) -> Result<Value, Trouble> {
        let body = json!({ "dimension": space.dimension, "metric": space.metric });
        answer(self.remote.request(Method::PUT, &self.path(""), &[])?.json(&body)).await
    }

    /// Which of these items are there already.
    pub(super) async fn present(&self, ids: &[&ItemId]) -> Result<Vec<ItemId>, Trouble> {
        #[derive(Deserialize)]
        struct Page {
            data: Vec<Present>,
        }
        #[derive(Deserialize)]
        struct Present {
            id: ItemId,
        }
        let mut present = Vec::new();
        for ids in ids.chunks(ASKED) {
            let filter = json!({"must": [{"has_id": ids}]}).to_string();
            let limit = ids.len().to_string();
            let query = [("limit", limit.as_str()), ("filter", filter.as_str())];
            let page: Page = answer(self.remote.request(Method::GET, &self.path("/items"), &query)?).await?;
            present.extend(page.data.into_iter().map(|present| present.id));
        }
        Ok(present)
    }

    /// Adds items, or replaces those of their ids: images by a form, vectors in JSON. They are all of one kind.
    pub(super) async fn add(&self, uploads: &[&Upload]) -> Result<Added, Trouble> {
        let request = self.remote.request(Method::POST, &self.path("/items"), &[])?;
        let mut form = Form::new();
        let mut items = Vec::new();
        for Upload { id, metadata, payload } in uploads {
            match payload {
                Payload::Image(bytes) => {
                    let part = Part::stream_with_length(bytes.clone(), bytes.len() as u64).file_name("upload");
                    let metadata = Value::Object(metadata.clone()).to_string();
                    form = form.part("image", part).text("id", id.to_string()).text("metadata", metadata);
                }
                Payload::Vector(vector) => items.push(VectorItem { id, vector, metadata }),
            }
        }
        let request = if items.is_empty() { request.multipart(form) } else { request.json(&json!({ "items": items })) };
        answer(request).await
    }
}
