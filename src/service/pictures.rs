//! From a picture's bytes to what a model takes: decoded once, for any number of models.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Context, Service, Stage};
use crate::{
    batch::{Row, Ticket},
    error::{Error, Result},
    image::{self, Pixels},
    model::{Graph, Model},
    telemetry::Metrics,
};

/// A picture as it came: its undecoded bytes, or why there are none.
pub type Picture = Result<Bytes, Error>;

/// Pictures with no side above this decode faster than a change of thread costs.
const INLINE_SIDE: u32 = 128;

/// Requests with more pictures than this leave the async threads however small the pictures are.
const INLINE_PICTURES: usize = 4;

/// A picture as one model sees it.
#[derive(Debug)]
pub(super) struct Prepared {
    /// At the model's size.
    pub(super) pixels: Pixels,
    /// The graph's input without its batch axis: `[channels, height, width]`.
    pub(super) tensor: Row,
}

/// How many bytes of decoded pictures there may be at a time; taken picture by picture.
pub(super) struct DecodedBudget {
    room: Arc<Semaphore>,
    units: u32,
    metrics: Arc<Metrics>,
}

/// Bytes in one permit: a semaphore counts to 2⁶¹ but takes at most 2³² at once.
const UNIT: u64 = 1024;

/// Room taken by one decoded picture, given back when it goes.
pub(super) struct Room {
    bytes: i64,
    metrics: Arc<Metrics>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.metrics.decoded_bytes_in_flight.dec_by(self.bytes);
    }
}

impl DecodedBudget {
    pub(super) fn new(bytes: u64, metrics: Arc<Metrics>) -> Self {
        let units = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).max(1);
        Self { room: Arc::new(Semaphore::new(units as usize)), units, metrics }
    }

    pub(super) async fn take(&self, bytes: u64, deadline: Instant) -> Result<Room> {
        // a picture within the pixel limit always fits: the configuration is checked for it
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.units);
        let permit = within(deadline, Arc::clone(&self.room).acquire_many_owned(units))
            .await?
            .map_err(|_| Error::unavailable("the server is shutting down"))?;
        let bytes = i64::from(units) * UNIT as i64;
        self.metrics.decoded_bytes_in_flight.inc_by(bytes);
        Ok(Room { bytes, metrics: Arc::clone(&self.metrics), _permit: permit })
    }
}

/// Waits, but not beyond the deadline.
pub(super) async fn within<T>(deadline: Instant, future: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout_at(deadline.into(), future)
        .await
        .map_err(|_| Error::deadline_exceeded("the deadline passed while the picture waited to be decoded"))
}

/// How the work on a request's pictures is spread: given to each of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread {
    inline: bool,
}

impl Spread {
    pub(super) const fn of(pictures: usize) -> Self {
        Self { inline: pictures <= INLINE_PICTURES }
    }
}

impl Service {
    /// Decodes a picture and prepares it for each of the models, in their order.
    pub(super) async fn prepare(
        &self,
        ctx: &Context,
        picture: Picture,
        models: Vec<Arc<Model>>,
        spread: Spread,
    ) -> Result<Vec<Prepared>> {
        let bytes = picture?;
        let max_pixels = self.limits.image_pixels;
        let header = image::probe(&bytes, max_pixels)?;
        let room = self.decoded.take(image::decoded_bytes(&header), ctx.deadline).await?;
        let metrics = Arc::clone(&self.metrics);
        let noted = ctx.clone();
        let work = move || {
            let _room = room;
            let started = Instant::now();
            let decoded = image::decode(&bytes, max_pixels)?;
            drop(bytes);
            note(&noted, &metrics, Stage::Decode, started.elapsed());
            let started = Instant::now();
            let prepared = models.iter().map(|model| prepare_for(&decoded, model)).collect();
            note(&noted, &metrics, Stage::Preprocess, started.elapsed());
            prepared
        };
        if spread.inline && header.width.max(header.height) <= INLINE_SIDE {
            return work();
        }
        within(ctx.deadline, self.pool.run(work)).await??
    }

    /// [`Service::prepare`] for a single model.
    pub(super) async fn prepare_one(
        &self,
        ctx: &Context,
        picture: Picture,
        model: &Arc<Model>,
        spread: Spread,
    ) -> Result<Prepared> {
        let mut prepared = self.prepare(ctx, picture, vec![Arc::clone(model)], spread).await?;
        prepared.pop().ok_or_else(|| Error::internal("a picture was prepared for no model"))
    }

    /// Runs work on pictures of this longer side off the async threads, unless it is too small to be worth the way.
    pub(super) async fn on_pool<T, F>(&self, side: u32, spread: Spread, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T> + Send + 'static,
    {
        // quality figures and PNGs take several times a decode of the same size
        let small = side <= INLINE_SIDE / 2;
        if spread.inline && small { work() } else { self.pool.run(work).await? }
    }

    /// Runs a graph for one admitted item; the rows come in the order of the graph's outputs.
    pub(super) async fn run_graph(
        &self,
        ctx: &Context,
        graph: &Graph,
        inputs: Vec<(&str, Row)>,
        ticket: Ticket,
    ) -> Result<Vec<Row>> {
        let inputs = graph.inputs_from(inputs)?;
        let answer = graph.queue.submit(inputs, ctx.deadline, ticket).answer().await?;
        note(ctx, &self.metrics, Stage::Queue, answer.queued);
        note(ctx, &self.metrics, Stage::Infer, answer.run);
        Ok(answer.rows)
    }
}

fn prepare_for(decoded: &image::Decoded, model: &Model) -> Result<Prepared> {
    let preprocessor = model.preprocessor();
    let pixels = preprocessor.pixels(decoded)?;
    let mut data = vec![0.0; preprocessor.tensor_len()];
    preprocessor.write_tensor(&pixels, &mut data);
    let shape = vec![pixels.channels.count(), pixels.height as usize, pixels.width as usize];
    Ok(Prepared { pixels, tensor: Row { shape, data } })
}

pub(super) fn note(ctx: &Context, metrics: &Metrics, stage: Stage, took: Duration) {
    ctx.note(stage, took);
    metrics.observe_stage(stage.as_str(), took.as_secs_f64());
}
