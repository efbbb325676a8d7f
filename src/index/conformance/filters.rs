use super::*;
use crate::index::Query;

/// Filters of every kind, alone and combined.
fn filters() -> Vec<Value> {
    let cat = json!({"key": "label", "match": "cat"});
    let cheap = json!({"key": "price", "range": {"lt": 10}});
    let tagged = json!({"key": "tags", "any": ["a", "b"]});
    vec![
        json!({}),
        json!({"must": [cat]}),
        json!({"must": [{"key": "label", "match": "fish"}]}),
        json!({"must": [{"key": "price", "match": 7}]}),
        json!({"must": [{"key": "price", "match": 7.0}]}),
        json!({"must": [{"key": "price", "match": "7"}]}),
        json!({"must": [{"key": "good", "match": true}]}),
        json!({"must": [{"key": "ratio", "match": 0.5}]}),
        json!({"must": [{"key": "ratio", "match": 1}]}),
        json!({"must": [{"key": "ratio", "range": {"gt": 0.25, "lte": 1}}]}),
        json!({"must": [{"key": "price", "range": {"gte": 3, "lt": 9}}]}),
        json!({"must": [{"key": "price", "range": {"gt": 9, "lt": 3}}]}),
        json!({"must": [{"key": "label", "range": {"gte": 0}}]}),
        json!({"must": [tagged]}),
        json!({"must": [{"key": "tags", "any": []}]}),
        json!({"must": [{"key": "price", "any": [1, 2.0, "3", true]}]}),
        json!({"must": [{"key": "camera.lens.mm", "range": {"gte": 20}}]}),
        json!({"must": [{"key": "camera.lens", "match": 20}]}),
        json!({"must": [{"key": "camera.name", "match": "x"}]}),
        json!({"must": [{"key": "boxes.class", "match": 2}]}),
        json!({"must": [{"key": "note", "match": "x".repeat(100)}]}),
        json!({"must": [{"key": "note", "match": "x".repeat(99)}]}),
        json!({"must_not": [{"key": "note", "match": "x".repeat(100)}]}),
        json!({"must": [{"has_id": ["item-3", "item-30", "absent"]}]}),
        json!({"must_not": [{"has_id": ["item-3"]}, cat]}),
        json!({"must": [{"has_id": []}]}),
        json!({"should": [cat, cheap]}),
        json!({"must": [cat, cheap], "should": [tagged], "must_not": [{"key": "good", "match": false}]}),
        json!({"must": [{"should": [cat, {"must_not": [cheap]}]}, {"must": [tagged]}]}),
        json!({"must_not": [{"should": []}]}),
        json!({"must": [{"key": "label", "match": {"value": "cat"}}]}),
        json!({"must": [{"key": "price", "match": {"any": [1, 2.0, "3", true]}}]}),
        json!({"must": [{"key": "label", "match": {"except": ["cat", "dog"]}}]}),
        json!({"must": [{"key": "tags", "match": {"except": ["a"]}}]}),
        json!({"must": [{"key": "note", "match": {"except": ["x".repeat(100)]}}]}),
        json!({"must_not": [{"key": "price", "match": {"except": [1, 2]}}]}),
        json!({"must": [{"key": "label", "match": {"except": []}}]}),
        json!({"must": [{"is_null": {"key": "gone"}}]}),
        json!({"must_not": [{"is_null": {"key": "gone"}}]}),
        json!({"must": [{"is_empty": {"key": "gone"}}]}),
        json!({"must": [{"is_empty": {"key": "label"}}]}),
        json!({"must_not": [{"is_empty": {"key": "tags"}}]}),
        json!({"must": [{"is_empty": {"key": "absent"}}]}),
        json!({"must": [{"key": "taken", "range": {"gte": "2024-01-01T12:00:00+02:00", "lt": "2024-02-01"}}]}),
        json!({"must": [{"key": "taken", "range": {"gt": "2024-01-10T00:00:00Z"}}]}),
        json!({"must": [{"key": "label", "range": {"gt": "2024-01-10T00:00:00Z"}}]}),
        json!({"min_should": {"conditions": [cat, cheap, tagged], "min_count": 2}}),
        json!({"min_should": {"conditions": [cat, cheap], "min_count": 3}}),
        json!({"min_should": {"conditions": [{}, cat, {"has_id": []}], "min_count": 1}}),
        json!({"must": [{"min_should": {"conditions": [{}, cat, cheap], "min_count": 2}}], "should": [tagged]}),
    ]
}

async fn passing_ids(items: &Arc<dyn Collection>, filter: &Filter) -> Vec<String> {
    let page = items.page(top(1000), None, Some(filter.clone())).await.unwrap();
    page.items.iter().map(|item| item.id.to_string()).collect()
}

fn expected_ids(items: &[NewItem], filter: &Filter) -> Vec<String> {
    items.iter().filter(|item| filter.matches(&item.id, &item.metadata)).map(|item| item.id.to_string()).collect()
}

pub(crate) async fn filters_agree_with_their_definition(home: &dyn Home) {
    let mut draw = Draw::new(5);
    let engine = home.open().await;
    let items = collection(&engine, 6, Metric::Euclid).await;
    let batch = draw.items(150, 6);
    items.upsert(batch.clone()).await.unwrap();
    for value in filters() {
        let filter = filter(value.clone());
        let expected = expected_ids(&batch, &filter);
        assert_eq!(passing_ids(&items, &filter).await, expected, "{value}");
        assert_eq!(items.count(Some(filter.clone())).await.unwrap(), expected.len() as u64, "{value}");
        for exact in [false, true] {
            let query = Query { filter: Some(filter.clone()), exact, ..Query::nearest(draw.vector(6), top(1000)) };
            let mut found: Vec<_> =
                items.search(query).await.unwrap().into_iter().map(|hit| hit.id.to_string()).collect();
            let mut expected = expected.clone();
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{value}, exact {exact}");
        }
    }
}

pub(crate) async fn filters_follow_replaced_patched_and_deleted_items(home: &dyn Home) {
    let mut draw = Draw::new(6);
    let engine = home.open().await;
    let items = collection(&engine, 3, Metric::Dot).await;
    let mut now = draw.items(80, 3);
    items.upsert(now.clone()).await.unwrap();
    for at in (0..80).step_by(3) {
        now[at].metadata = draw.metadata();
        items.upsert(vec![now[at].clone()]).await.unwrap();
    }
    for at in (1..80).step_by(3) {
        let patch = metadata(json!({"label": "fish", "note": null, "tags": ["z"], "price": draw.below(20)}));
        now[at].metadata = items.patch(&now[at].id, patch, 1 << 16).await.unwrap();
    }
    let gone: Vec<_> = (0..80).step_by(7).map(|at| now[at].id.clone()).collect();
    items.delete(gone.clone()).await.unwrap();
    now.retain(|item| !gone.contains(&item.id));
    for value in filters() {
        let filter = filter(value.clone());
        assert_eq!(passing_ids(&items, &filter).await, expected_ids(&now, &filter), "{value}");
    }
}

pub(crate) async fn deleting_by_filter_deletes_what_passes(home: &dyn Home) {
    let engine = home.open().await;
    let items = collection(&engine, 3, Metric::Dot).await;
    let mut batch = Draw::new(7).items(60, 3);
    batch[0].metadata = metadata(json!({"label": "cat"}));
    batch[0].image = Some(image("0"));
    items.upsert(batch.clone()).await.unwrap();
    let cats = filter(json!({"must": [{"key": "label", "match": "cat"}]}));
    let expected = expected_ids(&batch, &cats).len() as u64;
    let deleted = items.delete_matching(cats.clone()).await.unwrap();
    assert_eq!((deleted.count, deleted.orphans), (expected, vec![image("0")]));
    assert_eq!(items.count(None).await.unwrap(), 60 - expected);
    assert_eq!(items.delete_matching(cats).await.unwrap().count, 0);
    let found = items.search(Query::nearest(vector(&[1.0; 3]), top(1000))).await.unwrap();
    assert_eq!(found.len() as u64, 60 - expected);
}
