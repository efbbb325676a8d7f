//! Events that are posted to an address of the configuration: signed, retried, and never waited for.
//!
//! | file | idea |
//! | --- | --- |
//! | `queue` | events that wait; the oldest goes where there is no room |
//! | `delivery` | one event on its way, again and again until it is taken |
//! | `signature` | what proves that an event is ours |

mod delivery;
mod queue;
mod signature;

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use tokio::task::AbortHandle;

use self::{
    delivery::{Delivery, Outcome},
    queue::Queue,
};
use crate::{
    config,
    error::{Error, Result},
    telemetry::{Metrics, metrics::OutcomeLabels},
};

/// An event as it is posted.
#[derive(Debug, Clone)]
struct Event {
    /// Differs from that of every other event; the same each time that the event is sent.
    id: String,
    body: Bytes,
}

/// The way to the address. Dropping it ends the deliveries.
#[derive(Debug)]
pub struct Webhook {
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
    worker: AbortHandle,
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

impl Webhook {
    /// The webhook of the configuration; none where no address is configured. Needs the async runtime.
    ///
    /// # Errors
    /// `invalid_request` for an address or a secret that cannot be used.
    pub fn start(settings: &config::Webhook, metrics: Arc<Metrics>) -> Result<Option<Self>> {
        if settings.url.is_empty() {
            return Ok(None);
        }
        let delivery = Delivery::new(settings)?;
        let queue = Arc::new(Queue::new(settings.queue));
        let worker = tokio::spawn(deliver_all(Arc::clone(&queue), delivery, Arc::clone(&metrics))).abort_handle();
        Ok(Some(Self { queue, metrics, worker }))
    }

    /// Queues an event, and drops the oldest one where there is no room.
    pub fn send(&self, event: &impl Serialize) {
        let body = match serde_json::to_vec(event) {
            Ok(body) => Bytes::from(body),
            Err(error) => {
                tracing::error!(%error, "an event of the webhook cannot be written");
                return;
            }
        };
        let event = Event { id: format!("evt_{}", uuid::Uuid::new_v4().simple()), body };
        if self.queue.push(event).is_some() {
            count(&self.metrics, "dropped");
        }
        self.tell_depth();
    }

    /// Ends when no event waits any more. From now on each is tried once.
    pub async fn drain(&self) {
        self.queue.hurry();
        self.queue.until_idle().await;
    }

    fn tell_depth(&self) {
        self.metrics.webhook_queue.set(i64::try_from(self.queue.depth()).unwrap_or(i64::MAX));
    }
}

/// Delivers events one after the other. Ends never.
async fn deliver_all(queue: Arc<Queue>, delivery: Delivery, metrics: Arc<Metrics>) {
    loop {
        let event = queue.next().await;
        metrics.webhook_queue.set(i64::try_from(queue.depth()).unwrap_or(i64::MAX));
        match delivery.deliver(&event, &queue).await {
            Outcome::Taken => count(&metrics, "delivered"),
            Outcome::GivenUp(reason) => {
                count(&metrics, "failed");
                tracing::warn!(event_id = event.id, reason, "an event of the webhook was not taken");
            }
        }
        queue.done();
    }
}

fn count(metrics: &Metrics, outcome: &'static str) {
    metrics.webhook_events.get_or_create(&OutcomeLabels { outcome }).inc();
}

/// The error of a webhook that cannot be used.
fn unusable(reason: impl std::fmt::Display) -> Error {
    Error::invalid_request(format!("the webhook cannot be used: {reason}"))
}
