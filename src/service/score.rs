//! Anomaly scores by reconstruction error.

use std::{str::FromStr, sync::Arc};

use futures_util::future::join_all;

use super::{
    ByModel, Context, Picture, Service,
    pictures::Undecoded,
    reconstruct::{Passage, side},
};
use crate::{
    anomaly::ErrorMetric,
    domain::ModelName,
    error::{Error, Result},
    model::{Capability, Model},
};

/// How the map of errors is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MapFormat {
    #[default]
    None,
    /// 8-bit grey, scaled to the map's own maximum.
    Png,
    /// 16-bit grey on a fixed scale.
    Png16,
    /// The values as f32.
    Npy,
    /// Heat over the picture.
    Overlay,
}

impl FromStr for MapFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "none" => Ok(Self::None),
            "png" => Ok(Self::Png),
            "png16" => Ok(Self::Png16),
            "npy" => Ok(Self::Npy),
            "overlay" => Ok(Self::Overlay),
            _ => Err(Error::invalid_request(format!("map is none, png, png16, npy or overlay, not {text:?}"))),
        }
    }
}

/// How strange a picture is to its model, and where.
#[derive(Debug)]
pub struct Scored {
    /// Grows with strangeness.
    pub score: f64,
    /// In the format asked for.
    pub map: Option<Vec<u8>>,
}

impl Service {
    /// Scores pictures by the error of their reconstruction.
    ///
    /// # Errors
    /// As [`Service::embed`].
    pub async fn score(
        &self,
        ctx: &Context,
        model: &ModelName,
        pictures: Vec<Picture>,
        (metric, map): (ErrorMetric, MapFormat),
    ) -> Result<ByModel<Scored>> {
        let (model, passages) = self.begin(model, Capability::Score, pictures, ctx.deadline).await?;
        let work =
            passages.into_iter().map(|(picture, passage)| self.score_one(ctx, &model, picture, (passage, metric, map)));
        let results = join_all(work).await;
        Ok(self.by_model(model, results))
    }

    async fn score_one(
        &self,
        ctx: &Context,
        model: &Arc<Model>,
        picture: Undecoded,
        (passage, metric, map): (Passage, ErrorMetric, MapFormat),
    ) -> Result<Scored> {
        let spread = passage.spread;
        let prepared = self.prepare_one(ctx, picture, model).await?;
        let decoded = self.pass(ctx, model, prepared.tensor, passage).await?;
        let (size, model, pixels) = (side(model), Arc::clone(model), prepared.pixels);
        let score = move || {
            let original = model.preprocessor().unit(&pixels);
            let errors = || metric.map(&original, &decoded);
            let map = match map {
                MapFormat::None => None,
                MapFormat::Png => Some(errors().png()?),
                MapFormat::Png16 => Some(errors().png16()?),
                MapFormat::Npy => Some(errors().npy()),
                MapFormat::Overlay => Some(errors().overlay(&original)?),
            };
            Ok(Scored { score: metric.score(&original, &decoded), map })
        };
        self.on_pool(size, spread, score).await
    }
}
