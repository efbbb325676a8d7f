//! Whether a graph gives each image one finite answer of its own.
//!
//! A graph that takes images is run on seeded noise, alone and among others, before it serves. An answer that is not
//! finite, is not one row an image, differs from run to run, or depends on the images beside it in a batch would fill
//! collections with vectors that mean nothing, and no request could tell.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{
    family::GraphRole,
    golden::farthest,
    graph::role_of,
    manifest::{Manifest, Tolerance},
    masking::{Hiding, Masking},
    trial::Trial,
};
use crate::{
    error::Result,
    image::{Pixels, Preprocessor},
    runtime::{GraphInfo, Runner, Tensor},
};

/// Images of the run with others in the batch: one before and one after the image that is compared.
const TOGETHER: usize = 3;
/// The place of the compared image among them.
const COMPARED: usize = 1;
/// The seed of the noise.
const SEED: u64 = 0x006c_6174_656e_7464;

/// A loaded graph that takes images.
pub(super) struct Subject<'a> {
    pub(super) role: GraphRole,
    pub(super) manifest: &'a Manifest,
    pub(super) info: &'a GraphInfo,
    /// The operators of the graph whose output is drawn by chance.
    pub(super) random_operators: &'a [String],
    /// Items in one run, at most.
    pub(super) max_batch: usize,
}

/// Whether the graph takes images, and so can be tried on noise.
pub(super) fn applies(role: GraphRole) -> bool {
    role.inputs().contains(&"image")
}

impl Subject<'_> {
    /// One item of noise for each input, in the graph's order; none where an input has no role that noise is known for.
    pub(super) fn item(&self, number: u64) -> Option<Vec<Tensor>> {
        let spec = self.manifest.graphs.get(&self.role)?;
        let input = |name: &str| match role_of(&spec.inputs, name) {
            "image" => self.noise_image(number),
            "mask" | "noise" => self.mask(number),
            _ => None,
        };
        self.info.inputs.iter().map(|port| input(&port.name)).collect()
    }

    fn noise_image(&self, number: u64) -> Option<Tensor> {
        let Manifest { input, preprocess, .. } = self.manifest;
        let preprocessor = Preprocessor::new(input.clone(), preprocess.clone()).ok()?;
        let mut random = ChaCha8Rng::seed_from_u64(SEED);
        random.set_stream(number);
        let mut samples = vec![0; preprocessor.tensor_len()];
        random.fill(&mut samples[..]);
        let pixels = Pixels { width: input.width, height: input.height, channels: input.channels, data: samples };
        let mut data = vec![0.0; preprocessor.tensor_len()];
        preprocessor.write_tensor(&pixels, &mut data);
        let shape = [1].into_iter().chain(self.manifest.image_shape()).collect();
        Some(Tensor { shape, data })
    }

    fn mask(&self, number: u64) -> Option<Tensor> {
        let masking = Masking::of(self.manifest)?;
        let mask = masking.mask(&Hiding::Share { ratio: None, seed: number }).ok()?;
        let (_, row) = masking.input(&mask);
        Some(Tensor { shape: [1].into_iter().chain(row.shape).collect(), data: row.data })
    }

    /// Everything that is wrong with the answers, one line each, given the answer `alone` to the item of number 0.
    ///
    /// # Errors
    /// Those of the runs.
    pub(super) fn problems(&self, alone: &[Tensor], runner: &mut dyn Runner, trial: &Trial) -> Result<Vec<String>> {
        let mut problems = self.malformed(alone, 1);
        if !problems.is_empty() {
            return Ok(problems);
        }
        let Some(item) = self.item(0) else { return Ok(problems) };
        if self.max_batch > 1 {
            let together = TOGETHER.min(self.max_batch);
            let others = (1..together as u64).filter_map(|number| self.item(number));
            let mut items: Vec<Vec<Tensor>> = others.collect();
            let compared = COMPARED.min(items.len());
            items.insert(compared, item.clone());
            let outputs = trial.run(runner, &stacked(&items))?;
            problems = self.malformed(&outputs, items.len());
            if !problems.is_empty() || self.manifest.runtime.random {
                return Ok(problems);
            }
            let among: Vec<Tensor> = outputs.iter().map(|tensor| row(tensor, compared)).collect();
            let changed = self.differences(&among, alone);
            if changed.is_empty() {
                return Ok(problems);
            }
            // A third run tells chance from batch-mates: both change the answer among others.
            let again = trial.run(runner, &item)?;
            let by_chance = self.differences(&again, alone);
            return Ok(if by_chance.is_empty() { self.by_batch_mates(&changed) } else { self.by_chance(&by_chance) });
        }
        let again = trial.run(runner, &item)?;
        problems = self.malformed(&again, 1);
        if problems.is_empty() && !self.manifest.runtime.random {
            problems = self.by_chance(&self.differences(&again, alone));
        }
        Ok(problems)
    }

    /// Outputs that have not one row an image, or numbers that are not finite.
    fn malformed(&self, outputs: &[Tensor], images: usize) -> Vec<String> {
        let problem = |(name, tensor): (&String, &Tensor)| {
            let role = self.role;
            if tensor.shape.first() != Some(&images) {
                return Some(format!(
                    "graphs.{role}: output {name} came as {:?} for {images} image(s): its first axis is not the batch",
                    tensor.shape
                ));
            }
            let broken = tensor.data.iter().filter(|value| !value.is_finite()).count();
            (broken > 0).then(|| {
                format!(
                    "graphs.{role}: {broken} of the {} numbers of output {name} are NaN or infinite, on images of noise",
                    tensor.data.len()
                )
            })
        };
        self.names().iter().zip(outputs).filter_map(problem).collect()
    }

    /// The outputs that differ by more than the manifest allows of golden ones, with the largest difference in words.
    fn differences(&self, given: &[Tensor], expected: &[Tensor]) -> Vec<(String, String)> {
        let tolerance = self.manifest.golden;
        let differing = |(name, (given, expected)): (&String, (&Tensor, &Tensor))| {
            if given.shape != expected.shape {
                return Some((name.clone(), format!("shape {:?} and then {:?}", expected.shape, given.shape)));
            }
            let worst = farthest(&given.data, &expected.data, tolerance)?;
            let Tolerance { atol, rtol } = tolerance;
            let (was, is) = (expected.data[worst.at], given.data[worst.at]);
            Some((name.clone(), format!("{was} and then {is}; atol {atol}, rtol {rtol}")))
        };
        self.names().iter().zip(given.iter().zip(expected)).filter_map(differing).collect()
    }

    fn by_chance(&self, differences: &[(String, String)]) -> Vec<String> {
        let named = match self.random_operators {
            [] => String::new(),
            operators => format!(" (the graph has {})", operators.join(", ")),
        };
        let line = |(name, difference): &(String, String)| {
            format!(
                "graphs.{}: output {name} differs from run to run on the same image: {difference}{named}; export the \
                 graph without what is random in it, or accept it by [runtime] random = true",
                self.role
            )
        };
        differences.iter().map(line).collect()
    }

    fn by_batch_mates(&self, differences: &[(String, String)]) -> Vec<String> {
        let line = |(name, difference): &(String, String)| {
            format!(
                "graphs.{}: output {name} of an image depends on the images beside it in a batch: {difference}; \
                 export the graph in evaluation mode, or run it one by one by [runtime] max_batch = 1",
                self.role
            )
        };
        differences.iter().map(line).collect()
    }

    fn names(&self) -> Vec<String> {
        self.info.outputs.iter().map(|port| port.name.clone()).collect()
    }
}

/// The items as one batch, input by input.
fn stacked(items: &[Vec<Tensor>]) -> Vec<Tensor> {
    let Some(first) = items.first() else { return Vec::new() };
    let input = |at: usize| {
        let data = items.iter().flat_map(|item| item[at].data.iter().copied()).collect();
        let shape = [items.len()].into_iter().chain(first[at].shape.iter().skip(1).copied()).collect();
        Tensor { shape, data }
    };
    (0..first.len()).map(input).collect()
}

/// One row of a batch, as a batch of its own.
fn row(tensor: &Tensor, at: usize) -> Tensor {
    let rows = tensor.shape.first().copied().unwrap_or(1).max(1);
    let length = tensor.data.len() / rows;
    let shape = [1].into_iter().chain(tensor.shape.iter().skip(1).copied()).collect();
    Tensor { shape, data: tensor.data[at * length..(at + 1) * length].to_vec() }
}
