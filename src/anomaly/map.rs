//! Maps of where an image is strange, and the four ways they are sent.

use ::image::ExtendedColorType;

use crate::{
    error::Result,
    image::{
        Plane,
        encode::{png_raw, to_byte},
        npy::npy_f32,
    },
};

/// The error at each pixel of an image at the model's size.
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorMap {
    pub width: u32,
    pub height: u32,
    /// `height · width` values, row by row, 0 or more; [`ErrorMetric`](super::ErrorMetric) tells the upper end.
    pub data: Vec<f32>,
}

impl ErrorMap {
    /// The mean over all pixels.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.data.iter().map(|value| f64::from(*value)).sum::<f64>() / self.data.len().max(1) as f64
    }

    /// 8-bit grey, for the eye: scaled so that the map's own maximum is 255 (a map of zeros is black). Maps of two
    /// images do not compare; [`png16`](Self::png16) does.
    ///
    /// # Errors
    /// `internal` when the data do not fit the size.
    pub fn png(&self) -> Result<Vec<u8>> {
        let data: Vec<u8> = self.relative().map(to_byte).collect();
        png_raw(&data, self.width, self.height, ExtendedColorType::L8)
    }

    /// 16-bit grey on a fixed scale, `round(65535 · clamp(v, 0, 1))`, for machines.
    ///
    /// # Errors
    /// `internal` when the data do not fit the size.
    pub fn png16(&self) -> Result<Vec<u8>> {
        // `as` saturates and turns NaN into 0, so the cast is the clamp.
        let sample = |value: &f32| ((value * 65535.0).round() as u16).to_ne_bytes();
        let data: Vec<u8> = self.data.iter().flat_map(sample).collect();
        png_raw(&data, self.width, self.height, ExtendedColorType::L16)
    }

    /// The values themselves as `.npy`: f32, little-endian, `[height, width]`.
    #[must_use]
    pub fn npy(&self) -> Vec<u8> {
        npy_f32(&[self.height as usize, self.width as usize], &self.data)
    }

    /// The image with the map over it as heat: colours from dark red over orange to pale yellow, opaque where
    /// the map has its own maximum, clear where it is 0, in proportion between. An 8-bit RGB PNG.
    ///
    /// # Errors
    /// `internal` when the image has another size than the map.
    pub fn overlay(&self, image: &Plane) -> Result<Vec<u8>> {
        let area = self.data.len();
        let mut data = Vec::with_capacity(area * 3);
        if (image.width, image.height) == (self.width, self.height) {
            let last = image.channels.saturating_sub(1);
            for (pixel, alpha) in self.relative().enumerate() {
                for (channel, hot) in heat(alpha).into_iter().enumerate() {
                    let value = image.data[channel.min(last) * area + pixel];
                    data.push(to_byte(value * (1.0 - alpha) + hot * alpha));
                }
            }
        }
        png_raw(&data, self.width, self.height, ExtendedColorType::Rgb8)
    }

    /// The values over the map's maximum, 0…1.
    fn relative(&self) -> impl Iterator<Item = f32> + '_ {
        let maximum = self.data.iter().copied().fold(0.0, f32::max);
        let scale = if maximum > 0.0 { maximum.recip() } else { 0.0 };
        self.data.iter().map(move |value| (value * scale).clamp(0.0, 1.0))
    }
}

/// The colour of a value in 0…1.
fn heat(value: f32) -> [f32; 3] {
    const STOPS: [[f32; 3]; 4] = [[0.35, 0.0, 0.05], [0.85, 0.1, 0.05], [1.0, 0.6, 0.1], [1.0, 1.0, 0.75]];
    let position = value.clamp(0.0, 1.0) * (STOPS.len() - 1) as f32;
    let below = (position as usize).min(STOPS.len() - 2);
    let share = position - below as f32;
    std::array::from_fn(|channel| {
        let (from, to) = (STOPS[below][channel], STOPS[below + 1][channel]);
        from + (to - from) * share
    })
}

#[cfg(test)]
mod tests;
