//! What takes longer than a request may wait: computed once for all who ask, beside the requests, and kept.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{Semaphore, watch},
    task::AbortHandle,
};

use crate::error::{Error, Result};

/// Results kept at a time; the one that nobody has asked for the longest goes first.
const KEPT: usize = 32;
/// How long a request waits for a result, if its own deadline is not earlier.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// When to ask again for what is not there yet.
const ASK_AGAIN: Duration = Duration::from_secs(2);
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

/// Results by what they are about; one is computed at a time.
pub(super) struct Background<K, T> {
    slots: Mutex<HashMap<K, Arc<Slot<T>>>>,
    turn: Arc<Semaphore>,
}

struct Slot<T> {
    state: watch::Sender<State<T>>,
    asked: Mutex<Instant>,
    job: Mutex<Option<AbortHandle>>,
}

struct State<T> {
    latest: Option<Computed<T>>,
    running: bool,
    failed: Option<Error>,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self { latest: None, running: false, failed: None }
    }
}

impl<K, T> Default for Background<K, T> {
    fn default() -> Self {
        Self { slots: Mutex::default(), turn: Arc::new(Semaphore::new(1)) }
    }
}

impl<K: Eq + Hash + Clone, T: Send + Sync + 'static> Background<K, T> {
    /// The result as of this version of the collection. If there is none it is begun, or the one under way waited for,
    /// until the deadline; a result of an earlier version is better than none then.
    ///
    /// # Errors
    /// What the work came to, and `unavailable` with a time to ask again while it goes on.
    pub(super) async fn get(
        &self,
        key: K,
        version: u64,
        deadline: Instant,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<Computed<T>> {
        let slot = self.slot(key);
        if let Some(latest) = slot.latest(version).filter(|latest| latest.current) {
            return Ok(latest);
        }
        slot.begin(version, Arc::clone(&self.turn), work);
        let mut state = slot.state.subscribe();
        let until = deadline.checked_sub(SPARE).unwrap_or(deadline).min(Instant::now() + PATIENCE);
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

    fn slot(&self, key: K) -> Arc<Slot<T>> {
        let mut slots = self.slots();
        if !slots.contains_key(&key) && slots.len() >= KEPT {
            let idle = slots.iter().filter(|(_, slot)| !slot.state.borrow().running);
            let oldest = idle.min_by_key(|(_, slot)| slot.last_asked()).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                slots.remove(&oldest);
            }
        }
        let slot = Arc::clone(slots.entry(key).or_insert_with(|| Arc::new(Slot::new())));
        *slot.asked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        slot
    }
}

impl<T: Send + Sync + 'static> Slot<T> {
    fn new() -> Self {
        Self { state: watch::Sender::new(State::default()), asked: Mutex::new(Instant::now()), job: Mutex::default() }
    }

    fn last_asked(&self) -> Instant {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn latest(&self, version: u64) -> Option<Computed<T>> {
        let latest = self.state.borrow().latest.clone()?;
        Some(Computed { current: latest.version == version, ..latest })
    }

    /// Begins the work unless it is under way already.
    fn begin(
        self: &Arc<Self>,
        version: u64,
        turn: Arc<Semaphore>,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) {
        let begins = self.state.send_if_modified(|state| !std::mem::replace(&mut state.running, true));
        if !begins {
            return;
        }
        let job = tokio::spawn(async move {
            // never closed
            let _turn = turn.acquire_owned().await;
            work.await
        });
        *self.job.lock().unwrap_or_else(PoisonError::into_inner) = Some(job.abort_handle());
        let slot = Arc::clone(self);
        tokio::spawn(async move {
            let result = job.await.unwrap_or_else(|error| {
                Err(if error.is_cancelled() {
                    Error::unavailable("what it was about has been dropped meanwhile").with_retry_after(ASK_AGAIN)
                } else {
                    Error::internal("work in the background ended early").with_source(error)
                })
            });
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

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test]
    async fn a_result_is_computed_once_for_each_version() {
        let background = Background::<&str, usize>::default();
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
        let background = Arc::new(Background::<u8, u8>::default());
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
        let background = Background::<u8, u8>::default();
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
        let background = Background::<u8, u8>::default();
        let failing = async { Err(Error::invalid_request("no")) };
        assert_eq!(background.get(1, 1, soon(), failing).await.unwrap_err().kind(), ErrorKind::InvalidRequest);
        let panicking = async { panic!("by script") };
        assert_eq!(background.get(1, 1, soon(), panicking).await.unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(*background.get(1, 1, soon(), async { Ok(1) }).await.unwrap().value, 1);
    }

    #[tokio::test]
    async fn the_results_kept_are_the_ones_asked_for_last() {
        let background = Background::<usize, usize>::default();
        for key in 0..=KEPT {
            background.get(key, 1, soon(), async move { Ok(key) }).await.unwrap();
        }
        assert_eq!(background.slots().len(), KEPT);
        assert!(!background.slots().contains_key(&0));
    }
}
