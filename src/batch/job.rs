//! One item on its way to a run, and the answer coming back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::Ticket;
use crate::error::{Error, Result};

/// One item's part of an output: the tensor without its batch axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub shape: Vec<usize>,
    pub data: Vec<f32>,
}

/// What came of an item, and the three numbers that explain it.
#[derive(Debug)]
pub struct Answer {
    /// One row for each output of the graph, in its order.
    pub rows: Vec<Row>,
    pub queued: Duration,
    pub run: Duration,
    pub batch: usize,
}

/// An item in the queue: its inputs without their batch axis, and who waits for it.
pub(super) struct Job {
    pub(super) inputs: Vec<Row>,
    pub(super) queued_at: Instant,
    pub(super) fate: Fate,
    reply: oneshot::Sender<Result<Answer>>,
    /// Entered by the worker, so that what it logs carries the request's id.
    pub(super) span: tracing::Span,
    _ticket: Ticket,
}

/// What decides whether an item is still worth computing; the watchdog looks at it during the run.
#[derive(Debug, Clone)]
pub(super) struct Fate {
    pub(super) deadline: Instant,
    gone: Arc<AtomicBool>,
}

impl Fate {
    /// Why nobody wants the item any more, if so.
    pub(super) fn lost(&self, now: Instant) -> Option<&'static str> {
        if self.gone.load(Ordering::Relaxed) {
            Some("client_gone")
        } else if self.deadline <= now {
            Some("deadline")
        } else {
            None
        }
    }
}

impl Job {
    pub(super) fn new(inputs: Vec<Row>, deadline: Instant, ticket: Ticket) -> (Self, Pending) {
        let (reply, answer) = oneshot::channel();
        let fate = Fate { deadline, gone: Arc::default() };
        let pending = Pending { answer, fate: fate.clone() };
        let span = tracing::Span::current();
        (Self { inputs, queued_at: Instant::now(), fate, reply, span, _ticket: ticket }, pending)
    }

    pub(super) fn finish(self, answer: Result<Answer>) {
        // the waiter may have gone; then nobody needs to know
        let _ = self.reply.send(answer);
    }
}

/// The waiting side of a job. Dropping it tells the worker that nobody waits.
#[derive(Debug)]
pub struct Pending {
    answer: oneshot::Receiver<Result<Answer>>,
    fate: Fate,
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.fate.gone.store(true, Ordering::Relaxed);
    }
}

impl Pending {
    /// Waits for the answer, but not beyond the deadline.
    pub async fn answer(mut self) -> Result<Answer> {
        let deadline = tokio::time::Instant::from_std(self.fate.deadline);
        match tokio::time::timeout_at(deadline, &mut self.answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Error::internal("a worker went without an answer")),
            Err(_) => Err(Error::deadline_exceeded("the deadline passed before the model had answered")),
        }
    }
}
