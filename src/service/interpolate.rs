//! Interpolation between two images through the latents of a variational model.

use std::sync::Arc;

use futures_util::future::{try_join, try_join_all};

use super::{
    Context, Image, Service,
    generate::{draw, latent_shape},
};
use crate::{
    batch::Tensor,
    domain::ModelName,
    error::{Error, Result},
    model::{Capability, Interpolation, Model, latent},
    pipeline::{ImageRun, Task},
};

/// The two endpoints of an interpolation.
pub enum Endpoints {
    /// Two images: their means or, with a seed, latents drawn around them.
    Images(Vec<Image>, Option<u64>),
    /// Two latents of the model's dimension.
    Latents(Vec<Vec<f32>>),
}

/// How many images an interpolation has, and along which path.
#[derive(Debug, Clone, Copy)]
pub struct Steps {
    /// 2 to `limits.images`, both endpoints included.
    pub count: usize,
    pub interpolation: Interpolation,
}

/// One image of an interpolation.
#[derive(Debug)]
pub struct Step {
    /// 0 at the first endpoint, 1 at the second.
    pub t: f64,
    /// 8-bit PNG at the model's size.
    pub png: Vec<u8>,
}

impl Service {
    /// Decodes latents at equal steps between two.
    ///
    /// # Errors
    /// No such model or capability, endpoints that are not two or are no latents of the model, an image that cannot be
    /// read, steps out of range, no room in a queue.
    pub async fn interpolate(
        &self,
        ctx: &Context,
        model: &ModelName,
        endpoints: Endpoints,
        steps: Steps,
    ) -> Result<(Arc<Model>, Vec<Step>)> {
        self.check_count(steps.count, "steps")?;
        let given = match &endpoints {
            Endpoints::Images(images, _) => images.len(),
            Endpoints::Latents(latents) => latents.len(),
        };
        if given != 2 || steps.count < 2 {
            let text = format!("an interpolation has 2 endpoints and 2 steps or more, not {given} and {}", steps.count);
            return Err(Error::invalid_request(text));
        }
        let (model, [from, to]) = match endpoints {
            Endpoints::Images(images, seed) => self.latents_of(ctx, model, images, seed).await?,
            Endpoints::Latents(latents) => self.latents_given(ctx, model, latents).await?,
        };
        let shape = latent_shape(&model)?;
        let runs = self.pipeline.begin_latents(ctx, &model, steps.count)?;
        let work = runs.into_iter().enumerate().map(|(at, run)| {
            let t = at as f64 / (steps.count - 1) as f64;
            let row = Tensor { shape: shape.to_vec(), data: steps.interpolation.between(&from, &to, t) };
            async move { Ok::<_, Error>(Step { t, png: draw(run, row).await? }) }
        });
        let images = try_join_all(work).await?;
        Ok((model, images))
    }

    async fn latents_of(
        &self,
        ctx: &Context,
        model: &ModelName,
        images: Vec<Image>,
        seed: Option<u64>,
    ) -> Result<(Arc<Model>, [Vec<f32>; 2])> {
        let model = self.model_for(ctx, model, images.len()).await?;
        let mut runs = self.pipeline.begin(ctx, &model, Task::Interpolate, images)?.into_iter();
        let (Some(from), Some(to)) = (runs.next(), runs.next()) else {
            return Err(Error::internal("an interpolation has fewer than two endpoints"));
        };
        let (from, to) = try_join(latent_of(from, seed, 0), latent_of(to, seed, 1)).await?;
        Ok((model, [from, to]))
    }

    async fn latents_given(
        &self,
        ctx: &Context,
        model: &ModelName,
        latents: Vec<Vec<f32>>,
    ) -> Result<(Arc<Model>, [Vec<f32>; 2])> {
        let model = self.loaded(model, ctx.deadline).await?;
        model.require(Capability::Interpolate)?;
        let dim: usize = latent_shape(&model)?.iter().product();
        if let Some(other) = latents.iter().find(|latent| latent.len() != dim) {
            let text = format!("a latent has {} numbers; those of {} have {dim}", other.len(), model.name());
            return Err(Error::invalid_request(text));
        }
        let endpoints: Result<[Vec<f32>; 2], _> = latents.try_into();
        Ok((model, endpoints.map_err(|_| Error::internal("an interpolation has other than two endpoints"))?))
    }
}

/// The mean of an image's latent or, with a seed, a latent drawn around it: another one at each of the two endpoints.
async fn latent_of(run: ImageRun<'_>, seed: Option<u64>, endpoint: u64) -> Result<Vec<f32>> {
    let mut outputs = run.encode().await?;
    let mean = outputs.take(&["mean"])?.data;
    let Some(seed) = seed else { return Ok(mean) };
    let log_variance = outputs.take(&["log_variance"])?;
    Ok(latent::from_posterior(&mean, &log_variance.data, (seed, endpoint)))
}
