//! From an image's bytes to what a model takes: decoded once, for any number of models.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Context, Service, Stage, decoding::DecodeTicket, passage::side};
use crate::{
    batch::{Row, Ticket},
    error::{Error, ErrorKind, Result},
    image::{self, Encoded, Pixels, Preprocessor, Shrink},
    index::StoreMode,
    model::{Graph, Model},
    telemetry::Metrics,
};

/// An image as it came: its file, or why there is none.
pub type Image = Result<Encoded, Error>;

/// Images with no side above this decode faster than a change of thread costs.
const INLINE_SIDE: u32 = 128;

/// More bytes than this are not decoded on an async thread, whatever size they claim to have.
const INLINE_BYTES: usize = 64 << 10;

/// Requests with more images than this leave the async threads however small the images are.
const INLINE_IMAGES: usize = 4;

/// The longer side of a stored thumbnail, in pixels.
const THUMBNAIL_EDGE: u32 = 128;

/// An image as one model sees it.
#[derive(Debug)]
pub(super) struct Prepared {
    /// At the model's size.
    pub(super) pixels: Pixels,
    /// The graph's input without its batch axis: `[channels, height, width]`.
    pub(super) tensor: Row,
}

/// How many bytes of decoded images there may be at a time; taken image by image.
pub(super) struct DecodedBudget {
    room: Arc<Semaphore>,
    units: u32,
    metrics: Arc<Metrics>,
}

/// Bytes in one permit: a semaphore counts to 2⁶¹ but takes at most 2³² at once.
const UNIT: u64 = 1024;

/// Room taken by one decoded image, given back when it goes.
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
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        if units > self.units {
            let limit = u64::from(self.units) * UNIT;
            let text =
                format!("decoding the image takes up to {bytes} bytes: limits.decoded_in_flight_bytes is {limit}");
            return Err(Error::new(ErrorKind::ImageTooLarge, text));
        }
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
        .map_err(|_| Error::deadline_exceeded("the deadline passed while the image waited to be decoded"))
}

/// How the work on a request's images is spread: given to each of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread {
    inline: bool,
}

impl Spread {
    pub(super) const fn of(images: usize) -> Self {
        Self { inline: images <= INLINE_IMAGES }
    }
}

/// One image on its way through the CPU pool.
pub(super) struct Undecoded {
    pub(super) image: Image,
    pub(super) ticket: DecodeTicket,
    pub(super) spread: Spread,
    /// What of the image is to be stored.
    pub(super) keep: StoreMode,
}

/// An image that has been admitted and has room to be decoded.
pub(super) struct Opened {
    image: Encoded,
    /// As it was last decoded: models that shrink it alike share that.
    decoded: Option<image::Decoded>,
    /// What decoding has taken so far.
    took: Duration,
}

impl Opened {
    /// The image as a model sees it.
    pub(super) fn pixels(&mut self, preprocessor: &Preprocessor) -> Result<Pixels> {
        let shrink = preprocessor.shrink(self.image.header()?);
        preprocessor.pixels(self.decode(|had| had == shrink, shrink)?)
    }

    fn decode(&mut self, enough: impl Fn(Shrink) -> bool, shrink: Shrink) -> Result<&image::Decoded> {
        let decoded = match self.decoded.take().filter(|decoded| enough(decoded.shrink())) {
            Some(decoded) => decoded,
            None => {
                let started = Instant::now();
                let decoded = self.image.decode(shrink)?;
                self.took += started.elapsed();
                decoded
            }
        };
        Ok(self.decoded.insert(decoded))
    }

    fn kept(&mut self, keep: StoreMode) -> Result<Option<Kept>> {
        Ok(match keep {
            StoreMode::None => None,
            StoreMode::Original => {
                Some(Kept { bytes: self.image.bytes().clone(), media_type: self.image.header()?.format.media_type() })
            }
            StoreMode::Thumbnail => {
                let shrink = image::encode::thumbnail_shrink(self.image.header()?, THUMBNAIL_EDGE);
                let decoded = self.decode(|had| had <= shrink, shrink)?;
                let bytes = image::encode::thumbnail(decoded, THUMBNAIL_EDGE)?;
                let media_type = image::sniff::sniff(&bytes)?.media_type();
                Some(Kept { bytes: bytes.into(), media_type })
            }
        })
    }
}

/// What a collection keeps of an image.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) bytes: Bytes,
    pub(super) media_type: &'static str,
}

/// An image as each of several models sees it, decoded once.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) prepared: Vec<Prepared>,
    pub(super) kept: Option<Kept>,
}

impl Service {
    /// Admits images to be decoded, if that can be done before the deadline.
    pub(super) fn admit_images(
        &self,
        images: Vec<Image>,
        keep: StoreMode,
        deadline: Instant,
    ) -> Result<Vec<Undecoded>> {
        let tickets = self.decoding.admit(&images, self.limits.image_pixels, deadline)?;
        let spread = Spread::of(images.len());
        let undecoded = |(image, ticket)| Undecoded { image, ticket, spread, keep };
        Ok(images.into_iter().zip(tickets).map(undecoded).collect())
    }

    /// Decodes an image and prepares it for each of the models, in their order.
    pub(super) async fn prepare(&self, ctx: &Context, from: Undecoded, models: Vec<Arc<Model>>) -> Result<Decoded> {
        let keep = from.keep;
        let longest = models.iter().map(|model| side(model)).max().unwrap_or(0);
        let prepare = move |opened: &mut Opened| {
            let prepared = models.iter().map(|model| prepare_for(opened, model)).collect::<Result<_>>()?;
            Ok(Decoded { prepared, kept: opened.kept(keep)? })
        };
        self.open(ctx, from, longest, prepare).await
    }

    /// Makes room for an image and does `work` with it, whose results have this longer side; off the async threads
    /// unless both are small.
    pub(super) async fn open<T, F>(&self, ctx: &Context, from: Undecoded, side: u32, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Opened) -> Result<T> + Send + 'static,
    {
        let Undecoded { image, ticket, spread, keep: _ } = from;
        let image = image?;
        let header = *image.header()?;
        header.check_size(self.limits.image_pixels)?;
        // beside the decoded pixels there may be a copy turned upright in the model's colours
        let room = self.decoded.take(image::decoded_bytes(&header) + 3 * header.pixels(), ctx.deadline).await?;
        let small = header.width.max(header.height) <= INLINE_SIDE
            && image.bytes().len() <= INLINE_BYTES
            && side <= INLINE_SIDE;
        let (noted, metrics) = (ctx.clone(), Arc::clone(&self.metrics));
        let open = move || {
            let _room = room;
            let started = Instant::now();
            let mut opened = Opened { image, decoded: None, took: Duration::ZERO };
            let result = work(&mut opened)?;
            let took = started.elapsed();
            note(&noted, &metrics, Stage::Decode, opened.took);
            note(&noted, &metrics, Stage::Preprocess, took.saturating_sub(opened.took));
            ticket.done(took);
            Ok(result)
        };
        if spread.inline && small {
            return open();
        }
        within(ctx.deadline, self.pool.run(open)).await??
    }

    /// [`Service::prepare`] for a single model, with nothing kept.
    pub(super) async fn prepare_one(&self, ctx: &Context, from: Undecoded, model: &Arc<Model>) -> Result<Prepared> {
        let mut decoded = self.prepare(ctx, from, vec![Arc::clone(model)]).await?;
        decoded.prepared.pop().ok_or_else(|| Error::internal("an image was prepared for no model"))
    }

    /// Runs work on images of this longer side off the async threads, unless it is too small to be worth the way.
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
        let answer = graph.queue.run(inputs, ctx.deadline, ticket).await?;
        note(ctx, &self.metrics, Stage::Queue, answer.queued);
        note(ctx, &self.metrics, Stage::Infer, answer.run);
        Ok(answer.outputs)
    }
}

fn prepare_for(opened: &mut Opened, model: &Model) -> Result<Prepared> {
    let preprocessor = model.preprocessor();
    let pixels = opened.pixels(preprocessor)?;
    let mut data = vec![0.0; preprocessor.tensor_len()];
    preprocessor.write_tensor(&pixels, &mut data);
    let shape = vec![pixels.channels.count(), pixels.height as usize, pixels.width as usize];
    Ok(Prepared { pixels, tensor: Row { shape, data } })
}

pub(super) fn note(ctx: &Context, metrics: &Metrics, stage: Stage, took: Duration) {
    ctx.note(stage, took);
    metrics.observe_stage(stage.as_str(), took.as_secs_f64());
}
