//! How a score is made, apart from the model.

use serde::{Deserialize, Serialize};

use super::{ScoreMetric, pooling::Pooling, roi::Roi, smoothing::MAX_SIGMA, tiles::LEAST_TILE};
use crate::error::{Error, Result};

/// The longest side of a tile.
const MOST_TILE: u32 = 8192;

/// The items that a `knn` score looks at, at most.
const MOST_NEIGHBOURS: u32 = 100;

/// The scores that are combined in one, at most.
const MOST_PARTS: usize = 8;

/// How a score is made, apart from the model: two scores compare only where all of it is the same.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScoreSettings {
    pub metric: ScoreMetric,
    #[schema(value_type = String, example = "mean")]
    pub pooling: Pooling,
    /// The standard deviation of the smoothing of the map, in pixels of the model's image; 0: none.
    pub sigma: f64,
    /// Pixels a side of the tiles that the image is cut into; none: it is scored as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tile: Option<u32>,
    /// Pixels by which tiles overlap at least; there if and only if there are tiles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<u32>,
    /// The part of the image that counts; none: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roi: Option<Roi>,
    /// The items that `knn` compares with; there if and only if that is the metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neighbours: Option<Neighbours>,
    /// The scores that are combined; there if and only if the metric is `combined`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<ScorePart>,
}

/// One of several scores that are combined.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScorePart {
    pub metric: ScoreMetric,
    /// What is usual for the metric unless it is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "max")]
    pub pooling: Option<Pooling>,
}

/// The items of a collection that an image is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Neighbours {
    pub collection: String,
    /// The nearest ones whose distances are averaged.
    pub k: u32,
}

/// The settings that a request names.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ScoreOptions {
    pub metric: Option<ScoreMetric>,
    pub pooling: Option<Pooling>,
    pub sigma: Option<f64>,
    pub tile: Option<u32>,
    pub overlap: Option<u32>,
    pub roi: Option<Roi>,
    pub collection: Option<String>,
    pub k: Option<u32>,
    /// Scores to be combined, in place of a metric and a pooling.
    pub scores: Option<Vec<ScorePart>>,
}

impl ScoreSettings {
    /// The settings of a metric with nothing else named.
    #[must_use]
    pub fn of(metric: ScoreMetric) -> Self {
        Self { metric, pooling: metric.pooling(), ..Self::default() }
    }

    /// The settings of each score that is made, in the order of the parts; these alone where nothing is combined.
    #[must_use]
    pub fn each(&self) -> Vec<Self> {
        if self.parts.is_empty() {
            return vec![self.clone()];
        }
        let one = |part: &ScorePart| {
            let pooling = part.pooling.unwrap_or(part.metric.pooling());
            Self { metric: part.metric, pooling, parts: Vec::new(), ..self.clone() }
        };
        self.parts.iter().map(one).collect()
    }

    /// Whether the score is one of the map, after smoothing and within the region of interest.
    #[must_use]
    pub fn pools_map(&self) -> bool {
        match self.pooling {
            Pooling::Own => false,
            Pooling::Max | Pooling::Top(_) => true,
            // The usual mean of a metric is made of the images themselves.
            Pooling::Mean => {
                let usual = self.metric.pooling() == Pooling::Mean;
                !usual || self.sigma > 0.0 || self.tile.is_some() || self.roi.is_some()
            }
        }
    }
}

impl ScoreOptions {
    /// The settings that are named, and for the others those that the metric has; `usual` is the metric where none is
    /// named.
    ///
    /// # Errors
    /// `invalid_request` for a value out of range, and for what does not go with the metric.
    pub fn settings(self, usual: ScoreMetric) -> Result<ScoreSettings> {
        if let Some(scores) = &self.scores {
            let scores = scores.clone();
            return Self { scores: None, ..self }.combined(&scores);
        }
        let Self { metric, pooling, sigma, tile, overlap, roi, collection, k, scores: _ } = self;
        let metric = metric.unwrap_or(usual);
        if metric == ScoreMetric::Combined {
            return Err(Error::invalid_request(
                "scores are combined by `scores`, a list of metrics with their poolings",
            ));
        }
        let sigma = sigma.unwrap_or(0.0);
        if !(0.0..=MAX_SIGMA).contains(&sigma) {
            return Err(Error::invalid_request(format!("`sigma` is 0 to {MAX_SIGMA} pixels, not {sigma}")));
        }
        let overlap = overlap_of(tile, overlap)?;
        if !metric.has_map() {
            refuse_map_settings(
                metric,
                &[
                    ("pooling", pooling.is_some_and(|pooling| pooling != Pooling::Own)),
                    ("sigma", sigma > 0.0),
                    ("tile", tile.is_some()),
                    ("roi", roi.is_some()),
                ],
            )?;
        }
        let of_map = sigma > 0.0 || tile.is_some() || roi.is_some();
        let pooling = match (pooling, metric.pooling()) {
            (Some(Pooling::Own), own) if own != Pooling::Own => {
                let text = format!("`pooling` own is for metrics with a score beside their map, and {metric} has none");
                return Err(Error::invalid_request(text));
            }
            (Some(Pooling::Own), _) if of_map => {
                let text = "`pooling` own takes no map, so `sigma`, `tile` and `roi` have no part in it: name max, mean or top:SHARE";
                return Err(Error::invalid_request(text));
            }
            (Some(pooling), _) => pooling,
            // A score beside the map knows nothing of what is done to the map.
            (None, Pooling::Own) if of_map => Pooling::Max,
            (None, own) => own,
        };
        let neighbours = neighbours_of(metric, collection, k)?;
        Ok(ScoreSettings { metric, pooling, sigma, tile, overlap, roi, neighbours, parts: Vec::new() })
    }

    /// The settings of several scores in one. All of them have the same smoothing, tiles and region.
    fn combined(self, scores: &[ScorePart]) -> Result<ScoreSettings> {
        if self.metric.is_some_and(|metric| metric != ScoreMetric::Combined) || self.pooling.is_some() {
            return Err(Error::invalid_request(
                "`scores` names metrics and poolings: leave `metric` and `pooling` out",
            ));
        }
        if !(2..=MOST_PARTS).contains(&scores.len()) {
            let text = format!("`scores` is a list of 2 to {MOST_PARTS} scores, not {}", scores.len());
            return Err(Error::invalid_request(text));
        }
        let mut parts = Vec::with_capacity(scores.len());
        let mut settings = ScoreSettings::default();
        for part in scores {
            if part.metric == ScoreMetric::Knn {
                return Err(Error::invalid_request("metric knn is no part of a combined score"));
            }
            let one = Self { metric: Some(part.metric), pooling: part.pooling, ..self.clone() };
            settings = one.settings(part.metric)?;
            let part = ScorePart { metric: settings.metric, pooling: Some(settings.pooling) };
            if parts.contains(&part) {
                let text = format!("`scores` has {} by {} twice", part.metric, settings.pooling);
                return Err(Error::invalid_request(text));
            }
            parts.push(part);
        }
        Ok(ScoreSettings { metric: ScoreMetric::Combined, pooling: Pooling::Own, neighbours: None, parts, ..settings })
    }

    /// The settings that are named, and for the others those of `base`. Another metric than that of `base` has its own
    /// pooling.
    ///
    /// # Errors
    /// As [`settings`](Self::settings).
    pub fn over(self, base: &ScoreSettings) -> Result<ScoreSettings> {
        if self.scores.is_some() || self.metric.is_none() && self.pooling.is_none() && !base.parts.is_empty() {
            return self.combined_over(base);
        }
        let same_metric = self.metric.is_none_or(|metric| metric == base.metric);
        let neighbours = base.neighbours.as_ref().filter(|_| same_metric);
        let merged = Self {
            metric: Some(self.metric.unwrap_or(base.metric)),
            pooling: self.pooling.or(same_metric.then_some(base.pooling)),
            sigma: self.sigma.or(Some(base.sigma)),
            overlap: self.overlap.or(base.overlap.filter(|_| self.tile.is_none_or(|tile| base.tile == Some(tile)))),
            tile: self.tile.or(base.tile),
            roi: self.roi.or_else(|| base.roi.clone()),
            collection: self.collection.or_else(|| neighbours.map(|near| near.collection.clone())),
            k: self.k.or_else(|| neighbours.map(|near| near.k)),
            scores: None,
        };
        merged.settings(base.metric)
    }

    /// As [`over`](Self::over), of combined scores.
    fn combined_over(self, base: &ScoreSettings) -> Result<ScoreSettings> {
        let merged = Self {
            sigma: self.sigma.or(Some(base.sigma)),
            overlap: self.overlap.or(base.overlap.filter(|_| self.tile.is_none_or(|tile| base.tile == Some(tile)))),
            tile: self.tile.or(base.tile),
            roi: self.roi.clone().or_else(|| base.roi.clone()),
            scores: self.scores.clone().or_else(|| Some(base.parts.clone())),
            ..self
        };
        merged.settings(base.metric)
    }
}

/// The overlap of tiles: an eighth of their side unless it is named.
fn overlap_of(tile: Option<u32>, overlap: Option<u32>) -> Result<Option<u32>> {
    let Some(tile) = tile else {
        return match overlap {
            None => Ok(None),
            Some(_) => Err(Error::invalid_request("`overlap` is that of tiles: give `tile` too")),
        };
    };
    if !(LEAST_TILE..=MOST_TILE).contains(&tile) {
        return Err(Error::invalid_request(format!("`tile` is {LEAST_TILE} to {MOST_TILE} pixels, not {tile}")));
    }
    let overlap = overlap.unwrap_or(tile / 8);
    if overlap > tile / 2 {
        let most = tile / 2;
        return Err(Error::invalid_request(format!(
            "`overlap` is at most half of `tile`, {most} pixels, not {overlap}"
        )));
    }
    Ok(Some(overlap))
}

fn refuse_map_settings(metric: ScoreMetric, given: &[(&str, bool)]) -> Result<()> {
    match given.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((name, _)) => {
            let text = format!("metric {metric} is of the latent and has no map: leave `{name}` out");
            Err(Error::invalid_request(text))
        }
    }
}

fn neighbours_of(metric: ScoreMetric, collection: Option<String>, k: Option<u32>) -> Result<Option<Neighbours>> {
    match (metric, collection) {
        (ScoreMetric::Knn, Some(collection)) => {
            let k = k.unwrap_or(1);
            if !(1..=MOST_NEIGHBOURS).contains(&k) {
                return Err(Error::invalid_request(format!("`k` is 1 to {MOST_NEIGHBOURS} items, not {k}")));
            }
            Ok(Some(Neighbours { collection, k }))
        }
        (ScoreMetric::Knn, None) => {
            Err(Error::invalid_request("metric knn compares with the items of a `collection`: name it"))
        }
        (_, None) if k.is_none() => Ok(None),
        _ => Err(Error::invalid_request(format!("`collection` and `k` are for metric knn, not {metric}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(metric: ScoreMetric, named: ScoreOptions) -> Result<ScoreSettings> {
        named.settings(metric)
    }

    #[test]
    fn what_a_request_leaves_out_is_the_metrics() {
        let none = ScoreOptions::default;
        let of = |metric| resolved(metric, none()).unwrap();
        assert_eq!(of(ScoreMetric::Mse), ScoreSettings::default());
        assert_eq!(of(ScoreMetric::Elbo).pooling, Pooling::Own);
        assert_eq!(of(ScoreMetric::PatchKnn).pooling, Pooling::Max);
        let tiled = resolved(ScoreMetric::Graph, ScoreOptions { tile: Some(256), ..none() }).unwrap();
        assert_eq!((tiled.pooling, tiled.overlap), (Pooling::Max, Some(32)));
        let near = ScoreOptions { collection: Some("good".to_owned()), ..none() };
        let near = resolved(ScoreMetric::Knn, near).unwrap().neighbours.unwrap();
        assert_eq!((near.collection.as_str(), near.k), ("good", 1));
    }

    #[test]
    fn what_does_not_go_together_is_refused_with_its_reason() {
        let none = ScoreOptions::default;
        let own = Some(Pooling::Own);
        for (metric, named, part) in [
            (ScoreMetric::Mse, ScoreOptions { sigma: Some(-1.0), ..none() }, "`sigma` is 0 to 64"),
            (ScoreMetric::Mse, ScoreOptions { sigma: Some(f64::NAN), ..none() }, "`sigma` is 0 to 64"),
            (ScoreMetric::Mse, ScoreOptions { tile: Some(8), ..none() }, "`tile` is 16 to 8192"),
            (ScoreMetric::Mse, ScoreOptions { overlap: Some(8), ..none() }, "give `tile` too"),
            (ScoreMetric::Mse, ScoreOptions { tile: Some(64), overlap: Some(33), ..none() }, "at most half"),
            (ScoreMetric::Mse, ScoreOptions { pooling: own, ..none() }, "mse has none"),
            (ScoreMetric::Graph, ScoreOptions { pooling: own, sigma: Some(1.0), ..none() }, "takes no map"),
            (ScoreMetric::Kl, ScoreOptions { pooling: Some(Pooling::Max), ..none() }, "leave `pooling` out"),
            (ScoreMetric::Kl, ScoreOptions { tile: Some(64), ..none() }, "leave `tile` out"),
            (ScoreMetric::Knn, none(), "name it"),
            (ScoreMetric::Mse, ScoreOptions { k: Some(2), ..none() }, "are for metric knn"),
            (ScoreMetric::Knn, ScoreOptions { collection: Some("c".into()), k: Some(0), ..none() }, "`k` is 1 to 100"),
        ] {
            let error = resolved(metric, named).unwrap_err();
            assert!(error.message().contains(part), "{metric} {part}: {error}");
        }
    }

    #[test]
    fn settings_are_read_back_as_they_are_written() {
        let named = ScoreOptions { tile: Some(64), roi: Some(Roi::Box([1, 2, 3, 4])), ..ScoreOptions::default() };
        let settings = resolved(ScoreMetric::Ssim, named).unwrap();
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<ScoreSettings>(&text).unwrap(), settings);
        let plain = serde_json::to_string(&ScoreSettings::default()).unwrap();
        assert_eq!(plain, r#"{"metric":"mse","pooling":"mean","sigma":0.0}"#);
        assert!(settings.pools_map() && !ScoreSettings::default().pools_map());
        let mean = |metric| ScoreSettings { metric, pooling: Pooling::Mean, ..ScoreSettings::default() };
        assert!(mean(ScoreMetric::Graph).pools_map() && !mean(ScoreMetric::Ssim).pools_map());
    }

    #[test]
    fn scores_are_combined_with_settings_in_common() {
        let part = |metric, pooling| ScorePart { metric, pooling };
        let max = part(ScoreMetric::Graph, Some(Pooling::Max));
        let of = |scores: Vec<ScorePart>| ScoreOptions { scores: Some(scores), ..ScoreOptions::default() };
        let options = ScoreOptions { sigma: Some(2.0), ..of(vec![max, part(ScoreMetric::PatchKnn, None)]) };
        let settings = resolved(ScoreMetric::Mse, options).unwrap();
        assert_eq!((settings.metric, settings.pooling), (ScoreMetric::Combined, Pooling::Own));
        let each: Vec<_> = settings.each().into_iter().map(|one| (one.metric, one.pooling, one.sigma)).collect();
        assert_eq!(each, [(ScoreMetric::Graph, Pooling::Max, 2.0), (ScoreMetric::PatchKnn, Pooling::Max, 2.0)]);
        assert_eq!(ScoreOptions::default().over(&settings).unwrap(), settings);
        for (options, part) in [
            (of(vec![max]), "2 to 8 scores"),
            (of(vec![max, max]), "graph by max twice"),
            (ScoreOptions { metric: Some(ScoreMetric::Mse), ..of(vec![max, max]) }, "leave `metric`"),
            (ScoreOptions { metric: Some(ScoreMetric::Combined), ..ScoreOptions::default() }, "by `scores`"),
            (of(vec![max, part(ScoreMetric::Knn, None)]), "knn is no part"),
        ] {
            let error = resolved(ScoreMetric::Mse, options).unwrap_err();
            assert!(error.message().contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn what_is_left_out_is_that_of_the_settings_below() {
        let tiled = ScoreOptions { sigma: Some(2.0), tile: Some(64), overlap: Some(4), ..ScoreOptions::default() };
        let base = resolved(ScoreMetric::Ssim, tiled).unwrap();
        assert_eq!(ScoreOptions::default().over(&base).unwrap(), base);
        let larger = ScoreOptions { tile: Some(128), ..ScoreOptions::default() }.over(&base).unwrap();
        assert_eq!((larger.tile, larger.overlap, larger.sigma), (Some(128), Some(16), 2.0));
        let other =
            ScoreOptions { metric: Some(ScoreMetric::PatchKnn), ..ScoreOptions::default() }.over(&base).unwrap();
        assert_eq!((other.pooling, other.tile), (Pooling::Max, Some(64)));
    }
}
