use std::collections::BTreeMap;

use super::*;
use crate::{
    domain::{FieldPath, Scalar},
    index::Facet,
};

fn key(text: &str) -> FieldPath {
    text.parse().unwrap()
}

/// Every value at the key with its count, by the definition.
fn expected(items: &[NewItem], key: &FieldPath, filter: &Filter) -> Vec<Facet> {
    let mut counts: BTreeMap<Scalar, u64> = BTreeMap::new();
    for item in items.iter().filter(|item| filter.matches(&item.id, &item.metadata)) {
        for value in key.values(&item.metadata) {
            *counts.entry(value).or_default() += 1;
        }
    }
    let mut facets: Vec<Facet> = counts.into_iter().map(|(value, count)| Facet { value, count }).collect();
    // stable: of equal counts the lesser value stays first
    facets.sort_by_key(|facet| std::cmp::Reverse(facet.count));
    facets
}

pub(crate) async fn facets_agree_with_their_definition(home: &dyn Home) {
    let engine = home.open().await;
    let items = collection(&engine, 2, Metric::Dot).await;
    assert!(items.facets(&key("label"), None, top(10)).await.unwrap().is_empty());
    let batch = Draw::new(30).items(200, 2);
    items.upsert(batch.clone()).await.unwrap();
    let conditions =
        [json!({}), json!({"must": [{"key": "label", "match": "dog"}]}), json!({"must": [{"has_id": []}]})];
    for path in ["label", "price", "good", "tags", "camera.lens.mm", "boxes.class", "camera", "absent"] {
        for condition in &conditions {
            let filter = filter(condition.clone());
            let expected = expected(&batch, &key(path), &filter);
            for limit in [1, 3, 1000] {
                let found = items.facets(&key(path), Some(filter.clone()), top(limit)).await.unwrap();
                assert_eq!(found, expected[..limit.min(expected.len())], "{path} {condition} {limit}");
            }
        }
        let all = items.facets(&key(path), None, top(1000)).await.unwrap();
        assert_eq!(all, expected(&batch, &key(path), &Filter::default()), "{path}");
    }
}

pub(crate) async fn facets_follow_what_is_changed_and_name_long_texts(home: &dyn Home) {
    let engine = home.open().await;
    let items = collection(&engine, 1, Metric::Dot).await;
    let long = "ü".repeat(100);
    let with = |name: &str, value: Value| item(name, &[1.0], json!({"t": value}));
    let batch =
        vec![with("a", json!("x")), with("b", json!([long, "x"])), with("c", json!(long)), with("d", json!("y"))];
    items.upsert(batch).await.unwrap();
    items.upsert(vec![with("a", json!(long))]).await.unwrap();
    items.patch(&id("d"), metadata(json!({"t": "x"})), 1 << 16).await.unwrap();
    let facet = |value: &str, count| Facet { value: Scalar::Text(value.to_owned()), count };
    assert_eq!(items.facets(&key("t"), None, top(10)).await.unwrap(), [facet(&long, 3), facet("x", 2)]);
    items.delete(vec![id("a"), id("c")]).await.unwrap();
    assert_eq!(items.facets(&key("t"), None, top(1)).await.unwrap(), [facet("x", 2)]);
}
