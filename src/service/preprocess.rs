//! The exact tensor a model sees.

use std::sync::Arc;

use futures_util::future::try_join_all;

use super::{Context, Picture, Service, pictures::Spread};
use crate::{domain::ModelName, error::Result, model::Model};

/// Preprocessed pictures as one tensor.
pub struct Preprocessed {
    pub model: Arc<Model>,
    /// `[pictures, channels, height, width]`.
    pub shape: [usize; 4],
    pub data: Vec<f32>,
}

impl Service {
    /// Prepares pictures for a model and runs nothing. One bad picture fails them all.
    pub async fn preprocess(&self, ctx: &Context, model: &ModelName, pictures: Vec<Picture>) -> Result<Preprocessed> {
        self.check_count(pictures.len(), "pictures")?;
        let model = self.models.get(model)?;
        let spread = Spread::of(pictures.len());
        let count = pictures.len();
        let work = pictures.into_iter().map(|picture| self.prepare_one(ctx, picture, &model, spread));
        let prepared = try_join_all(work).await?;
        let input = model.preprocessor().input();
        let shape = [count, input.channels.count(), input.height as usize, input.width as usize];
        let data = prepared.into_iter().flat_map(|picture| picture.tensor.data).collect();
        Ok(Preprocessed { model, shape, data })
    }
}
