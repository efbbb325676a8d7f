//! Threads of one priority and the queue before them.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::sync::oneshot;
use tracing::Span;

use super::cancelled::{CancelOnDrop, Cancelled};
use crate::error::{Error, Result};

/// A fixed number of named threads that take jobs in the order they come.
///
/// Dropping the lane lets running jobs end, skips the waiting ones and joins the threads.
pub(super) struct Lane {
    /// None only while the lane is dropped.
    pool: Option<ThreadPool>,
    threads: Vec<JoinHandle<()>>,
    pub(super) waiting: Arc<AtomicUsize>,
    closed: Arc<AtomicBool>,
}

impl Lane {
    /// At least one thread; `name` and a number are what each is called, and `begin` is the first that each does.
    pub(super) fn new(name: &str, threads: usize, begin: fn()) -> Result<Self> {
        let mut handles = Vec::new();
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            // jobs catch their panics; this one would be of a bug of the lane, and must not end the process
            .panic_handler(|_| tracing::error!("a job of the cpu pool panicked outside its work"))
            .spawn_handler(|worker| {
                let thread = thread::Builder::new().name(format!("{name}-{}", worker.index()));
                handles.push(thread.spawn(move || {
                    begin();
                    worker.run();
                })?);
                Ok(())
            })
            .build()
            .map_err(|error| Error::internal("start a thread of the cpu pool").with_source(error))?;
        Ok(Self { pool: Some(pool), threads: handles, waiting: Arc::default(), closed: Arc::default() })
    }

    pub(super) fn threads(&self) -> usize {
        self.threads.len()
    }

    /// Runs `f` on one of the threads, inside the caller's tracing span.
    pub(super) async fn run<T, F>(&self, f: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Cancelled) -> T + Send + 'static,
    {
        let cancelled = Cancelled::of(&self.closed);
        let _guard = CancelOnDrop(cancelled.clone());
        let (reply, answer) = oneshot::channel();
        let span = Span::current();
        self.spawn(move || {
            if cancelled.is_set() {
                return;
            }
            let result = span.in_scope(|| {
                catch_unwind(AssertUnwindSafe(|| f(&cancelled))).map_err(|payload| {
                    let reason = panic_message(payload.as_ref());
                    tracing::error!(reason, "a job of the cpu pool panicked");
                    Error::internal(format!("a job of the cpu pool panicked: {reason}"))
                })
            });
            // The receiver may have gone meanwhile; then nobody wants the result.
            let _ = reply.send(result);
        });
        answer.await.unwrap_or_else(|_| Err(Error::unavailable("the server is shutting down")))
    }

    fn spawn(&self, job: impl FnOnce() + Send + 'static) {
        let Some(pool) = &self.pool else { return };
        let waiting = Arc::clone(&self.waiting);
        waiting.fetch_add(1, Ordering::Relaxed);
        pool.spawn_fifo(move || {
            waiting.fetch_sub(1, Ordering::Relaxed);
            // The job catches the panics of the work itself; this one is for destructors of what it carried.
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("a job of the cpu pool panicked while it was dropped");
            }
        });
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Before the pool goes, which runs what is still queued: each of those jobs has to see that it is to be skipped.
        self.closed.store(true, Ordering::Relaxed);
        drop(self.pool.take());
        for thread in self.threads.drain(..) {
            // The last owner may be a job of the lane itself; a thread cannot wait for its own end.
            if thread.thread().id() != thread::current().id() && thread.join().is_err() {
                tracing::error!("a thread of the cpu pool ended in a panic");
            }
        }
    }
}

/// The text of a panic, as far as it has one.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
