//! What decoding may take: the time of the CPU pool, and memory for pixels.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use prometheus_client::metrics::gauge::Gauge;

use super::{Dispatch, Image, Pipeline};
use crate::{
    admission::{Budget, BudgetOptions, BytesPermit, Limiter, LimiterOptions, Permit},
    error::{ErrorKind, Result},
    image::{Header, Shrink},
    telemetry::Metrics,
};

/// Pixels of a file that are one unit of decoding: their count is known from the header, before any work.
const BLOCK_PIXELS: u64 = 1024;

/// Blocks below which the time of an image tells about overhead and not about pixels.
const LEAST_TELLING_BLOCKS: u64 = 64;

/// The limiter of decoding. Its capacity is time alone: memory has a budget, and items a limit for each graph.
pub(super) fn decode_limiter(threads: usize, metrics: Arc<Metrics>) -> Arc<Limiter> {
    let options = LimiterOptions {
        noun: "images to decode",
        key: "limits.deadline_ms",
        capacity: u64::MAX,
        workers: threads as u64,
        work: "decode",
        model: String::new(),
        depth: Gauge::default(),
    };
    Limiter::new(options, metrics)
}

pub(super) fn decoded_budget(limit: u64, metrics: &Metrics) -> Arc<Budget> {
    Budget::new(BudgetOptions {
        noun: "decoded images",
        key: "limits.decoded_in_flight_bytes",
        limit,
        too_large: ErrorKind::ImageTooLarge,
        held: metrics.decoded_bytes_in_flight.clone(),
    })
}

/// An image that can be decoded before its deadline, as far as one can tell. It may be none: its error comes when its
/// turn does, as the others' results.
pub(super) struct AdmittedImage {
    pub(super) image: Image,
    pub(super) permit: DecodePermit,
    pub(super) dispatch: Dispatch,
}

/// The right to decode one image.
#[derive(Debug)]
pub(super) struct DecodePermit(Permit);

impl DecodePermit {
    /// Ends the decoding of an image that was decoded and prepared in this time.
    pub(super) fn finish(self, took: Duration) {
        if self.0.units() >= LEAST_TELLING_BLOCKS {
            self.0.finish(took);
        }
    }
}

impl Pipeline {
    /// Admits images to be decoded, all of them or none, by what their headers claim.
    ///
    /// # Errors
    /// `overloaded` where decoding what is admitted and these would take beyond the deadline.
    pub(super) fn admit_images(&self, images: Vec<Image>, deadline: Instant) -> Result<Vec<AdmittedImage>> {
        let blocks: Vec<u64> = images.iter().map(|image| self.blocks(image)).collect();
        let mut permit = self.decoding.admit_items(blocks.iter().sum(), images.len() as u64, deadline)?;
        let dispatch = Dispatch::for_images(images.len());
        let admitted = |(image, blocks)| AdmittedImage { image, permit: DecodePermit(permit.split(blocks)), dispatch };
        Ok(images.into_iter().zip(blocks).map(admitted).collect())
    }

    /// An image that is none, or one that will be refused for its size, takes no time.
    fn blocks(&self, image: &Image) -> u64 {
        let header = image.as_ref().ok().and_then(|file| file.header().ok());
        let decodable = header.filter(|header| header.check_size(self.max_pixels).is_ok());
        decodable.map_or(0, |header| header.pixels().div_ceil(BLOCK_PIXELS))
    }

    /// Memory for decoded images and what is made of them, as soon as so much is free. What takes more than there ever is
    /// gets all of it, and so is decoded alone: a limit on pixels decides which images are too large. Whoever holds some
    /// already must not wait for more: two who do could wait for each other.
    pub(crate) async fn memory(&self, bytes: u64, deadline: Instant) -> Result<BytesPermit> {
        self.decoded.take(bytes.min(self.decoded.limit()), deadline).await
    }
}

/// Bytes that decoding an image at this size takes. Beside the decoded pixels there may be a copy that is upright and in
/// the model's colours.
pub(super) fn decoding_bytes(header: &Header, shrink: Shrink) -> u64 {
    header.decoded_bytes(shrink) + 3 * header.decoded_pixels(shrink)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        compute::CpuPool,
        config::Limits,
        error::Error,
        image::{Encoded, Plane, encode},
        pipeline::PipelineParts,
    };

    fn pipeline(limits: &Limits) -> Pipeline {
        let pool = Arc::new(CpuPool::new(2).unwrap());
        Pipeline::new(PipelineParts { pool, cache_bytes: 0, limits, metrics: Arc::default() })
    }

    fn within(ms: u64) -> Instant {
        Instant::now() + Duration::from_millis(ms)
    }

    /// A million pixels: 977 blocks.
    fn large() -> Encoded {
        let plane = Plane { width: 1000, height: 1000, channels: 1, data: vec![0.0; 1_000_000] };
        Encoded::new(Bytes::from(encode::png(&plane).unwrap()))
    }

    #[test]
    fn images_that_cannot_be_decoded_in_time_are_refused_whole_and_told_when_to_come_back() {
        let pipeline = pipeline(&Limits::default());
        let image = large();
        let admit = |ms| pipeline.admit_images(vec![Ok(image.clone()), Ok(image.clone())], within(ms));
        let mut first = admit(0).expect("nothing is known yet");
        first.pop().unwrap().permit.finish(Duration::from_secs(1));
        // One image is left and two more are asked for: three seconds of work for two threads.
        let refused = admit(200).err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::Overloaded);
        assert!(refused.retry_after().unwrap() > Duration::from_secs(1), "{refused:?}");
        assert!(pipeline.metrics.render().contains("work=\"decode\",reason=\"deadline\"} 2"));
        drop(first);
        assert_eq!(pipeline.decoding.in_use(), 0);
    }

    #[test]
    fn one_slow_image_does_not_shut_out_the_next_from_an_idle_server() {
        let pipeline = pipeline(&Limits::default());
        let image = large();
        let first = pipeline.admit_images(vec![Ok(image.clone())], within(50)).unwrap().pop().unwrap();
        first.permit.finish(Duration::from_secs(60));
        assert!(pipeline.admit_images(vec![Ok(image)], within(50)).is_ok());
    }

    #[test]
    fn what_is_no_image_is_admitted_and_takes_no_blocks() {
        let pipeline = pipeline(&Limits::default());
        let images = vec![Ok(Encoded::new(Bytes::from_static(b"text"))), Err(Error::invalid_request("bad base64"))];
        assert_eq!(pipeline.admit_images(images, Instant::now()).unwrap().len(), 2);
        let limits = Limits { image_pixels: 999_999, ..Limits::default() };
        assert_eq!(crate::pipeline::Pipeline::blocks(&self::pipeline(&limits), &Ok(large())), 0);
    }

    #[tokio::test]
    async fn an_image_that_takes_more_memory_than_there_is_gets_all_of_it_and_waits_for_the_others() {
        let limits = Limits { decoded_in_flight_bytes: 4_000_000, ..Limits::default() };
        let pipeline = pipeline(&limits);
        let file = large();
        let bytes = decoding_bytes(file.header().unwrap(), Shrink::NONE);
        let held = pipeline.memory(bytes, within(5000)).await.unwrap();
        let late = pipeline.memory(bytes, within(5)).await.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::DeadlineExceeded);
        drop(held);
        assert!(pipeline.memory(bytes, within(5000)).await.is_ok());
        assert_eq!(pipeline.metrics.decoded_bytes_in_flight.get(), 0);
    }
}
