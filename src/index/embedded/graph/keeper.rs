//! The thread that lets the graphs of all collections follow: the one writer that each of them has.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use super::tending::Tending;
use crate::{
    error::{Error, Result},
    index::embedded::Collections,
    threads::take_background_priority,
};

/// How long the keeper sleeps when nothing is to be done and nobody wakes it: what is due by the clock waits at most
/// as long.
const NAP: Duration = Duration::from_secs(1);

/// Wakes the keeper, and stops it.
#[derive(Debug, Default)]
pub(in super::super) struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    woken: bool,
    stopped: bool,
}

impl Signal {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was written.
    pub(in super::super) fn wake(&self) {
        self.lock().woken = true;
        self.changed.notify_one();
    }

    /// Whether the index is closing, so that what takes long and can be left had better be left.
    pub(super) fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_one();
    }

    /// Waits until woken, or for a nap; at once if it is not to rest. False: the keeper has to end.
    fn next(&self, rest: bool) -> bool {
        let mut state = self.lock();
        if rest && !state.woken && !state.stopped {
            let waited = self.changed.wait_timeout(state, NAP);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.woken = false;
        !state.stopped
    }
}

/// A handle of the thread, which ends with it.
pub(in super::super) struct Keeper {
    signal: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(in super::super) fn start(signal: Arc<Signal>, collections: Arc<Collections>) -> Result<Self> {
        let heard = Arc::clone(&signal);
        let thread = std::thread::Builder::new()
            .name("latentd-graphs".to_owned())
            .spawn(move || {
                take_background_priority();
                keep(&heard, &collections);
            })
            .map_err(|error| Error::internal("cannot start the thread of the graphs").with_source(error))?;
        Ok(Self { signal, thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.signal.stop();
        if let Some(thread) = self.thread.take() {
            // it catches its panics, and there is nobody left to tell
            let _ = thread.join();
        }
    }
}

fn keep(signal: &Signal, collections: &Collections) {
    let mut tended: HashMap<u32, Tending> = HashMap::new();
    let mut busy = true;
    while signal.next(!busy) {
        let cores = collections.all();
        tended.retain(|number, _| cores.iter().any(|core| core.number() == *number));
        busy = false;
        for core in &cores {
            let tending = tended.entry(core.number()).or_default();
            let step = catch_unwind(AssertUnwindSafe(|| core.tend(tending)));
            busy |= step.unwrap_or_else(|_| {
                core.abandon(&Error::internal("a panic, which the log has"), tending);
                false
            });
        }
    }
    for core in collections.all() {
        let tending = tended.entry(core.number()).or_default();
        // the panic hook has told
        let _ = catch_unwind(AssertUnwindSafe(|| core.save_last(tending)));
    }
}
