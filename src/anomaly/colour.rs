//! The colours of heat maps: equal steps of a value look like equal steps of colour, and lighter means more, so that a
//! map also reads in grey.
//!
//! The colours lie on a line through five points of our own in the space Oklab (Ottosson, *A perceptual color space for
//! image processing*, 2020), from nearly black over violet, rose and orange to pale yellow. Each of the 256 colours is as
//! far from the next one as every other pair, in that space.

use std::sync::OnceLock;

/// Colours in Oklab: lightness, green to red, blue to yellow.
const POINTS: [[f64; 3]; 5] =
    [[0.12, 0.010, -0.028], [0.34, 0.075, -0.130], [0.54, 0.190, 0.0], [0.72, 0.103, 0.123], [0.95, -0.026, 0.097]];

/// The colour of a value in 0…1, as red, green and blue in 0…255. Not a number is the first colour.
#[must_use]
pub fn colour(value: f32) -> [u8; 3] {
    static TABLE: OnceLock<[[u8; 3]; 256]> = OnceLock::new();
    let table = TABLE.get_or_init(|| std::array::from_fn(|at| to_srgb(on_line(at as f64 / 255.0))));
    // `as` saturates and turns NaN into 0.
    table[usize::from((value * 255.0).round() as u8)]
}

/// The colour at a share of the line's length.
fn on_line(share: f64) -> [f64; 3] {
    let length = |pair: &[[f64; 3]]| (0..3).map(|at| (pair[1][at] - pair[0][at]).powi(2)).sum::<f64>().sqrt();
    let total: f64 = POINTS.windows(2).map(length).sum();
    let mut left = share.clamp(0.0, 1.0) * total;
    let mut last = POINTS[0];
    for pair in POINTS.windows(2) {
        let part = length(pair);
        if left <= part {
            let share = left / part;
            return std::array::from_fn(|at| pair[0][at] + (pair[1][at] - pair[0][at]) * share);
        }
        left -= part;
        last = pair[1];
    }
    last
}

/// Oklab → 8-bit sRGB, by the matrices of Ottosson.
#[expect(clippy::unreadable_literal, reason = "the numbers stand as they were published")]
fn to_srgb([lightness, a, b]: [f64; 3]) -> [u8; 3] {
    let long = (lightness + 0.3963377774 * a + 0.2158037573 * b).powi(3);
    let medium = (lightness - 0.1055613458 * a - 0.0638541728 * b).powi(3);
    let short = (lightness - 0.0894841775 * a - 1.2914855480 * b).powi(3);
    let linear = [
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    ];
    linear.map(|value| {
        let value = value.clamp(0.0, 1.0);
        let encoded = if value <= 0.0031308 { 12.92 * value } else { 1.055 * value.powf(1.0 / 2.4) - 0.055 };
        (encoded * 255.0).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_colours_are_equally_far_apart_and_grow_lighter() {
        let line: Vec<[f64; 3]> = (0..256).map(|at| on_line(f64::from(at) / 255.0)).collect();
        let steps: Vec<f64> = line
            .windows(2)
            .map(|pair| (0..3).map(|at| (pair[1][at] - pair[0][at]).powi(2)).sum::<f64>().sqrt())
            .collect();
        let (least, most) = steps.iter().fold((f64::MAX, 0.0), |(least, most), step| (step.min(least), step.max(most)));
        // A step around one of the points cuts the corner.
        assert!(most < 1.25 * least, "{least} {most}");
        assert!(line.windows(2).all(|pair| pair[0][0] < pair[1][0]));
    }

    #[test]
    fn the_ends_are_dark_and_pale_and_values_outside_are_those_of_the_ends() {
        let light = |[r, g, b]: [u8; 3]| u32::from(r) + u32::from(g) + u32::from(b);
        assert!(light(colour(0.0)) < 40 && light(colour(1.0)) > 600, "{:?} {:?}", colour(0.0), colour(1.0));
        assert_eq!((colour(-1.0), colour(2.0), colour(f32::NAN)), (colour(0.0), colour(1.0), colour(0.0)));
    }

    #[test]
    fn white_and_grey_are_converted_as_published() {
        assert_eq!(to_srgb([1.0, 0.0, 0.0]), [255, 255, 255]);
        assert_eq!(to_srgb([0.0, 0.0, 0.0]), [0, 0, 0]);
        assert_eq!(to_srgb([0.627_955, 0.224_863, 0.125_846]), [255, 0, 0]);
    }
}
