//! The handle to the queue of one graph.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Answer, Pending, Permit, RunPermits, Tensor, Watchdog, Worker,
    inline::InlineRun,
    message::Message,
    policy,
    shared::{Shared, SharedParts},
};
use crate::{
    admission::{Limiter, LimiterOptions},
    error::Result,
    runtime::Runner,
    telemetry::metrics::{GraphLabels, Metrics},
};

/// The settings of one graph's queue.
#[derive(Debug, Clone)]
pub struct QueueOptions {
    pub labels: GraphLabels,
    /// Items admitted and not yet finished, at most.
    pub capacity: usize,
    /// Items in one run, at most; until a better batch is measured, where that is asked for.
    pub max_batch: usize,
    /// Threads inside one run: the cores it takes.
    pub threads: usize,
    /// A run that takes longer is ended.
    pub run_limit: Duration,
    /// Whether a session may run on whatever thread asks: one on a GPU keeps something for every thread that has used
    /// it.
    pub any_thread: bool,
}

/// Opens a standby session, once there is work for it.
pub type Opener = Box<dyn FnOnce() -> Result<Box<dyn Runner>> + Send>;

/// The sessions of one graph.
pub struct Sessions {
    pub open: Vec<Box<dyn Runner>>,
    /// Sessions that are opened when an item comes while all others are busy: a session holds the graph's weights, and
    /// many a model never needs two.
    pub standby: Vec<Opener>,
}

/// A handle to the queue of one graph; all clones are handles to the same queue.
#[derive(Clone)]
pub struct GraphQueue(pub(super) Arc<Shared>);

impl GraphQueue {
    /// A queue, and a worker for each session: nothing is computed before [`Workers::spawn`](super::Workers::spawn)
    /// gives the workers their threads.
    #[must_use]
    pub fn new(
        options: QueueOptions,
        sessions: Sessions,
        permits: &RunPermits,
        watchdog: &Watchdog,
        metrics: &Arc<Metrics>,
    ) -> (Self, Vec<Worker>) {
        let Sessions { open, standby } = sessions;
        let limiter = LimiterOptions {
            noun: "items",
            key: "limits.queue_items",
            capacity: options.capacity as u64,
            workers: (open.len() + standby.len()) as u64,
            work: "graph",
            model: options.labels.model.clone(),
            depth: metrics.queue_depth.get_or_create_owned(&options.labels),
        };
        let parts = SharedParts {
            limiter: Limiter::new(limiter, Arc::clone(metrics)),
            permits: permits.clone(),
            watchdog: watchdog.clone(),
            metrics: Arc::clone(metrics),
            standby: standby.len(),
        };
        let shared = Arc::new(Shared::new(options, parts));
        let open = open.into_iter().map(|session| Worker::with_session(Arc::clone(&shared), session));
        let standby = standby.into_iter().map(|opener| Worker::on_standby(Arc::clone(&shared), opener));
        let workers = open.chain(standby).collect();
        (Self(shared), workers)
    }

    /// A permit for each of `count` items, or none for any.
    ///
    /// # Errors
    /// `overloaded` while the estimated wait is beyond the deadline or the queue is full, `payload_too_large` for more
    /// items than the queue ever holds, `unavailable` once the queue is closed.
    pub fn admit(&self, count: usize, deadline: Instant) -> Result<Vec<Permit>> {
        Ok(self.0.limiter.admit(count as u64, deadline)?.into_singles())
    }

    /// How long one more item would wait for its answer.
    #[must_use]
    pub fn estimated_wait(&self) -> Duration {
        self.0.limiter.estimated_wait(1)
    }

    /// Items in one run, at most.
    #[must_use]
    pub fn max_batch(&self) -> usize {
        self.0.max_batch()
    }

    /// Queues an admitted item: one tensor for each input of the graph, without a batch axis.
    #[must_use = "dropping the pending answer cancels the item"]
    pub fn submit(&self, inputs: Vec<Tensor>, deadline: Instant, permit: Permit) -> Pending {
        let (message, pending) = Message::new(inputs, deadline, permit);
        self.0.push(message);
        pending
    }

    /// Has an admitted item computed: by the thread that asks if nothing else is to be done here and the run is short,
    /// so that nobody has to be woken; otherwise as [`submit`](Self::submit).
    ///
    /// # Errors
    /// As [`Pending::answer`].
    pub async fn run(&self, inputs: Vec<Tensor>, deadline: Instant, permit: Permit) -> Result<Answer> {
        let shared = &*self.0;
        if shared.options.any_thread && policy::may_run_inline(shared.limiter.unit_time()) {
            if shared.concurrency.is_likely() {
                // Whoever else is ready comes in first: what comes together is to be one batch.
                tokio::task::yield_now().await;
            }
            if let Some(run) = InlineRun::begin(shared, deadline) {
                return run.run(&inputs, permit);
            }
        }
        self.submit(inputs, deadline, permit).answer().await
    }

    /// Admits nothing more; what was admitted is still computed.
    pub fn close(&self) {
        self.0.close();
    }
}
