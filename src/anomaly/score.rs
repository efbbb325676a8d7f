//! The metrics that a request may ask for, by name.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ErrorMetric, pooling::Pooling};
use crate::error::{Error, Result};

/// What an anomaly score is made of; every score grows with strangeness.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScoreMetric {
    /// Mean squared difference, 0…1.
    #[default]
    Mse,
    /// Mean absolute difference, 0…1.
    L1,
    /// 1 − structural similarity, 0…2.
    Ssim,
    /// Of variational models: how far the latent is from the prior, in nats.
    Kl,
    /// Of variational models: the negative evidence lower bound up to a constant, in nats.
    Elbo,
    /// 1 − gradient-magnitude similarity at several scales, 0…1.
    Gms,
    /// Of masked autoencoders: the squared difference where patches were hidden, over the complementary masks of four
    /// draws, 0…1.
    Hidden,
    /// Of models with a graph `anomaly`: what that graph gives.
    Graph,
    /// Of models that embed: the mean distance to the `k` nearest items of a `collection`.
    Knn,
    /// Of models with a memory of normal patches: the distance of each patch to the nearest ones of the memory.
    PatchKnn,
    /// Several scores in one, by the p-values of a calibration; a request asks for it by `scores`.
    Combined,
}

impl ScoreMetric {
    /// Those that a request may name.
    pub const ALL: [Self; 10] = [
        Self::Mse,
        Self::L1,
        Self::Ssim,
        Self::Kl,
        Self::Elbo,
        Self::Gms,
        Self::Hidden,
        Self::Graph,
        Self::Knn,
        Self::PatchKnn,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mse => "mse",
            Self::L1 => "l1",
            Self::Ssim => "ssim",
            Self::Kl => "kl",
            Self::Elbo => "elbo",
            Self::Gms => "gms",
            Self::Hidden => "hidden",
            Self::Graph => "graph",
            Self::Knn => "knn",
            Self::PatchKnn => "patch-knn",
            Self::Combined => "combined",
        }
    }

    /// The error of reconstruction that it is; none for those that are no comparison of two images, and for `hidden`,
    /// whose images are made otherwise.
    #[must_use]
    pub const fn error(self) -> Option<ErrorMetric> {
        match self {
            Self::Mse => Some(ErrorMetric::Mse),
            Self::L1 => Some(ErrorMetric::L1),
            Self::Ssim => Some(ErrorMetric::Ssim),
            Self::Gms => Some(ErrorMetric::Gms),
            Self::Kl | Self::Elbo | Self::Hidden | Self::Graph | Self::Knn | Self::PatchKnn | Self::Combined => None,
        }
    }

    /// Whether it tells where an image is strange.
    #[must_use]
    pub const fn has_map(self) -> bool {
        !matches!(self, Self::Kl | Self::Knn)
    }

    /// How a map becomes a score where a request does not say.
    #[must_use]
    pub const fn pooling(self) -> Pooling {
        match self {
            Self::Mse | Self::L1 | Self::Ssim | Self::Gms | Self::Hidden => Pooling::Mean,
            Self::Kl | Self::Elbo | Self::Graph | Self::Knn | Self::Combined => Pooling::Own,
            Self::PatchKnn => Pooling::Max,
        }
    }
}

impl fmt::Display for ScoreMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ScoreMetric {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|metric| metric.as_str() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            Error::invalid_request(format!("metric `{text}` is unknown; it is one of {known}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_and_unknown_ones_list_what_there_is() {
        for metric in ScoreMetric::ALL {
            assert_eq!(metric.as_str().parse::<ScoreMetric>().unwrap(), metric);
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.as_str());
        }
        let error = "MSE".parse::<ScoreMetric>().unwrap_err();
        assert!(error.message().contains("mse, l1, ssim, kl, elbo"), "{error}");
    }

    #[test]
    fn every_error_of_reconstruction_can_be_asked_for() {
        let errors: Vec<ErrorMetric> = ScoreMetric::ALL.into_iter().filter_map(ScoreMetric::error).collect();
        assert_eq!(errors, ErrorMetric::ALL);
        assert!(errors.iter().all(|error| error.as_str().parse::<ScoreMetric>().unwrap().error() == Some(*error)));
    }
}
