//! A calibration: the scores of images known to be normal, and what they say of another score.
//!
//! It is bound to its score key, a hash over everything that makes the score: a score that was made otherwise is not
//! judged by it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    combination::Reference,
    conformal::{Conformal, Decision, Guarantee, TooFew},
    evaluation::Evaluation,
    settings::ScoreSettings,
};
use crate::error::{Error, Result};

/// The version of the document's format.
pub const FORMAT: u32 = 1;

/// The fewest normals (or groups of them) that a calibration may have.
const FEWEST: usize = 2;

/// More equal scores than this share are worth a warning: p-values of tied scores say little.
pub const MANY_TIES: f64 = 0.05;

/// The false-positive rate at which images are judged where none is named, if the calibration is large enough.
pub const DEFAULT_RATE: f64 = 0.01;

/// The labels of normal images; every other label is that of a kind of anomaly.
const NORMAL: [&str; 3] = ["normal", "good", "ok"];

/// A scored image of a calibration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Sample {
    pub score: f64,
    /// The highest value of its map; none where the score has no map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak: Option<f64>,
    /// What it belongs to (a part, a lot): images of one group are not independent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The scores that are combined, each as it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<f64>,
    /// Whether it is one of the normals that make the p-values of which others' scores are combined: it does not calibrate
    /// those, and has no score itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reference: bool,
}

impl Sample {
    /// Whether it calibrates; an anomaly only evaluates.
    #[must_use]
    pub fn is_normal(&self) -> bool {
        self.is_labelled_normal() && !self.reference
    }

    /// Whether it is known to be normal.
    #[must_use]
    pub fn is_labelled_normal(&self) -> bool {
        self.label.as_deref().is_none_or(|label| NORMAL.contains(&label))
    }
}

/// A calibration as it is stored, exported and imported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CalibrationDocument {
    pub format: u32,
    pub name: String,
    pub model: String,
    /// Counts from 1; every change makes another one.
    pub version: u32,
    pub score_key: String,
    pub settings: ScoreSettings,
    pub created_unix: u64,
    pub samples: Vec<Sample>,
}

/// A calibration, ready to judge.
#[derive(Debug)]
pub struct Calibration {
    pub document: CalibrationDocument,
    conformal: Conformal,
    /// Of the highest values of the maps; none where there are no maps.
    peaks: Option<Conformal>,
    reference: Reference,
    /// The number of normals.
    count: usize,
    /// The number of groups; none where the normals have none.
    groups: Option<usize>,
}

/// What a calibration says of a score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    pub p_value: f64,
    pub threshold: f64,
    pub verdict: Verdict,
    /// Where the score stands among the calibration: 0 at its median, ½ at the threshold, 1 far above.
    pub normalized: f64,
}

/// A decision on an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    /// A person should look.
    Review,
    Anomalous,
}

impl Verdict {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Review => "review",
            Self::Anomalous => "anomalous",
        }
    }
}

/// The rates at which images are judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    pub false_positive_rate: f64,
    /// A larger rate, up to which an image is worth a look.
    pub review_rate: Option<f64>,
    pub guarantee: Guarantee,
}

/// The lines that rates draw in one calibration.
#[derive(Debug, Clone, Copy)]
pub struct Lines {
    pub anomalous: Decision,
    review: Option<Decision>,
}

impl Calibration {
    /// Prepares a calibration.
    ///
    /// # Errors
    /// `invalid_request` for a document of another format, fewer than two normals or groups, normals that all have the
    /// same score, a score that is not finite, and groups that only some normals have.
    pub fn new(document: CalibrationDocument) -> Result<Self> {
        if document.format != FORMAT {
            let text = format!("a calibration of format {}: this version reads format {FORMAT}", document.format);
            return Err(Error::invalid_request(text));
        }
        let numbers = document.samples.iter().flat_map(|sample| [Some(sample.score), sample.peak]);
        if numbers.flatten().any(|number| !number.is_finite()) {
            return Err(Error::invalid_request("a score of the calibration is not finite"));
        }
        let normals: Vec<&Sample> = document.samples.iter().filter(|sample| sample.is_normal()).collect();
        let scores: Vec<f64> = normals.iter().map(|sample| sample.score).collect();
        let groups = group_numbers(&normals)?;
        // The same calibration draws the same scores of its groups, whoever prepares it.
        let conformal = Conformal::new(&scores, groups.as_deref(), u64::from(document.version));
        let independent = conformal.independent();
        let what = if groups.is_some() { "groups of normal images" } else { "normal images" };
        if independent < FEWEST {
            return Err(Error::invalid_request(format!("{independent} {what}: a calibration takes {FEWEST} at least")));
        }
        if scores.windows(2).all(|pair| pair[0] == pair[1]) {
            let text = "all normal images have the same score, which can tell no other from them: send different images, or \
                use another metric or pooling";
            return Err(Error::invalid_request(text));
        }
        let peaks: Option<Vec<f64>> = normals.iter().map(|sample| sample.peak).collect();
        let peaks = peaks.map(|peaks| Conformal::new(&peaks, groups.as_deref(), u64::from(document.version)));
        let (count, groups) = (scores.len(), groups.map(|_| independent));
        let reference = Reference::of(&document.samples);
        Ok(Self { document, conformal, peaks, reference, count, groups })
    }

    /// The p-values by which scores are combined.
    #[must_use]
    pub const fn combining(&self) -> &Reference {
        &self.reference
    }

    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    #[must_use]
    pub const fn groups(&self) -> Option<usize> {
        self.groups
    }

    /// The share of normals whose score another one has too.
    #[must_use]
    pub fn ties(&self) -> f64 {
        self.conformal.ties()
    }

    /// Quantiles of the normals' scores, by their share.
    #[must_use]
    pub fn quantiles(&self) -> BTreeMap<String, f64> {
        let of = |share: f64| Some((share.to_string(), self.conformal.quantile(share)?));
        [0.5, 0.9, 0.99].into_iter().filter_map(of).collect()
    }

    /// How well the scores tell the labelled anomalies; none without any.
    #[must_use]
    pub fn evaluation(&self) -> Option<Evaluation> {
        let (normals, anomalies): (Vec<_>, Vec<_>) =
            self.document.samples.iter().filter(|sample| !sample.reference).partition(|sample| sample.is_normal());
        let scores = |samples: Vec<&Sample>| samples.iter().map(|sample| sample.score).collect::<Vec<_>>();
        Evaluation::of(&scores(normals), &scores(anomalies))
    }

    /// What a user of the calibration should know.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let ties = self.ties();
        if ties > MANY_TIES {
            warnings.push(format!(
                "{:.0} % of the normal scores are equal to another one: p-values are coarse; take another pooling",
                100.0 * ties
            ));
        }
        let makes_p_values = self.document.samples.iter().filter(|sample| sample.reference).count();
        if makes_p_values > 0 {
            warnings.push(format!(
                "{makes_p_values} of the normal images make the p-values by which scores are combined; the others calibrate"
            ));
        }
        if self.groups.is_none() {
            warnings.push(
                "no groups are given: p-values hold if every image is independent of the others; images of one part or lot \
                 are not"
                    .to_owned(),
            );
        }
        warnings
    }

    /// The false-positive rate where none is named: 0.01, or the lowest at which this calibration can call an image
    /// anomalous.
    #[must_use]
    pub fn default_rate(&self, guarantee: Guarantee) -> f64 {
        DEFAULT_RATE.max(self.conformal.lowest_rate(guarantee))
    }

    /// The lowest p-value that an image can have.
    #[must_use]
    pub fn lowest_p_value(&self) -> f64 {
        self.conformal.lowest_p_value()
    }

    /// The value that the map of a normal image exceeds anywhere at the false-positive rate: where regions begin. None where
    /// the scores have no map, and infinite where the rate takes more normals.
    #[must_use]
    pub fn pixel_threshold(&self, rates: Rates) -> Option<f64> {
        let decision = self.peaks.as_ref()?.decide(rates.false_positive_rate, rates.guarantee);
        Some(decision.map_or(f64::INFINITY, |decision| decision.threshold))
    }

    /// The end of the scale of drawn maps, the same for all images: twice what the maps of 99 % of the normals reach.
    #[must_use]
    pub fn map_scale(&self) -> Option<f64> {
        self.peaks.as_ref()?.quantile(0.99).map(|peak| 2.0 * peak)
    }

    /// Scores of normals that are independent of each other, in ascending order.
    #[must_use]
    pub fn reference(&self) -> &[f64] {
        self.conformal.reference()
    }

    /// The lines that the rates draw.
    ///
    /// # Errors
    /// `invalid_request` for rates outside of 0…1, a review rate that is not the larger one, and a rate that takes more
    /// normals than there are, which are named.
    pub fn lines(&self, rates: Rates) -> Result<Lines> {
        let Rates { false_positive_rate, review_rate, guarantee } = rates;
        let decide = |name: &str, rate: f64| {
            if !(rate > 0.0 && rate < 1.0) {
                return Err(Error::invalid_request(format!("`{name}` is above 0 and below 1, not {rate}")));
            }
            self.conformal.decide(rate, guarantee).map_err(|few| self.too_few(name, rate, few))
        };
        let anomalous = decide("false_positive_rate", false_positive_rate)?;
        if review_rate.is_some_and(|review| review <= false_positive_rate) {
            return Err(Error::invalid_request("`review_rate` is larger than `false_positive_rate`"));
        }
        let review = review_rate.map(|rate| decide("review_rate", rate)).transpose()?;
        Ok(Lines { anomalous, review })
    }

    fn too_few(&self, name: &str, rate: f64, few: TooFew) -> Error {
        let what = if self.groups.is_some() { "groups of normal images" } else { "normal images" };
        let TooFew { have, need } = few;
        Error::invalid_request(format!("`{name}` {rate} takes {need} {what}; the calibration has {have}"))
    }

    /// Judges a finite score. Ties count against the image, or are broken by a number drawn uniformly from 0…1.
    #[must_use]
    pub fn judge(&self, score: f64, lines: &Lines, draw: Option<f64>) -> Judgement {
        let p_value = match draw {
            None => self.conformal.p_value(score),
            Some(draw) => self.conformal.p_value_with_ties_drawn(score, draw),
        };
        let threshold = lines.anomalous.threshold;
        let verdict = if p_value <= lines.anomalous.level {
            Verdict::Anomalous
        } else if lines.review.is_some_and(|review| p_value <= review.level) {
            Verdict::Review
        } else {
            Verdict::Ok
        };
        let median = self.conformal.quantile(0.5).unwrap_or(threshold);
        // A threshold at the median leaves no scale: then the score is on one side of it or on the other.
        let span = 2.0 * (threshold - median);
        let normalized = if span > 0.0 { (score - median) / span } else { f64::from(u8::from(score > threshold)) };
        Judgement { p_value, threshold, verdict, normalized: normalized.clamp(0.0, 1.0) }
    }
}

/// The number of each normal's group; none where no normal has a group.
fn group_numbers(normals: &[&Sample]) -> Result<Option<Vec<usize>>> {
    let named = normals.iter().filter(|sample| sample.group.is_some()).count();
    if named == 0 {
        return Ok(None);
    }
    if named < normals.len() {
        let text = format!("{named} of {} normal images have a group: give one for each, or none", normals.len());
        return Err(Error::invalid_request(text));
    }
    let names: Vec<&str> = normals.iter().filter_map(|sample| sample.group.as_deref()).collect();
    let mut numbers = BTreeMap::new();
    for name in &names {
        let next = numbers.len();
        numbers.entry(*name).or_insert(next);
    }
    Ok(Some(names.iter().filter_map(|name| numbers.get(name).copied()).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(score: f64, group: Option<&str>, label: Option<&str>) -> Sample {
        let (group, label) = (group.map(str::to_owned), label.map(str::to_owned));
        Sample { score, peak: None, group, label, parts: Vec::new(), reference: false }
    }

    fn document(samples: Vec<Sample>) -> CalibrationDocument {
        CalibrationDocument {
            format: FORMAT,
            name: "line-1".to_owned(),
            model: "m".to_owned(),
            version: 1,
            score_key: "m#0".to_owned(),
            settings: ScoreSettings::default(),
            created_unix: 0,
            samples,
        }
    }

    fn ten() -> Vec<Sample> {
        (1..=10).map(|at| sample(f64::from(at), None, None)).collect()
    }

    fn rates(false_positive_rate: f64, review_rate: Option<f64>) -> Rates {
        Rates { false_positive_rate, review_rate, guarantee: Guarantee::Marginal }
    }

    #[test]
    fn an_image_is_ok_worth_a_look_or_anomalous_by_the_rates() {
        let calibration = Calibration::new(document(ten())).unwrap();
        let lines = calibration.lines(rates(0.1, Some(0.3))).unwrap();
        let judged = |score| calibration.judge(score, &lines, None);
        assert_eq!(judged(7.0).verdict, Verdict::Ok);
        assert_eq!(judged(8.5).verdict, Verdict::Review);
        assert_eq!(judged(10.5).verdict, Verdict::Anomalous);
        assert_eq!((judged(10.5).threshold, judged(10.5).p_value), (10.0, 1.0 / 11.0));
        let normalized = [5.5, 10.0, 14.5, 99.0, 0.0].map(|score| judged(score).normalized);
        assert_eq!(normalized, [0.0, 0.5, 1.0, 1.0, 0.0]);
    }

    #[test]
    fn rates_that_the_calibration_cannot_give_say_how_many_normals_they_take() {
        let calibration = Calibration::new(document(ten())).unwrap();
        let refused = |rates: Rates| calibration.lines(rates).unwrap_err().message().to_owned();
        assert!(refused(rates(0.05, None)).contains("takes 19 normal images; the calibration has 10"));
        assert!(refused(rates(0.0, None)).contains("above 0 and below 1"));
        assert!(refused(rates(0.2, Some(0.1))).contains("larger than"));
        let groups = (0..20).map(|at| sample(f64::from(at), Some(["a", "b", "c"][at as usize % 3]), None)).collect();
        let calibration = Calibration::new(document(groups)).unwrap();
        assert_eq!((calibration.count(), calibration.groups()), (20, Some(3)));
        let refused = calibration.lines(rates(0.1, None)).unwrap_err();
        assert!(refused.message().contains("takes 9 groups of normal images; the calibration has 3"), "{refused}");
    }

    #[test]
    fn anomalies_evaluate_and_do_not_calibrate() {
        let mut samples = ten();
        samples.extend([sample(11.0, None, Some("crack")), sample(4.5, None, Some("uneven"))]);
        samples[0].label = Some("good".to_owned());
        let calibration = Calibration::new(document(samples)).unwrap();
        assert_eq!(calibration.count(), 10);
        assert_eq!(calibration.evaluation().unwrap().auroc, 0.7);
        assert_eq!(calibration.quantiles()["0.5"], 5.5);
        assert!(Calibration::new(document(ten())).unwrap().evaluation().is_none());
    }

    #[test]
    fn what_cannot_calibrate_is_refused_with_its_reason() {
        let refused = |samples| Calibration::new(document(samples)).unwrap_err().message().to_owned();
        assert!(refused(vec![sample(1.0, None, None)]).contains("1 normal images"));
        assert!(refused(vec![sample(1.0, None, None); 5]).contains("the same score"));
        assert!(refused(vec![sample(1.0, None, None), sample(f64::NAN, None, None)]).contains("not finite"));
        let partly = vec![sample(1.0, Some("a"), None), sample(2.0, None, None), sample(3.0, Some("b"), None)];
        assert!(refused(partly).contains("2 of 3 normal images have a group"));
        let newer = CalibrationDocument { format: 2, ..document(ten()) };
        assert!(Calibration::new(newer).unwrap_err().message().contains("this version reads format 1"));
    }

    #[test]
    fn regions_begin_where_the_maps_of_normals_end_and_maps_have_one_scale() {
        let calibration = Calibration::new(document(ten())).unwrap();
        assert_eq!((calibration.pixel_threshold(rates(0.1, None)), calibration.map_scale()), (None, None));
        let samples = ten().into_iter().map(|sample| Sample { peak: Some(2.0 * sample.score), ..sample }).collect();
        let calibration = Calibration::new(document(samples)).unwrap();
        assert_eq!(calibration.pixel_threshold(rates(0.1, None)), Some(20.0));
        assert!((calibration.map_scale().unwrap() - 39.64).abs() < 1e-9, "{:?}", calibration.map_scale());
    }

    #[test]
    fn ties_and_missing_groups_are_warned_of() {
        let mut samples = ten();
        samples.extend(ten());
        let warnings = Calibration::new(document(samples)).unwrap().warnings();
        assert!(warnings.len() == 2 && warnings[0].starts_with("100 %"), "{warnings:?}");
    }
}
