//! Inline runs: a lone item whose run is short is run by the thread that asks, so that no worker has to be woken.

use std::{slice, time::Instant};

use super::{Answer, Permit, Tensor, execution::Batch, message::Cancellation, permits::RunPermit, shared::Shared};
use crate::{
    error::{Error, Result},
    runtime::Runner,
};

/// An idle session and a core, taken for the run of one item. The session goes back when this is dropped.
pub(super) struct InlineRun<'a> {
    shared: &'a Shared,
    /// None only while it is being dropped.
    session: Option<Box<dyn Runner>>,
    since: Instant,
    deadline: Instant,
    _cores: RunPermit,
}

impl<'a> InlineRun<'a> {
    /// What the only admitted item needs to be run here and now; none where there are others, where the item is late,
    /// or where it would have to wait.
    pub(super) fn begin(shared: &'a Shared, deadline: Instant) -> Option<Self> {
        let since = Instant::now();
        if shared.limiter.in_use() > 1 {
            shared.concurrency.saw_several();
            return None;
        }
        shared.concurrency.saw_one_alone();
        if deadline <= since {
            return None;
        }
        let cores = shared.permits.try_acquire(shared.options.threads)?;
        let session = shared.take_session(since)?;
        Some(Self { shared, session: Some(session), since, deadline, _cores: cores })
    }

    /// Runs the item. Its permit ends with the run.
    pub(super) fn run(mut self, inputs: &[Tensor], permit: Permit) -> Result<Answer> {
        let _permit = permit;
        let session = self.session.as_deref_mut().ok_or_else(|| Error::internal("an inline run has no session"))?;
        let batch = Batch {
            items: slice::from_ref(&inputs),
            cancellations: vec![Cancellation::by_deadline(self.deadline)],
            since: self.since,
            short: true,
        };
        let outcome = self.shared.execute(session, batch);
        let queued = outcome.started.saturating_duration_since(self.since);
        self.shared.metrics.queue_seconds.observe(queued.as_secs_f64());
        let outputs = outcome.result?.pop().ok_or_else(|| Error::internal("a run gave no item back"))?;
        Ok(Answer { outputs, queued, run: outcome.took, batch: 1 })
    }
}

impl Drop for InlineRun<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.shared.return_session(session);
        }
    }
}
