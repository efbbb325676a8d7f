//! Noisy image → clean image.

use futures_util::future::join_all;

use super::{ByModel, Context, Image, Service};
use crate::{
    batch::Tensor,
    domain::ModelName,
    error::Result,
    image::{Noise, Plane, encode, quality},
    pipeline::{GraphRun, ImageRun, PreparedImage, Task},
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
        let model = self.model_for(ctx, model, images.len()).await?;
        let runs = self.pipeline.begin(ctx, &model, Task::Denoise, images)?;
        let results = join_all(runs.into_iter().map(|run| denoise_one(run, noise))).await;
        Ok(self.by_model(model, results))
    }
}

async fn denoise_one(run: ImageRun<'_>, noise: Option<NoiseRequest>) -> Result<Denoised> {
    let (prepared, mut run) = run.prepare().await?;
    let Some(noise) = noise else {
        let clean = run.reconstruct(prepared.tensor).await?;
        return run.compute(move || Ok(Denoised { png: encode::png(&clean)?, noisy: None, quality: None })).await;
    };
    let shape = prepared.tensor.shape.clone();
    let Noisy { original, noisy, tensor } = add_noise(&run, prepared, noise).await?;
    let clean = run.reconstruct(Tensor { shape, data: tensor }).await?;
    run.compute(move || measure(&original, &noisy, &clean)).await
}

/// An image with and without added noise, values in 0…1.
struct Noisy {
    original: Plane,
    noisy: Plane,
    /// The noisy image as the graph takes it.
    tensor: Vec<f32>,
}

async fn add_noise(run: &GraphRun<'_>, prepared: PreparedImage, request: NoiseRequest) -> Result<Noisy> {
    let model = run.model().clone();
    let PreparedImage { pixels, tensor: Tensor { data: mut tensor, .. }, .. } = prepared;
    let add = move || {
        let preprocessor = model.preprocessor();
        let original = preprocessor.unit(&pixels);
        let noisy = request.noise.apply(&original, request.seed);
        preprocessor.tensor_from_unit(&noisy, &mut tensor);
        Ok(Noisy { original, noisy, tensor })
    };
    run.compute(add).await
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
