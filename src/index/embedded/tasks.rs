//! From async callers to blocking work and back.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use tokio::{
    sync::{Mutex as Turn, Semaphore, oneshot},
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
    /// Held through each write, from its transaction to the end of its effect on memory. Writes wait for it on the async
    /// side, where a stopping server ends them before they begin.
    turn: Arc<Turn<()>>,
    writes: mpsc::Sender<Order>,
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

enum Order {
    Write(Job),
    End,
}

/// How long a closing index waits for the writes that have begun.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// The thread of the writes. A search is short and a write is not: where both want a core, the search is to have it,
/// so this is no thread that searches run on too. Dropping this lets the writes end that have their turn.
pub(super) struct Writing {
    orders: mpsc::Sender<Order>,
    /// Nothing comes from there; the thread's end closes it.
    ended: Mutex<mpsc::Receiver<()>>,
}

impl Writing {
    fn start() -> Result<Self> {
        let (orders, taken) = mpsc::channel();
        let (ends, ended) = mpsc::channel::<()>();
        let work = move || {
            let _ends = ends;
            run_behind_requests();
            while let Ok(Order::Write(job)) = taken.recv() {
                // The hook has told of a panic, and whoever waits for the answer learns that there is none.
                let _ = catch_unwind(AssertUnwindSafe(job));
            }
        };
        thread::Builder::new()
            .name("latentd-writes".to_owned())
            .spawn(work)
            .map_err(|error| Error::internal("cannot start the thread of the writes").with_source(error))?;
        Ok(Self { orders, ended: Mutex::new(ended) })
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // an error is a thread that has ended already
        let _ = self.orders.send(Order::End);
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(LAST_WRITES) == Err(RecvTimeoutError::Timeout) {
            let waited_ms = LAST_WRITES.as_millis() as u64;
            tracing::warn!(waited_ms, "a write to the index has not ended; it will be there whole or not at all");
        }
    }
}

impl Shared {
    /// With the thread that its writes run on.
    pub(super) fn new(database: Database, options: EmbeddedOptions) -> Result<(Self, Writing)> {
        let read_threads = options.read_threads.max(1);
        let writing = Writing::start()?;
        let shared = Self {
            database,
            turn: Arc::default(),
            writes: writing.orders.clone(),
            reads: Arc::new(Semaphore::new(read_threads)),
            read_threads,
            graph: options.graph,
            metrics: options.metrics,
            signal: Arc::default(),
        };
        Ok((shared, writing))
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
                let outcome = span.in_scope(work);
                // first, so that whoever has the answer finds the turn free
                drop(turn);
                // a caller that has gone does not want to know
                let _ = answer.send(outcome);
            };
            writes
                .send(Order::Write(Box::new(run)))
                .map_err(|_| Error::internal("the thread of the writes has ended"))?;
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
