//! What wakes the thread that maintains the graphs, and what ends it.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How long maintenance sleeps when nothing is to be done and nobody wakes it: what is due by the clock waits at most
/// as long.
const NAP: Duration = Duration::from_secs(1);

/// Wakes maintenance, and stops it.
#[derive(Debug, Default)]
pub(super) struct Signal {
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
    pub(super) fn wake(&self) {
        self.lock().woken = true;
        self.changed.notify_one();
    }

    /// Whether the index is closing, so that what takes long and can be left had better be left.
    pub(super) fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_one();
    }

    /// Waits until woken, or for a nap; at once if it is not to rest. False: maintenance has to end.
    pub(super) fn next(&self, rest: bool) -> bool {
        let mut state = self.lock();
        if rest && !state.woken && !state.stopped {
            let waited = self.changed.wait_timeout(state, NAP);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.woken = false;
        !state.stopped
    }
}
