//! Until when a caller needs what it asks of a collection, and how urgent that is.

use std::time::{Duration, Instant};

use crate::{
    compute::Priority,
    error::{Error, Result},
};

/// What bounds the work that is asked for by one handle of a collection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bounds {
    /// When the caller needs the answer: work that cannot be done by then is refused before it begins, and a read that
    /// is not done by then is given up. None: the caller waits as long as it takes.
    pub deadline: Option<Instant>,
    /// Reads of the background take no place from those of the foreground, and nothing is learned from their time.
    pub priority: Priority,
}

/// A time beyond any queue, for callers that wait as long as it takes.
const LONG: Duration = Duration::from_secs(1 << 32);

impl Bounds {
    /// Bounds of work beside the requests.
    pub const BACKGROUND: Self = Self { deadline: None, priority: Priority::Background };

    /// Bounds of a request that ends at its deadline.
    #[must_use]
    pub const fn until(deadline: Instant) -> Self {
        Self { deadline: Some(deadline), priority: Priority::Foreground }
    }

    /// The deadline, as admission takes it.
    pub(super) fn latest(&self) -> Instant {
        self.deadline.unwrap_or_else(|| Instant::now() + LONG)
    }

    /// Whether the deadline has passed.
    pub(super) fn are_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// The outcome of a read, or `deadline_exceeded` once the deadline has passed; the read is dropped then.
    pub(super) async fn limit<T>(&self, read: impl Future<Output = Result<T>>) -> Result<T> {
        match self.deadline {
            Some(deadline) => tokio::time::timeout_at(deadline.into(), read).await.unwrap_or_else(|_| Err(late())),
            None => read.await,
        }
    }
}

/// The error of a read whose deadline has passed.
pub(super) fn late() -> Error {
    Error::deadline_exceeded("the deadline passed before the index had answered")
}
