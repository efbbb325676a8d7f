//! Where a defect is: the connected parts of a map that lie above a threshold.

use serde::Serialize;
use utoipa::ToSchema;

/// A connected part of a map.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Region {
    /// Left, top, width and height in pixels.
    #[serde(rename = "box")]
    pub bounds: [u32; 4],
    /// Pixels.
    pub area: u32,
    /// The highest value.
    pub peak: f32,
    /// The mean of the values.
    pub mean: f64,
}

/// Regions of one image, at most: those with the highest peaks.
pub const MOST_REGIONS: usize = 1000;

/// Which connected parts of a map are regions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RegionRules {
    /// The value that every pixel of a region exceeds.
    pub threshold: f32,
    /// The pixels of a region, at least.
    pub min_area: u32,
    /// The highest value of a region, at least.
    pub min_peak: f32,
}

/// The connected parts (by eight neighbours) of `width × height` values that the rules let pass, the highest peak first.
#[must_use]
pub fn regions(values: &[f32], width: usize, rules: RegionRules) -> Vec<Region> {
    let RegionRules { threshold, min_area, min_peak } = rules;
    let height = values.len().checked_div(width).unwrap_or(0);
    let mut seen = vec![false; values.len()];
    let (mut found, mut open) = (Vec::new(), Vec::new());
    for start in 0..values.len() {
        // A value that is no number is above nothing.
        let above = values[start] > threshold;
        if seen[start] || !above {
            continue;
        }
        seen[start] = true;
        open.push(start);
        let mut part = Part::new(start, width);
        while let Some(at) = open.pop() {
            let (x, y) = (at % width, at / width);
            part.add(x, y, values[at]);
            for near_y in y.saturating_sub(1)..=(y + 1).min(height - 1) {
                for near_x in x.saturating_sub(1)..=(x + 1).min(width - 1) {
                    let near = near_y * width + near_x;
                    if !seen[near] && values[near] > threshold {
                        seen[near] = true;
                        open.push(near);
                    }
                }
            }
        }
        if part.area >= min_area && part.peak >= min_peak {
            found.push(part.into_region());
        }
    }
    found.sort_by(|a, b| b.peak.total_cmp(&a.peak));
    found.truncate(MOST_REGIONS);
    found
}

/// A part that grows pixel by pixel.
struct Part {
    left: usize,
    right: usize,
    top: usize,
    bottom: usize,
    area: u32,
    peak: f32,
    sum: f64,
}

impl Part {
    fn new(at: usize, width: usize) -> Self {
        let (x, y) = (at % width, at / width);
        Self { left: x, right: x, top: y, bottom: y, area: 0, peak: f32::NEG_INFINITY, sum: 0.0 }
    }

    fn add(&mut self, x: usize, y: usize, value: f32) {
        self.left = self.left.min(x);
        self.right = self.right.max(x);
        self.top = self.top.min(y);
        self.bottom = self.bottom.max(y);
        self.area += 1;
        self.peak = self.peak.max(value);
        self.sum += f64::from(value);
    }

    fn into_region(self) -> Region {
        let bounds = [self.left, self.top, self.right - self.left + 1, self.bottom - self.top + 1];
        Region {
            bounds: bounds.map(|side| u32::try_from(side).unwrap_or(u32::MAX)),
            area: self.area,
            peak: self.peak,
            mean: self.sum / f64::from(self.area.max(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_touch_at_a_corner_are_one_and_small_ones_are_left_out() {
        #[rustfmt::skip]
        let map = [
            9.0, 0.0, 0.0, 0.0, 5.0,
            0.0, 2.0, 0.0, 0.0, 0.0,
            0.0, 4.0, 0.0, 3.0, 3.0,
        ];
        let above = |threshold, min_area, min_peak| regions(&map, 5, RegionRules { threshold, min_area, min_peak });
        let found = above(1.0, 2, 0.0);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].bounds, found[0].area, found[0].peak, found[0].mean), ([0, 0, 2, 3], 3, 9.0, 5.0));
        assert_eq!((found[1].bounds, found[1].area), ([3, 2, 2, 1], 2));
        assert_eq!((above(1.0, 1, 0.0).len(), above(1.0, 1, 5.0).len(), above(1.0, 1, 5.5).len()), (3, 2, 1));
        let any = RegionRules { threshold: 0.0, min_area: 1, min_peak: 0.0 };
        assert!(above(9.0, 1, 0.0).is_empty() && regions(&[], 0, any).is_empty());
    }

    #[test]
    fn a_map_that_is_one_region_takes_no_recursion() {
        let rules = RegionRules { threshold: 0.5, min_area: 1, min_peak: 0.0 };
        let found = regions(&vec![1.0; 1000 * 1000], 1000, rules);
        assert_eq!((found.len(), found[0].bounds, found[0].area), (1, [0, 0, 1000, 1000], 1_000_000));
    }
}
