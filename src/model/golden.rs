//! `golden.npz`: what each graph answers, as the training framework computed it, replayed when a model is loaded.
//!
//! Arrays are named `ROLE.PART` after the roles of the manifest, `encoder.image` or `decoder.latent`, with the batch
//! as first axis; where an input and an output of a graph have the same role, the output's is `ROLE.PART.out`. A graph
//! is replayed if the archive has any array of it, and then has all of its inputs and at least one output. `image`
//! (height × width × channels, uint8; `picture` in older archives) is for the preprocessing: it becomes the first row
//! of the graph's `image`.

use std::{collections::BTreeMap, path::Path};

use super::{
    family::GraphRole,
    folder,
    manifest::{Manifest, Tolerance},
    npz::{self, Array, Values},
    trial::Trial,
};
use crate::{
    error::Result as LatentResult,
    image::{self, Channels, Pixels, Preprocessor},
    runtime::{Axis, GraphInfo, Port, Runner, Tensor, channels_moved_first},
};

/// The file's name in the model's folder.
pub(super) const FILE_NAME: &str = "golden.npz";

/// The array that checks the preprocessing, and the name that older archives have for it.
const IMAGE: &str = "image";
const OLD_IMAGE: &str = "picture";

/// Rounding of the arithmetic after the pixels, beside the one level that the pixels may differ by.
const IMAGE_SLACK: f32 = 1e-4;

#[derive(Debug)]
pub(super) struct Golden {
    arrays: BTreeMap<String, Array>,
}

/// A loaded graph and how to run it.
pub(super) struct Subject<'a> {
    pub(super) role: GraphRole,
    pub(super) info: &'a GraphInfo,
    pub(super) runner: &'a mut dyn Runner,
    /// Items in one run, at most.
    pub(super) max_batch: usize,
}

impl Golden {
    /// The archive in the folder, if there is one.
    ///
    /// # Errors
    /// Everything in it that cannot be read or belongs to nothing of the manifest, one line each.
    pub(super) fn read(folder: &Path, manifest: &Manifest) -> Result<Option<Self>, Vec<String>> {
        if !folder.join(FILE_NAME).exists() {
            return Ok(None);
        }
        let named = |reasons: Vec<String>| reasons.into_iter().map(|reason| format!("{FILE_NAME}: {reason}")).collect();
        let path = folder::resolve(folder, FILE_NAME).map_err(|reason| vec![reason])?;
        let golden = Self { arrays: npz::read(&path).map_err(named)? };
        let unknown = golden.unknown_arrays(manifest);
        if unknown.is_empty() { Ok(Some(golden)) } else { Err(named(unknown)) }
    }

    fn unknown_arrays(&self, manifest: &Manifest) -> Vec<String> {
        let mut known = vec![IMAGE.to_owned(), OLD_IMAGE.to_owned()];
        for (&role, graph) in &manifest.graphs {
            known.extend(graph.inputs.keys().map(|part| input_name(role, part)));
            known.extend(graph.outputs.keys().map(|part| output_name(manifest, role, part)));
        }
        let unknown = self.arrays.keys().filter(|name| !known.contains(name));
        unknown.map(|name| format!("{name} is not an array of this model; it has {}", known.join(", "))).collect()
    }

    /// Whether there is an image by which the preprocessing is checked.
    pub(super) fn has_image(&self) -> bool {
        self.arrays.contains_key(IMAGE) || self.arrays.contains_key(OLD_IMAGE)
    }

    /// Whether there is anything to replay for a graph.
    pub(super) fn covers(&self, role: GraphRole) -> bool {
        let prefix = format!("{role}.");
        self.arrays.keys().any(|name| name.starts_with(&prefix))
    }

    /// Runs the graph on the golden inputs and compares. The outputs that it gave are handed back.
    ///
    /// # Errors
    /// Every array that disagrees, one line each with the largest difference and its place.
    pub(super) fn replay(
        &self,
        manifest: &Manifest,
        subject: Subject<'_>,
        trial: &Trial,
    ) -> Result<Vec<Tensor>, Vec<String>> {
        let role = subject.role;
        let one = |reason: String| vec![format!("{FILE_NAME}: {reason}")];
        let inputs = self.inputs(manifest, role, subject.info).map_err(one)?;
        let given = run(subject, &inputs, trial)
            .map_err(|error| one(format!("the replay of {role} failed: {}", error.chain())))?;
        let mut mismatches = Vec::new();
        let mut compared = 0;
        for (part, name) in manifest.graphs.get(&role).iter().flat_map(|graph| &graph.outputs) {
            let array_name = output_name(manifest, role, part);
            let Some(golden) = self.arrays.get(&array_name) else { continue };
            compared += 1;
            let tensor = given.iter().find(|(port, _)| port == name).map(|(_, tensor)| tensor);
            let mismatch = match (tensor, &golden.values) {
                (Some(tensor), Values::F32(values)) if tensor.shape == golden.shape => {
                    difference(&tensor.data, values, &golden.shape, manifest.golden)
                }
                (Some(tensor), Values::F32(values)) if part == "image" => {
                    let expected = Tensor { shape: golden.shape.clone(), data: values.clone() };
                    match channels_moved_first(&expected).filter(|expected| expected.shape == tensor.shape) {
                        Some(expected) => difference(&tensor.data, &expected.data, &expected.shape, manifest.golden),
                        None => Some(format!("has shape {:?}, the graph gives {:?}", golden.shape, tensor.shape)),
                    }
                }
                (Some(tensor), Values::F32(_)) => {
                    Some(format!("has shape {:?}, the graph gives {:?}", golden.shape, tensor.shape))
                }
                _ => Some("is not float32".to_owned()),
            };
            mismatches.extend(mismatch.map(|text| format!("{FILE_NAME}: {array_name} {text}")));
        }
        if compared == 0 {
            mismatches.push(format!("{FILE_NAME}: there are inputs of {role}, but none of its outputs"));
        }
        if mismatches.is_empty() { Ok(given.into_iter().map(|(_, tensor)| tensor).collect()) } else { Err(mismatches) }
    }

    /// One tensor for each input, in the graph's order.
    fn inputs(&self, manifest: &Manifest, role: GraphRole, info: &GraphInfo) -> Result<Vec<Tensor>, String> {
        let Some(graph) = manifest.graphs.get(&role) else { return Err(format!("there is no graph {role}")) };
        let mut inputs: Vec<Tensor> = Vec::new();
        for port in &info.inputs {
            let part = graph.inputs.iter().find(|(_, name)| **name == port.name).map_or("", |(part, _)| part);
            let name = input_name(role, part);
            let array = self.arrays.get(&name).ok_or_else(|| format!("{name} is missing"))?;
            let Values::F32(values) = &array.values else { return Err(format!("{name} is not float32")) };
            let rows = array.shape.first().copied().unwrap_or(0);
            if rows == 0 || inputs.first().is_some_and(|first| first.shape[0] != rows) {
                return Err(format!(
                    "{name} has shape {:?}: the batch is the first axis, the same for all",
                    array.shape
                ));
            }
            inputs.push(as_taken(Tensor { shape: array.shape.clone(), data: values.clone() }, port));
        }
        Ok(inputs)
    }

    /// What is wrong with the preprocessing: the image, if there is one, against the first row of the image that
    /// the graph was given.
    pub(super) fn check_image(&self, manifest: &Manifest, preprocessor: &Preprocessor) -> Option<String> {
        let image = self.arrays.get(IMAGE).or_else(|| self.arrays.get(OLD_IMAGE))?;
        let roles = [GraphRole::Encoder, GraphRole::Autoencoder, GraphRole::Masked, GraphRole::Anomaly];
        let name =
            roles.into_iter().map(|role| input_name(role, "image")).find(|name| self.arrays.contains_key(name))?;
        let Some(Array { values: Values::F32(values), shape }) = self.arrays.get(&name) else { return None };
        let [channels, height, width] = manifest.image_shape();
        let saved = Tensor { shape: shape.clone(), data: values.clone() };
        let channels_last = shape.get(1..) == Some(&[height, width, channels]) && height != channels;
        let turned = channels_last.then(|| channels_moved_first(&saved)).flatten();
        let expected = turned.unwrap_or(saved).data;
        let mismatch = match tensor_of(image, preprocessor) {
            Err(reason) => Some(reason),
            Ok(tensor) if expected.len() < tensor.len() => {
                Some(format!("is preprocessed to more numbers than {name} has"))
            }
            Ok(tensor) => image_difference(&tensor, &expected[..tensor.len()], manifest)
                .map(|text| format!("is preprocessed otherwise than the first row of {name}: {text}")),
        };
        mismatch.map(|text| format!("{FILE_NAME}: {IMAGE} {text}"))
    }
}

/// The tensor as runs take it: images of a graph that has the channels last are saved with the channels last.
fn as_taken(tensor: Tensor, port: &Port) -> Tensor {
    let fits = |tensor: &Tensor| {
        let axis = |(axis, size): (&Axis, &usize)| match axis {
            Axis::Fixed(fixed) => fixed == size,
            Axis::Dynamic(_) => true,
        };
        port.shape.iter().zip(&tensor.shape).skip(1).all(axis)
    };
    if fits(&tensor) {
        return tensor;
    }
    channels_moved_first(&tensor).filter(fits).unwrap_or(tensor)
}

fn input_name(role: GraphRole, part: &str) -> String {
    format!("{role}.{part}")
}

fn output_name(manifest: &Manifest, role: GraphRole, part: &str) -> String {
    let shared = manifest.graphs.get(&role).is_some_and(|graph| graph.inputs.contains_key(part));
    if shared { format!("{role}.{part}.out") } else { format!("{role}.{part}") }
}

/// Runs all rows, at most `max_batch` at a time; the outputs come with their names and all rows together.
fn run(subject: Subject<'_>, inputs: &[Tensor], trial: &Trial) -> LatentResult<Vec<(String, Tensor)>> {
    let Subject { info, runner, max_batch, .. } = subject;
    let rows = inputs.first().map_or(0, |input| input.shape[0]);
    let mut whole: Vec<Tensor> = Vec::new();
    for start in (0..rows).step_by(max_batch.max(1)) {
        let count = max_batch.max(1).min(rows - start);
        let part: Vec<Tensor> = inputs.iter().map(|input| slice(input, start, count)).collect();
        let outputs = trial.run(runner, &part)?;
        if whole.is_empty() {
            whole = outputs;
        } else {
            for (whole, part) in whole.iter_mut().zip(outputs) {
                whole.data.extend(part.data);
                if let (Some(rows), Some(more)) = (whole.shape.first_mut(), part.shape.first()) {
                    *rows += more;
                }
            }
        }
    }
    Ok(info.outputs.iter().map(|port| port.name.clone()).zip(whole).collect())
}

fn slice(tensor: &Tensor, start: usize, count: usize) -> Tensor {
    let length = tensor.data.len() / tensor.shape[0];
    let mut shape = tensor.shape.clone();
    shape[0] = count;
    Tensor { shape, data: tensor.data[start * length..(start + count) * length].to_vec() }
}

/// Where `given` is farther from `golden` than allowed, in words.
fn difference(given: &[f32], golden: &[f32], shape: &[usize], tolerance: Tolerance) -> Option<String> {
    let Tolerance { atol, rtol } = tolerance;
    let worst = farthest(given, golden, tolerance)?;
    Some(format!(
        "differs: the graph gives {} where golden is {}, at {:?} (the largest of {} differences; atol {atol}, rtol {rtol})",
        given[worst.at],
        golden[worst.at],
        position(worst.at, shape),
        worst.count
    ))
}

fn image_difference(given: &[f32], golden: &[f32], manifest: &Manifest) -> Option<String> {
    let [channels, height, width] = manifest.image_shape();
    let level = |at: usize| {
        let std = manifest.preprocess.std.as_ref().and_then(|std| std.get(at / (height * width)).copied());
        manifest.preprocess.rescale as f32 / std.unwrap_or(1.0)
    };
    let worst = worst(given, golden, |_, at| level(at) * (1.0 + IMAGE_SLACK) + IMAGE_SLACK * level(at))?;
    Some(format!(
        "{} where golden is {}, at {:?} (the largest of {} differences; one level of 255 is {})",
        given[worst.at],
        golden[worst.at],
        position(worst.at, &[channels, height, width]),
        worst.count,
        level(worst.at)
    ))
}

/// The number that is farther off than allowed by the most.
pub(super) struct Worst {
    pub(super) at: usize,
    /// The count of numbers that are farther off than allowed.
    count: usize,
}

/// The number of `given` that is farthest from its counterpart, if any is farther than the tolerance allows.
pub(super) fn farthest(given: &[f32], expected: &[f32], tolerance: Tolerance) -> Option<Worst> {
    worst(given, expected, |expected, _| tolerance.atol + tolerance.rtol * expected.abs())
}

/// The number that is farthest off among those farther than allowed; a NaN is farther than anything.
fn worst(given: &[f32], golden: &[f32], allowed: impl Fn(f32, usize) -> f32) -> Option<Worst> {
    let mut worst: Option<(f32, Worst)> = None;
    for (at, (&given, &golden)) in given.iter().zip(golden).enumerate() {
        let off = (given - golden).abs();
        if off <= allowed(golden, at) {
            continue;
        }
        let off = if off.is_nan() { f32::INFINITY } else { off };
        worst = Some(match worst {
            Some((most, found)) if most >= off => (most, Worst { count: found.count + 1, ..found }),
            found => (off, Worst { at, count: found.map_or(0, |(_, found)| found.count) + 1 }),
        });
    }
    worst.map(|(_, worst)| worst)
}

fn position(at: usize, shape: &[usize]) -> Vec<usize> {
    let mut rest = at;
    let mut place: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&side| {
            let index = rest % side.max(1);
            rest /= side.max(1);
            index
        })
        .collect();
    place.reverse();
    place
}

/// The tensor of an image that goes through the whole pipeline: as a file, decoded and preprocessed.
fn tensor_of(image: &Array, preprocessor: &Preprocessor) -> Result<Vec<f32>, String> {
    let Values::U8(data) = &image.values else { return Err("is not uint8".to_owned()) };
    let (height, width, channels) = match image.shape[..] {
        [height, width] | [height, width, 1] => (height, width, Channels::Gray),
        [height, width, 3] => (height, width, Channels::Rgb),
        _ => return Err(format!("has shape {:?}, not height × width × channels", image.shape)),
    };
    let side = |side: usize| u32::try_from(side).map_err(|_| "is too large".to_owned());
    let pixels = Pixels { width: side(width)?, height: side(height)?, channels, data: data.clone() };
    let tensor = || -> LatentResult<Vec<f32>> {
        let decoded = image::decode(&image::encode::png_pixels(&pixels)?, u64::MAX)?;
        let mut tensor = vec![0.0; preprocessor.tensor_len()];
        preprocessor.tensor(&decoded, &mut tensor)?;
        Ok(tensor)
    };
    tensor().map_err(|error| format!("cannot be preprocessed: {}", error.chain()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_farthest_number_is_named_and_the_allowance_grows_with_the_number() {
        let tolerance = Tolerance { atol: 0.01, rtol: 0.1 };
        assert_eq!(difference(&[1.0, 10.9], &[1.0, 10.0], &[1, 2], tolerance), None);
        let text = difference(&[1.0, 1.5, 3.0, 2.0], &[1.0, 1.0, 2.0, 2.0], &[2, 2], tolerance).unwrap();
        assert!(text.contains("gives 3 where golden is 2, at [1, 0]") && text.contains("of 2"), "{text}");
    }

    #[test]
    fn a_nan_disagrees_with_every_number() {
        assert!(difference(&[f32::NAN], &[0.0], &[1], Tolerance::default()).is_some());
        assert!(difference(&[0.0], &[f32::NAN], &[1], Tolerance { atol: 9e9, rtol: 9e9 }).is_some());
    }
}
