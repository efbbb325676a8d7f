//! An image file → what a model takes, and what is stored of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    Context, Dispatch, INLINE_SIDE, Pipeline, Stage,
    admission::{AdmittedImage, decoding_bytes},
};
use crate::{
    admission::BytesPermit,
    batch::Tensor,
    error::{Error, Result},
    image::{
        Decoded, Encoded, Header, InputSpec, Pixels, Placement, Preprocessor, Region, Shrink, Size, encode,
        sniff::sniff,
    },
    model::Model,
};

/// An image as it came: its file, or why there is none.
pub type Image = Result<Encoded, Error>;

/// More bytes than this are not decoded on an async thread, whatever size they claim to have.
const INLINE_BYTES: usize = 64 << 10;

/// The longer side of a stored thumbnail, in pixels.
const THUMBNAIL_EDGE: u32 = 128;

/// An image as one model sees it, for use cases that show or compare it.
#[derive(Debug)]
pub(crate) struct PreparedImage {
    /// At the model's size.
    pub(crate) pixels: Pixels,
    /// The graph's input without its batch axis: `[channels, height, width]`.
    pub(crate) tensor: Tensor,
    /// Where on the image that was sent it lies.
    pub(crate) placement: Placement,
}

/// An image at its own size, upright, and the memory that it is counted by.
#[derive(Debug)]
pub(crate) struct WholeImage {
    pub(crate) pixels: Pixels,
    /// Held for as long as the pixels are.
    _memory: Option<BytesPermit>,
}

/// How an image is decoded at its own size.
#[derive(Debug, Clone)]
pub(crate) struct WholeForm {
    /// Channels, background and orientation; its size says nothing here.
    pub(crate) input: InputSpec,
    /// Bytes that are taken for each pixel beside the decoded ones, for what is made of the image.
    pub(crate) spare_bytes: u64,
}

/// In which form a collection stores the images of its items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoredForm {
    Original,
    Thumbnail,
}

/// What a collection stores of an image.
#[derive(Debug)]
pub(crate) struct StoredImage {
    pub(crate) bytes: Bytes,
    pub(crate) media_type: &'static str,
}

/// What is wanted of an image beside its tensor, while its file is at hand.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Extras {
    pub(super) stored: Option<StoredForm>,
    /// Whether the hash of the file will be asked for: this is the place to compute it, off the async threads.
    pub(super) hash: bool,
}

/// An image as a graph takes it, and what else was wanted of it.
#[derive(Debug)]
pub(super) struct DecodedImage {
    /// The graph's input without its batch axis: `[channels, height, width]`.
    pub(super) tensor: Tensor,
    pub(super) stored: Option<StoredImage>,
}

/// What an image is decoded for, which decides at which size it is decoded and where.
enum Target<'a> {
    Model { preprocessor: &'a Preprocessor, stored: Option<StoredForm> },
    Whole { spare_bytes: u64 },
}

impl Target<'_> {
    /// The largest size at which the image will be decoded.
    fn shrink(&self, header: &Header) -> Shrink {
        let Self::Model { preprocessor, stored } = self else { return Shrink::NONE };
        let shrink = preprocessor.shrink(header);
        match stored {
            Some(StoredForm::Thumbnail) => shrink.min(encode::thumbnail_shrink(header, THUMBNAIL_EDGE)),
            _ => shrink,
        }
    }

    /// The longer side of what the model takes; 0 where no model does.
    fn side(&self) -> u32 {
        let Self::Model { preprocessor, .. } = self else { return 0 };
        let input = preprocessor.input();
        input.width.max(input.height)
    }

    /// Bytes beside those of the decoded image.
    fn spare_bytes(&self, header: &Header) -> u64 {
        if let Self::Whole { spare_bytes } = self { spare_bytes * header.pixels() } else { 0 }
    }
}

/// An image that has been admitted and has memory to be decoded in.
struct OpenImage {
    file: Encoded,
    /// As it was last decoded: model and thumbnail share that where they shrink the image alike.
    decoded: Option<Decoded>,
    decode_time: Duration,
    /// The memory that it is decoded in.
    memory: Option<BytesPermit>,
}

impl OpenImage {
    fn decode_for(&mut self, preprocessor: &Preprocessor) -> Result<&Decoded> {
        let shrink = preprocessor.shrink(self.file.header()?);
        self.decode(shrink, |had| had == shrink)
    }

    fn tensor(&mut self, preprocessor: &Preprocessor) -> Result<Tensor> {
        let mut tensor = empty_tensor(preprocessor);
        preprocessor.tensor(self.decode_for(preprocessor)?, &mut tensor.data)?;
        Ok(tensor)
    }

    fn prepare(&mut self, preprocessor: &Preprocessor) -> Result<PreparedImage> {
        let decoded = self.decode_for(preprocessor)?;
        let placement = preprocessor.placement(decoded.upright(preprocessor.input()))?;
        let pixels = preprocessor.pixels(decoded)?;
        Ok(PreparedImage { tensor: tensor_of(preprocessor, &pixels), pixels, placement })
    }

    fn whole(&mut self, input: &InputSpec) -> Result<WholeImage> {
        let pixels = self.decode(Shrink::NONE, |had| had == Shrink::NONE)?.to_pixels(input);
        self.decoded = None;
        Ok(WholeImage { pixels, _memory: self.memory.take() })
    }

    fn stored(&mut self, form: StoredForm) -> Result<StoredImage> {
        let header = *self.file.header()?;
        match form {
            StoredForm::Original => {
                Ok(StoredImage { bytes: self.file.bytes().clone(), media_type: header.format.media_type() })
            }
            StoredForm::Thumbnail => {
                let shrink = encode::thumbnail_shrink(&header, THUMBNAIL_EDGE);
                let decoded = self.decode(shrink, |had| had <= shrink)?;
                let bytes = encode::thumbnail(decoded, THUMBNAIL_EDGE)?;
                let media_type = sniff(&bytes)?.media_type();
                Ok(StoredImage { bytes: bytes.into(), media_type })
            }
        }
    }

    /// The image at this reduced size, or as it was decoded before if that is enough.
    fn decode(&mut self, shrink: Shrink, enough: impl Fn(Shrink) -> bool) -> Result<&Decoded> {
        let decoded = match self.decoded.take().filter(|decoded| enough(decoded.shrink())) {
            Some(decoded) => decoded,
            None => {
                let started = Instant::now();
                let decoded = self.file.decode(shrink)?;
                self.decode_time += started.elapsed();
                decoded
            }
        };
        Ok(self.decoded.insert(decoded))
    }
}

/// Room for the numbers of one image. They are written here and run from here: this is what becomes the item of a batch.
fn empty_tensor(preprocessor: &Preprocessor) -> Tensor {
    let input = preprocessor.input();
    let shape = vec![input.channels.count(), input.height as usize, input.width as usize];
    Tensor { shape, data: vec![0.0; preprocessor.tensor_len()] }
}

/// The tensor of an image at the model's size.
fn tensor_of(preprocessor: &Preprocessor, pixels: &Pixels) -> Tensor {
    let mut tensor = empty_tensor(preprocessor);
    preprocessor.write_tensor(pixels, &mut tensor.data);
    tensor
}

/// A part of an image, prepared for the model.
pub(super) fn prepare_part(model: &Model, image: &Pixels, part: Region) -> PreparedImage {
    let preprocessor = model.preprocessor();
    let pixels = preprocessor.part(image, part);
    let model = Size { width: pixels.width, height: pixels.height };
    PreparedImage { tensor: tensor_of(preprocessor, &pixels), pixels, placement: Placement::exact(part.size, model) }
}

impl Pipeline {
    /// Decodes an image and prepares it for the model.
    pub(super) async fn prepare(
        &self,
        ctx: &Context,
        admitted: AdmittedImage,
        model: &Arc<Model>,
    ) -> Result<PreparedImage> {
        let target = Target::Model { preprocessor: model.preprocessor(), stored: None };
        let model = Arc::clone(model);
        self.open(ctx, admitted, target, move |open| open.prepare(model.preprocessor())).await
    }

    /// Decodes an image to the tensor that the model takes, and makes what else is wanted of it.
    pub(super) async fn tensor(
        &self,
        ctx: &Context,
        admitted: AdmittedImage,
        model: &Arc<Model>,
        extras: Extras,
    ) -> Result<DecodedImage> {
        let Extras { stored, hash } = extras;
        let target = Target::Model { preprocessor: model.preprocessor(), stored };
        let model = Arc::clone(model);
        let work = move |open: &mut OpenImage| {
            let tensor = open.tensor(model.preprocessor())?;
            let stored = stored.map(|form| open.stored(form)).transpose()?;
            if hash {
                let _ = open.file.hash();
            }
            Ok(DecodedImage { tensor, stored })
        };
        self.open(ctx, admitted, target, work).await
    }

    /// Decodes one image for a preprocessing that is not that of the images: `preprocessor` finds it in the model.
    pub(crate) async fn decode_by(
        &self,
        ctx: &Context,
        image: Image,
        model: &Arc<Model>,
        preprocessor: fn(&Model) -> Result<&Preprocessor>,
    ) -> Result<Pixels> {
        let admitted = self.admit_image(image, ctx)?;
        let target = Target::Model { preprocessor: preprocessor(model)?, stored: None };
        let for_model = Arc::clone(model);
        self.open(ctx, admitted, target, move |open| {
            let preprocessor = preprocessor(&for_model)?;
            preprocessor.pixels(open.decode_for(preprocessor)?)
        })
        .await
    }

    /// Decodes one image at its own size. Its memory is held until the result is dropped.
    pub(crate) async fn decode_whole(&self, ctx: &Context, image: Image, form: WholeForm) -> Result<WholeImage> {
        let WholeForm { input, spare_bytes } = form;
        let admitted = self.admit_image(image, ctx)?;
        self.open(ctx, admitted, Target::Whole { spare_bytes }, move |open| open.whole(&input)).await
    }

    pub(super) fn admit_image(&self, image: Image, ctx: &Context) -> Result<AdmittedImage> {
        let mut admitted = self.admit_images(vec![image], ctx.deadline)?;
        admitted.pop().ok_or_else(|| Error::internal("an image was not admitted"))
    }

    /// Waits for memory to decode an image in and works on it, off the async threads unless image and target are small.
    async fn open<T, F>(&self, ctx: &Context, admitted: AdmittedImage, target: Target<'_>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut OpenImage) -> Result<T> + Send + 'static,
    {
        let AdmittedImage { image, permit, dispatch } = admitted;
        let file = image?;
        let header = file.header()?;
        header.check_size(self.max_pixels)?;
        let bytes = decoding_bytes(header, target.shrink(header)) + target.spare_bytes(header);
        let memory = self.memory(bytes, ctx.deadline).await?;
        let small = header.width.max(header.height) <= INLINE_SIDE
            && file.bytes().len() <= INLINE_BYTES
            && target.side() <= INLINE_SIDE;
        let (noted, metrics) = (ctx.clone(), Arc::clone(&self.metrics));
        let work = move || {
            let started = Instant::now();
            let mut open = OpenImage { file, decoded: None, decode_time: Duration::ZERO, memory: Some(memory) };
            let result = work(&mut open)?;
            let took = started.elapsed();
            super::note(&noted, &metrics, Stage::Decode, open.decode_time);
            super::note(&noted, &metrics, Stage::Preprocess, took.saturating_sub(open.decode_time));
            permit.finish(took);
            Ok(result)
        };
        if dispatch == Dispatch::InlineIfSmall && small {
            return work();
        }
        tokio::time::timeout_at(ctx.deadline.into(), self.pool.run(work))
            .await
            .map_err(|_| Error::deadline_exceeded("the deadline passed while the image waited to be decoded"))??
    }
}
