//! How many bytes of one kind may be held at a time.

use std::{
    sync::{Arc, atomic::AtomicI64},
    time::{Duration, Instant},
};

use bytes::Bytes;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Estimate;
use crate::error::{Error, ErrorKind, Result};

/// The shortest `Retry-After` of a full budget.
const MIN_RETRY: Duration = Duration::from_millis(100);

/// The settings of a budget.
#[derive(Debug)]
pub(crate) struct BudgetOptions {
    /// What the bytes are, as messages name it: `"request bodies"`.
    pub(crate) noun: &'static str,
    /// The configuration key that holds the limit, for messages.
    pub(crate) key: &'static str,
    pub(crate) limit: u64,
    /// What more bytes at once than the limit are to the caller.
    pub(crate) too_large: ErrorKind,
    /// Shows the bytes that are held.
    pub(crate) held: Gauge<i64, AtomicI64>,
}

/// Counts bytes that are held, and refuses or delays those that would be too many.
#[derive(Debug)]
pub(crate) struct Budget {
    options: BudgetOptions,
    /// One permit for each unit of bytes.
    free: Arc<Semaphore>,
    /// Bytes in one permit of the semaphore, which hands out at most 2³² of them at once.
    unit: u64,
    /// The time that bytes are held, which is when room can be expected.
    held_for: Estimate,
}

/// A share of a budget. It gives its bytes back when it is dropped; [`SharedPermit::attach`] makes it live as long as
/// the bytes that it counts.
#[must_use = "dropping a permit gives its bytes back"]
#[derive(Debug)]
pub(crate) struct BytesPermit {
    budget: Arc<Budget>,
    permit: Option<OwnedSemaphorePermit>,
    /// A permit that this one adds to.
    beside: Option<SharedPermit>,
    since: Instant,
}

impl Budget {
    pub(crate) fn new(options: BudgetOptions) -> Arc<Self> {
        let unit = if options.limit <= u64::from(u32::MAX) { 1 } else { 1024 };
        let permits = usize::try_from(options.limit / unit).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Arc::new(Self { options, free: Arc::new(Semaphore::new(permits)), unit, held_for: Estimate::default() })
    }

    /// A permit of no bytes yet, which [`BytesPermit::grow_to`] fills as bytes come.
    pub(crate) fn empty(self: &Arc<Self>) -> BytesPermit {
        BytesPermit { budget: Arc::clone(self), permit: None, beside: None, since: Instant::now() }
    }

    /// A permit for so many bytes, waited for in the order of asking, but not beyond the deadline.
    ///
    /// # Errors
    /// The kind of the options for more bytes than the limit, `deadline_exceeded` where none were free in time.
    pub(crate) async fn take(self: &Arc<Self>, bytes: u64, deadline: Instant) -> Result<BytesPermit> {
        let units = self.units(bytes)?;
        let taken = tokio::time::timeout_at(deadline.into(), Arc::clone(&self.free).acquire_many_owned(units)).await;
        let late = |_| {
            let text = format!("the deadline passed while {} waited for free memory", self.options.noun);
            Error::deadline_exceeded(text)
        };
        let permit = taken.map_err(late)?.map_err(|_| Error::unavailable("the server is shutting down"))?;
        let mut share = self.empty();
        share.add(permit);
        Ok(share)
    }

    /// The most bytes that are ever held.
    pub(crate) const fn limit(&self) -> u64 {
        self.options.limit
    }

    /// Whether so many more bytes would fit now; nothing is taken.
    pub(crate) fn check(&self, bytes: u64) -> Result<()> {
        if self.units(bytes)? as usize > self.free.available_permits() { Err(self.full()) } else { Ok(()) }
    }

    fn units(&self, bytes: u64) -> Result<u32> {
        let BudgetOptions { noun, key, limit, too_large, .. } = self.options;
        if bytes > limit {
            return Err(Error::new(
                too_large,
                format!("{bytes} bytes of {noun} are more than {key}, which is {limit}"),
            ));
        }
        // At most the limit, and so at most 2³² units unless the limit is beyond 4 TiB.
        Ok(u32::try_from(bytes.div_ceil(self.unit)).unwrap_or(u32::MAX))
    }

    fn full(&self) -> Error {
        let BudgetOptions { noun, key, limit, .. } = self.options;
        let text = format!("too many bytes of {noun} in flight: {key} is {limit}");
        Error::overloaded(text, self.held_for.per_unit().max(MIN_RETRY))
    }

    fn signed(&self, units: usize) -> i64 {
        i64::try_from(units as u64 * self.unit).unwrap_or(i64::MAX)
    }
}

impl BytesPermit {
    /// Takes what is missing up to `bytes`, at once.
    ///
    /// # Errors
    /// `overloaded` with the time to come back where that is not free.
    pub(crate) fn grow_to(&mut self, bytes: u64) -> Result<()> {
        let wanted = self.budget.units(bytes)?;
        let held = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = u32::try_from((wanted as usize).saturating_sub(held)).unwrap_or(u32::MAX);
        if missing > 0 {
            let more = Arc::clone(&self.budget.free).try_acquire_many_owned(missing);
            self.add(more.map_err(|_| self.budget.full())?);
        }
        Ok(())
    }

    fn add(&mut self, more: OwnedSemaphorePermit) {
        self.budget.options.held.inc_by(self.budget.signed(more.num_permits()));
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            None => self.permit = Some(more),
        }
    }

    /// The permit in a form that several pieces of what it counts can hold.
    pub(crate) fn shared(self) -> SharedPermit {
        SharedPermit { permit: Arc::new(self) }
    }
}

/// A permit that several pieces of what it counts hold together: it ends with the last of them.
#[derive(Debug, Clone)]
pub(crate) struct SharedPermit {
    permit: Arc<BytesPermit>,
}

impl SharedPermit {
    /// The bytes that it counts.
    pub(crate) fn bytes(&self) -> u64 {
        let BytesPermit { budget, permit, beside, .. } = &*self.permit;
        let own = permit.as_ref().map_or(0, |permit| permit.num_permits() as u64 * budget.unit);
        own + beside.as_ref().map_or(0, Self::bytes)
    }

    /// A permit for at least so many bytes: this one, and one for what is missing.
    ///
    /// # Errors
    /// As [`BytesPermit::grow_to`].
    pub(crate) fn grown_to(&self, bytes: u64) -> Result<Self> {
        let missing = bytes.saturating_sub(self.bytes());
        if missing == 0 {
            return Ok(self.clone());
        }
        let budget = &self.permit.budget;
        // What is more than the limit as a whole will never be free.
        budget.units(bytes)?;
        let mut more = budget.empty();
        more.grow_to(missing)?;
        more.beside = Some(self.clone());
        Ok(more.shared())
    }

    /// The bytes, which from now on hold this permit: it lives at least as long as any handle to any part of them.
    pub(crate) fn attach(&self, bytes: Bytes) -> Bytes {
        if bytes.is_empty() {
            return bytes;
        }
        Bytes::from_owner(Counted { bytes, _permit: self.clone() })
    }
}

/// Bytes and the share of the budget that counts them.
struct Counted {
    bytes: Bytes,
    _permit: SharedPermit,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for BytesPermit {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.budget.options.held.dec_by(self.budget.signed(permit.num_permits()));
            self.budget.held_for.observe(self.since.elapsed(), 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(limit: u64) -> Arc<Budget> {
        Budget::new(BudgetOptions {
            noun: "request bodies",
            key: "limits.bodies_in_flight_bytes",
            limit,
            too_large: ErrorKind::PayloadTooLarge,
            held: Gauge::default(),
        })
    }

    #[test]
    fn a_permit_ends_with_the_last_part_of_its_bytes_and_not_before() {
        let budget = budget(10);
        let mut permit = budget.empty();
        permit.grow_to(4).unwrap();
        permit.grow_to(6).unwrap();
        let shared = permit.shared();
        let whole = shared.attach(Bytes::from_static(b"abcdef"));
        drop(shared);
        let part = whole.slice(2..4);
        drop(whole);
        assert_eq!(budget.options.held.get(), 6);
        assert_eq!(budget.check(5).unwrap_err().kind(), ErrorKind::Overloaded);
        assert_eq!(part, "cd");
        drop(part);
        assert_eq!(budget.options.held.get(), 0);
        assert!(budget.check(10).is_ok());
    }

    #[test]
    fn pieces_that_are_made_of_the_bytes_hold_the_permit_together() {
        let budget = budget(10);
        let mut permit = budget.empty();
        permit.grow_to(8).unwrap();
        let shared = permit.shared();
        let (one, other) = (shared.attach(Bytes::from_static(b"ab")), shared.attach(Bytes::from_static(b"cd")));
        drop((shared, one));
        assert_eq!(budget.options.held.get(), 8);
        drop(other);
        assert_eq!(budget.options.held.get(), 0);
    }

    #[test]
    fn what_becomes_larger_than_its_bytes_were_takes_the_difference_and_gives_all_back_at_its_end() {
        let budget = budget(10);
        let mut permit = budget.empty();
        permit.grow_to(4).unwrap();
        let shared = permit.shared();
        let larger = shared.grown_to(9).unwrap();
        assert_eq!((shared.bytes(), larger.bytes(), budget.options.held.get()), (4, 9, 9));
        assert_eq!(larger.grown_to(11).unwrap_err().kind(), ErrorKind::PayloadTooLarge);
        let mut other = budget.empty();
        other.grow_to(1).unwrap();
        assert_eq!(larger.grown_to(10).unwrap_err().kind(), ErrorKind::Overloaded);
        drop(other);
        drop(shared);
        assert_eq!(larger.grown_to(3).unwrap().bytes(), 9);
        drop(larger);
        assert_eq!(budget.options.held.get(), 0);
    }

    #[test]
    fn a_full_budget_says_when_to_come_back_and_more_than_the_limit_is_another_error() {
        let budget = budget(10);
        let mut held = budget.empty();
        held.grow_to(8).unwrap();
        let refused = budget.empty().grow_to(3).unwrap_err();
        assert_eq!((refused.kind(), refused.retry_after()), (ErrorKind::Overloaded, Some(MIN_RETRY)));
        let refused = budget.empty().grow_to(11).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::PayloadTooLarge);
        assert!(refused.message().contains("limits.bodies_in_flight_bytes"));
    }

    #[tokio::test]
    async fn who_waits_gets_the_bytes_when_they_are_free_or_learns_that_the_deadline_has_passed() {
        let budget = budget(10);
        let held = budget.take(8, Instant::now() + Duration::from_secs(5)).await.unwrap();
        let late = budget.take(3, Instant::now() + Duration::from_millis(5)).await.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::DeadlineExceeded);
        let waiting = budget.take(3, Instant::now() + Duration::from_secs(5));
        let (waited, ()) = tokio::join!(waiting, async { drop(held) });
        assert_eq!(budget.options.held.get(), 3);
        drop(waited);
        assert_eq!(budget.options.held.get(), 0);
    }

    #[test]
    fn limits_beyond_32_bits_are_counted_in_larger_units() {
        let budget = budget(1 << 40);
        let mut permit = budget.empty();
        permit.grow_to((1 << 39) + 1).unwrap();
        assert_eq!(budget.options.held.get(), (1 << 39) + 1024);
        assert!(permit.grow_to(1 << 40).is_ok());
        assert!(budget.check(1).is_err());
    }
}
