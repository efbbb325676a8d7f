//! Pictures → embeddings.

use std::sync::Arc;

use futures_util::future::join_all;

use super::{ByModel, Context, Items, Picture, Service, pictures::Spread};
use crate::{
    batch::Ticket,
    domain::ModelName,
    error::{Error, Result},
    model::{Capability, EmbeddingHead, Graph, GraphRole, Model, VectorOptions},
};

/// The vectors of a request's pictures.
pub type Embedded = ByModel<Vec<f32>>;

impl Service {
    /// Embeds pictures with a model. Options that change vectors change the space key.
    ///
    /// # Errors
    /// Of the request as a whole: no such model or capability, an option out of range, no room in the queue. What is
    /// wrong with one picture stands among the items.
    pub async fn embed(
        &self,
        ctx: &Context,
        model: &ModelName,
        pictures: Vec<Picture>,
        options: VectorOptions,
    ) -> Result<Embedded> {
        let embedded = self.embed_uncounted(ctx, model, pictures, options).await?;
        Ok(ByModel { items: self.counted(embedded.items), ..embedded })
    }

    /// [`Service::embed`] as a step of another use case, which counts the failed items itself.
    pub(super) async fn embed_uncounted(
        &self,
        ctx: &Context,
        model: &ModelName,
        pictures: Vec<Picture>,
        options: VectorOptions,
    ) -> Result<Embedded> {
        self.check_count(pictures.len(), "pictures")?;
        let model = self.models.get(model)?;
        let (graph, head) = encoder(&model)?;
        let space_key = head.space_key(model.space_key(), &options)?;
        let tickets = graph.queue.admit(pictures.len(), ctx.deadline)?;
        let spread = Spread::of(pictures.len());
        let work = pictures
            .into_iter()
            .zip(tickets)
            .map(|(picture, ticket)| self.embed_one(ctx, &model, picture, (&options, ticket, spread)));
        let items = Items::sort(join_all(work).await);
        Ok(ByModel { model, space_key, items })
    }

    async fn embed_one(
        &self,
        ctx: &Context,
        model: &Arc<Model>,
        picture: Picture,
        (options, ticket, spread): (&VectorOptions, Ticket, Spread),
    ) -> Result<Vec<f32>> {
        let (graph, head) = encoder(model)?;
        let prepared = self.prepare_one(ctx, picture, model, spread).await?;
        let rows = self.run_graph(ctx, graph, vec![("image", prepared.tensor)], ticket).await?;
        head.apply(&rows, options)
    }
}

/// What embedding takes of a model, or `capability_not_supported`.
pub(super) fn encoder(model: &Model) -> Result<(&Graph, &EmbeddingHead)> {
    model.require(Capability::Embed)?;
    let graph = model.graph(GraphRole::Encoder);
    graph.zip(model.embedding()).ok_or_else(|| Error::internal("a model that embeds has no encoder"))
}
