//! An item on its way to a run, and the answer on its way back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{Permit, Tensor};
use crate::error::{Error, Result};

/// The outcome of an item, and the three numbers that explain its latency.
#[derive(Debug)]
pub struct Answer {
    /// One tensor for each output of the graph, in the graph's order, without a batch axis.
    pub outputs: Vec<Tensor>,
    pub queued: Duration,
    pub run: Duration,
    /// Items in the run that computed this one.
    pub batch: usize,
}

/// An admitted item in the queue.
pub(super) struct Message {
    /// One tensor for each input of the graph, in the graph's order, without a batch axis.
    pub(super) inputs: Vec<Tensor>,
    pub(super) queued_at: Instant,
    pub(super) cancellation: Cancellation,
    reply: oneshot::Sender<Result<Answer>>,
    /// The caller's span, which the worker enters so that its log lines carry the request's id.
    pub(super) span: tracing::Span,
    _permit: Permit,
}

/// Whether an item is still worth computing; the watchdog asks during the run.
#[derive(Debug, Clone)]
pub(super) struct Cancellation {
    deadline: Instant,
    /// Set when the caller has gone; none for a caller that cannot go before the answer.
    cancelled: Option<Arc<AtomicBool>>,
}

/// Why an item is not worth computing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CancelReason {
    Cancelled,
    Expired,
}

impl CancelReason {
    /// The reason's label in the metrics.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "client_gone",
            Self::Expired => "deadline",
        }
    }
}

impl Cancellation {
    /// The cancellation of an item whose caller waits for it in any case.
    pub(super) const fn by_deadline(deadline: Instant) -> Self {
        Self { deadline, cancelled: None }
    }

    pub(super) const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Why an answer at this time would be of no use; none while it would be.
    pub(super) fn reason(&self, at: Instant) -> Option<CancelReason> {
        if self.cancelled.as_ref().is_some_and(|cancelled| cancelled.load(Ordering::Relaxed)) {
            Some(CancelReason::Cancelled)
        } else if self.deadline <= at {
            Some(CancelReason::Expired)
        } else {
            None
        }
    }
}

impl Message {
    pub(super) fn new(inputs: Vec<Tensor>, deadline: Instant, permit: Permit) -> (Self, Pending) {
        let (reply, answer) = oneshot::channel();
        let cancelled = Arc::new(AtomicBool::new(false));
        let pending = Pending { answer, deadline, cancelled: Arc::clone(&cancelled) };
        let message = Self {
            inputs,
            queued_at: Instant::now(),
            cancellation: Cancellation { deadline, cancelled: Some(cancelled) },
            reply,
            span: tracing::Span::current(),
            _permit: permit,
        };
        (message, pending)
    }

    pub(super) fn finish(self, answer: Result<Answer>) {
        // The caller may have gone; then nobody needs to know.
        let _ = self.reply.send(answer);
    }
}

/// The caller's side of a message. Dropping it cancels the item.
#[derive(Debug)]
pub struct Pending {
    answer: oneshot::Receiver<Result<Answer>>,
    deadline: Instant,
    cancelled: Arc<AtomicBool>,
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

impl Pending {
    /// Waits for the answer, but not beyond the deadline.
    ///
    /// # Errors
    /// Those of the run; `deadline_exceeded` where the answer did not come in time.
    pub async fn answer(mut self) -> Result<Answer> {
        match tokio::time::timeout_at(self.deadline.into(), &mut self.answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Error::internal("a worker went without an answer")),
            Err(_) => Err(Error::deadline_exceeded("the deadline passed before the model had answered")),
        }
    }
}
