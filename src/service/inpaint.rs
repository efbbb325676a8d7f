//! An image with hidden patches → the image with those patches filled in.

use std::sync::Arc;

use futures_util::future::join_all;

use super::{ByModel, Context, Image, Service};
use crate::{
    domain::ModelName,
    error::{Error, Result},
    image::{Mask, Plane, Preprocessor, encode},
    model::{Hiding, Model},
    pipeline::{ImageRun, Task, masking_of},
};

/// What of each image is to be hidden.
pub enum HidingRequest {
    /// A share of the patches in 0…1, the model's own if none; which ones, the seed tells.
    Share { ratio: Option<f64>, seed: u64 },
    /// Patches by their numbers, row by row from 0.
    Patches(Vec<u64>),
    /// The dark patches of an image, brought to the model's size as the others are.
    Painted(Image),
}

/// An image whose hidden patches were filled in.
#[derive(Debug)]
pub struct Inpainted {
    /// 8-bit PNG at the model's size: the visible patches as they were, the others as predicted.
    pub png: Vec<u8>,
    /// The same with the hidden patches grey.
    pub masked: Vec<u8>,
    /// The hidden ones, in ascending order.
    pub patches: Vec<usize>,
}

impl Service {
    /// Hides patches of images, the same ones of each, and fills them in.
    ///
    /// # Errors
    /// As [`Service::embed`]; for the request as a whole, a mask that cannot be had.
    pub async fn inpaint(
        &self,
        ctx: &Context,
        model: &ModelName,
        images: Vec<Image>,
        hiding: HidingRequest,
    ) -> Result<ByModel<Inpainted>> {
        let model = self.model_for(ctx, model, images.len()).await?;
        // Before the mask, whose decoding may take a while: an overloaded model refuses the request at once.
        let runs = self.pipeline.begin(ctx, &model, Task::Inpaint, images)?;
        let hiding = match hiding {
            HidingRequest::Share { ratio, seed } => Hiding::Share { ratio, seed },
            HidingRequest::Patches(patches) => Hiding::Patches(patches),
            HidingRequest::Painted(image) => Hiding::Dark(self.painted(ctx, image, &model).await?),
        };
        let mask = masking_of(&model)?.mask(&hiding)?;
        let results = join_all(runs.into_iter().map(|run| inpaint_one(run, &mask))).await;
        Ok(self.by_model(model, results))
    }

    /// A painted mask at the model's size, grey in 0…1.
    async fn painted(&self, ctx: &Context, image: Image, model: &Arc<Model>) -> Result<Plane> {
        let named = |error: Error| {
            let text = format!("`mask`: {}", error.message());
            Error::new(error.kind(), text).with_source(error)
        };
        let pixels = self.pipeline.decode_by(ctx, image, model, painted_preprocessor).await.map_err(named)?;
        Ok(painted_preprocessor(model)?.unit(&pixels))
    }
}

/// How a painted mask comes to the model's size.
fn painted_preprocessor(model: &Model) -> Result<&Preprocessor> {
    masking_of(model)?.painted()
}

async fn inpaint_one(run: ImageRun<'_>, mask: &Mask) -> Result<Inpainted> {
    let (prepared, mut run) = run.prepare().await?;
    let prediction = run.predict_hidden(prepared.tensor, mask).await?;
    let (model, pixels, mask) = (run.model().clone(), prepared.pixels, mask.clone());
    let finish = move || {
        let original = model.preprocessor().unit(&pixels);
        Ok(Inpainted {
            png: encode::png(&mask.filled(&original, &prediction))?,
            masked: encode::png(&mask.shaded(&original))?,
            patches: mask.patches(),
        })
    };
    run.compute(finish).await
}
