//! Images → embeddings.

use super::{ByModel, Context, Image, Service};
use crate::{
    domain::ModelName,
    error::Result,
    model::VectorOptions,
    pipeline::{EmbedRequest, encoder_of},
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
        let model = self.model_for(ctx, model, images.len()).await?;
        let space_key = encoder_of(&model)?.space_key(model.space_key(), &options)?;
        let request = EmbedRequest { images, options, stored: None, hash: false };
        let results = self.pipeline.embed(ctx, &model, request).await?;
        let items = self.sort(results.into_iter().map(|result| result.map(|embedded| embedded.vector)).collect());
        Ok(ByModel { model, space_key, items })
    }
}
