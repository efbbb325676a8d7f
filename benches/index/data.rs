//! Vectors around random centres, the same every time, and which of them are the nearest to each query.

use std::{fs, path::Path};

use latentd::domain::Embedding;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};

use crate::{NEAREST, Options};

/// Vectors around one centre, on average.
const CLUSTER: usize = 200;
/// Noise beside a centre of length 1.
const SPREAD: f32 = 0.7;

pub(crate) struct Data {
    pub(crate) vectors: Vec<Embedding>,
    pub(crate) queries: Vec<Embedding>,
}

impl Data {
    pub(crate) fn draw(items: usize, options: &Options) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(20_261_124);
        let dimension = options.dimension;
        let mut gauss = move |scale: f32| -> Vec<f32> {
            (0..dimension)
                .map(|_| {
                    let number: f32 = StandardNormal.sample(&mut random);
                    number * scale
                })
                .collect()
        };
        let length = (dimension as f32).sqrt();
        let mut other = ChaCha8Rng::seed_from_u64(2);
        let numbers: Vec<f32> = (0..dimension).map(|_| StandardNormal.sample(&mut other)).collect();
        let common: Vec<f32> = numbers.iter().map(|number| number * options.common / length).collect();
        let centres: Vec<_> = (0..(items / CLUSTER).max(1)).map(|_| sum(&gauss(1.0 / length), &common)).collect();
        let mut pick = ChaCha8Rng::seed_from_u64(1);
        let mut draw = |count: usize| -> Vec<Embedding> {
            (0..count)
                .map(|_| {
                    let centre = &centres[pick.random_range(0..centres.len())];
                    let noise = gauss(SPREAD / length);
                    Embedding::new(sum(centre, &noise)).unwrap().normalized()
                })
                .collect()
        };
        Self { vectors: draw(items), queries: draw(options.queries) }
    }

    /// The nearest of the items that are kept, for each query: every vector compared.
    pub(crate) fn nearest(&self, keep: impl Fn(usize) -> bool) -> Vec<Vec<u32>> {
        let nearest = |query: &Embedding| {
            let kept = self.vectors.iter().enumerate().filter(|(id, _)| keep(*id));
            let mut scores: Vec<(f32, u32)> =
                kept.map(|(id, vector)| (inner_product(query.as_slice(), vector.as_slice()), id as u32)).collect();
            let most = NEAREST.min(scores.len());
            if most < scores.len() {
                scores.select_nth_unstable_by(most, |a, b| b.0.total_cmp(&a.0));
            }
            scores[..most].iter().map(|(_, id)| *id).collect()
        };
        self.queries.iter().map(nearest).collect()
    }

    /// For the peers: `vectors.f32`, beside what [`write_queries`](Self::write_queries) writes.
    pub(crate) fn write(&self, folder: &Path) {
        fs::write(folder.join("vectors.f32"), bytes(&self.vectors)).unwrap();
        self.write_queries(folder);
    }

    pub(crate) fn write_queries(&self, folder: &Path) {
        fs::write(folder.join("queries.f32"), bytes(&self.queries)).unwrap();
    }
}

fn sum(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// Row after row of little-endian numbers.
fn bytes(rows: &[Embedding]) -> Vec<u8> {
    rows.iter().flat_map(|row| row.as_slice().iter().flat_map(|number| number.to_le_bytes())).collect()
}

pub(crate) fn read_queries(folder: &Path, dimension: usize) -> Vec<Embedding> {
    let bytes = fs::read(folder.join("queries.f32")).unwrap();
    let (numbers, _) = bytes.as_chunks::<4>();
    let numbers: Vec<f32> = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    numbers.chunks_exact(dimension).map(|row| Embedding::new(row.to_vec()).unwrap()).collect()
}

/// In lanes, so that the compiler vectorises it.
fn inner_product(a: &[f32], b: &[f32]) -> f32 {
    let (a_lanes, a_rest) = a.as_chunks::<16>();
    let (b_lanes, b_rest) = b.as_chunks::<16>();
    let mut sums = [0.0; 16];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        (0..16).for_each(|lane| sums[lane] += a[lane] * b[lane]);
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// `truth.u32`: the nearest items of each query, little-endian.
pub(crate) fn write_truth(folder: &Path, truth: &[Vec<u32>]) {
    let bytes: Vec<u8> = truth.iter().flatten().flat_map(|id| id.to_le_bytes()).collect();
    fs::write(folder.join("truth.u32"), bytes).unwrap();
}

pub(crate) fn read_truth(folder: &Path) -> Vec<Vec<u32>> {
    let bytes = fs::read(folder.join("truth.u32")).unwrap();
    let (ids, _) = bytes.as_chunks::<4>();
    ids.chunks_exact(NEAREST).map(|row| row.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect()).collect()
}
