//! Qdrant collections of ours that no entry of the catalogue names: what is left by a process that is killed while it
//! makes, imports or drops a collection.

use std::{collections::HashSet, time::Duration};

use qdrant_client::qdrant::ListCollectionsRequest;

use super::{
    QdrantEngine, Shared, catalogue,
    failure::Failure,
    payload::{WRITTEN, integer_of, text_of},
    physical::{self, MADE, MADE_FOR},
    request::newest,
};
use crate::{
    domain::CollectionName,
    error::{Error, Result},
    index::{ImageRef, rules::in_use},
};

/// A Qdrant collection that no name leads to.
#[derive(Debug, Clone)]
pub struct Orphan {
    /// What Qdrant calls it.
    pub collection: String,
    /// The name it was made for.
    pub made_for: CollectionName,
    /// Items in it, about.
    pub items: u64,
    /// The time since its last write, or since it was made, by the clocks of those who did.
    pub idle: Duration,
}

impl QdrantEngine {
    /// What no name leads to, by the names that Qdrant has for it. A collection that is being made or imported is among
    /// them until it is whole, and not idle.
    ///
    /// # Errors
    /// `unavailable` while no node answers.
    pub async fn orphans(&self) -> Result<Vec<Orphan>> {
        let shared = &self.shared;
        let listed = shared.nodes.call(|node| async move { node.collections().list(ListCollectionsRequest {}).await });
        let listed = listed.await?.collections;
        // read afterwards: what has got its entry meanwhile has a name
        let named: HashSet<String> = catalogue::all(shared).await?.into_iter().map(|entry| entry.physical).collect();
        let mut orphans = Vec::new();
        for collection in listed.into_iter().map(|listed| listed.name).filter(|name| !named.contains(name)) {
            let Some(made_for) = made_for(&shared.options.prefix, &collection) else { continue };
            match look(shared, collection, made_for).await {
                Ok(found) => orphans.extend(found),
                // dropped meanwhile
                Err(Failure::NoCollection) => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        orphans.sort_by(|a, b| a.collection.cmp(&b.collection));
        Ok(orphans)
    }

    /// Drops one; returns the images that its items named.
    ///
    /// # Errors
    /// `already_exists` where a name leads to it by now; `unavailable` where there is no catalogue: if that was lost,
    /// every collection looks as if it had no name.
    pub async fn drop_orphan(&self, orphan: &Orphan) -> Result<Vec<ImageRef>> {
        let catalogue = catalogue::name_of(&self.shared.options);
        match physical::describe(&self.shared, &catalogue).await {
            Ok(_) => {}
            Err(Failure::NoCollection) => {
                let text = format!("{catalogue} is not in the cluster, and nothing else tells what has a name");
                return Err(Error::unavailable(text));
            }
            Err(failure) => return Err(failure.into()),
        }
        let entry = catalogue::find(&self.shared, &orphan.made_for).await?;
        if entry.is_some_and(|entry| entry.physical == orphan.collection) {
            return Err(in_use(&orphan.made_for));
        }
        physical::drop_with_images(&self.shared, &orphan.collection).await
    }
}

/// The name that a Qdrant collection of this prefix seems to be made for.
fn made_for(prefix: &str, collection: &str) -> Option<CollectionName> {
    let (name, drawn) = collection.strip_prefix(prefix)?.strip_prefix('.')?.rsplit_once('.')?;
    let well_formed = drawn.len() == physical::DRAWN && drawn.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    well_formed.then(|| name.parse().ok()).flatten()
}

/// What is known of it, if it was really made for that name: a prefix may begin another.
async fn look(shared: &Shared, collection: String, made_for: CollectionName) -> Result<Option<Orphan>, Failure> {
    let info = physical::describe(shared, &collection).await?;
    let items = info.points_count.unwrap_or_default();
    let metadata = info.config.map(|config| config.metadata).unwrap_or_default();
    if text_of(&metadata, MADE_FOR) != Some(made_for.as_str()) {
        return Ok(None);
    }
    let mut touched = integer_of(&metadata, MADE).unwrap_or_default();
    if items > 0 {
        let request = newest(collection.clone());
        let newest = shared.nodes.call(|node| {
            let request = request.clone();
            async move { node.points().scroll(request).await }
        });
        let written = newest.await?.result.first().and_then(|point| integer_of(&point.payload, WRITTEN));
        touched = touched.max(written.unwrap_or_default());
    }
    let micros = shared.clock.take(1).saturating_sub(touched);
    let idle = Duration::from_micros(u64::try_from(micros).unwrap_or_default());
    Ok(Some(Orphan { collection, made_for, items, idle }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_latentd_draws_are_taken_for_its_own() {
        let name_of = |prefix, collection| made_for(prefix, collection).map(String::from);
        assert_eq!(name_of("latentd", "latentd.shop.0123456789ab").as_deref(), Some("shop"));
        assert_eq!(name_of("latentd", "latentd.my.shop.0123456789ab").as_deref(), Some("my.shop"));
        for other in [
            "latentd.catalogue",
            "latentd.shop",
            "latentd.shop.0123456789AB",
            "latentd.shop.0123456789abc",
            "latentd..0123456789ab",
            "latentds.shop.0123456789ab",
            "shop.0123456789ab",
        ] {
            assert_eq!(name_of("latentd", other), None, "{other}");
        }
    }
}
