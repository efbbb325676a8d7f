//! The composition root: the only file that names every concrete type.

use std::{
    io::{BufRead, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use tokio::{net::TcpListener, sync::oneshot, task::AbortHandle};

use crate::{
    batch::{RunPermits, Watchdog},
    compute::CpuPool,
    config::{self, Config},
    domain::CollectionName,
    error::{Error, ErrorKind, Result},
    http::{self, AppState},
    index::{
        EmbeddedEngine, EmbeddedOptions, GraphOptions, IndexEngine, OpeningEngine, Orphan, QdrantEngine, QdrantOptions,
        TransferReader,
    },
    model::{ModelDefaults, Repository, RepositoryParts},
    runtime::{self, CudaOptions, GraphLoader, Runtime},
    service::{self, Parts, Service},
    store::{CalibrationStore, ImageStore},
    telemetry::Metrics,
    webhook::Webhook,
};

/// A server that listens and is ready to run.
pub struct App {
    listener: TcpListener,
    addr: SocketAddr,
    state: AppState,
    models: Arc<Repository>,
    grace: Duration,
    health_every: Duration,
    /// Whether the index could be opened; none once that was told.
    opened: Option<oneshot::Receiver<Result<()>>>,
    _following: AbortOnDrop,
}

/// Ends a task with its owner.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl App {
    /// Loads the ONNX Runtime library and binds the port (0 takes a free one). The index is opened and the models load
    /// in the background: until they are there, `/readyz` says so, and what needs them is `unavailable`.
    pub async fn build(config: Config) -> Result<Self> {
        let runtime = load_runtime(&config)?;
        runtime.check(config.runtime.device)?;
        let listener = TcpListener::bind(config.general.listen)
            .await
            .map_err(|error| Error::unavailable(format!("cannot listen on {}: {error}", config.general.listen)))?;
        let addr = listener.local_addr().map_err(|error| Error::internal("no local address").with_source(error))?;
        let index = Arc::new(OpeningEngine::default());
        let parts = compose(&config, runtime, Arc::clone(&index) as Arc<dyn IndexEngine>)?;
        let (models, metrics) = (Arc::clone(&parts.models), Arc::clone(&parts.metrics));
        models.scan()?;
        let loading = Arc::clone(&models);
        std::thread::Builder::new()
            .name("model-loader".to_owned())
            .spawn(move || {
                let started = Instant::now();
                loading.load_all();
                tracing::info!(duration_ms = started.elapsed().as_millis() as u64, "all models are loaded");
                // The repository is let go of before: it is not to live as long as a measurement of a busy graph.
                let measurements = loading.batch_measurements();
                drop(loading);
                measurements.run();
            })
            .map_err(|error| Error::internal("cannot start the model loader").with_source(error))?;
        let grace = Duration::from_millis(config.server.shutdown_grace_ms);
        let health_every = Duration::from_secs(config.index.health_every_s);
        let service = Arc::new(Service::new(parts));
        let state = AppState::new(Arc::clone(&service)).with_page(config.ui.enabled);
        let (tell, opened) = oneshot::channel();
        let following = tokio::spawn(async move {
            let outcome = open_behind(config, metrics, &index, &service).await;
            let is_open = outcome.is_ok();
            // whoever built the server may have gone
            let _ = tell.send(outcome);
            if is_open {
                service.watch_readiness().await;
            }
        });
        let following = AbortOnDrop(following.abort_handle());
        Ok(Self { listener, addr, state, models, grace, health_every, opened: Some(opened), _following: following })
    }

    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The routes, for tests that call them in process.
    pub fn router(&self) -> http::Router {
        http::router(self.state.clone())
    }

    /// Comes when the index is open.
    ///
    /// # Errors
    /// Why it could not be opened; told once.
    pub async fn opened(&mut self) -> Result<()> {
        match self.opened.take() {
            Some(opened) => opened.await.unwrap_or_else(|_| Err(Error::internal("opening the index ended early"))),
            None => Ok(()),
        }
    }

    /// Serves until `stop` comes, then finishes what was admitted within the grace period.
    ///
    /// # Errors
    /// Why the index could not be opened: the server ends at once then.
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        tracing::info!(addr = %self.addr, "latentd listens");
        let asked = Arc::new(OnceLock::new());
        let noted = Arc::clone(&asked);
        let stop = async move {
            stop.await;
            let _ = noted.set(Instant::now());
        };
        let watching = self.state.watch_health(self.health_every).map(AbortOnDrop);
        let opened = self.opened.take();
        let service = self.state.service();
        let serving = http::serve(self.listener, self.state, stop, self.grace);
        tokio::select! {
            served = serving => served?,
            error = failed_to_open(opened, self.addr) => return Err(error),
        }
        drop(watching);
        let models = self.models;
        // the workers finish what is queued, on threads that may block
        let closing = tokio::task::spawn_blocking(move || models.shutdown());
        let left = self.grace.saturating_sub(asked.get().map_or(Duration::ZERO, Instant::elapsed));
        match tokio::time::timeout(left, async { tokio::join!(closing, service.stop()) }).await {
            Ok(_) => tracing::info!("latentd has stopped"),
            Err(_) => tracing::warn!("runs were still going when the grace period ended"),
        }
        Ok(())
    }
}

/// Comes with the reason if the index cannot be opened, and never if it can.
async fn failed_to_open(opened: Option<oneshot::Receiver<Result<()>>>, addr: SocketAddr) -> Error {
    let outcome = match opened {
        Some(opened) => opened.await.unwrap_or_else(|_| Err(Error::internal("opening the index ended early"))),
        None => Ok(()),
    };
    match outcome {
        Err(error) => error,
        Ok(()) => {
            tracing::info!(%addr, "latentd serves");
            std::future::pending().await
        }
    }
}

/// Opens the index on a thread of its own, since that blocks for as long as it takes to read it, and lets everybody
/// find it.
async fn open_behind(config: Config, metrics: Arc<Metrics>, index: &OpeningEngine, service: &Service) -> Result<()> {
    let (tell, opened) = oneshot::channel();
    let (runtime, pool) = (tokio::runtime::Handle::current(), service.pool());
    std::thread::Builder::new()
        .name("index-opener".to_owned())
        .spawn(move || {
            let _runtime = runtime.enter();
            // whoever waits for it may have stopped
            let _ = tell.send(open_index(&config, metrics, pool));
        })
        .map_err(|error| Error::internal("cannot start the thread that opens the index").with_source(error))?;
    index.opened(opened.await.unwrap_or_else(|_| Err(Error::internal("opening the index ended early")))?);
    service.begin_deletions();
    match service.collections().await {
        Ok(collections) => tracing::info!(collections = collections.len(), "the index is open"),
        // requests find it once it is there; until then readiness says that it is not
        Err(error) if error.kind() == ErrorKind::Unavailable => {
            tracing::warn!(cause = error.chain(), "the index is not there yet");
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Loads the ONNX Runtime library that the configuration names or the usual places hold.
pub fn load_runtime(config: &Config) -> Result<Runtime> {
    let named = Some(config.general.onnxruntime.as_str()).filter(|path| !path.is_empty());
    let cuda = CudaOptions { memory_bytes: config.runtime.cuda_memory_bytes, tf32: config.runtime.cuda_tf32 };
    let runtime = Runtime::load(named.map(Path::new))?.with_cuda(cuda);
    tracing::info!(library = %runtime.path().display(), build = runtime.build(), "onnx runtime is loaded");
    Ok(runtime)
}

fn compose(config: &Config, runtime: Runtime, index: Arc<dyn IndexEngine>) -> Result<Parts> {
    let metrics = Arc::new(Metrics::default());
    let cores = runtime::cores();
    let or_cores = |count: usize| if count == 0 { cores } else { count };
    let (sessions, threads) = config.runtime.plan(cores);
    let defaults = ModelDefaults {
        device: config.runtime.device,
        max_batch: Some(config.runtime.max_batch).filter(|batch| *batch > 0),
        sessions: Some(config.runtime.sessions).filter(|sessions| *sessions > 0),
        cpu_sessions: sessions,
        threads,
        queue_items: config.limits.queue_items,
        run_limit: Duration::from_millis(config.runtime.run_limit_ms),
    };
    let profile = config.runtime.profile;
    tracing::info!(cores, device = %defaults.device, ?profile, sessions, threads, "cores are planned");
    let loader: Arc<dyn GraphLoader> = Arc::new(runtime);
    let models = Repository::new(RepositoryParts {
        folder: PathBuf::from(&config.general.models),
        loader,
        defaults,
        permits: RunPermits::new(cores),
        watchdog: Watchdog::start()?,
        metrics: Arc::clone(&metrics),
    });
    Ok(Parts {
        models: Arc::new(models),
        index,
        store: Arc::new(open_store(config)?),
        calibrations: CalibrationStore::connect(&Path::new(&config.general.data).join("calibrations"), &config.store)?,
        anomaly: config.anomaly.clone(),
        webhook: Webhook::start(&config.webhook, Arc::clone(&metrics))?,
        pool: CpuPool::new(or_cores(config.runtime.decode_threads))?,
        cache_bytes: config.cache.bytes,
        limits: config.limits.clone(),
        metrics,
    })
}

fn index_folder(config: &Config) -> PathBuf {
    Path::new(&config.general.data).join("index")
}

/// Gives the folder of stored images, which earlier builds of 0.1 called `pictures`, the name it has now.
fn adopt_old_folder(old: &Path, new: &Path) -> Result<()> {
    if !old.exists() {
        return Ok(());
    }
    if new.exists() {
        let text = format!(
            "both {} and {} are there: move what is in the first into the second, and remove it",
            old.display(),
            new.display()
        );
        return Err(Error::unavailable(text));
    }
    std::fs::rename(old, new).map_err(|error| {
        Error::unavailable(format!("cannot rename {} to {}: {error}", old.display(), new.display())).with_source(error)
    })?;
    tracing::info!(old = %old.display(), new = %new.display(), "the folder of stored images has its new name");
    Ok(())
}

fn open_store(config: &Config) -> Result<ImageStore> {
    let data = Path::new(&config.general.data);
    if config.store.url.is_empty() {
        adopt_old_folder(&data.join("pictures"), &data.join("images"))?;
    }
    ImageStore::connect(&data.join("images"), &config.store)
}

/// Index and images, for work on them beside a server or without one.
fn open_data(config: &Config) -> Result<(Arc<dyn IndexEngine>, ImageStore)> {
    let metrics = Arc::default();
    let engine: Arc<dyn IndexEngine> = match config.index.engine {
        config::IndexEngine::Embedded => {
            let options = embedded_options(config, metrics);
            Arc::new(EmbeddedEngine::open_without_maintenance(&index_folder(config), options)?)
        }
        config::IndexEngine::Qdrant => Arc::new(QdrantEngine::connect(qdrant_options(config, metrics))?),
    };
    Ok((engine, open_store(config)?))
}

/// The index that the server works on; what is written to an embedded one is encoded on the pool.
fn open_index(config: &Config, metrics: Arc<Metrics>, pool: Arc<CpuPool>) -> Result<Arc<dyn IndexEngine>> {
    Ok(match config.index.engine {
        config::IndexEngine::Embedded => {
            let options = EmbeddedOptions { pool: Some(pool), ..embedded_options(config, metrics) };
            Arc::new(EmbeddedEngine::open(&index_folder(config), options)?)
        }
        config::IndexEngine::Qdrant => Arc::new(QdrantEngine::connect(qdrant_options(config, metrics))?),
    })
}

fn qdrant_options(config: &Config, metrics: Arc<Metrics>) -> QdrantOptions {
    let qdrant = &config.qdrant;
    QdrantOptions {
        nodes: qdrant.nodes(),
        api_key: qdrant.api_key.clone(),
        prefix: qdrant.prefix.clone(),
        shard_number: qdrant.shard_number,
        replication_factor: qdrant.replication_factor,
        write_consistency_factor: qdrant.write_consistency_factor,
        connect_timeout: Duration::from_millis(qdrant.connect_timeout_ms),
        request_timeout: Duration::from_millis(qdrant.request_timeout_ms),
        retries: qdrant.retries,
        put_aside: Duration::from_millis(qdrant.put_aside_ms),
        max_reads: config.limits.index_reads as u64,
        max_writes: config.limits.index_writes as u64,
        metrics,
    }
}

/// Writes a collection with its images; returns how many items it has.
pub async fn export_collection(config: &Config, name: &CollectionName, out: impl Write) -> Result<u64> {
    if config.index.engine == config::IndexEngine::Embedded && !index_folder(config).exists() {
        // opening would make an empty index
        return Err(Error::unavailable(format!("there is no index in the data folder {}", config.general.data)));
    }
    let (engine, store) = open_data(config)?;
    let collection = engine.open(name).await?;
    service::export_collection(collection.as_ref(), &store, out).await
}

/// Makes a collection of what was exported, under its name or another; all of it, or none. Returns the name and how
/// many items it has.
pub async fn import_collection(
    config: &Config,
    input: impl BufRead,
    name: Option<CollectionName>,
) -> Result<(CollectionName, u64)> {
    let mut reader = TransferReader::new(input)?;
    let mut spec = reader.spec().clone();
    spec.name = name.unwrap_or(spec.name);
    let name = spec.name.clone();
    let (engine, store) = open_data(config)?;
    let import = engine.begin_import(spec).await?;
    match service::import_collection(&mut reader, import.collection().as_ref(), &store).await {
        Ok(items) => {
            import.finish().await?;
            Ok((name, items))
        }
        Err(error) => {
            match import.abandon().await {
                Ok(images) => {
                    service::forget_images(&store, images).await;
                    if let Some(queue) = engine.deletion_queue()
                        && let Err(error) = service::delete_pending(queue.as_ref(), &store).await
                    {
                        tracing::warn!(reason = error.chain(), "images that were imported are deleted by the server");
                    }
                }
                Err(other) => tracing::warn!(reason = other.chain(), "what was imported goes with the next start"),
            }
            Err(error)
        }
    }
}

/// Images of a collection that was dropped.
pub struct Images {
    pub deleted: usize,
    /// Those that the store did not delete, and that nothing names any more.
    pub left: usize,
}

/// What no name leads to in the Qdrant cluster; of those idle for so long, if that is given, each is dropped with its
/// images, if the store answers.
pub async fn orphans(config: &Config, drop_idle: Option<Duration>) -> Result<Vec<(Orphan, Option<Images>)>> {
    if config.index.engine != config::IndexEngine::Qdrant {
        let text = "an embedded index clears up what a killed process leaves when it is opened; orphans are those of a \
            Qdrant cluster, with index.engine = \"qdrant\"";
        return Err(Error::invalid_request(text));
    }
    let engine = QdrantEngine::connect(qdrant_options(config, Arc::default()))?;
    let store = open_store(config)?;
    if drop_idle.is_some() {
        // what names the images goes first
        store.probe().await?;
    }
    let mut found = Vec::new();
    for orphan in engine.orphans().await? {
        let mut dropped = None;
        if drop_idle.is_some_and(|least| orphan.idle >= least) {
            match engine.drop_orphan(&orphan).await {
                Ok(images) => {
                    let all = images.len();
                    let left = service::forget_images(&store, images).await;
                    dropped = Some(Images { deleted: all - left, left });
                }
                // it has got its name meanwhile
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            }
        }
        found.push((orphan, dropped));
    }
    Ok(found)
}

fn embedded_options(config: &Config, metrics: Arc<Metrics>) -> EmbeddedOptions {
    let index = &config.index;
    EmbeddedOptions {
        cache_bytes: index.cache_bytes,
        read_threads: if index.read_threads == 0 { runtime::cores() } else { index.read_threads },
        max_reads: config.limits.index_reads as u64,
        max_writes: config.limits.index_writes as u64,
        graph: GraphOptions {
            scan_items: index.scan_items,
            filter_scan_items: index.filter_scan_items,
            connectivity: index.graph_connectivity,
            expansion_add: index.graph_expansion_add,
            expansion_search: index.graph_expansion_search,
            recall: index.graph_recall,
            save_operations: index.graph_save_operations,
            save_interval: Duration::from_secs(index.graph_save_seconds),
            rebuild_percent: index.graph_rebuild_percent,
            ..GraphOptions::default()
        },
        pool: None,
        metrics,
    }
}
