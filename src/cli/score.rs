//! `latentd score`: judges the images of folders, tar files and lists by a calibration of a running server.

mod report;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::report::Report;
use super::{
    gather::{Gathered, GatheredImages, ImageSources},
    remote::{Refusal, Remote, ServerLimits, Trouble, answer},
};
use crate::{
    config::Flags,
    domain::{CalibrationRef, ModelName},
    error::{Error, Result},
};

/// Images of one request, unless the server takes fewer or they are large.
const BATCH: usize = 16;
/// Bytes of one request, unless a single image has more.
const BATCH_BYTES: u64 = 4 << 20;
/// Requests side by side.
const SIDE_BY_SIDE: usize = 4;
/// How often a request is made whose failure may pass, and one that finds the server busy.
const TRIES: u32 = 4;
const BUSY_TRIES: u32 = 60;
/// Rows of the table.
const ROWS: usize = 20;

/// The exit codes, in the order in which one goes before another.
const SOME_FAILED: u8 = 1;
const SOME_TO_REVIEW: u8 = 3;
const SOME_ANOMALOUS: u8 = 4;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    sources: ImageSources,
    /// The model of the calibration
    #[arg(long, value_name = "NAME")]
    model: ModelName,
    /// The calibration: NAME or NAME@VERSION
    #[arg(long, value_name = "NAME")]
    calibration: CalibrationRef,
    /// The share of normal images that may be called anomalous [default: 0.01, or the lowest that the calibration gives]
    #[arg(long, value_name = "RATE")]
    false_positive_rate: Option<f64>,
    /// A larger rate, up to which images are to be reviewed
    #[arg(long, value_name = "RATE")]
    review_rate: Option<f64>,
    /// Whether the rate holds on average over calibrations, or for this one with probability 0.9 [default: marginal]
    #[arg(long, value_parser = ["marginal", "conditional"])]
    guarantee: Option<String>,
    /// The stream that the images are of
    #[arg(long, value_name = "LABEL")]
    stream: Option<String>,
    /// What is printed: a table of the highest scores, or every image
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Write a page with the highest scores: images, maps and verdicts in one file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Images of the report
    #[arg(long, value_name = "N", default_value_t = 24)]
    worst: usize,
    /// The server [default: the configured one, on this machine]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Csv,
    Ndjson,
}

/// What the server says of an image.
#[derive(Debug, Clone, Deserialize, Serialize)]
struct Judged {
    #[serde(skip_serializing)]
    index: usize,
    score: f64,
    p_value: f64,
    threshold: Option<f64>,
    verdict: String,
    normalized: f64,
    #[serde(default, skip_serializing)]
    map: Option<String>,
    /// Where the image is strange, in its pixels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    regions: Vec<Region>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
struct Region {
    /// x, y, width, height.
    r#box: [f64; 4],
    #[serde(flatten)]
    figures: serde_json::Map<String, Value>,
}

/// The answer to a request.
#[derive(Debug, Deserialize)]
struct Answer {
    data: Vec<Judged>,
    errors: Vec<ImageError>,
    calibration: Value,
}

#[derive(Debug, Deserialize)]
struct ImageError {
    index: usize,
    #[serde(flatten)]
    refusal: Refusal,
}

/// What became of an image, by its place among the gathered ones.
#[derive(Debug)]
struct Row {
    image: usize,
    outcome: Result<Judged, Refusal>,
}

/// What became of all images.
#[derive(Debug, Default)]
struct Outcome {
    rows: Vec<Row>,
    /// What judged them, as the last answer tells it.
    calibration: Value,
}

/// Runs the command; the code tells the verdicts.
pub(super) fn run(flags: &Flags, options: &Options) -> Result<ExitCode> {
    let remote = Remote::told(options.url.as_deref(), flags)?;
    let runtime = super::remote::runtime()?;
    let (gathered, outcome) = runtime.block_on(score(&remote, options))?;
    super::print(&match options.format {
        Format::Table => table(&gathered.images, &outcome),
        Format::Csv => csv(&gathered.images, &outcome)?,
        Format::Ndjson => ndjson(&gathered.images, &outcome),
    })?;
    for failed in &gathered.failed {
        super::complain(&format!("{}: {}: {}", failed.name, failed.code, failed.message));
    }
    for (row, refusal) in outcome.rows.iter().filter_map(|row| Some((row, row.outcome.as_ref().err()?))) {
        super::complain(&format!("{}: {}: {}", gathered.images[row.image].name, refusal.code, refusal.message));
    }
    if let Some(path) = &options.report {
        let page = runtime.block_on(Report { remote: &remote, options }.page(&gathered.images, &outcome))?;
        std::fs::write(path, page)
            .map_err(|error| Error::invalid_request(format!("cannot write {}: {error}", path.display())))?;
    }
    Ok(exit_code(&gathered, &outcome))
}

/// Anomalous images go before images to review, and these before images that failed.
fn exit_code(gathered: &GatheredImages, outcome: &Outcome) -> ExitCode {
    let verdict = |wanted: &str| outcome.rows.iter().flat_map(|row| &row.outcome).any(|one| one.verdict == wanted);
    let failed = !gathered.failed.is_empty() || outcome.rows.iter().any(|row| row.outcome.is_err());
    match () {
        () if verdict("anomalous") => ExitCode::from(SOME_ANOMALOUS),
        () if verdict("review") => ExitCode::from(SOME_TO_REVIEW),
        () if failed => ExitCode::from(SOME_FAILED),
        () => ExitCode::SUCCESS,
    }
}

async fn score(remote: &Remote, options: &Options) -> Result<(GatheredImages, Outcome)> {
    let limits = remote.model(options.model.as_str()).await.map_err(Trouble::into_error)?.limits;
    let gathered = options.sources.gather(false, None, limits.body_bytes)?;
    let places: Vec<usize> = (0..gathered.images.len()).collect();
    let batches = places.chunks(BATCH.min(limits.images).max(1));
    let images = &gathered.images;
    let asking = batches.map(|batch| judge_batch(remote, options, (images, batch), limits));
    let mut answers = stream::iter(asking).buffered(SIDE_BY_SIDE);
    let mut outcome = Outcome::default();
    while let Some(judged) = answers.next().await {
        let (rows, calibration) = judged?;
        outcome.rows.extend(rows);
        if !calibration.is_null() {
            outcome.calibration = calibration;
        }
    }
    drop(answers);
    Ok((gathered, outcome))
}

/// Judges images, in several requests where they are large.
async fn judge_batch(
    remote: &Remote,
    options: &Options,
    (images, batch): (&[Gathered], &[usize]),
    limits: ServerLimits,
) -> Result<(Vec<Row>, Value)> {
    let (mut rows, mut calibration) = (Vec::new(), Value::Null);
    let (mut files, mut bytes): (Vec<(usize, Bytes)>, u64) = (Vec::new(), 0);
    for &image in batch {
        match images[image].read(limits.body_bytes) {
            Ok(file) => {
                let more = Gathered::form_bytes(&file);
                if bytes + more > BATCH_BYTES.min(limits.body_bytes) && !files.is_empty() {
                    calibration = ask(remote, options, std::mem::take(&mut files), &mut rows).await?;
                    bytes = 0;
                }
                bytes += more;
                files.push((image, file));
            }
            Err(failed) => {
                let refusal = Refusal { code: failed.code, message: failed.message };
                rows.push(Row { image, outcome: Err(refusal) });
            }
        }
    }
    if !files.is_empty() {
        let judged_by = ask(remote, options, files, &mut rows).await?;
        calibration = if judged_by.is_null() { calibration } else { judged_by };
    }
    rows.sort_by_key(|row| row.image);
    Ok((rows, calibration))
}

/// One request; an image that is refused is a row of its own.
async fn ask(remote: &Remote, options: &Options, files: Vec<(usize, Bytes)>, rows: &mut Vec<Row>) -> Result<Value> {
    let contents: Vec<&Bytes> = files.iter().map(|(_, file)| file).collect();
    let image = |index: usize| files.get(index).map(|(image, _)| *image);
    match post(remote, &query(options), &contents).await {
        Ok(Answer { data, errors, calibration }) => {
            let judged = data.into_iter().filter_map(|one| Some(Row { image: image(one.index)?, outcome: Ok(one) }));
            rows.extend(judged);
            rows.extend(
                errors.into_iter().filter_map(|one| Some(Row { image: image(one.index)?, outcome: Err(one.refusal) })),
            );
            Ok(calibration)
        }
        // With a single image, its error is the answer's.
        Err(Trouble::Refused(refusal)) if is_of_an_image(&refusal.code) => {
            rows.extend(files.iter().map(|(image, _)| Row { image: *image, outcome: Err(refusal.clone()) }));
            Ok(Value::Null)
        }
        Err(trouble) => Err(trouble.into_error()),
    }
}

fn is_of_an_image(code: &str) -> bool {
    matches!(code, "invalid_image" | "image_too_large" | "unsupported_media_type")
}

/// The options of the request.
fn query(options: &Options) -> Vec<(&'static str, String)> {
    let mut query = vec![("model", options.model.to_string()), ("calibration", options.calibration.to_string())];
    let rates = [("false_positive_rate", options.false_positive_rate), ("review_rate", options.review_rate)];
    query.extend(rates.into_iter().filter_map(|(name, rate)| Some((name, rate?.to_string()))));
    let texts = [("guarantee", &options.guarantee), ("stream", &options.stream)];
    query.extend(texts.into_iter().filter_map(|(name, text)| Some((name, text.clone()?))));
    query
}

/// Posts images; a busy server is asked again.
async fn post(remote: &Remote, query: &[(&'static str, String)], files: &[&Bytes]) -> Result<Answer, Trouble> {
    let query: Vec<(&str, &str)> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut tries = 0;
    loop {
        let mut form = Form::new();
        for file in files {
            let part = Part::stream_with_length((*file).clone(), file.len() as u64).file_name("image");
            form = form.part("image", part);
        }
        let trouble = match answer(remote.request(Method::POST, "v1/anomaly", &query)?.multipart(form)).await {
            Ok(judged) => return Ok(judged),
            Err(trouble) => trouble,
        };
        tries += 1;
        match trouble {
            Trouble::Busy(wait) if tries < BUSY_TRIES => tokio::time::sleep(wait).await,
            Trouble::Passing(_) if tries < TRIES => tokio::time::sleep(Duration::from_secs(1)).await,
            trouble => return Err(trouble),
        }
    }
}

/// The judged images, the highest score first.
fn by_score(outcome: &Outcome) -> Vec<(usize, &Judged)> {
    let judged = outcome.rows.iter().filter_map(|row| Some((row.image, row.outcome.as_ref().ok()?)));
    let mut judged: Vec<(usize, &Judged)> = judged.collect();
    judged.sort_by(|a, b| b.1.score.total_cmp(&a.1.score));
    judged
}

/// How many images have each verdict, and what judged them.
fn summary(outcome: &Outcome) -> String {
    let judged: Vec<&Judged> = outcome.rows.iter().flat_map(|row| &row.outcome).collect();
    let count = |verdict: &str| judged.iter().filter(|one| one.verdict == verdict).count();
    let failed = outcome.rows.len() - judged.len();
    let by = &outcome.calibration;
    let of = |name: &str| by.get(name).cloned().unwrap_or_default();
    let mut text = format!(
        "{} images: {} anomalous, {} to review, {} ok, {failed} failed; by {}@{} at a false-positive rate of {}\n",
        outcome.rows.len(),
        count("anomalous"),
        count("review"),
        count("ok"),
        of("name").as_str().unwrap_or("none"),
        of("version"),
        of("false_positive_rate"),
    );
    for warning in of("warnings").as_array().into_iter().flatten().filter_map(Value::as_str) {
        text.push_str(&format!("note: {warning}\n"));
    }
    text
}

fn table(images: &[Gathered], outcome: &Outcome) -> String {
    let judged = by_score(outcome);
    let mut text = format!("{:<9}  {:>12}  {:>9}  {:>10}  image\n", "verdict", "score", "p-value", "normalized");
    for (image, one) in judged.iter().take(ROWS) {
        let Judged { score, p_value, verdict, normalized, .. } = one;
        let name = &images[*image].name;
        text.push_str(&format!("{verdict:<9}  {score:>12.6}  {p_value:>9.6}  {normalized:>10.4}  {name}\n"));
    }
    if judged.len() > ROWS {
        text.push_str(&format!("… and {} more\n", judged.len() - ROWS));
    }
    text + &summary(outcome)
}

fn csv(images: &[Gathered], outcome: &Outcome) -> Result<String> {
    let failed = |error: &dyn std::fmt::Display| Error::internal(format!("the table cannot be written: {error}"));
    let mut rows = csv::Writer::from_writer(Vec::new());
    let head = ["image", "score", "p_value", "threshold", "verdict", "normalized", "error"];
    rows.write_record(head).map_err(|error| failed(&error))?;
    for Row { image, outcome } in &outcome.rows {
        let name = images[*image].name.clone();
        let row = match outcome {
            Ok(Judged { score, p_value, threshold, verdict, normalized, .. }) => {
                let threshold = threshold.map_or_else(String::new, |threshold| threshold.to_string());
                let (score, p_value, normalized) = (score.to_string(), p_value.to_string(), normalized.to_string());
                [name, score, p_value, threshold, verdict.clone(), normalized, String::new()]
            }
            Err(Refusal { code, message }) => {
                let mut row = std::array::from_fn(|_| String::new());
                row[0] = name;
                row[6] = format!("{code}: {message}");
                row
            }
        };
        rows.write_record(row).map_err(|error| failed(&error))?;
    }
    let bytes = rows.into_inner().map_err(|error| failed(&error))?;
    String::from_utf8(bytes).map_err(|error| failed(&error))
}

fn ndjson(images: &[Gathered], outcome: &Outcome) -> String {
    let line = |Row { image, outcome }: &Row| {
        let name = &images[*image].name;
        let mut line = match outcome {
            Ok(judged) => serde_json::to_value(judged).unwrap_or_default(),
            Err(Refusal { code, message }) => json!({"error": {"code": code, "message": message}}),
        };
        if let Some(line) = line.as_object_mut() {
            line.shift_insert(0, "image".to_owned(), name.as_str().into());
        }
        format!("{line}\n")
    };
    outcome.rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(verdict: &str) -> Result<Judged, Refusal> {
        Ok(serde_json::from_value(json!({
            "index": 0, "score": 1.5, "p_value": 0.02, "threshold": null, "verdict": verdict, "normalized": 0.9,
            "anomalous": true, "metric": "mse"
        }))
        .unwrap())
    }

    fn outcome(outcomes: Vec<Result<Judged, Refusal>>) -> Outcome {
        let rows = outcomes.into_iter().enumerate().map(|(image, outcome)| Row { image, outcome }).collect();
        Outcome { rows, calibration: json!({"name": "line-1", "version": 2, "false_positive_rate": 0.05}) }
    }

    fn refused() -> Result<Judged, Refusal> {
        Err(Refusal { code: "invalid_image".to_owned(), message: "cut off, at byte 7".to_owned() })
    }

    #[test]
    fn the_exit_code_tells_the_worst_verdict() {
        let code = |outcomes| format!("{:?}", exit_code(&GatheredImages::default(), &outcome(outcomes)));
        let of = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!(code(vec![judged("ok"), judged("anomalous"), refused()]), of(4));
        assert_eq!(code(vec![judged("review"), judged("ok"), refused()]), of(3));
        assert_eq!(code(vec![judged("ok"), refused()]), of(1));
        assert_eq!(code(vec![judged("ok")]), of(0));
    }

    #[test]
    fn every_image_has_a_row_in_its_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.png", "b.png"] {
            std::fs::write(folder.path().join(name), b"x").unwrap();
        }
        let options = <Command as clap::Parser>::parse_from(["score", folder.path().to_str().unwrap()]);
        let images = options.sources.gather(false, None, 1 << 20).unwrap().images;
        let outcome = outcome(vec![judged("anomalous"), refused()]);
        let text = csv(&images, &outcome).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "image,score,p_value,threshold,verdict,normalized,error");
        assert!(lines[1].ends_with("a.png,1.5,0.02,,anomalous,0.9,"), "{text}");
        assert!(lines[2].ends_with("b.png,,,,,,\"invalid_image: cut off, at byte 7\""), "{text}");
        let text = ndjson(&images, &outcome);
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&lines[0]["verdict"], &lines[1]["error"]["code"]), (&json!("anomalous"), &json!("invalid_image")));
        assert!(lines[0].get("index").is_none() && text.starts_with("{\"image\":"));
        let text = table(&images, &outcome);
        assert!(text.contains("2 images: 1 anomalous, 0 to review, 0 ok, 1 failed; by line-1@2"), "{text}");
    }

    #[derive(Debug, clap::Parser)]
    struct Command {
        #[command(flatten)]
        sources: ImageSources,
    }
}
