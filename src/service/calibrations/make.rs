//! Making, extending, describing, moving and deleting calibrations.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    CalibrationKey, Normals, StreamDrift,
    known::{Change, Written, check_key},
    normals::ScoredNormals,
};
use crate::{
    anomaly::{
        ScoreMetric,
        calibration::{Calibration, CalibrationDocument, FORMAT, MANY_TIES, Sample},
        combination::divide,
        conformal::Conformal,
        pooling::Pooling,
        settings::{ScoreOptions, ScoreSettings},
    },
    domain::{CalibrationName, CalibrationRef, ModelName},
    error::{Error, ErrorKind, Result},
    model::Model,
    service::{Context, Service, score::score_key},
};

/// Which images make a calibration, and how they are scored.
#[derive(Debug)]
pub struct CalibrateRequest {
    pub normals: Normals,
    pub options: ScoreOptions,
    /// Make nothing if one image is bad.
    pub strict: bool,
}

/// A calibration as it stands.
#[derive(Debug)]
pub struct CalibrationState {
    pub calibration: Arc<Calibration>,
    /// Every version that is kept.
    pub versions: Vec<u32>,
    /// Whether the model now makes other scores; none where the model is not loaded.
    pub stale: Option<bool>,
    pub drift: Vec<StreamDrift>,
}

/// A version of a calibration that was made.
#[derive(Debug)]
pub struct Made {
    pub state: CalibrationState,
    /// Whether there was none of that name.
    pub created: bool,
    /// The images that have no score, by their place in the request.
    pub errors: Vec<(usize, Error)>,
    pub warnings: Vec<String>,
}

impl Service {
    /// Makes a calibration of normal images, or the next version of one. It survives a crash once it is answered.
    ///
    /// # Errors
    /// As [`Service::assess`]; `invalid_request` for images that cannot calibrate.
    pub async fn calibrate(
        &self,
        ctx: &Context,
        model: &ModelName,
        name: CalibrationName,
        request: CalibrateRequest,
    ) -> Result<Made> {
        let model = self.loaded(model, ctx.deadline).await?;
        let CalibrateRequest { normals, options, strict } = request;
        let own = options.pooling.is_none();
        let mut settings = Self::score_settings(&model, options)?;
        let mut scored = self.normals_for(ctx, &model, settings.clone(), (normals, strict)).await?;
        if settings.metric == ScoreMetric::Combined {
            divide(&mut scored.samples)?;
        }
        let untied = own && take_maxima(&mut settings, &mut scored.samples);
        let score_key = score_key(&model, &settings)?;
        let document = CalibrationDocument {
            format: FORMAT,
            name: name.to_string(),
            model: model.name().to_string(),
            version: 0,
            score_key,
            settings,
            created_unix: now(),
            samples: scored.samples,
        };
        let key = CalibrationKey { model: model.name().clone(), name };
        let written = self.calibrations.write(&key, &Change::Replace(Box::new(document))).await?;
        let mut made = self.made(&key, &model, written, scored.errors).await?;
        if untied {
            made.warnings.push(
                "more than 5 % of the scores that the graph gives are equal to another one: the maximum of its map is taken \
                 in their place (pooling max)"
                    .to_owned(),
            );
        }
        Ok(made)
    }

    /// Adds images to a calibration, as its next version; they are scored as those before.
    ///
    /// # Errors
    /// As [`calibrate`](Self::calibrate); `calibration_not_found`; `calibration_stale` where the model has changed or the
    /// request names other settings.
    pub async fn extend_calibration(
        &self,
        ctx: &Context,
        model: &ModelName,
        name: CalibrationName,
        request: CalibrateRequest,
    ) -> Result<Made> {
        let model = self.loaded(model, ctx.deadline).await?;
        let latest = CalibrationRef { name: name.clone(), version: None };
        let calibration = self.calibrations.load(model.name(), &latest).await?;
        let CalibrateRequest { normals, options, strict } = request;
        let settings = settings_of(&calibration, options)?;
        let score_key = score_key(&model, &settings)?;
        check_key(&calibration.document, &score_key)?;
        let combines = settings.metric == ScoreMetric::Combined;
        let ScoredNormals { mut samples, errors } = self.normals_for(ctx, &model, settings, (normals, strict)).await?;
        if combines {
            // The normals that make the p-values stay those of the first version.
            for sample in &mut samples {
                sample.score = calibration.combining().combine(&sample.parts)?;
            }
        }
        let key = CalibrationKey { model: model.name().clone(), name };
        let change = Change::Extend { score_key, samples, created_unix: now() };
        let written = self.calibrations.write(&key, &change).await?;
        self.made(&key, &model, written, errors).await
    }

    async fn normals_for(
        &self,
        ctx: &Context,
        model: &Arc<Model>,
        settings: ScoreSettings,
        (normals, strict): (Normals, bool),
    ) -> Result<ScoredNormals> {
        let _turn = self.calibrations.turn(ctx.deadline).await?;
        let mut scored = self.score_normals(ctx, model, settings, normals).await?;
        self.count_errors(&scored.errors);
        if !scored.errors.is_empty() && (strict || scored.samples.is_empty()) {
            return Err(scored.errors.swap_remove(0).1);
        }
        Ok(scored)
    }

    async fn made(
        &self,
        key: &CalibrationKey,
        model: &Model,
        written: Written,
        errors: Vec<(usize, Error)>,
    ) -> Result<Made> {
        let mut warnings = written.calibration.warnings();
        if model.trained_on().is_none() {
            warnings.push(
                "the model does not list the images that it was trained on (images_blake3 in training.json): make sure that \
                 none of them calibrates, since their scores are too low"
                    .to_owned(),
            );
        }
        let state = self.state(key, written.calibration, Some(model)).await?;
        Ok(Made { state, created: written.created, errors, warnings })
    }

    /// The calibrations of a model, by name.
    ///
    /// # Errors
    /// `model_not_found`; those of the store.
    pub async fn calibrations(&self, model: &ModelName) -> Result<Vec<CalibrationState>> {
        let ready = self.model(model)?.ready;
        let mut states = Vec::new();
        for name in self.calibrations.names(model).await? {
            match self.calibrations.load(model, &CalibrationRef { name: name.clone(), version: None }).await {
                Ok(calibration) => {
                    let key = CalibrationKey { model: model.clone(), name };
                    states.push(self.state(&key, calibration, ready.as_deref()).await?);
                }
                Err(error) if error.kind() == ErrorKind::CalibrationNotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(states)
    }

    /// A calibration as it stands.
    ///
    /// # Errors
    /// `model_not_found`, `calibration_not_found`; those of the store.
    pub async fn calibration(&self, model: &ModelName, wanted: &CalibrationRef) -> Result<CalibrationState> {
        let ready = self.model(model)?.ready;
        let calibration = self.calibrations.load(model, wanted).await?;
        let key = CalibrationKey { model: model.clone(), name: wanted.name.clone() };
        self.state(&key, calibration, ready.as_deref()).await
    }

    async fn state(
        &self,
        key: &CalibrationKey,
        calibration: Arc<Calibration>,
        model: Option<&Model>,
    ) -> Result<CalibrationState> {
        let versions = self.calibrations.versions(key).await?;
        let document = &calibration.document;
        let stale = model
            .map(|model| score_key(model, &document.settings).is_ok_and(|score_key| score_key != document.score_key));
        Ok(CalibrationState {
            versions: versions.into_iter().map(|stored| stored.version).collect(),
            stale,
            drift: self.calibrations.watched.of(key),
            calibration,
        })
    }

    /// Takes a document that was exported, as the next version of a calibration of this model.
    ///
    /// # Errors
    /// `invalid_request` for a document that cannot calibrate; `calibration_stale` where the model makes other scores.
    pub async fn import_calibration(
        &self,
        ctx: &Context,
        model: &ModelName,
        name: CalibrationName,
        mut document: CalibrationDocument,
    ) -> Result<Made> {
        let model = self.loaded(model, ctx.deadline).await?;
        if document.samples.len() > self.calibrations.max_images {
            let limit = self.calibrations.max_images;
            let text = format!("{} images: anomaly.calibration_images is {limit}", document.samples.len());
            return Err(Error::new(ErrorKind::PayloadTooLarge, text));
        }
        // The key begins with the name of the model, which may be another one here.
        let score_key = score_key(&model, &document.settings)?;
        let hash = document.score_key.rsplit_once('#').map_or("", |(_, hash)| hash);
        document.score_key = format!("{}#{hash}", model.name());
        document.model = model.name().to_string();
        document.name = name.to_string();
        check_key(&document, &score_key)?;
        let key = CalibrationKey { model: model.name().clone(), name };
        let written = self.calibrations.write(&key, &Change::Replace(Box::new(document))).await?;
        self.made(&key, &model, written, Vec::new()).await
    }

    /// Deletes a calibration with all its versions.
    ///
    /// # Errors
    /// `model_not_found`, `calibration_not_found`; those of the store.
    pub async fn delete_calibration(&self, model: &ModelName, name: CalibrationName) -> Result<()> {
        self.model(model)?;
        self.calibrations.delete(&CalibrationKey { model: model.clone(), name }).await
    }
}

/// Where a graph gives scores of which many are equal, as those are that were cut off at 1 when the model was exported,
/// takes the maxima of the maps in their place; tells whether it did.
fn take_maxima(settings: &mut ScoreSettings, samples: &mut [Sample]) -> bool {
    let scores: Vec<f64> = samples.iter().filter(|sample| sample.is_normal()).map(|sample| sample.score).collect();
    let has_maps = samples.iter().all(|sample| sample.peak.is_some());
    let ties = Conformal::new(&scores, None, 0).ties();
    if settings.metric != ScoreMetric::Graph || settings.pooling != Pooling::Own || !has_maps || ties <= MANY_TIES {
        return false;
    }
    settings.pooling = Pooling::Max;
    // The score's own map is neither smoothed nor cut, so its maximum is the score by the other pooling.
    samples.iter_mut().for_each(|sample| sample.score = sample.peak.unwrap_or(sample.score));
    true
}

/// The settings of a calibration, which those that a request names have to be.
///
/// # Errors
/// `calibration_stale` for others.
pub(super) fn settings_of(calibration: &Calibration, options: ScoreOptions) -> Result<ScoreSettings> {
    let CalibrationDocument { name, settings, .. } = &calibration.document;
    let named = options.over(settings)?;
    if named == *settings {
        return Ok(named);
    }
    let text = |settings: &ScoreSettings| serde_json::to_string(settings).unwrap_or_default();
    let text = format!(
        "the calibration {name} is of scores made with {}, and the request asks for {}: leave the settings out, or calibrate \
         with these",
        text(settings),
        text(&named)
    );
    Err(Error::new(ErrorKind::CalibrationStale, text))
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(scores: &[f64]) -> Vec<Sample> {
        let sample = |(at, score): (usize, &f64)| Sample {
            score: *score,
            peak: Some(at as f64),
            group: None,
            label: None,
            parts: Vec::new(),
            reference: false,
        };
        scores.iter().enumerate().map(sample).collect()
    }

    #[test]
    fn scores_that_were_cut_off_give_way_to_the_maxima_of_their_maps() {
        let own = ScoreSettings::of(ScoreMetric::Graph);
        let (mut settings, mut cut) = (own.clone(), samples(&[0.3, 1.0, 1.0, 1.0]));
        assert!(take_maxima(&mut settings, &mut cut));
        assert_eq!((settings.pooling, cut[1].score, cut[3].score), (Pooling::Max, 1.0, 3.0));
        let (mut settings, mut different) = (own.clone(), samples(&[0.3, 0.4, 0.5]));
        assert!(!take_maxima(&mut settings, &mut different));
        assert_eq!((&settings, different[2].score), (&own, 0.5));
        let mut without = samples(&[1.0; 4]);
        without[0].peak = None;
        assert!(!take_maxima(&mut settings, &mut without));
        let mut others = ScoreSettings::of(ScoreMetric::Mse);
        assert!(!take_maxima(&mut others, &mut samples(&[1.0; 4])));
    }
}
