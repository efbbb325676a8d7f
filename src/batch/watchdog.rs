//! Ends runs that nobody waits for any more, and runs that hang.

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use super::job::Fate;
use crate::{error::Result, runtime::Stop};

/// How often runs in flight are looked at.
const TICK: Duration = Duration::from_millis(20);

/// One thread for the process that watches every run in flight; it sleeps while there is none.
#[derive(Clone)]
pub struct Watchdog(Arc<Shared>);

struct Shared {
    runs: Mutex<Runs>,
    woken: Condvar,
}

#[derive(Default)]
struct Runs {
    next: u64,
    in_flight: HashMap<u64, Watched>,
    /// The thread waits on the condition variable instead of a tick.
    idle: bool,
}

struct Watched {
    since: Instant,
    limit: Duration,
    fates: Vec<Fate>,
    stop: Arc<dyn Stop>,
    stopped: bool,
}

impl Watchdog {
    /// Starts the thread; it ends when the last handle goes.
    pub fn start() -> Result<Self> {
        let shared = Arc::new(Shared { runs: Mutex::default(), woken: Condvar::new() });
        let watched = Arc::downgrade(&shared);
        std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || watch(&watched))
            .map_err(|error| crate::error::Error::internal("cannot start the watchdog").with_source(error))?;
        Ok(Self(shared))
    }

    /// Watches a run until the guard goes.
    pub(super) fn guard(&self, fates: Vec<Fate>, limit: Duration, stop: Arc<dyn Stop>) -> RunGuard {
        let mut runs = self.0.lock();
        let id = runs.next;
        runs.next += 1;
        runs.in_flight.insert(id, Watched { since: Instant::now(), limit, fates, stop, stopped: false });
        if runs.idle {
            self.0.woken.notify_one();
        }
        RunGuard { shared: Arc::clone(&self.0), id }
    }
}

/// Ends the watching of one run.
pub(super) struct RunGuard {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        self.shared.lock().in_flight.remove(&self.id);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn watch(shared: &Weak<Shared>) {
    // a strong handle is held only for the length of a tick, so that the thread ends with the last user
    while let Some(shared) = shared.upgrade() {
        let mut runs = shared.lock();
        runs.idle = runs.in_flight.is_empty();
        let wait = if runs.idle { Duration::from_secs(1) } else { TICK };
        let (mut runs, _) = shared.woken.wait_timeout(runs, wait).unwrap_or_else(PoisonError::into_inner);
        runs.idle = false;
        let now = Instant::now();
        for run in runs.in_flight.values_mut().filter(|run| !run.stopped) {
            let overran = now.duration_since(run.since) >= run.limit;
            if overran || run.fates.iter().all(|fate| fate.lost(now).is_some()) {
                run.stopped = true;
                run.stop.stop();
            }
        }
    }
}
