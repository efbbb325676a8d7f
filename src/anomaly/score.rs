//! The metrics that a request may ask for, by name.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ErrorMetric;
use crate::error::{Error, Result};

/// What an anomaly score is made of; every score grows with strangeness.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
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
}

impl ScoreMetric {
    pub const ALL: [Self; 5] = [Self::Mse, Self::L1, Self::Ssim, Self::Kl, Self::Elbo];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mse => "mse",
            Self::L1 => "l1",
            Self::Ssim => "ssim",
            Self::Kl => "kl",
            Self::Elbo => "elbo",
        }
    }

    /// The error of reconstruction that it is; none for those that need a variational model.
    #[must_use]
    pub const fn error(self) -> Option<ErrorMetric> {
        match self {
            Self::Mse => Some(ErrorMetric::Mse),
            Self::L1 => Some(ErrorMetric::L1),
            Self::Ssim => Some(ErrorMetric::Ssim),
            Self::Kl | Self::Elbo => None,
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
