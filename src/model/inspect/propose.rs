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

/// What evaluation resizes to, by the side that it crops to: 256 for 224.
const CROPPED_SHARE: f64 = 224.0 / 256.0;

/// The image's side where neither a graph nor a processor tells it.
const USUAL_SIDE: usize = 224;

/// An ONNX file that could be opened.
pub(super) struct Found {
    /// The file's name, relative to the folder.
    pub(super) file: String,
    /// The graph, with images that have their channels last turned to have them first.
    pub(super) info: GraphInfo,
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

impl Found {
    pub(super) fn new(file: String, info: &GraphInfo) -> Self {
        let turned = |ports: &[Port]| ports.iter().map(channels_first).collect();
        Self { file, info: GraphInfo { inputs: turned(&info.inputs), outputs: turned(&info.outputs), ..info.clone() } }
    }
}

/// The port with its channels first, where it is an image with its channels last.
fn channels_first(port: &Port) -> Port {
    match &port.shape[..] {
        [batch, height, width, channels @ Axis::Fixed(1 | 3)] if !matches!(height, Axis::Fixed(1 | 3)) => {
            let shape = [batch, channels, height, width].map(Clone::clone).into();
            Port { shape, ..port.clone() }
        }
        _ => port.clone(),
    }
}

/// The text of a manifest for these graphs.
///
/// # Errors
/// Every reason why there is none to propose, one line each.
pub(super) fn manifest(folder: &Path, found: &[Found]) -> Result<String, Vec<String>> {
    let mut guesses: Vec<Guess<'_>> = found.iter().filter(|found| fits(&found.file)).flat_map(guess).collect();
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
        let text =
            "no graph takes an image [batch, channels, height, width] or gives one, nor one with its channels last";
        return Err(vec![text.to_owned()]);
    };
    let family = family(&chosen);
    let processor = Processor::beside(folder);
    let refused = processor.as_ref().map(Processor::refused).unwrap_or_default();
    if !refused.is_empty() {
        return Err(refused);
    }
    let mut text = String::new();
    write(&mut text, family, &chosen, first.image, processor.as_ref());
    for other in others {
        // writing to a string cannot fail, here and below
        let _ = writeln!(text, "\n# {other} seems to be another build of one of these: see [variants]");
    }
    Ok(text)
}

fn port_name(port: &Port) -> &str {
    &port.name
}

/// What a graph seems to be: one role, or two for a graph that gives both an image and what lies between.
fn guess(found: &Found) -> Vec<Guess<'_>> {
    let Found { file, info } = found;
    let looks = |port: &Port| port.shape.len() == 4 && matches!(port.shape[1], Axis::Fixed(1 | 3) | Axis::Dynamic(_));
    let image_out = info.outputs.iter().find(|port| looks(port));
    let guess = |role, inputs, outputs, image| Guess { role, file, inputs, outputs, image, mask_length: None };
    match &info.inputs[..] {
        [one, two] => {
            let (image, mask) = if looks(one) { (one, two) } else { (two, one) };
            let Some(out) = image_out.filter(|_| looks(image) && mask.shape.len() == 2) else { return Vec::new() };
            let part = if mask.name.contains("noise") { "noise" } else { "mask" };
            let inputs = vec![("image", image.name.as_str()), (part, mask.name.as_str())];
            let mask_length = if let Axis::Fixed(length) = mask.shape[1] { Some(length) } else { None };
            let masked = guess(GraphRole::Masked, inputs, vec![("image", out.name.as_str())], image);
            vec![Guess { mask_length, ..masked }]
        }
        [latent] if !looks(latent) || file.contains("decoder") => {
            let image = image_out.filter(|_| matches!(latent.shape.len(), 2 | 4));
            let inputs = || vec![("latent", latent.name.as_str())];
            let decoder = |image| guess(GraphRole::Decoder, inputs(), vec![("image", port_name(image))], image);
            image.map(decoder).into_iter().collect()
        }
        [image] if looks(image) && !detector_outputs(info).is_empty() => {
            vec![guess(GraphRole::Anomaly, vec![("image", image.name.as_str())], detector_outputs(info), image)]
        }
        [image] => {
            let inputs = || vec![("image", image.name.as_str())];
            let same = image_out.filter(|out| out.shape[1..] == image.shape[1..]);
            let others: Vec<&Port> =
                info.outputs.iter().filter(|port| same.is_none_or(|out| out.name != port.name)).collect();
            let outputs = encoder_outputs(&others);
            let whole =
                same.map(|out| guess(GraphRole::Autoencoder, inputs(), vec![("image", out.name.as_str())], image));
            let encoder = (!outputs.is_empty()).then(|| guess(GraphRole::Encoder, inputs(), outputs, image));
            whole.into_iter().chain(encoder).collect()
        }
        _ => Vec::new(),
    }
}

/// The outputs of a detector, by the names that Anomalib gives them. The labels and masks beside them are cut off at a
/// threshold of training, and are left out.
fn detector_outputs(info: &GraphInfo) -> Vec<(&'static str, &str)> {
    let named = |name: &str| info.outputs.iter().find(|port| port.name == name).map(|port| port.name.as_str());
    let outputs = [("score", named("pred_score")), ("map", named("anomaly_map"))];
    outputs.into_iter().filter_map(|(role, name)| Some((role, name?))).collect()
}

/// The outputs that make an encoder, by their names and shapes; masks and whole numbers are none.
fn encoder_outputs<'a>(ports: &[&'a Port]) -> Vec<(&'static str, &'a str)> {
    let has = |port: &Port, words: &[&str]| words.iter().any(|word| port.name.to_lowercase().contains(word));
    let floats = || ports.iter().copied().filter(|port| port.gives_f32() && !has(port, &["mask", "ids_", "loss"]));
    let named = |words: &[&str]| floats().find(|port| has(port, words)).map(|port| port.name.as_str());
    let log_variance = named(&["log_var", "logvar", "log_sigma"]);
    let mean = named(&["mean", "mu"]);
    if let (Some(mean), Some(log_variance)) = (mean, log_variance) {
        return vec![("mean", mean), ("log_variance", log_variance)];
    }
    let of = |rank: usize, words: &[&str]| {
        floats().find(|port| port.shape.len() == rank && has(port, words)).map(|port| port.name.as_str())
    };
    // A vector beside tokens may be a mask, as of a masked autoencoder, unless its name says that it is a vector.
    [
        ("embedding", of(2, &["embed", "pool", "latent", "feature"])),
        ("tokens", of(3, &["hidden", "token"])),
        ("embedding", of(2, &[""])),
        ("tokens", of(3, &[""])),
        ("latent", of(4, &[""])),
    ]
    .into_iter()
    .find_map(|(role, name)| Some(vec![(role, name?)]))
    .unwrap_or_default()
}

fn family(guesses: &[&Guess<'_>]) -> Family {
    let has = |role| guesses.iter().any(|guess| guess.role == role);
    let gives = |part| guesses.iter().any(|guess| guess.outputs.iter().any(|(role, _)| *role == part));
    if has(GraphRole::Anomaly) {
        Family::Anomaly
    } else if has(GraphRole::Masked) {
        Family::MaskedAutoencoder
    } else if gives("log_variance") && (has(GraphRole::Decoder) || !has(GraphRole::Autoencoder)) {
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
    let height = fixed(2).or(told.map(|(_, height)| height));
    let width = fixed(3).or(told.map(|(width, _)| width));
    let _ = writeln!(text, "manifest = 1\nfamily = \"{family}\"\n# description = \"\"\n# license = \"\"\n");
    text.push_str("[input]\n");
    for (key, side) in [("width", width), ("height", height)] {
        let guessed = if side.is_some() { "" } else { "                 # a guess: the graph takes any size" };
        let _ = writeln!(text, "{key} = {}{guessed}", side.unwrap_or(USUAL_SIDE));
    }
    let gray = fixed(1) == Some(1);
    let _ = match (gray, processor.is_some_and(Processor::is_bgr)) {
        (true, _) => writeln!(text, "channels = \"gray\"\n"),
        (false, true) => writeln!(text, "channels = \"bgr\"\n"),
        (false, false) => {
            writeln!(text, "channels = \"rgb\"            # a guess; \"bgr\" where training read with OpenCV\n")
        }
    };
    let size = (width.unwrap_or(USUAL_SIDE), height.unwrap_or(USUAL_SIDE));
    match processor {
        Some(processor) => text.push_str(&processor.section(size)),
        None if family == Family::Anomaly => text.push_str(DETECTOR_PREPROCESS),
        None => write_recipes(text, size, Recipe { gray, bytes: image.dtype == "uint8" }),
    }
    if family == Family::MaskedAutoencoder {
        let (patch, counted) = patch(guesses, size.0 * size.1);
        let guessed = if counted { "" } else { "                  # a guess" };
        let _ = writeln!(text, "\n[masked]\npatch = {patch}{guessed}");
        if guesses.iter().any(|guess| guess.inputs.iter().any(|(role, _)| *role == "noise")) {
            text.push_str("ratio = 0.75                # a guess: the share that the graph hides\n");
        }
    }
    write_graphs(text, family, guesses);
}

/// The section `[preprocess]` of a detector that Anomalib has exported.
const DETECTOR_PREPROCESS: &str = "\
[preprocess]                # a guess: an export of Anomalib takes values in 0…1 and normalises them itself
resize = \"exact\"
filter = \"bilinear\"
rescale = 0.00392156862745098
";

/// What decides which preprocessing is likely.
#[derive(Clone, Copy)]
struct Recipe {
    gray: bool,
    /// The graph takes uint8.
    bytes: bool,
}

/// A section `[preprocess]` that is a guess, with the common recipes as lines to uncomment.
fn write_recipes(text: &mut String, (width, height): (usize, usize), Recipe { gray, bytes }: Recipe) {
    let edge = (width.min(height) as f64 / CROPPED_SHARE).round();
    text.push_str("[preprocess]                # a guess, all of it: make it what training did\nresize = \"exact\"\n");
    let _ = writeln!(
        text,
        "# torchvision, timm and most evaluations resize the shorter side and crop, in place of the line above:\n\
         # resize = \"shortest-edge\"\n# edge = {edge}\n# crop = \"center\"\nfilter = \"bicubic\"          # a guess; \
         torchvision's default is \"bilinear\""
    );
    if bytes {
        text.push_str("rescale = 1.0               # the graph takes uint8, 0…255\n");
        return;
    }
    text.push_str("rescale = 0.00392156862745098\n");
    if gray {
        text.push_str(
            "# without mean and std, values go in as 0…1; normalised to −1…1 they would be:\n# mean = [0.5]\n# std = [0.5]\n",
        );
        return;
    }
    text.push_str(
        "# without mean and std, values go in as 0…1; if training normalised, uncomment what it did\n\
         # ImageNet, as torchvision and timm:\n# mean = [0.485, 0.456, 0.406]\n# std = [0.229, 0.224, 0.225]\n\
         # to −1…1, as many ViTs:\n# mean = [0.5, 0.5, 0.5]\n# std = [0.5, 0.5, 0.5]\n\
         # CLIP:\n# mean = [0.48145466, 0.4578275, 0.40821073]\n# std = [0.26862954, 0.26130258, 0.27577711]\n",
    );
}

fn write_graphs(text: &mut String, family: Family, guesses: &[&Guess<'_>]) {
    for guess in guesses {
        let table = |ports: &[(&str, &str)]| {
            let bound: Vec<String> = ports.iter().map(|(role, name)| format!("{role} = {}", quoted(name))).collect();
            format!("{{ {} }}", bound.join(", "))
        };
        let outputs = served_outputs(family, guess);
        let _ = writeln!(text, "\n[graphs.{}]\nfile = {}", guess.role, quoted(guess.file));
        let _ = writeln!(text, "inputs = {}\noutputs = {}", table(&guess.inputs), table(&outputs));
    }
    let encoder = guesses.iter().find(|guess| guess.role == GraphRole::Encoder);
    if let Some((output, _)) = encoder.and_then(|encoder| served_outputs(family, encoder).first().copied()) {
        let feature_map =
            encoder.is_some_and(|encoder| encoder.outputs[0].0 == "latent") && family == Family::Contrastive;
        let pooling = match output {
            "tokens" => {
                "\"mean\"            # a guess; \"cls\" is the first token, \"gem\" a sharper mean: make it what training did"
            }
            _ if feature_map => {
                "\"mean\"            # a guess; of the feature map's positions; \"gem\" is usual too, \"none\" flattens it"
            }
            _ => "\"none\"",
        };
        let _ = writeln!(
            text,
            "\n[embedding]\noutput = \"{output}\"\npooling = {pooling}\nnormalize = true\nmetric = \"cosine\""
        );
    }
    if guesses.iter().any(|guess| guess.role.outputs().contains(&"image")) {
        text.push_str("\n[reconstruction]\nvalues = \"unit\"             # a guess; or \"normalized\": in the space of the input\n");
    }
}

/// The outputs by the roles that the family has for them. An autoencoder calls what its decoder takes a latent, of
/// whatever rank; one in a single graph embeds by its mean, where it gives one.
fn served_outputs<'a>(family: Family, guess: &Guess<'a>) -> Vec<(&'static str, &'a str)> {
    match (family, &guess.outputs[..]) {
        (Family::Autoencoder, [("mean", mean), ..]) => vec![("latent", mean)],
        (_, outputs) => outputs.iter().map(|&(role, name)| (renamed(family, role), name)).collect(),
    }
}

/// An autoencoder calls what its decoder takes a latent, of whatever rank.
fn renamed(family: Family, role: &'static str) -> &'static str {
    if family == Family::Autoencoder && role == "embedding" { "latent" } else { role }
}

/// The side of a patch, and whether the length of the mask tells it; 16, the usual one, where that is open.
fn patch(guesses: &[&Guess<'_>], pixels: usize) -> (usize, bool) {
    let masked = guesses.iter().find(|guess| guess.role == GraphRole::Masked);
    let patches = masked.and_then(|guess| guess.mask_length).filter(|&patches| patches > 0);
    patches.map_or((16, false), |patches| ((pixels / patches).isqrt(), true))
}
