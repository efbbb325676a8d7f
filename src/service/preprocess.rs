//! The exact tensor a model sees.

use std::sync::Arc;

use futures_util::future::try_join_all;

use super::{Context, Image, Service};
use crate::{domain::ModelName, error::Result, index::StoreMode, model::Model};

/// Preprocessed images as one tensor.
pub struct Preprocessed {
    pub model: Arc<Model>,
    /// `[images, channels, height, width]`.
    pub shape: [usize; 4],
    pub data: Vec<f32>,
}

impl Service {
    /// Prepares images for a model and runs nothing. One bad image fails them all.
    pub async fn preprocess(&self, ctx: &Context, model: &ModelName, images: Vec<Image>) -> Result<Preprocessed> {
        self.check_count(images.len(), "images")?;
        let model = self.loaded(model, ctx.deadline).await?;
        let count = images.len();
        let undecoded = self.admit_images(images, StoreMode::None, ctx.deadline)?;
        let work = undecoded.into_iter().map(|image| self.prepare_one(ctx, image, &model));
        let prepared = try_join_all(work).await?;
        let input = model.preprocessor().input();
        let shape = [count, input.channels.count(), input.height as usize, input.width as usize];
        let data = prepared.into_iter().flat_map(|image| image.tensor.data).collect();
        Ok(Preprocessed { model, shape, data })
    }
}
