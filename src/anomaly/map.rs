//! Maps of where an image is strange, and the ways they are sent.

use ::image::ExtendedColorType;

use super::colour::colour;
use crate::{
    error::{Error, Result},
    image::{
        Pixels,
        encode::{png_raw, to_byte},
        npy::npy_f32,
    },
};

/// The error at each pixel of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorMap {
    pub width: u32,
    pub height: u32,
    /// `height · width` values, row by row, 0 or more; [`ErrorMetric`](super::ErrorMetric) tells the upper end.
    pub data: Vec<f32>,
}

/// The value that is drawn as the end of the scale.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Scale {
    /// The map's own maximum: maps of two images do not compare.
    #[default]
    OwnMaximum,
    /// The same value for all images: they compare.
    UpTo(f32),
}

impl ErrorMap {
    /// The mean over all pixels.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.data.iter().map(|value| f64::from(*value)).sum::<f64>() / self.data.len().max(1) as f64
    }

    /// The highest value; 0 of a map without any.
    #[must_use]
    pub fn maximum(&self) -> f32 {
        self.data.iter().copied().fold(0.0, f32::max)
    }

    /// 8-bit grey, for the eye: 0 is black and the end of the scale white.
    ///
    /// # Errors
    /// `internal` when the data do not fit the size.
    pub fn png(&self, scale: Scale) -> Result<Vec<u8>> {
        let data: Vec<u8> = self.relative(scale).map(to_byte).collect();
        png_raw(&data, self.width, self.height, ExtendedColorType::L8)
    }

    /// 16-bit grey for machines, `round(65535 · clamp(v / end, 0, 1))`; the end of the scale is 1 unless it is given.
    ///
    /// # Errors
    /// `internal` when the data do not fit the size.
    pub fn png16(&self, scale: Scale) -> Result<Vec<u8>> {
        let factor = if let Scale::UpTo(end) = scale { inverse(end) } else { 1.0 };
        // `as` saturates and turns NaN into 0, so the cast is the clamp.
        let sample = |value: &f32| ((value * factor * 65535.0).round() as u16).to_ne_bytes();
        let data: Vec<u8> = self.data.iter().flat_map(sample).collect();
        png_raw(&data, self.width, self.height, ExtendedColorType::L16)
    }

    /// The values themselves as `.npy`: f32, little-endian, `[height, width]`.
    #[must_use]
    pub fn npy(&self) -> Vec<u8> {
        npy_f32(&[self.height as usize, self.width as usize], &self.data)
    }

    /// The map in [colours](super::colour), from dark to pale. An 8-bit RGB PNG.
    ///
    /// # Errors
    /// `internal` when the data do not fit the size.
    pub fn heat(&self, scale: Scale) -> Result<Vec<u8>> {
        let data: Vec<u8> = self.relative(scale).flat_map(colour).collect();
        png_raw(&data, self.width, self.height, ExtendedColorType::Rgb8)
    }

    /// The image with the map over it in the same colours: opaque at the end of the scale, clear where the map is 0, in
    /// proportion between. An 8-bit RGB PNG.
    ///
    /// # Errors
    /// `internal` when the image has another size than the map.
    pub fn overlay(&self, image: &Pixels, scale: Scale) -> Result<Vec<u8>> {
        if (image.width, image.height) != (self.width, self.height) {
            return Err(Error::internal("a map is laid over an image of another size"));
        }
        let channels = image.channels.count();
        let last = channels - 1;
        let mut data = Vec::with_capacity(self.data.len() * 3);
        for (alpha, pixel) in self.relative(scale).zip(image.data.chunks_exact(channels)) {
            for (channel, hot) in colour(alpha).into_iter().enumerate() {
                let value = f32::from(pixel[channel.min(last)]);
                // Between two bytes, so the cast only rounds.
                data.push((value + (f32::from(hot) - value) * alpha).round() as u8);
            }
        }
        png_raw(&data, self.width, self.height, ExtendedColorType::Rgb8)
    }

    /// The values over the end of the scale, 0…1.
    fn relative(&self, scale: Scale) -> impl Iterator<Item = f32> + '_ {
        let factor = match scale {
            Scale::OwnMaximum => inverse(self.maximum()),
            Scale::UpTo(end) => inverse(end),
        };
        self.data.iter().map(move |value| (value * factor).clamp(0.0, 1.0))
    }
}

/// 1 / end, and 0 where there is no scale.
fn inverse(end: f32) -> f32 {
    if end > 0.0 { end.recip() } else { 0.0 }
}

#[cfg(test)]
mod tests;
