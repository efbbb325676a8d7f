//! Whether the server lives, whether it is ready, and its metrics.

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::{AppState, error::Failure};

#[derive(Debug, Serialize, ToSchema)]
pub struct Status {
    #[schema(example = "ready")]
    status: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Liveness {
    #[schema(example = "live")]
    status: &'static str,
    /// The version of the server.
    #[schema(example = "0.1.0")]
    version: &'static str,
}

/// Whether the process answers, and which version it is.
#[utoipa::path(get, path = "/livez", tag = "health", responses((status = 200, body = Liveness)))]
pub(in crate::http) async fn livez() -> Json<Liveness> {
    Json(Liveness { status: "live", version: env!("CARGO_PKG_VERSION") })
}

/// Whether requests can be served: not until the index is open and every model has been tried once, while a required
/// model is not ready, while no model is, or while the server drains; the answer lists every reason. It tells what is
/// known and waits for nothing.
#[utoipa::path(get, path = "/readyz", tag = "health", responses((status = 200, body = Status)))]
pub(in crate::http) async fn readyz(State(state): State<AppState>) -> Result<Json<Status>, Failure> {
    let mut reasons = state.service.readiness().err().unwrap_or_default();
    if state.is_draining() {
        reasons.insert(0, "the server is shutting down".to_owned());
    }
    if reasons.is_empty() { Ok(Json(Status { status: "ready" })) } else { Err(Failure::not_ready(reasons)) }
}

/// Every metric, in the OpenMetrics text format.
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, body = String)))]
pub(in crate::http) async fn metrics(State(state): State<AppState>) -> Response {
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, media_type)], state.service.metrics().render()).into_response()
}
