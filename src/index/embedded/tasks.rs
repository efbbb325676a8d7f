//! From async callers to blocking work and back.

use std::sync::Arc;

use tokio::{
    sync::{Mutex, Semaphore},
    task::{JoinError, spawn_blocking},
};
use tracing::{Instrument as _, Span};

use super::{
    EmbeddedOptions,
    database::Database,
    graph::{GraphOptions, keeper::Signal},
};
use crate::{
    error::{Error, Result},
    telemetry::Metrics,
};

/// What all collections of an engine share.
pub(super) struct Shared {
    pub(super) database: Database,
    /// Held through each write, from its transaction to the end of its effect on memory.
    turn: Arc<Mutex<()>>,
    /// One permit for each read that may run at once.
    reads: Arc<Semaphore>,
    pub(super) read_threads: usize,
    pub(super) graph: GraphOptions,
    pub(super) metrics: Arc<Metrics>,
    /// Tells the keeper of the graphs that something was written.
    pub(super) signal: Arc<Signal>,
}

impl Shared {
    pub(super) fn new(database: Database, options: EmbeddedOptions) -> Self {
        let read_threads = options.read_threads.max(1);
        Self {
            database,
            turn: Arc::default(),
            reads: Arc::new(Semaphore::new(read_threads)),
            read_threads,
            graph: options.graph,
            metrics: options.metrics,
            signal: Arc::default(),
        }
    }

    /// Runs a read on a blocking thread. A caller that goes while it waits costs nothing.
    pub(super) async fn read<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let permit = Arc::clone(&self.reads).acquire_owned().await;
        let permit = permit.map_err(|error| Error::unavailable("the index is closing").with_source(error))?;
        let span = Span::current();
        let run = move || {
            let _permit = permit;
            span.in_scope(work)
        };
        spawn_blocking(run).await.map_err(ended)?
    }

    /// Runs a write on a blocking thread when its turn comes; to its end, even if the caller goes.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let turn = Arc::clone(&self.turn);
        let task = async move {
            let turn = turn.lock_owned().await;
            let span = Span::current();
            let run = move || {
                let _turn = turn;
                span.in_scope(work)
            };
            spawn_blocking(run).await.map_err(unknown)?
        };
        tokio::spawn(task.in_current_span()).await.map_err(unknown)?
    }
}

fn ended(error: JoinError) -> Error {
    Error::internal("an index task did not end").with_source(error)
}

/// Of a write that did not end: it may be on the disk.
fn unknown(error: JoinError) -> Error {
    Error::unavailable("whether the write has arrived is not known; read to find out").with_source(error)
}
