//! A scripted runner, for failures and timings that a real graph cannot be made to show.

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, ThreadId},
    time::Duration,
};

use super::{OutputSink, Runner, Stop, TensorView};
use crate::error::{Error, Result};

/// What the next run does.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Doubles every number of the first input.
    Double,
    Fail(&'static str),
    Panic,
    /// Fails whenever the batch has more than one row.
    FailBatches,
    /// Runs until it is stopped.
    Hang,
}

/// Shared with the test: what the runner did, and a gate that holds runs back.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) acts: Mutex<Vec<Act>>,
    pub(crate) batches: Mutex<Vec<usize>>,
    pub(crate) runs: AtomicUsize,
    /// The thread that made the last run.
    pub(crate) ran_on: Mutex<Option<ThreadId>>,
    gate: (Mutex<bool>, Condvar),
    started: (Mutex<usize>, Condvar),
    /// Whether the last run to begin was held back.
    held: (Mutex<bool>, Condvar),
}

impl Script {
    pub(crate) fn new(acts: &[Act]) -> Arc<Self> {
        let script = Self::default();
        *script.acts.lock().unwrap() = acts.iter().rev().cloned().collect();
        Arc::new(script)
    }

    /// Makes runs wait until [`Script::open`].
    pub(crate) fn close(&self) {
        *self.gate.0.lock().unwrap() = true;
    }

    pub(crate) fn open(&self) {
        *self.gate.0.lock().unwrap() = false;
        self.gate.1.notify_all();
    }

    /// Blocks until a run is held back; false if none is for long.
    pub(crate) fn wait_until_held(&self) -> bool {
        let guard = self.held.0.lock().unwrap();
        *self.held.1.wait_timeout_while(guard, Duration::from_secs(10), |held| !*held).unwrap().0
    }

    /// Blocks until that many runs have begun.
    pub(crate) fn wait_for_runs(&self, count: usize) {
        let guard = self.started.0.lock().unwrap();
        drop(self.started.1.wait_timeout_while(guard, Duration::from_secs(10), |started| *started < count).unwrap());
    }
}

pub(crate) struct FakeRunner {
    script: Arc<Script>,
    stopped: Arc<AtomicBool>,
}

impl FakeRunner {
    #[expect(clippy::new_ret_no_self, reason = "tests only ever need the trait object")]
    pub(crate) fn new(script: &Arc<Script>) -> Box<dyn Runner> {
        Box::new(Self { script: Arc::clone(script), stopped: Arc::default() })
    }
}

struct Flag(Arc<AtomicBool>);

impl Stop for Flag {
    fn stop(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Runner for FakeRunner {
    fn prepare(&mut self) -> Result<Arc<dyn Stop>> {
        self.stopped = Arc::default();
        Ok(Arc::new(Flag(Arc::clone(&self.stopped))))
    }

    fn run_into(&mut self, inputs: &[TensorView<'_>], outputs: &mut OutputSink<'_>) -> Result<()> {
        let rows = inputs[0].shape[0];
        self.script.batches.lock().unwrap().push(rows);
        self.script.runs.fetch_add(1, Ordering::SeqCst);
        *self.script.ran_on.lock().unwrap() = Some(thread::current().id());
        *self.script.started.0.lock().unwrap() += 1;
        self.script.started.1.notify_all();
        let guard = self.script.gate.0.lock().unwrap();
        *self.script.held.0.lock().unwrap() = *guard;
        self.script.held.1.notify_all();
        drop(self.script.gate.1.wait_while(guard, |closed| *closed).unwrap());
        let act = {
            let mut acts = self.script.acts.lock().unwrap();
            if acts.len() > 1 { acts.pop() } else { acts.last().cloned() }
        };
        match act.unwrap_or(Act::Double) {
            Act::Fail(text) => Err(Error::internal(text)),
            Act::FailBatches if rows > 1 => Err(Error::internal("one row spoils the batch")),
            Act::Panic => panic!("scripted panic"),
            Act::Hang => {
                while !self.stopped.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
                Err(Error::deadline_exceeded("stopped"))
            }
            Act::Double | Act::FailBatches => {
                let mut data = Vec::new();
                inputs[0].numbers.append_to(&mut data);
                data.iter_mut().for_each(|value| *value *= 2.0);
                outputs(inputs[0].shape, &data)
            }
        }
    }
}
