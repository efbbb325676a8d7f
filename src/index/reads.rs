//! Which reads and writes an index takes on: how long a read of each kind takes, learned from those before it, and
//! whether it can be done before its deadline.

use std::{
    array,
    sync::Arc,
    time::{Duration, Instant},
};

use prometheus_client::metrics::gauge::Gauge;

use crate::{
    admission::{Estimate, Limiter, LimiterOptions, Permit},
    error::{Error, ErrorKind, Result},
    telemetry::{Metrics, metrics::RejectLabels},
};

/// What a read does, as far as its time depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadKind {
    /// A search that compares every vector.
    Exact,
    /// A search that compares every code.
    Scan,
    /// A search among the items that pass a filter.
    FilteredSearch,
    /// A search of a graph.
    Graph,
    Get,
    Page,
    FilteredPage,
    Count,
    FilteredCount,
    Facets,
    Sample,
}

impl ReadKind {
    /// How many kinds there are.
    pub(super) const COUNT: usize = Self::Sample as usize + 1;

    /// The time of one step on one core, until a read of the kind has told: a guess on the low side, since a first read
    /// that is refused in error would tell nothing.
    const fn guess(self) -> Duration {
        Duration::from_nanos(match self {
            Self::Exact => 5_000,
            Self::Scan | Self::FilteredSearch => 1_000,
            Self::Graph => 200_000,
            Self::Get | Self::Count => 10_000,
            Self::Page | Self::Sample => 4_000,
            Self::FilteredPage | Self::FilteredCount | Self::Facets => 500,
        })
    }
}

/// Items of one step of a read whose time grows with the collection.
const STEP: u64 = 64;

/// The work of one read.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadCost {
    kind: ReadKind,
    /// Steps of equal time, so that what was learned holds while a collection grows.
    steps: u64,
}

impl ReadCost {
    /// A read whose time does not depend on the collection's size.
    pub(super) const fn of(kind: ReadKind) -> Self {
        Self { kind, steps: 1 }
    }

    /// A read that returns so many items.
    pub(super) const fn returning(kind: ReadKind, items: usize) -> Self {
        Self { kind, steps: if items == 0 { 1 } else { items as u64 } }
    }

    /// A read that goes through all of so many items.
    pub(super) const fn through(kind: ReadKind, items: u64) -> Self {
        Self { kind, steps: items / STEP + 1 }
    }
}

/// How long reads of each kind take in one collection.
#[derive(Debug, Default)]
pub(super) struct ReadTimes([Estimate; ReadKind::COUNT]);

impl ReadTimes {
    /// The time that a read will take a thread.
    pub(super) fn predict(&self, cost: ReadCost) -> Duration {
        let learned = self.0[cost.kind as usize].of(cost.steps);
        if learned.is_zero() {
            cost.kind.guess().saturating_mul(u32::try_from(cost.steps).unwrap_or(u32::MAX))
        } else {
            learned
        }
    }

    /// Learns from a read that took a thread `elapsed`, the wait for a core included.
    pub(super) fn observe(&self, cost: ReadCost, elapsed: Duration) {
        self.0[cost.kind as usize].observe(elapsed, cost.steps);
    }
}

/// The settings of the admission of reads.
#[derive(Debug)]
pub(super) struct ReadLimits {
    /// Reads admitted and not yet finished, at most.
    pub(super) capacity: u64,
    /// Reads that run at the same time.
    pub(super) workers: u64,
    pub(super) metrics: Arc<Metrics>,
}

/// Admits reads to the threads of an index in this process. Reads differ in their time by a factor of thousands, so
/// what fills the queue is the predicted time of what is in it; a second limiter bounds how many there are.
#[derive(Debug)]
pub(super) struct ReadAdmission {
    reads: Arc<Limiter>,
    /// Counts microseconds of a thread, but not in the metrics, which count reads.
    time: Arc<Limiter>,
    metrics: Arc<Metrics>,
}

/// The right to do one read. It gives its place back when it is dropped.
#[must_use = "dropping a permit gives its place back"]
#[derive(Debug)]
pub(super) struct ReadPermit {
    _read: Permit,
    _time: Permit,
}

/// The longest time of one read that is counted, a day in microseconds.
const LONGEST: u64 = 86_400_000_000;

const MICROSECOND: Duration = Duration::from_micros(1);

impl ReadAdmission {
    pub(super) fn new(limits: ReadLimits) -> Self {
        let ReadLimits { capacity, workers, metrics } = limits;
        let reads = Limiter::new(options(capacity, workers, metrics.index_reads.clone()), Arc::clone(&metrics));
        let time = Limiter::new(options(u64::MAX, workers, Gauge::default()), Arc::default());
        // a unit is a microsecond by definition; what a read takes is learned by kind, before it is turned into units
        time.observe(MICROSECOND, 1);
        Self { reads, time, metrics }
    }

    /// A permit for each of the reads, whose times are predicted, or none for any of them.
    ///
    /// # Errors
    /// `overloaded` with the time to come back while there are too many reads, or while those admitted and these
    /// cannot be done before the deadline.
    pub(super) fn admit(&self, predicted: &[Duration], deadline: Instant) -> Result<Vec<ReadPermit>> {
        let units = |time: &Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX).clamp(1, LONGEST);
        let total = predicted.iter().map(units).sum();
        let count = predicted.len() as u64;
        let mut reads = self.reads.admit(count, deadline).map_err(|error| self.come_back(error))?;
        let mut time = self.time.admit(total, deadline).inspect_err(|_| self.count_late(count))?;
        let permit = |predicted| ReadPermit { _read: reads.split(1), _time: time.split(units(predicted)) };
        Ok(predicted.iter().map(permit).collect())
    }

    fn count_late(&self, reads: u64) {
        let labels = RejectLabels { model: String::new(), work: WORK, reason: "deadline" };
        self.metrics.rejected.get_or_create(&labels).inc_by(reads);
    }

    /// The refusal of one read too many, with the time in which a place can be expected.
    fn come_back(&self, refused: Error) -> Error {
        let wait = self.time.estimated_wait(0).max(refused.retry_after().unwrap_or_default());
        if refused.kind() == ErrorKind::Overloaded { refused.with_retry_after(wait) } else { refused }
    }
}

/// Admits reads to an index that is elsewhere: by their number, and by how long its answers to each kind of read take.
/// What runs there at the same time is not known here, so an answer's time already is that of its queue.
#[derive(Debug)]
pub(super) struct RemoteReadAdmission([Arc<Limiter>; ReadKind::COUNT]);

impl RemoteReadAdmission {
    /// At most `capacity` reads of each kind.
    pub(super) fn new(capacity: u64, metrics: &Arc<Metrics>) -> Self {
        let gauge = || metrics.index_reads.clone();
        Self(array::from_fn(|_| Limiter::new(options(capacity, capacity, gauge()), Arc::clone(metrics))))
    }

    /// A permit for so many reads of the kind, which learns from its [`finish`](Permit::finish).
    ///
    /// # Errors
    /// `overloaded` with the time to come back.
    pub(super) fn admit(&self, kind: ReadKind, reads: u64, deadline: Instant) -> Result<Permit> {
        self.0[kind as usize].admit(reads, deadline)
    }
}

/// What reads are in the metrics.
const WORK: &str = "index_read";

fn options(capacity: u64, workers: u64, depth: Gauge<i64, std::sync::atomic::AtomicI64>) -> LimiterOptions {
    LimiterOptions {
        noun: "reads of the index",
        key: "limits.index_reads",
        capacity,
        workers,
        work: WORK,
        model: String::new(),
        depth,
    }
}

/// Admits writes, at most `capacity` that are not finished, of which `workers` go on at the same time.
pub(super) fn write_limiter(capacity: u64, workers: u64, metrics: &Arc<Metrics>) -> Arc<Limiter> {
    let options = LimiterOptions {
        noun: "writes to the index",
        key: "limits.index_writes",
        capacity,
        workers,
        work: "index_write",
        model: String::new(),
        depth: metrics.index_writes.clone(),
    };
    Limiter::new(options, Arc::clone(metrics))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn admission(capacity: u64, workers: u64) -> ReadAdmission {
        ReadAdmission::new(ReadLimits { capacity, workers, metrics: Arc::default() })
    }

    #[test]
    fn what_was_learned_of_a_kind_holds_while_the_collection_grows() {
        let times = ReadTimes::default();
        let exact = |items| ReadCost::through(ReadKind::Exact, items);
        assert!(times.predict(exact(640)) > Duration::ZERO, "a guess before anything is known");
        times.observe(exact(640), MS * 11);
        assert_eq!(times.predict(exact(6400)), MS * 101);
        assert_eq!(times.predict(ReadCost::of(ReadKind::Get)), ReadKind::Get.guess());
    }

    #[test]
    fn the_queue_is_as_long_as_the_predicted_time_of_what_is_in_it() {
        let admission = admission(100, 2);
        let within = |ms| Instant::now() + MS * ms;
        let slow = admission.admit(&[MS * 400, MS * 400], within(1000)).unwrap();
        // 801 ms of work for two threads, and a fifth more for the margin
        assert!(admission.admit(&[MS], within(600)).is_ok());
        let refused = admission.admit(&[MS], within(300)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Overloaded);
        assert!(refused.retry_after().unwrap() > MS * 150, "{refused}");
        let counted = admission.metrics.render();
        assert!(counted.contains(r#"rejected_total{model="",work="index_read",reason="deadline"} 1"#), "{counted}");
        drop(slow);
        assert!(admission.admit(&[MS * 9000], within(300)).is_ok(), "an idle index takes whatever comes");
    }

    #[test]
    fn one_read_too_many_is_told_when_a_place_can_be_expected_and_a_batch_is_admitted_whole_or_not() {
        let admission = admission(3, 1);
        let far = Instant::now() + MS * 60_000;
        let held = admission.admit(&[MS * 50, MS * 50], far).unwrap();
        let refused = admission.admit(&[MS, MS], far).unwrap_err();
        assert_eq!((refused.kind(), refused.retry_after()), (ErrorKind::Overloaded, Some(MS * 100)));
        drop(admission.admit(&[MS], far).unwrap());
        drop(held);
        assert_eq!(admission.admit(&[MS, MS, MS], far).unwrap().len(), 3);
        assert_eq!((admission.reads.in_use(), admission.time.in_use()), (0, 0));
    }

    #[test]
    fn an_index_elsewhere_is_asked_as_long_as_its_answers_come_in_time() {
        let admission = RemoteReadAdmission::new(4, &Arc::default());
        let admit = |kind, ms| admission.admit(kind, 1, Instant::now() + MS * ms);
        let held = admit(ReadKind::Exact, 50).unwrap();
        admit(ReadKind::Exact, 50).unwrap().finish(MS * 200);
        assert_eq!(admit(ReadKind::Exact, 100).unwrap_err().kind(), ErrorKind::Overloaded);
        assert!(admit(ReadKind::Exact, 1000).is_ok());
        assert!(admit(ReadKind::Get, 100).is_ok(), "reads of other kinds are quicker");
        drop(held);
        assert!(admit(ReadKind::Exact, 100).is_ok(), "nobody else waits");
    }
}
