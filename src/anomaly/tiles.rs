//! Overlapping tiles of a large image, and their maps stitched to one.
//!
//! Every tile has the weight of a Hann window, sin²(π (i + ½) / n) along each side, over the sum of the weights at a pixel:
//! where two tiles overlap, one fades into the other, so that no seam is left.

use std::f64::consts::PI;

use super::ErrorMap;
use crate::{
    error::{Error, Result},
    image::{Region, Size},
};

/// Tiles of one image, at most.
const MOST_TILES: usize = 4096;

/// The pixels of a tile's side, at least.
pub const LEAST_TILE: u32 = 16;

/// How an image is cut into tiles.
#[derive(Debug, Clone, PartialEq)]
pub struct Tiling {
    columns: Side,
    rows: Side,
}

/// How one side of an image is cut.
#[derive(Debug, Clone, PartialEq)]
struct Side {
    length: u32,
    /// Pixels of one tile, never more than there are.
    tile: u32,
    /// Where each tile begins, in ascending order.
    starts: Vec<u32>,
}

/// The map of a tiled image, while the maps of its tiles are added.
#[derive(Debug)]
pub struct Stitching {
    map: ErrorMap,
    /// For each tile, the share that its values have along a side.
    columns: Vec<Vec<f32>>,
    rows: Vec<Vec<f32>>,
}

impl Tiling {
    /// Tiles with `tile` pixels a side that overlap by `overlap` pixels or more, evenly spread, the last ones at the far
    /// edges. A side that is shorter than a tile is one tile.
    ///
    /// # Errors
    /// `invalid_request` for more tiles than 4,096.
    pub fn new(image: Size, tile: u32, overlap: u32) -> Result<Self> {
        let tiling =
            Self { columns: Side::new(image.width, tile, overlap), rows: Side::new(image.height, tile, overlap) };
        if tiling.len() > MOST_TILES {
            let text = format!(
                "`tile` {tile} with `overlap` {overlap} cuts the image of {} × {} pixels into {} tiles; {MOST_TILES} are \
                 the most",
                image.width,
                image.height,
                tiling.len()
            );
            return Err(Error::invalid_request(text));
        }
        Ok(tiling)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.columns.starts.len() * self.rows.starts.len()
    }

    /// Never: an image has at least one tile.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tiles, row by row.
    #[must_use]
    pub fn tiles(&self) -> Vec<Region> {
        let size = Size { width: self.columns.tile, height: self.rows.tile };
        let row = |top: u32| self.columns.starts.iter().map(move |left| Region { left: *left, top, size });
        self.rows.starts.iter().flat_map(|top| row(*top)).collect()
    }
}

impl Side {
    fn new(length: u32, tile: u32, overlap: u32) -> Self {
        let tile = tile.clamp(1, length.max(1));
        let rest = length.saturating_sub(tile);
        let step = tile.saturating_sub(overlap).max(1);
        let more = rest.div_ceil(step);
        let start = |at: u32| u64::from(at) * u64::from(rest) / u64::from(more.max(1));
        let starts = (0..=more).map(|at| u32::try_from(start(at)).unwrap_or(rest)).collect();
        Self { length, tile, starts }
    }

    /// For each tile, the share of its values; the shares at a pixel add up to 1.
    fn shares(&self) -> Vec<Vec<f32>> {
        let window: Vec<f64> =
            (0..self.tile).map(|at| (PI * (f64::from(at) + 0.5) / f64::from(self.tile)).sin().powi(2)).collect();
        let mut sums = vec![0.0; self.length as usize];
        for start in &self.starts {
            sums[*start as usize..].iter_mut().zip(&window).for_each(|(sum, weight)| *sum += weight);
        }
        let of = |start: &u32| {
            window.iter().zip(&sums[*start as usize..]).map(|(weight, sum)| (weight / sum) as f32).collect()
        };
        self.starts.iter().map(of).collect()
    }
}

impl Stitching {
    #[must_use]
    pub fn new(tiling: &Tiling) -> Self {
        let (width, height) = (tiling.columns.length, tiling.rows.length);
        let data = vec![0.0; width as usize * height as usize];
        let map = ErrorMap { width, height, data };
        Self { map, columns: tiling.columns.shares(), rows: tiling.rows.shares() }
    }

    /// Adds the map of the tile with this number, at whatever size it was made.
    pub fn add(&mut self, number: usize, tile: Region, map: ErrorMap) {
        let map = map.resized(tile.size);
        let (Some(columns), Some(rows)) =
            (self.columns.get(number % self.columns.len()), self.rows.get(number / self.columns.len()))
        else {
            return;
        };
        let width = self.map.width as usize;
        let lines = self.map.data.chunks_exact_mut(width).skip(tile.top as usize);
        for ((line, values), row) in lines.zip(map.data.chunks_exact(tile.size.width as usize)).zip(rows) {
            for ((sum, value), column) in line[tile.left as usize..].iter_mut().zip(values).zip(columns) {
                *sum += value * row * column;
            }
        }
    }

    #[must_use]
    pub fn into_map(self) -> ErrorMap {
        self.map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(width: u32, height: u32) -> Size {
        Size { width, height }
    }

    fn starts(length: u32, tile: u32, overlap: u32) -> Vec<u32> {
        Side::new(length, tile, overlap).starts
    }

    #[test]
    fn tiles_cover_a_side_evenly_and_end_with_it() {
        assert_eq!(starts(1024, 256, 0), [0, 256, 512, 768]);
        assert_eq!(starts(1000, 256, 32), [0, 186, 372, 558, 744]);
        assert_eq!(starts(256, 256, 32), [0]);
        assert_eq!(starts(100, 256, 32), [0]);
        for (length, tile, overlap) in [(4000, 256, 32), (257, 256, 128), (999, 64, 63), (17, 16, 0)] {
            let side = Side::new(length, tile, overlap);
            assert_eq!(side.starts.last().unwrap() + side.tile, length);
            let spread = side.starts.windows(2).map(|pair| pair[1] - pair[0]);
            assert!(spread.into_iter().all(|step| step > 0 && step + overlap <= tile), "{length} {tile} {overlap}");
        }
    }

    #[test]
    fn tiles_of_one_value_become_a_map_of_that_value() {
        for (width, height, tile, overlap) in [(50, 40, 16, 4), (33, 16, 16, 0), (20, 70, 64, 32), (5, 5, 16, 2)] {
            let tiling = Tiling::new(size(width, height), tile, overlap).unwrap();
            let mut stitching = Stitching::new(&tiling);
            for (number, tile) in tiling.tiles().into_iter().enumerate() {
                // The model's image has another size than the tile.
                stitching.add(number, tile, ErrorMap { width: 8, height: 8, data: vec![0.3; 64] });
            }
            let map = stitching.into_map();
            assert_eq!((map.width, map.height), (width, height));
            assert!(map.data.iter().all(|value| (value - 0.3).abs() < 1e-6), "{width} {height} {tile} {overlap}");
        }
    }

    #[test]
    fn a_pattern_over_the_whole_image_comes_back_without_seams() {
        let (width, height) = (60_u32, 45_u32);
        let value = |x: u32, y: u32| (x * 7 + y * 3) as f32;
        let tiling = Tiling::new(size(width, height), 20, 6).unwrap();
        let mut stitching = Stitching::new(&tiling);
        for (number, tile) in tiling.tiles().into_iter().enumerate() {
            let rows = tile.top..tile.top + tile.size.height;
            let data = rows.flat_map(|y| (tile.left..tile.left + tile.size.width).map(move |x| value(x, y))).collect();
            stitching.add(number, tile, ErrorMap { width: tile.size.width, height: tile.size.height, data });
        }
        let map = stitching.into_map();
        for y in 0..height {
            for x in 0..width {
                assert!((map.data[(y * width + x) as usize] - value(x, y)).abs() < 1e-3, "{x} {y}");
            }
        }
    }

    #[test]
    fn too_many_tiles_are_refused_before_there_is_work() {
        let error = Tiling::new(size(8000, 8000), 16, 8).unwrap_err();
        assert!(error.message().contains("4096 are the most"), "{error}");
        assert!(!Tiling::new(size(1, 1), 16, 0).unwrap().is_empty());
    }
}
