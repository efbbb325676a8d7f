//! Interpolations between two images or two latents.

use axum::{Extension, Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    domain::ModelName,
    error::{Error, Result},
    http::{
        AppState,
        answer::data_uri,
        error::Failure,
        extract::{Fields, FormRules, FromFields, IMAGES, Images, LookupName as _, RequestBody},
        schema::{FormImages, JsonInterpolate},
    },
    model::Interpolation,
    service::{Context, Endpoints, Step, Steps},
};

/// The number of images unless a request says otherwise.
const STEPS: usize = 8;

#[derive(Debug, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct InterpolateOptions {
    #[param(required = false)]
    model: String,
    /// The number of images, both endpoints included: 2 to `limits.images`, 8 unless given.
    #[schema(minimum = 2)]
    steps: Option<usize>,
    /// `spherical` unless given.
    #[serde(default)]
    #[param(required = false)]
    method: Interpolation,
    /// For images: interpolates between latents that are drawn around them, instead of between their means. The same
    /// seed draws the same latents.
    seed: Option<u64>,
}

/// The endpoints to interpolate between and the options, however they were sent.
pub struct InterpolateRequest {
    endpoints: Endpoints,
    options: InterpolateOptions,
}

impl FromFields for InterpolateRequest {
    const RULES: FormRules = FormRules { json: &["images", "image", "latents"], images: Images::Possible, ..IMAGES };

    fn from_fields(fields: Fields<'_>) -> Result<Self> {
        let (mut content, options): (_, InterpolateOptions) = fields.split()?;
        let endpoints = match (content.images()?, content.vectors("latents")?) {
            (Some(images), None) => Endpoints::Images(images, options.seed),
            (None, Some(vectors)) => {
                if options.seed.is_some() {
                    let text = "`seed` draws latents around images; latents that are given need none";
                    return Err(Error::invalid_request(text));
                }
                Endpoints::Latents(vectors.into_iter().collect::<Result<_>>()?)
            }
            _ => return Err(Error::invalid_request("an interpolation needs two `images` or two `latents`")),
        };
        Ok(Self { endpoints, options })
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct InterpolatedList {
    model: String,
    space_key: String,
    data: Vec<InterpolatedEntry>,
}

#[derive(Debug, Serialize, ToSchema)]
struct InterpolatedEntry {
    /// The position between the endpoints: 0 at the first, 1 at the second.
    t: f64,
    /// A PNG at the model's size, as a data URI.
    image: String,
}

/// Decodes latents at equal steps between those of two images, or between two latents.
#[utoipa::path(post, path = "/v1/interpolate", tag = "images", params(InterpolateOptions),
    request_body(content((JsonInterpolate = "application/json"),
        (FormImages<InterpolateOptions> = "multipart/form-data"))),
    responses((status = 200, body = InterpolatedList)))]
pub(in crate::http) async fn interpolate(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    RequestBody(InterpolateRequest { endpoints, options }): RequestBody<InterpolateRequest>,
) -> Result<Json<InterpolatedList>, Failure> {
    let steps = Steps { count: options.steps.unwrap_or(STEPS), interpolation: options.method };
    let model = ModelName::for_lookup(&options.model)?;
    let (model, steps) = state.service.interpolate(&context, &model, endpoints, steps).await?;
    let data = steps.into_iter().map(|Step { t, png }| InterpolatedEntry { t, image: data_uri("image/png", &png) });
    let (name, space_key) = (model.name().to_string(), model.space_key().to_string());
    Ok(Json(InterpolatedList { model: name, space_key, data: data.collect() }))
}
