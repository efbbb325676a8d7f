use super::*;
use crate::error::ErrorKind;

pub(crate) async fn creating_is_idempotent_and_refuses_other_settings(home: &dyn Home) {
    let engine = home.open().await;
    assert!(engine.create(spec("c", 4, Metric::Cosine)).await.unwrap());
    assert!(!engine.create(spec("c", 4, Metric::Cosine)).await.unwrap());
    for other in [spec("c", 5, Metric::Cosine), spec("c", 4, Metric::Dot)] {
        assert_eq!(engine.create(other).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    }
    assert_eq!(engine.open(&name("c")).await.unwrap().spec(), &spec("c", 4, Metric::Cosine));
    assert_eq!(engine.open(&name("d")).await.err().unwrap().kind(), ErrorKind::CollectionNotFound);
    engine.probe().await.unwrap();
    assert_eq!(engine.readiness(), Ok(()));
}

pub(crate) async fn dropping_forgets_the_items_and_hands_their_images_on(home: &dyn Home) {
    let engine = home.open().await;
    let old = collection(&engine, 2, Metric::Dot).await;
    let with_image = |name: &str| NewItem { image: Some(image(name)), ..item(name, &[1.0, 0.0], json!({})) };
    old.upsert(vec![with_image("a"), with_image("b"), item("c", &[1.0, 1.0], json!({}))]).await.unwrap();
    let images = engine.drop_collection(&name("c")).await.unwrap();
    let mut keys: Vec<String> = images.into_iter().map(|image| image.key).collect();
    if let Some(queue) = engine.deletion_queue() {
        assert!(keys.is_empty(), "images in the queue are nobody else's to delete");
        let batch = queue.next().await.unwrap().unwrap();
        keys.extend(batch.keys.clone());
        queue.finish(batch, Vec::new()).await.unwrap();
        assert!(queue.next().await.unwrap().is_none());
    }
    keys.sort();
    assert_eq!(keys, [image("a").key, image("b").key]);
    assert_eq!(engine.drop_collection(&name("c")).await.unwrap_err().kind(), ErrorKind::CollectionNotFound);
    assert!(engine.list().await.unwrap().is_empty());

    // The old handle writes into nothing, not even after a collection of the same name is made.
    let new = collection(&engine, 2, Metric::Dot).await;
    let error = old.upsert(vec![item("d", &[1.0, 0.0], json!({}))]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CollectionNotFound);
    assert_eq!(old.count(None).await.unwrap_err().kind(), ErrorKind::CollectionNotFound);
    assert_eq!(new.count(None).await.unwrap(), 0);
    assert_eq!(new.get(&id("a")).await.unwrap_err().kind(), ErrorKind::ItemNotFound);
}

pub(crate) async fn collections_are_listed_by_name_and_independent(home: &dyn Home) {
    let engine = home.open().await;
    for (collection, dimension) in [("b", 2), ("a", 3), ("0", 1)] {
        engine.create(spec(collection, dimension, Metric::Euclid)).await.unwrap();
    }
    let b = engine.open(&name("b")).await.unwrap();
    b.upsert(vec![item("x", &[1.0, 2.0], json!({}))]).await.unwrap();
    let list = engine.list().await.unwrap();
    let found: Vec<_> = list.iter().map(|info| (info.spec.name.as_str(), info.spec.dimension, info.count)).collect();
    assert_eq!(found, [("0", 1, 0), ("a", 3, 0), ("b", 2, 1)]);
    let info = b.info().await.unwrap();
    // the form may change at any time
    assert_eq!((&info.spec, info.count, info.bytes), (&list[2].spec, list[2].count, list[2].bytes));
    assert!(list[2].bytes >= 8 && list[1].bytes == 0, "{list:?}");
    assert_eq!(engine.open(&name("a")).await.unwrap().count(None).await.unwrap(), 0);
}

pub(crate) async fn an_unusable_dimension_is_refused(home: &dyn Home) {
    let engine = home.open().await;
    for dimension in [0, 1 << 30] {
        let error = engine.create(spec("c", dimension, Metric::Dot)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    }
    assert!(engine.list().await.unwrap().is_empty());
}
