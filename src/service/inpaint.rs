//! An image with hidden patches → the image with those patches filled in.

use std::sync::Arc;

use futures_util::future::join_all;

use super::{
    ByModel, Context, Image, Service,
    images::Undecoded,
    passage::{Errand, Passage, masking, side},
};
use crate::{
    domain::ModelName,
    error::{Error, Result},
    image::{Mask, Plane, encode},
    index::StoreMode,
    model::{Hiding, Model},
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
        let (model, passages) = self.begin(model, Errand::Inpaint, images, ctx.deadline).await?;
        let hiding = match hiding {
            HidingRequest::Share { ratio, seed } => Hiding::Share { ratio, seed },
            HidingRequest::Patches(patches) => Hiding::Patches(patches),
            HidingRequest::Painted(image) => Hiding::Dark(self.painted(ctx, image, &model).await?),
        };
        let mask = masking(&model)?.mask(&hiding)?;
        let work = passages.into_iter().map(|(image, passage)| self.inpaint_one(ctx, &model, image, (&mask, passage)));
        let results = join_all(work).await;
        Ok(self.by_model(model, results))
    }

    /// A painted mask at the model's size, grey in 0…1.
    async fn painted(&self, ctx: &Context, image: Image, model: &Arc<Model>) -> Result<Plane> {
        let named = |error: Error| {
            let text = format!("`mask`: {}", error.message());
            Error::new(error.kind(), text).with_source(error)
        };
        let mut admitted = self.admit_images(vec![image], StoreMode::None, ctx.deadline)?;
        let from = admitted.pop().ok_or_else(|| Error::internal("no mask was admitted"))?;
        let for_model = Arc::clone(model);
        let bring = move |opened: &mut super::images::Opened| {
            let preprocessor = masking(&for_model)?.painted()?;
            Ok(preprocessor.unit(&opened.pixels(preprocessor)?))
        };
        self.open(ctx, from, side(model), bring).await.map_err(named)
    }

    async fn inpaint_one(
        &self,
        ctx: &Context,
        model: &Arc<Model>,
        image: Undecoded,
        (mask, mut passage): (&Mask, Passage),
    ) -> Result<Inpainted> {
        let spread = passage.spread;
        let prepared = self.prepare_one(ctx, image, model).await?;
        let prediction = self.fill(ctx, model, prepared.tensor, (mask, passage.take_first()?)).await?;
        let (size, model, pixels, mask) = (side(model), Arc::clone(model), prepared.pixels, mask.clone());
        let finish = move || {
            let original = model.preprocessor().unit(&pixels);
            Ok(Inpainted {
                png: encode::png(&mask.filled(&original, &prediction))?,
                masked: encode::png(&mask.shaded(&original))?,
                patches: mask.patches(),
            })
        };
        self.on_pool(size, spread, finish).await
    }
}
