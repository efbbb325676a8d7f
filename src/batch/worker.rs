//! A worker: it owns a session, takes one task of its queue after the other, and answers.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::JoinHandle,
    time::Instant,
};

use super::{
    Answer, GraphQueue, Opener,
    execution::{Batch, Outcome},
    message::Message,
    shared::{Shared, WorkerTask},
    tuning::Measuring,
};
use crate::{
    compute::panic_message,
    error::{Error, ErrorKind, Result},
    memory,
    runtime::Runner,
};

/// A worker without a thread: [`Workers::spawn`] gives it one, and tests drive it by hand.
pub struct Worker {
    shared: Arc<Shared>,
    /// None while the session is among the idle ones of the queue.
    session: Option<Session>,
}

/// The session of a worker between two tasks.
enum Session {
    Open(Box<dyn Runner>),
    /// To be opened when there is more to do than other workers can.
    Standby(Opener),
}

impl Worker {
    pub(super) fn with_session(shared: Arc<Shared>, session: Box<dyn Runner>) -> Self {
        Self { shared, session: Some(Session::Open(session)) }
    }

    pub(super) fn on_standby(shared: Arc<Shared>, opener: Opener) -> Self {
        Self { shared, session: Some(Session::Standby(opener)) }
    }

    /// Serves the queue until it is closed and empty: blocks.
    fn run(self) {
        let Self { shared, session } = self;
        let opened = match session {
            Some(Session::Open(session)) => Some(session),
            Some(Session::Standby(opener)) => shared.wait_for_standby().then(|| shared.open(opener)).flatten(),
            None => None,
        };
        let Some(mut session) = opened else { return };
        loop {
            let task = shared.wait_for_task(session);
            match shared.perform(task) {
                Some(idle) => session = idle,
                None => break,
            }
        }
    }
}

/// What a worker that is driven by hand came to.
#[cfg(test)]
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Worked,
    /// There was no task.
    Idle,
    Ended,
}

#[cfg(test)]
impl Worker {
    /// Does the task that there is at this time, without waiting for one.
    pub(super) fn turn(&mut self, now: Instant) -> Turn {
        let session = match self.session.take() {
            Some(Session::Standby(opener)) => match self.shared.try_standby(now) {
                Some(true) => self.shared.open(opener),
                Some(false) => return Turn::Ended,
                None => {
                    self.session = Some(Session::Standby(opener));
                    return Turn::Idle;
                }
            },
            Some(Session::Open(session)) => Some(session),
            None => None,
        };
        let Some(task) = self.shared.try_task(session, now) else { return Turn::Idle };
        match self.shared.perform(task) {
            Some(session) => {
                self.session = Some(Session::Open(session));
                Turn::Worked
            }
            None => Turn::Ended,
        }
    }
}

impl Shared {
    /// Opens a standby session; where that fails, the log says so and the open sessions serve on.
    fn open(&self, opener: Opener) -> Option<Box<dyn Runner>> {
        let opened = catch_unwind(AssertUnwindSafe(opener)).unwrap_or_else(|panic| {
            Err(Error::internal("opening it panicked").with_source(panic_message(panic.as_ref()).to_owned()))
        });
        opened
            .inspect_err(|error| {
                self.limiter.lose_worker();
                let (model, graph) = (&self.options.labels.model, self.options.labels.graph);
                tracing::warn!(model, graph, reason = %error.chain(), "a further session cannot be opened: those that are open serve on");
            })
            .ok()
    }

    /// Does a task and gives its session back, with whatever session of the graph was there; none at the end.
    fn perform(&self, task: WorkerTask) -> Option<Box<dyn Runner>> {
        match task {
            WorkerTask::Run(mut session) => {
                self.run_next_batch(session.as_mut());
                Some(session)
            }
            WorkerTask::Measure(mut session, measuring) => {
                self.measure(session.as_mut(), measuring);
                Some(session)
            }
            WorkerTask::End(session) => {
                drop(session);
                None
            }
        }
    }

    fn run_next_batch(&self, session: &mut dyn Runner) {
        let since = Instant::now();
        // Cores before messages: while this waits for its turn the batch grows, and no message that could be run by
        // another worker waits here.
        let _cores = self.permits.acquire(self.options.threads);
        let batch = self.take_batch(Instant::now());
        if batch.is_empty() {
            return;
        }
        // A panic costs the batch, whose callers learn of it from their closed channels, and not the thread.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.serve(session, batch, since))) {
            tracing::error!(reason = panic_message(panic.as_ref()), "a worker panicked beside its run");
        }
    }

    /// Runs a batch and answers it; the worker has been busy with it since `since`.
    fn serve(&self, session: &mut dyn Runner, batch: Vec<Message>, since: Instant) {
        let Some(first) = batch.first() else { return };
        let span = first.span.clone();
        let _entered = span.enter();
        let items: Vec<_> = batch.iter().map(|message| &message.inputs[..]).collect();
        let cancellations = batch.iter().map(|message| message.cancellation.clone()).collect();
        let outcome = self.execute(session, Batch { items: &items, cancellations, since, short: false });
        for message in &batch {
            let queued = outcome.started.saturating_duration_since(message.queued_at);
            self.metrics.queue_seconds.observe(queued.as_secs_f64());
        }
        let Outcome { result, started, took } = outcome;
        let size = batch.len();
        match result {
            Ok(outputs) => {
                for (message, outputs) in batch.into_iter().zip(outputs) {
                    let queued = started.saturating_duration_since(message.queued_at);
                    message.finish(Ok(Answer { outputs, queued, run: took, batch: size }));
                }
            }
            // One bad item must not fail its batch: each is tried alone.
            Err(error) if size > 1 && error.kind() == ErrorKind::Internal => {
                tracing::warn!(reason = %error.chain(), batch = size, "a batch failed, its items run alone");
                for message in batch {
                    match message.cancellation.reason(Instant::now()) {
                        None => self.serve(session, vec![message], Instant::now()),
                        Some(reason) => self.drop_message(message, reason),
                    }
                }
            }
            Err(error) => {
                for message in batch {
                    message.finish(Err(error.duplicate()));
                }
            }
        }
    }

    /// Makes the runs of a search for the best batch until it is known, or something is asked of the graph. If a run
    /// fails, the batch stays what it is.
    fn measure(&self, session: &mut dyn Runner, mut measuring: Measuring) {
        let begun = Instant::now();
        let labels = &self.options.labels;
        let (model, graph) = (&labels.model, labels.graph);
        let measured = loop {
            if self.asked_since(begun) {
                return measuring.interrupt();
            }
            let _cores = self.permits.acquire(self.options.threads);
            let step = catch_unwind(AssertUnwindSafe(|| measuring.step(session))).unwrap_or_else(|panic| {
                Err(Error::internal("a run panicked").with_source(panic_message(panic.as_ref()).to_owned()))
            });
            match step {
                Ok(None) => {}
                Ok(Some(batch)) => break Ok(batch),
                Err(error) => break Err(error),
            }
        };
        match measured {
            Ok(batch) => {
                memory::give_back();
                let measured = measuring.summary();
                tracing::info!(model, graph, batch, measured, "the batch is measured");
                self.set_max_batch(batch);
            }
            Err(error) => {
                tracing::warn!(model, graph, reason = %error.chain(), "the batch could not be measured");
            }
        }
        measuring.finish();
    }
}

/// The threads of one graph's workers; dropping it closes the queue and waits until what was admitted is done.
pub struct Workers {
    queue: GraphQueue,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Gives each worker of a queue a thread, named after the model and the graph.
    ///
    /// # Errors
    /// `internal` when the system refuses a thread; those that run are ended.
    pub fn spawn(queue: &GraphQueue, workers: Vec<Worker>) -> Result<Self> {
        let labels = &queue.0.options.labels;
        let name = format!("{}/{}", labels.model, labels.graph);
        let mut spawned = Self { queue: queue.clone(), threads: Vec::new() };
        for worker in workers {
            let thread = std::thread::Builder::new()
                .name(name.clone())
                .spawn(move || worker.run())
                .map_err(|error| Error::internal("cannot start a worker thread").with_source(error))?;
            spawned.threads.push(thread);
        }
        Ok(spawned)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.queue.close();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker thread ended by a panic");
            }
        }
    }
}
