//! From a map at the model's size to a map of the image that was sent.
//!
//! Values are interpolated as Pillow resizes images of mode `F` with its `bilinear` filter: linearly between the middles
//! of pixels, with the filter widened where the map is larger than the image.

use super::ErrorMap;
use crate::image::{Placement, Size};

impl ErrorMap {
    /// The map on the image that was sent, at that image's size. Where the model does not see the image (a crop leaves
    /// it out) the map is 0; what the model sees beside the image (around a letterbox) is left out.
    #[must_use]
    pub fn on_image(&self, placement: &Placement) -> Self {
        let Placement { image, resized, left, top, model } = *placement;
        // The map may have another size than the model's image.
        let grain = |count: u32, model: u32| f64::from(count) / f64::from(model);
        let columns = Line {
            step: f64::from(resized.width) / f64::from(image.width) * grain(self.width, model.width),
            start: left as f64 * grain(self.width, model.width),
            to: image.width,
            from: self.width,
        };
        let rows = Line {
            step: f64::from(resized.height) / f64::from(image.height) * grain(self.height, model.height),
            start: top as f64 * grain(self.height, model.height),
            to: image.height,
            from: self.height,
        };
        self.resampled(&columns, &rows)
    }

    /// The map at another size.
    #[must_use]
    pub fn resized(self, to: Size) -> Self {
        let from = Size { width: self.width, height: self.height };
        if from == to { self } else { self.on_image(&Placement::exact(to, from)) }
    }

    fn resampled(&self, columns: &Line, rows: &Line) -> Self {
        if columns.is_copy() && rows.is_copy() {
            return self.clone();
        }
        let across = columns.taps();
        let wide = |row: &[f32]| -> Vec<f32> {
            let value =
                |taps: &Taps| taps.weights.iter().zip(&row[taps.first..]).map(|(weight, value)| weight * value).sum();
            across.iter().map(value).collect()
        };
        let lines: Vec<Vec<f32>> = self.data.chunks_exact(self.width.max(1) as usize).map(wide).collect();
        let width = columns.to as usize;
        let mut data = vec![0.0; width * rows.to as usize];
        for (row, taps) in data.chunks_exact_mut(width.max(1)).zip(rows.taps()) {
            for (weight, line) in taps.weights.iter().zip(&lines[taps.first..]) {
                row.iter_mut().zip(line).for_each(|(sum, value)| *sum += weight * value);
            }
        }
        Self { width: columns.to, height: rows.to, data }
    }
}

/// One side of a map and of the image that it is brought to.
struct Line {
    /// Places of the map in one pixel of the image.
    step: f64,
    /// Where the map begins, in its own places from the beginning of the image.
    start: f64,
    to: u32,
    from: u32,
}

/// The places of the map that make one pixel of the image; none where the map does not reach.
#[derive(Default)]
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

impl Line {
    fn is_copy(&self) -> bool {
        self.to == self.from && (self.step - 1.0).abs() < 1e-12 && self.start == 0.0
    }

    fn taps(&self) -> Vec<Taps> {
        (0..self.to).map(|at| self.taps_of(at)).collect()
    }

    fn taps_of(&self, at: u32) -> Taps {
        let length = f64::from(self.from);
        let middle = (f64::from(at) + 0.5) * self.step - self.start;
        if middle < 0.0 || middle >= length {
            return Taps::default();
        }
        let reach = self.step.max(1.0);
        // Both are within the map, so the casts cut fractions off and nothing else.
        let first = (middle - reach + 0.5).max(0.0) as usize;
        let end = (middle + reach + 0.5).min(length) as usize;
        let weight = |place: usize| (1.0 - ((place as f64 - middle + 0.5) / reach).abs()).max(0.0);
        let sum: f64 = (first..end).map(weight).sum();
        Taps { first, weights: (first..end).map(|place| (weight(place) / sum) as f32).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(width: u32, data: &[f32]) -> ErrorMap {
        ErrorMap { width, height: data.len() as u32 / width, data: data.to_vec() }
    }

    fn size(width: u32, height: u32) -> Size {
        Size { width, height }
    }

    #[test]
    fn a_map_is_brought_to_a_size_as_pillow_does_it() {
        // Image.fromarray(np.float32([[0, 4], [8, 4]]), "F").resize((4, 3), Image.Resampling.BILINEAR)
        let larger = map(2, &[0.0, 4.0, 8.0, 4.0]).resized(size(4, 3));
        assert_eq!(larger.data, [0.0, 1.0, 3.0, 4.0, 4.0, 4.0, 4.0, 4.0, 8.0, 7.0, 5.0, 4.0]);
        // np.float32([[0, 1, 2, 3, 10, 5]]) to (2, 1): the filter is widened.
        let smaller = map(6, &[0.0, 1.0, 2.0, 3.0, 10.0, 5.0]).resized(size(2, 1));
        for (ours, theirs) in smaller.data.iter().zip([1.25, 6.0]) {
            assert!((ours - theirs).abs() < 1e-5, "{:?}", smaller.data);
        }
    }

    #[test]
    fn the_same_size_is_a_copy_and_a_flat_map_stays_flat() {
        let same = map(3, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(same.on_image(&Placement::exact(size(3, 2), size(3, 2))), same);
        let flat = map(5, &[0.7; 25]).resized(size(13, 3));
        assert!(flat.data.iter().all(|value| (value - 0.7).abs() < 1e-6));
    }

    #[test]
    fn what_the_model_does_not_see_is_zero_and_what_it_sees_beside_is_left_out() {
        let cropped = Placement { image: size(4, 1), resized: size(4, 1), left: 1, top: 0, model: size(2, 1) };
        assert_eq!(map(2, &[5.0, 6.0]).on_image(&cropped).data, [0.0, 5.0, 6.0, 0.0]);
        let letterbox = Placement { image: size(2, 1), resized: size(2, 1), left: -1, top: 0, model: size(4, 1) };
        assert_eq!(map(4, &[9.0, 1.0, 2.0, 9.0]).on_image(&letterbox).data, [1.0, 2.0]);
        // A grid of patches, coarser than the model's image.
        let patches = Placement { image: size(2, 2), resized: size(4, 4), left: 0, top: 0, model: size(4, 4) };
        assert_eq!(map(2, &[1.0, 2.0, 3.0, 4.0]).on_image(&patches).data, [1.0, 2.0, 3.0, 4.0]);
    }
}
