//! The events that wait for their delivery.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::Event;

/// A bounded queue of one consumer: where there is no room, the oldest event goes, since the newest says most.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<VecDeque<Event>>,
    capacity: usize,
    state: watch::Sender<State>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// Events that wait or are on their way.
    unfinished: usize,
    hurries: bool,
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self { waiting: Mutex::default(), capacity: capacity.max(1), state: watch::Sender::default() }
    }

    /// Adds an event; returns the one that had to go for it.
    pub(super) fn push(&self, event: Event) -> Option<Event> {
        let mut waiting = self.waiting();
        let dropped = if waiting.len() >= self.capacity { waiting.pop_front() } else { None };
        waiting.push_back(event);
        drop(waiting);
        if dropped.is_none() {
            self.state.send_modify(|state| state.unfinished += 1);
        }
        dropped
    }

    /// The oldest event, as soon as there is one. It is unfinished until [`done`](Self::done).
    pub(super) async fn next(&self) -> Event {
        let mut state = self.state.subscribe();
        loop {
            if let Some(event) = self.waiting().pop_front() {
                return event;
            }
            // The sender lives as long as the queue.
            let _ = state.changed().await;
        }
    }

    /// The event that was taken last has come to its end.
    pub(super) fn done(&self) {
        self.state.send_modify(|state| state.unfinished = state.unfinished.saturating_sub(1));
    }

    pub(super) fn depth(&self) -> usize {
        self.waiting().len()
    }

    /// From now on no delivery waits.
    pub(super) fn hurry(&self) {
        self.state.send_modify(|state| state.hurries = true);
    }

    /// Comes when no delivery waits any more, at once if so already.
    pub(super) async fn until_hurried(&self) {
        let _ = self.state.subscribe().wait_for(|state| state.hurries).await;
    }

    /// Comes when nothing is unfinished.
    pub(super) async fn until_idle(&self) {
        let _ = self.state.subscribe().wait_for(|state| state.unfinished == 0).await;
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str) -> Event {
        Event { id: id.to_owned(), body: bytes::Bytes::new() }
    }

    #[tokio::test]
    async fn the_oldest_event_goes_where_there_is_no_room_and_the_others_keep_their_order() {
        let queue = Queue::new(2);
        assert!(queue.push(event("a")).is_none() && queue.push(event("b")).is_none());
        assert_eq!(queue.push(event("c")).unwrap().id, "a");
        assert_eq!((queue.next().await.id, queue.next().await.id), ("b".to_owned(), "c".to_owned()));
    }

    #[tokio::test]
    async fn it_is_idle_when_every_event_has_come_to_its_end() {
        let queue = std::sync::Arc::new(Queue::new(2));
        queue.until_idle().await;
        queue.push(event("a"));
        queue.push(event("b"));
        queue.push(event("c"));
        let waiting = tokio::spawn({
            let queue = std::sync::Arc::clone(&queue);
            async move { queue.until_idle().await }
        });
        for _ in 0..2 {
            assert!(!waiting.is_finished());
            queue.next().await;
            queue.done();
        }
        waiting.await.unwrap();
    }
}
