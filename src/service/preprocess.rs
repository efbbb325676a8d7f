//! The exact tensor a model sees.

use std::sync::Arc;

use super::{Context, Image, Service};
use crate::{domain::ModelName, error::Result, model::Model};

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
        let count = images.len();
        let model = self.model_for(ctx, model, count).await?;
        let mut tensors = self.pipeline.tensors(ctx, &model, images).await?.into_iter().map(|tensor| tensor.data);
        let input = model.preprocessor().input();
        let shape = [count, input.channels.count(), input.height as usize, input.width as usize];
        // A single image's tensor is the answer as it is.
        let mut data = tensors.next().unwrap_or_default();
        data.reserve_exact(shape.iter().product::<usize>().saturating_sub(data.len()));
        tensors.for_each(|tensor| data.extend_from_slice(&tensor));
        Ok(Preprocessed { model, shape, data })
    }
}
