//! Picture → latent → picture, and how alike the two are.

use std::{sync::Arc, time::Instant};

use futures_util::future::join_all;

use super::{
    ByModel, Context, Picture, Service,
    pictures::{Spread, Undecoded},
};
use crate::{
    batch::{Row, Ticket},
    domain::ModelName,
    error::{Error, Result},
    image::{Pixels, Plane, encode, quality},
    index::StoreMode,
    model::{Capability, Graph, GraphRole, Model},
};

/// A reconstructed picture beside its original at the model's size.
#[derive(Debug)]
pub struct Reconstruction {
    /// 8-bit PNG at the model's size.
    pub png: Vec<u8>,
    /// Mean squared difference of values in 0…1.
    pub mse: f64,
    /// In dB with peak 1; infinite for equal pictures.
    pub psnr: f64,
    /// Structural similarity, −1…1.
    pub ssim: f64,
}

/// Tickets for one picture's way through a model's graphs: one graph, or encoder and decoder.
pub(super) struct Passage {
    first: Ticket,
    second: Option<Ticket>,
    pub(super) spread: Spread,
}

/// The longer side of a model's pictures, in pixels.
pub(super) fn side(model: &Model) -> u32 {
    let input = model.preprocessor().input();
    input.width.max(input.height)
}

impl Service {
    /// Encodes and decodes pictures.
    ///
    /// # Errors
    /// As [`Service::embed`].
    pub async fn reconstruct(
        &self,
        ctx: &Context,
        model: &ModelName,
        pictures: Vec<Picture>,
    ) -> Result<ByModel<Reconstruction>> {
        let (model, passages) = self.begin(model, Capability::Reconstruct, pictures, ctx.deadline).await?;
        let work = passages.into_iter().map(|(picture, passage)| self.reconstruct_one(ctx, &model, picture, passage));
        let results = join_all(work).await;
        Ok(self.by_model(model, results))
    }

    async fn reconstruct_one(
        &self,
        ctx: &Context,
        model: &Arc<Model>,
        picture: Undecoded,
        passage: Passage,
    ) -> Result<Reconstruction> {
        let spread = passage.spread;
        let prepared = self.prepare_one(ctx, picture, model).await?;
        let decoded = self.pass(ctx, model, prepared.tensor, passage).await?;
        let (model, pixels) = (Arc::clone(model), prepared.pixels);
        self.on_pool(side(&model), spread, move || compare(&model, &pixels, &decoded)).await
    }

    /// The model that is to do `capability`, and each picture with a passage through its graphs.
    pub(super) async fn begin(
        &self,
        model: &ModelName,
        capability: Capability,
        pictures: Vec<Picture>,
        deadline: Instant,
    ) -> Result<(Arc<Model>, Vec<(Undecoded, Passage)>)> {
        self.check_count(pictures.len(), "pictures")?;
        let model = self.loaded(model, deadline).await?;
        model.require(capability)?;
        let passages = admit(&model, pictures.len(), deadline)?;
        let pictures = self.admit_pictures(pictures, StoreMode::None, deadline)?;
        Ok((model, pictures.into_iter().zip(passages).collect()))
    }

    pub(super) fn by_model<T>(&self, model: Arc<Model>, results: Vec<Result<T>>) -> ByModel<T> {
        let space_key = model.space_key().clone();
        ByModel { model, space_key, items: self.sort(results) }
    }

    /// The picture that a model makes of its input tensor, with values in 0…1.
    pub(super) async fn pass(&self, ctx: &Context, model: &Model, tensor: Row, passage: Passage) -> Result<Plane> {
        let (first, second) = graphs(model)?;
        let mut rows = self.run_graph(ctx, first, vec![("image", tensor)], passage.first).await?;
        let last = match second {
            None => first,
            Some(decoder) => {
                let latent = take(&mut rows, first, &["latent", "mean", "embedding"])?;
                let ticket = passage.second.ok_or_else(|| Error::internal("no ticket for the decoder"))?;
                rows = self.run_graph(ctx, decoder, vec![("latent", latent)], ticket).await?;
                decoder
            }
        };
        let picture = take(&mut rows, last, &["image"])?;
        if picture.data.len() != model.preprocessor().tensor_len() {
            return Err(Error::internal(format!("the graph gave a picture of shape {:?}", picture.shape)));
        }
        Ok(model.preprocessor().to_unit(&picture.data, model.manifest().reconstruction))
    }
}

/// The graphs a picture passes: an autoencoder graph, or encoder and decoder.
fn graphs(model: &Model) -> Result<(&Graph, Option<&Graph>)> {
    if let Some(graph) = model.graph(GraphRole::Autoencoder) {
        return Ok((graph, None));
    }
    let pair = model.graph(GraphRole::Encoder).zip(model.graph(GraphRole::Decoder));
    pair.map(|(encoder, decoder)| (encoder, Some(decoder)))
        .ok_or_else(|| Error::internal("a model that reconstructs has no graphs for it"))
}

fn admit(model: &Model, count: usize, deadline: Instant) -> Result<Vec<Passage>> {
    let (first, second) = graphs(model)?;
    let firsts = first.queue.admit(count, deadline)?;
    let mut seconds = match second {
        // the decoder's turn comes when the encoder is done
        Some(decoder) => {
            let left = deadline.checked_sub(first.queue.estimated_wait()).unwrap_or(deadline);
            decoder.queue.admit(count, left)?
        }
        None => Vec::new(),
    };
    let spread = Spread::of(count);
    Ok(firsts.into_iter().map(|first| Passage { first, second: seconds.pop(), spread }).collect())
}

/// Takes the output of the first of these roles that the graph has.
fn take(rows: &mut [Row], graph: &Graph, roles: &[&str]) -> Result<Row> {
    roles
        .iter()
        .find_map(|role| graph.output_index(role))
        .and_then(|index| rows.get_mut(index))
        .map(|row| Row { shape: std::mem::take(&mut row.shape), data: std::mem::take(&mut row.data) })
        .ok_or_else(|| Error::internal("the graph gave no output of the role that was checked at load"))
}

fn compare(model: &Model, pixels: &Pixels, decoded: &Plane) -> Result<Reconstruction> {
    let original = model.preprocessor().unit(pixels);
    Ok(Reconstruction {
        png: encode::png(decoded)?,
        mse: quality::mse(&original, decoded),
        psnr: quality::psnr(&original, decoded),
        ssim: quality::ssim(&original, decoded),
    })
}
