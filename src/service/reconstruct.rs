//! A picture as its model sees it again, and how alike the two are.

use std::sync::Arc;

use futures_util::future::join_all;

use super::{
    ByModel, Context, Picture, Service,
    passage::{Errand, Passage, Redrawn, side},
    pictures::Undecoded,
};
use crate::{
    domain::ModelName,
    error::Result,
    image::{Pixels, encode, quality},
    model::Model,
};

/// A reconstructed picture beside its original at the model's size.
#[derive(Debug)]
pub struct Reconstruction {
    /// 8-bit PNG at the model's size.
    pub png: Vec<u8>,
    /// Mean squared difference of values in 0…1.
    pub mse: f64,
    /// In dB with peak 1; infinite for equal pictures.
    pub psnr: f64,
    /// Structural similarity, −1…1.
    pub ssim: f64,
}

impl Service {
    /// Encodes and decodes pictures; a masked autoencoder predicts every patch from others, under complementary masks.
    ///
    /// # Errors
    /// As [`Service::embed`].
    pub async fn reconstruct(
        &self,
        ctx: &Context,
        model: &ModelName,
        pictures: Vec<Picture>,
    ) -> Result<ByModel<Reconstruction>> {
        let (model, passages) = self.begin(model, Errand::Reconstruct, pictures, ctx.deadline).await?;
        let work = passages.into_iter().map(|(picture, passage)| self.reconstruct_one(ctx, &model, picture, passage));
        let results = join_all(work).await;
        Ok(self.by_model(model, results))
    }

    async fn reconstruct_one(
        &self,
        ctx: &Context,
        model: &Arc<Model>,
        picture: Undecoded,
        passage: Passage,
    ) -> Result<Reconstruction> {
        let spread = passage.spread;
        let prepared = self.prepare_one(ctx, picture, model).await?;
        let redrawn = self.redraw(ctx, model, prepared.tensor, passage).await?;
        let (model, pixels) = (Arc::clone(model), prepared.pixels);
        self.on_pool(side(&model), spread, move || compare(&model, &pixels, redrawn)).await
    }
}

fn compare(model: &Model, pixels: &Pixels, redrawn: Redrawn) -> Result<Reconstruction> {
    let original = model.preprocessor().unit(pixels);
    let picture = redrawn.into_picture(&original);
    Ok(Reconstruction {
        png: encode::png(&picture)?,
        mse: quality::mse(&original, &picture),
        psnr: quality::psnr(&original, &picture),
        ssim: quality::ssim(&original, &picture),
    })
}
