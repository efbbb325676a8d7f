//! An image as its model sees it again, and how alike the two are.

use futures_util::future::join_all;

use super::{ByModel, Context, Image, Service};
use crate::{
    domain::ModelName,
    error::Result,
    image::{Plane, encode, quality},
    pipeline::{ImageRun, Task},
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
        let model = self.model_for(ctx, model, images.len()).await?;
        let runs = self.pipeline.begin(ctx, &model, Task::Reconstruct, images)?;
        let results = join_all(runs.into_iter().map(reconstruct_one)).await;
        Ok(self.by_model(model, results))
    }
}

async fn reconstruct_one(run: ImageRun<'_>) -> Result<Reconstruction> {
    let (prepared, mut run) = run.prepare().await?;
    let prediction = run.predict(prepared.tensor).await?;
    let (model, pixels) = (run.model().clone(), prepared.pixels);
    let finish = move || {
        let original = model.preprocessor().unit(&pixels);
        compare(&original, &prediction.into_image(&original))
    };
    run.compute(finish).await
}

fn compare(original: &Plane, image: &Plane) -> Result<Reconstruction> {
    Ok(Reconstruction {
        png: encode::png(image)?,
        mse: quality::mse(original, image),
        psnr: quality::psnr(original, image),
        ssim: quality::ssim(original, image),
    })
}
