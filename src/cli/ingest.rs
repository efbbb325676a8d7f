//! `latentd ingest`: fills a collection of a running server from folders, tar files, lists and `.npy` files.

mod client;
mod deliver;
pub(super) mod exclude;
mod list;
mod npy;
mod pace;
pub(super) mod proxy;
mod read;
mod send;
pub(super) mod source;
mod tally;

use std::{
    ops::ControlFlow,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::sync::mpsc;

use self::{
    client::{Api, VectorSpace},
    deliver::Delivery,
    exclude::Exclude,
    pace::Pace,
    send::BatchSizes,
    source::{Reading, Source},
    tally::{BETWEEN_LINES, Tally},
};
use super::remote::{Remote, ServerLimits, Trouble};
use crate::{
    config::Flags,
    domain::{CollectionName, ModelName},
    error::{Error, ErrorKind, Result},
};

/// Images, or vectors, of one request, unless the server takes fewer or they are large.
const BATCH: usize = 16;
const VECTOR_BATCH: usize = 256;
/// Batches read ahead.
const AHEAD: usize = 2;
/// What of a body is left for the form around an image: its metadata, its id and the lines between.
const FORM_BYTES: u64 = 80 << 10;
/// The exit code of a run that came to nothing, as clap's for wrong usage.
pub(super) const IN_VAIN: u8 = 2;
/// The exit code of a run in which some images failed, and of one that was interrupted.
const SOME_FAILED: u8 = 1;
const INTERRUPTED: u8 = 130;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The collection to fill
    #[arg(long, value_name = "NAME")]
    collection: CollectionName,
    /// The server [default: the configured one, on this machine]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Make the collection with this model if there is none
    #[arg(long, value_name = "NAME")]
    model: Option<ModelName>,
    /// Make the collection for vectors without a model if there is none, to be compared by this metric
    #[arg(long, value_name = "METRIC", conflicts_with = "model", value_parser = ["cosine", "dot", "euclid"])]
    metric: Option<String>,
    /// What the collection keeps of the images, if it is made
    #[arg(long, value_name = "MODE", requires = "model", value_parser = ["none", "thumbnail", "original"])]
    store: Option<String>,
    /// Put the name of the folder that an image lies in into its metadata, as `label`
    #[arg(long)]
    labels_from_folders: bool,
    /// Leave out what matches: a name at any depth (`*_small.jpg`, `thumbs`), or with a slash a path from the source on
    /// (`2019/**`); may be given more than once
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<Exclude>,
    /// The column or field of a list that holds the path of an image
    #[arg(long, value_name = "NAME", default_value = "path")]
    path_field: String,
    /// The column or field of a list that may hold an id
    #[arg(long, value_name = "NAME", default_value = "id")]
    id_field: String,
    /// The field of an NDJSON list that may hold a vector in place of an image
    #[arg(long, value_name = "NAME", default_value = "vector")]
    vector_field: String,
    /// A list, .csv or .ndjson, with a row for each vector of a .npy file, in its order: the id, and all else as
    /// metadata [default: the ids are the numbers of the rows, from 0]
    #[arg(long, value_name = "FILE")]
    metadata: Option<PathBuf>,
    /// Send items that are there already, too
    #[arg(long)]
    replace: bool,
    /// Requests side by side, at most; fewer while the server is busy
    #[arg(long, value_name = "N", default_value_t = 8)]
    concurrency: usize,
    /// Seconds to wait for a server that has stopped answering
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    patience: u64,
    /// Write what failed and why, one JSON object a line
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Folders and .tar files of images, lists (.csv, .ndjson, .jsonl), or vectors: .npy
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

/// Runs the command; the code says whether all is in.
pub(super) fn run(flags: &Flags, options: Options) -> Result<ExitCode> {
    let sources = options.paths.iter().map(|path| Source::of(path)).collect::<Result<Vec<_>>>()?;
    let (remote, notice) = Remote::of(options.url.as_deref(), flags)?;
    let api = Api::new(remote, options.collection.clone());
    let tally = Arc::new(Tally::new(options.report.as_deref())?);
    if let Some(notice) = notice {
        tally.say(&notice);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("latentd-ingest")
        .build()
        .map_err(|error| Error::internal("cannot start the async threads").with_source(error))?;
    let outcome = runtime.block_on(ingest(api, options, sources, Arc::clone(&tally)));
    // a thread that still reads has nobody to read for
    runtime.shutdown_background();
    let (summary, failed) = tally.finish()?;
    super::print(&format!("{summary}\n"))?;
    Ok(match outcome? {
        ControlFlow::Break(()) => ExitCode::from(INTERRUPTED),
        ControlFlow::Continue(()) if failed > 0 => ExitCode::from(SOME_FAILED),
        ControlFlow::Continue(()) => ExitCode::SUCCESS,
    })
}

/// A break is an interruption.
async fn ingest(api: Api, options: Options, sources: Vec<Source>, tally: Arc<Tally>) -> Result<ControlFlow<()>> {
    let mut reading = Reading {
        labels_from_folders: options.labels_from_folders,
        exclude: options.exclude.clone(),
        path_field: options.path_field.clone(),
        id_field: options.id_field.clone(),
        vector_field: options.vector_field.clone(),
        metadata: options.metadata.clone(),
        max_bytes: u64::MAX,
    };
    let limits = Preparation { api: &api, options: &options, sources: &sources, reading: &reading }.limits().await?;
    reading.max_bytes = limits.body_bytes.saturating_sub(FORM_BYTES);
    let delivery = Arc::new(Delivery {
        api,
        pace: Pace::new(options.concurrency),
        tally: Arc::clone(&tally),
        replace: options.replace,
        max_bytes: reading.max_bytes,
        patience: Duration::from_secs(options.patience),
        heard: Mutex::new(Instant::now()),
    });
    let sizes = BatchSizes {
        images: BATCH.min(limits.images).max(1),
        vectors: VECTOR_BATCH.min(limits.vectors.unwrap_or(limits.images)).max(1),
    };
    let (sender, receiver) = mpsc::channel(sizes.images * AHEAD);
    let counting = (sources.clone(), reading.clone(), Arc::clone(&tally));
    // nobody waits for it: it ends with the process, if not before
    std::thread::spawn(move || read::count(&counting.0, &counting.1, &counting.2));
    let reader = tokio::task::spawn_blocking({
        let tally = Arc::clone(&tally);
        move || read::read(&sources, &reading, &sender, &tally)
    });
    let lines = tokio::spawn(async move {
        loop {
            tokio::time::sleep(BETWEEN_LINES).await;
            tally.line();
        }
    });
    let flow = send::send_all(&delivery, receiver, sizes).await;
    lines.abort();
    if flow.as_ref().is_ok_and(ControlFlow::is_continue) {
        reader.await.map_err(|error| Error::internal("reading ended early").with_source(error))??;
    }
    flow
}

/// What is done before anything is read to be sent.
struct Preparation<'a> {
    api: &'a Api,
    options: &'a Options,
    sources: &'a [Source],
    reading: &'a Reading,
}

impl Preparation<'_> {
    /// Makes sure that the collection is there and takes what the sources hold, and asks what the server takes.
    async fn limits(&self) -> Result<ServerLimits> {
        let name = &self.options.collection;
        let collection = match self.api.describe().await.map_err(Trouble::into_error)? {
            Some(collection) => collection,
            None => self.create().await?,
        };
        let Some(model) = collection.get("model").and_then(Value::as_str) else {
            if self.options.model.is_some() || self.sources.iter().any(Source::is_of_images) {
                return Err(Error::invalid_request(format!(
                    "the collection {name} was made without a model: it takes vectors (.npy, or NDJSON with them), and no images"
                )));
            }
            return self.api.remote().limits().await.map_err(Trouble::into_error);
        };
        let wanted = self.options.model.as_ref().map(ModelName::as_str);
        if let Some(wanted) = wanted.filter(|wanted| *wanted != model) {
            return Err(Error::invalid_request(format!("the collection {name} is of the model {model}, not {wanted}")));
        }
        let described = self.api.remote().model(model).await.map_err(Trouble::into_error)?;
        // Before any id is looked up: items that are there already would hide that the model has changed.
        let space = collection.get("space_key").and_then(Value::as_str);
        if let Some((space, now)) = space.zip(described.space_key.as_deref()).filter(|(space, now)| space != now) {
            return Err(Error::new(
                ErrorKind::SpaceMismatch,
                format!(
                    "the collection {name} is of the space {space}, and the model {model} now gives {now}: fill a new collection"
                ),
            ));
        }
        Ok(described.limits)
    }

    /// Makes the collection, with a model or for vectors of the dimension that the sources have.
    async fn create(&self) -> Result<Value> {
        let Options { collection: name, model, metric, store, .. } = self.options;
        match (model, metric) {
            (Some(model), _) => self.api.create(model.as_str(), store.as_deref()).await.map_err(Trouble::into_error),
            (None, Some(metric)) => {
                let (sources, reading) = (self.sources.to_vec(), self.reading.clone());
                let find = move || sources.iter().find_map(|source| source.dimension(&reading).transpose()).transpose();
                let found = tokio::task::spawn_blocking(find).await;
                let dimension = found
                    .map_err(|error| Error::internal("reading ended early").with_source(error))??
                    .ok_or_else(|| Error::invalid_request("--metric makes a collection for vectors: there are none"))?;
                self.api.create_for_vectors(VectorSpace { dimension, metric }).await.map_err(Trouble::into_error)
            }
            (None, None) => Err(Error::invalid_request(format!(
                "there is no collection {name}; --model NAME makes it, or for vectors of no model --metric cosine"
            ))),
        }
    }
}
