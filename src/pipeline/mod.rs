//! The pipeline of a model: decode → plan → infer → encode.
//!
//! A request names a [`Task`] and its images. [`Pipeline::begin`] admits all of them at once, to the queues of the
//! graphs and to the decoder, or none; each image is then an [`ImageRun`] of its own and, once it is decoded, a
//! [`GraphRun`]. What a use case makes of the outputs is its own: it stands in
//! [`service`](crate::service).
//!
//! | file | idea |
//! | --- | --- |
//! | `context` | the deadline of a request, and the time its stages took |
//! | `plan` | what a model is asked to do, and which graphs run for it |
//! | `admission` | how many pixels may wait to be decoded, and how many may be in memory |
//! | `decode` | an image file → what a model takes, and what is stored of it |
//! | `run` | the runs of one image through the graphs of its plan |
//! | `prediction` | what a model makes of an image |
//! | `embedding` | images → vectors, those of the cache without any work |
//! | `cache` | vectors of images that come again |
//! | `thumbnail` | stored images made small, for people |

mod admission;
mod cache;
mod context;
mod decode;
mod embedding;
mod plan;
mod prediction;
mod run;
mod thumbnail;

use std::{sync::Arc, time::Duration};

pub use context::{Context, Stage};
pub use decode::Image;
pub(crate) use decode::{PreparedImage, StoredForm, StoredImage, WholeForm, WholeImage};
pub(crate) use embedding::{EmbedRequest, EmbeddedImage, encoder_of};
pub(crate) use plan::{Task, masking_of, score_metrics};
pub(crate) use prediction::Prediction;
pub(crate) use run::{GraphRun, ImageRun, not_finite};

use crate::{
    admission::{Budget, Limiter},
    compute::CpuPool,
    config::Limits,
    error::Result,
    telemetry::Metrics,
};

/// The longer side, in pixels, up to which an image is decoded faster than a change of thread takes.
const INLINE_SIDE: u32 = 128;

/// Requests with more images than this leave the async threads however small the images are.
const INLINE_IMAGES: usize = 4;

/// What all images share. One for the process.
pub(crate) struct Pipeline {
    pool: Arc<CpuPool>,
    cache: cache::VectorCache,
    /// Blocks of pixels admitted and not yet decoded.
    decoding: Arc<Limiter>,
    /// Bytes of decoded images.
    decoded: Arc<Budget>,
    max_pixels: u64,
    metrics: Arc<Metrics>,
}

/// The parts a pipeline is put together from.
pub(crate) struct PipelineParts<'a> {
    pub(crate) pool: Arc<CpuPool>,
    /// Bytes of vectors kept for images that come again; 0: none.
    pub(crate) cache_bytes: u64,
    pub(crate) limits: &'a Limits,
    pub(crate) metrics: Arc<Metrics>,
}

impl Pipeline {
    pub(crate) fn new(parts: PipelineParts<'_>) -> Self {
        let PipelineParts { pool, cache_bytes, limits, metrics } = parts;
        Self {
            cache: cache::VectorCache::new(cache_bytes, Arc::clone(&metrics)),
            decoding: admission::decode_limiter(pool.threads(), Arc::clone(&metrics)),
            decoded: admission::decoded_budget(limits.decoded_in_flight_bytes, &metrics),
            max_pixels: limits.image_pixels,
            pool,
            metrics,
        }
    }

    /// Notes the time that a stage took for one item, for the request and for the metrics.
    pub(crate) fn note(&self, ctx: &Context, stage: Stage, took: Duration) {
        note(ctx, &self.metrics, stage, took);
    }

    /// Runs work on images of this longer side off the async threads, unless the work is too small to be worth the
    /// change of thread.
    async fn compute<T, F>(&self, side: u32, dispatch: Dispatch, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T> + Send + 'static,
    {
        // Quality figures and PNGs take several times a decode of the same size.
        let small = side <= INLINE_SIDE / 2;
        if dispatch == Dispatch::InlineIfSmall && small { work() } else { self.pool.run(work).await? }
    }
}

/// As [`Pipeline::note`], for work that has left the pipeline.
pub(crate) fn note(ctx: &Context, metrics: &Metrics, stage: Stage, took: Duration) {
    ctx.note(stage, took);
    metrics.observe_stage(stage.as_str(), took.as_secs_f64());
}

/// On which threads the images of a request are worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dispatch {
    /// Small images on the async thread that serves the request, others on the CPU pool.
    InlineIfSmall,
    Pool,
}

impl Dispatch {
    const fn for_images(count: usize) -> Self {
        if count <= INLINE_IMAGES { Self::InlineIfSmall } else { Self::Pool }
    }
}
