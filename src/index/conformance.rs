//! What every engine must do, as functions over an engine that can be opened again.
//!
//! An engine runs the whole suite by `conformance_suite!(home)` in its tests, `home` being an expression that makes a
//! fresh, empty [`Home`]. An attribute before it, as `#[ignore = "…"]`, is given to each test.
//!
//! What only an engine in one process can promise is a behaviour that the suite leaves out, and such an engine's own
//! tests call: [`searches_during_writes_see_whole_batches`].

mod catalogue;
mod facets;
mod filters;
mod items;
mod sample;
mod search;

use std::sync::Arc;

use async_trait::async_trait;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

pub(crate) use self::{catalogue::*, facets::*, filters::*, items::*, sample::*, search::*};
use super::{Collection, CollectionSpec, ImageRef, IndexEngine, NewItem, StoreMode};
use crate::domain::{CollectionName, Embedding, Filter, ItemId, Metadata, Metric, TopK};

/// Where an engine keeps its data.
#[async_trait]
pub(crate) trait Home: Send + Sync {
    /// Opens the engine on it; any engine opened before is gone by then.
    async fn open(&self) -> Arc<dyn IndexEngine>;
}

/// Makes a test of each behaviour.
macro_rules! conformance_suite {
    (# $attribute:tt $home:expr) => {
        $crate::index::conformance::conformance_suite!(@tests # $attribute $home;
            creating_is_idempotent_and_refuses_other_settings,
            dropping_forgets_the_items_and_hands_their_images_on,
            collections_are_listed_by_name_and_independent,
            an_unusable_dimension_is_refused,
            upserting_creates_and_replaces,
            the_last_of_two_equal_ids_wins,
            unusual_ids_are_ids_like_any_other,
            a_refused_batch_stores_nothing,
            patching_merges_and_null_removes,
            metadata_that_cannot_be_indexed_are_refused,
            deleting_answers_what_was_there,
            pages_are_stable_while_items_are_added,
            pages_of_a_filter_hold_what_passes,
            foreign_cursors_are_refused,
            everything_survives_reopening,
            writes_run_to_their_end_without_their_caller,
            filters_agree_with_their_definition,
            filters_follow_replaced_patched_and_deleted_items,
            deleting_by_filter_deletes_what_passes,
            samples_are_items_drawn_without_repeating,
            the_version_changes_with_every_write_and_with_nothing_else,
            facets_agree_with_their_definition,
            facets_follow_what_is_changed_and_name_long_texts,
            searching_agrees_with_the_exact_scan,
            scores_are_those_of_the_definition,
            equal_scores_come_in_the_order_of_insertion,
            min_score_and_exclude_leave_items_out,
            a_hit_brings_what_was_asked_for,
            queries_that_do_not_fit_are_refused,
            replaced_vectors_are_found_where_they_are_now,
        );
    };
    (@tests # $attribute:tt $home:expr; $($behaviour:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            # $attribute
            async fn $behaviour() {
                $crate::index::conformance::$behaviour(&$home).await;
            }
        )*
    };
    ($home:expr) => {
        $crate::index::conformance::conformance_suite!(#[cfg(test)] $home);
    };
}

pub(crate) use conformance_suite;

fn name(text: &str) -> CollectionName {
    text.parse().unwrap()
}

fn id(text: &str) -> ItemId {
    text.parse().unwrap()
}

fn top(limit: usize) -> TopK {
    TopK::new(limit).unwrap()
}

fn spec(collection: &str, dimension: usize, metric: Metric) -> CollectionSpec {
    CollectionSpec {
        name: name(collection),
        model: Some("simclr".to_owned()),
        space_key: Some("simclr@0123456789ab".parse().unwrap()),
        dimension,
        metric,
        store: StoreMode::Original,
    }
}

/// A new collection `c`.
async fn collection(engine: &Arc<dyn IndexEngine>, dimension: usize, metric: Metric) -> Arc<dyn Collection> {
    assert!(engine.create(spec("c", dimension, metric)).await.unwrap());
    engine.open(&name("c")).await.unwrap()
}

fn vector(values: &[f32]) -> Embedding {
    Embedding::new(values.to_vec()).unwrap()
}

fn metadata(value: Value) -> Metadata {
    value.as_object().cloned().unwrap()
}

fn filter(value: Value) -> Filter {
    Filter::try_from(value).unwrap()
}

fn image(key: &str) -> ImageRef {
    ImageRef { key: format!("images/{key}"), media_type: "image/png".to_owned() }
}

fn item(id: &str, values: &[f32], value: Value) -> NewItem {
    NewItem { id: id.parse().unwrap(), vector: vector(values), metadata: metadata(value), image: None }
}

/// Numbers from a seed.
struct Draw(ChaCha8Rng);

impl Draw {
    fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0.random_range(0..limit)
    }

    fn vector(&mut self, dimension: usize) -> Embedding {
        Embedding::new((0..dimension).map(|_| self.0.random_range(-1.0..1.0)).collect()).unwrap()
    }

    /// Metadata with a bit of everything that conditions can ask for.
    fn metadata(&mut self) -> Metadata {
        let label = ["cat", "dog", "bird"][self.below(3)];
        let mut value = json!({
            "label": label,
            "price": self.below(20),
            "ratio": self.below(8) as f64 / 4.0,
            "good": self.below(2) == 0,
            "tags": (0..self.below(4)).map(|_| ["a", "b", "c", "d"][self.below(4)]).collect::<Vec<_>>(),
            "camera": {"lens": {"mm": self.below(5) * 10}, "name": null},
            "boxes": (0..self.below(3)).map(|_| json!({"class": self.below(4)})).collect::<Vec<_>>(),
        });
        if self.below(4) == 0 {
            value["note"] = json!("x".repeat(100));
        }
        match self.below(4) {
            0 => value["gone"] = json!(null),
            1 => value["gone"] = json!([]),
            2 => value["gone"] = json!("soon"),
            _ => {}
        }
        value["taken"] = json!(format!("2024-01-{:02}T{:02}:00:00+01:00", self.below(28) + 1, self.below(24)));
        metadata(value)
    }

    fn items(&mut self, count: usize, dimension: usize) -> Vec<NewItem> {
        let item = |at| NewItem {
            id: id(&format!("item-{at}")),
            vector: self.vector(dimension),
            metadata: self.metadata(),
            image: None,
        };
        (0..count).map(item).collect()
    }
}
