//! A small embedded index for tests: one collection of one dimension, whose items may name images.

use std::path::Path;

use crate::{
    domain::{Embedding, Metric},
    index::{CollectionSpec, EmbeddedEngine, EmbeddedOptions, ImageRef, NewItem, StoreMode},
};

pub(crate) fn open(folder: &Path) -> EmbeddedEngine {
    let options = EmbeddedOptions { cache_bytes: 1 << 20, read_threads: 1, ..EmbeddedOptions::default() };
    EmbeddedEngine::open_without_maintenance(folder, options).unwrap()
}

pub(crate) fn spec() -> CollectionSpec {
    CollectionSpec {
        name: "c".parse().unwrap(),
        model: None,
        space_key: None,
        dimension: 1,
        metric: Metric::Dot,
        store: StoreMode::Original,
    }
}

pub(crate) fn image(key: &str) -> ImageRef {
    ImageRef { key: format!("images/{key}"), media_type: "image/png".to_owned() }
}

pub(crate) fn item(id: &str, image: Option<ImageRef>) -> NewItem {
    let vector = Embedding::new(vec![1.0]).unwrap();
    NewItem { id: id.parse().unwrap(), vector, metadata: Default::default(), image }
}
