//! From a map of errors to one score: the maximum, the mean, or the mean of the highest share.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How the values of a map become a score. The maximum finds small defects such as cracks, the mean and the highest share
/// find wide ones such as uneven surfaces.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Pooling {
    Max,
    #[default]
    Mean,
    /// The mean of this share of the values, the highest ones; at least one value.
    Top(f64),
    /// None: the score that the metric has without a map, as that of a latent or the one that a graph gives itself.
    Own,
}

impl Pooling {
    /// The score of the values; none of no values, and none where no map is pooled.
    #[must_use]
    pub fn pool(self, values: &[f32]) -> Option<f64> {
        let mean = |values: &[f32]| values.iter().copied().map(f64::from).sum::<f64>() / values.len() as f64;
        if values.is_empty() {
            return None;
        }
        Some(match self {
            Self::Own => return None,
            Self::Max => values.iter().copied().map(f64::from).fold(f64::NEG_INFINITY, f64::max),
            Self::Mean => mean(values),
            Self::Top(share) => {
                let count = ((share * values.len() as f64).ceil() as usize).clamp(1, values.len());
                let mut sorted = values.to_vec();
                sorted.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a));
                mean(&sorted[..count])
            }
        })
    }
}

impl fmt::Display for Pooling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Max => f.write_str("max"),
            Self::Mean => f.write_str("mean"),
            Self::Top(share) => write!(f, "top:{share}"),
            Self::Own => f.write_str("own"),
        }
    }
}

impl From<Pooling> for String {
    fn from(pooling: Pooling) -> Self {
        pooling.to_string()
    }
}

impl TryFrom<String> for Pooling {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl FromStr for Pooling {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let share = |share: &str| share.parse().ok().filter(|share| 0.0 < *share && *share <= 1.0);
        match (text, text.strip_prefix("top:").and_then(share)) {
            ("max", _) => Ok(Self::Max),
            ("mean", _) => Ok(Self::Mean),
            ("own", _) => Ok(Self::Own),
            (_, Some(share)) => Ok(Self::Top(share)),
            _ => Err(Error::invalid_request(format!(
                "pooling is max, mean, top:SHARE with a share above 0 and at most 1, or own, not {text:?}"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pooling_is_read_back_as_it_is_written() {
        for text in ["max", "mean", "top:0.01", "top:1", "own"] {
            let pooling: Pooling = text.parse().unwrap();
            assert_eq!(pooling.to_string(), text);
            assert_eq!(serde_json::from_str::<Pooling>(&serde_json::to_string(&pooling).unwrap()).unwrap(), pooling);
        }
        for text in ["", "top", "top:0", "top:1.1", "top:x", "top:nan", "median"] {
            assert!(text.parse::<Pooling>().unwrap_err().message().contains("top:SHARE"), "{text}");
        }
    }

    #[test]
    fn the_highest_share_is_rounded_up_to_whole_values() {
        let values = [0.0, 4.0, 1.0, 3.0, 2.0];
        let pool = |pooling: Pooling| pooling.pool(&values);
        assert_eq!(pool(Pooling::Max), Some(4.0));
        assert_eq!(pool(Pooling::Mean), Some(2.0));
        assert_eq!(pool(Pooling::Top(0.4)), Some(3.5));
        assert_eq!(pool(Pooling::Top(0.41)), Some(3.0));
        assert_eq!(pool(Pooling::Top(1e-9)), Some(4.0));
        assert_eq!((Pooling::Mean.pool(&[]), pool(Pooling::Own)), (None, None));
    }
}
