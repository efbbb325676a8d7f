//! What the handle and the workers of one graph share: the messages, the idle sessions, and who sleeps.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use prometheus_client::metrics::{gauge::Gauge, histogram::Histogram};

use super::{
    QueueOptions, RunPermits, Watchdog,
    message::{CancelReason, Message},
    policy::{self, BatchRules, Concurrency, STANDBY_AFTER},
    tuning::Measuring,
};
use crate::{
    admission::Limiter,
    error::Error,
    runtime::Runner,
    telemetry::metrics::{GraphLabels, Metrics, RejectLabels},
};

/// How often a closing queue looks whether the last admitted item is done.
const CLOSING_TICK: Duration = Duration::from_millis(20);

/// What every handle and worker of one graph holds.
pub(super) struct Shared {
    pub(super) options: QueueOptions,
    pub(super) limiter: Arc<Limiter>,
    pub(super) permits: RunPermits,
    pub(super) watchdog: Watchdog,
    pub(super) metrics: GraphMetrics,
    pub(super) concurrency: Concurrency,
    max_batch: AtomicUsize,
    state: Mutex<State>,
    /// Where workers with a session sleep until there is a task.
    task: Condvar,
    /// Where workers sleep whose session is not open yet.
    standby: Condvar,
}

/// The metrics of one graph, found once and not for every item.
pub(super) struct GraphMetrics {
    pub(super) queue_seconds: Histogram,
    pub(super) run_seconds: Histogram,
    pub(super) batch_size: Histogram,
    max_batch: Gauge<i64, AtomicI64>,
    all: Arc<Metrics>,
}

/// The state of a queue, guarded by its lock.
#[derive(Default)]
pub(super) struct State {
    messages: VecDeque<Message>,
    /// A search for the best batch, until a worker takes it.
    measuring: Option<Measuring>,
    /// When the last message came, or the last inline run began.
    last_arrival: Option<Instant>,
    closed: bool,
    /// Workers that sleep until there is a task: where there are none nobody is to be woken, which would be a call of
    /// the system for every message.
    asleep: usize,
    /// The sessions of workers that have no task; an inline run may take one.
    idle_sessions: Vec<Box<dyn Runner>>,
    /// Sessions that inline runs have taken.
    inline_runs: usize,
    /// Workers without a session, which open one when all others are busy.
    standby: usize,
}

/// What a worker does next, and with which session.
pub(super) enum WorkerTask {
    /// Take a batch from the queue and run it.
    Run(Box<dyn Runner>),
    /// Make the runs of a search for the best batch.
    Measure(Box<dyn Runner>, Measuring),
    /// End, with the session if one is left: it is dropped outside the queue's lock.
    End(Option<Box<dyn Runner>>),
}

/// What the state of a queue says to whoever waits on it.
enum Next<T> {
    Act(T),
    /// Look again after this time, or when woken.
    Wait(Duration),
}

impl State {
    /// The next task of a worker whose session is among the idle ones. A worker ends once the queue is closed and every
    /// admitted item is done: one that is still being decoded will come.
    fn next_task(&mut self, now: Instant, in_use: u64) -> Next<WorkerTask> {
        if !self.messages.is_empty() {
            // Without an idle session the one that is missing is in an inline run, which wakes a worker at its end.
            return self
                .idle_sessions
                .pop()
                .map_or(Next::Wait(Duration::MAX), |session| Next::Act(WorkerTask::Run(session)));
        }
        if self.closed {
            let done = self.inline_runs == 0 && in_use == 0;
            return if done { Next::Act(WorkerTask::End(self.idle_sessions.pop())) } else { Next::Wait(CLOSING_TICK) };
        }
        let Some(measuring) = self.measuring.take() else { return Next::Wait(Duration::MAX) };
        let wait = policy::quiet_at(measuring.due(), self.last_arrival).saturating_duration_since(now);
        match self.idle_sessions.pop_if(|_| wait.is_zero()) {
            Some(session) => Next::Act(WorkerTask::Measure(session, measuring)),
            None => {
                self.measuring = Some(measuring);
                // Where it is only a session that is missing, whoever asked for the search will ask again.
                Next::Wait(if wait.is_zero() { Duration::MAX } else { wait })
            }
        }
    }

    /// Whether a standby session is to be opened: all workers with a session are busy, and an item waits all the same.
    /// False once the queue is closed.
    fn next_standby(&mut self, now: Instant) -> Next<bool> {
        if self.closed {
            return Next::Act(false);
        }
        let Some(message) = self.messages.front().filter(|_| self.idle_sessions.is_empty()) else {
            return Next::Wait(Duration::MAX);
        };
        let wait = STANDBY_AFTER.saturating_sub(now.saturating_duration_since(message.queued_at));
        if wait.is_zero() {
            self.standby -= 1;
            Next::Act(true)
        } else {
            Next::Wait(wait)
        }
    }
}

impl GraphMetrics {
    fn new(labels: &GraphLabels, all: Arc<Metrics>) -> Self {
        Self {
            queue_seconds: all.queue_seconds.get_or_create_owned(labels),
            run_seconds: all.run_seconds.get_or_create_owned(labels),
            batch_size: all.batch_size.get_or_create_owned(labels),
            max_batch: all.max_batch.get_or_create_owned(labels),
            all,
        }
    }
}

/// What a queue is put together from, besides its settings.
pub(super) struct SharedParts {
    pub(super) limiter: Arc<Limiter>,
    pub(super) permits: RunPermits,
    pub(super) watchdog: Watchdog,
    pub(super) metrics: Arc<Metrics>,
    /// Workers whose session is not open yet.
    pub(super) standby: usize,
}

impl Shared {
    pub(super) fn new(options: QueueOptions, parts: SharedParts) -> Self {
        let SharedParts { limiter, permits, watchdog, metrics, standby } = parts;
        let shared = Self {
            limiter,
            permits,
            watchdog,
            metrics: GraphMetrics::new(&options.labels, metrics),
            concurrency: Concurrency::default(),
            max_batch: AtomicUsize::new(0),
            state: Mutex::new(State { standby, ..State::default() }),
            task: Condvar::new(),
            standby: Condvar::new(),
            options,
        };
        shared.set_max_batch(shared.options.max_batch);
        shared
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn max_batch(&self) -> usize {
        self.max_batch.load(Ordering::Relaxed)
    }

    pub(super) fn set_max_batch(&self, batch: usize) {
        self.max_batch.store(batch, Ordering::Relaxed);
        self.metrics.max_batch.set(i64::try_from(batch).unwrap_or(i64::MAX));
    }

    /// Puts a message at the end of the queue and wakes a worker for it.
    pub(super) fn push(&self, message: Message) {
        let mut state = self.lock();
        state.last_arrival = Some(message.queued_at);
        state.messages.push_back(message);
        self.wake(state);
    }

    /// Ends the taking of messages once those that are admitted are done.
    pub(super) fn close(&self) {
        // First, so that no worker that sees the closed state and nothing in use can miss an item admitted after it.
        self.limiter.close();
        let measuring = {
            let mut state = self.lock();
            state.closed = true;
            state.measuring.take()
        };
        drop(measuring);
        self.task.notify_all();
        self.standby.notify_all();
    }

    /// Lets go of the queue's lock, and wakes a worker for what is in it: one that sleeps, or else one on standby.
    fn wake(&self, state: MutexGuard<'_, State>) {
        let (asleep, standby) = (state.asleep > 0 && !state.idle_sessions.is_empty(), state.standby > 0);
        drop(state);
        if asleep {
            self.task.notify_one();
        } else if standby {
            self.standby.notify_one();
        }
    }

    /// Blocks until there is a task, while the session is idle and an inline run may take it.
    pub(super) fn wait_for_task(&self, session: Box<dyn Runner>) -> WorkerTask {
        let mut state = self.lock();
        state.idle_sessions.push(session);
        loop {
            match state.next_task(Instant::now(), self.limiter.in_use()) {
                Next::Act(task) => return task,
                Next::Wait(wait) => {
                    state.asleep += 1;
                    state = self.task.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
                    state.asleep -= 1;
                }
            }
        }
    }

    /// The task there is at this time, without waiting; the session stays idle if there is none.
    #[cfg(test)]
    pub(super) fn try_task(&self, session: Option<Box<dyn Runner>>, now: Instant) -> Option<WorkerTask> {
        let mut state = self.lock();
        state.idle_sessions.extend(session);
        match state.next_task(now, self.limiter.in_use()) {
            Next::Act(task) => Some(task),
            Next::Wait(_) => None,
        }
    }

    /// Blocks until a standby session is needed; false once the queue closes.
    pub(super) fn wait_for_standby(&self) -> bool {
        let mut state = self.lock();
        loop {
            match state.next_standby(Instant::now()) {
                Next::Act(needed) => return needed,
                Next::Wait(wait) => {
                    state = self.standby.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// Whether a standby session is needed at this time, without waiting.
    #[cfg(test)]
    pub(super) fn try_standby(&self, now: Instant) -> Option<bool> {
        match self.lock().next_standby(now) {
            Next::Act(needed) => Some(needed),
            Next::Wait(_) => None,
        }
    }

    /// Takes the next batch, and answers the messages that it finds cancelled.
    pub(super) fn take_batch(&self, now: Instant) -> Vec<Message> {
        let rules = BatchRules { max_batch: self.max_batch(), item_time: self.limiter.unit_time(), now };
        let mut state = self.lock();
        let taken = rules.take(&mut state.messages);
        if !state.messages.is_empty() {
            self.wake(state);
        } else {
            drop(state);
        }
        for (message, reason) in taken.cancelled {
            self.drop_message(message, reason);
        }
        taken.batch
    }

    /// Answers a message that nobody waits for any more, without its run.
    pub(super) fn drop_message(&self, message: Message, reason: CancelReason) {
        let model = self.options.labels.model.clone();
        let labels = RejectLabels { model, work: "graph", reason: reason.as_str() };
        self.metrics.all.dropped.get_or_create(&labels).inc();
        message.finish(Err(Error::deadline_exceeded("the deadline passed in the queue")));
    }

    /// An idle session for an inline run that begins now; none while messages wait.
    pub(super) fn take_session(&self, now: Instant) -> Option<Box<dyn Runner>> {
        let mut state = self.lock();
        if !state.messages.is_empty() {
            return None;
        }
        let session = state.idle_sessions.pop()?;
        state.inline_runs += 1;
        state.last_arrival = Some(now);
        Some(session)
    }

    /// Gives back the session of an inline run, and wakes a worker for what came meanwhile.
    pub(super) fn return_session(&self, session: Box<dyn Runner>) {
        let mut state = self.lock();
        state.inline_runs -= 1;
        state.idle_sessions.push(session);
        if !state.messages.is_empty() || state.closed {
            self.wake(state);
        }
    }

    /// Offers a search to the workers, one of which takes it once the graph is idle. It is dropped where the queue is
    /// closed.
    pub(super) fn offer(&self, measuring: Measuring) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        state.measuring = Some(measuring);
        drop(state);
        self.task.notify_one();
    }

    /// Takes back a search that no worker has taken.
    pub(super) fn withdraw(&self) -> Option<Measuring> {
        self.lock().measuring.take()
    }

    /// Whether anything has been asked of the graph since `begun`, or the queue has been closed.
    pub(super) fn asked_since(&self, begun: Instant) -> bool {
        let state = self.lock();
        state.closed || !state.messages.is_empty() || state.last_arrival.is_some_and(|last| last > begun)
    }

    /// Whether a search waits for a worker.
    #[cfg(test)]
    pub(super) fn is_offered(&self) -> bool {
        self.lock().measuring.is_some()
    }

    /// How many sessions are idle, and how many are on standby.
    #[cfg(test)]
    pub(super) fn idle(&self) -> (usize, usize) {
        let state = self.lock();
        (state.idle_sessions.len(), state.standby)
    }
}
