//! `latentd calibrate`: makes a calibration of a running server from folders, tar files and lists.

use std::{process::ExitCode, time::Duration};

use bytes::Bytes;
use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    gather::{Gathered, GatheredImages, GroupPattern, ImageSources, spread_groups},
    remote::{Refusal, Remote, Trouble, answer},
};
use crate::{
    config::Flags,
    domain::{CalibrationName, ModelName},
    error::{Error, Result},
};

/// Images of one request, whatever their bytes: a form has up to three parts for each.
const MOST_IMAGES: usize = 3000;
/// How long a server may take to score the images of a request.
const SCORING: Duration = Duration::from_secs(3600);
/// How often a request is made whose failure may pass.
const TRIES: u32 = 4;
/// How often a request is made that finds the server busy.
const BUSY_TRIES: u32 = 60;
/// The exit code of a calibration that was made without some of the images.
const SOME_FAILED: u8 = 1;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The model whose scores are calibrated
    model: ModelName,
    #[command(flatten)]
    sources: ImageSources,
    /// The calibration to make
    #[arg(long, value_name = "NAME")]
    name: CalibrationName,
    /// Find the group of each image, such as its part or lot, in its path: the first group of the pattern, or all that it
    /// matches
    #[arg(long, value_name = "REGEX")]
    group_from: Option<GroupPattern>,
    /// The name of the folder that an image lies in is its label: `good`, `normal` and `ok` calibrate, others are those of
    /// anomalies, by which the scores are evaluated
    #[arg(long)]
    labels_from_folders: bool,
    #[command(flatten)]
    score: ScoreFlags,
    /// Add the images to the calibration, as its next version
    #[arg(long)]
    add: bool,
    /// The server [default: the configured one, on this machine]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// How the scores are made; what is left out is the model's usual way, or with `--add` the calibration's.
#[derive(Debug, Clone, clap::Args)]
struct ScoreFlags {
    /// The metric of the scores
    #[arg(long, value_name = "METRIC")]
    metric: Option<String>,
    /// How the map becomes the score: max, mean or top:SHARE
    #[arg(long, value_name = "POOLING")]
    pooling: Option<String>,
    /// The standard deviation of a Gaussian over the map, in pixels
    #[arg(long, value_name = "PIXELS")]
    sigma: Option<f64>,
    /// Score images at their own resolution, in tiles of so many pixels a side
    #[arg(long, value_name = "PIXELS")]
    tile: Option<u32>,
    /// Pixels by which tiles overlap
    #[arg(long, value_name = "PIXELS", requires = "tile")]
    overlap: Option<u32>,
}

impl ScoreFlags {
    fn query(&self) -> Vec<(&'static str, String)> {
        let numbers = [("tile", self.tile), ("overlap", self.overlap)];
        let numbers = numbers.into_iter().filter_map(|(name, number)| Some((name, number?.to_string())));
        let texts = [("metric", &self.metric), ("pooling", &self.pooling)];
        let texts = texts.into_iter().filter_map(|(name, text)| Some((name, text.clone()?)));
        texts.chain(numbers).chain(self.sigma.map(|sigma| ("sigma", sigma.to_string()))).collect()
    }
}

/// What the server says of a calibration that was made.
#[derive(Debug, Deserialize)]
struct Description {
    name: String,
    version: u32,
    count: usize,
    groups: Option<usize>,
    quantiles: Value,
    evaluation: Option<Value>,
    #[serde(default)]
    errors: Vec<ImageError>,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct ImageError {
    index: usize,
    #[serde(flatten)]
    refusal: Refusal,
}

/// Images that go in one request.
#[derive(Debug, Default)]
struct Portion {
    names: Vec<String>,
    files: Vec<Bytes>,
    groups: Vec<String>,
    labels: Vec<String>,
}

/// Runs the command; the code says whether all images are in.
pub(super) fn run(flags: &Flags, options: &Options) -> Result<ExitCode> {
    let remote = Remote::told(options.url.as_deref(), flags)?;
    let runtime = super::remote::runtime()?;
    let (description, failed) = runtime.block_on(calibrate(&remote, options))?;
    super::print(&described(&options.model, &description))?;
    for text in &failed {
        super::complain(text);
    }
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(SOME_FAILED) })
}

async fn calibrate(remote: &Remote, options: &Options) -> Result<(Description, Vec<String>)> {
    let limits = remote.model(options.model.as_str()).await.map_err(Trouble::into_error)?.limits;
    let gathered =
        options.sources.gather(options.labels_from_folders, options.group_from.as_ref(), limits.body_bytes)?;
    let GatheredImages { mut images, failed } = gathered;
    spread_groups(&mut images);
    let mut failed: Vec<String> = failed.iter().map(|one| format!("{}: {}", one.name, one.message)).collect();
    let mut portions = Portions::new(&images, limits.body_bytes);
    let first = portions.next(&mut failed)?.ok_or_else(|| Error::invalid_request("no image could be read"))?;
    let base = format!("v1/models/{}/calibrations", options.model);
    let target = format!("{base}/{}", options.name);
    let mut making = Making { remote, options, failed };
    let description = if options.add {
        let items = format!("{target}/items");
        let mut last = making.send(Method::POST, &items, &first).await?;
        while let Some(portion) = portions.next(&mut making.failed)? {
            last = making.send(Method::POST, &items, &portion).await?;
        }
        last
    } else if portions.is_done() {
        making.send(Method::PUT, &target, &first).await?
    } else {
        // The calibration is replaced as a whole, once all images are scored.
        let aside = format!("{base}/{}.partial", options.name);
        let made = making.make_aside((&aside, &target), &first, &mut portions).await;
        let dropped = remote.request(Method::DELETE, &aside, &[]).map_err(Trouble::into_error)?.send().await;
        if let (Ok(_), Err(error)) = (&made, dropped) {
            making.failed.push(format!("{aside} could not be deleted: {error}"));
        }
        made?
    };
    Ok((description, making.failed))
}

/// A calibration that is being made.
struct Making<'a> {
    remote: &'a Remote,
    options: &'a Options,
    /// What failed so far, image by image.
    failed: Vec<String>,
}

impl Making<'_> {
    /// Makes a calibration under another name, portion by portion, and then of it the one that is wanted.
    async fn make_aside(
        &mut self,
        (aside, target): (&str, &str),
        first: &Portion,
        rest: &mut Portions<'_>,
    ) -> Result<Description> {
        self.send(Method::PUT, aside, first).await?;
        while let Some(portion) = rest.next(&mut self.failed)? {
            self.send(Method::POST, &format!("{aside}/items"), &portion).await?;
        }
        let export = self.remote.request(Method::GET, &format!("{aside}/export"), &[]).map_err(Trouble::into_error)?;
        let document: Value = answer(export).await.map_err(Trouble::into_error)?;
        let import = self.remote.request(Method::PUT, &format!("{target}/import"), &[]).map_err(Trouble::into_error)?;
        answer(import.json(&document)).await.map_err(Trouble::into_error)
    }

    /// Sends the images of a request; a busy server is asked again.
    async fn send(&mut self, method: Method, path: &str, portion: &Portion) -> Result<Description> {
        let query = self.options.score.query();
        let query: Vec<(&str, &str)> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut tries = 0;
        loop {
            let request = self.remote.request(method.clone(), path, &query).map_err(Trouble::into_error)?;
            let request = request.timeout(SCORING).multipart(portion.form());
            let trouble = match answer::<Description>(request).await {
                Ok(description) => {
                    self.failed.extend(description.errors.iter().map(|ImageError { index, refusal }| {
                        let name = portion.names.get(*index).map_or("an image", String::as_str);
                        format!("{name}: {}: {}", refusal.code, refusal.message)
                    }));
                    return Ok(description);
                }
                Err(trouble) => trouble,
            };
            tries += 1;
            match trouble {
                Trouble::Busy(wait) if tries < BUSY_TRIES => tokio::time::sleep(wait).await,
                Trouble::Passing(_) if tries < TRIES => tokio::time::sleep(Duration::from_secs(1)).await,
                trouble => return Err(trouble.into_error()),
            }
        }
    }
}

/// Images in as many requests as their bytes take, read when their turn comes.
struct Portions<'a> {
    rest: std::slice::Iter<'a, Gathered>,
    /// The image that did not fit into the request before.
    carried: Option<(&'a Gathered, Bytes)>,
    body_bytes: u64,
    grouped: bool,
}

impl<'a> Portions<'a> {
    fn new(images: &'a [Gathered], body_bytes: u64) -> Self {
        let grouped = images.iter().any(|image| image.group.is_some());
        Self { rest: images.iter(), carried: None, body_bytes, grouped }
    }

    fn is_done(&self) -> bool {
        self.carried.is_none() && self.rest.len() == 0
    }

    /// The images of the next request; none at the end.
    fn next(&mut self, failed: &mut Vec<String>) -> Result<Option<Portion>> {
        let mut portion = Portion::default();
        let mut bytes = 0;
        while portion.files.len() < MOST_IMAGES {
            let Some((image, file)) = self.carried.take().or_else(|| self.read(failed)) else { break };
            let more = Gathered::form_bytes(&file);
            if bytes + more > self.body_bytes && !portion.files.is_empty() {
                self.carried = Some((image, file));
                break;
            }
            bytes += more;
            portion.names.push(image.name.clone());
            portion.files.push(file);
            portion.labels.push(image.label.clone().unwrap_or_default());
            if self.grouped {
                let text = || Error::invalid_request(format!("{} has no group, and others have one", image.name));
                portion.groups.push(image.group.clone().ok_or_else(text)?);
            }
        }
        Ok((!portion.files.is_empty()).then_some(portion))
    }

    /// The next image that can be read.
    fn read(&mut self, failed: &mut Vec<String>) -> Option<(&'a Gathered, Bytes)> {
        loop {
            let image = self.rest.next()?;
            match image.read(self.body_bytes) {
                Ok(file) => return Some((image, file)),
                Err(unreadable) => failed.push(format!("{}: {}", unreadable.name, unreadable.message)),
            }
        }
    }
}

impl Portion {
    fn form(&self) -> Form {
        let mut form = Form::new();
        for file in &self.files {
            let part = Part::stream_with_length(file.clone(), file.len() as u64).file_name("image");
            form = form.part("image", part);
        }
        for group in &self.groups {
            form = form.text("group", group.clone());
        }
        if self.labels.iter().any(|label| !label.is_empty()) {
            for label in &self.labels {
                form = form.text("label", label.clone());
            }
        }
        form
    }
}

/// What was made, for people.
fn described(model: &ModelName, description: &Description) -> String {
    let Description { name, version, count, groups, quantiles, evaluation, warnings, .. } = description;
    let groups = groups.map_or_else(String::new, |groups| format!(" in {groups} groups"));
    let mut text = format!("calibration {name}@{version} of {model}: {count} normal images{groups}\n");
    for (share, score) in quantiles.as_object().into_iter().flatten() {
        text.push_str(&format!("  score at {share}: {score}\n"));
    }
    if let Some(evaluation) = evaluation {
        for figure in ["auroc", "average_precision"] {
            text.push_str(&format!("  {figure}: {}\n", evaluation.get(figure).unwrap_or(&Value::Null)));
        }
        for rate in evaluation.get("rates").and_then(Value::as_array).into_iter().flatten() {
            let of = |name: &str| rate.get(name).cloned().unwrap_or_default();
            text.push_str(&format!("  recall at {}: {}\n", of("false_positive_rate"), of("recall")));
        }
    }
    for warning in warnings {
        text.push_str(&format!("  note: {warning}\n"));
    }
    text
}
