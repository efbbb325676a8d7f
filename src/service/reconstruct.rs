//! An image as its model sees it again, and how alike the two are.

use std::sync::Arc;

use futures_util::future::join_all;

use super::{
    ByModel, Context, Image, Service,
    images::Undecoded,
    passage::{Errand, Passage, Redrawn, side},
};
use crate::{
    domain::ModelName,
    error::Result,
    image::{Pixels, encode, quality},
    model::Model,
};

/// A reconstructed image beside its original at the model's size.
#[derive(Debug)]
pub struct Reconstruction {
    /// 8-bit PNG at the model's size.
    pub png: Vec<u8>,
    /// Mean squared difference of values in 0…1.
    pub mse: f64,
    /// In dB with peak 1; infinite for equal images.
    pub psnr: f64,
    /// Structural similarity, −1…1.
    pub ssim: f64,
}

impl Service {
    /// Encodes and decodes images; a masked autoencoder predicts every patch from others, under complementary masks.
    ///
    /// # Errors
    /// As [`Service::embed`].
    pub async fn reconstruct(
        &self,
        ctx: &Context,
        model: &ModelName,
        images: Vec<Image>,
    ) -> Result<ByModel<Reconstruction>> {
        let (model, passages) = self.begin(model, Errand::Reconstruct, images, ctx.deadline).await?;
        let work = passages.into_iter().map(|(image, passage)| self.reconstruct_one(ctx, &model, image, passage));
        let results = join_all(work).await;
        Ok(self.by_model(model, results))
    }

    async fn reconstruct_one(
        &self,
        ctx: &Context,
        model: &Arc<Model>,
        image: Undecoded,
        passage: Passage,
    ) -> Result<Reconstruction> {
        let spread = passage.spread;
        let prepared = self.prepare_one(ctx, image, model).await?;
        let redrawn = self.redraw(ctx, model, prepared.tensor, passage).await?;
        let (model, pixels) = (Arc::clone(model), prepared.pixels);
        self.on_pool(side(&model), spread, move || compare(&model, &pixels, redrawn)).await
    }
}

fn compare(model: &Model, pixels: &Pixels, redrawn: Redrawn) -> Result<Reconstruction> {
    let original = model.preprocessor().unit(pixels);
    let image = redrawn.into_image(&original);
    Ok(Reconstruction {
        png: encode::png(&image)?,
        mse: quality::mse(&original, &image),
        psnr: quality::psnr(&original, &image),
        ssim: quality::ssim(&original, &image),
    })
}
