//! What a model makes of an image.

use crate::{
    anomaly::{ErrorMap, ErrorMetric},
    image::{Mask, Plane, mask::mean_where_hidden},
};

/// What a model makes of an image; values in 0…1 at the model's size.
pub(crate) enum Prediction {
    Image(Plane),
    /// The predictions of a masked autoencoder, each with the mask that hid what it was to predict.
    Masked(Vec<(Mask, Plane)>),
}

impl Prediction {
    /// The image; of masked predictions, the mean over the masks that hid each pixel.
    pub(crate) fn into_image(self, original: &Plane) -> Plane {
        match self {
            Self::Image(image) => image,
            Self::Masked(predictions) => {
                let parts = predictions.iter().map(|(mask, prediction)| (mask, &prediction.data[..]));
                Plane { data: mean_where_hidden(parts), ..*original }
            }
        }
    }

    /// Whether it is made of parts that were hidden under several masks.
    pub(crate) const fn is_masked(&self) -> bool {
        matches!(self, Self::Masked(_))
    }

    /// How far the prediction is from the original. Masked predictions are compared where they were made: theirs is the
    /// mean of the map.
    pub(crate) fn score(&self, metric: ErrorMetric, original: &Plane) -> f64 {
        match self {
            Self::Image(image) => metric.score(original, image),
            Self::Masked(_) => self.map(metric, original).mean(),
        }
    }

    /// Where the prediction is far from the original.
    pub(crate) fn map(&self, metric: ErrorMetric, original: &Plane) -> ErrorMap {
        match self {
            Self::Image(image) => metric.map(original, image),
            Self::Masked(predictions) => metric.map_hidden(original, predictions),
        }
    }
}
