//! Images → vectors.

use std::sync::Arc;

use futures_util::future::join_all;

use super::{
    Context, Image, ImageRun, Pipeline, StoredForm, StoredImage, Task,
    cache::CacheKey,
    decode::{DecodedImage, Extras},
};
use crate::{
    domain::SpaceKey,
    error::{Error, Result},
    image::Encoded,
    model::{Capability, EmbeddingHead, Model, VectorOptions},
};

/// Images to be embedded.
pub(crate) struct EmbedRequest {
    pub(crate) images: Vec<Image>,
    /// Options that change vectors change their space key.
    pub(crate) options: VectorOptions,
    /// What of each image is to be stored.
    pub(crate) stored: Option<StoredForm>,
    /// Whether the hash of each file will be asked for.
    pub(crate) hash: bool,
}

/// What became of one image.
pub(crate) struct EmbeddedImage {
    pub(crate) vector: Vec<f32>,
    pub(crate) stored: Option<StoredImage>,
}

/// Whether the vector of an image is there already.
enum CacheLookup {
    Hit(Vec<f32>),
    Miss {
        /// Under which the vector is to be kept; none where nothing is.
        key: Option<CacheKey>,
    },
}

/// The head of a model's encoder, or `capability_not_supported`.
pub(crate) fn encoder_of(model: &Model) -> Result<&EmbeddingHead> {
    model.require(Capability::Embed)?;
    model.embedding().ok_or_else(|| Error::internal("a model that embeds has no encoder"))
}

impl Pipeline {
    /// Embeds images, in their order. Those whose vectors are in the cache take no work and are never refused.
    ///
    /// # Errors
    /// Of the request as a whole: no such capability, an option out of range, `overloaded`.
    pub(crate) async fn embed(
        &self,
        ctx: &Context,
        model: &Arc<Model>,
        request: EmbedRequest,
    ) -> Result<Vec<Result<EmbeddedImage>>> {
        let EmbedRequest { images, options, stored, hash } = request;
        let space = encoder_of(model)?.space_key(model.space_key(), &options)?;
        // What is to be stored has to be decoded, so the cache would save little.
        let lookups = if stored.is_none() && self.cache.is_on() {
            self.look_up(&images, model, &space).await?
        } else {
            images.iter().map(|_| CacheLookup::Miss { key: None }).collect()
        };
        let missed = images.into_iter().zip(&lookups).filter(|(_, lookup)| matches!(lookup, CacheLookup::Miss { .. }));
        let missed: Vec<Image> = missed.map(|(image, _)| image).collect();
        // Admission comes after the cache: a request that is served wholly from the cache must not be refused for the
        // work of others.
        let runs = if missed.is_empty() { Vec::new() } else { self.begin(ctx, model, Task::Embed, missed)? };
        let mut runs = runs.into_iter();
        let extras = Extras { stored, hash };
        let work = lookups.into_iter().map(|lookup| {
            let run = if let CacheLookup::Miss { .. } = lookup { runs.next() } else { None };
            async move {
                match (lookup, run) {
                    (CacheLookup::Hit(vector), _) => Ok(EmbeddedImage { vector, stored: None }),
                    (CacheLookup::Miss { key }, Some(run)) => {
                        let embedded = run.embed(options, extras).await?;
                        if let Some(key) = key {
                            self.cache.put(key, &embedded.vector);
                        }
                        Ok(embedded)
                    }
                    (CacheLookup::Miss { .. }, None) => Err(Error::internal("an image was not admitted")),
                }
            }
        });
        Ok(join_all(work).await)
    }

    async fn look_up(&self, images: &[Image], model: &Model, space: &SpaceKey) -> Result<Vec<CacheLookup>> {
        self.hash(images).await?;
        let look_up = |image: &Image| {
            let Ok(file) = image else { return CacheLookup::Miss { key: None } };
            let key = CacheKey::new(file, space);
            match self.cache.get(&key, model.name().as_str()) {
                Some(vector) => CacheLookup::Hit(vector),
                None => CacheLookup::Miss { key: Some(key) },
            }
        };
        Ok(images.iter().map(look_up).collect())
    }

    /// Computes the hashes of large files off the async threads; those of small ones take less than a change of thread.
    async fn hash(&self, images: &[Image]) -> Result<()> {
        let large: Vec<Encoded> = images.iter().flatten().filter(|file| !file.hashes_quickly()).cloned().collect();
        if large.is_empty() {
            return Ok(());
        }
        let hash_all = move || {
            for file in &large {
                let _ = file.hash();
            }
        };
        self.pool.run(hash_all).await
    }
}

impl ImageRun<'_> {
    async fn embed(self, options: VectorOptions, extras: Extras) -> Result<EmbeddedImage> {
        let (DecodedImage { tensor, stored }, mut graphs) = self.tensor(extras).await?;
        let outputs = graphs.encode(tensor).await?;
        let head = encoder_of(graphs.model())?;
        Ok(EmbeddedImage { vector: head.apply(outputs.into_rows(), &options)?, stored })
    }
}
