//! The errors of reconstruction that serve as anomaly scores; to add one, add a variant here and one to
//! [`ScoreMetric`](super::ScoreMetric), and fill the matches.

use std::fmt;

use super::{gradient::gradient_deviation, map::ErrorMap};
use crate::image::{Mask, Plane, mask::mean_where_hidden, quality};

/// How a reconstruction is compared with its original; every score grows with strangeness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorMetric {
    /// Mean squared difference, 0…1.
    Mse,
    /// Mean absolute difference, 0…1.
    L1,
    /// 1 − structural similarity, 0…2.
    Ssim,
    /// 1 − gradient-magnitude similarity at several scales, 0…1.
    Gms,
}

impl ErrorMetric {
    pub const ALL: [Self; 4] = [Self::Mse, Self::L1, Self::Ssim, Self::Gms];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mse => "mse",
            Self::L1 => "l1",
            Self::Ssim => "ssim",
            Self::Gms => "gms",
        }
    }

    /// The score of a whole image; both have the same shape and values in 0…1.
    #[must_use]
    pub fn score(self, original: &Plane, reconstruction: &Plane) -> f64 {
        match self {
            Self::Mse => quality::mse(original, reconstruction),
            Self::L1 => quality::l1(original, reconstruction),
            Self::Ssim => 1.0 - quality::ssim(original, reconstruction),
            Self::Gms => self.map(original, reconstruction).mean(),
        }
    }

    /// The score of each pixel, the mean over its channels. The mean over pixels is [`score`](Self::score) for
    /// `mse`, `l1` and `gms`; for `ssim` it is close to it, since the score leaves out the margin of half a window.
    #[must_use]
    pub fn map(self, original: &Plane, reconstruction: &Plane) -> ErrorMap {
        let data = match self {
            Self::Mse => mean_over_channels(original, reconstruction, |difference| difference * difference),
            Self::L1 => mean_over_channels(original, reconstruction, f32::abs),
            Self::Ssim => quality::ssim_map(original, reconstruction).iter().map(|similar| 1.0 - similar).collect(),
            Self::Gms => gradient_deviation(original, reconstruction),
        };
        ErrorMap { width: original.width, height: original.height, data }
    }

    /// The error of each pixel where patches were hidden and predicted, the mean over the masks that hid it; 0 where
    /// none did. For `ssim` and `gms`, a prediction is compared in its place, among the visible pixels.
    #[must_use]
    pub fn map_hidden(self, original: &Plane, predictions: &[(Mask, Plane)]) -> ErrorMap {
        let maps: Vec<(&Mask, ErrorMap)> = predictions
            .iter()
            .map(|(mask, prediction)| (mask, self.map(original, &mask.filled(original, prediction))))
            .collect();
        let data = mean_where_hidden(maps.iter().map(|(mask, map)| (*mask, &map.data[..])));
        ErrorMap { width: original.width, height: original.height, data }
    }
}

impl fmt::Display for ErrorMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn mean_over_channels(a: &Plane, b: &Plane, of: impl Fn(f32) -> f32) -> Vec<f32> {
    assert!(a.same_shape(b), "images of different shapes are compared");
    let area = a.area();
    let mut mean = vec![0.0; area];
    for (a, b) in a.data.chunks_exact(area).zip(b.data.chunks_exact(area)) {
        for ((total, a), b) in mean.iter_mut().zip(a).zip(b) {
            *total += of(a - b);
        }
    }
    for total in &mut mean {
        *total /= a.channels as f32;
    }
    mean
}

#[cfg(test)]
mod tests;
