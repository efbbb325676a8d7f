//! The routes with their layers.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Router,
    extract::MatchedPath,
    http::{
        HeaderValue,
        header::{CONTENT_SECURITY_POLICY, LOCATION},
    },
    middleware::{from_fn_with_state, map_response},
    response::Response,
};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::{OpenApi, PathItem, Server};
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::{
    AppState,
    error::Failure,
    explorer,
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
    let document = document(health_api, v1_api);
    let methods = Arc::new(methods(&document));
    let wrong_method = async move |path: MatchedPath| Failure::from(wrong_method(methods.get(path.as_str())));
    health
        .merge(v1)
        .merge(docs(document))
        .merge(explorer::routes(state.has_page))
        .method_not_allowed_fallback(wrong_method)
        .fallback(async || Failure::from(Error::new(ErrorKind::RouteNotFound, NO_ROUTE)))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(state.clone(), observe))
        .with_state(state)
}

/// The document and the page that shows it. Every address is relative, so that they work below any path that a proxy
/// puts before them; the page has a document of its own for that, whose server is the folder above.
fn docs(document: OpenApi) -> Router<AppState> {
    // Without the second setting the page sends the document to a validator on the internet.
    let page = Config::new(["openapi.json"]).validator_url("none");
    let mut of_page = document.clone();
    of_page.servers = Some(vec![Server::new("..")]);
    let pages = SwaggerUi::new("/docs").url("/openapi.json", document).url("/docs/openapi.json", of_page).config(page);
    Router::from(pages).layer(map_response(as_served))
}

/// Says what the page may do, and redirects from `/docs` to `/docs/` by an address that holds below any path.
async fn as_served(mut answer: Response) -> Response {
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(DOCS_POLICY));
    if let Some(location) = answer.headers_mut().get_mut(LOCATION).filter(|location| *location == "/docs/") {
        *location = HeaderValue::from_static("docs/");
    }
    answer
}

/// The methods of each documented route. The header that names them is added by the framework after every layer.
fn methods(document: &OpenApi) -> HashMap<String, Vec<&'static str>> {
    let of = |item: &PathItem| {
        let all = [("GET", &item.get), ("PUT", &item.put), ("POST", &item.post), ("PATCH", &item.patch)];
        let all = all.into_iter().chain([("DELETE", &item.delete)]);
        all.filter_map(|(name, operation)| operation.as_ref().map(|_| name)).collect()
    };
    let mut methods: HashMap<String, Vec<_>> =
        document.paths.paths.iter().map(|(path, item)| (path.clone(), of(item))).collect();
    // The item whose id is `delete` has the methods of every other beside those of this route.
    let item = methods.get(routes::ITEM_PATH).cloned();
    methods.entry(routes::DELETE_PATH.to_owned()).or_default().extend(item.unwrap_or_default());
    methods
}

fn wrong_method(allowed: Option<&Vec<&str>>) -> Error {
    let allowed = allowed.map_or_else(|| "the methods in the allow header".to_owned(), |allowed| allowed.join(", "));
    Error::new(ErrorKind::MethodNotAllowed, format!("the route is not for this method; it is for {allowed}"))
}

/// What the page of the documentation, which sets styles by itself, may do.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const NO_ROUTE: &str = "there is no such route; /docs lists every route";
