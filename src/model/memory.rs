//! The memory of a model: features of normal patches, from which the distance of a patch is how strange it is
//! (PatchCore, Roth et al., arXiv 2106.08265).

use std::{fs::File, io::BufReader, path::Path};

use super::{
    folder,
    manifest::MemorySpec,
    npz::{self, Values},
};
use crate::simd::compiled_for_each_processor;

/// Numbers that are compared at a time: features are padded with zeros to a multiple of them.
const LANES: usize = 16;

/// Patches that are compared with a feature of the memory while it is at hand.
const BLOCK: usize = 8;

/// Features of normal patches.
#[derive(Debug)]
pub struct PatchMemory {
    /// The features, each padded to whole lanes.
    features: Vec<f32>,
    /// Numbers of a feature.
    dimension: usize,
    /// The nearest features whose distances are averaged.
    neighbours: usize,
    /// Of the file.
    hash: blake3::Hash,
}

/// The features of the patches of one image, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Patches {
    pub columns: usize,
    pub rows: usize,
    /// `rows · columns · dimension` numbers, patch after patch.
    pub features: Vec<f32>,
}

impl PatchMemory {
    /// Reads the memory of a manifest: an `.npy` file of float32, `[features, dimension]`.
    ///
    /// # Errors
    /// One line: a file that cannot be read, is of another form, holds fewer features than are averaged, or numbers that
    /// are not finite.
    pub(super) fn read(folder: &Path, spec: &MemorySpec) -> Result<Self, String> {
        let named = |reason: String| format!("memory: {reason}");
        let path = folder::resolve(folder, &spec.file).map_err(named)?;
        let open = File::open(&path).map_err(|error| named(error.to_string()))?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(&open).map_err(|error| named(error.to_string()))?;
        let file = File::open(&path).map_err(|error| named(error.to_string()))?;
        let array =
            npz::read_array(&mut BufReader::new(file)).map_err(|reason| named(format!("{}: {reason}", spec.file)))?;
        let (&[count, dimension], Values::F32(values)) = (&array.shape[..], &array.values) else {
            return Err(named(format!(
                "{} has shape {:?}: it is float32 [features, dimension]",
                spec.file, array.shape
            )));
        };
        if count < spec.neighbours || dimension == 0 {
            return Err(named(format!(
                "{} has shape {:?}: it takes memory.neighbours = {} features or more",
                spec.file, array.shape, spec.neighbours
            )));
        }
        if !values.iter().all(|value| value.is_finite()) {
            return Err(named(format!("{} holds numbers that are not finite", spec.file)));
        }
        let features = padded(values, dimension);
        Ok(Self { features, dimension, neighbours: spec.neighbours, hash: hasher.finalize() })
    }

    /// Numbers of a feature.
    #[must_use]
    pub const fn dimension(&self) -> usize {
        self.dimension
    }

    /// Of the file: another memory makes other scores.
    #[must_use]
    pub const fn hash(&self) -> &blake3::Hash {
        &self.hash
    }

    /// For each patch, the mean Euclidean distance to its nearest features of the memory.
    ///
    /// Panics where the patches have features of another dimension: the model was checked when it was loaded.
    #[must_use]
    pub fn distances(&self, patches: &Patches) -> Vec<f32> {
        assert_eq!(
            patches.features.len(),
            patches.rows * patches.columns * self.dimension,
            "features of another model"
        );
        let width = self.dimension.next_multiple_of(LANES);
        let padded = padded(&patches.features, self.dimension);
        let mut distances = Vec::with_capacity(patches.rows * patches.columns);
        let mut nearest = Vec::new();
        for block in padded.chunks(BLOCK * width) {
            nearest.clear();
            nearest.resize(block.len() / width * self.neighbours, f32::INFINITY);
            find_nearest(&self.features, width, block, &mut nearest);
            let mean = |of: &[f32]| of.iter().map(|square| square.sqrt()).sum::<f32>() / of.len() as f32;
            distances.extend(nearest.chunks_exact(self.neighbours).map(mean));
        }
        distances
    }
}

/// Rows of `dimension` numbers, each with zeros behind it up to whole lanes.
fn padded(values: &[f32], dimension: usize) -> Vec<f32> {
    let width = dimension.next_multiple_of(LANES);
    let mut padded = Vec::with_capacity(values.len() / dimension.max(1) * width);
    for row in values.chunks_exact(dimension) {
        padded.extend_from_slice(row);
        padded.resize(padded.len() + width - dimension, 0.0);
    }
    padded
}

compiled_for_each_processor! {
    /// The squared distances of each patch to its nearest features, ascending: as many for each as `nearest` has room
    /// for. All rows have `width` numbers, a multiple of [`LANES`].
    fn find_nearest(features: &[f32], width: usize, patches: &[f32], nearest: &mut [f32]) = find_nearest_plainly;
}

#[inline(always)]
fn find_nearest_plainly(features: &[f32], width: usize, patches: &[f32], nearest: &mut [f32]) {
    let count = (nearest.len() / (patches.len() / width).max(1)).max(1);
    for feature in features.chunks_exact(width) {
        for (patch, nearest) in patches.chunks_exact(width).zip(nearest.chunks_exact_mut(count)) {
            let distance = squared_distance(feature, patch);
            let mut at = count;
            while at > 0 && distance < nearest[at - 1] {
                at -= 1;
            }
            if at < count {
                nearest[at..].rotate_right(1);
                nearest[at] = distance;
            }
        }
    }
}

#[inline(always)]
fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    for (a, b) in a.as_chunks::<LANES>().0.iter().zip(b.as_chunks::<LANES>().0) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            let difference = a - b;
            *sum += difference * difference;
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::image::npy::npy_f32;

    fn drawn(count: usize, seed: u64) -> Vec<f32> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        (0..count).map(|_| random.random_range(-1.0..1.0)).collect()
    }

    fn memory(bytes: &[u8], neighbours: usize) -> Result<PatchMemory, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("memory.npy"), bytes).unwrap();
        PatchMemory::read(folder.path(), &MemorySpec { file: "memory.npy".to_owned(), neighbours })
    }

    #[test]
    fn distances_are_those_written_out() {
        let (dimension, count) = (21, 50);
        let features = drawn(count * dimension, 1);
        let patches = Patches { columns: 5, rows: 4, features: drawn(20 * dimension, 2) };
        for neighbours in [1, 3] {
            let memory = memory(&npy_f32(&[count, dimension], &features), neighbours).unwrap();
            for (given, patch) in memory.distances(&patches).iter().zip(patches.features.chunks_exact(dimension)) {
                let to = |feature: &[f32]| {
                    let squares = feature.iter().zip(patch).map(|(a, b)| f64::from(a - b).powi(2));
                    squares.sum::<f64>().sqrt()
                };
                let mut all: Vec<f64> = features.chunks_exact(dimension).map(to).collect();
                all.sort_by(f64::total_cmp);
                let expected = all[..neighbours].iter().sum::<f64>() / neighbours as f64;
                assert!((f64::from(*given) - expected).abs() < 1e-5 * expected, "{given} {expected}");
            }
        }
    }

    #[test]
    fn a_file_that_is_no_memory_is_refused_with_its_reason() {
        for (bytes, neighbours, part) in [
            (npy_f32(&[6], &[0.0; 6]), 1, "float32 [features, dimension]"),
            (npy_f32(&[2, 3], &[0.0; 6]), 3, "3 features or more"),
            (npy_f32(&[2, 1], &[0.0, f32::NAN]), 1, "not finite"),
            (b"text".to_vec(), 1, "memory.npy:"),
        ] {
            let reason = memory(&bytes, neighbours).unwrap_err();
            assert!(reason.contains(part), "{reason}");
        }
    }
}
