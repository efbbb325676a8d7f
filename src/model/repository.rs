//! All models, by name. Each entry is loading, ready or failed.

mod listing;

use std::{
    collections::{BTreeMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use self::listing::{ListedModel, Listing};
use super::{
    declared::Declared,
    load::{self, ModelDefaults, Shared},
    served::Model,
};
use crate::{
    batch::{BatchMeasurements, RunPermits, Watchdog},
    domain::ModelName,
    error::{Error, ErrorKind, Result},
    runtime::{GraphLoader, cores},
    telemetry::metrics::{Metrics, ModelInfoLabels, ModelLabels},
};

/// When a client should ask again for a model that is being loaded.
const RETRY_LOADING: Duration = Duration::from_secs(1);

/// How long after the last load the measurements of batches begin: the requests that waited for the models come first.
const MEASURING_DELAY: Duration = Duration::from_secs(2);

/// The model repository: a folder of folders.
///
/// [`Repository::scan`] lists it, [`Repository::load_all`] loads what was listed; until then, and while it does,
/// every other call answers from what is there.
pub struct Repository {
    folder: PathBuf,
    shared: Shared,
    slots: ArcSwap<BTreeMap<ModelName, Arc<Slot>>>,
    /// Models that no request can name, as failed.
    misnamed: ArcSwap<Vec<ModelEntry>>,
    stopping: AtomicBool,
    /// Held while models are loaded: ONNX Runtime must not be at work when the process ends.
    loading: Mutex<()>,
    /// Told whenever a model has come to another state.
    changed: watch::Sender<()>,
}

/// What a repository is put together from.
pub struct RepositoryParts {
    pub folder: PathBuf,
    pub loader: Arc<dyn GraphLoader>,
    pub defaults: ModelDefaults,
    pub permits: RunPermits,
    pub watchdog: Watchdog,
    pub metrics: Arc<Metrics>,
}

/// The place of one model.
struct Slot {
    folder: PathBuf,
    required: bool,
    /// What the folder tells without its graphs, or what is wrong with it.
    declared: Result<Arc<Declared>, Vec<String>>,
    state: ArcSwap<ModelState>,
}

/// Where a model stands.
#[derive(Clone)]
pub enum ModelState {
    Loading,
    Ready(Arc<Model>),
    /// With everything that is wrong.
    Failed(Vec<String>),
}

impl ModelState {
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Ready(_) => "ready",
            Self::Failed(_) => "failed",
        }
    }

    /// Everything that is wrong, if it failed.
    #[must_use]
    pub fn reasons(&self) -> &[String] {
        match self {
            Self::Failed(reasons) => reasons,
            Self::Loading | Self::Ready(_) => &[],
        }
    }
}

/// A model of the repository, whatever its state.
#[derive(Clone)]
pub struct ModelEntry {
    /// That of its folder, which may not be a model's.
    pub name: String,
    /// The server is not ready without it.
    pub required: bool,
    /// What its files tell, whatever its state; none where its manifest cannot be read.
    pub declared: Option<Arc<Declared>>,
    pub state: ModelState,
}

impl Repository {
    #[must_use]
    pub fn new(parts: RepositoryParts) -> Self {
        let RepositoryParts { folder, loader, defaults, permits, watchdog, metrics } = parts;
        let shared = Shared { loader, defaults, permits, watchdog, metrics };
        Self {
            folder,
            shared,
            slots: ArcSwap::default(),
            misnamed: ArcSwap::default(),
            stopping: AtomicBool::new(false),
            loading: Mutex::default(),
            changed: watch::Sender::new(()),
        }
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Lists the folders of the repository; every model is loading from now on. Folders that begin with a dot and plain
    /// files are left out. A model's folder under a name that cannot be a model's is listed as failed; graphs beside the
    /// folders are warned of.
    ///
    /// # Errors
    /// `unavailable` when the folder cannot be read.
    pub fn scan(&self) -> Result<()> {
        let unreadable = |error: std::io::Error| {
            Error::unavailable(format!("the model folder {} cannot be read", self.folder.display())).with_source(error)
        };
        let mut slots = BTreeMap::new();
        let Listing { models, misnamed, warnings } = Listing::read(&self.folder).map_err(unreadable)?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        for entry in &misnamed {
            tracing::error!(model = %entry.name, reasons = %entry.state.reasons().join("; "), "model cannot be served");
        }
        for ListedModel { name, folder, required } in models {
            let slot = Slot::new(folder, &name, required);
            self.shared.metrics.model_ready.get_or_create(&label(&name)).set(0);
            slots.insert(name, Arc::new(slot));
        }
        self.slots.store(Arc::new(slots));
        self.misnamed.store(Arc::new(misnamed));
        Ok(())
    }

    /// Loads every model that is loading, on as many threads as there are cores; blocks until all are ready or
    /// failed. Each is there as soon as it is ready.
    pub fn load_all(&self) {
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting: VecDeque<(ModelName, Arc<Slot>)> = self
            .slots
            .load()
            .iter()
            .filter(|(_, slot)| matches!(**slot.state.load(), ModelState::Loading))
            .map(|(name, slot)| (name.clone(), Arc::clone(slot)))
            .collect();
        let threads = cores().min(waiting.len());
        let waiting = Mutex::new(waiting);
        let work = || {
            while let Some((name, slot)) = next(&waiting) {
                self.load(&name, &slot);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                let thread = std::thread::Builder::new().name("load models".to_owned()).spawn_scoped(scope, work);
                if let Err(error) = thread {
                    tracing::warn!(%error, "models are loaded on fewer threads");
                }
            }
            work();
        });
    }

    /// The measurements of the batches that neither the configuration nor a manifest names, to be made when all models
    /// have been loaded: a measurement beside a load would take the load's time for the graph's.
    pub fn batch_measurements(&self) -> BatchMeasurements {
        let models = self.slots.load();
        let searches =
            models.values().filter_map(|slot| slot.model()).flat_map(|model| model.take_searches()).collect();
        BatchMeasurements::new(searches, Instant::now() + MEASURING_DELAY)
    }

    fn load(&self, name: &ModelName, slot: &Slot) {
        if self.stopping.load(Ordering::SeqCst) {
            return;
        }
        let started = Instant::now();
        let loaded = catch_unwind(AssertUnwindSafe(|| slot.load(name, &self.shared)))
            .unwrap_or_else(|_| Err(vec!["loading panicked; the log has the place".to_owned()]));
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let state = match loaded {
            Ok(model) => {
                tracing::info!(
                    model = %name, family = %model.manifest().family, space_key = %model.space_key(),
                    device = %model.device(), took_ms, "model is ready"
                );
                ModelState::Ready(Arc::new(model))
            }
            Err(reasons) => {
                tracing::error!(model = %name, reasons = %reasons.join("; "), took_ms, "model failed to load");
                ModelState::Failed(reasons)
            }
        };
        self.publish(name, slot, state);
        // a shutdown that came during the load has not seen this model
        if self.stopping.load(Ordering::SeqCst)
            && let Some(model) = slot.model()
        {
            model.stop();
        }
    }

    fn publish(&self, name: &ModelName, slot: &Slot, state: ModelState) {
        let metrics = &self.shared.metrics;
        if let ModelState::Ready(model) = &state {
            metrics.model_info.get_or_create(&info_labels(model)).set(1);
        }
        let ready = matches!(state, ModelState::Ready(_));
        slot.state.store(Arc::new(state));
        metrics.model_ready.get_or_create(&label(name)).set(i64::from(ready));
        self.changed.send_replace(());
    }

    /// The model of that name.
    ///
    /// # Errors
    /// `model_not_found`, with the names there are; `unavailable` for one that is loading or has failed.
    pub fn get(&self, name: &ModelName) -> Result<Arc<Model>> {
        let slots = self.slots.load();
        let Some(slot) = slots.get(name) else {
            let names: Vec<&str> = slots.keys().map(ModelName::as_str).collect();
            let there =
                if names.is_empty() { "there are none".to_owned() } else { format!("there are {}", names.join(", ")) };
            return Err(Error::new(ErrorKind::ModelNotFound, format!("there is no model {name}; {there}")));
        };
        match &**slot.state.load() {
            ModelState::Ready(model) => Ok(Arc::clone(model)),
            ModelState::Loading => {
                Err(Error::unavailable(format!("model {name} is being loaded")).with_retry_after(RETRY_LOADING))
            }
            ModelState::Failed(reasons) => {
                Err(Error::unavailable(format!("model {name} failed to load: {}", reasons.join("; "))))
            }
        }
    }

    /// The model of that name; one that is being loaded is waited for, but not beyond `until`.
    ///
    /// # Errors
    /// As [`Repository::get`].
    pub async fn loaded(&self, name: &ModelName, until: Instant) -> Result<Arc<Model>> {
        // before the first look, so that no change falls between the two
        let mut changed = self.changed.subscribe();
        while self.is_loading(name) {
            if tokio::time::timeout_at(until.into(), changed.changed()).await.is_err() {
                break;
            }
        }
        self.get(name)
    }

    fn is_loading(&self, name: &ModelName) -> bool {
        self.slots.load().get(name).is_some_and(|slot| matches!(&**slot.state.load(), ModelState::Loading))
    }

    /// Every model, by name.
    #[must_use]
    pub fn list(&self) -> Vec<ModelEntry> {
        let entry = |(name, slot): (&ModelName, &Arc<Slot>)| ModelEntry {
            name: name.to_string(),
            required: slot.required,
            declared: slot.declared.as_ref().ok().map(Arc::clone),
            state: (**slot.state.load()).clone(),
        };
        let mut entries: Vec<ModelEntry> = self.slots.load().iter().map(entry).collect();
        entries.extend(self.misnamed.load().iter().cloned());
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries
    }

    /// Whether requests can be served.
    ///
    /// # Errors
    /// The reasons why not: each model that is still loading, each required one that failed, and, when none is loading
    /// any more, that none is ready.
    pub fn readiness(&self) -> Result<(), Vec<String>> {
        let entries = self.list();
        let mut reasons = Vec::new();
        let mut untried = false;
        for ModelEntry { name, required, state, .. } in &entries {
            let required = if *required { "required " } else { "" };
            match state {
                ModelState::Loading => {
                    untried = true;
                    reasons.push(format!("{required}model {name} is being loaded"));
                }
                ModelState::Failed(why) if !required.is_empty() => {
                    reasons.push(format!("required model {name} failed to load: {}", why.join("; ")));
                }
                ModelState::Ready(_) | ModelState::Failed(_) => {}
            }
        }
        if !untried && !entries.iter().any(|entry| matches!(entry.state, ModelState::Ready(_))) {
            reasons.push("no model is ready".to_owned());
        }
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    /// Closes every queue, then waits until what was admitted is done: blocks. Models whose load has not begun are
    /// left alone.
    pub fn shutdown(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        // the models under way are finished, those after them not begun
        drop(self.loading.lock().unwrap_or_else(PoisonError::into_inner));
        let models: Vec<Arc<Model>> = self.slots.load().values().filter_map(|slot| slot.model()).collect();
        for graph in models.iter().flat_map(|model| model.graphs.values()) {
            graph.queue.close();
        }
        for model in models {
            model.stop();
        }
    }
}

impl Slot {
    /// Reads what the folder tells of the model; no graph is opened.
    fn new(folder: PathBuf, name: &ModelName, required: bool) -> Self {
        let declared = Declared::read(&folder, name).map(Arc::new);
        Self { folder, required, declared, state: ArcSwap::from_pointee(ModelState::Loading) }
    }

    fn load(&self, name: &ModelName, shared: &Shared) -> Result<Model, Vec<String>> {
        let with_graphs = |reasons: &Vec<String>| {
            let graphs = load::graph_problems(&self.folder, shared.loader.as_ref());
            reasons.iter().cloned().chain(graphs).collect::<Vec<_>>()
        };
        load::load(&self.folder, name, self.declared.as_ref().map_err(with_graphs)?, shared)
    }

    fn model(&self) -> Option<Arc<Model>> {
        match &**self.state.load() {
            ModelState::Ready(model) => Some(Arc::clone(model)),
            ModelState::Loading | ModelState::Failed(_) => None,
        }
    }
}

fn next(waiting: &Mutex<VecDeque<(ModelName, Arc<Slot>)>>) -> Option<(ModelName, Arc<Slot>)> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}

fn label(name: &ModelName) -> ModelLabels {
    ModelLabels { model: name.to_string() }
}

fn info_labels(model: &Model) -> ModelInfoLabels {
    ModelInfoLabels {
        model: model.name().to_string(),
        family: model.manifest().family.to_string(),
        space_key: model.space_key().to_string(),
        device: model.device().to_string(),
        provider: model.provider().to_owned(),
    }
}

#[cfg(test)]
mod tests;
