//! From a folder to a model that serves, or to everything that is wrong with it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{
    checks,
    declared::Declared,
    examine::{self, Examination, Examined, Settings},
    family::GraphRole,
    folder,
    graph::Graph,
    manifest::{self, Manifest},
    masking::Masking,
    onnx::OnnxFile,
    served::Model,
    space,
    trial::Trial,
};
use crate::{
    batch::{BatchSearch, GraphQueue, Opener, QueueOptions, RunPermits, Sessions, Watchdog, Workers},
    domain::{Device, ModelName},
    error::Error,
    image::Preprocessor,
    memory,
    runtime::{Binding, GraphLoader, Runner, SessionOptions, Tensor, cores},
    telemetry::metrics::{GraphLabels, Metrics},
};

/// What models are loaded with, unless their manifests say otherwise.
#[derive(Debug, Clone)]
pub struct ModelDefaults {
    pub device: Device,
    /// Items in one run, at most; none: measured for each graph.
    pub max_batch: Option<usize>,
    /// Sessions of each graph; none: as suits the device.
    pub sessions: Option<usize>,
    /// What suits the processor.
    pub cpu_sessions: usize,
    /// Threads inside one run.
    pub threads: usize,
    /// Items of one graph that are admitted and not yet finished, at most.
    pub queue_items: usize,
    /// A run that takes longer is ended.
    pub run_limit: Duration,
}

impl ModelDefaults {
    /// A GPU runs one batch after the other, and each further session would hold the weights once more.
    fn sessions_on(&self, device: Device) -> usize {
        match (self.sessions, device) {
            (Some(sessions), _) => sessions,
            (None, Device::Cuda(_)) => 1,
            (None, _) => self.cpu_sessions,
        }
    }
}

/// Items in one run until the best batch is measured.
const fn unmeasured_batch(device: Device) -> usize {
    if matches!(device, Device::Cuda(_)) { 32 } else { 8 }
}

/// What every model of the process shares.
pub(super) struct Shared {
    pub(super) loader: Arc<dyn GraphLoader>,
    pub(super) defaults: ModelDefaults,
    pub(super) permits: RunPermits,
    pub(super) watchdog: Watchdog,
    pub(super) metrics: Arc<Metrics>,
}

type Reasons = Vec<String>;

/// Loads a model: blocks for as long as it takes, runs included.
///
/// # Errors
/// Everything that is wrong with the graphs, one line each.
pub(super) fn load(
    folder: &Path,
    name: &ModelName,
    declared: &Arc<Declared>,
    shared: &Shared,
) -> Result<Model, Reasons> {
    let manifest = &declared.manifest;
    let asked = manifest.runtime.device.unwrap_or(shared.defaults.device);
    let likely = shared.loader.device(asked);
    let settings = Settings {
        device: asked,
        max_batch: manifest.runtime.max_batch.or(shared.defaults.max_batch).map(|batch| batch.max(1)),
        sessions: manifest.runtime.sessions.unwrap_or_else(|| shared.defaults.sessions_on(likely)).max(1),
        // a run must not start more threads than the permits it can hold
        threads: manifest.runtime.threads.unwrap_or(shared.defaults.threads).clamp(1, cores()),
        run_limit: shared.defaults.run_limit,
        permits: shared.permits.clone(),
    };
    let preprocessor = Preprocessor::new(manifest.input.clone(), manifest.preprocess.clone())
        .map_err(|error| vec![error.message().to_owned()])?;
    let examination = examine::examine(folder, manifest, shared.loader.as_ref(), &settings);
    let Examination { graphs, hash, hashes, embedding, latent, memory, problems, remarks, golden: _ } = examination;
    if !problems.is_empty() {
        return Err(problems);
    }
    for warning in remarks.warnings {
        tracing::warn!(model = %name, warning, "a model's settings look like a mistake");
    }
    let Some(hash) = hash else {
        return Err(vec!["the model has no graph that takes an image".to_owned()]);
    };
    let devices: Vec<Device> = graphs.values().map(|graph| graph.info.device).collect();
    let device =
        if devices.contains(&Device::Cpu) { Device::Cpu } else { devices.first().copied().unwrap_or_default() };
    let start = Start { folder, name, manifest, shared, settings: &settings };
    let Started { graphs, workers, searches } = start.graphs(graphs)?;
    let fallback = i64::from(asked == Device::Auto && device == Device::Cpu);
    memory::give_back();
    let labels = crate::telemetry::metrics::ModelLabels { model: name.to_string() };
    shared.metrics.device_fallback.get_or_create(&labels).set(fallback);
    Ok(Model {
        name: name.clone(),
        space_key: space::key(name.as_str(), manifest, &hash),
        graph_hashes: hashes,
        preprocessor,
        graphs,
        embedding,
        latent,
        masking: Masking::of(manifest),
        memory: memory.map(Arc::new),
        device,
        workers: Mutex::new(workers),
        searches: Mutex::new(searches),
        declared: Arc::clone(declared),
    })
}

/// The manifest of a model, or of the variant that its name tells.
pub(super) fn read_manifest(folder: &Path, name: &ModelName) -> Result<Manifest, Reasons> {
    let manifest = manifest_in(folder)?;
    match name.as_str().split_once(':') {
        None => Ok(manifest),
        Some((_, variant)) => {
            manifest.of_variant(variant).ok_or_else(|| vec![format!("there is no variant {variant}")])
        }
    }
}

/// The manifest in a folder.
pub(super) fn manifest_in(folder: &Path) -> Result<Manifest, Reasons> {
    let named =
        |reasons: Reasons| reasons.into_iter().map(|reason| format!("{}: {reason}", manifest::FILE_NAME)).collect();
    let path = folder::resolve(folder, manifest::FILE_NAME).map_err(|reason| {
        let hint = format!("{reason}; `latentd inspect {}` proposes one where there are graphs", folder.display());
        vec![folder::too_deep(folder).unwrap_or(hint)]
    })?;
    let text = std::fs::read_to_string(path).map_err(|error| named(vec![error.to_string()]))?;
    Manifest::parse(&text).map_err(named)
}

/// What else is wrong with a model whose manifest has violations: its graphs, held against what can be read of the
/// manifest. So nobody mends the one to be told of the other.
pub(super) fn graph_problems(folder: &Path, loader: &dyn GraphLoader) -> Reasons {
    let path = folder::resolve(folder, manifest::FILE_NAME).ok();
    let text = path.and_then(|path| std::fs::read_to_string(path).ok());
    let manifest = text.and_then(|text| Manifest::parse_partly(&text));
    manifest.map(|manifest| examine::differences(folder, &manifest, loader)).unwrap_or_default()
}

/// The graphs of a model that serve.
#[derive(Default)]
struct Started {
    graphs: BTreeMap<GraphRole, Graph>,
    workers: Vec<Workers>,
    searches: Vec<(GraphQueue, BatchSearch)>,
}

/// Starting the queues of a model whose graphs have been examined.
struct Start<'a> {
    folder: &'a Path,
    name: &'a ModelName,
    manifest: &'a Manifest,
    shared: &'a Shared,
    settings: &'a Settings,
}

impl Start<'_> {
    fn graphs(&self, examined: BTreeMap<GraphRole, Examined>) -> Result<Started, Reasons> {
        let mut started = Started::default();
        for (role, examined) in examined {
            let Some(spec) = self.manifest.graphs.get(&role) else { continue };
            let frozen = checks::is_frozen_at_one(&examined.info);
            let fixed_batch = if frozen { Some(1) } else { self.settings.max_batch };
            let options = QueueOptions {
                labels: GraphLabels { model: self.name.to_string(), graph: role.as_str() },
                capacity: self.shared.defaults.queue_items,
                max_batch: fixed_batch.unwrap_or(unmeasured_batch(examined.info.device)),
                threads: self.settings.threads,
                run_limit: self.shared.defaults.run_limit,
                any_thread: examined.info.device == Device::Cpu,
            };
            let mut examined = examined;
            let standby = self.standby(role, &examined)?;
            let sessions = Sessions { open: examined.runner.take().into_iter().collect(), standby };
            let Shared { permits, watchdog, metrics, .. } = self.shared;
            let (queue, workers) = GraphQueue::new(options, sessions, permits, watchdog, metrics);
            started.workers.push(Workers::spawn(&queue, workers).map_err(|error| vec![error.chain()])?);
            if let (None, Some(item)) = (fixed_batch, examined.warm_up) {
                started.searches.push((queue.clone(), BatchSearch::new(item)));
            }
            started.graphs.insert(role, Graph::new(role, spec, examined.info, queue));
        }
        Ok(started)
    }

    /// As many sessions more than the examined one as are asked for, to be opened when they are needed and warmed up
    /// then like the first. They are of the file that was examined, or none.
    fn standby(&self, role: GraphRole, examined: &Examined) -> Result<Vec<Opener>, Reasons> {
        let more = self.settings.sessions.saturating_sub(1);
        if more == 0 {
            return Ok(Vec::new());
        }
        let wrong = |reason| vec![format!("graphs.{role}: {reason}")];
        let session = Arc::new(Session {
            loader: Arc::clone(&self.shared.loader),
            folder: self.folder.to_owned(),
            file: examined.file.clone(),
            onnx: examined.onnx.clone(),
            hash: space::hash_graph(self.folder, &examined.file, &examined.onnx).map_err(wrong)?,
            options: self.settings.session(),
            binding: examined.binding.clone(),
            trial: self.settings.trial(),
            warm_up: examined.warm_up.clone(),
        });
        let opener = |session: Arc<Session>| -> Opener { Box::new(move || session.open()) };
        Ok((0..more).map(|_| opener(Arc::clone(&session))).collect())
    }
}

/// A session to be opened while the model serves.
struct Session {
    loader: Arc<dyn GraphLoader>,
    folder: PathBuf,
    file: PathBuf,
    onnx: OnnxFile,
    /// Of the graph when it was examined.
    hash: blake3::Hash,
    options: SessionOptions,
    binding: Binding,
    trial: Trial,
    warm_up: Option<Vec<Tensor>>,
}

impl Session {
    fn open(&self) -> Result<Box<dyn Runner>, Error> {
        let hash = space::hash_graph(&self.folder, &self.file, &self.onnx).map_err(Error::unavailable)?;
        if hash != self.hash {
            let file = self.file.display();
            return Err(Error::unavailable(format!("{file} is not the file any more that the model was loaded from")));
        }
        let (mut runner, _) = self.loader.open(&self.file, self.options)?;
        runner.configure(&self.binding);
        if let Some(inputs) = &self.warm_up {
            self.trial.run(runner.as_mut(), inputs)?;
        }
        Ok(runner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::{copy_of, data, runtime};

    #[test]
    fn sessions_and_batches_left_open_suit_the_device() {
        let open = ModelDefaults {
            device: Device::Auto,
            max_batch: None,
            sessions: None,
            cpu_sessions: 6,
            threads: 1,
            queue_items: 64,
            run_limit: Duration::from_secs(1),
        };
        assert_eq!((unmeasured_batch(Device::Cpu), open.sessions_on(Device::Cpu)), (8, 6));
        assert_eq!((unmeasured_batch(Device::Cuda(1)), open.sessions_on(Device::Cuda(1))), (32, 1));
        let said = ModelDefaults { sessions: Some(3), ..open };
        assert_eq!((said.sessions_on(Device::Cuda(0)), said.sessions_on(Device::Cpu)), (3, 3));
    }

    #[test]
    fn a_further_session_is_of_the_file_that_was_examined_or_none() {
        let folder = copy_of("tiny-gray");
        let file = folder.path().join("encoder.onnx");
        let onnx = OnnxFile::read(&file).unwrap();
        let session = Session {
            loader: runtime(),
            folder: folder.path().to_owned(),
            hash: space::hash_graph(folder.path(), &file, &onnx).unwrap(),
            file: file.clone(),
            onnx,
            options: SessionOptions { device: Device::Cpu, threads: 1 },
            binding: Binding { outputs: vec!["embedding".to_owned()], channels_last: Vec::new() },
            trial: Trial { permits: RunPermits::new(1), threads: 1, limit: Duration::from_secs(60) },
            warm_up: None,
        };
        session.open().unwrap();
        std::fs::copy(data("models").join("tiny-ae/encoder.onnx"), &file).unwrap();
        let error = session.open().map(drop).unwrap_err();
        assert!(error.message().contains("is not the file any more"), "{error}");
        std::fs::remove_file(&file).unwrap();
        assert!(session.open().is_err());
    }
}
