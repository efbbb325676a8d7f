//! Anomaly scores: by the error of reconstruction, and by what a variational model believes of an image.

use std::str::FromStr;

use futures_util::future::join_all;

use super::{ByModel, Context, Image, Service};
use crate::{
    anomaly::{ErrorMap, ScoreMetric, variational},
    batch::Tensor,
    domain::ModelName,
    error::{Error, Result},
    image::Plane,
    pipeline::{GraphRun, ImageRun, Prediction, Task},
};

/// How images are to be scored.
#[derive(Debug, Clone, Copy)]
pub struct ScoreRequest {
    pub metric: ScoreMetric,
    pub map: MapFormat,
}

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

/// The outputs that an image is scored by.
enum ScoredBy {
    /// The image that the model makes of it.
    Prediction(Prediction),
    /// The divergence of its latent from the prior, in nats.
    Divergence(f64),
    /// Both, for the negative evidence lower bound.
    EvidenceBound { image: Plane, divergence: f64 },
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
        request: ScoreRequest,
    ) -> Result<ByModel<Scored>> {
        if request.metric == ScoreMetric::Kl && request.map != MapFormat::None {
            return Err(Error::invalid_request("metric kl is of the latent and has no map; leave `map` out"));
        }
        let model = self.model_for(ctx, model, images.len()).await?;
        let runs = self.pipeline.begin(ctx, &model, Task::Score(request.metric), images)?;
        let results = join_all(runs.into_iter().map(|run| score_one(run, request))).await;
        Ok(self.by_model(model, results))
    }
}

async fn score_one(run: ImageRun<'_>, request: ScoreRequest) -> Result<Scored> {
    let ScoreRequest { metric, map } = request;
    let (prepared, mut run) = run.prepare().await?;
    let scored_by = ScoredBy::run(&mut run, prepared.tensor, metric).await?;
    let (model, pixels) = (run.model().clone(), prepared.pixels);
    let score = move || {
        let original = model.preprocessor().unit(&pixels);
        let (score, errors) = scored_by.score(metric, &original, map != MapFormat::None)?;
        let map = errors.map(|errors| map.draw(&errors, &original)).transpose()?.flatten();
        Ok(Scored { score, map })
    };
    run.compute(score).await
}

impl ScoredBy {
    async fn run(run: &mut GraphRun<'_>, tensor: Tensor, metric: ScoreMetric) -> Result<Self> {
        if metric.error().is_some() {
            return run.predict(tensor).await.map(Self::Prediction);
        }
        let mut outputs = run.encode(tensor).await?;
        let mean = outputs.take(&["mean"])?;
        let log_variance = outputs.take(&["log_variance"])?;
        let divergence = variational::kl_divergence(&mean.data, &log_variance.data);
        if metric == ScoreMetric::Kl {
            return Ok(Self::Divergence(divergence));
        }
        Ok(Self::EvidenceBound { image: run.decode(mean).await?, divergence })
    }

    /// The score, and where it comes from if that is asked for and can be told.
    fn score(&self, metric: ScoreMetric, original: &Plane, with_map: bool) -> Result<(f64, Option<ErrorMap>)> {
        let (score, map) = match self {
            Self::Prediction(prediction) => {
                let metric = metric.error().ok_or_else(|| Error::internal("a latent's metric compares no images"))?;
                prediction.score(metric, original, with_map)
            }
            Self::Divergence(divergence) => (*divergence, None),
            Self::EvidenceBound { image, divergence } => (
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
