//! The thread that owns a session: takes batches, runs them, hands the rows back.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use super::{
    job::{Answer, Job, Row},
    queue::{Duty, Opener, Shared},
    tuning::Tuning,
};
use crate::{
    error::{Error, ErrorKind, Result},
    memory,
    runtime::{Numbers, Runner, Tensor, TensorView},
};

/// Opens a session when there is more to do than others can, and serves the queue with it.
pub(super) fn stand_by(shared: &Shared, opener: Opener) {
    if !shared.wait_for_need() {
        return;
    }
    let opened = catch_unwind(AssertUnwindSafe(opener))
        .unwrap_or_else(|panic| Err(Error::internal("opening it panicked").with_source(panic_text(panic.as_ref()))));
    match opened {
        Ok(runner) => work(shared, runner),
        Err(error) => {
            shared.gate.lose_worker();
            let (model, graph) = (&shared.options.labels.model, shared.options.labels.graph);
            tracing::warn!(model, graph, reason = %error.chain(), "a further session cannot be opened: those that are open serve on");
        }
    }
}

/// Serves the queue until it is closed and empty, with whatever session of the graph is there.
pub(super) fn work(shared: &Shared, mut runner: Box<dyn Runner>) {
    loop {
        match shared.wait(runner) {
            Duty::Batch(taken) => runner = taken,
            Duty::Tune(tuning, taken) => {
                runner = taken;
                Worker { shared, runner: runner.as_mut() }.tune(tuning);
                continue;
            }
            Duty::End => break,
        }
        let since = Instant::now();
        // cores first, jobs second: while this waits for its turn, the batch grows
        let permit = shared.permits.acquire(shared.options.threads);
        let batch = shared.take();
        if !batch.is_empty() {
            serve(shared, runner.as_mut(), batch, since);
        }
        drop(permit);
    }
}

/// Runs a batch and answers it; a panic costs the batch, whose waiters are told, and not the thread.
pub(super) fn serve(shared: &Shared, runner: &mut dyn Runner, batch: Vec<Job>, since: Instant) {
    let mut worker = Worker { shared, runner };
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| worker.serve(batch, since))) {
        tracing::error!(reason = panic_text(panic.as_ref()), "a worker panicked beside its run");
    }
}

struct Worker<'a> {
    shared: &'a Shared,
    runner: &'a mut dyn Runner,
}

impl Worker<'_> {
    /// Makes one run of a search for the best batch. If it fails, the batch stays what it is.
    fn tune(&mut self, mut tuning: Tuning) {
        let _permit = self.shared.permits.acquire(self.shared.options.threads);
        let runner = &mut *self.runner;
        let step = || match tuning.step(runner)? {
            None => Ok(None),
            Some(batch) => tuning.finish(runner).map(|()| Some(batch)),
        };
        let step = catch_unwind(AssertUnwindSafe(step))
            .unwrap_or_else(|panic| Err(Error::internal("a run panicked").with_source(panic_text(panic.as_ref()))));
        match step {
            Ok(None) => self.shared.resume(tuning),
            Ok(Some(batch)) => {
                memory::give_back();
                self.shared.settle(batch, &tuning.told());
            }
            Err(error) => {
                let labels = &self.shared.options.labels;
                let (model, graph) = (&labels.model, labels.graph);
                tracing::warn!(model, graph, reason = %error.chain(), "the batch could not be measured");
            }
        }
    }

    /// Runs a batch and answers it; the worker has been busy with it since `since`.
    fn serve(&mut self, batch: Vec<Job>, since: Instant) {
        let span = batch[0].span.clone();
        let _entered = span.enter();
        let started = Instant::now();
        let labels = &self.shared.options.labels;
        let queue_seconds = self.shared.metrics.queue_seconds.get_or_create_owned(labels);
        for job in &batch {
            queue_seconds.observe(started.duration_since(job.queued_at).as_secs_f64());
        }
        self.shared.metrics.batch_size.get_or_create(labels).observe(batch.len() as f64);
        let outcome = self.run(&batch);
        let took = started.elapsed();
        self.shared.metrics.run_seconds.get_or_create(labels).observe(took.as_secs_f64());
        match outcome {
            Ok(outputs) => {
                self.shared.gate.observe(since.elapsed(), batch.len());
                answer(batch, &outputs, started, took);
            }
            // one bad item must not fail its batch: each is tried alone
            Err(error) if batch.len() > 1 && error.kind() == ErrorKind::Internal => {
                tracing::warn!(reason = %error.chain(), batch = batch.len(), "a batch failed, its items run alone");
                for job in batch {
                    match job.fate.lost(Instant::now()) {
                        None => self.serve(vec![job], Instant::now()),
                        Some(reason) => self.shared.drop_job(job, reason),
                    }
                }
            }
            Err(error) => {
                let limit = self.shared.options.run_limit;
                let error = if error.kind() == ErrorKind::DeadlineExceeded && took >= limit {
                    let limit = limit.as_millis();
                    Error::deadline_exceeded(format!("the run took longer than runtime.run_limit_ms, which is {limit}"))
                } else {
                    error
                };
                // a run that was ended would have taken longer still
                if error.kind() == ErrorKind::DeadlineExceeded {
                    self.shared.gate.observe(since.elapsed(), batch.len());
                }
                for job in batch {
                    job.finish(Err(error.duplicate()));
                }
            }
        }
    }

    fn run(&mut self, batch: &[Job]) -> Result<Vec<Tensor>> {
        let stop = self.runner.prepare()?;
        let fates = batch.iter().map(|job| job.fate.clone()).collect();
        let _guard = self.shared.watchdog.guard(fates, self.shared.options.run_limit, stop);
        let first = &batch[0].inputs;
        let shapes: Vec<Vec<usize>> =
            first.iter().map(|row| std::iter::once(batch.len()).chain(row.shape.iter().copied()).collect()).collect();
        let rows: Vec<Vec<&[f32]>> =
            (0..first.len()).map(|input| batch.iter().map(|job| &job.inputs[input].data[..]).collect()).collect();
        let view = |(shape, rows)| TensorView { shape, numbers: numbers(rows) };
        let views: Vec<TensorView<'_>> =
            shapes.iter().map(Vec::as_slice).zip(rows.iter().map(Vec::as_slice)).map(view).collect();
        let runner = AssertUnwindSafe(&mut *self.runner);
        let outputs = catch_unwind(move || { runner }.0.run(&views))
            .unwrap_or_else(|panic| Err(Error::internal("a run panicked").with_source(panic_text(panic.as_ref()))))?;
        check_rows(&outputs, batch.len())?;
        Ok(outputs)
    }
}

/// A single item is run from where it lies.
const fn numbers<'a>(rows: &'a [&'a [f32]]) -> Numbers<'a> {
    match rows {
        [row] => Numbers::Together(row),
        rows => Numbers::Apart(rows),
    }
}

fn check_rows(outputs: &[Tensor], rows: usize) -> Result<()> {
    match outputs.iter().find(|tensor| tensor.shape.first() != Some(&rows)) {
        None => Ok(()),
        Some(tensor) => {
            Err(Error::internal(format!("{rows} items went in, an output of shape {:?} came", tensor.shape)))
        }
    }
}

fn answer(batch: Vec<Job>, outputs: &[Tensor], started: Instant, run: Duration) {
    let size = batch.len();
    for (at, job) in batch.into_iter().enumerate() {
        let rows = outputs
            .iter()
            .map(|tensor| {
                let length = tensor.data.len() / size;
                Row { shape: tensor.shape[1..].to_vec(), data: tensor.data[at * length..(at + 1) * length].to_vec() }
            })
            .collect();
        let queued = started.saturating_duration_since(job.queued_at);
        job.finish(Ok(Answer { rows, queued, run, batch: size }));
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no text".to_owned())
}
