//! Multi-scale gradient-magnitude similarity: whether two images have the same edges in the same places.
//!
//! Gradient magnitudes g are those of the Prewitt operator over the mean of the channels; at each pixel
//! GMS = (2 g₁ g₂ + c) / (g₁² + g₂² + c) with c = 0.0026 for values in 0…1 (Xue et al., *Gradient magnitude similarity
//! deviation*, 2014). Its deviation 1 − GMS is averaged over the image itself and up to three times halved, as Zavrtanik et
//! al. do for defects (*Reconstruction by inpainting for visual anomaly detection*, 2021); a pixel of a halved image stands
//! for the four that it was made of.

use crate::image::Plane;

/// The constant of Xue et al., 170 for values in 0…255.
const C: f32 = 170.0 / (255.0 * 255.0);

/// The scales that are compared, at most.
const SCALES: u32 = 4;

/// An image with a shorter side is not halved.
const LEAST_SIDE: usize = 8;

/// 1 − the similarity of the gradients at each pixel, the mean over the scales, row by row: 0…1, 0 for equal images.
///
/// It panics when the shapes differ, as the figures of `image::quality` do.
#[must_use]
pub fn gradient_deviation(a: &Plane, b: &Plane) -> Vec<f32> {
    assert!(a.same_shape(b), "images of different shapes are compared");
    let (mut first, mut second) = (Grey::of(a), Grey::of(b));
    let (width, height) = (first.width, first.height);
    let mut total = vec![0.0; width * height];
    let mut scales = 0;
    for scale in 0..SCALES {
        let deviation: Vec<f32> = first.gradients().zip(second.gradients()).map(deviation).collect();
        for (y, row) in total.chunks_exact_mut(width).enumerate() {
            let from = (y >> scale).min(first.height - 1) * first.width;
            for (x, value) in row.iter_mut().enumerate() {
                *value += deviation[from + (x >> scale).min(first.width - 1)];
            }
        }
        scales += 1;
        if first.width.min(first.height) < LEAST_SIDE {
            break;
        }
        (first, second) = (first.halved(), second.halved());
    }
    total.iter_mut().for_each(|value| *value /= scales as f32);
    total
}

fn deviation((a, b): (f32, f32)) -> f32 {
    1.0 - (2.0 * a * b + C) / (a * a + b * b + C)
}

/// An image of one channel.
struct Grey {
    width: usize,
    height: usize,
    data: Vec<f32>,
}

impl Grey {
    fn of(plane: &Plane) -> Self {
        let mut data = vec![0.0; plane.area()];
        for channel in plane.data.chunks_exact(plane.area()) {
            data.iter_mut().zip(channel).for_each(|(sum, value)| *sum += value);
        }
        data.iter_mut().for_each(|sum| *sum /= plane.channels as f32);
        Self { width: plane.width as usize, height: plane.height as usize, data }
    }

    /// The mean of each two by two pixels; an odd last row or column is left out.
    fn halved(&self) -> Self {
        let (width, height) = (self.width / 2, self.height / 2);
        let mut data = Vec::with_capacity(width * height);
        for rows in self.data.chunks_exact(2 * self.width).take(height) {
            let (upper, lower) = rows.split_at(self.width);
            let pairs = upper.chunks_exact(2).zip(lower.chunks_exact(2));
            data.extend(pairs.map(|(upper, lower)| (upper[0] + upper[1] + lower[0] + lower[1]) / 4.0));
        }
        Self { width, height, data }
    }

    /// The gradient magnitude at each pixel; the image repeats its edges (a a | a b c).
    fn gradients(&self) -> impl Iterator<Item = f32> + '_ {
        (0..self.height).flat_map(move |y| {
            let rows = [y.saturating_sub(1), y, (y + 1).min(self.height - 1)];
            (0..self.width).map(move |x| {
                let columns = [x.saturating_sub(1), x, (x + 1).min(self.width - 1)];
                let at = |row: usize, column: usize| self.data[rows[row] * self.width + columns[column]];
                let across = (0..3).map(|row| at(row, 2) - at(row, 0)).sum::<f32>() / 3.0;
                let down = (0..3).map(|column| at(2, column) - at(0, column)).sum::<f32>() / 3.0;
                (across * across + down * down).sqrt()
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A drawn image, and the same with a scratch.
    fn pair(width: u32, height: u32) -> (Plane, Plane) {
        let value = |at: u32| ((at * 7919) % 101) as f32 / 101.0;
        let data: Vec<f32> = (0..width * height).map(value).collect();
        let whole = Plane { width, height, channels: 1, data };
        let mut scratched = Plane { data: whole.data.clone(), ..whole };
        (2..6).for_each(|at| scratched.data[(at * width + at) as usize] = 1.0);
        (whole, scratched)
    }

    #[test]
    fn the_deviation_equals_that_written_out_with_scipy() {
        let (a, b) = pair(11, 9);
        let ours = gradient_deviation(&a, &b);
        let sum: f64 = ours.iter().map(|value| f64::from(*value)).sum();
        // The same formulas with scipy.ndimage.prewitt(mode="nearest") / 3 on the same numbers.
        assert!((sum / 99.0 - 0.0503049).abs() < 1e-6, "{}", sum / 99.0);
        for (at, expected) in [
            (0, 0.041093),
            (12, 0.066918),
            (24, 0.208224),
            (36, 0.159792),
            (37, 0.022487),
            (60, 0.117839),
            (98, 0.000000),
        ] {
            assert!((ours[at] - expected).abs() < 1e-5, "{at}: {} {expected}", ours[at]);
        }
    }

    #[test]
    fn equal_images_do_not_deviate_and_tiny_ones_are_compared_once() {
        let (a, b) = pair(20, 20);
        assert!(gradient_deviation(&a, &a).iter().all(|value| *value == 0.0));
        assert!(gradient_deviation(&a, &b).iter().any(|value| *value > 0.1));
        let dot = Plane { width: 1, height: 1, channels: 3, data: vec![0.1, 0.2, 0.3] };
        assert_eq!(gradient_deviation(&dot, &dot), [0.0]);
    }
}
