//! How many requests go side by side: more while the server keeps up, half as many when it says that it is busy.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// Additive increase, multiplicative decrease, as TCP finds its window: one more for each good answer until the server
/// is first busy, then one more for each round of good answers.
#[derive(Debug)]
pub(super) struct Pace {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    allowed: f64,
    most: f64,
    running: usize,
    /// No request starts before.
    resume: Instant,
    /// When it was last halved; requests from before say nothing new.
    cut: Option<Instant>,
}

/// Leave for one request; ends when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    pace: Arc<Pace>,
    started: Instant,
}

impl Pace {
    pub(super) fn new(most: usize) -> Arc<Self> {
        let state = State { allowed: 1.0, most: most.max(1) as f64, running: 0, resume: Instant::now(), cut: None };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many requests may go side by side now.
    pub(super) fn allowed(&self) -> usize {
        self.state().allowed as usize
    }

    /// Waits until one more request may go.
    pub(super) async fn turn(self: &Arc<Self>) -> Turn {
        loop {
            let changed = self.changed.notified();
            let now = Instant::now();
            let resume = {
                let mut state = self.state();
                if state.resume <= now && state.running < state.allowed as usize {
                    state.running += 1;
                    return Turn { pace: Arc::clone(self), started: now };
                }
                state.resume
            };
            if resume > now {
                tokio::time::sleep_until(resume.into()).await;
            } else {
                changed.await;
            }
        }
    }
}

impl Turn {
    /// The server kept up.
    pub(super) fn good(self) {
        let mut state = self.pace.state();
        let step = if state.cut.is_none() { 1.0 } else { 1.0 / state.allowed };
        state.allowed = (state.allowed + step).min(state.most);
    }

    /// The server asks to wait.
    pub(super) fn busy(self, wait: Duration) {
        let mut state = self.pace.state();
        let now = Instant::now();
        state.resume = state.resume.max(now + wait);
        if state.cut.is_none_or(|cut| self.started > cut) {
            state.allowed = (state.allowed / 2.0).max(1.0);
            state.cut = Some(now);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.pace.state().running -= 1;
        self.pace.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn turns(pace: &Arc<Pace>, count: usize) -> Vec<Turn> {
        let mut turns = Vec::new();
        for _ in 0..count {
            turns.push(pace.turn().await);
        }
        turns
    }

    async fn may_start(pace: &Arc<Pace>) -> bool {
        tokio::time::timeout(Duration::from_millis(20), pace.turn()).await.is_ok()
    }

    #[tokio::test]
    async fn good_answers_let_more_go_up_to_the_most() {
        let pace = Pace::new(3);
        for _ in 0..5 {
            pace.turn().await.good();
        }
        let running = turns(&pace, 3).await;
        assert!(!may_start(&pace).await);
        drop(running);
        assert!(may_start(&pace).await);
    }

    #[tokio::test]
    async fn one_round_of_refusals_halves_once_and_waits_as_told() {
        let pace = Pace::new(8);
        for _ in 0..7 {
            pace.turn().await.good();
        }
        let wait = Duration::from_millis(60);
        let told = Instant::now();
        turns(&pace, 8).await.into_iter().for_each(|turn| turn.busy(wait));
        let running = turns(&pace, 4).await;
        assert!(told.elapsed() >= wait);
        assert!(!may_start(&pace).await, "eight is halved to four");
        drop(running);
    }

    #[tokio::test]
    async fn it_never_stops_altogether() {
        let pace = Pace::new(2);
        for _ in 0..5 {
            pace.turn().await.busy(Duration::ZERO);
        }
        assert!(may_start(&pace).await);
    }
}
