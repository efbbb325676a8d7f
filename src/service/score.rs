//! Anomaly scores: by the error of reconstruction, by what a variational model believes of an image, and where they come
//! from.

mod neighbours;
mod output;
mod reading;
mod tiled;

use std::sync::Arc;

use futures_util::{StreamExt as _, future::join_all, stream};

pub use output::{MapFormat, RegionRequest, ScoreOutput};

use output::Canvas;
use reading::{MapScore, Reading, Wanted};

use super::{Context, Image, Service};
use crate::{
    anomaly::{
        ScoreMetric,
        pooling::Pooling,
        regions::Region,
        roi::{Roi, RoiMask},
        settings::{ScoreOptions, ScorePart, ScoreSettings},
    },
    error::{Error, Result},
    image::{Background, Channels, Encoded, InputSpec, Size},
    model::{Capability, GraphRole, Model},
    pipeline::{ImageRun, Task, WholeForm, score_metrics},
};

/// How images are to be scored, and what beside the score is wanted.
#[derive(Debug, Clone, Default)]
pub struct ScoreRequest {
    pub settings: ScoreSettings,
    pub output: ScoreOutput,
    /// Other poolings of the same map whose scores are wanted too.
    pub(super) beside: Vec<Pooling>,
}

/// The part of an image that a request wants looked at, as it names it.
#[derive(Debug)]
pub enum RoiRequest {
    /// Left, top, width and height in pixels.
    Box([u32; 4]),
    /// An image whose bright pixels count.
    Mask(Image),
}

/// How strange an image is to its model, and where.
#[derive(Debug)]
pub struct Scored {
    /// Grows with strangeness. Of scores that are to be combined 0 until they are.
    pub score: f64,
    /// The scores that are to be combined, or those of other poolings that a request wants beside its own.
    pub parts: Vec<f64>,
    /// The highest value of the map at the model's size, or of a tiled image at its own; where it was asked for.
    pub peak: Option<f64>,
    /// In the format asked for, at the size of the image that was sent.
    pub map: Option<Vec<u8>>,
    /// The size of the map.
    pub map_size: Option<Size>,
    /// Where they were asked for.
    pub regions: Option<Vec<Region>>,
}

impl Service {
    /// Scores images.
    ///
    /// # Errors
    /// As [`Service::embed`]; `capability_not_supported` for a metric that is not of the model, and `invalid_request` for
    /// a map of a metric that has none.
    pub(super) async fn score(
        &self,
        ctx: &Context,
        model: &Arc<Model>,
        images: Vec<Image>,
        request: &Arc<ScoreRequest>,
    ) -> Result<Vec<Result<Scored>>> {
        let parts = request.settings.each();
        if let [_] = parts[..] {
            return self.score_by_one(ctx, model, images, request).await;
        }
        let mut made: Vec<Result<Scored>> = images.iter().map(|_| Ok(Scored::without_map(0.0))).collect();
        for (at, first) in parts.iter().enumerate() {
            let same = |part: &&ScoreSettings| part.metric == first.metric;
            if parts[..at].iter().any(|part| part.metric == first.metric) {
                continue;
            }
            // One run makes the scores of all poolings of a metric.
            let beside = parts[at + 1..].iter().filter(same).map(|part| part.pooling).collect();
            let output = if at == 0 { request.output.clone() } else { ScoreOutput::default() };
            let one = Arc::new(ScoreRequest { settings: first.clone(), output, beside });
            let copies = images.iter().map(|image| image.as_ref().cloned().map_err(Error::duplicate));
            let scored = self.score_by_one(ctx, model, copies.collect(), &one).await?;
            made = made.into_iter().zip(scored).map(|(made, scored)| Ok(made?.with(scored?))).collect();
        }
        // Runs were by metric, and the scores are wanted in the order of the parts.
        let order = run_order(&parts);
        Ok(made.into_iter().map(|scored| Ok(scored?.in_order(&order))).collect())
    }

    async fn score_by_one(
        &self,
        ctx: &Context,
        model: &Arc<Model>,
        images: Vec<Image>,
        request: &Arc<ScoreRequest>,
    ) -> Result<Vec<Result<Scored>>> {
        let metric = request.settings.metric;
        if !metric.has_map() && request.output.needs_map() {
            return Err(Error::invalid_request(format!(
                "metric {metric} is of the latent and has no map; leave `map` and `regions` out"
            )));
        }
        check_detector(model, request)?;
        Ok(if let Some(neighbours) = &request.settings.neighbours {
            self.score_by_neighbours(ctx, model, images, neighbours).await?
        } else if let Some((tile, overlap)) = request.settings.tile.zip(request.settings.overlap) {
            // What the model cannot do is the request's error, and not that of each image.
            self.pipeline.check(model, Task::Score(metric))?;
            let tiles = tiled::Tiles { tile, overlap, request };
            let one = |image| self.score_tiled(ctx, model, image, tiles);
            stream::iter(images.into_iter().map(one)).buffered(tiled::IMAGES_AT_A_TIME).collect().await
        } else {
            let runs = self.pipeline.begin(ctx, model, Task::Score(metric), images)?;
            join_all(runs.into_iter().map(|run| self.score_whole(ctx, run, Arc::clone(request)))).await
        })
    }

    /// The settings that a request names, and for the others those that the model and the metric have.
    ///
    /// # Errors
    /// `capability_not_supported` for a model that does not score; `invalid_request` for settings that do not go together.
    pub(super) fn score_settings(model: &Model, options: ScoreOptions) -> Result<ScoreSettings> {
        let metric = match options.metric {
            Some(metric) => metric,
            None => usual_metric(model)?,
        };
        let pools = |metric| metric == ScoreMetric::Graph && !detector_gives(model, "score");
        let pooling = options.pooling.or((options.scores.is_none() && pools(metric)).then_some(Pooling::Max));
        let part = |part: ScorePart| ScorePart {
            pooling: part.pooling.or(pools(part.metric).then_some(Pooling::Max)),
            ..part
        };
        let scores = options.scores.map(|scores| scores.into_iter().map(part).collect());
        ScoreOptions { pooling, scores, ..options }.settings(metric)
    }

    /// The region of interest that a request names.
    ///
    /// # Errors
    /// Those of an image, for a mask.
    pub async fn region_of_interest(&self, ctx: &Context, roi: RoiRequest) -> Result<Roi> {
        let image = match roi {
            RoiRequest::Box(bounds) => return Ok(Roi::Box(bounds)),
            RoiRequest::Mask(image) => image,
        };
        let named = |error: Error| {
            let text = format!("`roi`: {}", error.message());
            Error::new(error.kind(), text).with_source(error)
        };
        // What is transparent does not count: it is dark.
        let input = InputSpec {
            width: 1,
            height: 1,
            channels: Channels::Gray,
            bgr: false,
            background: Background([0; 3]),
            orientation: true,
        };
        let form = WholeForm { input, spare_bytes: 1 };
        let whole = self.pipeline.decode_whole(ctx, image, form).await.map_err(named)?;
        self.compute(move || Roi::Mask(RoiMask::of(&whole.pixels))).await
    }

    async fn score_whole(&self, ctx: &Context, run: ImageRun<'_>, request: Arc<ScoreRequest>) -> Result<Scored> {
        let file = run.file();
        let (prepared, mut graphs) = run.prepare().await?;
        let placement = prepared.placement;
        let reading = Reading::take(&mut graphs, prepared.tensor, request.settings.metric).await?;
        // Memory is waited for here, where the image's own has been given back.
        let canvas = self.canvas(ctx, &request.output, file, placement.image).await?;
        let (model, pixels) = (graphs.model().clone(), prepared.pixels);
        let draws = request.output.draws();
        let finish = move || {
            let ScoreRequest { settings, output, .. } = &*request;
            let original = model.preprocessor().unit(&pixels);
            let counted = settings.roi.as_ref().map(|roi| roi.on(placement.image)).transpose()?;
            let on_map = counted.as_ref().map(|counted| counted.on_map(&placement)).transpose()?;
            let wanted = Wanted { map: output.needs_map(), beside: &request.beside };
            let MapScore { score, beside, map } = reading.score(settings, &original, on_map.as_ref(), wanted)?;
            let Some(map) = map else { return Ok(Scored { parts: beside, ..Scored::without_map(score) }) };
            let peak = output.peak.then(|| f64::from(map.maximum()));
            let mut on_image = if output.draws() { map.on_image(&placement) } else { map };
            if let Some(counted) = counted.filter(|_| output.draws()) {
                counted.clear_outside(&mut on_image.data);
            }
            Ok(Scored { peak, parts: beside, ..output.finish(score, &on_image, &canvas)? })
        };
        graphs.compute_large(draws, finish).await
    }

    /// What a map is drawn on, with the memory that it takes.
    async fn canvas(&self, ctx: &Context, output: &ScoreOutput, file: Option<Encoded>, size: Size) -> Result<Canvas> {
        if !output.draws() {
            return Ok(Canvas::None);
        }
        if let (MapFormat::Overlay, Some(file)) = (output.map, file) {
            let form = WholeForm { input: output::drawn_input(), spare_bytes: output::DRAWN_BYTES };
            return Ok(Canvas::Image(self.pipeline.decode_whole(ctx, Ok(file), form).await?));
        }
        let bytes = u64::from(size.width) * u64::from(size.height) * output::DRAWN_BYTES;
        Ok(Canvas::Memory(self.pipeline.memory(bytes, ctx.deadline).await?))
    }
}

/// The key of the scores that a model makes with these settings: what a calibration is bound to.
///
/// # Errors
/// `capability_not_supported` where the model makes no such score.
pub(super) fn score_key(model: &Model, settings: &ScoreSettings) -> Result<String> {
    let mut graphs: Vec<GraphRole> = Vec::new();
    for part in settings.each() {
        let task = if part.metric == ScoreMetric::Knn { Task::Embed } else { Task::Score(part.metric) };
        graphs.extend(task.graphs(model)?);
    }
    let text = serde_json::to_string(settings)
        .map_err(|error| Error::internal("the settings of a score cannot be written").with_source(error))?;
    let memory = model.memory().filter(|_| settings.each().iter().any(|part| part.metric == ScoreMetric::PatchKnn));
    let text = memory.map_or_else(|| text.clone(), |memory| format!("{text} memory={}", memory.hash().to_hex()));
    Ok(model.score_key(&graphs, &text))
}

/// Whether scores with these settings are made beside a map.
pub(super) fn has_map(model: &Model, settings: &ScoreSettings) -> bool {
    // The map of a combined score is that of its first part.
    let metric = settings.parts.first().map_or(settings.metric, |part| part.metric);
    let detector = model.graph(GraphRole::Anomaly).filter(|_| metric == ScoreMetric::Graph);
    metric.has_map() && (detector.is_none() || detector_gives(model, "map"))
}

/// The metric by which a model scores where a request names none.
fn usual_metric(model: &Model) -> Result<ScoreMetric> {
    let metrics = score_metrics(model);
    match metrics.first() {
        Some(metric) => Ok(*metric),
        None => {
            model.require(Capability::Score)?;
            Err(Error::internal("a model that scores has no metric"))
        }
    }
}

/// For each part, the place of its score where those of one metric come together.
fn run_order(parts: &[ScoreSettings]) -> Vec<usize> {
    let mut metrics: Vec<ScoreMetric> = Vec::new();
    parts.iter().for_each(|part| {
        if !metrics.contains(&part.metric) {
            metrics.push(part.metric);
        }
    });
    let place = |at: &usize| metrics.iter().position(|metric| *metric == parts[*at].metric);
    let mut by_metric: Vec<usize> = (0..parts.len()).collect();
    by_metric.sort_by_key(place);
    (0..parts.len()).filter_map(|part| by_metric.iter().position(|at| *at == part)).collect()
}

/// Whether the graph of a detector has an output of this role.
fn detector_gives(model: &Model, role: &str) -> bool {
    model.graph(GraphRole::Anomaly).is_some_and(|graph| graph.output_index(role).is_some())
}

/// Refuses what the graph of a detector does not give.
fn check_detector(model: &Model, request: &ScoreRequest) -> Result<()> {
    let ScoreRequest { settings, output, .. } = request;
    if settings.metric != ScoreMetric::Graph || model.graph(GraphRole::Anomaly).is_none() {
        return Ok(());
    }
    if (settings.pools_map() || output.needs_map()) && !detector_gives(model, "map") {
        return Err(Error::invalid_request(format!(
            "the graph of model {} gives a score and no map: leave `map`, `regions`, `pooling`, `sigma`, `tile` and `roi` \
             out",
            model.name()
        )));
    }
    if settings.pooling == Pooling::Own && !detector_gives(model, "score") {
        return Err(Error::invalid_request(format!(
            "the graph of model {} gives a map and no score: `pooling` is max, mean or top:SHARE",
            model.name()
        )));
    }
    Ok(())
}

impl Scored {
    const fn without_map(score: f64) -> Self {
        Self { score, parts: Vec::new(), peak: None, map: None, map_size: None, regions: None }
    }

    /// With another score of the same image among those that are to be combined; the map is that of the first one.
    fn with(mut self, other: Self) -> Self {
        let Self { score, parts, peak, map, map_size, regions } = other;
        self.parts.push(score);
        self.parts.extend(parts);
        Self {
            score: 0.0,
            parts: self.parts,
            peak: self.peak.or(peak),
            map: self.map.or(map),
            map_size: self.map_size.or(map_size),
            regions: self.regions.or(regions),
        }
    }

    /// With its parts in another order: `order` tells the place of each now.
    fn in_order(mut self, order: &[usize]) -> Self {
        self.parts = order.iter().filter_map(|at| self.parts.get(*at).copied()).collect();
        self
    }
}
