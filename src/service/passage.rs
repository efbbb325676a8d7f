//! An image's way through the graphs of its model, admitted as a whole before it begins.

use std::{sync::Arc, time::Instant};

use futures_util::future::try_join_all;

use super::{
    ByModel, Context, Image, Service,
    images::{Spread, Undecoded},
};
use crate::{
    anomaly::{ErrorMap, ErrorMetric, ScoreMetric},
    batch::{Row, Ticket},
    domain::ModelName,
    error::{Error, ErrorKind, Result},
    image::{Mask, Plane, mask::mean_where_hidden},
    index::StoreMode,
    model::{Capability, Graph, GraphRole, Masking, Model},
};

/// What images are led through a model for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Errand {
    Reconstruct,
    Denoise,
    Inpaint,
    Interpolate,
    Score(ScoreMetric),
}

impl Errand {
    const fn capability(self) -> Capability {
        match self {
            Self::Reconstruct => Capability::Reconstruct,
            Self::Denoise => Capability::Denoise,
            Self::Inpaint => Capability::Inpaint,
            Self::Interpolate => Capability::Interpolate,
            Self::Score(_) => Capability::Score,
        }
    }

    /// The graphs that one image passes, and how often the first of them runs for it.
    fn route(self, model: &Model) -> Result<Route<'_>> {
        model.require(self.capability())?;
        let route = |first, runs, second| Ok(Route { first, runs, second });
        match self {
            Self::Inpaint => route(graph(model, GraphRole::Masked)?, 1, None),
            Self::Interpolate | Self::Score(ScoreMetric::Kl) => route(variational_encoder(self, model)?, 1, None),
            Self::Score(ScoreMetric::Elbo) => {
                route(variational_encoder(self, model)?, 1, Some(graph(model, GraphRole::Decoder)?))
            }
            Self::Reconstruct | Self::Denoise | Self::Score(_) => {
                if let Some(masking) = model.masking() {
                    return route(graph(model, GraphRole::Masked)?, masking.complementary().len(), None);
                }
                match model.graph(GraphRole::Autoencoder) {
                    Some(whole) => route(whole, 1, None),
                    None => route(graph(model, GraphRole::Encoder)?, 1, Some(graph(model, GraphRole::Decoder)?)),
                }
            }
        }
    }
}

/// The encoder of a model whose outputs are a mean and a log-variance.
fn variational_encoder(errand: Errand, model: &Model) -> Result<&Graph> {
    let encoder = graph(model, GraphRole::Encoder)?;
    if encoder.output_index("log_variance").is_some() {
        return Ok(encoder);
    }
    let Errand::Score(metric) = errand else { return Err(Error::internal("the encoder gives no log-variance")) };
    let known: Vec<&str> = ErrorMetric::ALL.into_iter().map(ErrorMetric::as_str).collect();
    let text = format!(
        "metric {metric} is for variational models; {} is a {} model and scores by {}",
        model.name(),
        model.manifest().family,
        known.join(", ")
    );
    Err(Error::new(ErrorKind::CapabilityNotSupported, text))
}

struct Route<'a> {
    first: &'a Graph,
    runs: usize,
    second: Option<&'a Graph>,
}

impl Route<'_> {
    fn admit(&self, images: usize, deadline: Instant) -> Result<Vec<Passage>> {
        let mut firsts = self.first.queue.admit(images * self.runs, deadline)?;
        let mut seconds = match self.second {
            // its turn comes when the first graph is done
            Some(second) => {
                let left = deadline.checked_sub(self.first.queue.estimated_wait()).unwrap_or(deadline);
                second.queue.admit(images, left)?
            }
            None => Vec::new(),
        };
        let spread = Spread::of(images);
        let one = |_| {
            let first = firsts.split_off(firsts.len().saturating_sub(self.runs));
            Passage { first, second: seconds.pop(), spread }
        };
        Ok((0..images).map(one).collect())
    }
}

/// Tickets for one image's way: those of the first graph, one for each of its runs, and that of the second.
pub(super) struct Passage {
    pub(super) first: Vec<Ticket>,
    pub(super) second: Option<Ticket>,
    pub(super) spread: Spread,
}

impl Passage {
    pub(super) fn take_first(&mut self) -> Result<Ticket> {
        self.first.pop().ok_or_else(|| Error::internal("no ticket for the graph"))
    }

    pub(super) fn take_second(&mut self) -> Result<Ticket> {
        self.second.take().ok_or_else(|| Error::internal("no ticket for the decoder"))
    }
}

/// What a model makes of an image; values in 0…1 at the model's size.
pub(super) enum Redrawn {
    Whole(Plane),
    /// Predictions of a masked autoencoder under complementary masks.
    Filled(Vec<(Mask, Plane)>),
}

impl Redrawn {
    /// The image; of predictions, the mean over the masks that hid each pixel.
    pub(super) fn into_image(self, original: &Plane) -> Plane {
        match self {
            Self::Whole(image) => image,
            Self::Filled(predictions) => {
                let parts = predictions.iter().map(|(mask, prediction)| (mask, &prediction.data[..]));
                Plane { data: mean_where_hidden(parts), ..*original }
            }
        }
    }

    /// How far it is from the original, and where if that is asked for; of predictions, where they were made, which
    /// takes the map in any case.
    pub(super) fn score(&self, metric: ErrorMetric, original: &Plane, with_map: bool) -> (f64, Option<ErrorMap>) {
        match self {
            Self::Whole(image) => (metric.score(original, image), with_map.then(|| metric.map(original, image))),
            Self::Filled(predictions) => {
                let map = metric.map_hidden(original, predictions);
                (map.mean(), with_map.then_some(map))
            }
        }
    }
}

/// The longer side of a model's images, in pixels.
pub(super) fn side(model: &Model) -> u32 {
    let input = model.preprocessor().input();
    input.width.max(input.height)
}

pub(super) fn graph(model: &Model, role: GraphRole) -> Result<&Graph> {
    model.graph(role).ok_or_else(|| Error::internal(format!("a model that was checked at load has no graph {role}")))
}

pub(super) fn masking(model: &Model) -> Result<&Masking> {
    model.masking().ok_or_else(|| Error::internal("a model that hides patches has no masks"))
}

/// Takes the output of the first of these roles that the graph has.
pub(super) fn take(rows: &mut [Row], graph: &Graph, roles: &[&str]) -> Result<Row> {
    roles
        .iter()
        .find_map(|role| graph.output_index(role))
        .and_then(|index| rows.get_mut(index))
        .map(|row| Row { shape: std::mem::take(&mut row.shape), data: std::mem::take(&mut row.data) })
        .ok_or_else(|| Error::internal("the graph gave no output of the role that was checked at load"))
}

impl Service {
    /// The model that is to do the errand, and each image with a passage through its graphs.
    pub(super) async fn begin(
        &self,
        model: &ModelName,
        errand: Errand,
        images: Vec<Image>,
        deadline: Instant,
    ) -> Result<(Arc<Model>, Vec<(Undecoded, Passage)>)> {
        self.check_count(images.len(), "images")?;
        let model = self.loaded(model, deadline).await?;
        let passages = errand.route(&model)?.admit(images.len(), deadline)?;
        let images = self.admit_images(images, StoreMode::None, deadline)?;
        Ok((model, images.into_iter().zip(passages).collect()))
    }

    pub(super) fn by_model<T>(&self, model: Arc<Model>, results: Vec<Result<T>>) -> ByModel<T> {
        let space_key = model.space_key().clone();
        ByModel { model, space_key, items: self.sort(results) }
    }

    /// What a model makes of its input tensor by itself.
    pub(super) async fn redraw(&self, ctx: &Context, model: &Model, tensor: Row, passage: Passage) -> Result<Redrawn> {
        let Some(masking) = model.masking() else {
            return self.pass(ctx, model, tensor, passage).await.map(Redrawn::Whole);
        };
        let masks = masking.complementary().iter().zip(passage.first);
        let fills = masks.map(|(mask, ticket)| async {
            let prediction = self.fill(ctx, model, tensor.clone(), (mask, ticket)).await?;
            Ok::<_, Error>((mask.clone(), prediction))
        });
        Ok(Redrawn::Filled(try_join_all(fills).await?))
    }

    /// The image that a model which hides nothing makes of its input tensor, with values in 0…1.
    pub(super) async fn pass(&self, ctx: &Context, model: &Model, tensor: Row, mut passage: Passage) -> Result<Plane> {
        if let Some(whole) = model.graph(GraphRole::Autoencoder) {
            let rows = self.run_graph(ctx, whole, vec![("image", tensor)], passage.take_first()?).await?;
            return image_of(model, whole, rows);
        }
        let mut rows = self.encode(ctx, model, tensor, &mut passage).await?;
        let latent = take(&mut rows, graph(model, GraphRole::Encoder)?, &["latent", "mean", "embedding"])?;
        self.decode(ctx, model, latent, passage.take_second()?).await
    }

    /// The encoder's outputs for an input tensor.
    pub(super) async fn encode(
        &self,
        ctx: &Context,
        model: &Model,
        tensor: Row,
        passage: &mut Passage,
    ) -> Result<Vec<Row>> {
        let encoder = graph(model, GraphRole::Encoder)?;
        self.run_graph(ctx, encoder, vec![("image", tensor)], passage.take_first()?).await
    }

    /// The image of a latent, with values in 0…1.
    pub(super) async fn decode(&self, ctx: &Context, model: &Model, latent: Row, ticket: Ticket) -> Result<Plane> {
        let decoder = graph(model, GraphRole::Decoder)?;
        let rows = self.run_graph(ctx, decoder, vec![("latent", latent)], ticket).await?;
        image_of(model, decoder, rows)
    }

    /// What a masked autoencoder predicts of an input tensor under a mask, with values in 0…1.
    pub(super) async fn fill(
        &self,
        ctx: &Context,
        model: &Model,
        tensor: Row,
        (mask, ticket): (&Mask, Ticket),
    ) -> Result<Plane> {
        let masked = graph(model, GraphRole::Masked)?;
        let inputs = vec![("image", tensor), masking(model)?.input(mask)];
        let rows = self.run_graph(ctx, masked, inputs, ticket).await?;
        image_of(model, masked, rows)
    }
}

fn image_of(model: &Model, graph: &Graph, mut rows: Vec<Row>) -> Result<Plane> {
    let image = take(&mut rows, graph, &["image"])?;
    if image.data.len() != model.preprocessor().tensor_len() {
        return Err(Error::internal(format!("the graph gave an image of shape {:?}", image.shape)));
    }
    Ok(model.preprocessor().to_unit(&image.data, model.manifest().reconstruction))
}
