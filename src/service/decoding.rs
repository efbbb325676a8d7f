//! Whether images can be decoded in time: told from their headers, before any is decoded.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::Image;
use crate::{
    error::{Error, Result},
    image::Header,
    telemetry::{Metrics, metrics::RejectLabels},
};

/// The least a client is told to wait.
const MIN_RETRY: Duration = Duration::from_millis(10);

/// The images that are admitted and not yet decoded, and how long such work takes.
pub(super) struct DecodeGate {
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
}

struct Shared {
    threads: u64,
    /// Pixels admitted and not yet decoded.
    backlog: AtomicU64,
    /// Smoothed time for 1,024 pixels, in nanoseconds.
    nanos_per_block: AtomicU64,
}

/// One admitted image; its pixels leave the backlog when it goes.
pub(super) struct DecodeTicket {
    shared: Arc<Shared>,
    pixels: u64,
}

const BLOCK: u64 = 1024;

impl DecodeGate {
    pub(super) fn new(threads: usize, metrics: Arc<Metrics>) -> Self {
        let shared =
            Shared { threads: threads.max(1) as u64, backlog: AtomicU64::new(0), nanos_per_block: AtomicU64::new(0) };
        Self { shared: Arc::new(shared), metrics }
    }

    /// A ticket for each image, or `overloaded` where decoding what is admitted and these would take beyond the
    /// deadline. Images that are none get a ticket too: their own error comes later.
    pub(super) fn admit(&self, images: &[Image], max_pixels: u64, deadline: Instant) -> Result<Vec<DecodeTicket>> {
        let pixels = |image: &Image| {
            let header = image.as_ref().ok().and_then(|image| image.header().ok());
            header.filter(|header| header.check_size(max_pixels).is_ok()).map_or(0, Header::pixels)
        };
        let sizes: Vec<u64> = images.iter().map(pixels).collect();
        let total: u64 = sizes.iter().sum();
        let wait = self.shared.time_for(self.shared.backlog.load(Ordering::Relaxed) + total);
        let left = deadline.saturating_duration_since(Instant::now());
        if wait > left {
            let labels = RejectLabels { model: String::new(), work: "decode", reason: "deadline" };
            self.metrics.rejected.get_or_create(&labels).inc_by(images.len() as u64);
            let text = format!(
                "decoding what waits and this would take about {} ms, beyond the {} ms left to the deadline",
                wait.as_millis(),
                left.as_millis()
            );
            return Err(Error::overloaded(text, wait.saturating_sub(left).max(MIN_RETRY)));
        }
        self.shared.backlog.fetch_add(total, Ordering::Relaxed);
        let ticket = |pixels| DecodeTicket { shared: Arc::clone(&self.shared), pixels };
        Ok(sizes.into_iter().map(ticket).collect())
    }
}

impl Shared {
    fn time_for(&self, pixels: u64) -> Duration {
        let nanos = self.nanos_per_block.load(Ordering::Relaxed);
        Duration::from_nanos((pixels / BLOCK).saturating_mul(nanos) / self.threads)
    }
}

impl DecodeTicket {
    /// Learns from an image that was decoded and prepared.
    pub(super) fn done(self, took: Duration) {
        // small images tell about overhead, not about pixels
        if self.pixels >= 64 * BLOCK {
            let sample = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX) / (self.pixels / BLOCK);
            let old = self.shared.nanos_per_block.load(Ordering::Relaxed);
            let new = if old == 0 { sample } else { old - old / 8 + sample / 8 };
            self.shared.nanos_per_block.store(new, Ordering::Relaxed);
        }
    }
}

impl Drop for DecodeTicket {
    fn drop(&mut self) {
        self.shared.backlog.fetch_sub(self.pixels, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        error::ErrorKind,
        image::{Encoded, Plane, encode},
    };

    /// The head of a bitmap of 1,000 × 1,000 pixels: enough for a size, not for an image.
    fn large() -> Image {
        let plane = Plane { width: 1000, height: 1000, channels: 1, data: vec![0.0; 1_000_000] };
        Ok(Encoded::new(Bytes::from(encode::png(&plane)?)))
    }

    #[test]
    fn images_that_cannot_be_decoded_in_time_are_refused_at_once_and_told_when_to_come_back() {
        let gate = DecodeGate::new(2, Arc::default());
        let admit = |ms| gate.admit(&[large(), large()], 1 << 30, Instant::now() + Duration::from_millis(ms));
        let mut first = admit(0).expect("nothing is known yet");
        first.pop().unwrap().done(Duration::from_secs(1));
        // one is left, two more are asked for: three seconds of work for two threads
        let refused = admit(200).err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::Overloaded);
        let retry = refused.retry_after().unwrap();
        assert!((Duration::from_millis(1200)..Duration::from_millis(1400)).contains(&retry), "{retry:?}");
        drop(first);
        assert!(admit(1100).is_ok());
        assert_eq!(gate.shared.backlog.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_no_image_is_admitted_and_weighs_nothing() {
        let gate = DecodeGate::new(1, Arc::default());
        let images = [Ok(Encoded::new(Bytes::from_static(b"text"))), Err(Error::invalid_request("bad base64"))];
        let tickets = gate.admit(&images, 1000, Instant::now()).unwrap();
        assert_eq!(tickets.len(), 2);
        assert_eq!(gate.shared.backlog.load(Ordering::Relaxed), 0);
    }
}
