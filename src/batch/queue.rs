//! The queue of one graph and the threads that empty it.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    RunPermits, Watchdog,
    admission::{Gate, Ticket},
    job::{Job, Pending, Row},
    worker,
};
use crate::{
    error::{Error, Result},
    runtime::Runner,
    telemetry::metrics::{GraphLabels, Metrics, RejectLabels},
};

/// How often a closing queue looks whether the last admitted item is done.
const CLOSING_TICK: Duration = Duration::from_millis(20);

/// Settings of one graph's queue.
#[derive(Debug, Clone)]
pub struct QueueOptions {
    pub labels: GraphLabels,
    /// Items admitted and not yet finished, at most.
    pub capacity: usize,
    /// Items in one run, at most.
    pub max_batch: usize,
    /// Threads inside one run: the cores it takes.
    pub threads: usize,
    /// A run that takes longer is ended.
    pub run_limit: Duration,
}

/// A handle to the queue of one graph.
#[derive(Clone)]
pub struct GraphQueue(Arc<Shared>);

/// What the workers of one graph share.
pub(super) struct Shared {
    pub(super) options: QueueOptions,
    pub(super) gate: Arc<Gate>,
    pub(super) permits: RunPermits,
    pub(super) watchdog: Watchdog,
    pub(super) metrics: Arc<Metrics>,
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

/// The threads of one graph; dropping it closes the queue and waits until what was admitted is done.
pub struct Workers {
    queue: GraphQueue,
    threads: Vec<JoinHandle<()>>,
}

impl GraphQueue {
    /// A queue and one thread for each runner, named after the model.
    pub fn start(
        options: QueueOptions,
        runners: Vec<Box<dyn Runner>>,
        permits: &RunPermits,
        watchdog: &Watchdog,
        metrics: &Arc<Metrics>,
    ) -> Result<(Self, Workers)> {
        let gate = Gate::new(options.labels.clone(), options.capacity, runners.len(), Arc::clone(metrics));
        let name: String = format!("{}/{}", options.labels.model, options.labels.graph);
        let queue = Self(Arc::new(Shared {
            options,
            gate: Arc::new(gate),
            permits: permits.clone(),
            watchdog: watchdog.clone(),
            metrics: Arc::clone(metrics),
            state: Mutex::default(),
            filled: Condvar::new(),
        }));
        let mut workers = Workers { queue: queue.clone(), threads: Vec::new() };
        for runner in runners {
            let shared = Arc::clone(&queue.0);
            let thread = std::thread::Builder::new()
                .name(name.clone())
                .spawn(move || worker::work(&shared, runner))
                .map_err(|error| Error::internal("cannot start a worker thread").with_source(error))?;
            workers.threads.push(thread);
        }
        Ok((queue, workers))
    }

    /// A ticket for each of `count` items, or none for any: refused while their estimated wait is beyond the deadline
    /// or the queue has no room (`overloaded`), and while it closes (`unavailable`).
    pub fn admit(&self, count: usize, deadline: Instant) -> Result<Vec<Ticket>> {
        self.0.gate.admit(count, deadline)
    }

    /// How long one more item would wait for its answer.
    #[must_use]
    pub fn estimated_wait(&self) -> Duration {
        self.0.gate.estimated_wait(1)
    }

    /// Queues an admitted item: one row for each input of the graph.
    #[must_use = "dropping the pending answer cancels the item"]
    pub fn submit(&self, inputs: Vec<Row>, deadline: Instant, ticket: Ticket) -> Pending {
        let (job, pending) = Job::new(inputs, deadline, ticket);
        let mut state = self.0.lock();
        state.jobs.push_back(job);
        drop(state);
        self.0.filled.notify_one();
        pending
    }

    /// Admits nothing more; what was admitted is still computed.
    pub fn close(&self) {
        self.0.gate.close();
        self.0.lock().closed = true;
        self.0.filled.notify_all();
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

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks until there is a job; `false` once the queue is closed and every admitted item is done: one that is
    /// still being decoded will come.
    pub(super) fn wait(&self) -> bool {
        let mut state = self.lock();
        while state.jobs.is_empty() {
            if !state.closed {
                state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
            } else if self.gate.inside() == 0 {
                return false;
            } else {
                let waited = self.filled.wait_timeout(state, CLOSING_TICK);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        true
    }

    /// Answers a job that nobody waits for any more, without its run.
    pub(super) fn drop_job(&self, job: Job, reason: &'static str) {
        let labels = RejectLabels { model: self.options.labels.model.clone(), reason };
        self.metrics.dropped.get_or_create(&labels).inc();
        job.finish(Err(Error::deadline_exceeded("the deadline passed in the queue")));
    }

    /// Takes the next batch: what is there, at most `max_batch`, without what nobody waits for any more.
    pub(super) fn take(&self) -> Vec<Job> {
        let now = Instant::now();
        let mut batch: Vec<Job> = Vec::new();
        let mut state = self.lock();
        while batch.len() < self.options.max_batch {
            let Some(job) = state.jobs.pop_front() else { break };
            match job.fate.lost(now) {
                None => {
                    // rows of other shapes (a graph with free axes) wait for a run of their own
                    if batch.first().is_some_and(|first| !same_shapes(&first.inputs, &job.inputs)) {
                        state.jobs.push_front(job);
                        break;
                    }
                    batch.push(job);
                }
                Some(reason) => self.drop_job(job, reason),
            }
        }
        let more = !state.jobs.is_empty();
        drop(state);
        if more {
            self.filled.notify_one();
        }
        batch
    }
}

fn same_shapes(a: &[Row], b: &[Row]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.shape == b.shape)
}
