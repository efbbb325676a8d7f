//! The runs of one image through the graphs of its plan.

use std::{sync::Arc, time::Instant};

use futures_util::future::try_join_all;

use super::{
    Context, Dispatch, Image, Pipeline, Prediction, PreparedImage, Stage,
    admission::AdmittedImage,
    decode::{DecodedImage, Extras, WholeImage, prepare_part},
    embedding::encoder_of,
    plan::{PlanPermits, Task, graph_of, masking_of},
};
use crate::{
    batch::{Permit, Tensor},
    error::{Error, Result},
    image::{Encoded, Mask, Plane, Region},
    model::{Graph, GraphRole, Model, Patches},
};

/// An image that was admitted to everything its task takes, and is not decoded yet.
pub(crate) struct ImageRun<'a> {
    image: AdmittedImage,
    graphs: GraphRun<'a>,
}

/// The runs of one image through the graphs of its model, once it is decoded.
pub(crate) struct GraphRun<'a> {
    pipeline: &'a Pipeline,
    ctx: &'a Context,
    model: &'a Arc<Model>,
    permits: PlanPermits,
}

impl Pipeline {
    /// Admits the images of a request to a task of the model, all of them or none.
    ///
    /// # Errors
    /// `capability_not_supported`; `overloaded` where a graph or the decoder has too much to do before the deadline.
    pub(crate) fn begin<'a>(
        &'a self,
        ctx: &'a Context,
        model: &'a Arc<Model>,
        task: Task,
        images: Vec<Image>,
    ) -> Result<Vec<ImageRun<'a>>> {
        let permits = task.plan(model)?.admit(images.len(), ctx.deadline)?;
        let images = self.admit_images(images, ctx.deadline)?;
        let run = |(image, permits)| ImageRun { image, graphs: GraphRun { pipeline: self, ctx, model, permits } };
        Ok(images.into_iter().zip(permits).map(run).collect())
    }

    /// Whether a model can be asked for a task.
    ///
    /// # Errors
    /// `capability_not_supported`.
    pub(crate) fn check(&self, model: &Model, task: Task) -> Result<()> {
        task.plan(model).map(drop)
    }

    /// Admits one part of an image, which is decoded already, to a task of the model.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub(crate) fn begin_part<'a>(
        &'a self,
        ctx: &'a Context,
        model: &'a Arc<Model>,
        task: Task,
    ) -> Result<GraphRun<'a>> {
        let permits = task.plan(model)?.admit(1, ctx.deadline)?.pop();
        let mut permits = permits.ok_or_else(|| Error::internal("a part of an image was not admitted"))?;
        // Many parts come one after the other: they are cut and looked at beside each other.
        permits.dispatch = Dispatch::Pool;
        Ok(GraphRun { pipeline: self, ctx, model, permits })
    }

    /// Admits latents to the decoder of the model, all of them or none.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub(crate) fn begin_latents<'a>(
        &'a self,
        ctx: &'a Context,
        model: &'a Arc<Model>,
        count: usize,
    ) -> Result<Vec<GraphRun<'a>>> {
        let permits = graph_of(model, GraphRole::Decoder)?.queue.admit(count, ctx.deadline)?;
        let dispatch = Dispatch::for_images(count);
        let run = |permit| {
            let permits = PlanPermits { first: Vec::new(), second: Some(permit), dispatch };
            GraphRun { pipeline: self, ctx, model, permits }
        };
        Ok(permits.into_iter().map(run).collect())
    }

    /// Decodes images to the tensors that the model takes; nothing is run.
    ///
    /// # Errors
    /// The first error of an image, or `overloaded`.
    pub(crate) async fn tensors(&self, ctx: &Context, model: &Arc<Model>, images: Vec<Image>) -> Result<Vec<Tensor>> {
        let admitted = self.admit_images(images, ctx.deadline)?;
        let work =
            admitted.into_iter().map(async |image| Ok(self.tensor(ctx, image, model, Extras::default()).await?.tensor));
        try_join_all(work).await
    }
}

impl<'a> ImageRun<'a> {
    /// The image's file, where there is one.
    pub(crate) fn file(&self) -> Option<Encoded> {
        self.image.image.as_ref().ok().cloned()
    }

    /// Decodes the image and prepares it for the model.
    pub(crate) async fn prepare(self) -> Result<(PreparedImage, GraphRun<'a>)> {
        let Self { image, graphs } = self;
        let prepared = graphs.pipeline.prepare(graphs.ctx, image, graphs.model).await?;
        Ok((prepared, graphs))
    }

    /// The encoder's outputs for the image.
    pub(crate) async fn encode(self) -> Result<Outputs<'a>> {
        let (decoded, mut graphs) = self.tensor(Extras::default()).await?;
        graphs.encode(decoded.tensor).await
    }

    pub(super) async fn tensor(self, extras: Extras) -> Result<(DecodedImage, GraphRun<'a>)> {
        let Self { image, graphs } = self;
        let decoded = graphs.pipeline.tensor(graphs.ctx, image, graphs.model, extras).await?;
        Ok((decoded, graphs))
    }
}

impl<'a> GraphRun<'a> {
    pub(crate) const fn model(&self) -> &'a Arc<Model> {
        self.model
    }

    /// What the model makes of its input by itself: an image, or of a masked autoencoder predictions under
    /// complementary masks.
    pub(crate) async fn predict(&mut self, tensor: Tensor) -> Result<Prediction> {
        match self.model.masking() {
            None => self.reconstruct(tensor).await.map(Prediction::Image),
            Some(masking) => self.predict_under(masking.complementary(), tensor).await,
        }
    }

    /// What a masked autoencoder predicts of its input under each of these masks.
    pub(crate) async fn predict_under(&mut self, masks: &[Mask], tensor: Tensor) -> Result<Prediction> {
        let permits = std::mem::take(&mut self.permits.first);
        // One vector for each run: the batch takes them as they are.
        let tensors = std::iter::repeat_n(tensor, masks.len());
        let this = &*self;
        let runs = masks.iter().zip(permits).zip(tensors).map(|((mask, permit), tensor)| async move {
            Ok::<_, Error>((mask.clone(), this.run_masked(tensor, mask, permit).await?))
        });
        Ok(Prediction::Masked(try_join_all(runs).await?))
    }

    /// The image that a model which hides nothing makes of its input, with values in 0…1.
    pub(crate) async fn reconstruct(&mut self, tensor: Tensor) -> Result<Plane> {
        if let Some(autoencoder) = self.model.graph(GraphRole::Autoencoder) {
            let permit = self.permits.take_first()?;
            let outputs = self.run(autoencoder, vec![("image", tensor)], permit).await?;
            return image_of(self.model, autoencoder, outputs);
        }
        let mut outputs = self.encode(tensor).await?;
        let latent = outputs.take(&["latent", "mean", "embedding"])?;
        self.decode(latent).await
    }

    /// What a masked autoencoder predicts of its input under a mask, with values in 0…1.
    pub(crate) async fn predict_hidden(&mut self, tensor: Tensor, mask: &Mask) -> Result<Plane> {
        let permit = self.permits.take_first()?;
        self.run_masked(tensor, mask, permit).await
    }

    /// The encoder's outputs for an input.
    pub(crate) async fn encode(&mut self, tensor: Tensor) -> Result<Outputs<'a>> {
        let graph = graph_of(self.model, GraphRole::Encoder)?;
        let permit = self.permits.take_first()?;
        let rows = self.run(graph, vec![("image", tensor)], permit).await?;
        Ok(Outputs { graph, rows })
    }

    /// What a detector says of an input.
    pub(crate) async fn detect(&mut self, tensor: Tensor) -> Result<Outputs<'a>> {
        let graph = graph_of(self.model, GraphRole::Anomaly)?;
        let permit = self.permits.take_first()?;
        let rows = self.run(graph, vec![("image", tensor)], permit).await?;
        Ok(Outputs { graph, rows })
    }

    /// The features of the patches of an input.
    pub(crate) async fn patches(&mut self, tensor: Tensor) -> Result<Patches> {
        let outputs = self.encode(tensor).await?;
        encoder_of(self.model)?.patches(&outputs.into_rows())
    }

    /// The image of a latent, with values in 0…1.
    pub(crate) async fn decode(&mut self, latent: Tensor) -> Result<Plane> {
        let decoder = graph_of(self.model, GraphRole::Decoder)?;
        let permit = self.permits.take_second()?;
        let outputs = self.run(decoder, vec![("latent", latent)], permit).await?;
        image_of(self.model, decoder, outputs)
    }

    /// Cuts a part out of an image and prepares it for the model.
    pub(crate) async fn prepare_part(&self, image: &Arc<WholeImage>, part: Region) -> Result<PreparedImage> {
        let (model, image) = (Arc::clone(self.model), Arc::clone(image));
        let started = Instant::now();
        let prepared = self.pipeline.pool.run(move || prepare_part(&model, &image.pixels, part)).await?;
        self.pipeline.note(self.ctx, Stage::Preprocess, started.elapsed());
        Ok(prepared)
    }

    /// Works on images of the model's size, off the async threads unless they are small.
    pub(crate) async fn compute<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T> + Send + 'static,
    {
        let input = self.model.preprocessor().input();
        self.pipeline.compute(input.width.max(input.height), self.permits.dispatch, work).await
    }

    /// Works on images that may be larger than those of the model, on the CPU pool.
    pub(crate) async fn compute_large<T, F>(&self, large: bool, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T> + Send + 'static,
    {
        if large { self.pipeline.pool.run(work).await? } else { self.compute(work).await }
    }

    async fn run_masked(&self, tensor: Tensor, mask: &Mask, permit: Permit) -> Result<Plane> {
        let masked = graph_of(self.model, GraphRole::Masked)?;
        let inputs = vec![("image", tensor), masking_of(self.model)?.input(mask)];
        let outputs = self.run(masked, inputs, permit).await?;
        image_of(self.model, masked, outputs)
    }

    /// Runs a graph for the item; the rows come in the order of the graph's outputs.
    async fn run(&self, graph: &Graph, inputs: Vec<(&str, Tensor)>, permit: Permit) -> Result<Vec<Tensor>> {
        let inputs = graph.inputs_from(inputs)?;
        let answer = graph.queue.run(inputs, self.ctx.deadline, permit).await?;
        self.pipeline.note(self.ctx, Stage::Queue, answer.queued);
        self.pipeline.note(self.ctx, Stage::Infer, answer.run);
        Ok(answer.outputs)
    }
}

/// The outputs of a graph for one item.
pub(crate) struct Outputs<'a> {
    graph: &'a Graph,
    rows: Vec<Tensor>,
}

impl Outputs<'_> {
    /// Takes the output of the first of these roles that the graph has.
    pub(crate) fn take(&mut self, roles: &[&str]) -> Result<Tensor> {
        take(&mut self.rows, self.graph, roles)
    }

    /// Takes the output of a role, where the graph has it.
    pub(crate) fn take_optional(&mut self, role: &str) -> Option<Tensor> {
        self.graph.output_index(role).and_then(|_| self.take(&[role]).ok())
    }

    pub(super) fn into_rows(self) -> Vec<Tensor> {
        self.rows
    }
}

fn take(rows: &mut [Tensor], graph: &Graph, roles: &[&str]) -> Result<Tensor> {
    roles
        .iter()
        .find_map(|role| graph.output_index(role))
        .and_then(|index| rows.get_mut(index))
        .map(|row| Tensor { shape: std::mem::take(&mut row.shape), data: std::mem::take(&mut row.data) })
        .ok_or_else(|| Error::internal("the graph gave no output of the role that was checked at load"))
}

fn image_of(model: &Model, graph: &Graph, mut rows: Vec<Tensor>) -> Result<Plane> {
    let image = take(&mut rows, graph, &["image"])?;
    if image.data.len() != model.preprocessor().tensor_len() {
        return Err(Error::internal(format!("the graph gave an image of shape {:?}", image.shape)));
    }
    if !image.data.iter().all(|value| value.is_finite()) {
        return Err(not_finite());
    }
    Ok(model.preprocessor().to_unit(&image.data, model.manifest().reconstruction))
}

/// What a graph gave for an image is no number.
pub(crate) fn not_finite() -> Error {
    Error::invalid_image("the model's graph gives numbers for this image that are not finite (NaN or infinite)")
}
