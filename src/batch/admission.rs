//! Admission: whether a request's items may enter, decided before any work is done for them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    error::{Error, Result},
    telemetry::metrics::{GraphLabels, Metrics, RejectLabels},
};

/// The only bound of a queue, and the estimate of how long it takes to drain.
pub(super) struct Gate {
    labels: GraphLabels,
    capacity: usize,
    workers: AtomicUsize,
    places: Arc<Semaphore>,
    /// Smoothed time that one item of a batch takes a worker, in nanoseconds.
    item_nanos: AtomicU64,
    metrics: Arc<Metrics>,
}

/// The right of one item to be queued; it travels inside the job and is given back when the job ends, however it ends.
#[must_use = "dropping a ticket gives its place back"]
pub struct Ticket {
    permit: OwnedSemaphorePermit,
    gate: Arc<Gate>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.gate.metrics.queue_depth.get_or_create(&self.gate.labels).dec();
        debug_assert_eq!(self.permit.num_permits(), 1);
    }
}

impl Gate {
    pub(super) fn new(labels: GraphLabels, capacity: usize, workers: usize, metrics: Arc<Metrics>) -> Self {
        Self {
            labels,
            capacity,
            workers: AtomicUsize::new(workers.max(1)),
            places: Arc::new(Semaphore::new(capacity)),
            item_nanos: AtomicU64::new(0),
            metrics,
        }
    }

    /// A worker that was counted on has no session. One is left in any case.
    pub(super) fn lose_worker(&self) {
        let less = |workers: usize| Some(workers.saturating_sub(1).max(1));
        // it cannot fail: there is always a next value
        let _ = self.workers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// A ticket for each of `count` items, or none for any.
    pub(super) fn admit(self: &Arc<Self>, count: usize, deadline: Instant) -> Result<Vec<Ticket>> {
        if self.places.is_closed() {
            return Err(Error::unavailable("the model is being unloaded or the server is shutting down"));
        }
        if count > self.capacity {
            let text = format!("{count} items are more than the queue holds: limits.queue_items is {}", self.capacity);
            return Err(Error::new(crate::error::ErrorKind::PayloadTooLarge, text));
        }
        let wait = self.estimated_wait(count);
        let left = deadline.saturating_duration_since(Instant::now());
        // an idle queue always takes work: an estimate that was wrong once must not shut everybody out
        if wait.mul_f64(MARGIN) > left && self.inside() > 0 {
            self.reject(count, "deadline");
            let text = format!(
                "the estimated wait of {} ms does not fit into the {} ms left to the deadline",
                wait.as_millis(),
                left.as_millis()
            );
            return Err(Error::overloaded(text, wait.mul_f64(MARGIN).saturating_sub(left).max(MIN_RETRY)));
        }
        let Ok(permits) = u32::try_from(count)
            .map_err(drop)
            .and_then(|count| Arc::clone(&self.places).try_acquire_many_owned(count).map_err(drop))
        else {
            self.reject(count, "queue_full");
            let text = format!("the queue is full: limits.queue_items is {}", self.capacity);
            return Err(Error::overloaded(text, self.drain_time(count).max(MIN_RETRY)));
        };
        Ok(self.split(permits, count))
    }

    fn split(self: &Arc<Self>, mut permits: OwnedSemaphorePermit, count: usize) -> Vec<Ticket> {
        self.metrics.queue_depth.get_or_create(&self.labels).inc_by(i64::try_from(count).unwrap_or(i64::MAX));
        let single = |permit| Ticket { permit, gate: Arc::clone(self) };
        let mut tickets: Vec<Ticket> = (1..count).filter_map(|_| permits.split(1)).map(single).collect();
        if count > 0 {
            tickets.push(single(permits));
        }
        tickets
    }

    fn reject(&self, count: usize, reason: &'static str) {
        let labels = RejectLabels { model: self.labels.model.clone(), work: "graph", reason };
        self.metrics.rejected.get_or_create(&labels).inc_by(count as u64);
    }

    /// How long the last of `more` items would wait for its answer if they came now.
    pub(super) fn estimated_wait(&self, more: usize) -> Duration {
        self.drain_time(self.inside() + more)
    }

    /// Items admitted and not yet finished.
    pub(super) fn inside(&self) -> usize {
        self.capacity - self.places.available_permits().min(self.capacity)
    }

    /// Smoothed time that one item of a batch takes a worker; zero while nothing is known.
    pub(super) fn item_time(&self) -> Duration {
        Duration::from_nanos(self.item_nanos.load(Ordering::Relaxed))
    }

    fn drain_time(&self, items: usize) -> Duration {
        let nanos = self.item_nanos.load(Ordering::Relaxed);
        // an even share of the items each; the last share is a whole one
        Duration::from_nanos(nanos.saturating_mul(items.div_ceil(self.workers.load(Ordering::Relaxed)) as u64))
    }

    /// Learns from a run that has ended: how long it held its worker, the wait for cores included.
    pub(super) fn observe(&self, run: Duration, batch: usize) {
        let sample = u64::try_from(run.as_nanos()).unwrap_or(u64::MAX) / batch.max(1) as u64;
        let old = self.item_nanos.load(Ordering::Relaxed);
        // an exponential mean over about eight runs; the first run sets it, and no later one counts for more than four
        let new = if old == 0 { sample } else { old - old / 8 + sample.min(old.saturating_mul(4)) / 8 };
        self.item_nanos.store(new, Ordering::Relaxed);
    }

    pub(super) fn close(&self) {
        self.places.close();
    }
}

/// By how much an estimated wait may turn out longer. An item that is admitted and comes too late is work in vain, just
/// when there is more than enough to do.
const MARGIN: f64 = 1.2;

/// The least a client is told to wait: less would only come back to the same queue.
const MIN_RETRY: Duration = Duration::from_millis(10);
