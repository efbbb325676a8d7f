//! Images → embeddings.

use std::sync::Arc;

use futures_util::future::join_all;

use super::{
    ByModel, Context, Image, Service,
    cache::CacheKey,
    images::{Decoded, Kept, Undecoded},
};
use crate::{
    batch::Ticket,
    domain::{ModelName, SpaceKey},
    error::{Error, Result},
    index::StoreMode,
    model::{Capability, EmbeddingHead, Graph, GraphRole, Model, VectorOptions},
};

/// The vectors of a request's images.
pub type Embedded = ByModel<Vec<f32>>;

impl Service {
    /// Embeds images with a model. Options that change vectors change the space key.
    ///
    /// # Errors
    /// Of the request as a whole: no such model or capability, an option out of range, no room in the queue. What is
    /// wrong with one image stands among the items.
    pub async fn embed(
        &self,
        ctx: &Context,
        model: &ModelName,
        images: Vec<Image>,
        options: VectorOptions,
    ) -> Result<Embedded> {
        self.check_count(images.len(), "images")?;
        let model = self.loaded(model, ctx.deadline).await?;
        let (_, head) = encoder(&model)?;
        let space_key = head.space_key(model.space_key(), &options)?;
        let results = self.embed_each(ctx, &model, (images, StoreMode::None), &options).await?;
        let items = self.sort(results.into_iter().map(|result| result.map(|made| made.vector)).collect());
        Ok(ByModel { model, space_key, items })
    }

    /// Embeds images, in their order, and keeps of each what is to be stored. Counts nothing.
    pub(super) async fn embed_each(
        &self,
        ctx: &Context,
        model: &Arc<Model>,
        (images, keep): (Vec<Image>, StoreMode),
        options: &VectorOptions,
    ) -> Result<Vec<Result<Made>>> {
        let (graph, head) = encoder(model)?;
        let space = head.space_key(model.space_key(), options)?;
        let sought: Vec<Sought> = images.into_iter().map(|image| self.seek(image, keep, (model, &space))).collect();
        let missing: Vec<Image> = sought.iter().filter_map(Sought::missing).collect();
        let tickets = graph.queue.admit(missing.len(), ctx.deadline)?;
        let undecoded = self.admit_images(missing, keep, ctx.deadline)?;
        let mut admitted = undecoded.into_iter().zip(tickets);
        let work = sought.into_iter().map(|sought| {
            let admitted = if let Sought::Missing(..) = sought { admitted.next() } else { None };
            async move {
                let (key, (image, ticket)) = match (sought, admitted) {
                    (Sought::Found(vector), _) => return Ok(Made { vector, kept: None }),
                    (Sought::Missing(_, key), Some(admitted)) => (key, admitted),
                    (Sought::Missing(..), None) => return Err(Error::internal("an image was not admitted")),
                };
                let made = self.embed_one(ctx, model, image, (options, ticket)).await?;
                if let Some(key) = key {
                    self.cache.put(key, &made.vector);
                }
                Ok(made)
            }
        });
        Ok(join_all(work).await)
    }

    /// Looks for the vector of an image of which nothing is to be stored.
    fn seek(&self, image: Image, keep: StoreMode, (model, space): (&Model, &SpaceKey)) -> Sought {
        let file = image.as_ref().ok().filter(|_| keep == StoreMode::None);
        let key = file.and_then(|file| self.cache.key(file, space));
        let found = key.as_ref().and_then(|key| self.cache.get(key, model.name().as_str()));
        found.map_or(Sought::Missing(image, key), Sought::Found)
    }

    async fn embed_one(
        &self,
        ctx: &Context,
        model: &Arc<Model>,
        image: Undecoded,
        (options, ticket): (&VectorOptions, Ticket),
    ) -> Result<Made> {
        let (graph, head) = encoder(model)?;
        let Decoded { mut prepared, kept } = self.prepare(ctx, image, vec![Arc::clone(model)]).await?;
        let prepared = prepared.pop().ok_or_else(|| Error::internal("an image was prepared for no model"))?;
        let rows = self.run_graph(ctx, graph, vec![("image", prepared.tensor)], ticket).await?;
        Ok(Made { vector: head.apply(&rows, options)?, kept })
    }
}

/// An image whose vector is there already, or one that has to be embedded, with the key its vector is kept under.
enum Sought {
    Found(Vec<f32>),
    Missing(Image, Option<CacheKey>),
}

impl Sought {
    fn missing(&self) -> Option<Image> {
        match self {
            Self::Found(_) => None,
            Self::Missing(Ok(image), _) => Some(Ok(image.clone())),
            Self::Missing(Err(error), _) => Some(Err(error.duplicate())),
        }
    }
}

/// What became of one image.
pub(super) struct Made {
    pub(super) vector: Vec<f32>,
    pub(super) kept: Option<Kept>,
}

/// What embedding takes of a model, or `capability_not_supported`.
pub(super) fn encoder(model: &Model) -> Result<(&Graph, &EmbeddingHead)> {
    model.require(Capability::Embed)?;
    let graph = model.graph(GraphRole::Encoder);
    graph.zip(model.embedding()).ok_or_else(|| Error::internal("a model that embeds has no encoder"))
}
