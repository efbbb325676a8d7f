//! Classification by a vote of the nearest items.

use axum::{Extension, Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use crate::{
    domain::{CollectionName, FieldPath, Filter, ItemId, SpaceKey, TopK},
    error::Result,
    http::{
        AppState,
        error::Failure,
        extract::{Fields, FormRules, FromFields, LookupParams, RequestBody},
        query::{HitEntry, SEARCH, entries, query_by},
        schema::{BinaryFile, FormClassify, JsonClassify},
    },
    service::{Classified, ClassifyRequest, Context},
};

/// Neighbours that vote unless the caller says otherwise.
const NEIGHBOURS: usize = 20;
const TEMPERATURE: f64 = 0.1;

#[derive(Debug, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ClassifyOptions {
    /// The dotted key of the metadata that holds the label.
    #[schema(value_type = String)]
    #[param(value_type = String)]
    key: FieldPath,
    /// Classify an item of the collection; it does not vote itself.
    #[schema(value_type = Option<String>)]
    #[param(value_type = Option<String>)]
    id: Option<ItemId>,
    /// The number of neighbours that vote: 1 to 1,000; 20 unless given.
    k: Option<usize>,
    /// The temperature of the votes, above 0, in the unit of the scores; 0.1 unless given. The lower, the more the
    /// nearest neighbours decide.
    temperature: Option<f64>,
    /// Which items may vote.
    #[param(value_type = Option<String>)]
    filter: Option<Filter>,
    /// Compare with every vector in 32 bits.
    #[serde(default)]
    #[param(required = false)]
    exact: bool,
    /// Refuse unless this is the collection's space.
    #[schema(value_type = Option<String>)]
    #[param(value_type = Option<String>)]
    space_key: Option<SpaceKey>,
}

impl FromFields for ClassifyRequest {
    const RULES: FormRules = SEARCH;

    fn from_fields(fields: Fields<'_>) -> Result<Self> {
        let (mut content, options): (_, ClassifyOptions) = fields.split()?;
        Ok(Self {
            by: query_by(&mut content, options.id)?,
            key: options.key,
            k: TopK::new(options.k.unwrap_or(NEIGHBOURS))?,
            temperature: options.temperature.unwrap_or(TEMPERATURE),
            filter: options.filter,
            exact: options.exact,
            space_key: options.space_key,
        })
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ClassifyAnswer {
    /// The label of most votes, as text; null if no neighbour has one.
    label: Option<String>,
    /// The share of each label, the most first; they sum to 1.
    #[schema(value_type = std::collections::HashMap<String, f64>)]
    votes: Map<String, Value>,
    /// The nearest items, best first, those without a label too.
    neighbours: Vec<HitEntry>,
}

impl From<Classified> for ClassifyAnswer {
    fn from(classified: Classified) -> Self {
        let Classified { label, votes, neighbours } = classified;
        let votes = votes.into_iter().map(|(label, share)| (label, share.into())).collect();
        Self { label, votes, neighbours: entries(neighbours) }
    }
}

/// Labels an image, a vector or an item by its nearest items. Each votes with the weight exp(score / temperature) for
/// the values at the key of its metadata, divided among them if they are several; one without the key has no part. The
/// score is that of the collection's metric: the cosine, the inner product, or minus the L2 distance.
#[utoipa::path(post, path = "/v1/collections/{collection}/classify", tag = "search", operation_id = "classify",
    params(("collection" = String, Path), ClassifyOptions),
    request_body(content((JsonClassify = "application/json"), (FormClassify = "multipart/form-data"),
        (BinaryFile = "image/*"))),
    responses((status = 200, body = ClassifyAnswer)))]
pub(in crate::http) async fn classify(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    LookupParams(collection): LookupParams<CollectionName>,
    RequestBody(request): RequestBody<ClassifyRequest>,
) -> Result<Json<ClassifyAnswer>, Failure> {
    Ok(Json(state.service.classify(&context, &collection, request).await?.into()))
}
