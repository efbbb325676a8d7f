//! Calibrations of a model's anomaly scores.

use std::collections::BTreeMap;

use axum::{Extension, Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    anomaly::{
        ScoreMetric,
        calibration::CalibrationDocument,
        evaluation::Evaluation,
        pooling::Pooling,
        roi::Roi,
        settings::{ScoreOptions, ScorePart, ScoreSettings},
    },
    domain::{CalibrationName, CalibrationRef, CollectionName, FieldPath, Filter, ModelName},
    error::{Error, Result},
    http::{
        AppState,
        answer::{ItemError, item_errors},
        error::Failure,
        extract::{
            LookupName as _, LookupParams, NoOptions, NormalsRequest, OptionsRequest, PathParams, QueryOptions,
            RequestBody,
        },
        schema::{BinaryFile, FormNormals, JsonNormals},
    },
    service::{CalibrateRequest, CalibrationState, Context, Made, Normals, StreamDrift},
};

#[derive(Debug, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CalibrationOptions {
    /// The model's usual one unless it is named. Of images that are added, the calibration's, as all settings.
    metric: Option<ScoreMetric>,
    /// How the map becomes the score: `max`, `mean`, or `top:SHARE`. What is usual for the metric unless it is named.
    #[schema(value_type = Option<String>, example = "top:0.01")]
    #[param(value_type = Option<String>)]
    pooling: Option<Pooling>,
    /// The standard deviation of a Gaussian over the map, in pixels of the model's image, 0…64; 0 unless given.
    #[schema(minimum = 0, maximum = 64)]
    sigma: Option<f64>,
    /// Scores images at their own resolution, in tiles of so many pixels a side, 16…8192.
    #[schema(minimum = 16, maximum = 8192, example = 256)]
    tile: Option<u32>,
    /// Pixels by which tiles overlap at least; an eighth of `tile` unless given.
    overlap: Option<u32>,
    /// Scores to be combined to one, 2 to 8 metrics each with its pooling, in place of `metric` and `pooling`. Half of the
    /// normal images (or the images of half of the groups) make the p-values, and the others calibrate their sum of −log p.
    #[param(value_type = Option<String>)]
    scores: Option<Vec<ScorePart>>,
    /// The nearest items whose distances metric `knn` averages, 1…100; 1 unless given.
    #[schema(minimum = 1, maximum = 100)]
    k: Option<u32>,
    /// The group of each image in a JSON body: what it belongs to, a part or a lot. Images of one group are not
    /// independent of each other.
    groups: Option<Vec<String>>,
    /// The label of each image in a JSON body. `normal`, `good`, `ok` and none are normal; others are those of anomalies,
    /// which evaluate the scores and do not calibrate.
    labels: Option<Vec<Option<String>>>,
    /// Without images: the collection whose stored images are taken. With images: the one that metric `knn` compares with.
    collection: Option<String>,
    /// Which items of the collection; all of them unless given.
    #[param(value_type = Option<String>)]
    filter: Option<Filter>,
    /// The key of the items' metadata that holds their group.
    #[schema(value_type = Option<String>)]
    #[param(value_type = Option<String>)]
    group_key: Option<FieldPath>,
    /// The key of the items' metadata that holds their label.
    #[schema(value_type = Option<String>)]
    #[param(value_type = Option<String>)]
    label_key: Option<FieldPath>,
    /// Make nothing if one of the images is bad. Without it, bad images stand in `errors`.
    #[serde(default)]
    #[param(required = false)]
    strict: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CalibrationDescription {
    name: String,
    model: String,
    /// Counts from 1; `NAME@VERSION` names one.
    version: u32,
    /// Every version that is kept.
    versions: Vec<u32>,
    /// What the scores are made of, as a hash: every graph, the preparation of images and the settings.
    #[schema(example = "ae-cifar10#0123456789ab")]
    score_key: String,
    #[serde(flatten)]
    settings: ScoreSettings,
    /// Normal images.
    count: usize,
    /// Their groups; null where none are given.
    groups: Option<usize>,
    /// Quantiles of the normal scores, by their share.
    quantiles: BTreeMap<String, f64>,
    /// The share of normal images whose score another one has too.
    ties: f64,
    /// How well the scores tell the labelled anomalies from the normal images; absent where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    evaluation: Option<Evaluation>,
    /// When this version was made, in seconds since 1970.
    created_unix: u64,
    /// Whether the model now makes other scores than those of the calibration; null where it is not loaded.
    stale: Option<bool>,
    /// The streams that were judged by the calibration, since it was made or the server began.
    drift: Vec<StreamDescription>,
    /// The images that have no score.
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<Vec<ItemError>>,
    /// What limits the use of the calibration.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// Whether a stream has drifted away from the calibration.
#[derive(Debug, Serialize, ToSchema)]
struct StreamDescription {
    stream: String,
    /// Images judged.
    count: u64,
    /// The natural logarithm of the test martingale: it grows where the scores are not those of the calibration.
    log_martingale: f64,
    /// Whether the martingale has ever reached 1 / `anomaly.drift_delta`.
    alarm: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CalibrationList {
    data: Vec<CalibrationDescription>,
}

impl From<StreamDrift> for StreamDescription {
    fn from(drift: StreamDrift) -> Self {
        let StreamDrift { stream, count, log_martingale, alarm } = drift;
        Self { stream, count, log_martingale, alarm }
    }
}

impl From<CalibrationState> for CalibrationDescription {
    fn from(state: CalibrationState) -> Self {
        let CalibrationState { calibration, versions, stale, drift } = state;
        let document = &calibration.document;
        Self {
            name: document.name.clone(),
            model: document.model.clone(),
            version: document.version,
            versions,
            score_key: document.score_key.clone(),
            settings: document.settings.clone(),
            count: calibration.count(),
            groups: calibration.groups(),
            quantiles: calibration.quantiles(),
            ties: calibration.ties(),
            evaluation: calibration.evaluation(),
            created_unix: document.created_unix,
            stale,
            drift: drift.into_iter().map(StreamDescription::from).collect(),
            errors: None,
            warnings: calibration.warnings(),
        }
    }
}

/// The answer to a request that made a version.
fn answer(made: Made) -> (StatusCode, Json<CalibrationDescription>) {
    let Made { state, created, errors, warnings } = made;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let description =
        CalibrationDescription { errors: Some(item_errors(&errors)), warnings, ..CalibrationDescription::from(state) };
    (status, Json(description))
}

impl NormalsRequest<CalibrationOptions> {
    /// Which images make the calibration, and how they are scored within the region of interest.
    fn request(self, roi: Option<Roi>) -> Result<CalibrateRequest> {
        let Self { images, groups, labels, options, .. } = self;
        let CalibrationOptions { metric, pooling, sigma, tile, overlap, k, scores, .. } = options;
        let CalibrationOptions { collection, filter, group_key, label_key, strict, .. } = options;
        let compared = collection.clone().filter(|_| images.is_some());
        let options_of_score =
            ScoreOptions { metric, pooling, sigma, tile, overlap, roi, collection: compared.clone(), k, scores };
        let groups = one_of("group", groups, options.groups)?;
        let labels = labels.into_iter().map(Some).collect();
        let labels = one_of("label", labels, options.labels)?;
        let normals = match (images, collection.filter(|_| compared.is_none())) {
            (Some(images), None) if filter.is_none() && group_key.is_none() && label_key.is_none() => {
                Normals::Sent { images, groups, labels }
            }
            (None, Some(collection)) if groups.is_none() && labels.is_none() => {
                let collection = CollectionName::for_lookup(&collection)?;
                Normals::Stored { collection, filter, group_key, label_key }
            }
            _ => {
                let text = "a calibration is made of images, with `groups` and `labels`, or of a `collection`, with `filter`, \
                    `group_key` and `label_key`";
                return Err(Error::invalid_request(text));
            }
        };
        Ok(CalibrateRequest { normals, options: options_of_score, strict })
    }
}

async fn calibrate_request(
    state: &AppState,
    context: &Context,
    mut request: NormalsRequest<CalibrationOptions>,
) -> Result<CalibrateRequest> {
    let roi = match request.roi.take() {
        Some(roi) => Some(state.service.region_of_interest(context, roi).await?),
        None => None,
    };
    request.request(roi)
}

/// A list that stands in the parts of a form or in JSON.
fn one_of<T>(name: &str, parts: Vec<T>, list: Option<Vec<T>>) -> Result<Option<Vec<T>>> {
    match (parts.is_empty(), list) {
        (true, list) => Ok(list),
        (false, None) => Ok(Some(parts)),
        (false, Some(_)) => {
            Err(Error::invalid_request(format!("`{name}` and `{name}s` are given: one of them is enough")))
        }
    }
}

/// Makes a calibration of images known to be normal, or its next version. It is stored durably when this answers.
#[utoipa::path(put, path = "/v1/models/{model}/calibrations/{name}", tag = "calibrations",
    operation_id = "create_calibration", params(("model" = String, Path), ("name" = String, Path), CalibrationOptions),
    request_body(content((JsonNormals = "application/json"), (FormNormals = "multipart/form-data"), (BinaryFile = "image/*"))),
    responses((status = 201, description = "made", body = CalibrationDescription),
        (status = 200, description = "replaced by its next version", body = CalibrationDescription)))]
pub(in crate::http) async fn create(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    PathParams((model, name)): PathParams<(String, CalibrationName)>,
    RequestBody(request): RequestBody<NormalsRequest<CalibrationOptions>>,
) -> Result<(StatusCode, Json<CalibrationDescription>), Failure> {
    let model = ModelName::for_lookup(&model)?;
    let request = calibrate_request(&state, &context, request).await?;
    Ok(answer(state.service.calibrate(&context, &model, name, request).await?))
}

/// Adds images to a calibration, as its next version; the versions before stay.
#[utoipa::path(post, path = "/v1/models/{model}/calibrations/{name}/items", tag = "calibrations",
    operation_id = "extend_calibration", params(("model" = String, Path), ("name" = String, Path), CalibrationOptions),
    request_body(content((JsonNormals = "application/json"), (FormNormals = "multipart/form-data"), (BinaryFile = "image/*"))),
    responses((status = 200, body = CalibrationDescription)))]
pub(in crate::http) async fn extend(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    LookupParams((model, name)): LookupParams<(ModelName, CalibrationName)>,
    RequestBody(request): RequestBody<NormalsRequest<CalibrationOptions>>,
) -> Result<(StatusCode, Json<CalibrationDescription>), Failure> {
    let request = calibrate_request(&state, &context, request).await?;
    Ok(answer(state.service.extend_calibration(&context, &model, name, request).await?))
}

/// The calibrations of a model, by name.
#[utoipa::path(get, path = "/v1/models/{model}/calibrations", tag = "calibrations", operation_id = "list_calibrations",
    params(("model" = String, Path)), responses((status = 200, body = CalibrationList)))]
pub(in crate::http) async fn list(
    State(state): State<AppState>,
    LookupParams(model): LookupParams<ModelName>,
    QueryOptions(NoOptions {}): QueryOptions<NoOptions>,
) -> Result<Json<CalibrationList>, Failure> {
    let data = state.service.calibrations(&model).await?.into_iter().map(CalibrationDescription::from).collect();
    Ok(Json(CalibrationList { data }))
}

/// A calibration as it stands, by `NAME` or `NAME@VERSION`.
#[utoipa::path(get, path = "/v1/models/{model}/calibrations/{name}", tag = "calibrations",
    operation_id = "describe_calibration", params(("model" = String, Path), ("name" = String, Path)),
    responses((status = 200, body = CalibrationDescription)))]
pub(in crate::http) async fn describe(
    State(state): State<AppState>,
    LookupParams((model, name)): LookupParams<(ModelName, CalibrationRef)>,
    QueryOptions(NoOptions {}): QueryOptions<NoOptions>,
) -> Result<Json<CalibrationDescription>, Failure> {
    Ok(Json(state.service.calibration(&model, &name).await?.into()))
}

/// The whole of a calibration, every score included, by `NAME` or `NAME@VERSION`: what `…/import` takes.
#[utoipa::path(get, path = "/v1/models/{model}/calibrations/{name}/export", tag = "calibrations",
    operation_id = "export_calibration", params(("model" = String, Path), ("name" = String, Path)),
    responses((status = 200, body = CalibrationDocument)))]
pub(in crate::http) async fn export(
    State(state): State<AppState>,
    LookupParams((model, name)): LookupParams<(ModelName, CalibrationRef)>,
    QueryOptions(NoOptions {}): QueryOptions<NoOptions>,
) -> Result<Json<CalibrationDocument>, Failure> {
    Ok(Json(state.service.calibration(&model, &name).await?.calibration.document.clone()))
}

/// Takes a calibration that was exported, as the next version of the one named in the path.
#[utoipa::path(post, path = "/v1/models/{model}/calibrations/{name}/import", tag = "calibrations",
    operation_id = "import_calibration", params(("model" = String, Path), ("name" = String, Path)),
    request_body = CalibrationDocument,
    responses((status = 201, description = "made", body = CalibrationDescription),
        (status = 200, description = "replaced by its next version", body = CalibrationDescription)))]
pub(in crate::http) async fn import(
    State(state): State<AppState>,
    Extension(context): Extension<Context>,
    PathParams((model, name)): PathParams<(String, CalibrationName)>,
    RequestBody(OptionsRequest(document)): RequestBody<OptionsRequest<CalibrationDocument>>,
) -> Result<(StatusCode, Json<CalibrationDescription>), Failure> {
    let model = ModelName::for_lookup(&model)?;
    Ok(answer(state.service.import_calibration(&context, &model, name, document).await?))
}

/// As the POST: a document is put under a name.
#[utoipa::path(put, path = "/v1/models/{model}/calibrations/{name}/import", tag = "calibrations",
    operation_id = "put_calibration", params(("model" = String, Path), ("name" = String, Path)),
    request_body = CalibrationDocument,
    responses((status = 201, description = "made", body = CalibrationDescription),
        (status = 200, description = "replaced by its next version", body = CalibrationDescription)))]
pub(in crate::http) async fn put_import(
    state: State<AppState>,
    context: Extension<Context>,
    params: PathParams<(String, CalibrationName)>,
    body: RequestBody<OptionsRequest<CalibrationDocument>>,
) -> Result<(StatusCode, Json<CalibrationDescription>), Failure> {
    import(state, context, params, body).await
}

/// Deletes a calibration with all its versions.
#[utoipa::path(delete, path = "/v1/models/{model}/calibrations/{name}", tag = "calibrations",
    operation_id = "delete_calibration", params(("model" = String, Path), ("name" = String, Path)),
    responses((status = 204, description = "deleted")))]
pub(in crate::http) async fn remove(
    State(state): State<AppState>,
    LookupParams((model, name)): LookupParams<(ModelName, CalibrationName)>,
    QueryOptions(NoOptions {}): QueryOptions<NoOptions>,
) -> Result<StatusCode, Failure> {
    state.service.delete_calibration(&model, name).await?;
    Ok(StatusCode::NO_CONTENT)
}
