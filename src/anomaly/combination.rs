//! Several scores in one: the sum of −log p over their p-values (Fisher's combination), taken as a score of its own.
//!
//! Ranks say nothing of how far a score lies above every normal one, and so many anomalies would have the same sum. There
//! −log p goes on as that of an exponential tail: ln (n + 1) + (s − highest) / β, with β the mean by which the highest
//! tenth of the normal scores exceeds the one below it. The sum is calibrated as it is, so nothing depends on the tail being
//! of that form.
//!
//! The p-values of an image's scores are made by some of a calibration's normal images, and what they add up to is
//! calibrated by the others: so it does not matter how far the scores depend on each other.

use std::collections::HashSet;

use rand::{SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;

use super::calibration::Sample;
use crate::error::{Error, Result};

/// The seed of the draw of the normals that make p-values.
const SEED: u64 = 0;

/// The scores by which p-values are made.
#[derive(Debug, Clone, Default)]
pub struct Reference {
    parts: Vec<Part>,
}

/// The scores of normal images by one metric and pooling.
#[derive(Debug, Clone)]
struct Part {
    /// In ascending order.
    scores: Vec<f64>,
    /// By how much a score in the tail grows while its probability falls to the e-th part.
    spread: f64,
}

impl Part {
    fn new(mut scores: Vec<f64>) -> Self {
        scores.sort_by(f64::total_cmp);
        let top = (scores.len() / 10).max(1);
        let below = scores.len().checked_sub(top + 1).and_then(|at| scores.get(at));
        let excess =
            |below: &f64| scores[scores.len() - top..].iter().map(|score| score - below).sum::<f64>() / top as f64;
        let range = |scores: &[f64]| scores.last().zip(scores.first()).map_or(0.0, |(last, first)| last - first);
        let spread = below.map(excess).filter(|spread| *spread > 0.0).unwrap_or_else(|| range(&scores));
        Self { spread: if spread > 0.0 { spread } else { 1.0 }, scores }
    }

    /// −log p of a score, in nats.
    fn surprise(&self, score: f64) -> f64 {
        let above = self.scores.len() - self.scores.partition_point(|normal| *normal < score);
        let by_rank = -((1.0 + above as f64) / (self.scores.len() as f64 + 1.0)).ln();
        let beyond = self.scores.last().map_or(0.0, |highest| (score - highest).max(0.0));
        by_rank + beyond / self.spread
    }
}

impl Reference {
    /// The scores of the samples that make p-values.
    #[must_use]
    pub fn of(samples: &[Sample]) -> Self {
        let chosen: Vec<&Sample> = samples.iter().filter(|sample| sample.reference).collect();
        let count = chosen.iter().map(|sample| sample.parts.len()).min().unwrap_or(0);
        let part = |at: usize| Part::new(chosen.iter().map(|sample| sample.parts[at]).collect());
        Self { parts: (0..count).map(part).collect() }
    }

    /// Σ −log p over the parts, in nats; p = (1 + #{reference ≥ score}) / (n + 1) up to the highest of them.
    ///
    /// # Errors
    /// `invalid_request` for as many parts as the calibration does not have.
    pub fn combine(&self, scores: &[f64]) -> Result<f64> {
        if scores.len() != self.parts.len() {
            let text = format!(
                "{} scores are to be combined, and the calibration combines {}",
                scores.len(),
                self.parts.len()
            );
            return Err(Error::invalid_request(text));
        }
        Ok(scores.iter().zip(&self.parts).map(|(score, part)| part.surprise(*score)).sum())
    }
}

/// Chooses half of the normals, or the normals of half of their groups, to make p-values, and gives the others, and the
/// anomalies, their combined scores. The same samples are always divided alike.
///
/// # Errors
/// As [`Reference::combine`].
pub fn divide(samples: &mut [Sample]) -> Result<()> {
    let name = |(at, sample): (usize, &Sample)| sample.group.clone().unwrap_or_else(|| format!("\0{at}"));
    let normals = samples.iter().enumerate().filter(|(_, sample)| sample.is_labelled_normal());
    let mut groups: Vec<String> = normals.map(name).collect();
    groups.sort();
    groups.dedup();
    groups.shuffle(&mut ChaCha8Rng::seed_from_u64(SEED));
    groups.truncate(groups.len() / 2);
    let groups: HashSet<String> = groups.into_iter().collect();
    for (at, sample) in samples.iter_mut().enumerate() {
        sample.reference = sample.is_labelled_normal() && groups.contains(&name((at, &*sample)));
    }
    let reference = Reference::of(samples);
    for sample in samples {
        sample.score = if sample.reference { 0.0 } else { reference.combine(&sample.parts)? };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(parts: &[f64], group: Option<&str>, label: Option<&str>) -> Sample {
        let (group, label) = (group.map(str::to_owned), label.map(str::to_owned));
        Sample { score: 0.0, peak: None, group, label, parts: parts.to_vec(), reference: false }
    }

    #[test]
    fn a_combined_score_is_the_sum_of_the_surprise_of_its_parts() {
        let mut samples: Vec<Sample> =
            (1..=9).map(|at| sample(&[f64::from(at), f64::from(10 - at)], None, None)).collect();
        samples.iter_mut().for_each(|sample| sample.reference = true);
        let reference = Reference::of(&samples);
        let given = reference.combine(&[8.5, 0.0]).unwrap();
        assert!((given - -(0.2_f64.ln() + 1.0_f64.ln())).abs() < 1e-12, "{given}");
        // Above all nine, whose highest one exceeds the next by one.
        assert!((reference.combine(&[9.0, 12.0]).unwrap() - (3.0 - 0.2_f64.ln() - 0.1_f64.ln())).abs() < 1e-12);
        assert!(reference.combine(&[1.0]).is_err());
    }

    #[test]
    fn half_of_the_groups_make_p_values_and_no_group_does_both() {
        let group = |at: usize| ["a", "b", "c", "d"][at % 4];
        let mut samples: Vec<Sample> = (0..40).map(|at| sample(&[at as f64], Some(group(at)), None)).collect();
        samples.push(sample(&[100.0], Some("a"), Some("crack")));
        divide(&mut samples).unwrap();
        let of = |reference: bool| {
            let groups = samples[..40].iter().filter(|sample| sample.reference == reference);
            groups.filter_map(|sample| sample.group.clone()).collect::<std::collections::BTreeSet<_>>()
        };
        assert!(of(true).len() == 2 && of(false).len() == 2 && of(true).is_disjoint(&of(false)));
        assert!(!samples[40].reference && samples[40].score > 21.0_f64.ln() + 5.0, "{:?}", samples[40]);
        let before = samples.clone();
        divide(&mut samples).unwrap();
        assert_eq!(samples, before);
    }

    #[test]
    fn scores_that_are_all_the_same_still_tell_what_lies_above() {
        let part = Part::new(vec![2.0; 4]);
        assert!((part.surprise(2.0), part.surprise(1.0)) == (0.0, 0.0));
        assert!((part.surprise(2.5) - (0.5 + 5.0_f64.ln())).abs() < 1e-12);
        assert!(Part::new(Vec::new()).surprise(1.0).abs() < 1e-12);
    }

    #[test]
    fn without_groups_half_of_the_normals_make_p_values() {
        let mut samples: Vec<Sample> = (0..21).map(|at| sample(&[f64::from(at), 1.0], None, None)).collect();
        divide(&mut samples).unwrap();
        assert_eq!(samples.iter().filter(|sample| sample.reference).count(), 10);
    }
}
