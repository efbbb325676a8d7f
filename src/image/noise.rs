//! Noise that is added to images, and repeats exactly with its seed.

use std::{fmt, str::FromStr};

use rand::{RngExt as _, SeedableRng as _, seq::index};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};

use super::pixels::Plane;
use crate::error::{Error, Result};

/// A kind of noise and its strength, written `gaussian:0.1` or `salt-pepper:0.05`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Noise {
    /// Independent for each value, with this standard deviation (0…1) in units of 0…1 before clipping.
    Gaussian(f32),
    /// This share (0…1) of the pixels, rounded to whole pixels, becomes black or white in all channels.
    SaltPepper(f32),
}

impl Noise {
    /// The noisy image, clipped to 0…1. The same image and seed give the same values.
    #[must_use]
    pub fn apply(&self, plane: &Plane, seed: u64) -> Plane {
        let mut noisy = plane.clone();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        match *self {
            Self::Gaussian(deviation) => {
                for value in &mut noisy.data {
                    let normal: f32 = StandardNormal.sample(&mut random);
                    *value = (*value + deviation * normal).clamp(0.0, 1.0);
                }
            }
            Self::SaltPepper(share) => {
                let area = noisy.area();
                let count = ((f64::from(share) * area as f64).round() as usize).min(area);
                for pixel in index::sample(&mut random, area, count) {
                    let value = if random.random::<bool>() { 1.0 } else { 0.0 };
                    for channel in noisy.data.chunks_exact_mut(area) {
                        channel[pixel] = value;
                    }
                }
            }
        }
        noisy
    }
}

impl FromStr for Noise {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let Some((kind, amount)) = text.split_once(':') else {
            return Err(Error::invalid_request(format!(
                "noise `{text}` has no amount; write `gaussian:0.1` or `salt-pepper:0.05`"
            )));
        };
        let noise = match kind {
            "gaussian" => Self::Gaussian,
            "salt-pepper" => Self::SaltPepper,
            _ => {
                return Err(Error::invalid_request(format!(
                    "noise `{kind}` is unknown; it is `gaussian` or `salt-pepper`"
                )));
            }
        };
        let amount: f32 = amount
            .parse()
            .map_err(|_| Error::invalid_request(format!("the amount of noise `{amount}` is not a number")))?;
        if !(0.0..=1.0).contains(&amount) {
            return Err(Error::invalid_request(format!("the amount of noise {amount} is outside 0…1")));
        }
        Ok(noise(amount))
    }
}

impl fmt::Display for Noise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gaussian(deviation) => write!(f, "gaussian:{deviation}"),
            Self::SaltPepper(share) => write!(f, "salt-pepper:{share}"),
        }
    }
}

#[cfg(test)]
mod tests;
