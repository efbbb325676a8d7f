//! The queue of one graph and the threads that empty it.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    RunPermits, Watchdog,
    admission::{Gate, Ticket},
    job::{Answer, Job, Pending, Row},
    permits::RunPermit,
    tuning::Tuning,
    worker,
};
use crate::{
    error::{Error, Result},
    runtime::{Runner, Tensor},
    telemetry::metrics::{GraphLabels, Metrics, RejectLabels},
};

/// How long nothing has come when a search for the best batch makes a run: what comes during one waits for it.
pub(super) const QUIET: Duration = Duration::from_millis(300);

/// How long an item has waited, all sessions being busy, when another is opened for it: a worker that has just answered
/// needs a moment until it takes the next.
const PATIENCE: Duration = Duration::from_millis(1);

/// The time of a run up to which the thread that asks may make it: other requests of that thread wait so long at most,
/// and in a longer run what the hand-over takes, some 50 µs, hardly shows.
const SHORT: Duration = Duration::from_micros(500);

/// How many items have to be alone in a row until only one of as many looks for company before it is run. To look is to
/// go to the end of the async threads' queue, and another of them wakes to see what came there: some 25 µs.
pub(super) const LONELY: u32 = 16;

/// How often a closing queue looks whether the last admitted item is done.
const CLOSING_TICK: Duration = Duration::from_millis(20);

/// Settings of one graph's queue.
#[derive(Debug, Clone)]
pub struct QueueOptions {
    pub labels: GraphLabels,
    /// Items admitted and not yet finished, at most.
    pub capacity: usize,
    /// Items in one run, at most; until it is measured, if [`GraphQueue::tune`] is called.
    pub max_batch: usize,
    /// Threads inside one run: the cores it takes.
    pub threads: usize,
    /// A run that takes longer is ended.
    pub run_limit: Duration,
    /// Whether a session may run on whatever thread asks: one on a GPU keeps something for every thread that has used
    /// it.
    pub any_thread: bool,
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
    max_batch: AtomicUsize,
    /// Items that have been alone since one last had company.
    alone: AtomicU32,
    state: Mutex<State>,
    filled: Condvar,
    /// Where those wait that have not opened their session.
    needed: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// A search for the best batch, while no worker makes one of its runs.
    tuning: Option<Tuning>,
    /// When the last job came.
    last: Option<Instant>,
    closed: bool,
    /// Workers that sleep until there is something to do: where there are none, nobody is to be woken, which would be a
    /// call of the system for every job.
    asleep: usize,
    /// Sessions of those that sleep.
    parked: Vec<Box<dyn Runner>>,
    /// Sessions that have been borrowed from there.
    lent: usize,
    /// Workers without a session, which come when all others are busy.
    standing_by: usize,
}

/// Opens a further session, once there is work for it.
pub type Opener = Box<dyn FnOnce() -> Result<Box<dyn Runner>> + Send>;

/// The sessions of one graph.
pub struct Sessions {
    pub open: Vec<Box<dyn Runner>>,
    /// Those to be opened when an item comes while all others are busy: a session holds the graph's weights, and many
    /// a model never needs two.
    pub reserve: Vec<Opener>,
}

/// What a worker does next, and with which session.
pub(super) enum Duty {
    Batch(Box<dyn Runner>),
    Tune(Tuning, Box<dyn Runner>),
    End,
}

/// The threads of one graph; dropping it closes the queue and waits until what was admitted is done.
pub struct Workers {
    queue: GraphQueue,
    threads: Vec<JoinHandle<()>>,
}

impl GraphQueue {
    /// A queue and a thread for each session, named after the model. Where one of the reserve cannot be opened, the log
    /// says so and the others serve.
    pub fn start(
        options: QueueOptions,
        sessions: Sessions,
        permits: &RunPermits,
        watchdog: &Watchdog,
        metrics: &Arc<Metrics>,
    ) -> Result<(Self, Workers)> {
        let Sessions { open, reserve } = sessions;
        let workers = open.len() + reserve.len();
        let gate = Gate::new(options.labels.clone(), options.capacity, workers, Arc::clone(metrics));
        let name: String = format!("{}/{}", options.labels.model, options.labels.graph);
        metrics.max_batch.get_or_create(&options.labels).set(i64::try_from(options.max_batch).unwrap_or(i64::MAX));
        let queue = Self(Arc::new(Shared {
            max_batch: AtomicUsize::new(options.max_batch),
            alone: AtomicU32::new(0),
            options,
            gate: Arc::new(gate),
            permits: permits.clone(),
            watchdog: watchdog.clone(),
            metrics: Arc::clone(metrics),
            state: Mutex::new(State { standing_by: reserve.len(), ..State::default() }),
            filled: Condvar::new(),
            needed: Condvar::new(),
        }));
        let mut workers = Workers { queue: queue.clone(), threads: Vec::new() };
        for runner in open {
            let shared = Arc::clone(&queue.0);
            workers.spawn(&name, move || worker::work(&shared, runner))?;
        }
        for opener in reserve {
            let shared = Arc::clone(&queue.0);
            workers.spawn(&name, move || worker::stand_by(&shared, opener))?;
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

    /// Has the batch measured with runs of this item, one for each input with a batch axis of 1, from `due` on and while
    /// nothing has come for some time.
    pub fn tune(&self, item: Vec<Tensor>, due: Instant) {
        self.0.lock().tuning = Some(Tuning::new(item, due));
        self.0.filled.notify_one();
    }

    /// Items in one run, at most.
    #[must_use]
    pub fn max_batch(&self) -> usize {
        self.0.max_batch.load(Ordering::Relaxed)
    }

    /// Queues an admitted item: one row for each input of the graph.
    #[must_use = "dropping the pending answer cancels the item"]
    pub fn submit(&self, inputs: Vec<Row>, deadline: Instant, ticket: Ticket) -> Pending {
        let (job, pending) = Job::new(inputs, deadline, ticket);
        let mut state = self.0.lock();
        state.last = Some(job.queued_at);
        state.jobs.push_back(job);
        self.0.wake(state);
        pending
    }

    /// Has an admitted item computed: by the thread that asks if nothing else is to be done here and the run is short,
    /// so that nobody has to be woken; otherwise as [`submit`](Self::submit).
    pub async fn run(&self, inputs: Vec<Row>, deadline: Instant, ticket: Ticket) -> Result<Answer> {
        if self.0.is_quick() {
            if self.0.expects_company() {
                // whoever else is ready comes in first: what comes together is to be one batch
                tokio::task::yield_now().await;
            }
            if let Some(mut loan) = self.0.borrow(deadline) {
                let (job, pending) = Job::new(inputs, deadline, ticket);
                loan.serve(job);
                drop(loan);
                return pending.answer().await;
            }
        }
        self.submit(inputs, deadline, ticket).answer().await
    }

    /// Workers that sleep, with a session and without one.
    #[cfg(test)]
    pub(super) fn idle(&self) -> (usize, usize) {
        let state = self.0.lock();
        (state.parked.len(), state.standing_by)
    }

    /// Items that have been alone since one last had company.
    #[cfg(test)]
    pub(super) fn alone(&self) -> u32 {
        self.0.alone.load(Ordering::Relaxed)
    }

    /// Admits nothing more; what was admitted is still computed.
    pub fn close(&self) {
        self.0.gate.close();
        self.0.lock().closed = true;
        self.0.filled.notify_all();
        self.0.needed.notify_all();
    }
}

impl Workers {
    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(work)
            .map_err(|error| Error::internal("cannot start a worker thread").with_source(error))?;
        self.threads.push(thread);
        Ok(())
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

    /// Blocks until there is something to do, while others may borrow the session; the end comes once the queue is closed
    /// and every admitted item is done: one that is still being decoded will come.
    pub(super) fn wait(&self, runner: Box<dyn Runner>) -> Duty {
        let mut state = self.lock();
        state.parked.push(runner);
        loop {
            let mut wait = Duration::MAX;
            if state.jobs.is_empty() {
                if state.closed && state.lent == 0 && self.gate.inside() == 0 {
                    let last = state.parked.pop();
                    drop(state);
                    drop(last);
                    return Duty::End;
                }
                if state.closed {
                    wait = CLOSING_TICK;
                } else if let Some(tuning) = &state.tuning {
                    let quiet = state.last.map_or(tuning.due, |last| tuning.due.max(last + QUIET));
                    wait = quiet.saturating_duration_since(Instant::now());
                    if wait.is_zero()
                        && let Some(runner) = state.parked.pop()
                    {
                        match state.tuning.take() {
                            Some(tuning) => return Duty::Tune(tuning, runner),
                            None => state.parked.push(runner),
                        }
                    }
                }
            } else if let Some(runner) = state.parked.pop() {
                return Duty::Batch(runner);
            }
            state.asleep += 1;
            state = self.filled.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
            state.asleep -= 1;
        }
    }

    /// Whether a run is so short that it may hold up a thread that has other things to do.
    fn is_quick(&self) -> bool {
        let item = self.gate.item_time();
        self.options.any_thread && !item.is_zero() && item <= SHORT
    }

    /// Whether others may come with an item, as far as one can tell from those before it.
    fn expects_company(&self) -> bool {
        let alone = self.alone.load(Ordering::Relaxed);
        alone < LONELY || alone.is_multiple_of(LONELY)
    }

    /// A session to run the only item there is; none where the item has company, is late, or would wait.
    fn borrow(&self, deadline: Instant) -> Option<Loan<'_>> {
        let now = Instant::now();
        if self.gate.inside() > 1 {
            self.alone.store(0, Ordering::Relaxed);
            return None;
        }
        self.alone.fetch_add(1, Ordering::Relaxed);
        if deadline <= now {
            return None;
        }
        let permit = self.permits.try_acquire(self.options.threads)?;
        let mut state = self.lock();
        if !state.jobs.is_empty() {
            return None;
        }
        let runner = state.parked.pop()?;
        state.lent += 1;
        state.last = Some(now);
        Some(Loan { shared: self, runner: Some(runner), since: now, _permit: permit })
    }

    /// Blocks until all workers with a session are busy and an item waits all the same; false once the queue closes.
    pub(super) fn wait_for_need(&self) -> bool {
        let mut state = self.lock();
        loop {
            if state.closed {
                return false;
            }
            let waited = state.jobs.front().filter(|_| state.parked.is_empty()).map(|job| job.queued_at.elapsed());
            let wait = match waited {
                Some(waited) if waited >= PATIENCE => {
                    state.standing_by -= 1;
                    return true;
                }
                Some(waited) => PATIENCE.saturating_sub(waited),
                None => Duration::MAX,
            };
            state = self.needed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Lets go of the queue, and wakes a worker for what is in it: one that sleeps, or else one that has no session yet.
    fn wake(&self, state: MutexGuard<'_, State>) {
        let (asleep, standing_by) = (state.asleep > 0 && !state.parked.is_empty(), state.standing_by > 0);
        drop(state);
        if asleep {
            self.filled.notify_one();
        } else if standing_by {
            self.needed.notify_one();
        }
    }

    /// Goes on with a search, at once or after the jobs that have come meanwhile.
    pub(super) fn resume(&self, tuning: Tuning) {
        self.lock().tuning = Some(tuning);
    }

    /// The result of a search.
    pub(super) fn settle(&self, batch: usize, told: &str) {
        let GraphLabels { model, graph } = &self.options.labels;
        tracing::info!(model, graph, batch, measured = told, "the batch is measured");
        self.max_batch.store(batch, Ordering::Relaxed);
        self.metrics.max_batch.get_or_create(&self.options.labels).set(i64::try_from(batch).unwrap_or(i64::MAX));
    }

    /// Answers a job that nobody waits for any more, without its run.
    pub(super) fn drop_job(&self, job: Job, reason: &'static str) {
        let labels = RejectLabels { model: self.options.labels.model.clone(), work: "graph", reason };
        self.metrics.dropped.get_or_create(&labels).inc();
        job.finish(Err(Error::deadline_exceeded("the deadline passed in the queue")));
    }

    /// Takes the next batch: what is there, at most `max_batch`, without what nobody waits for any more.
    pub(super) fn take(&self) -> Vec<Job> {
        let now = Instant::now();
        let mut batch: Vec<Job> = Vec::new();
        let most = self.max_batch.load(Ordering::Relaxed);
        let mut state = self.lock();
        while batch.len() < most {
            let Some(job) = state.jobs.pop_front() else { break };
            // while others wait, no run begins that would end after its deadline
            let until =
                if state.jobs.is_empty() { now } else { now + self.gate.item_time() * (batch.len() as u32 + 1) };
            match job.fate.lost(until) {
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
        if !state.jobs.is_empty() {
            self.wake(state);
        }
        batch
    }
}

/// A session that a sleeping worker has lent; it goes back when this is dropped.
struct Loan<'a> {
    shared: &'a Shared,
    runner: Option<Box<dyn Runner>>,
    since: Instant,
    _permit: RunPermit,
}

impl Loan<'_> {
    fn serve(&mut self, job: Job) {
        if let Some(runner) = &mut self.runner {
            worker::serve(self.shared, runner.as_mut(), vec![job], self.since);
        }
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.lent -= 1;
        state.parked.extend(self.runner.take());
        if !state.jobs.is_empty() || state.closed {
            self.shared.wake(state);
        }
    }
}

fn same_shapes(a: &[Row], b: &[Row]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.shape == b.shape)
}
