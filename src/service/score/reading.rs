//! What a model says of one image, and the score and map that are made of it.

use std::sync::Arc;

use crate::{
    anomaly::{
        ErrorMap, ErrorMetric, ScoreMetric, pooling::Pooling, roi::Counted, settings::ScoreSettings,
        smoothing::gaussian, variational,
    },
    batch::Tensor,
    error::{Error, Result},
    image::{Plane, Size},
    model::{PatchMemory, Patches},
    pipeline::{GraphRun, Prediction, masking_of, not_finite},
};

/// The outputs that an image is scored by.
pub(super) enum Reading {
    /// The image that the model makes of it.
    Prediction(Prediction),
    /// The divergence of its latent from the prior, in nats.
    Divergence(f64),
    /// Both, for the negative evidence lower bound.
    EvidenceBound { image: Plane, divergence: f64 },
    /// What a detector's graph gives, at the size that it has there.
    Detection { score: Option<f64>, map: Option<ErrorMap> },
    /// The features of its patches, to be compared with those of normal ones.
    Patches { patches: Patches, memory: Arc<PatchMemory> },
}

/// The score of an image and the map that it is pooled from.
pub(super) struct MapScore {
    pub(super) score: f64,
    /// The scores by other poolings.
    pub(super) beside: Vec<f64>,
    /// At the model's size, smoothed, 0 where nothing counts; there if it was needed.
    pub(super) map: Option<ErrorMap>,
}

/// What is wanted beside the score.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) map: bool,
    /// The poolings of other scores.
    pub(super) beside: &'a [Pooling],
}

impl Reading {
    /// Runs the graphs that the metric takes.
    pub(super) async fn take(run: &mut GraphRun<'_>, tensor: Tensor, metric: ScoreMetric) -> Result<Self> {
        if metric == ScoreMetric::Hidden {
            let masks = masking_of(run.model())?.draws();
            return run.predict_under(masks, tensor).await.map(Self::Prediction);
        }
        if metric.error().is_some() {
            return run.predict(tensor).await.map(Self::Prediction);
        }
        if metric == ScoreMetric::Graph {
            let mut outputs = run.detect(tensor).await?;
            let score = outputs.take_optional("score").map(score_of).transpose()?;
            return Ok(Self::Detection { score, map: outputs.take_optional("map").map(map_of).transpose()? });
        }
        if metric == ScoreMetric::PatchKnn {
            let memory = run.model().memory().cloned();
            let memory = memory.ok_or_else(|| Error::internal("a model without a memory compares no patches"))?;
            let patches = run.patches(tensor).await?;
            let finite = patches.features.iter().all(|value| value.is_finite());
            return if finite { Ok(Self::Patches { patches, memory }) } else { Err(not_finite()) };
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

    /// The score, and the map where it is wanted or the score is pooled from it.
    pub(super) fn score(
        &self,
        settings: &ScoreSettings,
        original: &Plane,
        counted: Option<&Counted>,
        wanted: Wanted<'_>,
    ) -> Result<MapScore> {
        let each: Vec<ScoreSettings> =
            wanted.beside.iter().map(|pooling| ScoreSettings { pooling: *pooling, ..settings.clone() }).collect();
        let each: Vec<&ScoreSettings> = std::iter::once(settings).chain(&each).collect();
        let needs_map = wanted.map || each.iter().any(|settings| settings.pools_map());
        let mut map = if needs_map { Some(self.smoothed_map(settings, original)?) } else { None };
        let values = map.as_ref().zip(counted).map(|(map, counted)| counted.values(&map.data));
        let score = |settings: &ScoreSettings| {
            let score = match &map {
                Some(map) if settings.pools_map() => settings.pooling.pool(values.as_deref().unwrap_or(&map.data)),
                _ => self.own_score(settings.metric, original, map.as_ref()),
            };
            match score {
                Some(score) if score.is_finite() => Ok(score),
                Some(_) => Err(not_finite()),
                None => Err(Error::internal("a metric has no score of its own")),
            }
        };
        let mut scores = each.into_iter().map(score).collect::<Result<Vec<f64>>>()?.into_iter();
        let score = scores.next().ok_or_else(|| Error::internal("an image has no score"))?;
        let beside = scores.collect();
        if let (Some(map), Some(counted)) = (&mut map, counted) {
            counted.clear_outside(&mut map.data);
        }
        Ok(MapScore { score, beside, map })
    }

    /// The map at the model's size, smoothed.
    ///
    /// # Errors
    /// A map that holds what is no number.
    pub(super) fn smoothed_map(&self, settings: &ScoreSettings, original: &Plane) -> Result<ErrorMap> {
        let map = self.map(settings.metric, original)?;
        if !map.data.iter().all(|value| value.is_finite()) {
            return Err(not_finite());
        }
        let ErrorMap { width, height, data } = map;
        let data = match settings.sigma {
            sigma if sigma > 0.0 => gaussian(&data, width as usize, height as usize, sigma),
            _ => data,
        };
        Ok(ErrorMap { width, height, data })
    }

    /// The score that is not pooled from a map in a way of the request's.
    fn own_score(&self, metric: ScoreMetric, original: &Plane, map: Option<&ErrorMap>) -> Option<f64> {
        match self {
            Self::Prediction(prediction) => {
                let error = metric.error().unwrap_or(ErrorMetric::Mse);
                // Masked predictions are compared where they were made, which takes the map in any case.
                let masked_mean = map.filter(|_| prediction.is_masked()).map(ErrorMap::mean);
                Some(masked_mean.unwrap_or_else(|| prediction.score(error, original)))
            }
            Self::Divergence(divergence) => Some(*divergence),
            Self::EvidenceBound { image, divergence } => {
                Some(variational::negative_log_likelihood(original, image) + divergence)
            }
            Self::Detection { score, .. } => *score,
            Self::Patches { .. } => None,
        }
    }

    fn map(&self, metric: ScoreMetric, original: &Plane) -> Result<ErrorMap> {
        let size = Size { width: original.width, height: original.height };
        match self {
            Self::Prediction(prediction) => {
                let error = metric.error().unwrap_or(ErrorMetric::Mse);
                Ok(prediction.map(error, original))
            }
            Self::Detection { map: Some(map), .. } => Ok(map.clone().resized(size)),
            Self::Detection { map: None, .. } => Err(Error::internal("a detector without a map is asked for one")),
            Self::Patches { patches, memory } => {
                let side = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
                let (width, height) = (side(patches.columns), side(patches.rows));
                Ok(ErrorMap { width, height, data: memory.distances(patches) }.resized(size))
            }
            Self::EvidenceBound { image, .. } => Ok(variational::likelihood_map(original, image)),
            Self::Divergence(_) => Err(Error::internal("a divergence has no map")),
        }
    }
}

/// The number of an output `score`.
fn score_of(tensor: Tensor) -> Result<f64> {
    match tensor.data[..] {
        [score] if score.is_finite() => Ok(f64::from(score)),
        [_] => Err(not_finite()),
        _ => Err(Error::internal(format!("the graph gave a score of shape {:?}", tensor.shape))),
    }
}

/// The map of an output `map`, `[1, height, width]` or `[height, width]`.
fn map_of(tensor: Tensor) -> Result<ErrorMap> {
    let (&[1, height, width] | &[height, width]) = &tensor.shape[..] else {
        return Err(Error::internal(format!("the graph gave a map of shape {:?}", tensor.shape)));
    };
    if !tensor.data.iter().all(|value| value.is_finite()) {
        return Err(not_finite());
    }
    let side = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Ok(ErrorMap { width: side(width), height: side(height), data: tensor.data })
}
