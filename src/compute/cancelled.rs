//! How a long job learns that it may stop.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Tells a job that nobody waits for its result any more. Long jobs look at it between their steps.
#[derive(Debug, Clone, Default)]
pub struct Cancelled {
    /// The caller of this job has gone.
    gone: Arc<AtomicBool>,
    /// The pool is shutting down, which concerns all its jobs.
    closed: Arc<AtomicBool>,
}

impl Cancelled {
    /// The flag of one more job of a pool that this `closed` is the end of.
    pub(super) fn of(closed: &Arc<AtomicBool>) -> Self {
        Self { gone: Arc::default(), closed: Arc::clone(closed) }
    }

    /// Whether the job may stop without a result.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.gone.load(Ordering::Relaxed) || self.closed.load(Ordering::Relaxed)
    }
}

/// Sets the flag when the future that waits for the job is dropped.
pub(super) struct CancelOnDrop(pub(super) Cancelled);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.gone.store(true, Ordering::Relaxed);
    }
}
