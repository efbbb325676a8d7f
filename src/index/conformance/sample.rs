use std::collections::HashSet;

use super::*;
use crate::{domain::Metadata, index::Query};

pub(crate) async fn samples_are_items_drawn_without_repeating(home: &dyn Home) {
    let engine = home.open().await;
    let items = collection(&engine, 4, Metric::Cosine).await;
    assert!(items.sample(10, true).await.unwrap().is_empty());
    items.upsert(Draw::new(40).items(120, 4)).await.unwrap();
    items.delete((0..120).step_by(6).map(|at| id(&format!("item-{at}"))).collect()).await.unwrap();
    for (limit, expected) in [(7, 7), (99, 99), (100, 100), (101, 100), (5000, 100)] {
        let sample = items.sample(limit, true).await.unwrap();
        let ids: HashSet<_> = sample.iter().map(|item| item.id.clone()).collect();
        assert_eq!((sample.len(), ids.len()), (expected, expected), "limit {limit}");
        for item in sample {
            assert_eq!(items.get(&item.id).await.unwrap(), item);
        }
    }
    let bare = items.sample(3, false).await.unwrap();
    assert!(bare.iter().all(|item| item.metadata == Metadata::new() && item.vector.len() == 4));
}

pub(crate) async fn the_version_changes_with_every_write_and_with_nothing_else(home: &dyn Home) {
    let engine = home.open().await;
    let items = collection(&engine, 1, Metric::Dot).await;
    let mut seen = HashSet::new();
    let mut changed = async || assert!(seen.insert(items.info().await.unwrap().version), "{seen:?}");
    changed().await;
    items.upsert(vec![item("a", &[1.0], json!({})), item("b", &[2.0], json!({}))]).await.unwrap();
    changed().await;
    items.upsert(vec![item("a", &[3.0], json!({}))]).await.unwrap();
    changed().await;
    items.patch(&id("a"), metadata(json!({"n": 1})), 1 << 16).await.unwrap();
    changed().await;
    items.delete(vec![id("a")]).await.unwrap();
    changed().await;
    let before = items.info().await.unwrap().version;
    items.search(Query::nearest(vector(&[1.0]), top(1))).await.unwrap();
    items.get(&id("b")).await.unwrap();
    items.delete(vec![id("absent")]).await.unwrap();
    assert_eq!(items.info().await.unwrap().version, before);
}
