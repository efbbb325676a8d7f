//! Images out of the prior of a variational model.

use std::sync::Arc;

use futures_util::future::try_join_all;

use super::{Context, Service};
use crate::{
    batch::Tensor,
    domain::{ModelName, SpaceKey},
    error::{Error, Result},
    image::encode,
    model::{Capability, Model, VectorOptions, latent},
    pipeline::GraphRun,
};

/// The widest spread of latents that can be asked for, in standard deviations of the prior.
const MAX_TEMPERATURE: f32 = 10.0;

/// Which images are to be made.
#[derive(Debug, Clone, Copy)]
pub struct GenerateRequest {
    /// 1 to `limits.images`.
    pub count: usize,
    /// The same seed gives the same images; more of them begin with the same ones.
    pub seed: u64,
    /// The standard deviation that latents are drawn with, 0…10; 1 is the prior's own.
    pub temperature: f32,
}

/// An image and the latent it was made from.
#[derive(Debug)]
pub struct Generated {
    /// 8-bit PNG at the model's size.
    pub png: Vec<u8>,
    /// In the space of the model's means, not scaled to unit length; row-major where the latent has three axes.
    pub latent: Vec<f32>,
}

/// Images of one model, with the key of the space their latents are in.
pub struct GeneratedBy {
    pub model: Arc<Model>,
    pub space_key: SpaceKey,
    pub images: Vec<Generated>,
}

impl Service {
    /// Draws latents from the prior and decodes them.
    ///
    /// # Errors
    /// No such model or capability, a count or temperature out of range, no room in the queue.
    pub async fn generate(&self, ctx: &Context, model: &ModelName, request: GenerateRequest) -> Result<GeneratedBy> {
        let GenerateRequest { count, seed, temperature } = request;
        self.check_count(count, "images")?;
        if !(0.0..=MAX_TEMPERATURE).contains(&temperature) {
            let text = format!("temperature is in 0…{MAX_TEMPERATURE}, not {temperature}");
            return Err(Error::invalid_request(text));
        }
        let model = self.loaded(model, ctx.deadline).await?;
        model.require(Capability::Generate)?;
        let shape = latent_shape(&model)?.to_vec();
        let runs = self.pipeline.begin_latents(ctx, &model, count)?;
        let dim = shape.iter().product();
        let latents = self.pool.run(move || latent::from_prior(count, dim, (seed, temperature))).await?;
        let work = latents.into_iter().zip(runs).map(|(latent, run)| {
            // The graph takes one, the answer has the other.
            let row = Tensor { shape: shape.clone(), data: latent.clone() };
            async { Ok::<_, Error>(Generated { png: draw(run, row).await?, latent }) }
        });
        let images = try_join_all(work).await?;
        Ok(GeneratedBy { space_key: latent_space(&model)?, images, model })
    }
}

/// The image of a latent as a PNG.
pub(super) async fn draw(mut run: GraphRun<'_>, latent: Tensor) -> Result<Vec<u8>> {
    let image = run.decode(latent).await?;
    run.compute(move || encode::png(&image)).await
}

/// The shape of what the model's decoder takes.
pub(super) fn latent_shape(model: &Model) -> Result<&[usize]> {
    model.latent_shape().ok_or_else(|| Error::internal("the shape of the model's latent is not known"))
}

/// The space of the model's means as they are: that of its vectors when they are not normalised.
fn latent_space(model: &Model) -> Result<SpaceKey> {
    let plain = VectorOptions { normalize: Some(false), ..VectorOptions::default() };
    let head = model.embedding().ok_or_else(|| Error::internal("a variational model has no embedding"))?;
    head.space_key(model.space_key(), &plain)
}
