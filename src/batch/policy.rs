//! The decisions of a queue, apart from its threads: which messages make the next batch, when another session is worth
//! opening, when a run may be made by the thread that asks, and when a graph counts as idle.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use super::{
    Tensor,
    message::{CancelReason, Message},
};

/// How long nothing has been asked of a graph before its batch is measured: what comes during such a run waits for it.
pub(super) const QUIET: Duration = Duration::from_millis(300);

/// How long an item has waited, all sessions being busy, when a standby session is opened for it: a worker that has just
/// answered needs a moment until it takes the next.
pub(super) const STANDBY_AFTER: Duration = Duration::from_millis(1);

/// The time of a run up to which the thread that asks may make it: other requests of that thread wait so long at most,
/// and in a longer run the hand-over to a worker, some 50 µs, hardly shows.
const INLINE_RUN: Duration = Duration::from_micros(500);

/// How many items have to arrive alone in a row until only one of as many looks for others before it is run. To look is
/// to go to the end of the async threads' queue, and another of them wakes to see what came there: some 25 µs.
pub(super) const LOOK_EVERY: u32 = 16;

/// What decides which messages make a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchRules {
    pub(super) max_batch: usize,
    /// The time that one item takes in a run, as far as it is known.
    pub(super) item_time: Duration,
    pub(super) now: Instant,
}

/// What came out of the queue for one run.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) batch: Vec<Message>,
    /// Messages that nobody waits for any more, or whose answer would come too late.
    pub(super) cancelled: Vec<(Message, CancelReason)>,
}

impl BatchRules {
    /// Takes the next batch from the front of the queue: what is there, in its order, at most `max_batch` items of the
    /// same shapes, without those whose answer would be of no use. A batch grows no further than its items can wait: one
    /// more would make an answer late whose run is paid for.
    pub(super) fn take(self, messages: &mut VecDeque<Message>) -> Taken {
        let mut taken = Taken::default();
        let mut earliest = None;
        while taken.batch.len() < self.max_batch {
            let Some(message) = messages.pop_front() else { break };
            // While others wait, no run begins that would end after its deadline.
            let size = u32::try_from(taken.batch.len() + 1).unwrap_or(u32::MAX);
            let end = self.now + self.item_time * size;
            let answered = if messages.is_empty() { self.now } else { end };
            if let Some(reason) = message.cancellation.reason(answered) {
                taken.cancelled.push((message, reason));
            } else if taken.batch.first().is_some_and(|first| !same_shapes(&first.inputs, &message.inputs))
                || earliest.is_some_and(|deadline| deadline < end)
            {
                // It waits for a run of its own, as items of other shapes do (of a graph with free axes).
                messages.push_front(message);
                break;
            } else {
                let deadline = message.cancellation.deadline();
                earliest = Some(earliest.map_or(deadline, |earliest: Instant| earliest.min(deadline)));
                taken.batch.push(message);
            }
        }
        taken
    }
}

fn same_shapes(a: &[Tensor], b: &[Tensor]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.shape == b.shape)
}

/// Whether a run is so short that it may hold up a thread that has other things to do. While nothing is known of its
/// length it is not.
pub(super) fn may_run_inline(item_time: Duration) -> bool {
    !item_time.is_zero() && item_time <= INLINE_RUN
}

/// When a graph counts as idle, for a measurement that is due at `due` and may be disturbed by nothing.
pub(super) fn quiet_at(due: Instant, last_arrival: Option<Instant>) -> Instant {
    last_arrival.map_or(due, |last| due.max(last + QUIET))
}

/// Whether items tend to arrive together, as far as those before them tell.
#[derive(Debug, Default)]
pub(super) struct Concurrency {
    /// Items that have arrived alone since two last arrived together.
    alone: AtomicU32,
}

impl Concurrency {
    /// Whether an item should look for others that are ready before it is run alone.
    pub(super) fn is_likely(&self) -> bool {
        let alone = self.alone();
        alone < LOOK_EVERY || alone.is_multiple_of(LOOK_EVERY)
    }

    pub(super) fn saw_one_alone(&self) {
        self.alone.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn saw_several(&self) {
        self.alone.store(0, Ordering::Relaxed);
    }

    pub(super) fn alone(&self) -> u32 {
        self.alone.load(Ordering::Relaxed)
    }
}
