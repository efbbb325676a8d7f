//! What a model is asked to do, and which of its graphs run for it.

use std::time::Instant;

use super::Dispatch;
use crate::{
    anomaly::ScoreMetric,
    batch::Permit,
    error::{Error, ErrorKind, Result},
    model::{Capability, Graph, GraphRole, Masking, Model},
};

/// What the images of a request are led through a model for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Task {
    Embed,
    Reconstruct,
    Denoise,
    Inpaint,
    Interpolate,
    Score(ScoreMetric),
}

impl Task {
    const fn capability(self) -> Capability {
        match self {
            Self::Embed => Capability::Embed,
            Self::Reconstruct => Capability::Reconstruct,
            Self::Denoise => Capability::Denoise,
            Self::Inpaint => Capability::Inpaint,
            Self::Interpolate => Capability::Interpolate,
            Self::Score(_) => Capability::Score,
        }
    }

    /// The roles of the graphs that one image passes for this task.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    pub(crate) fn graphs(self, model: &Model) -> Result<Vec<GraphRole>> {
        let plan = self.plan(model)?;
        Ok([Some(plan.first), plan.second].into_iter().flatten().map(Graph::role).collect())
    }

    /// The graphs that one image passes for this task.
    ///
    /// # Errors
    /// `capability_not_supported` where the model cannot do it.
    pub(super) fn plan(self, model: &Model) -> Result<ExecutionPlan<'_>> {
        model.require(self.capability())?;
        let plan = |first, runs, second| Ok(ExecutionPlan { first, runs, second });
        match self {
            Self::Embed => plan(graph_of(model, GraphRole::Encoder)?, 1, None),
            Self::Inpaint => plan(graph_of(model, GraphRole::Masked)?, 1, None),
            Self::Interpolate => plan(graph_of(model, GraphRole::Encoder)?, 1, None),
            Self::Score(metric) if !score_metrics(model).contains(&metric) => Err(not_of(model, metric)),
            Self::Score(ScoreMetric::Kl | ScoreMetric::PatchKnn) => plan(graph_of(model, GraphRole::Encoder)?, 1, None),
            Self::Score(ScoreMetric::Graph) => plan(graph_of(model, GraphRole::Anomaly)?, 1, None),
            Self::Score(ScoreMetric::Elbo) => {
                plan(graph_of(model, GraphRole::Encoder)?, 1, Some(graph_of(model, GraphRole::Decoder)?))
            }
            Self::Score(ScoreMetric::Hidden) => {
                plan(graph_of(model, GraphRole::Masked)?, masking_of(model)?.draws().len(), None)
            }
            Self::Reconstruct | Self::Denoise | Self::Score(_) => {
                if let Some(masking) = model.masking() {
                    return plan(graph_of(model, GraphRole::Masked)?, masking.complementary().len(), None);
                }
                match model.graph(GraphRole::Autoencoder) {
                    Some(autoencoder) => plan(autoencoder, 1, None),
                    None => plan(graph_of(model, GraphRole::Encoder)?, 1, Some(graph_of(model, GraphRole::Decoder)?)),
                }
            }
        }
    }
}

/// The metrics that a model scores by, its usual one first.
pub(crate) fn score_metrics(model: &Model) -> Vec<ScoreMetric> {
    let gives_images = model.capabilities().contains(&Capability::Reconstruct);
    let is_variational =
        model.graph(GraphRole::Encoder).is_some_and(|encoder| encoder.output_index("log_variance").is_some());
    let decodes = model.graph(GraphRole::Decoder).is_some();
    ScoreMetric::ALL
        .into_iter()
        .filter(|metric| match metric {
            ScoreMetric::Mse | ScoreMetric::L1 | ScoreMetric::Ssim | ScoreMetric::Gms => gives_images,
            ScoreMetric::Kl => is_variational,
            ScoreMetric::Elbo => is_variational && decodes,
            ScoreMetric::Hidden => model.masking().is_some(),
            ScoreMetric::Graph => model.graph(GraphRole::Anomaly).is_some(),
            ScoreMetric::PatchKnn => model.memory().is_some(),
            // It takes a collection, and is a task of the encoder's vectors.
            ScoreMetric::Knn | ScoreMetric::Combined => false,
        })
        .collect()
}

fn not_of(model: &Model, metric: ScoreMetric) -> Error {
    let mut known: Vec<&str> = score_metrics(model).into_iter().map(ScoreMetric::as_str).collect();
    if model.capabilities().contains(&Capability::Embed) {
        known.push(ScoreMetric::Knn.as_str());
    }
    let text = format!(
        "metric {metric} is not of model {}, a {} model: it scores by {}",
        model.name(),
        model.manifest().family,
        known.join(", ")
    );
    Error::new(ErrorKind::CapabilityNotSupported, text)
}

/// The graphs that run for one image of a task.
pub(super) struct ExecutionPlan<'a> {
    first: &'a Graph,
    /// How often the first graph runs for one image.
    runs: usize,
    second: Option<&'a Graph>,
}

impl ExecutionPlan<'_> {
    /// The permits of each image, or of none.
    pub(super) fn admit(&self, images: usize, deadline: Instant) -> Result<Vec<PlanPermits>> {
        let mut firsts = self.first.queue.admit(images * self.runs, deadline)?;
        let mut seconds = match self.second {
            // The second graph's turn comes when the first one is done: without that time taken off its deadline, images
            // would be admitted that only come too late.
            Some(second) => {
                let left = deadline.checked_sub(self.first.queue.estimated_wait()).unwrap_or(deadline);
                second.queue.admit(images, left)?
            }
            None => Vec::new(),
        };
        let dispatch = Dispatch::for_images(images);
        let one = |_| {
            let first = firsts.split_off(firsts.len().saturating_sub(self.runs));
            PlanPermits { first, second: seconds.pop(), dispatch }
        };
        Ok((0..images).map(one).collect())
    }
}

/// What one image was admitted for: every run of the graphs of its plan.
pub(super) struct PlanPermits {
    /// One for each run of the first graph.
    pub(super) first: Vec<Permit>,
    pub(super) second: Option<Permit>,
    pub(super) dispatch: Dispatch,
}

impl PlanPermits {
    pub(super) fn take_first(&mut self) -> Result<Permit> {
        self.first.pop().ok_or_else(|| Error::internal("no permit is left for the graph"))
    }

    pub(super) fn take_second(&mut self) -> Result<Permit> {
        self.second.take().ok_or_else(|| Error::internal("no permit is left for the decoder"))
    }
}

pub(super) fn graph_of(model: &Model, role: GraphRole) -> Result<&Graph> {
    model.graph(role).ok_or_else(|| Error::internal(format!("a model that was checked at load has no graph {role}")))
}

/// The masks of a model that hides patches.
pub(crate) fn masking_of(model: &Model) -> Result<&Masking> {
    model.masking().ok_or_else(|| Error::internal("a model that hides patches has no masks"))
}
