use std::time::Duration;

use super::*;
use crate::{error::ErrorKind, index::Query};

pub(crate) async fn upserting_creates_and_replaces(home: &dyn Home) {
    let engine = home.open().await;
    let items = collection(&engine, 2, Metric::Cosine).await;
    let first = NewItem { image: Some(image("1")), ..item("a", &[3.0, 4.0], json!({"z": 1, "a": {"deep": [1]}})) };
    let written = items.upsert(vec![first, item("b", &[1.0, 0.0], json!({}))]).await.unwrap();
    assert!(written.iter().all(|written| written.created && written.orphan.is_none()));
    let stored = items.get(&id("a")).await.unwrap();
    assert!((stored.vector[0] - 0.6).abs() < 1e-6 && (stored.vector[1] - 0.8).abs() < 1e-6);
    assert_eq!(stored.metadata, metadata(json!({"z": 1, "a": {"deep": [1]}})));
    assert_eq!(stored.image, Some(image("1")));

    let second = NewItem { image: Some(image("2")), ..item("a", &[0.0, 2.0], json!({"new": true})) };
    let written = items.upsert(vec![second.clone()]).await.unwrap();
    assert_eq!((written[0].created, &written[0].orphan), (false, &Some(image("1"))));
    let stored = items.get(&id("a")).await.unwrap();
    assert_eq!((stored.vector, stored.metadata), (vec![0.0, 1.0], metadata(json!({"new": true}))));

    let same = items.upsert(vec![second]).await.unwrap();
    assert_eq!((same[0].created, &same[0].orphan), (false, &None));
    let without = items.upsert(vec![item("a", &[1.0, 1.0], json!({}))]).await.unwrap();
    assert_eq!(without[0].orphan, Some(image("2")));
    assert_eq!(items.count(None).await.unwrap(), 2);
    assert!(items.upsert(Vec::new()).await.unwrap().is_empty());
}

pub(crate) async fn the_last_of_two_equal_ids_wins(home: &dyn Home) {
    let engine = home.open().await;
    let items = collection(&engine, 1, Metric::Dot).await;
    let version = |at: f32, name: &str| NewItem { image: Some(image(name)), ..item("a", &[at], json!({"at": at})) };
    let batch = vec![version(1.0, "1"), item("b", &[9.0], json!({})), version(2.0, "2"), version(3.0, "3")];
    let written = items.upsert(batch).await.unwrap();
    assert_eq!(written.iter().map(|written| written.created).collect::<Vec<_>>(), [true, true, false, false]);
    let orphans: Vec<_> = written.into_iter().filter_map(|written| written.orphan).collect();
    assert_eq!(orphans, [image("1"), image("2")]);
    assert_eq!(items.get(&id("a")).await.unwrap().vector, [3.0]);
    assert_eq!(items.count(Some(filter(json!({"must": [{"key": "at", "match": 3}]})))).await.unwrap(), 1);
    assert_eq!(items.count(Some(filter(json!({"must": [{"key": "at", "match": 1}]})))).await.unwrap(), 0);

    // An image that the last one names again is no orphan.
    let written = items.upsert(vec![version(4.0, "4"), version(5.0, "3")]).await.unwrap();
    let orphans: Vec<_> = written.into_iter().filter_map(|written| written.orphan).collect();
    assert_eq!(orphans, [image("4")]);
}

pub(crate) async fn unusual_ids_are_ids_like_any_other(home: &dyn Home) {
    let engine = home.open().await;
    let items = collection(&engine, 1, Metric::Euclid).await;
    let long = "ü".repeat(128);
    let ids = ["../../x", "a/b c?d=e#f", "🦀", " ", "\"quoted\\\"", long.as_str(), "null", "1"];
    let batch = ids.iter().enumerate().map(|(at, id)| item(id, &[at as f32], json!({"at": at}))).collect();
    items.upsert(batch).await.unwrap();
    for (at, text) in ids.iter().enumerate() {
        assert_eq!(items.get(&id(text)).await.unwrap().vector, [at as f32]);
        let query = Query { limit: top(1), ..Query::nearest(vector(&[at as f32]), top(1)) };
        assert_eq!(items.search(query).await.unwrap()[0].id.as_str(), *text);
        assert_eq!(items.count(Some(filter(json!({"must": [{"has_id": [text]}]})))).await.unwrap(), 1);
    }
    let deleted = items.delete(ids.iter().map(|text| id(text)).collect()).await.unwrap();
    assert_eq!((deleted.count, items.count(None).await.unwrap()), (ids.len() as u64, 0));
}

pub(crate) async fn a_refused_batch_stores_nothing(home: &dyn Home) {
    let engine = home.open().await;
    let items = collection(&engine, 2, Metric::Cosine).await;
    for bad in [vec![0.0, 0.0], vec![1.0], vec![1.0, 2.0, 3.0]] {
        let batch = vec![item("good", &[1.0, 0.0], json!({})), item("bad", &bad, json!({}))];
        let error = items.upsert(batch).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
        assert!(error.message().contains("\"bad\""), "{error}");
    }
    assert_eq!(items.count(None).await.unwrap(), 0);
    let zeros = engine.create(spec("d", 2, Metric::Dot)).await.unwrap();
    assert!(zeros);
    engine.open(&name("d")).await.unwrap().upsert(vec![item("zero", &[0.0, 0.0], json!({}))]).await.unwrap();
}

pub(crate) async fn patching_merges_and_null_removes(home: &dyn Home) {
    let engine = home.open().await;
    let items = collection(&engine, 1, Metric::Dot).await;
    let before = NewItem { image: Some(image("1")), ..item("a", &[1.0], json!({"a": 1, "b": {"x": 1}, "c": 3})) };
    items.upsert(vec![before]).await.unwrap();
    let patch = metadata(json!({"a": null, "b": {"y": 2}, "d": "new", "absent": null}));
    let merged = items.patch(&id("a"), patch, 1 << 16).await.unwrap();
    assert_eq!(merged, metadata(json!({"b": {"y": 2}, "c": 3, "d": "new"})));
    let stored = items.get(&id("a")).await.unwrap();
    assert_eq!((stored.metadata, stored.vector, stored.image), (merged.clone(), vec![1.0], Some(image("1"))));
    assert_eq!(items.patch(&id("b"), Metadata::new(), 1 << 16).await.unwrap_err().kind(), ErrorKind::ItemNotFound);
    let larger = metadata(json!({"note": "x".repeat(100)}));
    assert_eq!(items.patch(&id("a"), larger, 100).await.unwrap_err().kind(), ErrorKind::PayloadTooLarge);
    assert_eq!(items.get(&id("a")).await.unwrap().metadata, merged, "a refused patch changes nothing");
}

pub(crate) async fn metadata_that_cannot_be_indexed_are_refused(home: &dyn Home) {
    let engine = home.open().await;
    let items = collection(&engine, 1, Metric::Dot).await;
    items.upsert(vec![item("a", &[1.0], json!({"a": 1}))]).await.unwrap();
    for hostile in [json!({"k".repeat(257): 1}), json!({"n": (0..1025).collect::<Vec<_>>()})] {
        let batch = vec![item("good", &[1.0], json!({})), item("bad", &[1.0], hostile.clone())];
        let error = items.upsert(batch).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
        assert!(error.message().contains("\"bad\""), "{error}");
        let error = items.patch(&id("a"), metadata(hostile), 1 << 16).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    }
    assert_eq!(items.count(None).await.unwrap(), 1);
    assert_eq!(items.get(&id("a")).await.unwrap().metadata, metadata(json!({"a": 1})));
}

pub(crate) async fn deleting_answers_what_was_there(home: &dyn Home) {
    let engine = home.open().await;
    let items = collection(&engine, 1, Metric::Dot).await;
    let with_image = NewItem { image: Some(image("1")), ..item("a", &[1.0], json!({})) };
    items.upsert(vec![with_image, item("b", &[1.0], json!({})), item("c", &[1.0], json!({}))]).await.unwrap();
    let deleted = items.delete(vec![id("a"), id("absent"), id("b"), id("a")]).await.unwrap();
    assert_eq!((deleted.count, deleted.orphans), (2, vec![image("1")]));
    assert_eq!(items.delete(vec![id("a")]).await.unwrap().count, 0);
    assert_eq!(items.get(&id("a")).await.unwrap_err().kind(), ErrorKind::ItemNotFound);
    assert_eq!(items.count(None).await.unwrap(), 1);
    assert!(items.upsert(vec![item("a", &[2.0], json!({}))]).await.unwrap()[0].created);
}

/// Every page until the end.
async fn all_pages(items: &Arc<dyn Collection>, limit: usize, filter: Option<Filter>) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), None);
    loop {
        let page = items.page(top(limit), cursor, filter.clone()).await.unwrap();
        assert!(page.items.len() <= limit);
        ids.extend(page.items.iter().map(|item| item.id.to_string()));
        cursor = page.cursor;
        if cursor.is_none() {
            return ids;
        }
    }
}

pub(crate) async fn pages_are_stable_while_items_are_added(home: &dyn Home) {
    let engine = home.open().await;
    let items = collection(&engine, 4, Metric::Dot).await;
    assert_eq!(items.page(top(10), None, None).await.unwrap().cursor, None);
    items.upsert(Draw::new(1).items(25, 4)).await.unwrap();
    let expected: Vec<_> = (0..25).map(|at| format!("item-{at}")).collect();
    for limit in [1, 5, 24, 25, 26] {
        assert_eq!(all_pages(&items, limit, None).await, expected);
    }

    let first = items.page(top(10), None, None).await.unwrap();
    // Deleting the last one of the page, replacing one and adding others moves nothing behind the cursor.
    items.delete(vec![id("item-9"), id("item-20")]).await.unwrap();
    items.upsert(vec![item("item-0", &[1.0; 4], json!({})), item("a", &[1.0; 4], json!({}))]).await.unwrap();
    let second = items.page(top(100), first.cursor, None).await.unwrap();
    let ids: Vec<_> = second.items.iter().map(|item| item.id.to_string()).collect();
    let mut expected: Vec<_> = (10..25).filter(|at| *at != 20).map(|at| format!("item-{at}")).collect();
    expected.push("a".to_owned());
    assert_eq!((ids, second.cursor), (expected, None));
}

pub(crate) async fn pages_of_a_filter_hold_what_passes(home: &dyn Home) {
    let engine = home.open().await;
    let items = collection(&engine, 4, Metric::Dot).await;
    let batch = Draw::new(2).items(60, 4);
    let cats = filter(json!({"must": [{"key": "label", "match": "cat"}]}));
    let expected: Vec<_> =
        batch.iter().filter(|item| cats.matches(&item.id, &item.metadata)).map(|item| item.id.to_string()).collect();
    items.upsert(batch).await.unwrap();
    for limit in [1, 7, expected.len(), 100] {
        assert_eq!(all_pages(&items, limit, Some(cats.clone())).await, expected);
    }
}

pub(crate) async fn foreign_cursors_are_refused(home: &dyn Home) {
    let engine = home.open().await;
    let items = collection(&engine, 4, Metric::Dot).await;
    items.upsert(Draw::new(1).items(3, 4)).await.unwrap();
    for cursor in ["", "x", "item-1", "AAAAAAAAAAAAAAAAAA"] {
        let error = items.page(top(1), Some(cursor.to_owned()), None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{cursor:?}");
    }
}

pub(crate) async fn everything_survives_reopening(home: &dyn Home) {
    let mut draw = Draw::new(3);
    let query = Query { with_vector: true, ..Query::nearest(draw.vector(8), top(20)) };
    let cats = filter(json!({"must": [{"key": "label", "match": "cat"}]}));
    let engine = home.open().await;
    let items = collection(&engine, 8, Metric::Cosine).await;
    items.upsert(draw.items(300, 8)).await.unwrap();
    items.delete((50..90).map(|at| id(&format!("item-{at}"))).collect()).await.unwrap();
    items.patch(&id("item-1"), metadata(json!({"label": "cat", "note": null})), 1 << 16).await.unwrap();
    let page = items.page(top(10), None, None).await.unwrap();
    let before = (items.search(query.clone()).await.unwrap(), items.count(Some(cats.clone())).await.unwrap());
    let info = items.info().await.unwrap();
    drop((items, engine));

    let engine = home.open().await;
    assert!(!engine.create(spec("c", 8, Metric::Cosine)).await.unwrap());
    let items = engine.open(&name("c")).await.unwrap();
    let again = items.info().await.unwrap();
    assert_eq!((again.spec, again.count, again.bytes), (info.spec, info.count, info.bytes));
    assert_eq!((items.search(query).await.unwrap(), items.count(Some(cats)).await.unwrap()), before);
    let rest = items.page(top(1000), page.cursor, None).await.unwrap();
    assert_eq!(rest.items.len() as u64, info.count - 10);
    assert_eq!(rest.items[0].id, id("item-10"));
}

pub(crate) async fn writes_run_to_their_end_without_their_caller(home: &dyn Home) {
    let engine = home.open().await;
    let items = collection(&engine, 4, Metric::Dot).await;
    let write = items.upsert(Draw::new(4).items(200, 4));
    // Polled once, which admits it, and then dropped.
    assert!(tokio::time::timeout(Duration::ZERO, write).await.is_err());
    // Writes take turns, so this one ends after the other.
    items.upsert(vec![item("last", &[1.0; 4], json!({}))]).await.unwrap();
    assert_eq!(items.count(None).await.unwrap(), 201);
}
