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

    /// How far the prediction is from the original, and where if that is asked for. Masked predictions are compared
    /// where they were made, which takes the map in any case.
    pub(crate) fn score(&self, metric: ErrorMetric, original: &Plane, with_map: bool) -> (f64, Option<ErrorMap>) {
        match self {
            Self::Image(image) => (metric.score(original, image), with_map.then(|| metric.map(original, image))),
            Self::Masked(predictions) => {
                let map = metric.map_hidden(original, predictions);
                (map.mean(), with_map.then_some(map))
            }
        }
    }
}
