use super::*;
use crate::{
    error::ErrorKind,
    index::{Hit, Query},
};

const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Dot, Metric::Euclid];

/// Whether two answers name the same items with the same scores.
fn assert_same(found: &[Hit], expected: &[Hit], what: &str) {
    let ids = |hits: &[Hit]| hits.iter().map(|hit| hit.id.to_string()).collect::<Vec<_>>();
    assert_eq!(ids(found), ids(expected), "{what}");
    for (a, b) in found.iter().zip(expected) {
        assert!((a.score - b.score).abs() <= 1e-5 * b.score.abs().max(1.0), "{what}: {a:?} {b:?}");
    }
}

pub(crate) async fn searching_agrees_with_the_exact_scan(home: &dyn Home) {
    let engine = home.open().await;
    for (at, metric) in METRICS.into_iter().enumerate() {
        let collection = format!("c{at}");
        engine.create(spec(&collection, 24, metric)).await.unwrap();
        let items = engine.open(&name(&collection)).await.unwrap();
        let mut draw = Draw::new(8 + at as u64);
        items.upsert(draw.items(700, 24)).await.unwrap();
        items.delete((0..700).step_by(11).map(|at| id(&format!("item-{at}"))).collect()).await.unwrap();
        for limit in [1, 10, 100, 1000] {
            for condition in [json!({}), json!({"must": [{"key": "label", "match": "dog"}]})] {
                let query = Query { filter: Some(filter(condition)), ..Query::nearest(draw.vector(24), top(limit)) };
                let exact = items.search(Query { exact: true, ..query.clone() }).await.unwrap();
                assert!(exact.is_sorted_by(|a, b| a.score >= b.score));
                let what = format!("{metric:?} {limit}");
                assert_same(&items.search(query).await.unwrap(), &exact, &what);
            }
        }
    }
}

pub(crate) async fn scores_are_those_of_the_definition(home: &dyn Home) {
    let engine = home.open().await;
    let root = 18.0_f32.sqrt();
    for (metric, rows, expected) in [
        (Metric::Cosine, [[3.0, 4.0], [-2.0, 1.5]], [0.6, -0.8]),
        (Metric::Dot, [[3.0, 4.0], [-2.0, 1.5]], [6.0, -4.0]),
        (Metric::Euclid, [[5.0, 3.0], [-1.0, -3.0]], [-root, -root]),
    ] {
        engine.create(spec(metric.as_str(), 2, metric)).await.unwrap();
        let items = engine.open(&name(metric.as_str())).await.unwrap();
        items.upsert(vec![item("a", &rows[0], json!({})), item("b", &rows[1], json!({}))]).await.unwrap();
        for exact in [false, true] {
            let hits = items.search(Query { exact, ..Query::nearest(vector(&[2.0, 0.0]), top(5)) }).await.unwrap();
            assert_eq!(hits.iter().map(|hit| hit.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
            for (hit, expected) in hits.iter().zip(expected) {
                assert!((hit.score - expected).abs() < 1e-5, "{metric:?} {hit:?}");
            }
        }
    }
}

pub(crate) async fn equal_scores_come_in_the_order_of_insertion(home: &dyn Home) {
    let engine = home.open().await;
    let items = collection(&engine, 3, Metric::Cosine).await;
    let same = |at: usize| item(&format!("item-{at}"), &[1.0, 2.0, 3.0], json!({}));
    items.upsert((0..40).map(same).collect()).await.unwrap();
    items.delete((0..10).map(|at| id(&format!("item-{at}"))).collect()).await.unwrap();
    items.upsert((0..5).map(same).collect()).await.unwrap();
    items.upsert(vec![same(12)]).await.unwrap();
    let expected: Vec<_> = (10..40).chain(0..5).map(|at| format!("item-{at}")).collect();
    for limit in [1, 7, 32, 100] {
        for exact in [false, true] {
            let query = Query { exact, ..Query::nearest(vector(&[3.0, 2.0, 1.0]), top(limit)) };
            let found: Vec<_> = items.search(query).await.unwrap().iter().map(|hit| hit.id.to_string()).collect();
            assert_eq!(found, expected[..limit.min(expected.len())], "limit {limit}, exact {exact}");
        }
    }
}

pub(crate) async fn min_score_and_exclude_leave_items_out(home: &dyn Home) {
    let engine = home.open().await;
    let items = collection(&engine, 8, Metric::Cosine).await;
    let mut draw = Draw::new(20);
    items.upsert(draw.items(200, 8)).await.unwrap();
    let self_vector = Embedding::new(items.get(&id("item-5")).await.unwrap().vector).unwrap();
    for exact in [false, true] {
        let query = Query { exact, ..Query::nearest(self_vector.clone(), top(20)) };
        let all = items.search(query.clone()).await.unwrap();
        assert_eq!(all[0].id, id("item-5"));
        let others =
            items.search(Query { exclude: Some(id("item-5")), limit: top(19), ..query.clone() }).await.unwrap();
        assert_same(&others, &all[1..], "excluded");
        let absent = items.search(Query { exclude: Some(id("absent")), ..query.clone() }).await.unwrap();
        assert_same(&absent, &all, "absent excluded");
        let floor = all[6].score;
        let good = items.search(Query { min_score: Some(floor), ..query.clone() }).await.unwrap();
        assert_same(&good, &all[..7], "min_score");
        assert!(items.search(Query { min_score: Some(1.5), ..query }).await.unwrap().is_empty());
    }
}

pub(crate) async fn a_hit_brings_what_was_asked_for(home: &dyn Home) {
    let engine = home.open().await;
    let items = collection(&engine, 2, Metric::Cosine).await;
    assert!(items.search(Query::nearest(vector(&[1.0, 0.0]), top(3))).await.unwrap().is_empty());
    items.upsert(vec![item("a", &[0.0, 5.0], json!({"n": 1}))]).await.unwrap();
    let query = Query::nearest(vector(&[1.0, 1.0]), top(3));
    let plain = items.search(query.clone()).await.unwrap().remove(0);
    assert_eq!((plain.metadata, plain.vector), (Some(metadata(json!({"n": 1}))), None));
    let bare = items.search(Query { with_metadata: false, with_vector: true, ..query }).await.unwrap().remove(0);
    assert_eq!((bare.metadata, bare.vector), (None, Some(vec![0.0, 1.0])));
}

pub(crate) async fn queries_that_do_not_fit_are_refused(home: &dyn Home) {
    let engine = home.open().await;
    let items = collection(&engine, 2, Metric::Cosine).await;
    for bad in [vec![1.0], vec![1.0, 2.0, 3.0], vec![0.0, 0.0]] {
        let error = items.search(Query::nearest(vector(&bad), top(1))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{bad:?}");
    }
}

pub(crate) async fn replaced_vectors_are_found_where_they_are_now(home: &dyn Home) {
    let engine = home.open().await;
    let items = collection(&engine, 12, Metric::Euclid).await;
    let mut draw = Draw::new(21);
    for round in 0..4 {
        items.upsert(draw.items(120, 12)).await.unwrap();
        items.delete((round..120).step_by(5).map(|at| id(&format!("item-{at}"))).collect()).await.unwrap();
        let query = Query::nearest(draw.vector(12), top(15));
        let exact = items.search(Query { exact: true, ..query.clone() }).await.unwrap();
        assert_same(&items.search(query).await.unwrap(), &exact, "after replacing");
    }
    for at in [4, 50, 111] {
        let Ok(stored) = items.get(&id(&format!("item-{at}"))).await else { continue };
        let hits = items.search(Query::nearest(Embedding::new(stored.vector).unwrap(), top(1))).await.unwrap();
        assert_eq!((&hits[0].id, hits[0].score), (&stored.id, 0.0));
    }
}

pub(crate) async fn searches_during_writes_see_whole_batches(home: &dyn Home) {
    let engine = home.open().await;
    let items = collection(&engine, 4, Metric::Dot).await;
    let writer = tokio::spawn({
        let items = Arc::clone(&items);
        async move {
            for batch in 0..15 {
                let make = |at| item(&format!("{batch}-{at}"), &[batch as f32, at as f32, 1.0, 0.0], json!({}));
                items.upsert((0..20).map(make).collect()).await.unwrap();
            }
        }
    });
    while !writer.is_finished() {
        let hits = items.search(Query::nearest(vector(&[0.0, 0.0, 1.0, 0.0]), top(1000))).await.unwrap();
        assert_eq!(hits.len() % 20, 0);
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
    assert_eq!(items.count(None).await.unwrap(), 300);
}
