//! The exact tensor a model sees.

use std::sync::Arc;

use futures_util::future::try_join_all;

use super::{Context, Picture, Service};
use crate::{domain::ModelName, error::Result, index::StoreMode, model::Model};

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
        let model = self.loaded(model, ctx.deadline).await?;
        let count = pictures.len();
        let undecoded = self.admit_pictures(pictures, StoreMode::None, ctx.deadline)?;
        let work = undecoded.into_iter().map(|picture| self.prepare_one(ctx, picture, &model));
        let prepared = try_join_all(work).await?;
        let input = model.preprocessor().input();
        let shape = [count, input.channels.count(), input.height as usize, input.width as usize];
        let data = prepared.into_iter().flat_map(|picture| picture.tensor.data).collect();
        Ok(Preprocessed { model, shape, data })
    }
}
