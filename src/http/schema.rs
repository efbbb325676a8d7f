//! Shapes of requests that are read by hand, for the documentation.
#![expect(dead_code, reason = "these types describe requests for the OpenAPI document, and no value of them exists")]

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type},
};

use super::{
    compat::openai::InputOptions,
    extract::ImageSchema,
    routes::{
        AddOptions, BatchOptions, CalibrationOptions, ClassifyOptions, EmbeddingOptions, InpaintOptions,
        InterpolateOptions, NewItem, SearchOptions,
    },
};

/// Images in JSON, with the options beside them.
#[derive(ToSchema)]
pub(super) struct JsonImages<O: ToSchema> {
    /// One image at least, `limits.images` at most.
    images: Vec<ImageSchema>,
    #[serde(flatten)]
    options: O,
}

/// Images in JSON, natively or by OpenAI's contract.
#[derive(ToSchema)]
#[serde(untagged)]
pub(super) enum JsonEmbeddings {
    Native(JsonImages<EmbeddingOptions>),
    OpenAi(JsonInputs),
}

/// OpenAI's contract: one vector for each input, or an error.
#[derive(ToSchema)]
pub(super) struct JsonInputs {
    input: Inputs,
    #[serde(flatten)]
    options: InputOptions,
}

#[derive(ToSchema)]
#[serde(untagged)]
enum Inputs {
    One(ImageSchema),
    Many(Vec<ImageSchema>),
}

/// Images as parts of a form, with the options as text parts.
#[derive(ToSchema)]
pub(super) struct FormImages<O: ToSchema> {
    /// One image at least, `limits.images` at most.
    image: Vec<BinaryFile>,
    #[serde(flatten)]
    options: O,
}

/// Images in JSON with a mask for all of them.
#[derive(ToSchema)]
pub(super) struct JsonInpaint {
    /// One image at least, `limits.images` at most.
    images: Vec<ImageSchema>,
    /// Patches in which it is dark (below one half on average) are hidden. It is brought to the model's size as the
    /// images are; what is transparent stays visible.
    mask: Option<ImageSchema>,
    #[serde(flatten)]
    options: InpaintOptions,
}

/// Images as parts of a form, with a mask for all of them.
#[derive(ToSchema)]
pub(super) struct FormInpaint {
    /// One image at least, `limits.images` at most.
    image: Vec<BinaryFile>,
    /// Patches in which it is dark are hidden.
    mask: Option<BinaryFile>,
    #[serde(flatten)]
    options: InpaintOptions,
}

/// Images in JSON with a region of interest for all of them, and the options beside them.
#[derive(ToSchema)]
pub(super) struct JsonScored<O: ToSchema> {
    /// One image at least, `limits.images` at most.
    images: Vec<ImageSchema>,
    /// The part of the images that counts: a box, or an image of their size whose bright pixels count (half as bright as
    /// white, or brighter).
    roi: Option<RoiSchema>,
    #[serde(flatten)]
    options: O,
}

/// Images as parts of a form with a region of interest for all of them, and the options as text parts.
#[derive(ToSchema)]
pub(super) struct FormScored<O: ToSchema> {
    /// One image at least, `limits.images` at most.
    image: Vec<BinaryFile>,
    /// An image of their size whose bright pixels count, or `left,top,width,height`.
    roi: Option<BinaryFile>,
    #[serde(flatten)]
    options: O,
}

/// The part of an image that counts.
#[derive(ToSchema)]
#[schema(title = "Region of interest")]
#[serde(untagged)]
pub(super) enum RoiSchema {
    /// Left, top, width and height in pixels of the image as it was sent, upright.
    Box([u32; 4]),
    Mask(ImageSchema),
}

/// Two images or two latents, with the options beside them.
#[derive(ToSchema)]
pub(super) struct JsonInterpolate {
    /// Two, unless there are latents.
    images: Option<Vec<ImageSchema>>,
    /// Two, of as many numbers as the model's latents have.
    latents: Option<Vec<Vec<f32>>>,
    #[serde(flatten)]
    options: InterpolateOptions,
}

/// An image's file: JPEG, PNG, WebP, GIF, BMP or TIFF.
pub(super) struct BinaryFile;

impl PartialSchema for BinaryFile {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::Binary);
        ObjectBuilder::new().schema_type(Type::String).format(Some(format)).into()
    }
}

impl ToSchema for BinaryFile {}

/// Items in JSON, with the options beside them.
#[derive(ToSchema)]
pub(super) struct JsonItems {
    /// One item at least; with images `limits.images` at most, with vectors `limits.vectors`.
    items: Vec<NewItem>,
    #[serde(flatten)]
    options: AddOptions,
}

/// Images as parts of a form, with their ids and metadata in the same order.
#[derive(ToSchema)]
pub(super) struct FormItems {
    image: Vec<BinaryFile>,
    /// One for each image, or none.
    id: Option<Vec<String>>,
    /// A JSON object for each image, or one for all.
    metadata: Option<Vec<String>>,
    #[serde(flatten)]
    options: AddOptions,
}

/// A search in JSON: exactly one of an image, a vector and an item's id, with the options beside it.
#[derive(ToSchema)]
pub(super) struct JsonSearch {
    image: Option<ImageSchema>,
    vector: Option<Vec<f32>>,
    #[serde(flatten)]
    options: SearchOptions,
}

/// A search by an image as a part of a form.
#[derive(ToSchema)]
pub(super) struct FormSearch {
    /// The image to search by, unless `id` is given.
    image: Option<BinaryFile>,
    #[serde(flatten)]
    options: SearchOptions,
}

/// A classification in JSON: exactly one of an image, a vector and an item's id, with the options beside it.
#[derive(ToSchema)]
pub(super) struct JsonClassify {
    image: Option<ImageSchema>,
    vector: Option<Vec<f32>>,
    #[serde(flatten)]
    options: ClassifyOptions,
}

/// A classification of an image as a part of a form.
#[derive(ToSchema)]
pub(super) struct FormClassify {
    /// The image to search by, unless `id` is given.
    image: Option<BinaryFile>,
    #[serde(flatten)]
    options: ClassifyOptions,
}

/// Several searches.
#[derive(ToSchema)]
pub(super) struct JsonSearches {
    /// One query at least; with images `limits.images` at most, others `limits.vectors`.
    queries: Vec<JsonSearch>,
    #[serde(flatten)]
    options: BatchOptions,
}

/// Images for a calibration in JSON, with the options beside them.
#[derive(ToSchema)]
pub(super) struct JsonNormals {
    /// Images known to be normal, and perhaps labelled anomalies; none where the options name a collection.
    images: Option<Vec<ImageSchema>>,
    /// The part of the images that counts.
    roi: Option<RoiSchema>,
    #[serde(flatten)]
    options: CalibrationOptions,
}

/// Images for a calibration as parts of a form, with their groups and labels in the same order.
#[derive(ToSchema)]
pub(super) struct FormNormals {
    image: Option<Vec<BinaryFile>>,
    /// An image of their size whose bright pixels count, or `left,top,width,height`.
    roi: Option<BinaryFile>,
    /// One for each image, or none.
    group: Option<Vec<String>>,
    /// One for each image, or none.
    label: Option<Vec<String>>,
    #[serde(flatten)]
    options: CalibrationOptions,
}
