//! The composition root: the only file that names every concrete type.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use tokio::{net::TcpListener, task::AbortHandle};

use crate::{
    batch::{RunPermits, Watchdog},
    config::{self, Config},
    error::{Error, Result},
    http::{self, AppState},
    image::CpuPool,
    index::{EmbeddedEngine, EmbeddedOptions, GraphOptions},
    model::{ModelDefaults, Repository, RepositoryParts},
    runtime::{self, GraphLoader, Runtime},
    service::{Parts, Service},
    store::PictureStore,
    telemetry::Metrics,
};

/// A server that listens and is ready to run.
pub struct App {
    listener: TcpListener,
    addr: SocketAddr,
    state: AppState,
    models: Arc<Repository>,
    grace: Duration,
    health_every: Duration,
}

impl App {
    /// Opens index and store, loads the ONNX Runtime library and binds the port (0 takes a free one). The models
    /// load in the background: until they are there, `/readyz` says so.
    pub async fn build(config: Config) -> Result<Self> {
        let runtime = load_runtime(&config)?;
        let parts = compose(&config, runtime)?;
        let listener = TcpListener::bind(config.general.listen)
            .await
            .map_err(|error| Error::unavailable(format!("cannot listen on {}: {error}", config.general.listen)))?;
        let addr = listener.local_addr().map_err(|error| Error::internal("no local address").with_source(error))?;
        let models = Arc::clone(&parts.models);
        models.scan()?;
        let loading = Arc::clone(&models);
        std::thread::Builder::new()
            .name("model-loader".to_owned())
            .spawn(move || {
                let started = Instant::now();
                loading.load_all();
                tracing::info!(duration_ms = started.elapsed().as_millis() as u64, "all models are loaded");
            })
            .map_err(|error| Error::internal("cannot start the model loader").with_source(error))?;
        let grace = Duration::from_millis(config.server.shutdown_grace_ms);
        let service = Service::new(parts);
        let collections = service.collections().await?;
        tracing::info!(collections = collections.len(), "the index is open");
        let state = AppState::new(Arc::new(service));
        let health_every = Duration::from_secs(config.index.health_every_s);
        Ok(Self { listener, addr, state, models, grace, health_every })
    }

    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The routes, for tests that call them in process.
    pub fn router(&self) -> http::Router {
        http::router(self.state.clone())
    }

    /// Serves until `stop` comes, then finishes what was admitted within the grace period.
    pub async fn run(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        tracing::info!(addr = %self.addr, "latentd serves");
        let asked = Arc::new(OnceLock::new());
        let noted = Arc::clone(&asked);
        let stop = async move {
            stop.await;
            let _ = noted.set(Instant::now());
        };
        let watching = self.state.watch_health(self.health_every);
        let served = http::serve(self.listener, self.state, stop, self.grace).await;
        watching.inspect(AbortHandle::abort);
        served?;
        let models = self.models;
        // the workers finish what is queued, on threads that may block
        let closing = tokio::task::spawn_blocking(move || models.shutdown());
        let left = self.grace.saturating_sub(asked.get().map_or(Duration::ZERO, Instant::elapsed));
        match tokio::time::timeout(left, closing).await {
            Ok(_) => tracing::info!("latentd has stopped"),
            Err(_) => tracing::warn!("runs were still going when the grace period ended"),
        }
        Ok(())
    }
}

/// Loads the ONNX Runtime library that the configuration names or the usual places hold.
pub fn load_runtime(config: &Config) -> Result<Runtime> {
    let named = Some(config.general.onnxruntime.as_str()).filter(|path| !path.is_empty());
    let runtime = Runtime::load(named.map(Path::new))?;
    tracing::info!(library = %runtime.path().display(), build = runtime.build(), "onnx runtime is loaded");
    Ok(runtime)
}

fn compose(config: &Config, runtime: Runtime) -> Result<Parts> {
    let metrics = Arc::new(Metrics::default());
    let cores = runtime::cores();
    let or_cores = |count: usize| if count == 0 { cores } else { count };
    let defaults = ModelDefaults {
        device: config.runtime.device,
        max_batch: config.runtime.max_batch,
        sessions: or_cores(config.runtime.sessions),
        threads: config.runtime.threads,
        queue_items: config.limits.queue_items,
        run_limit: Duration::from_millis(config.runtime.run_limit_ms),
    };
    tracing::info!(cores, sessions = defaults.sessions, threads = defaults.threads, "cores are planned");
    let loader: Arc<dyn GraphLoader> = Arc::new(runtime);
    let models = Repository::new(RepositoryParts {
        folder: PathBuf::from(&config.general.models),
        loader,
        defaults,
        permits: RunPermits::new(cores),
        watchdog: Watchdog::start()?,
        metrics: Arc::clone(&metrics),
    });
    let data = Path::new(&config.general.data);
    let options = embedded_options(&config.index, cores, Arc::clone(&metrics));
    Ok(Parts {
        models: Arc::new(models),
        index: Arc::new(EmbeddedEngine::open(&data.join("index"), options)?),
        store: Arc::new(PictureStore::connect(&data.join("pictures"), &config.store)?),
        pool: CpuPool::new(or_cores(config.runtime.decode_threads))?,
        limits: config.limits.clone(),
        metrics,
    })
}

fn embedded_options(index: &config::Index, cores: usize, metrics: Arc<Metrics>) -> EmbeddedOptions {
    EmbeddedOptions {
        cache_bytes: index.cache_bytes,
        read_threads: if index.read_threads == 0 { cores } else { index.read_threads },
        graph: GraphOptions {
            scan_items: index.scan_items,
            filter_scan_items: index.filter_scan_items,
            connectivity: index.graph_connectivity,
            expansion_add: index.graph_expansion_add,
            expansion_search: index.graph_expansion_search,
            save_operations: index.graph_save_operations,
            save_interval: Duration::from_secs(index.graph_save_seconds),
            rebuild_percent: index.graph_rebuild_percent,
            ..GraphOptions::default()
        },
        metrics,
    }
}
