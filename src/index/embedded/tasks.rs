//! From async callers to blocking work and back.

use std::{
    future::ready,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use tokio::sync::{Mutex as Turn, oneshot};
use tracing::{Instrument as _, Span};

use super::{
    EmbeddedOptions, deletion_queue::Deletions, graph::GraphOptions, signal::Signal, storage::database::Database,
};
use crate::{
    admission::{Limiter, Permit},
    compute::{Cancelled, CpuPool, PoolOptions, Priority},
    error::{Error, ErrorKind, Result},
    index::{
        bounds::{Bounds, late},
        readiness::Readiness,
        reads::{ReadAdmission, ReadLimits, ReadPermit, write_limiter},
    },
    telemetry::Metrics,
    threads::take_background_priority,
};

/// What all collections of an engine share.
pub(super) struct Shared {
    pub(super) database: Database,
    /// Held through each write, from its transaction to the end of its effect on memory. Writes wait for it on the async
    /// side, where a stopping server ends them before they begin.
    turn: Arc<Turn<()>>,
    writes: mpsc::Sender<Order>,
    write_limiter: Arc<Limiter>,
    /// The threads of the reads: no others, so that what waits for them is what was admitted to them.
    reads: CpuPool,
    read_admission: ReadAdmission,
    pub(super) readiness: Readiness,
    pub(super) graph: GraphOptions,
    pub(super) metrics: Arc<Metrics>,
    /// Where what is written is encoded.
    encoding: Option<Arc<CpuPool>>,
    pub(super) deletions: Arc<Deletions>,
    /// Tells maintenance of the graphs that something was written.
    pub(super) signal: Arc<Signal>,
}

/// Threads for reads of background priority. One is enough for work that nobody waits for.
const BACKGROUND_READS: usize = 1;

/// A write with all that is around it.
type Job = Box<dyn FnOnce() + Send>;

enum Order {
    Write(Job),
    End,
}

/// Numbers of vectors that are encoded in about the time that a change of thread takes.
const QUICKLY_ENCODED: usize = 4096;

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
            take_background_priority();
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
    /// The shared state and the thread that its writes run on.
    pub(super) fn new(database: Database, options: EmbeddedOptions) -> Result<(Self, Writing)> {
        let read_threads = options.read_threads.max(1);
        let writing = Writing::start()?;
        let shared = Self {
            database,
            turn: Arc::default(),
            writes: writing.orders.clone(),
            write_limiter: write_limiter(options.max_writes, 1, &options.metrics),
            reads: CpuPool::with_options(PoolOptions {
                name: "latentd-read",
                threads: read_threads,
                background_threads: BACKGROUND_READS,
                short_jobs: true,
            })?,
            read_admission: ReadAdmission::new(ReadLimits {
                capacity: options.max_reads,
                workers: read_threads as u64,
                metrics: Arc::clone(&options.metrics),
            }),
            readiness: Readiness::default(),
            graph: options.graph,
            encoding: options.pool,
            deletions: Arc::new(Deletions::new(Arc::clone(&options.metrics))),
            metrics: options.metrics,
            signal: Arc::default(),
        };
        Ok((shared, writing))
    }

    /// A permit for each of the reads, whose times are predicted; none for any in the background, where reads take no
    /// place from others.
    pub(super) fn admit(&self, predicted: &[Duration], bounds: Bounds) -> Result<Vec<Option<ReadPermit>>> {
        if bounds.priority == Priority::Background {
            return Ok(predicted.iter().map(|_| None).collect());
        }
        let permits = self.read_admission.admit(predicted, bounds.latest())?;
        Ok(permits.into_iter().map(Some).collect())
    }

    /// Runs a read that was admitted. It never begins once its caller has gone or its deadline has passed; if that is
    /// while it runs, it learns so.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        bounds: Bounds,
        permit: Option<ReadPermit>,
        work: impl FnOnce(&Cancelled) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        // The permit ends with the caller or with the work, whichever is later: a read that waits for a caller that has
        // gone takes no place, and one that runs keeps its place although its caller may have gone.
        let permit = Arc::new(permit);
        let (held, shared) = (Arc::downgrade(&permit), Arc::clone(self));
        let run = move |cancelled: &Cancelled| {
            let _held = held.upgrade().filter(|_| !bounds.are_over()).ok_or_else(late)?;
            let outcome = work(cancelled);
            shared.note(&outcome);
            outcome
        };
        bounds.limit(async { self.reads.run_with(bounds.priority, run).await? }).await
    }

    /// Encodes so many numbers that are to be written: where they are many, on the pool of the requests.
    pub(super) async fn encode<T: Send + 'static>(
        &self,
        numbers: usize,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        match self.encoding.as_ref().filter(|_| numbers > QUICKLY_ENCODED) {
            Some(pool) => pool.run(work).await?,
            None => work(),
        }
    }

    /// Whether a write has a place in the queue, which its permit then holds.
    fn admit_write(&self, bounds: Bounds) -> Result<Permit> {
        self.write_limiter.admit(1, bounds.latest())
    }

    /// Runs a write on its thread when its turn comes; to its end, even if the caller goes.
    pub(super) async fn write<T: Send + 'static>(
        self: &Arc<Self>,
        bounds: Bounds,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.write_prepared(bounds, ready(Ok(())), |()| work()).await
    }

    /// [`write`](Self::write), of what is prepared first: beside the writes that have the turn before it.
    pub(super) async fn write_prepared<P: Send + 'static, T: Send + 'static>(
        self: &Arc<Self>,
        bounds: Bounds,
        prepare: impl Future<Output = Result<P>> + Send + 'static,
        work: impl FnOnce(P) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let permit = self.admit_write(bounds)?;
        let (turn, writes, shared) = (Arc::clone(&self.turn), self.writes.clone(), Arc::clone(self));
        let task = async move {
            // The place in the line is taken first: writes happen in the order in which they were admitted.
            let (turn, prepared) = tokio::try_join!(turn.lock_owned().map(Ok), prepare)?;
            let span = Span::current();
            let (answer, answered) = oneshot::channel();
            let run = move || {
                let started = Instant::now();
                let outcome = span.in_scope(|| work(prepared));
                shared.note(&outcome);
                // Before the answer too: whoever has it may drop the engine, and is to find the database closed then.
                drop(shared);
                permit.finish(started.elapsed());
                // Before the answer: who has it may write again, and is to find the turn free.
                drop(turn);
                // A caller that has gone does not want to know.
                let _ = answer.send(outcome);
            };
            writes
                .send(Order::Write(Box::new(run)))
                .map_err(|_| Error::internal("the thread of the writes has ended"))?;
            answered.await.map_err(unknown)?
        };
        tokio::spawn(task.in_current_span()).await.map_err(unknown)?
    }

    /// Lets readiness follow at once where a read or a write has found the database broken, or whole again.
    fn note<T>(&self, outcome: &Result<T>) {
        let suspect = |error: &Error| matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Internal);
        if outcome.as_ref().is_err_and(suspect) || self.readiness.get().is_err() {
            self.publish_readiness();
        }
    }

    /// Publishes whether the database is open, as it was left by whoever used it last.
    fn publish_readiness(&self) {
        self.readiness.set(if self.database.is_open() { Ok(()) } else { Err(CLOSED.to_owned()) });
    }

    /// Opens the database again if a failed write has closed it, on a thread of the background, and publishes how that
    /// went.
    pub(super) async fn probe(self: &Arc<Self>) -> Result<()> {
        let shared = Arc::clone(self);
        let probe = move || {
            let opened = shared.database.snapshot().map(drop);
            shared.readiness.set(opened.as_ref().map(drop).map_err(|error| format!("{CLOSED}: {error}")));
            opened
        };
        self.reads.background(probe).await?
    }
}

/// Why an embedded index is not ready.
const CLOSED: &str = "the index database is closed after a failed write";

/// The error of a write that did not end: it may be on the disk.
fn unknown(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::unavailable("whether the write has arrived is not known; read to find out").with_source(error)
}

#[cfg(test)]
mod tests;
