//! From a raw score to a p-value: split-conformal prediction over the scores of images known to be normal.
//!
//! With n calibration scores, p = (1 + #{calibration score ≥ s}) / (n + 1) is at most α with probability at most α, if
//! the image and the calibration images are exchangeable (Vovk; Bates et al., *Testing for outliers with conformal
//! p-values*, arXiv 2104.08279). This *marginal* guarantee is an average over calibrations. For one calibration of n
//! scores the obtained rate is distributed as Beta(k, n + 1 − k) with k = ⌊α (n + 1)⌋; [`Guarantee::Conditional`] takes
//! the largest k for which that rate is at most α with probability 0.9.
//!
//! Images of one part or lot are not exchangeable with each other, but parts are. So where groups are given, a p-value
//! is made from one score of each group, drawn at random, many times over; the draws are combined by twice their median,
//! which is a valid p-value whatever they have in common (Rüschendorf 1982; Vovk and Wang, *Combining p-values via
//! averaging*, 2020). The number of groups takes the place of n everywhere.

mod binomial;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use binomial::{at_least, beta_quantile};

/// How many times one score of each group is drawn. It is odd, so that the median is one of them.
const DRAWS: usize = 99;

/// The probability with which a conditional guarantee holds, over calibrations.
pub const CONFIDENCE: f64 = 0.9;

/// The probability that the obtained rate lies inside [`Decision::interval`].
pub const COVERAGE: f64 = 0.95;

/// What a false-positive rate is promised over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Guarantee {
    /// On average over calibrations.
    #[default]
    Marginal,
    /// For this calibration, with probability [`CONFIDENCE`].
    Conditional,
}

/// Calibration scores, ready to judge others.
#[derive(Debug, Clone)]
pub struct Conformal {
    /// Every score, in ascending order.
    all: Vec<f64>,
    /// One score of each group, in ascending order, for each draw; a single one with all scores where there are no
    /// groups.
    draws: Vec<Vec<f64>>,
}

/// Where a rate puts the line between normal and anomalous.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// A higher score is anomalous; infinite where no score can be, which groups have at the lowest rates.
    pub threshold: f64,
    /// The largest p-value that is anomalous.
    pub level: f64,
    /// Where the obtained false-positive rate of this calibration lies with probability [`COVERAGE`].
    pub interval: (f64, f64),
}

/// A rate that a calibration of this size cannot give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooFew {
    /// The normals (or groups of normals) that there are.
    pub have: usize,
    /// The normals (or groups) that the rate takes.
    pub need: usize,
}

impl Conformal {
    /// Calibrates by finite scores, each with the number of its group where there are groups. The same seed draws the
    /// same scores of each group.
    #[must_use]
    pub fn new(scores: &[f64], groups: Option<&[usize]>, seed: u64) -> Self {
        let mut all = scores.to_vec();
        all.sort_by(f64::total_cmp);
        let draws = match groups {
            None => vec![all.clone()],
            Some(groups) => {
                let members = members(scores, groups);
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                (0..DRAWS).map(|_| draw(&members, &mut random)).collect()
            }
        };
        Self { all, draws }
    }

    /// The scores that count as independent: one for each group, or all.
    #[must_use]
    pub fn independent(&self) -> usize {
        self.draws.first().map_or(0, Vec::len)
    }

    /// The share of calibration scores that equal another one.
    #[must_use]
    pub fn ties(&self) -> f64 {
        let tied = (0..self.all.len()).filter(|&at| {
            let same = |other: Option<&f64>| other.is_some_and(|other| *other == self.all[at]);
            same(at.checked_sub(1).and_then(|before| self.all.get(before))) || same(self.all.get(at + 1))
        });
        tied.count() as f64 / self.all.len().max(1) as f64
    }

    /// The score below which a share of the calibration scores lies, interpolated linearly as NumPy does by default.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let last = self.all.len().checked_sub(1)?;
        let position = share.clamp(0.0, 1.0) * last as f64;
        let below = position.floor() as usize;
        let above = (below + 1).min(last);
        Some(self.all[below] + (self.all[above] - self.all[below]) * (position - below as f64))
    }

    /// The p-value of a score; equal calibration scores count against the image.
    #[must_use]
    pub fn p_value(&self, score: f64) -> f64 {
        self.combined(|sorted| {
            let reaching = sorted.len() - sorted.partition_point(|calibrated| *calibrated < score);
            (1 + reaching) as f64 / (sorted.len() + 1) as f64
        })
    }

    /// The p-value of a score where ties are broken at random: `draw` is uniform in 0…1 and decides them all.
    #[must_use]
    pub fn p_value_with_ties_drawn(&self, score: f64, draw: f64) -> f64 {
        self.combined(|sorted| {
            let below = sorted.partition_point(|calibrated| *calibrated < score);
            let to = sorted.partition_point(|calibrated| *calibrated <= score);
            let (above, tied) = (sorted.len() - to, to - below);
            (above as f64 + draw * (1 + tied) as f64) / (sorted.len() + 1) as f64
        })
    }

    fn combined(&self, of: impl Fn(&[f64]) -> f64) -> f64 {
        let mut values: Vec<f64> = self.draws.iter().map(|sorted| of(sorted)).collect();
        if values.len() == 1 {
            return values[0];
        }
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).map_or(1.0, |median| (2.0 * median).min(1.0))
    }

    /// The p-value of a score above all others: none is lower.
    #[must_use]
    pub fn lowest_p_value(&self) -> f64 {
        self.p_value(f64::INFINITY)
    }

    /// The lowest rate at which an image can be anomalous.
    #[must_use]
    pub fn lowest_rate(&self, guarantee: Guarantee) -> f64 {
        let (n, lowest) = (self.independent(), self.lowest_p_value());
        match guarantee {
            Guarantee::Marginal => lowest,
            Guarantee::Conditional => {
                let ranks = (lowest * (n + 1) as f64).round() as usize;
                // The rate at which that many ranks just have the confidence; the bisection may end below it.
                (beta_quantile(ranks, n, CONFIDENCE) * (1.0 + 1e-9)).min(1.0)
            }
        }
    }

    /// One score of each group, or all scores: independent of each other, in ascending order.
    #[must_use]
    pub fn reference(&self) -> &[f64] {
        self.draws.first().map_or(&[], Vec::as_slice)
    }

    /// The line that a false-positive rate draws.
    ///
    /// # Errors
    /// [`TooFew`] where the rate takes more independent scores than there are.
    pub fn decide(&self, rate: f64, guarantee: Guarantee) -> Result<Decision, TooFew> {
        let n = self.independent();
        let rank = rank(n, rate, guarantee);
        if rank == 0 {
            return Err(TooFew { have: n, need: needed(rate, guarantee) });
        }
        let level = match guarantee {
            Guarantee::Marginal => rate,
            Guarantee::Conditional => rank as f64 / (n + 1) as f64,
        };
        // p-values fall as scores grow: the threshold is the first calibration score above which they are low enough.
        let low_enough = |score: &f64| self.p_value(score.next_up()) <= level;
        let first = self.all.partition_point(|score| !low_enough(score));
        let threshold = self.all.get(first).copied().unwrap_or(f64::INFINITY);
        let tail = (1.0 - COVERAGE) / 2.0;
        let interval = (beta_quantile(rank, n, tail), beta_quantile(rank, n, 1.0 - tail));
        Ok(Decision { threshold, level, interval })
    }
}

/// The scores of each group, by its number.
fn members(scores: &[f64], groups: &[usize]) -> Vec<Vec<f64>> {
    let mut members: Vec<Vec<f64>> = Vec::new();
    for (score, &group) in scores.iter().zip(groups) {
        if group >= members.len() {
            members.resize(group + 1, Vec::new());
        }
        members[group].push(*score);
    }
    members.retain(|scores| !scores.is_empty());
    members
}

/// One score of each group, in ascending order.
fn draw(members: &[Vec<f64>], random: &mut ChaCha8Rng) -> Vec<f64> {
    let mut drawn: Vec<f64> = members.iter().map(|scores| scores[random.random_range(0..scores.len())]).collect();
    drawn.sort_by(f64::total_cmp);
    drawn
}

/// The k of n + 1 ranks that are anomalous at a rate; 0 where there is none.
fn rank(n: usize, rate: f64, guarantee: Guarantee) -> usize {
    // The product may end just below the whole number that it is.
    let most = (rate * (n + 1) as f64 * (1.0 + 1e-12)).floor() as usize;
    match guarantee {
        Guarantee::Marginal => most.min(n),
        // The obtained rate is at most α exactly when at least k of n scores drawn uniformly are at most α.
        Guarantee::Conditional => (1..=most.min(n)).rev().find(|&k| at_least(k, n, rate) >= CONFIDENCE).unwrap_or(0),
    }
}

/// The least number of independent scores with which a rate can be given.
fn needed(rate: f64, guarantee: Guarantee) -> usize {
    let marginal = (1.0 / rate - 1.0 - 1e-9).ceil().max(1.0);
    let need = match guarantee {
        Guarantee::Marginal => marginal,
        // One of n scores is at most α with probability 1 − (1 − α)ⁿ.
        Guarantee::Conditional => ((1.0 - CONFIDENCE).ln() / (-rate).ln_1p()).ceil().max(marginal),
    };
    need as usize
}

/// The p-values that the Benjamini–Hochberg procedure rejects at a false-discovery rate, in their order.
#[must_use]
pub fn benjamini_hochberg(p_values: &[f64], rate: f64) -> Vec<bool> {
    let mut sorted: Vec<f64> = p_values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len() as f64;
    let passing = sorted.iter().enumerate().filter(|(at, p)| **p <= rate * (at + 1) as f64 / count);
    let cut = passing.map(|(_, p)| *p).fold(f64::NEG_INFINITY, f64::max);
    p_values.iter().map(|p| *p <= cut).collect()
}

#[cfg(test)]
mod tests;
