//! The routes with their layers.

use axum::{Router, middleware::from_fn_with_state};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::{
    AppState,
    error::Failure,
    middleware::{gate, observe, panicked},
    openapi::document,
    routes,
};
use crate::error::{Error, ErrorKind};

/// Every documented route, without layers.
pub(super) fn documented() -> (OpenApiRouter<AppState>, OpenApiRouter<AppState>) {
    (routes::health(), routes::v1())
}

/// The whole of the HTTP interface.
pub fn router(state: AppState) -> Router {
    let (health, v1) = documented();
    let (health, health_api) = health.split_for_parts();
    let (v1, v1_api) = v1.split_for_parts();
    let v1 = v1.layer(from_fn_with_state(state.clone(), gate));
    // the page asks nobody outside whether the document is valid
    let page = Config::new(["/openapi.json"]).validator_url("none");
    let docs = SwaggerUi::new("/docs").url("/openapi.json", document(health_api, v1_api)).config(page);
    health
        .merge(v1)
        .merge(docs)
        .method_not_allowed_fallback(async || Failure::from(Error::new(ErrorKind::MethodNotAllowed, WRONG_METHOD)))
        .fallback(async || Failure::from(Error::new(ErrorKind::RouteNotFound, NO_ROUTE)))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(state.clone(), observe))
        .with_state(state)
}

const WRONG_METHOD: &str = "the route is not for this method; the allow header names those that are";
const NO_ROUTE: &str = "there is no such route; /docs lists those that are";
