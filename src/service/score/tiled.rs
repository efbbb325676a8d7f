//! Large images, scored in overlapping tiles at their own resolution.
//!
//! An image is decoded once. A few of its tiles are cut, admitted and run at a time, beside each other, so that memory
//! holds the image, its map and those tiles, however many there are.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{ScoreRequest, Scored, output, output::Canvas, reading::Reading};
use crate::{
    anomaly::{
        ErrorMap, ScoreMetric,
        pooling::Pooling,
        tiles::{Stitching, Tiling},
    },
    error::{Error, ErrorKind, Result},
    image::{Region, Size},
    model::Model,
    pipeline::{Context, GraphRun, Image, Task, WholeForm, WholeImage},
    service::{MapFormat, Service},
};

/// Tiles of one image that are worked on at a time: enough for the batches of several sessions.
const TILES_AT_A_TIME: usize = 32;

/// Images of one request that are tiled at a time: while the last tiles of one are run, the next one is decoded.
pub(super) const IMAGES_AT_A_TIME: usize = 2;

/// Bytes that the tensors of those tiles may take together, unless four of them take more.
const TENSOR_BYTES: usize = 64 << 20;

/// The longest time that a tile waits before it asks again for its turn.
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// How an image is tiled, and what is wanted of it.
#[derive(Clone, Copy)]
pub(super) struct Tiles<'a> {
    pub(super) tile: u32,
    pub(super) overlap: u32,
    pub(super) request: &'a Arc<ScoreRequest>,
}

impl Service {
    pub(super) async fn score_tiled(
        &self,
        ctx: &Context,
        model: &Arc<Model>,
        image: Image,
        tiles: Tiles<'_>,
    ) -> Result<Scored> {
        let file = image.as_ref().ok().cloned();
        let form = WholeForm { input: model.preprocessor().input().clone(), spare_bytes: output::DRAWN_BYTES + 1 };
        let whole = Arc::new(self.pipeline.decode_whole(ctx, image, form).await?);
        let size = Size { width: whole.pixels.width, height: whole.pixels.height };
        let tiling = Tiling::new(size, tiles.tile, tiles.overlap)?;
        let counted = tiles.request.settings.roi.as_ref().map(|roi| roi.on(size)).transpose()?;
        let map = self.tile_maps(ctx, model, &whole, (&tiling, tiles.request)).await?;
        // The image is drawn over in its own colours, whatever the model sees; its memory is counted with the map's.
        let overlay = tiles.request.output.map == MapFormat::Overlay;
        let canvas = match file.filter(|_| overlay) {
            Some(file) => {
                drop(whole);
                let form = WholeForm { input: output::drawn_input(), spare_bytes: output::DRAWN_BYTES };
                Canvas::Image(self.pipeline.decode_whole(ctx, Ok(file), form).await?)
            }
            None => Canvas::Tiled(whole),
        };
        let request = Arc::clone(tiles.request);
        let finish = move || {
            let mut map = map;
            let values = counted.as_ref().map(|counted| counted.values(&map.data));
            let pool = |pooling: &Pooling| {
                let score = pooling.pool(values.as_deref().unwrap_or(&map.data));
                score.ok_or_else(|| Error::internal("a tiled image is scored without its map"))
            };
            let score = pool(&request.settings.pooling)?;
            let parts = request.beside.iter().map(pool).collect::<Result<Vec<f64>>>()?;
            if let Some(counted) = counted {
                counted.clear_outside(&mut map.data);
            }
            let peak = request.output.peak.then(|| f64::from(map.maximum()));
            Ok(Scored { peak, parts, ..request.output.finish(score, &map, &canvas)? })
        };
        self.compute(finish).await?
    }

    /// The map of a whole image, of those of its tiles.
    async fn tile_maps(
        &self,
        ctx: &Context,
        model: &Arc<Model>,
        whole: &Arc<WholeImage>,
        (tiling, request): (&Tiling, &Arc<ScoreRequest>),
    ) -> Result<ErrorMap> {
        let maps = tiling.tiles().into_iter().enumerate().map(|(number, tile)| async move {
            let run = self.admit_tile(ctx, model, (number, request.settings.metric)).await?;
            Ok::<_, Error>((number, tile, self.tile_map(run, (whole, tile), request).await?))
        });
        // In their order, so that the sums of overlapping tiles are the same each time.
        let tensor_bytes = model.preprocessor().tensor_len() * size_of::<f32>();
        let at_a_time = (TENSOR_BYTES / tensor_bytes).clamp(4, TILES_AT_A_TIME);
        let added = stream::iter(maps).buffered(at_a_time).try_fold(
            Box::new(Stitching::new(tiling)),
            async |mut stitching, (number, tile, map)| {
                self.compute(move || {
                    stitching.add(number, tile, map);
                    stitching
                })
                .await
            },
        );
        Ok(added.await?.into_map())
    }

    /// Admits a tile. The first one of an image is refused where there is too much to do; the others, for which work has
    /// been done, wait for their turn.
    async fn admit_tile<'a>(
        &'a self,
        ctx: &'a Context,
        model: &'a Arc<Model>,
        (number, metric): (usize, ScoreMetric),
    ) -> Result<GraphRun<'a>> {
        loop {
            let refused = match self.pipeline.begin_part(ctx, model, Task::Score(metric)) {
                Err(error) if number > 0 && error.kind() == ErrorKind::Overloaded => error,
                outcome => return outcome,
            };
            let wait = refused.retry_after().unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT);
            if Instant::now() + wait >= ctx.deadline {
                return Err(refused);
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn tile_map(
        &self,
        mut run: GraphRun<'_>,
        (whole, tile): (&Arc<WholeImage>, Region),
        request: &Arc<ScoreRequest>,
    ) -> Result<ErrorMap> {
        let prepared = run.prepare_part(whole, tile).await?;
        let reading = Reading::take(&mut run, prepared.tensor, request.settings.metric).await?;
        let (model, pixels, request) = (Arc::clone(run.model()), prepared.pixels, Arc::clone(request));
        run.compute(move || reading.smoothed_map(&request.settings, &model.preprocessor().unit(&pixels))).await
    }
}
