//! One run of a batch on a session: watched, measured, its outputs handed out item by item.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use super::{Tensor, message::Cancellation, shared::Shared, watchdog::Watch};
use crate::{
    compute::panic_message,
    error::{Error, ErrorKind, Result},
    runtime::{Numbers, Runner, TensorView},
};

/// The items of one run, and what bounds it.
pub(super) struct Batch<'a> {
    /// The inputs of each item, at least one item; the shapes of all items are the same.
    pub(super) items: &'a [&'a [Tensor]],
    pub(super) cancellations: Vec<Cancellation>,
    /// Since when the session has been busy with this batch, the wait for cores included.
    pub(super) since: Instant,
    /// Whether the run is known to be short, so that the watchdog need not be woken for it.
    pub(super) short: bool,
}

/// The outcome of a run: its outputs or its error, and its times.
pub(super) struct Outcome {
    /// The outputs of each item, in the order of the items.
    pub(super) result: Result<Vec<Vec<Tensor>>>,
    pub(super) started: Instant,
    pub(super) took: Duration,
}

impl Shared {
    /// Runs a batch and learns from it how long an item takes.
    pub(super) fn execute(&self, session: &mut dyn Runner, batch: Batch<'_>) -> Outcome {
        let (size, since) = (batch.items.len(), batch.since);
        let started = Instant::now();
        self.metrics.batch_size.observe(size as f64);
        let result = self.run(session, batch);
        let took = started.elapsed();
        self.metrics.run_seconds.observe(took.as_secs_f64());
        let limit = self.options.run_limit;
        let result = result.map_err(|error| {
            if error.kind() == ErrorKind::DeadlineExceeded && took >= limit {
                let limit = limit.as_millis();
                Error::deadline_exceeded(format!("the run took longer than runtime.run_limit_ms, which is {limit}"))
            } else {
                error
            }
        });
        // A run that was ended would have taken longer still, so that its time is a lower bound.
        if result.as_ref().map_or_else(|error| error.kind() == ErrorKind::DeadlineExceeded, |_| true) {
            self.limiter.observe(since.elapsed(), size as u64);
        }
        Outcome { result, started, took }
    }

    fn run(&self, session: &mut dyn Runner, batch: Batch<'_>) -> Result<Vec<Vec<Tensor>>> {
        let Batch { items, cancellations, short, .. } = batch;
        let stop = session.prepare()?;
        let limit = self.options.run_limit;
        let _guard = self.watchdog.guard(Watch { cancellations, limit, stop }, short);
        let size = items.len();
        let Some(first) = items.first() else { return Ok(Vec::new()) };
        let with_batch = |tensor: &Tensor| std::iter::once(size).chain(tensor.shape.iter().copied()).collect();
        let shapes: Vec<Vec<usize>> = first.iter().map(with_batch).collect();
        let pieces: Vec<&[f32]> =
            (0..first.len()).flat_map(|input| items.iter().map(move |item| &item[input].data[..])).collect();
        let view = |(shape, pieces)| TensorView { shape, numbers: numbers(pieces) };
        let views: Vec<TensorView<'_>> =
            shapes.iter().map(Vec::as_slice).zip(pieces.chunks_exact(size)).map(view).collect();
        let mut outputs: Vec<Vec<Tensor>> = items.iter().map(|_| Vec::new()).collect();
        let mut hand_out = |shape: &[usize], data: &[f32]| hand_out(&mut outputs, shape, data);
        catch_unwind(AssertUnwindSafe(|| session.run_into(&views, &mut hand_out))).unwrap_or_else(|panic| {
            Err(Error::internal("a run panicked").with_source(panic_message(panic.as_ref()).to_owned()))
        })?;
        Ok(outputs)
    }
}

/// The numbers of one input: a single item is run from where it lies.
const fn numbers<'a>(pieces: &'a [&'a [f32]]) -> Numbers<'a> {
    match pieces {
        [piece] => Numbers::Together(piece),
        pieces => Numbers::Apart(pieces),
    }
}

/// Gives each item its part of one output of the graph.
fn hand_out(outputs: &mut [Vec<Tensor>], shape: &[usize], data: &[f32]) -> Result<()> {
    let size = outputs.len();
    let Some((_, shape)) = shape.split_first().filter(|(rows, _)| **rows == size) else {
        return Err(Error::internal(format!("{size} items went in, an output of shape {shape:?} came")));
    };
    let length = data.len() / size;
    for (at, item) in outputs.iter_mut().enumerate() {
        item.push(Tensor { shape: shape.to_vec(), data: data[at * length..(at + 1) * length].to_vec() });
    }
    Ok(())
}
