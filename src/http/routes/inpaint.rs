//! Images with hidden patches to whole ones.

use axum::{Extension, extract::State, http::HeaderMap, response::Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    domain::ModelName,
    error::{Error, Result},
    http::{
        AppState,
        accept::Media,
        answer::data_uri,
        error::Failure,
        extract::{LookupName as _, MaskedRequest, RequestBody},
        results::{ResultEntry, ResultForm, ResultList},
        schema::{BinaryFile, FormInpaint, JsonInpaint},
    },
    service::{Context, HidingRequest, Image, Inpainted},
};

/// At most one of `mask_ratio` (with its `seed`), `patches` and a mask.
#[derive(Debug, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct InpaintOptions {
    #[param(required = false)]
    model: String,
    /// The share of the patches to hide, in 0…1: `n − ⌊n · (1 − ratio)⌋` of n. The model's own share (0.75 for most)
    /// where nothing else is said.
    #[schema(minimum = 0, maximum = 1, example = 0.75)]
    mask_ratio: Option<f64>,
    /// Which patches the ratio hides: the same seed hides the same; 0 unless given.
    seed: Option<u64>,
    /// The patches to hide, counted row by row from 0.
    patches: Option<Vec<u64>>,
    /// Fail the request with its first bad image.
    #[serde(default)]
    #[param(required = false)]
    strict: bool,
}

impl InpaintOptions {
    fn hiding(&mut self, mask: Option<Image>) -> Result<HidingRequest> {
        let share = self.mask_ratio.is_some() || self.seed.is_some();
        match (self.patches.take(), mask) {
            (None, None) => Ok(HidingRequest::Share { ratio: self.mask_ratio, seed: self.seed.unwrap_or(0) }),
            (Some(patches), None) if !share => Ok(HidingRequest::Patches(patches)),
            (None, Some(mask)) if !share => Ok(HidingRequest::Painted(mask)),
            _ => Err(Error::invalid_request(
                "what is to be hidden is said once: by `mask_ratio` and `seed`, by `patches`, or by `mask`",
            )),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct InpaintedEntry {
    /// The image's place in the request, from 0.
    index: usize,
    /// A PNG at the model's size, as a data URI: the visible patches as they were, the hidden ones as predicted.
    image: String,
    /// The same with the hidden patches grey.
    masked: String,
    /// The hidden patches, ascending.
    patches: Vec<usize>,
}

type InpaintedList = ResultList<InpaintedEntry>;

impl ResultEntry for InpaintedEntry {
    const LIST: &'static str = "InpaintedList";
}

impl InpaintedEntry {
    fn new(index: usize, inpainted: Inpainted) -> Self {
        let [image, masked] = [inpainted.png, inpainted.masked].map(|png| data_uri("image/png", &png));
        Self { index, image, masked, patches: inpainted.patches }
    }
}

/// Hides patches of images, the same ones of each, and fills them in.
#[utoipa::path(post, path = "/v1/inpaint", tag = "images", params(InpaintOptions),
    request_body(content((JsonInpaint = "application/json"), (FormInpaint = "multipart/form-data"),
        (BinaryFile = "image/*"))),
    responses((status = 200, content((InpaintedList = "application/json"), (BinaryFile = "image/png")))))]
pub(in crate::http) async fn inpaint(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    headers: HeaderMap,
    RequestBody(MaskedRequest { images, mask, mut options }): RequestBody<MaskedRequest<InpaintOptions>>,
) -> Result<Response, Failure> {
    let form = ResultForm::choose(&headers, &[Media::Json, Media::Png], images.len())?;
    let hiding = options.hiding(mask)?;
    let model = ModelName::for_lookup(&options.model)?;
    let results = state.service.inpaint(&context, &model, images, hiding).await?;
    Ok(form.answer(results, options.strict, InpaintedEntry::new, |one| Some(one.png))?)
}
