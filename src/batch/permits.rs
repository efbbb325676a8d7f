//! Permits to run, shared by every worker of the process: sessions × threads in use never exceed the cores.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The cores of the process as a semaphore for worker threads. The semaphore serves waiters in the order of asking, so
/// that narrow runs cannot keep a wide one waiting for ever.
#[derive(Debug, Clone)]
pub struct RunPermits {
    free: Arc<Semaphore>,
    cores: usize,
}

/// Cores held by one run until the permit is dropped.
#[must_use = "dropping a permit gives its cores back"]
#[derive(Debug)]
pub(crate) struct RunPermit {
    /// None only if the semaphore were closed, which it never is.
    _cores: Option<OwnedSemaphorePermit>,
}

impl RunPermits {
    #[must_use]
    pub fn new(cores: usize) -> Self {
        let cores = cores.clamp(1, Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(cores)), cores }
    }

    /// Waits for `threads` cores (all there are, if it is more): blocks, and so must not be called by an async task.
    pub(crate) fn acquire(&self, threads: usize) -> RunPermit {
        if let Some(permit) = self.try_acquire(threads) {
            return permit;
        }
        RunPermit { _cores: block_on(Arc::clone(&self.free).acquire_many_owned(self.width(threads))).ok() }
    }

    /// The same without waiting; none where that would have to wait, as behind others that do.
    pub(crate) fn try_acquire(&self, threads: usize) -> Option<RunPermit> {
        let cores = Arc::clone(&self.free).try_acquire_many_owned(self.width(threads)).ok()?;
        Some(RunPermit { _cores: Some(cores) })
    }

    fn width(&self, threads: usize) -> u32 {
        u32::try_from(threads.clamp(1, self.cores)).unwrap_or(u32::MAX)
    }
}

/// Polls a future on this thread, which sleeps in between.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn runs_of_all_widths_together_never_use_more_than_the_cores() {
        let permits = RunPermits::new(3);
        let (used, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for width in [1, 2, 3, 5, 1, 2] {
                let (permits, used, most) = (&permits, &used, &most);
                scope.spawn(move || {
                    for _ in 0..200 {
                        let _permit = permits.acquire(width);
                        let cores = width.min(3);
                        let now = used.fetch_add(cores, Ordering::SeqCst) + cores;
                        most.fetch_max(now, Ordering::SeqCst);
                        used.fetch_sub(cores, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
        assert_eq!(permits.free.available_permits(), 3);
    }

    #[test]
    fn who_does_not_wait_gets_what_is_free_and_nothing_else() {
        let permits = RunPermits::new(2);
        let first = permits.try_acquire(1).unwrap();
        assert!(permits.try_acquire(2).is_none());
        let second = permits.try_acquire(1).unwrap();
        assert!(permits.try_acquire(1).is_none());
        drop((first, second));
        assert!(permits.try_acquire(2).is_some());
    }

    #[test]
    fn who_does_not_wait_does_not_overtake_a_wide_run_that_does() {
        let permits = RunPermits::new(2);
        let held = permits.try_acquire(1).unwrap();
        let mut wide = pin!(Arc::clone(&permits.free).acquire_many_owned(2));
        assert!(wide.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert!(permits.try_acquire(1).is_none());
        drop(held);
        assert!(wide.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    }
}
