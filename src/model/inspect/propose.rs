//! A manifest for graphs that have none, guessed from their names and shapes and, where it lies beside them, from the
//! `preprocessor_config.json` of a Hugging Face export. What cannot be known is written as a comment to look at.

mod processor;

use std::{fmt::Write as _, path::Path};

use processor::Processor;

use super::{fits, quoted};
use crate::{
    model::family::{Family, GraphRole},
    runtime::{Axis, GraphInfo, Port},
};

/// The image's side where neither a graph nor a processor tells it.
const USUAL_SIDE: usize = 224;

/// An ONNX file that could be opened.
pub(super) struct Found<'a> {
    /// Relative to the folder.
    pub(super) file: String,
    pub(super) info: &'a GraphInfo,
}

/// What a graph seems to be.
struct Guess<'a> {
    role: GraphRole,
    file: &'a str,
    /// Role → name in the graph.
    inputs: Vec<(&'static str, &'a str)>,
    outputs: Vec<(&'static str, &'a str)>,
    image: &'a Port,
    /// Patches of the mask, for a graph that takes one and says how many.
    mask_length: Option<usize>,
}

/// The text of a manifest for these graphs.
///
/// # Errors
/// One line that says why there is none to propose.
pub(super) fn manifest(folder: &Path, found: &[Found<'_>]) -> Result<String, String> {
    let mut guesses: Vec<Guess<'_>> = found.iter().filter(|found| fits(&found.file)).filter_map(guess).collect();
    // several builds of one graph (quantised ones, say): the shortest name is the plain one
    guesses.sort_by_key(|guess| (guess.role, guess.file.len(), guess.file));
    let others: Vec<&str> = guesses
        .iter()
        .enumerate()
        .filter(|(at, guess)| guesses[..*at].iter().any(|earlier| earlier.role == guess.role))
        .map(|(_, guess)| guess.file)
        .collect();
    let chosen: Vec<&Guess<'_>> = guesses
        .iter()
        .enumerate()
        .filter(|(at, guess)| !guesses[..*at].iter().any(|earlier| earlier.role == guess.role))
        .map(|(_, guess)| guess)
        .collect();
    let Some(first) = chosen.iter().find(|guess| guess.role != GraphRole::Decoder).or(chosen.first()) else {
        return Err("no graph takes an image [batch, channels, height, width] or gives one".to_owned());
    };
    let family = family(&chosen);
    let processor = Processor::beside(folder);
    let mut text = String::new();
    write(&mut text, family, &chosen, first.image, processor.as_ref());
    for other in others {
        // writing to a string cannot fail, here and below
        let _ = writeln!(text, "\n# {other} seems to be another build of one of these: see [variants]");
    }
    Ok(text)
}

fn guess<'a>(found: &'a Found<'_>) -> Option<Guess<'a>> {
    let Found { file, info } = found;
    let looks = |port: &Port| port.shape.len() == 4 && matches!(port.shape[1], Axis::Fixed(1 | 3) | Axis::Dynamic(_));
    let image_out = info.outputs.iter().find(|port| looks(port));
    let guess = |role, inputs, outputs, image| Some(Guess { role, file, inputs, outputs, image, mask_length: None });
    match &info.inputs[..] {
        [one, two] => {
            let (image, mask) = if looks(one) { (one, two) } else { (two, one) };
            let out = image_out.filter(|_| looks(image) && mask.shape.len() == 2)?;
            let part = if mask.name.contains("noise") { "noise" } else { "mask" };
            let inputs = vec![("image", image.name.as_str()), (part, mask.name.as_str())];
            let mask_length = if let Axis::Fixed(length) = mask.shape[1] { Some(length) } else { None };
            let masked = guess(GraphRole::Masked, inputs, vec![("image", &out.name)], image)?;
            Some(Guess { mask_length, ..masked })
        }
        [latent] if !looks(latent) || file.contains("decoder") => {
            let image = image_out.filter(|_| matches!(latent.shape.len(), 2 | 4))?;
            guess(GraphRole::Decoder, vec![("latent", &latent.name)], vec![("image", &image.name)], image)
        }
        [image] => match image_out.filter(|out| out.shape[1..] == image.shape[1..]) {
            Some(out) => guess(GraphRole::Autoencoder, vec![("image", &image.name)], vec![("image", &out.name)], image),
            None => {
                let outputs = encoder_outputs(info);
                if outputs.is_empty() {
                    return None;
                }
                guess(GraphRole::Encoder, vec![("image", &image.name)], outputs, image)
            }
        },
        _ => None,
    }
}

fn encoder_outputs(info: &GraphInfo) -> Vec<(&'static str, &str)> {
    let named = |words: &[&str]| {
        let fits = |name: &str| words.iter().any(|word| name.to_lowercase().contains(word));
        info.outputs.iter().find(|port| fits(&port.name)).map(|port| port.name.as_str())
    };
    let log_variance = named(&["log_var", "logvar", "log_sigma"]);
    let mean = named(&["mean", "mu"]);
    if let (Some(mean), Some(log_variance)) = (mean, log_variance) {
        return vec![("mean", mean), ("log_variance", log_variance)];
    }
    let of_rank =
        |rank: usize| info.outputs.iter().find(|port| port.shape.len() == rank).map(|port| port.name.as_str());
    [("embedding", of_rank(2)), ("tokens", of_rank(3)), ("latent", of_rank(4))]
        .into_iter()
        .find_map(|(role, name)| Some(vec![(role, name?)]))
        .unwrap_or_default()
}

fn family(guesses: &[&Guess<'_>]) -> Family {
    let has = |role| guesses.iter().any(|guess| guess.role == role);
    let gives = |part| guesses.iter().any(|guess| guess.outputs.iter().any(|(role, _)| *role == part));
    if has(GraphRole::Masked) {
        Family::MaskedAutoencoder
    } else if gives("log_variance") {
        Family::Variational
    } else if has(GraphRole::Decoder) || has(GraphRole::Autoencoder) {
        Family::Autoencoder
    } else {
        Family::Contrastive
    }
}

fn write(text: &mut String, family: Family, guesses: &[&Guess<'_>], image: &Port, processor: Option<&Processor>) {
    let fixed = |at: usize| if let Some(Axis::Fixed(size)) = image.shape.get(at) { Some(*size) } else { None };
    let told = processor.and_then(Processor::size);
    let height = fixed(2).or(told.map(|(_, height)| height)).unwrap_or(USUAL_SIDE);
    let width = fixed(3).or(told.map(|(width, _)| width)).unwrap_or(USUAL_SIDE);
    let channels = if fixed(1) == Some(1) { "gray" } else { "rgb" };
    let _ = writeln!(text, "manifest = 1\nfamily = \"{family}\"\n# description = \"\"\n# license = \"\"\n");
    let _ = writeln!(text, "[input]\nwidth = {width}\nheight = {height}\nchannels = \"{channels}\"\n");
    match processor {
        Some(processor) => text.push_str(&processor.section((width, height))),
        None => text.push_str(
            "[preprocess]                # a guess: make it what training did\nresize = \"exact\"\nfilter = \"bicubic\"\n\
             rescale = 0.00392156862745098\n# mean = []\n# std = []\n",
        ),
    }
    if family == Family::MaskedAutoencoder {
        let patch = patch(guesses, width * height);
        let _ = writeln!(text, "\n[masked]\npatch = {patch}");
        if guesses.iter().any(|guess| guess.inputs.iter().any(|(role, _)| *role == "noise")) {
            text.push_str("ratio = 0.75                # a guess: the share that the graph hides\n");
        }
    }
    for guess in guesses {
        let table = |ports: &[(&str, &str)]| {
            let bound: Vec<String> = ports.iter().map(|(role, name)| format!("{role} = {}", quoted(name))).collect();
            format!("{{ {} }}", bound.join(", "))
        };
        let outputs: Vec<(&str, &str)> =
            guess.outputs.iter().map(|&(role, name)| (renamed(family, role), name)).collect();
        let _ = writeln!(text, "\n[graphs.{}]\nfile = {}", guess.role, quoted(guess.file));
        let _ = writeln!(text, "inputs = {}\noutputs = {}", table(&guess.inputs), table(&outputs));
    }
    let encoder = guesses.iter().find(|guess| guess.role == GraphRole::Encoder);
    if let Some((output, _)) = encoder.and_then(|encoder| encoder.outputs.first()) {
        let output = renamed(family, output);
        let pooling = if output == "tokens" { "mean" } else { "none" };
        let _ = writeln!(
            text,
            "\n[embedding]\noutput = \"{output}\"\npooling = \"{pooling}\"\nnormalize = true\nmetric = \"cosine\""
        );
    }
    if guesses.iter().any(|guess| guess.role != GraphRole::Encoder) {
        text.push_str("\n[reconstruction]\nvalues = \"unit\"             # or \"normalized\"\n");
    }
}

/// An autoencoder calls what its decoder takes a latent, of whatever rank.
fn renamed(family: Family, role: &'static str) -> &'static str {
    if family == Family::Autoencoder && role == "embedding" { "latent" } else { role }
}

/// The side of a patch, from the length of the mask; 16, the usual one, where that is open.
fn patch(guesses: &[&Guess<'_>], pixels: usize) -> usize {
    let masked = guesses.iter().find(|guess| guess.role == GraphRole::Masked);
    let patches = masked.and_then(|guess| guess.mask_length).filter(|&patches| patches > 0);
    patches.map_or(16, |patches| (pixels / patches).isqrt())
}
