//! The section of the webhook.

use super::{Secret, section::section};

section! {
    /// Where verdicts other than `ok` are posted, signed as Standard Webhooks has it.
    pub struct Webhook in "webhook" {
        /// The address that events are posted to, `https://…` or `http://…`; empty: none are.
        url: String = String::new(),
        /// The secret that signs events, as text or after `whsec_` in base64; better given by the environment than in a file.
        secret: Secret = Secret::default(),
        /// Events that wait for their delivery; where there are more, the oldest are dropped.
        queue: usize = 1_000,
        /// How often an event is sent again that was not taken, after 1, 2, 4 and up to 60 seconds.
        retries: u32 = 8,
        /// Milliseconds that the receiver has for each answer.
        timeout_ms: u64 = 10_000,
    }
}

impl Webhook {
    /// Contradictions and values out of range.
    pub(super) fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        if self.url.is_empty() {
            return found;
        }
        if !self.url.starts_with("https://") && !self.url.starts_with("http://") {
            found.push("webhook.url begins with https:// or http://".into());
        }
        if self.secret.expose().is_empty() {
            found.push("webhook.secret is empty: events would not be signed".into());
        }
        for (key, value) in [("queue", self.queue as u64), ("timeout_ms", self.timeout_ms)] {
            if value == 0 {
                found.push(format!("webhook.{key} must be at least 1"));
            }
        }
        found
    }
}
