//! Anomaly scores of images.

use axum::{Extension, extract::State, http::HeaderMap, response::Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    anomaly::{
        ScoreMetric,
        calibration::{Judgement, Verdict},
        conformal::Guarantee,
        pooling::Pooling,
        regions::Region,
        roi::Roi,
        settings::{ScoreOptions, ScorePart},
    },
    domain::{CalibrationRef, ModelName},
    error::{Error, ErrorKind, Result},
    http::{
        AppState,
        accept::Media,
        answer::{ItemError, data_uri, with_shape},
        error::Failure,
        extract::{LookupName as _, RequestBody, ScoredRequest, from_text},
        results::{ResultEntry, ResultForm},
        schema::{BinaryFile, FormScored, JsonScored},
    },
    service::{
        AnomalyRequest, Assessed, Assessment, Context, JudgeRequest, JudgedBy, MapFormat, RegionRequest, ScoreOutput,
        Scored, Ties,
    },
};

#[derive(Debug, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AnomalyOptions {
    #[param(required = false)]
    model: String,
    /// The calibration's, or without one the model's usual one, unless it is named: `mse` where the model makes images.
    metric: Option<ScoreMetric>,
    /// How the map becomes the score: `max`, `mean`, or `top:SHARE`, the mean of that share of its highest values. What
    /// is usual for the metric unless it is named.
    #[schema(value_type = Option<String>, example = "top:0.01")]
    #[param(value_type = Option<String>)]
    pooling: Option<Pooling>,
    /// The standard deviation of a Gaussian over the map, in pixels of the model's image, 0…64; 0 unless given.
    #[schema(minimum = 0, maximum = 64)]
    sigma: Option<f64>,
    /// Scores the image at its own resolution, in tiles of so many pixels a side, 16…8192; the map and the score are
    /// those of the whole image.
    #[schema(minimum = 16, maximum = 8192, example = 256)]
    tile: Option<u32>,
    /// Pixels by which tiles overlap at least, up to half of `tile`; an eighth of it unless given.
    overlap: Option<u32>,
    /// Scores to be combined to one, 2 to 8 metrics each with its pooling, in place of `metric` and `pooling`: the sum of
    /// −log p by the p-values of the `calibration`, which was made with the same ones. Maps and regions are those of the
    /// first.
    #[param(value_type = Option<String>)]
    scores: Option<Vec<ScorePart>>,
    /// The collection whose items metric `knn` compares with.
    collection: Option<String>,
    /// The nearest items whose distances metric `knn` averages, 1…100; 1 unless given.
    #[schema(minimum = 1, maximum = 100)]
    k: Option<u32>,
    /// `none`, `png` (8 bit, for the eye), `png16` (fixed scale), `npy` (the values), `heat` (in colours) or `overlay`
    /// (the colours over the image), at the size of the image. None unless asked for; a bare PNG is `png` unless asked
    /// otherwise.
    #[serde(default, deserialize_with = "from_text")]
    #[schema(value_type = Option<String>, example = "png")]
    #[param(value_type = Option<String>)]
    map: Option<MapFormat>,
    /// Say where the image is strange: the connected parts of the map above a threshold.
    #[serde(default)]
    #[param(required = false)]
    regions: bool,
    /// The value of the map that every pixel of a region exceeds. Unless given, with a calibration the value that the maps
    /// of normal images exceed at the false-positive rate; without one half of the map's own maximum.
    pixel_threshold: Option<f32>,
    /// Leave regions of fewer pixels out.
    min_area: Option<u32>,
    /// Leave regions out whose highest value is lower.
    min_peak: Option<f32>,
    /// The calibration that judges the images, `NAME` or `NAME@VERSION`. What a request leaves out of metric and other
    /// settings of the score is the calibration's.
    calibration: Option<String>,
    /// The share of normal images that may be called anomalous: 0.01 unless given, or the lowest that the calibration can
    /// give where that is more.
    #[schema(example = 0.01)]
    #[param(example = 0.01)]
    false_positive_rate: Option<f64>,
    /// A larger rate, up to which images are worth a look.
    review_rate: Option<f64>,
    /// Whether the rate holds on average over calibrations (`marginal`, unless given) or for this one with probability 0.9.
    guarantee: Option<Guarantee>,
    /// The false-discovery rate over the images of the request (Benjamini and Hochberg), which decides in place of the
    /// false-positive rate.
    fdr: Option<f64>,
    /// Whether equal scores count `against` the image, unless given, or are broken at `random`.
    ties: Option<Ties>,
    /// Of the random ties.
    seed: Option<u64>,
    /// The stream that the images are of, as `anomaly.streams` lists them; each is watched for drift by itself.
    stream: Option<String>,
    /// Fail the request with its first bad image.
    #[serde(default)]
    #[param(required = false)]
    strict: bool,
}

impl AnomalyOptions {
    fn score_options(&self, roi: Option<Roi>) -> ScoreOptions {
        ScoreOptions {
            metric: self.metric,
            pooling: self.pooling,
            sigma: self.sigma,
            tile: self.tile,
            overlap: self.overlap,
            roi,
            collection: self.collection.clone(),
            k: self.k,
            scores: self.scores.clone(),
        }
    }

    /// By what the images are judged.
    fn judge(&self) -> Result<Option<JudgeRequest>> {
        let Some(calibration) = &self.calibration else {
            let for_verdicts = [
                ("false_positive_rate", self.false_positive_rate.is_some()),
                ("review_rate", self.review_rate.is_some()),
                ("guarantee", self.guarantee.is_some()),
                ("fdr", self.fdr.is_some()),
                ("ties", self.ties.is_some()),
                ("seed", self.seed.is_some()),
                ("stream", self.stream.is_some()),
            ];
            return match for_verdicts.into_iter().find(|(_, given)| *given) {
                Some((name, _)) => {
                    Err(Error::invalid_request(format!("`{name}` is about verdicts, which take a `calibration`")))
                }
                None => Ok(None),
            };
        };
        Ok(Some(JudgeRequest {
            calibration: CalibrationRef::for_lookup(calibration)?,
            false_positive_rate: self.false_positive_rate,
            review_rate: self.review_rate,
            guarantee: self.guarantee.unwrap_or_default(),
            fdr: self.fdr,
            ties: self.ties.unwrap_or_default(),
            seed: self.seed.unwrap_or(0),
            stream: self.stream.clone(),
        }))
    }

    /// The regions that are asked for.
    fn regions(&self) -> Result<Option<RegionRequest>> {
        let numbers = [("pixel_threshold", self.pixel_threshold), ("min_peak", self.min_peak)];
        if let Some((name, _)) = numbers.iter().find(|(_, number)| number.is_some_and(|number| !number.is_finite())) {
            return Err(Error::invalid_request(format!("`{name}` is not finite")));
        }
        let given = numbers.iter().find(|(_, number)| number.is_some()).map(|(name, _)| *name);
        match given.or(self.min_area.map(|_| "min_area")) {
            Some(name) if !self.regions => {
                Err(Error::invalid_request(format!("`{name}` is about regions: ask for them by `regions` true")))
            }
            _ => Ok(self.regions.then(|| RegionRequest {
                threshold: self.pixel_threshold,
                min_area: self.min_area.unwrap_or(1),
                min_peak: self.min_peak.unwrap_or(f32::NEG_INFINITY),
            })),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AnomalyEntry {
    /// The image's place in the request, from 0.
    index: usize,
    /// Grows with strangeness.
    score: f64,
    metric: ScoreMetric,
    #[serde(flatten)]
    judged: Option<JudgedEntry>,
    /// The map of the error over the image, as a data URI.
    #[serde(skip_serializing_if = "Option::is_none")]
    map: Option<String>,
    /// Where the image is strange, the highest peak first, 1,000 at most; there if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    regions: Option<Vec<Region>>,
}

/// What the calibration says of the image.
#[derive(Debug, Serialize, ToSchema)]
struct JudgedEntry {
    /// The probability, at most, that a normal image has a score as high.
    p_value: f64,
    /// A higher score is anomalous; null where no score can be.
    #[schema(value_type = Option<f64>)]
    threshold: f64,
    verdict: Verdict,
    /// Whether the verdict is `anomalous`.
    anomalous: bool,
    /// Where the score stands: 0 at the median of the calibration or below, ½ at the threshold, 1 as far above it and on.
    normalized: f64,
}

impl From<Judgement> for JudgedEntry {
    fn from(judgement: Judgement) -> Self {
        let Judgement { p_value, threshold, verdict, normalized } = judgement;
        Self { p_value, threshold, verdict, anomalous: verdict == Verdict::Anomalous, normalized }
    }
}

/// What judged the images.
#[derive(Debug, Serialize, ToSchema)]
struct JudgedByEntry {
    name: String,
    version: u32,
    /// Normal images.
    count: usize,
    /// Their groups; null where none are given.
    groups: Option<usize>,
    false_positive_rate: f64,
    /// Where the obtained false-positive rate of this calibration lies with probability 0.95.
    interval: [f64; 2],
    /// What limits the verdicts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

impl From<JudgedBy> for JudgedByEntry {
    fn from(by: JudgedBy) -> Self {
        let JudgedBy { name, version, count, groups, false_positive_rate, interval: (low, high), warnings } = by;
        Self { name, version, count, groups, false_positive_rate, interval: [low, high], warnings }
    }
}

/// What stands in an answer beside the list.
#[derive(Debug, Serialize)]
struct Beside {
    #[serde(skip_serializing_if = "Option::is_none")]
    calibration: Option<JudgedByEntry>,
}

/// The scores of a request's images.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the list is written by `ResultForm`; this type describes it for the documentation")]
struct AnomalyList {
    model: String,
    space_key: String,
    data: Vec<AnomalyEntry>,
    errors: Vec<ItemError>,
    /// The calibration that judged the images, where one is named.
    calibration: Option<JudgedByEntry>,
}

impl ResultEntry for AnomalyEntry {
    const LIST: &'static str = "AnomalyList";
}

/// The type of a map's file; none for no map.
const fn media_of(map: MapFormat) -> Option<Media> {
    match map {
        MapFormat::None => None,
        MapFormat::Png | MapFormat::Png16 | MapFormat::Heat | MapFormat::Overlay => Some(Media::Png),
        MapFormat::Npy => Some(Media::Npy),
    }
}

/// The map to make, which a bare answer must be.
fn map_for(media: Media, requested: Option<MapFormat>) -> Result<MapFormat> {
    if !media.is_binary() {
        return Ok(requested.unwrap_or_default());
    }
    let map = requested.unwrap_or(if media == Media::Npy { MapFormat::Npy } else { MapFormat::Png });
    if media_of(map) == Some(media) {
        return Ok(map);
    }
    let text = format!("the map asked for is not {}: leave `map` out, or accept application/json", media.as_str());
    Err(Error::new(ErrorKind::NotAcceptable, text))
}

/// Scores images, judges them by a calibration where one is named, and says where they are strange.
#[utoipa::path(post, path = "/v1/anomaly", tag = "images", params(AnomalyOptions),
    request_body(content((JsonScored<AnomalyOptions> = "application/json"),
        (FormScored<AnomalyOptions> = "multipart/form-data"), (BinaryFile = "image/*"))),
    responses((status = 200, content((AnomalyList = "application/json"), (BinaryFile = "image/png"),
        (BinaryFile = "application/x-npy")))))]
pub(in crate::http) async fn anomaly(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    headers: HeaderMap,
    RequestBody(ScoredRequest { images, roi, options }): RequestBody<ScoredRequest<AnomalyOptions>>,
) -> Result<Response, Failure> {
    let form = ResultForm::choose(&headers, &[Media::Json, Media::Png, Media::Npy], images.len())?;
    let map = map_for(form.media, options.map)?;
    let output = ScoreOutput { map, regions: options.regions()?, ..ScoreOutput::default() };
    let (model, judge) = (ModelName::for_lookup(&options.model)?, options.judge()?);
    let roi = match roi {
        Some(roi) => Some(state.service.region_of_interest(&context, roi).await?),
        None => None,
    };
    let request = AnomalyRequest { options: options.score_options(roi), output, judge };
    let Assessment { results, judged_by } = state.service.assess(&context, &model, images, request).await?;
    let size = results.items.good.first().and_then(|(_, assessed)| assessed.scored.map_size);
    let uri = |bytes: Vec<u8>| data_uri(media_of(map).unwrap_or(Media::Octets).as_str(), &bytes);
    let entry = |index, Assessed { scored: Scored { score, map, regions, .. }, metric, judgement }| AnomalyEntry {
        index,
        score,
        metric,
        judged: judgement.map(JudgedEntry::from),
        map: map.map(uri),
        regions,
    };
    let beside = Beside { calibration: judged_by.map(JudgedByEntry::from) };
    let answer =
        form.answer_beside(results, options.strict, (entry, |assessed: Assessed| assessed.scored.map), beside)?;
    let shape = size.filter(|_| form.media == Media::Npy).map(|size| [size.height as usize, size.width as usize]);
    Ok(match shape {
        Some(shape) => with_shape(answer, &shape)?,
        None => answer,
    })
}
