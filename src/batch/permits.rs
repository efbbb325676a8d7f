//! Permits to run, shared by every worker of the process: sessions × threads in use never exceed the cores.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// A counting semaphore for worker threads, first come first served.
#[derive(Debug, Clone)]
pub struct RunPermits(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    cores: usize,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// Numbers of the next waiter to come and the next to be served: nobody overtakes, so a wide run cannot starve.
    next: u64,
    serving: u64,
}

impl RunPermits {
    #[must_use]
    pub fn new(cores: usize) -> Self {
        let state = State { free: cores.max(1), next: 0, serving: 0 };
        Self(Arc::new(Shared { cores: cores.max(1), state: Mutex::new(state), freed: Condvar::new() }))
    }

    #[must_use]
    pub fn cores(&self) -> usize {
        self.0.cores
    }

    /// Waits for `threads` cores (all there are, if it is more) and holds them until the guard goes.
    #[must_use]
    pub fn acquire(&self, threads: usize) -> RunPermit {
        let threads = threads.clamp(1, self.0.cores);
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let number = state.next;
        state.next += 1;
        while state.serving != number || state.free < threads {
            state = self.0.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.serving += 1;
        state.free -= threads;
        self.0.wake(&state);
        RunPermit { shared: Arc::clone(&self.0), threads }
    }

    /// The same without waiting: none if it would have to.
    #[must_use]
    pub fn try_acquire(&self, threads: usize) -> Option<RunPermit> {
        let threads = threads.clamp(1, self.0.cores);
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.serving != state.next || state.free < threads {
            return None;
        }
        state.free -= threads;
        Some(RunPermit { shared: Arc::clone(&self.0), threads })
    }
}

impl Shared {
    /// Lets those who wait look again. Where nobody does, the system need not be asked for whom to wake.
    fn wake(&self, state: &State) {
        if state.serving != state.next {
            self.freed.notify_all();
        }
    }
}

/// Cores held by one run.
#[derive(Debug)]
pub struct RunPermit {
    shared: Arc<Shared>,
    threads: usize,
}

impl Drop for RunPermit {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.free += self.threads;
        self.shared.wake(&state);
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
        std::thread::scope(|scope| {
            for width in [1, 2, 3, 5, 1, 2] {
                let (permits, used, most) = (&permits, &used, &most);
                scope.spawn(move || {
                    for _ in 0..200 {
                        let permit = permits.acquire(width);
                        let now = used.fetch_add(permit.threads, Ordering::SeqCst) + permit.threads;
                        most.fetch_max(now, Ordering::SeqCst);
                        used.fetch_sub(permit.threads, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
        assert_eq!(permits.0.state.lock().unwrap().free, 3);
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
}
