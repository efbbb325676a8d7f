//! The threads that decode, resize and encode, so that the async threads never do.

use std::{
    any::Any,
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use tokio::sync::oneshot;
use tracing::Span;

use crate::error::{Error, Result};

type Job = Box<dyn FnOnce() + Send>;

/// A fixed number of named threads that take jobs in the order they come.
///
/// The queue has no bound of its own: what is admitted to the service bounds it. Dropping the pool lets running
/// jobs end, drops the waiting ones and joins the threads.
pub struct CpuPool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl CpuPool {
    /// A pool of `threads` threads, at least one.
    ///
    /// # Errors
    /// `internal` when the system refuses a thread.
    pub fn new(threads: usize) -> Result<Self> {
        let shared = Arc::new(Shared { queue: Mutex::default(), changed: Condvar::new() });
        let mut pool = Self { shared, threads: Vec::new() };
        for number in 0..threads.max(1) {
            let shared = Arc::clone(&pool.shared);
            let thread = thread::Builder::new()
                .name(format!("latentd-cpu-{number}"))
                .spawn(move || shared.work())
                .map_err(|error| Error::internal("start a thread of the cpu pool").with_source(error))?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// Runs `f` on one of the threads, inside the caller's tracing span.
    ///
    /// When this future is dropped before the job has begun, the job never runs.
    ///
    /// # Errors
    /// `internal` when `f` panics, `unavailable` when the pool is shutting down.
    pub async fn run<T, F>(&self, f: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let span = Span::current();
        self.shared.push(Box::new(move || {
            if reply.is_closed() {
                return;
            }
            let result = span.in_scope(|| {
                catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
                    let reason = panic_message(payload.as_ref());
                    tracing::error!(reason, "a job of the cpu pool panicked");
                    Error::internal(format!("a job of the cpu pool panicked: {reason}"))
                })
            });
            // The receiver may have gone meanwhile; then nobody wants the result.
            let _ = reply.send(result);
        }));
        answer.await.unwrap_or_else(|_| Err(Error::unavailable("the server is shutting down")))
    }

    /// How many threads there are.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// How many jobs wait for a thread.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.lock().jobs.len()
    }
}

impl Drop for CpuPool {
    fn drop(&mut self) {
        let abandoned = {
            let mut queue = self.shared.lock();
            queue.closed = true;
            std::mem::take(&mut queue.jobs)
        };
        drop(abandoned);
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // The last owner may be a job of the pool itself; a thread cannot wait for its own end.
            if thread.thread().id() != thread::current().id() && thread.join().is_err() {
                tracing::error!("a thread of the cpu pool ended in a panic");
            }
        }
    }
}

impl fmt::Debug for CpuPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuPool").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

impl Shared {
    /// Nothing that runs under this lock can panic half-way, so a poisoned queue is still a whole one.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Job) {
        let mut queue = self.lock();
        if !queue.closed {
            queue.jobs.push_back(job);
            drop(queue);
            self.changed.notify_one();
        }
    }

    fn work(&self) {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                // The job catches the panics of the work itself; this one is for destructors of what it carried.
                if catch_unwind(AssertUnwindSafe(job)).is_err() {
                    tracing::error!("a job of the cpu pool panicked while it was dropped");
                }
                queue = self.lock();
            } else if queue.closed {
                return;
            } else {
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
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

#[cfg(test)]
mod tests;
