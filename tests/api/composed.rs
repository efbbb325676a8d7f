//! A server put together from its parts, for tests that hold them.

use std::{path::Path, sync::Arc, time::Duration};

use axum::Router;
use latentd::{
    batch::{RunPermits, Watchdog},
    compute::CpuPool,
    config::{Anomaly, Limits},
    domain::Device,
    http::AppState,
    index::{EmbeddedEngine, EmbeddedOptions},
    model::{ModelDefaults, Repository, RepositoryParts},
    runtime::Runtime,
    service::{Parts, Service},
    store::{CalibrationStore, ImageStore},
    telemetry::Metrics,
};

use crate::harness::{Home, library};

pub struct Composed {
    pub state: AppState,
    pub router: Router,
    /// Scanned; nothing is loaded until the test says so.
    pub models: Arc<Repository>,
}

pub fn composed(home: &Home) -> Composed {
    let metrics = Arc::new(Metrics::default());
    let defaults = ModelDefaults {
        device: Device::Cpu,
        max_batch: Some(1),
        sessions: Some(1),
        cpu_sessions: 1,
        threads: 1,
        queue_items: 64,
        run_limit: Duration::from_secs(1),
    };
    let models = Arc::new(Repository::new(RepositoryParts {
        folder: Path::new(&home.config().general.models).to_owned(),
        loader: Arc::new(Runtime::load(Some(&library())).unwrap()),
        defaults,
        permits: RunPermits::new(1),
        watchdog: Watchdog::start().unwrap(),
        metrics: Arc::clone(&metrics),
    }));
    models.scan().unwrap();
    let options = EmbeddedOptions { cache_bytes: 1 << 20, read_threads: 1, ..EmbeddedOptions::default() };
    let state = AppState::new(Arc::new(Service::new(Parts {
        models: Arc::clone(&models),
        index: Arc::new(EmbeddedEngine::open(&home.data().join("index"), options).unwrap()),
        store: Arc::new(ImageStore::open(&home.data().join("images")).unwrap()),
        calibrations: CalibrationStore::open(&home.data().join("calibrations")).unwrap(),
        anomaly: Anomaly::default(),
        webhook: None,
        pool: CpuPool::new(1).unwrap(),
        cache_bytes: 0,
        limits: Limits::default(),
        metrics,
    })));
    Composed { router: latentd::http::router(state.clone()), state, models }
}
