//! The thread that lets the graphs of all collections follow: the one writer that each of them has.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::JoinHandle,
};

use super::steps::MaintenanceState;
use crate::{
    error::{Error, Result},
    index::embedded::{Collections, signal::Signal},
    threads::take_background_priority,
};

/// A handle of the thread, which ends with it.
pub(crate) struct MaintenanceWorker {
    signal: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
}

impl MaintenanceWorker {
    pub(crate) fn start(signal: Arc<Signal>, collections: Arc<Collections>) -> Result<Self> {
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

impl Drop for MaintenanceWorker {
    fn drop(&mut self) {
        self.signal.stop();
        if let Some(thread) = self.thread.take() {
            // it catches its panics, and there is nobody left to tell
            let _ = thread.join();
        }
    }
}

fn keep(signal: &Signal, collections: &Collections) {
    let mut states: HashMap<u32, MaintenanceState> = HashMap::new();
    let mut busy = true;
    while signal.next(!busy) {
        let cores = collections.all();
        states.retain(|number, _| cores.iter().any(|core| core.number() == *number));
        busy = false;
        for core in &cores {
            let state = states.entry(core.number()).or_default();
            let step = catch_unwind(AssertUnwindSafe(|| core.maintain(state)));
            busy |= step.unwrap_or_else(|_| {
                core.abandon(&Error::internal("a panic, which the log has"), state);
                false
            });
        }
    }
    for core in collections.all() {
        let state = states.entry(core.number()).or_default();
        // the panic hook has told
        let _ = catch_unwind(AssertUnwindSafe(|| core.save_last(state)));
    }
}
