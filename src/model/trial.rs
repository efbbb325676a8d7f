//! Runs made while a model is loaded: to replay what it should answer, and to warm its sessions up.

use std::{
    sync::mpsc::{self, RecvTimeoutError},
    time::Duration,
};

use crate::{
    batch::RunPermits,
    error::{Error, Result},
    runtime::{Runner, Tensor, TensorView},
};

/// How long a run may take and how many cores it uses, like any run of the process.
#[derive(Debug, Clone)]
pub(super) struct Trial {
    pub(super) permits: RunPermits,
    pub(super) threads: usize,
    pub(super) limit: Duration,
}

impl Trial {
    /// One run.
    ///
    /// # Errors
    /// Those of the runner; `deadline_exceeded` for a run that takes longer than the limit.
    pub(super) fn run(&self, runner: &mut dyn Runner, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let views: Vec<TensorView<'_>> = inputs.iter().map(TensorView::from).collect();
        let _permit = self.permits.acquire(self.threads);
        let stop = runner.prepare()?;
        let limit = self.limit;
        let (running, ended) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            std::thread::Builder::new()
                .name("trial-limit".to_owned())
                .spawn_scoped(scope, move || {
                    if ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                        stop.stop();
                    }
                })
                .map_err(|error| Error::internal("cannot start a thread").with_source(error))?;
            let result = runner.run(&views);
            drop(running);
            result
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        error::ErrorKind,
        runtime::fake::{Act, FakeRunner, Script},
    };

    #[test]
    fn a_run_that_hangs_is_stopped_and_a_quick_one_is_not() {
        let trial = Trial { permits: RunPermits::new(1), threads: 1, limit: Duration::from_millis(20) };
        let script = Script::new(&[Act::Hang, Act::Double]);
        let mut runner = FakeRunner::new(&script);
        let input = [Tensor { shape: vec![1, 2], data: vec![1.0, 2.0] }];
        assert_eq!(trial.run(runner.as_mut(), &input).unwrap_err().kind(), ErrorKind::DeadlineExceeded);
        assert_eq!(trial.run(runner.as_mut(), &input).unwrap()[0].data, [2.0, 4.0]);
    }
}
