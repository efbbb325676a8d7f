//! What takes longer than a request may wait: computed once for all who ask, beside the requests, and kept.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{Semaphore, watch},
    task::{AbortHandle, JoinHandle},
};

use super::Context;
use crate::{
    admission::{Limiter, LimiterOptions, Permit},
    error::{Error, Result},
    telemetry::Metrics,
};

/// Results kept at a time; the one that nobody has asked for the longest goes first.
const KEPT: usize = 32;
/// How long a request waits for a result, if its own deadline is not earlier.
const PATIENCE: Duration = Duration::from_secs(5);
/// When to ask again for a result that is not there yet.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// When to ask again, at the latest, for a result whose job found no place.
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// How long a job goes on that nobody waits for. Who was told to ask again has to come back within this time, or the
/// job is cancelled and its work is lost.
const GRACE: Duration = Duration::from_secs(30);
/// What is left of a request's time to write an answer.
const SPARE: Duration = Duration::from_millis(50);

/// A result and the version of the collection that it was computed from.
#[derive(Debug)]
pub struct Computed<T> {
    pub value: Arc<T>,
    pub version: u64,
    /// Whether the collection is still the same.
    pub current: bool,
}

impl<T> Clone for Computed<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), version: self.version, current: self.current }
    }
}

/// Until when a request waits for a result.
pub(super) fn patience(ctx: &Context) -> Instant {
    ctx.deadline.checked_sub(SPARE).unwrap_or(ctx.deadline).min(Instant::now() + PATIENCE)
}

/// Results of one kind, by what they are about. One is computed at a time, and a bounded number of others wait.
pub(super) struct Background<K, T> {
    slots: Mutex<HashMap<K, Arc<Slot<T>>>>,
    turn: Arc<Semaphore>,
    limiter: Arc<Limiter>,
    grace: Duration,
    /// Results kept at a time.
    kept: usize,
}

struct Slot<T> {
    state: watch::Sender<State<T>>,
    waiters: watch::Sender<usize>,
    asked: Mutex<Instant>,
    job: Mutex<Option<AbortHandle>>,
}

struct State<T> {
    latest: Option<Computed<T>>,
    running: bool,
    failed: Option<Error>,
}

/// What a job needs before it begins.
struct Place {
    /// Its place among the jobs that run or wait.
    permit: Permit,
    /// Whose turn it is to run.
    turn: Arc<Semaphore>,
    grace: Duration,
}

impl<K: Eq + Hash + Clone, T: Send + Sync + 'static> Background<K, T> {
    /// At most so many jobs that run or wait.
    pub(super) fn new(jobs: usize, metrics: &Arc<Metrics>) -> Self {
        let options = LimiterOptions {
            noun: "background jobs",
            key: "limits.background_jobs",
            capacity: jobs as u64,
            workers: 1,
            work: "background",
            model: String::new(),
            depth: metrics.background_jobs.clone(),
        };
        let limiter = Limiter::new(options, Arc::clone(metrics));
        Self { slots: Mutex::default(), turn: Arc::new(Semaphore::new(1)), limiter, grace: GRACE, kept: KEPT }
    }

    /// The same for results so large that fewer of them are kept.
    pub(super) fn keeping(self, kept: usize) -> Self {
        Self { kept, ..self }
    }

    /// The result as of this version of the collection. If there is none it is begun, or the job under way waited for,
    /// until then; a result of an earlier version is better than none.
    ///
    /// # Errors
    /// What the work came to, `unavailable` with a time to ask again while it goes on, and `overloaded` where there are
    /// too many jobs before it.
    pub(super) async fn get(
        &self,
        key: K,
        version: u64,
        until: Instant,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<Computed<T>> {
        let slot = match self.find_or_begin(key, version, work)? {
            Found::Result(result) => return Ok(result),
            Found::Job(slot) => slot,
        };
        let _waiter = Waiter::new(&slot.waiters);
        let mut state = slot.state.subscribe();
        let ended = tokio::time::timeout_at(until.into(), state.wait_for(|state| !state.running)).await;
        if let Ok(Ok(state)) = ended
            && let Some(error) = &state.failed
        {
            return Err(error.duplicate());
        }
        slot.latest(version).ok_or_else(|| {
            Error::unavailable("it is being computed in the background; ask again").with_retry_after(ASK_AGAIN)
        })
    }

    /// Drops every result of this kind, and ends the work on those under way.
    pub(super) fn forget(&self, about: impl Fn(&K) -> bool) {
        self.slots().retain(|key, slot| {
            let goes = about(key);
            if goes {
                slot.abort();
            }
            !goes
        });
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<K, Arc<Slot<T>>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The result if there is one of this version, else the job that computes it, which begins if there is a place for
    /// it. A refused job leaves no slot behind, so that keys without results do not push out those with one.
    fn find_or_begin(
        &self,
        key: K,
        version: u64,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<Found<T>> {
        let mut slots = self.slots();
        let there = slots.get(&key).cloned();
        if let Some(slot) = &there {
            slot.touch();
            if let Some(latest) = slot.latest(version).filter(|latest| latest.current) {
                return Ok(Found::Result(latest));
            }
            if slot.is_running() {
                return Ok(Found::Job(Arc::clone(slot)));
            }
        }
        let far = Instant::now() + LONGEST_RETRY;
        let permit = match self.limiter.admit(1, far) {
            Ok(permit) => permit,
            Err(refused) => {
                let stale = there.and_then(|slot| slot.latest(version));
                let retry = refused.retry_after().unwrap_or_default().clamp(ASK_AGAIN, LONGEST_RETRY);
                return stale.map(Found::Result).ok_or_else(|| refused.with_retry_after(retry));
            }
        };
        let slot = there.unwrap_or_else(|| {
            drop_oldest(&mut slots, self.kept);
            let slot = Arc::new(Slot::new());
            slots.insert(key, Arc::clone(&slot));
            slot
        });
        slot.begin(version, Place { permit, turn: Arc::clone(&self.turn), grace: self.grace }, work);
        Ok(Found::Job(slot))
    }
}

/// Makes room for one more result than so many.
fn drop_oldest<K: Eq + Hash + Clone, T: Send + Sync + 'static>(slots: &mut HashMap<K, Arc<Slot<T>>>, kept: usize) {
    if slots.len() >= kept {
        let idle = slots.iter().filter(|(_, slot)| !slot.is_running());
        let oldest = idle.min_by_key(|(_, slot)| slot.last_asked()).map(|(key, _)| key.clone());
        oldest.map(|oldest| slots.remove(&oldest));
    }
}

/// What there is for whoever asks.
enum Found<T> {
    Result(Computed<T>),
    Job(Arc<Slot<T>>),
}

/// Counts somebody who waits for a job, for as long as it lives.
struct Waiter<'a>(&'a watch::Sender<usize>);

impl<'a> Waiter<'a> {
    fn new(waiters: &'a watch::Sender<usize>) -> Self {
        waiters.send_modify(|count| *count += 1);
        Self(waiters)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl<T: Send + Sync + 'static> Slot<T> {
    fn new() -> Self {
        Self {
            state: watch::Sender::new(State { latest: None, running: false, failed: None }),
            waiters: watch::Sender::new(0),
            asked: Mutex::new(Instant::now()),
            job: Mutex::default(),
        }
    }

    fn touch(&self) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last_asked(&self) -> Instant {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_running(&self) -> bool {
        self.state.borrow().running
    }

    fn latest(&self, version: u64) -> Option<Computed<T>> {
        let latest = self.state.borrow().latest.clone()?;
        Some(Computed { current: latest.version == version, ..latest })
    }

    fn begin(self: &Arc<Self>, version: u64, place: Place, work: impl Future<Output = Result<T>> + Send + 'static) {
        let Place { permit, turn, grace } = place;
        self.state.send_modify(|state| state.running = true);
        let job = tokio::spawn(async move {
            // never closed
            let _turn = turn.acquire_owned().await;
            let started = Instant::now();
            let result = work.await;
            (result, started.elapsed())
        });
        *self.job.lock().unwrap_or_else(PoisonError::into_inner) = Some(job.abort_handle());
        let slot = Arc::clone(self);
        tokio::spawn(async move {
            let result = slot.outcome(job, permit, grace).await;
            slot.state.send_modify(|state| {
                state.running = false;
                state.failed = None;
                match result {
                    Ok(value) => state.latest = Some(Computed { value: Arc::new(value), version, current: true }),
                    Err(error) => state.failed = Some(error),
                }
            });
        });
    }

    /// What the job comes to. It is cancelled when nobody has waited for it for the time of grace.
    async fn outcome(&self, mut job: JoinHandle<(Result<T>, Duration)>, permit: Permit, grace: Duration) -> Result<T> {
        let ended = tokio::select! {
            ended = &mut job => ended,
            () = self.abandoned(grace) => {
                job.abort();
                // Its place is given on only once it has stopped.
                job.await
            }
        };
        match ended {
            Ok((result, took)) => {
                permit.finish(took);
                result
            }
            Err(error) if error.is_cancelled() => {
                Err(Error::unavailable("the computation was cancelled; ask again").with_retry_after(ASK_AGAIN))
            }
            Err(error) => Err(Error::internal("work in the background ended early").with_source(error)),
        }
    }

    /// Comes when nobody has waited for so long.
    async fn abandoned(&self, grace: Duration) {
        let mut waiters = self.waiters.subscribe();
        loop {
            // It would end early only with the sender, which is this slot's.
            let _ = waiters.wait_for(|count| *count == 0).await;
            let again = waiters.wait_for(|count| *count > 0);
            if tokio::time::timeout(grace, again).await.is_err() {
                return;
            }
        }
    }

    fn abort(&self) {
        if let Some(job) = self.job.lock().unwrap_or_else(PoisonError::into_inner).take() {
            job.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;
    use crate::error::ErrorKind;

    fn background<K: Eq + Hash + Clone, T: Send + Sync + 'static>() -> Background<K, T> {
        Background::new(2, &Arc::default())
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test]
    async fn a_result_is_computed_once_for_each_version() {
        let background = background::<&str, usize>();
        let runs = Arc::new(AtomicUsize::new(0));
        let work = || {
            let runs = Arc::clone(&runs);
            async move { Ok(runs.fetch_add(1, Ordering::SeqCst)) }
        };
        for (version, expected) in [(1, 0), (1, 0), (2, 1), (2, 1)] {
            let found = background.get("a", version, soon(), work()).await.unwrap();
            assert_eq!((*found.value, found.version, found.current), (expected, version, true));
        }
        assert_eq!(*background.get("b", 1, soon(), work()).await.unwrap().value, 2);
        background.forget(|key| *key == "a");
        assert_eq!(*background.get("a", 2, soon(), work()).await.unwrap().value, 3);
    }

    #[tokio::test]
    async fn all_who_ask_wait_for_the_same_work() {
        let background = background::<u8, u8>();
        let (gate, opened) = tokio::sync::oneshot::channel::<()>();
        let first = background.get(1, 1, soon(), async move {
            opened.await.unwrap();
            Ok(7)
        });
        let second = background.get(1, 1, soon(), async { panic!("it is under way already") });
        let open = async { gate.send(()).unwrap() };
        let (first, second, ()) = tokio::join!(first, second, open);
        assert_eq!((*first.unwrap().value, *second.unwrap().value), (7, 7));
    }

    #[tokio::test]
    async fn what_takes_too_long_says_when_to_ask_again_or_gives_what_there_was() {
        let background = background::<u8, u8>();
        let now = Instant::now();
        let error = background.get(1, 1, now, pending()).await.unwrap_err();
        assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Unavailable, Some(ASK_AGAIN)));
        background.forget(|_| true);
        background.get(2, 1, soon(), async { Ok(5) }).await.unwrap();
        let stale = background.get(2, 2, Instant::now(), pending()).await.unwrap();
        assert_eq!((*stale.value, stale.version, stale.current), (5, 1, false));
    }

    #[tokio::test]
    async fn a_failure_is_told_and_tried_again() {
        let background = background::<u8, u8>();
        let failing = async { Err(Error::invalid_request("no")) };
        assert_eq!(background.get(1, 1, soon(), failing).await.unwrap_err().kind(), ErrorKind::InvalidRequest);
        let panicking = async { panic!("by script") };
        assert_eq!(background.get(1, 1, soon(), panicking).await.unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(*background.get(1, 1, soon(), async { Ok(1) }).await.unwrap().value, 1);
    }

    #[tokio::test]
    async fn the_results_kept_are_the_ones_asked_for_last() {
        let background = background::<usize, usize>();
        for key in 0..=KEPT {
            background.get(key, 1, soon(), async move { Ok(key) }).await.unwrap();
        }
        assert_eq!(background.slots().len(), KEPT);
        assert!(!background.slots().contains_key(&0));
    }

    /// A job that never ends, and what comes when it is dropped.
    fn endless() -> (impl Future<Output = Result<u8>> + Send + 'static, tokio::sync::oneshot::Receiver<()>) {
        let (alive, ended) = tokio::sync::oneshot::channel::<()>();
        let work = async move {
            let _alive = alive;
            pending().await
        };
        (work, ended)
    }

    #[tokio::test]
    async fn a_job_that_nobody_waits_for_any_more_is_cancelled_and_gives_its_place_on() {
        let background = Background::<u8, u8> { grace: Duration::from_millis(1), ..background() };
        for key in 0..10 {
            let (work, ended) = endless();
            let error = background.get(key, 1, Instant::now(), work).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(ended.await.is_err(), "dropped");
        }
        assert_eq!(*background.get(10, 1, soon(), async { Ok(5) }).await.unwrap().value, 5);
    }

    #[tokio::test]
    async fn a_job_goes_on_while_somebody_waits_for_it() {
        let background = Background::<u8, u8> { grace: Duration::ZERO, ..background() };
        let (open, opened) = tokio::sync::oneshot::channel::<()>();
        let waiting = background.get(1, 1, soon(), async move {
            opened.await.unwrap();
            Ok(7)
        });
        let (waiting, ()) = tokio::join!(waiting, async {
            let impatient = background.get(1, 1, Instant::now(), async { panic!("it is under way already") }).await;
            assert_eq!(impatient.unwrap_err().kind(), ErrorKind::Unavailable);
            open.send(()).unwrap();
        });
        assert_eq!(*waiting.unwrap().value, 7);
    }

    #[tokio::test]
    async fn one_job_too_many_is_refused_and_leaves_nothing_behind() {
        let background = background::<u8, u8>();
        background.get(1, 1, soon(), async { Ok(1) }).await.unwrap();
        let (first, second) = (endless(), endless());
        for (key, (work, _)) in [(2, first), (3, second)] {
            let waiting = background.get(key, 1, Instant::now(), work).await;
            assert_eq!(waiting.unwrap_err().kind(), ErrorKind::Unavailable);
        }
        let refused = background.get(4, 1, soon(), async { Ok(4) }).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Overloaded);
        assert!(refused.retry_after().unwrap() >= ASK_AGAIN && refused.message().contains("limits.background_jobs"));
        assert_eq!(background.slots().len(), 3);
        let stale = background.get(1, 2, soon(), async { Ok(2) }).await.unwrap();
        assert_eq!((*stale.value, stale.current), (1, false), "an old result is better than none");
        background.forget(|key| *key > 1);
    }
}
