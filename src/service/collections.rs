//! Collections: making, describing and dropping them.

use std::{sync::Arc, time::Instant};

use super::{Context, Service, models::PATIENCE, to_its_end};
use crate::{
    domain::{CollectionName, Metric, ModelName, SpaceKey},
    error::{Error, ErrorKind, Result},
    index::{Bounds, Collection, CollectionInfo, CollectionSpec, StoreMode},
    model::Model,
    pipeline::encoder_of,
};

/// The widest vector a collection takes.
const MAX_DIMENSION: usize = 65_536;

/// What a new collection is made of: a model, or a bare dimension.
#[derive(Debug, Clone, Default)]
pub struct NewCollection {
    pub model: Option<ModelName>,
    pub dimension: Option<usize>,
    pub metric: Option<Metric>,
    pub store: Option<StoreMode>,
    pub space_key: Option<SpaceKey>,
}

impl Service {
    /// Makes a collection; `true` if it is new, `false` if the same one is there already.
    pub async fn create_collection(&self, name: CollectionName, new: NewCollection) -> Result<(CollectionInfo, bool)> {
        let spec = self.resolve(name, new).await?;
        let name = spec.name.clone();
        let created = match self.index.create(spec.clone()).await {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(self.why_taken(spec, error).await),
            created => created?,
        };
        Ok((self.collection(&name, None).await?, created))
    }

    /// Why a name is taken: if only the space differs, that is what the caller has to know.
    async fn why_taken(&self, wanted: CollectionSpec, error: Error) -> Error {
        let Ok(collection) = self.index.open(&wanted.name).await else { return error };
        let there = collection.spec();
        let same_but_space = CollectionSpec { space_key: there.space_key.clone(), ..wanted.clone() } == *there;
        match (same_but_space, &wanted.space_key, &there.space_key) {
            (true, Some(wanted), Some(key)) => mismatch(wanted, &format!("that of the collection is {key}")),
            _ => {
                let differences = differences(there, &wanted).join(", ");
                Error::new(error.kind(), format!("{}: {differences}", error.message()))
            }
        }
    }

    async fn resolve(&self, name: CollectionName, new: NewCollection) -> Result<CollectionSpec> {
        let store = new.store.unwrap_or(StoreMode::None);
        let Some(model) = new.model else {
            let dimension = new.dimension.ok_or_else(|| {
                Error::invalid_request("a collection is made with a model, or with a dimension for vectors of your own")
            })?;
            if !(1..=MAX_DIMENSION).contains(&dimension) {
                return Err(Error::invalid_request(format!("dimension is 1 to {MAX_DIMENSION}, not {dimension}")));
            }
            if store != StoreMode::None {
                return Err(Error::invalid_request("a collection without a model takes no images to store"));
            }
            let metric = new.metric.unwrap_or(Metric::Cosine);
            return Ok(CollectionSpec { name, model: None, space_key: new.space_key, dimension, metric, store });
        };
        let model = self.loaded(&model, Instant::now() + PATIENCE).await?;
        let head = encoder_of(&model)?;
        if new.dimension.is_some_and(|dimension| dimension != head.dimension()) {
            let text =
                format!("the vectors of {} have {} numbers; leave dimension out", model.name(), head.dimension());
            return Err(Error::invalid_request(text));
        }
        if let Some(key) = new.space_key.filter(|key| key != model.space_key()) {
            return Err(mismatch(&key, &format!("that of {} is {}", model.name(), model.space_key())));
        }
        Ok(CollectionSpec {
            name,
            model: Some(model.name().to_string()),
            space_key: Some(model.space_key().clone()),
            dimension: head.dimension(),
            metric: new.metric.unwrap_or_else(|| default_metric(&model)),
            store,
        })
    }

    /// Every collection, by name.
    pub async fn collections(&self) -> Result<Vec<CollectionInfo>> {
        let all = self.index.list().await?;
        all.iter().for_each(|info| self.count_vectors(info));
        Ok(all)
    }

    /// One collection as it stands, or `collection_not_found`.
    pub async fn collection(&self, name: &CollectionName, space_key: Option<&SpaceKey>) -> Result<CollectionInfo> {
        let info = self.open_in_space(name, space_key).await?.info().await?;
        self.count_vectors(&info);
        Ok(info)
    }

    /// Removes a collection and its items. Their images are deleted in the background, where the engine has a queue
    /// for them.
    pub async fn drop_collection(&self, name: &CollectionName) -> Result<()> {
        self.forget_computed(name);
        let (index, unnamed, metrics) = (Arc::clone(&self.index), self.unnamed.clone(), Arc::clone(&self.metrics));
        let (name, dropped) = (name.clone(), name.clone());
        to_its_end(async move {
            let images = index.drop_collection(&name).await?;
            metrics.forget_collection(name.as_str());
            unnamed.let_go(images).await;
            Ok(())
        })
        .await?;
        // again, for what was asked for while it was dropped
        self.forget_computed(&dropped);
        Ok(())
    }

    fn forget_computed(&self, name: &CollectionName) {
        self.duplicates.forget(|(about, _)| about == name);
        self.layouts.forget(|(about, _)| about == name);
        self.maps.forget(|slot| slot.collection == *name);
        self.large_maps.forget(|slot| slot.collection == *name);
        self.healths.forget(|about| about == name);
        self.queries.forget(name);
    }

    pub(super) fn count_vectors(&self, info: &CollectionInfo) {
        self.metrics.count_vectors(info.spec.name.as_str(), info.count);
    }

    /// Opens a collection for a request that may say which space it is about.
    pub(super) async fn open_in_space(
        &self,
        name: &CollectionName,
        space_key: Option<&SpaceKey>,
    ) -> Result<Arc<dyn Collection>> {
        let collection = self.index.open(name).await?;
        in_space(collection.spec(), space_key)?;
        Ok(collection)
    }

    /// Opens a collection for the work of a request, which ends with the request.
    pub(super) async fn open_for(
        &self,
        ctx: &Context,
        name: &CollectionName,
        space_key: Option<&SpaceKey>,
    ) -> Result<Arc<dyn Collection>> {
        Ok(self.open_in_space(name, space_key).await?.bounded(Bounds::until(ctx.deadline)))
    }

    /// The model that makes a collection's vectors, checked to be the one that the collection was made with.
    pub(super) async fn model_of(&self, spec: &CollectionSpec) -> Result<Arc<Model>> {
        let Some(name) = &spec.model else {
            let text = format!("the collection {} was made without a model: send vectors", spec.name);
            return Err(Error::invalid_request(text));
        };
        let model = self.loaded(&name.parse()?, Instant::now() + PATIENCE).await?;
        match &spec.space_key {
            Some(key) if key == model.space_key() => Ok(model),
            key => {
                let made_with = key.as_ref().map_or("none", SpaceKey::as_str);
                let text = format!(
                    "the model {name} has changed: its space key is {}, the collection {} was made with {made_with}",
                    model.space_key(),
                    spec.name
                );
                Err(Error::new(ErrorKind::SpaceMismatch, text))
            }
        }
    }
}

const fn stored(mode: StoreMode) -> &'static str {
    match mode {
        StoreMode::None => "none",
        StoreMode::Thumbnail => "thumbnail",
        StoreMode::Original => "original",
    }
}

/// The settings in which an existing collection differs from a wanted one.
fn differences(there: &CollectionSpec, wanted: &CollectionSpec) -> Vec<String> {
    let text = |value: Option<&str>| value.unwrap_or("none").to_owned();
    let key = |spec: &CollectionSpec| text(spec.space_key.as_ref().map(SpaceKey::as_str));
    let settings = [
        ("model", text(there.model.as_deref()), text(wanted.model.as_deref())),
        ("dimension", there.dimension.to_string(), wanted.dimension.to_string()),
        ("metric", there.metric.as_str().to_owned(), wanted.metric.as_str().to_owned()),
        ("store", stored(there.store).to_owned(), stored(wanted.store).to_owned()),
        ("space_key", key(there), key(wanted)),
    ];
    let differ = settings.into_iter().filter(|(_, there, wanted)| there != wanted);
    differ.map(|(name, there, wanted)| format!("its {name} is {there}, not {wanted}")).collect()
}

/// Refuses a request that is about another space than the collection's.
pub(super) fn in_space(spec: &CollectionSpec, asked: Option<&SpaceKey>) -> Result<()> {
    match (asked, &spec.space_key) {
        (None, _) => Ok(()),
        (Some(asked), Some(key)) if key == asked => Ok(()),
        (Some(asked), Some(key)) => Err(mismatch(asked, &format!("that of the collection is {key}"))),
        (Some(asked), None) => Err(mismatch(asked, "the collection was made by dimension alone and has none")),
    }
}

fn default_metric(model: &Model) -> Metric {
    model.manifest().embedding.as_ref().map_or(Metric::Cosine, |embedding| embedding.metric)
}

fn mismatch(asked: &SpaceKey, other: &str) -> Error {
    Error::new(ErrorKind::SpaceMismatch, format!("the request is about the space {asked}, but {other}"))
}
