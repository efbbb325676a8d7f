//! From async callers to blocking work and back.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    thread,
};

use tokio::{
    sync::{Mutex, Semaphore, oneshot},
    task::spawn_blocking,
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
    threads::run_behind_requests,
};

/// What all collections of an engine share.
pub(super) struct Shared {
    pub(super) database: Database,
    /// Held through each write, from its transaction to the end of its effect on memory.
    turn: Arc<Mutex<()>>,
    writes: mpsc::Sender<Job>,
    /// One permit for each read that may run at once.
    reads: Arc<Semaphore>,
    pub(super) read_threads: usize,
    pub(super) graph: GraphOptions,
    pub(super) metrics: Arc<Metrics>,
    /// Tells the keeper of the graphs that something was written.
    pub(super) signal: Arc<Signal>,
}

/// A write with all that is around it.
type Job = Box<dyn FnOnce() + Send>;

/// Starts the thread of the writes, which ends with its sender. A search is short and a write is not: where both want
/// a core, the search is to have it, so this is no thread that searches run on too.
fn start_writing() -> Result<mpsc::Sender<Job>> {
    let (sender, jobs) = mpsc::channel::<Job>();
    let work = move || {
        run_behind_requests();
        for job in jobs {
            // The hook has told of a panic, and whoever waits for the answer learns that there is none.
            let _ = catch_unwind(AssertUnwindSafe(job));
        }
    };
    thread::Builder::new()
        .name("latentd-writes".to_owned())
        .spawn(work)
        .map_err(|error| Error::internal("cannot start the thread of the writes").with_source(error))?;
    Ok(sender)
}

impl Shared {
    pub(super) fn new(database: Database, options: EmbeddedOptions) -> Result<Self> {
        let read_threads = options.read_threads.max(1);
        Ok(Self {
            database,
            turn: Arc::default(),
            writes: start_writing()?,
            reads: Arc::new(Semaphore::new(read_threads)),
            read_threads,
            graph: options.graph,
            metrics: options.metrics,
            signal: Arc::default(),
        })
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

    /// Runs a write on its thread when its turn comes; to its end, even if the caller goes.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (turn, writes) = (Arc::clone(&self.turn), self.writes.clone());
        let task = async move {
            let turn = turn.lock_owned().await;
            let span = Span::current();
            let (answer, answered) = oneshot::channel();
            let run = move || {
                let _turn = turn;
                // a caller that has gone does not want to know
                let _ = answer.send(span.in_scope(work));
            };
            writes.send(Box::new(run)).map_err(|_| Error::internal("the thread of the writes has ended"))?;
            answered.await.map_err(unknown)?
        };
        tokio::spawn(task.in_current_span()).await.map_err(unknown)?
    }
}

fn ended(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::internal("an index task did not end").with_source(error)
}

/// Of a write that did not end: it may be on the disk.
fn unknown(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::unavailable("whether the write has arrived is not known; read to find out").with_source(error)
}
