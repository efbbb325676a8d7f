//! Anomaly scores: by the error of reconstruction, and by what a variational model believes of an image.

use std::{str::FromStr, sync::Arc};

use futures_util::future::join_all;

use super::{
    ByModel, Context, Image, Service,
    images::Undecoded,
    passage::{Errand, Passage, Redrawn, graph, side, take},
};
use crate::{
    anomaly::{ErrorMap, ScoreMetric, variational},
    batch::Row,
    domain::ModelName,
    error::{Error, Result},
    image::Plane,
    model::{GraphRole, Model},
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
    /// Heat over the image.
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

/// How strange an image is to its model, and where.
#[derive(Debug)]
pub struct Scored {
    /// Grows with strangeness.
    pub score: f64,
    /// In the format asked for.
    pub map: Option<Vec<u8>>,
}

/// What an image is scored by, once its graphs have run.
enum Evidence {
    /// The image made of it.
    Redrawn(Redrawn),
    /// The divergence of its latent from the prior, in nats.
    Divergence(f64),
    /// Both, for the negative evidence lower bound.
    Bound(Plane, f64),
}

impl Service {
    /// Scores images.
    ///
    /// # Errors
    /// As [`Service::embed`]; `capability_not_supported` for a metric that is not of the model's family, and
    /// `invalid_request` for a map of a metric that has none.
    pub async fn score(
        &self,
        ctx: &Context,
        model: &ModelName,
        images: Vec<Image>,
        (metric, map): (ScoreMetric, MapFormat),
    ) -> Result<ByModel<Scored>> {
        if metric == ScoreMetric::Kl && map != MapFormat::None {
            return Err(Error::invalid_request("metric kl is of the latent and has no map; leave `map` out"));
        }
        let (model, passages) = self.begin(model, Errand::Score(metric), images, ctx.deadline).await?;
        let work =
            passages.into_iter().map(|(image, passage)| self.score_one(ctx, &model, image, (passage, metric, map)));
        let results = join_all(work).await;
        Ok(self.by_model(model, results))
    }

    async fn score_one(
        &self,
        ctx: &Context,
        model: &Arc<Model>,
        image: Undecoded,
        (passage, metric, map): (Passage, ScoreMetric, MapFormat),
    ) -> Result<Scored> {
        let spread = passage.spread;
        let prepared = self.prepare_one(ctx, image, model).await?;
        let evidence = self.evidence(ctx, model, prepared.tensor, (passage, metric)).await?;
        let (size, model, pixels) = (side(model), Arc::clone(model), prepared.pixels);
        let score = move || {
            let original = model.preprocessor().unit(&pixels);
            let (score, errors) = evidence.weigh(metric, &original, map != MapFormat::None)?;
            let map = errors.map(|errors| map.draw(&errors, &original)).transpose()?.flatten();
            Ok(Scored { score, map })
        };
        self.on_pool(size, spread, score).await
    }

    async fn evidence(
        &self,
        ctx: &Context,
        model: &Model,
        tensor: Row,
        (mut passage, metric): (Passage, ScoreMetric),
    ) -> Result<Evidence> {
        if metric.error().is_some() {
            return self.redraw(ctx, model, tensor, passage).await.map(Evidence::Redrawn);
        }
        let mut rows = self.encode(ctx, model, tensor, &mut passage).await?;
        let encoder = graph(model, GraphRole::Encoder)?;
        let mean = take(&mut rows, encoder, &["mean"])?;
        let log_variance = take(&mut rows, encoder, &["log_variance"])?;
        let divergence = variational::kl_divergence(&mean.data, &log_variance.data);
        if metric == ScoreMetric::Kl {
            return Ok(Evidence::Divergence(divergence));
        }
        let image = self.decode(ctx, model, mean, passage.take_second()?).await?;
        Ok(Evidence::Bound(image, divergence))
    }
}

impl Evidence {
    /// The score, and where it comes from if that is asked for and can be told.
    fn weigh(&self, metric: ScoreMetric, original: &Plane, with_map: bool) -> Result<(f64, Option<ErrorMap>)> {
        let (score, map) = match self {
            Self::Redrawn(redrawn) => {
                let metric = metric.error().ok_or_else(|| Error::internal("a latent's metric compares no images"))?;
                redrawn.score(metric, original, with_map)
            }
            Self::Divergence(divergence) => (*divergence, None),
            Self::Bound(image, divergence) => (
                variational::negative_log_likelihood(original, image) + divergence,
                with_map.then(|| variational::likelihood_map(original, image)),
            ),
        };
        if score.is_finite() {
            return Ok((score, map));
        }
        Err(Error::internal("the graph gave a mean or a log-variance that makes no finite score"))
    }
}

impl MapFormat {
    fn draw(self, errors: &ErrorMap, original: &Plane) -> Result<Option<Vec<u8>>> {
        Ok(match self {
            Self::None => None,
            Self::Png => Some(errors.png()?),
            Self::Png16 => Some(errors.png16()?),
            Self::Npy => Some(errors.npy()),
            Self::Overlay => Some(errors.overlay(original)?),
        })
    }
}
