//! Ends runs that nobody waits for any more, and runs that hang.

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use super::message::Cancellation;
use crate::{error::Result, runtime::Stop};

/// How often runs in flight are looked at.
const TICK: Duration = Duration::from_millis(20);

/// How often the thread looks for runs while it knows of none: a short run does not wake it.
const IDLE_TICK: Duration = Duration::from_millis(200);

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

/// A run to be watched.
pub(super) struct Watch {
    /// Those of all items: the run is ended once none of them is worth computing any more.
    pub(super) cancellations: Vec<Cancellation>,
    /// A run that takes longer is ended.
    pub(super) limit: Duration,
    pub(super) stop: Arc<dyn Stop>,
}

struct Watched {
    since: Instant,
    watch: Watch,
    stopped: bool,
}

impl Watchdog {
    /// Starts the thread; it ends some time after the last handle is dropped.
    pub fn start() -> Result<Self> {
        let shared = Arc::new(Shared { runs: Mutex::default(), woken: Condvar::new() });
        let watched = Arc::downgrade(&shared);
        std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || watch(&watched))
            .map_err(|error| crate::error::Error::internal("cannot start the watchdog").with_source(error))?;
        Ok(Self(shared))
    }

    /// Watches a run until the guard is dropped. The thread is not woken for a run that is known to be short, which
    /// would take longer than the run may: if it hangs all the same, the thread finds it a little later.
    pub(super) fn guard(&self, watch: Watch, short: bool) -> RunGuard {
        let mut runs = self.0.lock();
        let id = runs.next;
        runs.next += 1;
        runs.in_flight.insert(id, Watched { since: Instant::now(), watch, stopped: false });
        let wake = runs.idle && !short;
        drop(runs);
        if wake {
            self.0.woken.notify_one();
        }
        RunGuard { shared: Arc::clone(&self.0), id }
    }
}

/// The watching of one run, which ends when this is dropped.
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
    // A strong handle is held only for the length of a tick, so that the thread ends with the last user.
    while let Some(shared) = shared.upgrade() {
        let mut runs = shared.lock();
        runs.idle = runs.in_flight.is_empty();
        let wait = if runs.idle { IDLE_TICK } else { TICK };
        let (mut runs, _) = shared.woken.wait_timeout(runs, wait).unwrap_or_else(PoisonError::into_inner);
        runs.idle = false;
        let now = Instant::now();
        for run in runs.in_flight.values_mut().filter(|run| !run.stopped) {
            let Watch { cancellations, limit, stop } = &run.watch;
            let overran = now.duration_since(run.since) >= *limit;
            if overran || cancellations.iter().all(|item| item.reason(now).is_some()) {
                run.stopped = true;
                stop.stop();
            }
        }
    }
}
