//! Scores of a request, and verdicts on them by a calibration.

use std::sync::Arc;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{CalibrationKey, known::check_key, make::settings_of};
use crate::{
    anomaly::{
        ScoreMetric,
        calibration::{Calibration, DEFAULT_RATE, Judgement, Lines, Rates, Verdict},
        conformal::{Guarantee, benjamini_hochberg},
        map::Scale,
        settings::{ScoreOptions, ScoreSettings},
    },
    domain::{CalibrationRef, ModelName},
    error::{Error, Result},
    image::Encoded,
    model::Model,
    service::{ByModel, Context, Image, Items, ScoreOutput, ScoreRequest, Scored, Service, score::score_key},
    telemetry::metrics::{ScoreLabels, VerdictLabels},
};

/// Which images are scored and how, and by what they are judged.
#[derive(Debug)]
pub struct AnomalyRequest {
    pub options: ScoreOptions,
    pub output: ScoreOutput,
    /// None: the raw score.
    pub judge: Option<JudgeRequest>,
}

/// By what images are judged.
#[derive(Debug)]
pub struct JudgeRequest {
    pub calibration: CalibrationRef,
    /// None: 0.01, or the lowest that the calibration can give.
    pub false_positive_rate: Option<f64>,
    pub review_rate: Option<f64>,
    pub guarantee: Guarantee,
    /// The false-discovery rate over the images of the request, which decides in place of the false-positive rate.
    pub fdr: Option<f64>,
    pub ties: Ties,
    pub seed: u64,
    pub stream: Option<String>,
}

/// How a score is ranked among equal ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ties {
    /// Below them: the p-value is never too small.
    #[default]
    Against,
    /// At random, by the seed of the request.
    Random,
}

/// An image with its score, and what a calibration says of it.
#[derive(Debug)]
pub struct Assessed {
    pub scored: Scored,
    pub metric: ScoreMetric,
    pub judgement: Option<Judgement>,
}

/// What judged the images of a request.
#[derive(Debug)]
pub struct JudgedBy {
    pub name: String,
    pub version: u32,
    /// Normal images.
    pub count: usize,
    pub groups: Option<usize>,
    pub false_positive_rate: f64,
    /// Where the obtained false-positive rate of this calibration lies with probability 0.95.
    pub interval: (f64, f64),
    pub warnings: Vec<String>,
}

/// The images of a request and what judged them.
pub struct Assessment {
    pub results: ByModel<Assessed>,
    pub judged_by: Option<JudgedBy>,
}

/// A calibration that fits the request and its model.
pub(super) struct Judge {
    pub(super) key: CalibrationKey,
    pub(super) calibration: Arc<Calibration>,
    lines: Lines,
    pub(super) rates: Rates,
    pub(super) stream: String,
    request: JudgeRequest,
}

impl Service {
    /// Scores images, and judges them where a calibration is named.
    ///
    /// # Errors
    /// As [`Service::embed`]; `capability_not_supported` for a metric that is not of the model's family,
    /// `invalid_request` for a map of a metric that has none and for rates that the calibration cannot give,
    /// `calibration_not_found`, and `calibration_stale` where the calibration is of other scores.
    pub async fn assess(
        &self,
        ctx: &Context,
        model: &ModelName,
        images: Vec<Image>,
        request: AnomalyRequest,
    ) -> Result<Assessment> {
        let AnomalyRequest { options, mut output, judge } = request;
        let model = self.model_for(ctx, model, images.len()).await?;
        let (settings, judge) = match judge {
            Some(request) => {
                let (settings, judge) = self.judge_for(&model, options, request).await?;
                judge.place_regions(&mut output);
                (settings, Some(judge))
            }
            None => (Self::score_settings(&model, options)?, None),
        };
        if settings.metric == ScoreMetric::Combined && judge.is_none() {
            let text =
                "`scores` are combined by the p-values of a calibration: name a `calibration` that was made with them";
            return Err(Error::invalid_request(text));
        }
        let metric = settings.metric;
        let told = judge.is_some() && self.webhook.is_some();
        let files: Vec<Option<Encoded>> =
            if told { images.iter().map(|image| image.as_ref().ok().cloned()).collect() } else { Vec::new() };
        let request = Arc::new(ScoreRequest { settings, output, beside: Vec::new() });
        let mut scored = self.score(ctx, &model, images, &request).await?;
        if let Some(judge) = judge.as_ref().filter(|_| metric == ScoreMetric::Combined) {
            for scored in scored.iter_mut().flatten() {
                scored.score = judge.calibration.combining().combine(&scored.parts)?;
            }
        }
        let ByModel { model, space_key, items: Items { good, errors } } = self.by_model(model, scored);
        self.observe_scores(&model, metric, &good);
        let judgements = judge.as_ref().map(|judge| self.judge(judge, &good));
        let mut judgements = judgements.into_iter().flatten();
        let assessed = |(index, scored)| (index, Assessed { scored, metric, judgement: judgements.next() });
        let good: Vec<(usize, Assessed)> = good.into_iter().map(assessed).collect();
        if let Some(judge) = judge.as_ref().filter(|_| told) {
            self.tell(judge, &good, &files).await;
        }
        let results = ByModel { model, space_key, items: Items { good, errors } };
        Ok(Assessment { results, judged_by: judge.map(Judge::describe) })
    }

    fn observe_scores(&self, model: &Model, metric: ScoreMetric, good: &[(usize, Scored)]) {
        let labels = ScoreLabels { model: model.name().to_string(), metric: metric.as_str() };
        let scores = self.metrics.anomaly_scores.get_or_create(&labels);
        good.iter().for_each(|(_, scored)| scores.observe(scored.score));
    }

    /// What judges the images, and the settings of its scores.
    async fn judge_for(
        &self,
        model: &Model,
        options: ScoreOptions,
        mut request: JudgeRequest,
    ) -> Result<(ScoreSettings, Judge)> {
        let calibration = self.calibrations.load(model.name(), &request.calibration).await?;
        let settings = settings_of(&calibration, options)?;
        check_key(&calibration.document, &score_key(model, &settings)?)?;
        if let Some(fdr) = request.fdr.filter(|fdr| !(*fdr > 0.0 && *fdr < 1.0)) {
            return Err(Error::invalid_request(format!("`fdr` is above 0 and below 1, not {fdr}")));
        }
        let stream = self.calibrations.watched.label(request.stream.take())?;
        let JudgeRequest { review_rate, guarantee, .. } = request;
        let false_positive_rate =
            request.false_positive_rate.unwrap_or_else(|| calibration.default_rate(request.guarantee));
        let rates = Rates { false_positive_rate, review_rate, guarantee };
        let lines = calibration.lines(rates)?;
        let key = CalibrationKey { model: model.name().clone(), name: request.calibration.name.clone() };
        Ok((settings, Judge { key, calibration, lines, rates, stream, request }))
    }

    /// Judges scores; the metrics and the watch of the stream are told.
    fn judge(&self, judge: &Judge, good: &[(usize, Scored)]) -> Vec<Judgement> {
        let scores: Vec<f64> = good.iter().map(|(_, scored)| scored.score).collect();
        let judgements = judge.judge(&scores);
        for judgement in &judgements {
            let labels = VerdictLabels {
                model: judge.key.model.to_string(),
                calibration: judge.key.name.to_string(),
                stream: judge.stream.clone(),
                verdict: judgement.verdict.as_str(),
            };
            self.metrics.verdicts.get_or_create(&labels).inc();
        }
        self.calibrations.watched.observe(&judge.key, &judge.stream, &judge.calibration, &scores);
        judgements
    }
}

impl Judge {
    /// Gives regions the threshold, and drawn maps the scale, of the calibration where the request names none.
    fn place_regions(&self, output: &mut ScoreOutput) {
        if let Some(regions) = &mut output.regions
            && regions.threshold.is_none()
        {
            regions.threshold = self.calibration.pixel_threshold(self.rates).map(|threshold| threshold as f32);
        }
        if let Some(end) = self.calibration.map_scale() {
            output.scale = Scale::UpTo(end as f32);
        }
    }

    fn judge(&self, scores: &[f64]) -> Vec<Judgement> {
        let mut random = ChaCha8Rng::seed_from_u64(self.request.seed);
        let mut judge = |score: &f64| {
            let draw = (self.request.ties == Ties::Random).then(|| random.random());
            self.calibration.judge(*score, &self.lines, draw)
        };
        let mut judgements: Vec<Judgement> = scores.iter().map(&mut judge).collect();
        if let Some(fdr) = self.request.fdr {
            let p_values: Vec<f64> = judgements.iter().map(|judgement| judgement.p_value).collect();
            for (judgement, rejected) in judgements.iter_mut().zip(benjamini_hochberg(&p_values, fdr)) {
                judgement.verdict = match judgement.verdict {
                    _ if rejected => Verdict::Anomalous,
                    // At the false-positive rate it stood out; among all images of the request it does not.
                    Verdict::Anomalous if self.request.review_rate.is_some() => Verdict::Review,
                    Verdict::Anomalous | Verdict::Ok => Verdict::Ok,
                    Verdict::Review => Verdict::Review,
                };
            }
        }
        judgements
    }

    fn describe(self) -> JudgedBy {
        let Self { calibration, lines, rates: Rates { false_positive_rate, .. }, request, .. } = self;
        let mut warnings = calibration.warnings();
        if request.false_positive_rate.is_none() && false_positive_rate > DEFAULT_RATE {
            warnings.push(format!(
                "the calibration is too small for the false_positive_rate of {DEFAULT_RATE} that is taken where none is \
                 named: {false_positive_rate} is the lowest at which it can call an image anomalous"
            ));
        }
        if lines.anomalous.threshold.is_infinite() {
            warnings.push(format!(
                "no image can be anomalous at this false_positive_rate: with groups the lowest p-value is {}",
                calibration.lowest_p_value()
            ));
        }
        JudgedBy {
            name: calibration.document.name.clone(),
            version: calibration.document.version,
            count: calibration.count(),
            groups: calibration.groups(),
            false_positive_rate,
            interval: lines.anomalous.interval,
            warnings,
        }
    }
}
