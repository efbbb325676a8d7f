//! Which patches of an image are hidden: drawn with a seed, listed, painted, or complementary to one another.

use rand::{SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;

use super::pixels::Plane;
use crate::error::{Error, Result};

/// The square patches of an image, numbered row by row from 0 at the top left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    pub columns: usize,
    pub rows: usize,
    /// Pixels a side of one patch.
    pub side: usize,
}

impl Grid {
    #[must_use]
    pub const fn patches(self) -> usize {
        self.columns * self.rows
    }

    /// How many patches are hidden at a ratio in 0…1: `n − ⌊n · (1 − ratio)⌋` of n, as in MAE (arXiv 2111.06377).
    #[must_use]
    pub fn hidden_at(self, ratio: f64) -> usize {
        let kept = (self.patches() as f64 * (1.0 - ratio)) as usize;
        self.patches() - kept.min(self.patches())
    }

    /// The patch of each pixel of one channel, in the order of a plane's values.
    fn of_pixels(self) -> impl Iterator<Item = usize> {
        let width = self.columns * self.side;
        (0..self.rows * self.side).flat_map(move |y| (0..width).map(move |x| self.patch_at(x, y)))
    }

    const fn patch_at(self, x: usize, y: usize) -> usize {
        y / self.side * self.columns + x / self.side
    }
}

/// Masks of this seed hide the patches of scores and reconstructions, so that those repeat.
const COMPLEMENTARY_SEED: u64 = 0;

/// More complementary masks than this give no better an average for their runs.
const COMPLEMENTARY_MASKS: usize = 4;

/// Hidden patches of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    grid: Grid,
    /// For each patch.
    hidden: Vec<bool>,
}

impl Mask {
    /// Hides the patches of a list.
    ///
    /// # Errors
    /// `invalid_request`: a patch that the grid does not have, or one that is named twice.
    pub fn of_patches(grid: Grid, patches: &[u64]) -> Result<Self> {
        let mut hidden = vec![false; grid.patches()];
        for &patch in patches {
            let place = usize::try_from(patch).ok().and_then(|at| hidden.get_mut(at));
            let Some(place) = place else {
                let last = grid.patches().saturating_sub(1);
                return Err(Error::invalid_request(format!("there is no patch {patch}: they are 0 to {last}")));
            };
            if std::mem::replace(place, true) {
                return Err(Error::invalid_request(format!("patch {patch} is named twice")));
            }
        }
        Ok(Self { grid, hidden })
    }

    /// Hides `count` patches, at most all, chosen by the seed.
    #[must_use]
    pub fn random(grid: Grid, count: usize, seed: u64) -> Self {
        Self::hiding(grid, shuffled(grid, seed).into_iter().take(count))
    }

    /// Hides the patches in which a grey image of the grid's size, with values in 0…1, is dark: below one half on
    /// average.
    #[must_use]
    pub fn of_image(grid: Grid, image: &Plane) -> Self {
        let mut sums = vec![0.0_f64; grid.patches()];
        for (patch, value) in grid.of_pixels().zip(&image.data) {
            sums[patch] += f64::from(*value);
        }
        let half = (grid.side * grid.side) as f64 / 2.0;
        Self { grid, hidden: sums.into_iter().map(|sum| sum < half).collect() }
    }

    /// Masks that each hide `hidden` patches (at least one, and not all) and together hide every patch: two to four
    /// of them, always the same ones.
    ///
    /// Where at most half of the patches stay visible, no patch is visible under two masks as long as the count
    /// comes out even, so each is predicted as often as can be.
    #[must_use]
    pub fn complementary(grid: Grid, hidden: usize) -> Vec<Self> {
        Self::complementary_by(grid, hidden, COMPLEMENTARY_SEED)
    }

    /// As [`complementary`](Self::complementary), with the masks that a seed draws.
    #[must_use]
    pub fn complementary_by(grid: Grid, hidden: usize, seed: u64) -> Vec<Self> {
        let order = shuffled(grid, seed);
        let patches = order.len();
        let kept = patches.saturating_sub(hidden).max(1);
        let share = |of: usize, at: usize| order.iter().copied().cycle().skip(at * of).take(of);
        if 2 * kept <= patches {
            let masks = patches.div_ceil(kept).clamp(2, COMPLEMENTARY_MASKS);
            let keeping = |at| Self::hiding(grid, share(kept, at)).inverted();
            return (0..masks).map(keeping).collect();
        }
        let hidden = patches - kept;
        (0..patches.div_ceil(hidden.max(1))).map(|at| Self::hiding(grid, share(hidden, at))).collect()
    }

    fn hiding(grid: Grid, patches: impl Iterator<Item = usize>) -> Self {
        let mut hidden = vec![false; grid.patches()];
        patches.for_each(|patch| hidden[patch] = true);
        Self { grid, hidden }
    }

    fn inverted(mut self) -> Self {
        self.hidden.iter_mut().for_each(|hidden| *hidden = !*hidden);
        self
    }

    /// The hidden patches, in ascending order.
    #[must_use]
    pub fn patches(&self) -> Vec<usize> {
        self.hidden.iter().enumerate().filter_map(|(patch, hidden)| hidden.then_some(patch)).collect()
    }

    /// For each patch, 1 where it is hidden and 0 where it is not.
    #[must_use]
    pub fn values(&self) -> Vec<f32> {
        self.hidden.iter().map(|&hidden| f32::from(u8::from(hidden))).collect()
    }

    /// For each patch, a number in 0…1 by whose order the visible ones come before the hidden ones: the noise of a
    /// graph that keeps a fixed share of the patches, those with the smallest numbers.
    #[must_use]
    pub fn noise(&self) -> Vec<f32> {
        let count = self.hidden.len().max(1) as f32;
        let visible = self.hidden.iter().filter(|hidden| !**hidden).count();
        let (mut next_visible, mut next_hidden) = (0, visible);
        let rank = |&hidden: &bool| {
            let next = if hidden { &mut next_hidden } else { &mut next_visible };
            *next += 1;
            (*next - 1) as f32 / count
        };
        self.hidden.iter().map(rank).collect()
    }

    /// The image with its hidden patches taken from `prediction`, which has the same shape.
    #[must_use]
    pub fn filled(&self, image: &Plane, prediction: &Plane) -> Plane {
        let mut filled = image.clone();
        let area = filled.area();
        for (channel, predicted) in filled.data.chunks_exact_mut(area).zip(prediction.data.chunks_exact(area)) {
            for ((value, predicted), hidden) in channel.iter_mut().zip(predicted).zip(self.of_pixels()) {
                if hidden {
                    *value = *predicted;
                }
            }
        }
        filled
    }

    /// The image with its hidden patches in mid-grey, as people like to see what a model was given.
    #[must_use]
    pub fn shaded(&self, image: &Plane) -> Plane {
        let grey = Plane { data: vec![0.5; image.data.len()], ..*image };
        self.filled(image, &grey)
    }

    /// Whether each pixel of one channel is hidden.
    fn of_pixels(&self) -> impl Iterator<Item = bool> + '_ {
        self.grid.of_pixels().map(|patch| self.hidden[patch])
    }
}

/// For each pixel the mean of the values that were made under the masks that hid it, channel by channel; 0 where no
/// mask did. Each list is of one image's size, of one or more channels.
#[must_use]
pub fn mean_where_hidden<'a>(parts: impl Iterator<Item = (&'a Mask, &'a [f32])>) -> Vec<f32> {
    let (mut sums, mut counts) = (Vec::new(), Vec::new());
    for (mask, values) in parts {
        let hidden: Vec<bool> = mask.of_pixels().collect();
        sums.resize(values.len(), 0.0);
        counts.resize(hidden.len(), 0_u32);
        for (channel, values) in sums.chunks_exact_mut(hidden.len()).zip(values.chunks_exact(hidden.len())) {
            for ((sum, value), hidden) in channel.iter_mut().zip(values).zip(&hidden) {
                *sum += if *hidden { *value } else { 0.0 };
            }
        }
        counts.iter_mut().zip(&hidden).for_each(|(count, hidden)| *count += u32::from(*hidden));
    }
    for channel in sums.chunks_exact_mut(counts.len().max(1)) {
        channel.iter_mut().zip(&counts).for_each(|(sum, count)| *sum /= (*count).max(1) as f32);
    }
    sums
}

fn shuffled(grid: Grid, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..grid.patches()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    order
}

#[cfg(test)]
mod tests;
