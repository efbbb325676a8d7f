//! Noisy image → clean image.

use std::sync::Arc;

use futures_util::future::join_all;

use super::{
    ByModel, Context, Image, Service,
    images::Prepared,
    passage::{Errand, Passage, side},
};
use crate::{
    batch::Row,
    domain::ModelName,
    error::Result,
    image::{Noise, Plane, encode, quality},
    model::Model,
};

/// Noise to add before denoising, so that the gain can be measured.
#[derive(Debug, Clone, Copy)]
pub struct NoiseRequest {
    pub noise: Noise,
    /// The same seed gives the same noise, image by image.
    pub seed: u64,
}

/// A denoised image, and with added noise how much it gained.
#[derive(Debug)]
pub struct Denoised {
    /// 8-bit PNG at the model's size.
    pub png: Vec<u8>,
    /// The image with the added noise.
    pub noisy: Option<Vec<u8>>,
    pub quality: Option<DenoiseQuality>,
}

/// The noisy and the denoised image compared with the clean one, at the model's size.
#[derive(Debug, Clone, Copy)]
pub struct DenoiseQuality {
    pub psnr_before: f64,
    pub psnr_after: f64,
    pub ssim_before: f64,
    pub ssim_after: f64,
}

impl Service {
    /// Denoises images; with `noise`, adds it first and measures the gain.
    ///
    /// # Errors
    /// As [`Service::embed`].
    pub async fn denoise(
        &self,
        ctx: &Context,
        model: &ModelName,
        images: Vec<Image>,
        noise: Option<NoiseRequest>,
    ) -> Result<ByModel<Denoised>> {
        let (model, passages) = self.begin(model, Errand::Denoise, images, ctx.deadline).await?;
        let work = passages.into_iter().map(|(image, passage)| async {
            let prepared = self.prepare_one(ctx, image, &model).await?;
            match noise {
                None => self.clean(ctx, &model, prepared, passage).await,
                Some(request) => self.spoil_and_clean(ctx, &model, prepared, (request, passage)).await,
            }
        });
        let results = join_all(work).await;
        Ok(self.by_model(model, results))
    }

    async fn clean(&self, ctx: &Context, model: &Model, prepared: Prepared, passage: Passage) -> Result<Denoised> {
        let spread = passage.spread;
        let clean = self.pass(ctx, model, prepared.tensor, passage).await?;
        let encode = move || Ok(Denoised { png: encode::png(&clean)?, noisy: None, quality: None });
        self.on_pool(side(model), spread, encode).await
    }

    async fn spoil_and_clean(
        &self,
        ctx: &Context,
        model: &Arc<Model>,
        prepared: Prepared,
        (request, passage): (NoiseRequest, Passage),
    ) -> Result<Denoised> {
        let spread = passage.spread;
        let (pixels, shape, spoiled) = (prepared.pixels, prepared.tensor.shape, Arc::clone(model));
        let make_noise = move || {
            let preprocessor = spoiled.preprocessor();
            let original = preprocessor.unit(&pixels);
            let noisy = request.noise.apply(&original, request.seed);
            let mut data = vec![0.0; preprocessor.tensor_len()];
            preprocessor.tensor_from_unit(&noisy, &mut data);
            Ok((original, noisy, data))
        };
        let (original, noisy, data) = self.on_pool(side(model), spread, make_noise).await?;
        let clean = self.pass(ctx, model, Row { shape, data }, passage).await?;
        self.on_pool(side(model), spread, move || measure(&original, &noisy, &clean)).await
    }
}

fn measure(original: &Plane, noisy: &Plane, clean: &Plane) -> Result<Denoised> {
    let quality = DenoiseQuality {
        psnr_before: quality::psnr(original, noisy),
        psnr_after: quality::psnr(original, clean),
        ssim_before: quality::ssim(original, noisy),
        ssim_after: quality::ssim(original, clean),
    };
    Ok(Denoised { png: encode::png(clean)?, noisy: Some(encode::png(noisy)?), quality: Some(quality) })
}
