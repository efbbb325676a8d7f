//! A pool with a lane for what requests wait for and one for what may take minutes.

use std::{fmt, sync::atomic::Ordering};

use super::{Cancelled, lane::Lane};
use crate::{
    error::Result,
    threads::{take_background_priority, take_latency_priority},
};

/// Whether a request waits for the work, or it is done beside the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Priority {
    #[default]
    Foreground,
    /// On threads of its own whose scheduling priority is lower, so that it never holds a thread that requests need
    /// and gives its core away where one of those wants it.
    Background,
}

/// The size of a pool.
#[derive(Debug, Clone, Copy)]
pub struct PoolOptions {
    /// What the threads are called; those of the background have `-bg` behind it.
    pub name: &'static str,
    /// Threads of the foreground, at least one.
    pub threads: usize,
    /// Threads of the background, at least one.
    pub background_threads: usize,
    /// Whether threads of the foreground take latency priority, which pays where most jobs are shorter than a slice of
    /// the processor.
    pub short_jobs: bool,
}

/// A fixed number of named threads for each priority, which take jobs in the order they come.
///
/// The queues have no bound of their own: what is admitted to the service bounds them. Dropping the pool lets running
/// jobs end, skips the waiting ones and joins the threads.
pub struct CpuPool {
    foreground: Lane,
    background: Lane,
}

impl CpuPool {
    /// The pool of the requests, with `threads` threads for each priority, at least one.
    ///
    /// # Errors
    /// `internal` when the system refuses a thread.
    pub fn new(threads: usize) -> Result<Self> {
        Self::with_options(PoolOptions { name: "latentd-cpu", threads, background_threads: threads, short_jobs: false })
    }

    /// A pool of any size.
    ///
    /// # Errors
    /// `internal` when the system refuses a thread.
    pub fn with_options(options: PoolOptions) -> Result<Self> {
        let PoolOptions { name, threads, background_threads, short_jobs } = options;
        let begin = if short_jobs { take_latency_priority } else { || () };
        Ok(Self {
            foreground: Lane::new(name, threads, begin)?,
            background: Lane::new(&format!("{name}-bg"), background_threads, take_background_priority)?,
        })
    }

    /// Runs `f` on one of the threads of the foreground, inside the caller's tracing span.
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
        self.run_with(Priority::Foreground, |_| f()).await
    }

    /// As [`run`](Self::run), beside the requests.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn background<T, F>(&self, f: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        self.run_with(Priority::Background, |_| f()).await
    }

    /// As [`run`](Self::run), at any priority, for a job that looks between its steps whether it may stop: when this
    /// future is dropped, the flag is set.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_with<T, F>(&self, priority: Priority, f: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Cancelled) -> T + Send + 'static,
    {
        self.lane(priority).run(f).await
    }

    fn lane(&self, priority: Priority) -> &Lane {
        match priority {
            Priority::Foreground => &self.foreground,
            Priority::Background => &self.background,
        }
    }

    /// How many threads the foreground has.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.foreground.threads()
    }

    /// How many jobs wait for a thread of the foreground.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.foreground.waiting.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for CpuPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuPool").field("threads", &self.threads()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
