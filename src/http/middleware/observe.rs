//! The outermost layer: names a request, times it, counts it, logs it and writes its failure.

use std::{
    any::Any,
    fmt::Write as _,
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tracing::Instrument as _;

use super::trace_context::{TraceContext, random_id};
use crate::{
    error::Error,
    http::{
        AppState,
        error::{Failure, of_status},
    },
    service::Context,
    telemetry::metrics::RequestLabels,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
/// The route of a request that matches none, in metrics and in the log.
const NO_ROUTE: &str = "unmatched";
/// The policy of answers that are no pages.
const NO_PAGE: &str = "default-src 'none'; frame-ancestors 'none'; sandbox";

pub(in crate::http) async fn observe(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(request.headers());
    let trace = TraceContext::of(request.headers());
    let labels = labels(&request);
    // a span of the highest level, so that every line of the log names its request
    let span = tracing::error_span!("request", request_id = id, trace_id = trace.trace_id);
    let mut response = next.run(request).instrument(span.clone()).await;
    let _entered = span.enter();
    if let Some(failure) = failure_of(&response) {
        failure.write(&id, &mut response);
    }
    let took = started.elapsed();
    let timing = server_timing(response.extensions().get::<Context>(), took);
    let unchanged = response.status() == StatusCode::NOT_MODIFIED;
    let headers = response.headers_mut();
    headers.reserve(6);
    // What is no page of ours does nothing in a browser, whatever it holds: a stored image is a stranger's file.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // A browser puts the headers of such an answer in place of those it has: the page would lose its policy.
    if !unchanged {
        headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(NO_PAGE));
    }
    for (name, value) in [(REQUEST_ID, &id), (TRACEPARENT, &trace.header()), (SERVER_TIMING, &timing)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    conclude(&state, RequestLabels { status: response.status().as_u16(), ..labels }, took);
    response
}

/// Counts the request and writes its line into the log.
fn conclude(state: &AppState, labels: RequestLabels, took: Duration) {
    let RequestLabels { route, method, status } = &labels;
    // in whole microseconds, as nobody reads more
    let duration_ms = took.as_micros() as f64 / 1e3;
    tracing::info!(method, route, status, duration_ms, "request answered");
    let metrics = state.service.metrics();
    metrics.request_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    metrics.requests.get_or_create(&labels).inc();
}

/// The answer to a request whose handler panicked.
pub(in crate::http) fn panicked(payload: Box<dyn Any + Send + 'static>) -> Response {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    Failure::from(Error::internal(format!("a handler panicked: {text}"))).into_response()
}

/// A failure of ours, or what stands for an error that the framework has answered by itself.
fn failure_of(response: &Response) -> Option<Failure> {
    response.extensions().get::<Failure>().cloned().or_else(|| of_status(response.status()))
}

/// The caller's id where it is short and plain, so that it can stand in a log; else one of ours.
fn request_id(headers: &HeaderMap) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'/' | b'+' | b'=');
    headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| (1..=128).contains(&id.len()) && id.bytes().all(plain))
        .map_or_else(|| random_id().hyphenated().to_string(), str::to_owned)
}

/// The labels of a request, from closed sets: a caller cannot make up new ones.
fn labels(request: &Request) -> RequestLabels {
    let route = request.extensions().get::<MatchedPath>().map_or(NO_ROUTE, MatchedPath::as_str);
    let method = match *request.method() {
        Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::PATCH | Method::DELETE | Method::OPTIONS => {
            request.method().as_str()
        }
        _ => "OTHER",
    };
    RequestLabels { route: route.to_owned(), method: method.to_owned(), status: 0 }
}

/// The stages' times and the whole one, in milliseconds.
fn server_timing(context: Option<&Context>, total: Duration) -> String {
    let mut text = String::new();
    let mut add = |name: &str, took: Duration| {
        let comma = if text.is_empty() { "" } else { ", " };
        let micros = (took.as_nanos() + 500) / 1000;
        // writing to a string cannot fail
        let _ = write!(text, "{comma}{name};dur={}.{:03}", micros / 1000, micros % 1000);
    };
    for (stage, took) in context.iter().flat_map(|context| context.stages()) {
        add(stage.as_str(), took);
    }
    add("total", total);
    text
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::service::Stage;

    #[test]
    fn ids_that_a_log_line_can_hold_are_kept_and_others_replaced() {
        let id_of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(text.as_bytes()).unwrap());
            request_id(&headers)
        };
        assert_eq!(id_of("abc-1.2:3"), "abc-1.2:3");
        for bad in ["", "a b", "a\tb", "ü", "a\"b", &"x".repeat(129)] {
            assert!(Uuid::parse_str(&id_of(bad)).is_ok(), "{bad}");
        }
        assert!(Uuid::parse_str(&request_id(&HeaderMap::new())).is_ok());
    }

    #[test]
    fn a_panic_is_an_internal_error() {
        for payload in [Box::new("boom") as Box<dyn Any + Send>, Box::new("boom".to_owned()), Box::new(5)] {
            let mut response = panicked(payload);
            failure_of(&response).unwrap().write("id", &mut response);
            assert_eq!(response.status(), 500);
            assert_eq!(response.headers()["content-type"], "application/problem+json");
        }
    }

    #[test]
    fn what_the_framework_refuses_by_itself_is_a_failure_of_ours() {
        for status in [400, 404, 405, 413, 415, 500] {
            let status = axum::http::StatusCode::from_u16(status).unwrap();
            assert!(failure_of(&status.into_response()).is_some(), "{status}");
        }
        assert!(failure_of(&axum::http::StatusCode::NO_CONTENT.into_response()).is_none());
    }

    #[test]
    fn the_timing_names_the_stages_entered_and_the_total() {
        let context = Context::new(Instant::now());
        context.note(Stage::Infer, Duration::from_micros(1500));
        context.note(Stage::Decode, Duration::from_micros(250));
        assert_eq!(
            server_timing(Some(&context), Duration::from_millis(2)),
            "decode;dur=0.250, infer;dur=1.500, total;dur=2.000"
        );
        assert_eq!(server_timing(None, Duration::ZERO), "total;dur=0.000");
    }
}
