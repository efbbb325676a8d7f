//! The region of interest: the part of an image whose pixels count.

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    image::{Pixels, Placement, Size},
};

/// The part of an image whose pixels count, in pixels of the image as it was sent, upright.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Roi {
    /// Left, top, width and height.
    Box([u32; 4]),
    Mask(RoiMask),
}

/// The bright pixels of an image of the same size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RoiMask {
    width: u32,
    height: u32,
    /// The lengths of runs of pixels, row by row, that do not count and count by turns; the first does not.
    runs: Vec<u32>,
}

/// For each pixel of an image or of a map, whether it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    pub size: Size,
    inside: Vec<bool>,
}

impl RoiMask {
    /// The pixels of a grey image that are at least half as bright as white.
    #[must_use]
    pub fn of(image: &Pixels) -> Self {
        let mut runs = vec![0];
        let mut inside = false;
        for value in &image.data {
            if (*value >= 128) != inside {
                inside = !inside;
                runs.push(0);
            }
            if let Some(run) = runs.last_mut() {
                *run += 1;
            }
        }
        Self { width: image.width, height: image.height, runs }
    }

    fn pixels(&self) -> Vec<bool> {
        let area = self.width as usize * self.height as usize;
        let mut pixels = Vec::with_capacity(area);
        for (at, run) in self.runs.iter().enumerate() {
            let end = (pixels.len() + *run as usize).min(area);
            pixels.resize(end, at % 2 == 1);
        }
        pixels.resize(area, false);
        pixels
    }
}

impl Roi {
    /// The pixels of an image that count.
    ///
    /// # Errors
    /// `invalid_request`: a box that is empty or reaches out of the image, a mask of another size, and one without a
    /// bright pixel.
    pub fn on(&self, image: Size) -> Result<Counted> {
        let Size { width, height } = image;
        let inside = match self {
            Self::Box([left, top, wide, high]) => {
                let fits = |first: u32, count: u32, length: u32| {
                    count > 0 && u64::from(first) + u64::from(count) <= u64::from(length)
                };
                if !fits(*left, *wide, width) || !fits(*top, *high, height) {
                    let text = format!(
                        "`roi` [{left}, {top}, {wide}, {high}] (left, top, width, height) is empty or reaches out of the \
                         image of {width} × {height} pixels"
                    );
                    return Err(Error::invalid_request(text));
                }
                let columns = *left..left + wide;
                let row = |y: u32| (0..width).map(move |x| (x, y));
                let within = |(x, y): (u32, u32)| columns.contains(&x) && (*top..top + high).contains(&y);
                (0..height).flat_map(row).map(within).collect()
            }
            Self::Mask(mask) => {
                if (mask.width, mask.height) != (width, height) {
                    let text = format!(
                        "`roi` has {} × {} pixels and the image {width} × {height}: a mask has the size of the image",
                        mask.width, mask.height
                    );
                    return Err(Error::invalid_request(text));
                }
                mask.pixels()
            }
        };
        if !inside.contains(&true) {
            return Err(Error::invalid_request("`roi` has no bright pixel: bright pixels count, dark ones do not"));
        }
        Ok(Counted { size: image, inside })
    }
}

impl Counted {
    /// The pixels of a map at the model's size whose middle lies on a pixel of the image that counts.
    ///
    /// # Errors
    /// `invalid_request` where there is none: the model sees nothing of the region.
    pub fn on_map(&self, placement: &Placement) -> Result<Self> {
        let Placement { image, resized, left, top, model } = *placement;
        let position = |at: u32, offset: i64, resized: u32, length: u32| {
            let middle = (f64::from(at) + 0.5 + offset as f64) * f64::from(length) / f64::from(resized);
            (middle >= 0.0 && middle < f64::from(length)).then_some(middle as usize)
        };
        let columns: Vec<_> = (0..model.width).map(|x| position(x, left, resized.width, image.width)).collect();
        let mut inside = Vec::with_capacity(columns.len() * model.height as usize);
        for y in 0..model.height {
            let row = position(y, top, resized.height, image.height).map(|y| y * image.width as usize);
            let counts = |x: &Option<usize>| row.zip(*x).is_some_and(|(row, x)| self.inside[row + x]);
            inside.extend(columns.iter().map(counts));
        }
        if inside.contains(&true) {
            Ok(Self { size: model, inside })
        } else {
            Err(Error::invalid_request("the model sees nothing of `roi`: it is too small, or cropped away"))
        }
    }

    /// The values that count, in their order.
    #[must_use]
    pub fn values(&self, map: &[f32]) -> Vec<f32> {
        map.iter().zip(&self.inside).filter_map(|(value, inside)| inside.then_some(*value)).collect()
    }

    /// Sets the values that do not count to 0.
    pub fn clear_outside(&self, map: &mut [f32]) {
        map.iter_mut().zip(&self.inside).filter(|(_, inside)| !**inside).for_each(|(value, _)| *value = 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Channels;

    fn size(width: u32, height: u32) -> Size {
        Size { width, height }
    }

    fn mask(values: &[u8], width: u32) -> RoiMask {
        let height = values.len() as u32 / width;
        RoiMask::of(&Pixels { width, height, channels: Channels::Gray, data: values.to_vec() })
    }

    #[test]
    fn a_mask_is_read_back_as_it_is_written() {
        let values = [255, 255, 127, 128, 0, 200];
        let roi = Roi::Mask(mask(&values, 3));
        let text = serde_json::to_string(&roi).unwrap();
        let again: Roi = serde_json::from_str(&text).unwrap();
        assert_eq!(again, roi);
        let counted = again.on(size(3, 2)).unwrap();
        assert_eq!(counted.values(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), [1.0, 2.0, 4.0, 6.0]);
        let mut map = [1.0; 6];
        counted.clear_outside(&mut map);
        assert_eq!(map, [1.0, 1.0, 0.0, 1.0, 0.0, 1.0]);
    }

    #[test]
    fn a_region_that_does_not_fit_the_image_is_its_own_error() {
        let refused = |roi: Roi| roi.on(size(4, 4)).unwrap_err().message().to_owned();
        for outside in [[3, 0, 2, 1], [0, 0, 0, 1], [0, 4, 1, 1], [u32::MAX, 0, u32::MAX, 1]] {
            assert!(refused(Roi::Box(outside)).contains("reaches out"), "{outside:?}");
        }
        assert!(refused(Roi::Mask(mask(&[255; 6], 3))).contains("3 × 2 pixels and the image 4 × 4"));
        assert!(refused(Roi::Mask(mask(&[0; 16], 4))).contains("no bright pixel"));
    }

    #[test]
    fn a_region_comes_to_the_models_map_by_the_middles_of_its_pixels() {
        let counted = Roi::Box([4, 0, 4, 8]).on(size(8, 8)).unwrap();
        let map = counted.on_map(&Placement::exact(size(8, 8), size(4, 2))).unwrap();
        assert_eq!(map.values(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]), [2.0, 3.0, 6.0, 7.0]);
        // The model sees the middle half of the image alone.
        let cropped = Placement { image: size(8, 8), resized: size(8, 8), left: 2, top: 2, model: size(4, 4) };
        let corner = Roi::Box([0, 0, 2, 2]).on(size(8, 8)).unwrap();
        assert!(corner.on_map(&cropped).unwrap_err().message().contains("sees nothing"));
    }
}
