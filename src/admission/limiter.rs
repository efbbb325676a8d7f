//! How much work may be admitted and unfinished at a time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use prometheus_client::metrics::gauge::Gauge;

use super::Estimate;
use crate::{
    error::{Error, ErrorKind, Result},
    telemetry::{Metrics, metrics::RejectLabels},
};

/// An estimated wait may turn out longer by this factor. Work that is admitted and comes too late is done in vain, just
/// when there is more than enough to do.
const MARGIN: f64 = 1.2;

/// The shortest `Retry-After`: a shorter one would only bring the caller back to the same queue.
const MIN_RETRY: Duration = Duration::from_millis(10);

/// The bit of a limiter's count that says that the limiter is closed.
const CLOSED: u64 = 1 << 63;

/// The settings of a limiter.
#[derive(Debug)]
pub(crate) struct LimiterOptions {
    /// What is counted, as messages name it: `"items"`, `"searches"`.
    pub(crate) noun: &'static str,
    /// The configuration key that holds the capacity, for messages.
    pub(crate) key: &'static str,
    /// Units admitted and not yet finished, at most.
    pub(crate) capacity: u64,
    /// Units that are worked on at the same time.
    pub(crate) workers: u64,
    /// The labels of refusals in the metrics, but for their reason.
    pub(crate) work: &'static str,
    pub(crate) model: String,
    /// Shows the units admitted and not yet finished.
    pub(crate) depth: Gauge<i64, AtomicI64>,
}

/// Admits work while its estimated wait fits the caller's deadline and there is capacity.
#[derive(Debug)]
pub(crate) struct Limiter {
    options: LimiterOptions,
    workers: AtomicU64,
    /// The units admitted and not yet finished, and [`CLOSED`]. One number holds both, so that nothing can be admitted
    /// after whoever closed the limiter has seen that nothing is in use.
    in_use: AtomicU64,
    estimate: Estimate,
    metrics: Arc<Metrics>,
}

/// The right to do some units of work. It travels with the work and gives them back when it is dropped.
#[must_use = "dropping a permit gives its units back"]
#[derive(Debug)]
pub struct Permit {
    limiter: Arc<Limiter>,
    units: u64,
}

impl Limiter {
    pub(crate) fn new(mut options: LimiterOptions, metrics: Arc<Metrics>) -> Arc<Self> {
        // Two shares below this cannot reach the bit together.
        options.capacity = options.capacity.min(CLOSED / 2);
        let workers = AtomicU64::new(options.workers.max(1));
        Arc::new(Self { options, workers, in_use: AtomicU64::new(0), estimate: Estimate::default(), metrics })
    }

    /// A permit for `units` of work that can be done before the deadline.
    ///
    /// # Errors
    /// `payload_too_large` for more units than there can ever be, `overloaded` with the time to come back while the
    /// estimated wait does not fit the deadline or the capacity is used up, `unavailable` once the limiter is closed.
    pub(crate) fn admit(self: &Arc<Self>, units: u64, deadline: Instant) -> Result<Permit> {
        self.admit_items(units, units, deadline)
    }

    /// As [`admit`](Self::admit), for items of several units each: a refusal counts as so many items in the metrics.
    pub(crate) fn admit_items(self: &Arc<Self>, units: u64, items: u64, deadline: Instant) -> Result<Permit> {
        let LimiterOptions { noun, key, capacity, .. } = self.options;
        if self.is_closed() {
            return Err(closed());
        }
        if units > capacity {
            let text = format!("{units} {noun} are more than the queue holds: {key} is {capacity}");
            return Err(Error::new(ErrorKind::PayloadTooLarge, text));
        }
        let in_use = self.in_use();
        let wait = self.drain_time(in_use.saturating_add(units));
        let with_margin = wait.mul_f64(MARGIN);
        let left = deadline.saturating_duration_since(Instant::now());
        // An idle limiter always admits work: an estimate that was wrong once must not refuse everybody for ever.
        if with_margin > left && in_use > 0 {
            let text = format!(
                "the estimated wait of {} ms does not fit into the {} ms left to the deadline",
                wait.as_millis(),
                left.as_millis()
            );
            return Err(self.reject("deadline", items, text, with_margin.saturating_sub(left)));
        }
        let fits = |count: u64| (count & CLOSED == 0 && count + units <= capacity).then_some(count + units);
        if self.in_use.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_err() {
            if self.is_closed() {
                return Err(closed());
            }
            let text = format!("the queue is full: {key} is {capacity}");
            return Err(self.reject("queue_full", items, text, self.drain_time(units)));
        }
        self.options.depth.inc_by(signed(units));
        Ok(Permit { limiter: Arc::clone(self), units })
    }

    fn reject(&self, reason: &'static str, items: u64, text: String, retry_after: Duration) -> Error {
        let labels = RejectLabels { model: self.options.model.clone(), work: self.options.work, reason };
        self.metrics.rejected.get_or_create(&labels).inc_by(items);
        Error::overloaded(text, retry_after.max(MIN_RETRY))
    }

    /// Learns from `units` of work that took a worker `elapsed`, the wait for a core included.
    pub(crate) fn observe(&self, elapsed: Duration, units: u64) {
        self.estimate.observe(elapsed, units);
    }

    /// The estimated time until `units` more would be done if they came now.
    pub(crate) fn estimated_wait(&self, units: u64) -> Duration {
        self.drain_time(self.in_use().saturating_add(units))
    }

    /// The time that one unit takes a worker; zero while nothing is known.
    pub(crate) fn unit_time(&self) -> Duration {
        self.estimate.per_unit()
    }

    /// The units admitted and not yet finished.
    pub(crate) fn in_use(&self) -> u64 {
        self.in_use.load(Ordering::Acquire) & !CLOSED
    }

    fn is_closed(&self) -> bool {
        self.in_use.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Counts on one worker less; the last one stays.
    pub(crate) fn lose_worker(&self) {
        let less = |workers: u64| Some(workers.saturating_sub(1).max(1));
        // It cannot fail: there is always a next value.
        let _ = self.workers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Admits nothing more. Permits that are out stay valid; once [`in_use`](Self::in_use) is zero it stays zero.
    pub(crate) fn close(&self) {
        self.in_use.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// The time that all workers together take for `units`: each takes an even share, of whole units.
    fn drain_time(&self, units: u64) -> Duration {
        self.estimate.of(units.div_ceil(self.workers.load(Ordering::Relaxed)))
    }
}

impl Permit {
    /// Takes some of the units out, as a permit of their own; at most as many as this one has.
    pub(crate) fn split(&mut self, units: u64) -> Self {
        let units = units.min(self.units);
        self.units -= units;
        Self { limiter: Arc::clone(&self.limiter), units }
    }

    /// Splits the permit into one for each unit.
    pub(crate) fn into_singles(mut self) -> Vec<Self> {
        let mut singles: Vec<Self> = (1..self.units).map(|_| self.split(1)).collect();
        if self.units > 0 {
            singles.push(self);
        }
        singles
    }

    pub(crate) const fn units(&self) -> u64 {
        self.units
    }

    /// Ends the work that the permit was for, and tells the limiter how long a worker was busy with it.
    pub(crate) fn finish(self, elapsed: Duration) {
        self.limiter.observe(elapsed, self.units);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limiter.in_use.fetch_sub(self.units, Ordering::AcqRel);
        self.limiter.options.depth.dec_by(signed(self.units));
    }
}

fn closed() -> Error {
    Error::unavailable("the model is being unloaded or the server is shutting down")
}

fn signed(units: u64) -> i64 {
    i64::try_from(units).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(capacity: u64, workers: u64) -> Arc<Limiter> {
        let options = LimiterOptions {
            noun: "items",
            key: "limits.queue_items",
            capacity,
            workers,
            work: "graph",
            model: "m".to_owned(),
            depth: Gauge::default(),
        };
        Limiter::new(options, Arc::default())
    }

    fn within(ms: u64) -> Instant {
        Instant::now() + Duration::from_millis(ms)
    }

    #[test]
    fn what_does_not_fit_the_capacity_is_refused_and_more_than_there_can_ever_be_is_too_large() {
        let limiter = limiter(4, 1);
        let held = limiter.admit(3, within(1000)).unwrap();
        let refused = limiter.admit(2, within(1000)).unwrap_err();
        assert_eq!((refused.kind(), refused.retry_after()), (ErrorKind::Overloaded, Some(MIN_RETRY)));
        assert_eq!(limiter.admit(5, within(1000)).unwrap_err().kind(), ErrorKind::PayloadTooLarge);
        drop(held);
        assert_eq!(limiter.admit(4, within(1000)).unwrap().units(), 4);
        assert_eq!((limiter.in_use(), limiter.options.depth.get()), (0, 0));
    }

    #[test]
    fn an_estimated_wait_beyond_the_deadline_is_refused_with_the_time_that_is_missing() {
        let limiter = limiter(100, 2);
        limiter.observe(Duration::from_millis(100), 1);
        let _held = limiter.admit(9, within(1000)).unwrap();
        // Ten units are five rounds of two workers: 500 ms, and a fifth more for the margin.
        let refused = limiter.admit(1, within(200)).unwrap_err();
        let retry = refused.retry_after().unwrap();
        assert!((Duration::from_millis(400)..Duration::from_millis(420)).contains(&retry), "{retry:?}");
        assert!(limiter.admit(1, within(1000)).is_ok());
    }

    #[test]
    fn an_idle_limiter_admits_work_whatever_its_estimate_says() {
        let limiter = limiter(100, 1);
        limiter.observe(Duration::from_secs(60), 1);
        let held = limiter.admit(1, within(5)).unwrap();
        assert_eq!(limiter.admit(1, within(5)).unwrap_err().kind(), ErrorKind::Overloaded);
        drop(held);
        assert!(limiter.admit(1, within(5)).is_ok());
    }

    #[test]
    fn a_permit_is_split_without_losing_a_unit_and_teaches_the_limiter_when_it_finishes() {
        let limiter = limiter(8, 1);
        let mut singles = limiter.admit(4, within(1000)).unwrap().into_singles();
        assert_eq!((singles.len(), limiter.in_use()), (4, 4));
        singles.pop().unwrap().finish(Duration::from_millis(7));
        assert_eq!((limiter.unit_time(), limiter.in_use()), (Duration::from_millis(7), 3));
    }

    #[test]
    fn a_closed_limiter_admits_nothing_and_the_last_worker_stays() {
        let limiter = limiter(8, 2);
        limiter.observe(Duration::from_millis(10), 1);
        assert_eq!(limiter.estimated_wait(2), Duration::from_millis(10));
        limiter.lose_worker();
        limiter.lose_worker();
        assert_eq!(limiter.estimated_wait(2), Duration::from_millis(20));
        let held = limiter.admit(3, within(1000)).unwrap();
        limiter.close();
        assert_eq!(limiter.admit(1, within(1000)).unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(limiter.in_use(), 3);
        drop(held);
        assert_eq!(limiter.in_use(), 0);
    }
}
