//! Stored images made small, for people to look at: no model is concerned.

use std::time::Instant;

use bytes::Bytes;

use super::{Context, Pipeline, Stage, admission::decoding_bytes};
use crate::{
    error::{Error, Result},
    image::{Decoded, Encoded, Pixels, Shrink, encode},
};

/// What is made of an image, and at which size it may be decoded for that.
struct Reduction<T> {
    shrink: Shrink,
    work: fn(&Decoded, u32) -> Result<T>,
    /// Pixels of a side.
    size: u32,
}

impl Pipeline {
    /// An image with at most `size` pixels on its longer side, as JPEG.
    pub(crate) async fn thumbnail(&self, ctx: &Context, image: Encoded, size: u32) -> Result<Bytes> {
        let shrink = encode::thumbnail_shrink(image.header()?, size);
        let work = |decoded: &Decoded, size| encode::thumbnail(decoded, size).map(Bytes::from);
        self.reduce(ctx, image, Reduction { shrink, work, size }).await
    }

    /// The middle of an image as a square with sides of `size` pixels.
    pub(crate) async fn square(&self, ctx: &Context, image: Encoded, size: u32) -> Result<Pixels> {
        let shrink = encode::square_shrink(image.header()?, size);
        let work = |decoded: &Decoded, size| Ok(encode::square(decoded, size));
        self.reduce(ctx, image, Reduction { shrink, work, size }).await
    }

    /// Decodes an image on the CPU pool and works on it, admitted as every other image is.
    async fn reduce<T: Send + 'static>(&self, ctx: &Context, image: Encoded, wanted: Reduction<T>) -> Result<T> {
        let header = *image.header()?;
        header.check_size(self.max_pixels)?;
        let permit = self.admit_image(Ok(image.clone()), ctx)?.permit;
        let memory = self.memory(decoding_bytes(&header, wanted.shrink), ctx.deadline).await?;
        let work = move || {
            let _memory = memory;
            let started = Instant::now();
            let decoded = image.decode(wanted.shrink)?;
            let made = (wanted.work)(&decoded, wanted.size)?;
            let took = started.elapsed();
            permit.finish(took);
            Ok::<_, Error>((made, took))
        };
        let (made, took) = tokio::time::timeout_at(ctx.deadline.into(), self.pool.run(work))
            .await
            .map_err(|_| Error::deadline_exceeded("the deadline passed while the image waited to be decoded"))???;
        self.note(ctx, Stage::Decode, took);
        Ok(made)
    }
}
