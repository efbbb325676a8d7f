//! How well scores tell anomalies from normals, where both are labelled: the figures of scikit-learn.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The false-positive rates for which the recall is told.
const RATES: [f64; 4] = [0.01, 0.02, 0.05, 0.1];

/// What the scores of labelled images come to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Evaluation {
    /// The probability that an anomaly scores higher than a normal, equal scores counted half (`roc_auc_score`).
    pub auroc: f64,
    /// The precision at each anomaly's score, averaged (`average_precision_score`).
    pub average_precision: f64,
    pub f1_best: BestF1,
    pub rates: Vec<RecallAtRate>,
}

/// The threshold with the highest F1: the harmonic mean of precision and recall where higher scores are anomalous.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BestF1 {
    /// Scores of at least this are anomalous.
    pub threshold: f64,
    pub f1: f64,
}

/// The share of anomalies found while at most a share of the normals is called anomalous.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RecallAtRate {
    pub false_positive_rate: f64,
    pub recall: f64,
}

/// The scores at a threshold and above: how many of them are normals and how many anomalies.
struct Step {
    threshold: f64,
    false_positives: usize,
    true_positives: usize,
}

impl Evaluation {
    /// The figures of finite scores; none where there is no normal or no anomaly.
    #[must_use]
    pub fn of(normals: &[f64], anomalies: &[f64]) -> Option<Self> {
        if normals.is_empty() || anomalies.is_empty() {
            return None;
        }
        let steps = steps(normals, anomalies);
        let (negatives, positives) = (normals.len() as f64, anomalies.len() as f64);
        let (mut area, mut precision_area) = (0.0, 0.0);
        let mut best = BestF1 { threshold: f64::INFINITY, f1: 0.0 };
        let mut before = (0, 0);
        for step in &steps {
            let (fp, tp) = (step.false_positives as f64, step.true_positives as f64);
            let (before_fp, before_tp) = (before.0 as f64, before.1 as f64);
            area += (fp - before_fp) * (tp + before_tp) / 2.0;
            precision_area += (tp - before_tp) * tp / (tp + fp);
            let f1 = 2.0 * tp / (positives + tp + fp);
            if f1 > best.f1 {
                best = BestF1 { threshold: step.threshold, f1 };
            }
            before = (step.false_positives, step.true_positives);
        }
        let recall = |rate: f64| {
            let allowed = |step: &&Step| step.false_positives as f64 <= rate * negatives;
            let found = steps.iter().take_while(allowed).last().map_or(0, |step| step.true_positives);
            RecallAtRate { false_positive_rate: rate, recall: found as f64 / positives }
        };
        Some(Self {
            auroc: area / (negatives * positives),
            average_precision: precision_area / positives,
            f1_best: best,
            rates: RATES.into_iter().map(recall).collect(),
        })
    }
}

/// One step for each different score, the highest first.
fn steps(normals: &[f64], anomalies: &[f64]) -> Vec<Step> {
    let labelled = normals.iter().map(|score| (*score, false)).chain(anomalies.iter().map(|score| (*score, true)));
    let mut scores: Vec<(f64, bool)> = labelled.collect();
    scores.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut false_positives, mut true_positives) = (0, 0);
    let mut steps = Vec::new();
    for same in scores.chunk_by(|a, b| a.0 == b.0) {
        true_positives += same.iter().filter(|(_, anomaly)| *anomaly).count();
        false_positives += same.iter().filter(|(_, anomaly)| !anomaly).count();
        steps.push(Step { threshold: same[0].0, false_positives, true_positives });
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_those_of_scikit_learn() {
        let normals = [0.1, 0.4, 0.35, 0.4, 0.2, 0.05, 0.6, 0.3];
        let anomalies = [0.8, 0.4, 0.55, 0.9, 0.33];
        let evaluation = Evaluation::of(&normals, &anomalies).unwrap();
        // roc_auc_score, average_precision_score, and the best of precision_recall_curve.
        assert!((evaluation.auroc - 0.825).abs() < 1e-12, "{evaluation:?}");
        assert!((evaluation.average_precision - 0.775396825396825).abs() < 1e-12, "{evaluation:?}");
        assert!((evaluation.f1_best.f1 - 0.714285714285714).abs() < 1e-12, "{evaluation:?}");
        assert_eq!(evaluation.f1_best.threshold, 0.33);
        let recalls: Vec<f64> = evaluation.rates.iter().map(|rate| rate.recall).collect();
        assert_eq!(recalls, [0.4; 4]);
    }

    #[test]
    fn perfect_scores_find_everything_and_one_kind_alone_has_no_figures() {
        let evaluation = Evaluation::of(&[0.0, 1.0], &[2.0, 3.0]).unwrap();
        assert_eq!((evaluation.auroc, evaluation.average_precision), (1.0, 1.0));
        assert_eq!(evaluation.f1_best, BestF1 { threshold: 2.0, f1: 1.0 });
        assert!(evaluation.rates.iter().all(|rate| rate.recall == 1.0));
        assert_eq!(Evaluation::of(&[1.0], &[]), None);
        assert_eq!(Evaluation::of(&[1.0], &[1.0]).unwrap().auroc, 0.5);
    }
}
