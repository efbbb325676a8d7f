//! Whether `/v1` works for a request, and until when.

use std::time::{Duration, Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::body::{discard, receive};
use crate::{
    error::{Error, Result},
    http::{
        AppState,
        accept::{Media, negotiate},
        error::Failure,
    },
    service::Context,
};

const TIMEOUT: HeaderName = HeaderName::from_static("x-request-timeout-ms");
/// What the use cases get to answer a passed deadline by themselves, since they know what they waited for.
const GRACE: Duration = Duration::from_millis(100);

/// What the paths of routes that calibrate begin with.
const CALIBRATIONS: &str = "/v1/models/{model}/calibrations/{name}";

const FORM: &[u8] = b"application/x-www-form-urlencoded";
const BINARY_HINT: &str = "curl's -d takes line breaks out of a file: send it with --data-binary";

/// The place where a caller's key will be checked. There are no keys yet: every request passes.
fn authorise(_request: &Request) -> Result<()> {
    Ok(())
}

/// Whose request it is, then whether it is worked on, then its body: one layer, since each one costs every request a
/// boxed future. Refuses work while the server drains; else gives the request its [`Context`] and ends it at its
/// deadline.
pub(in crate::http) async fn gate(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    if let Err(error) = authorise(&request) {
        return refuse(&state, request, error);
    }
    if state.is_draining() {
        return refuse(&state, request, Error::unavailable("the server is shutting down"));
    }
    let time = match allowed_time(request.headers(), longest_time(&state, &request)) {
        Ok(time) => time,
        Err(error) => return refuse(&state, request, error),
    };
    let context = Context::new(Instant::now() + time);
    request.extensions_mut().insert(context.clone());
    let called_a_form = is_called_a_form(request.headers());
    let end = tokio::time::Instant::from_std(context.deadline + GRACE);
    let mut response = tokio::time::timeout_at(end, receive(state, request, next)).await.unwrap_or_else(|_| {
        let text = format!("the request took longer than {} ms", time.as_millis());
        Failure::from(Error::deadline_exceeded(text)).into_response()
    });
    if called_a_form && let Some(failure) = response.extensions_mut().remove::<Failure>() {
        response.extensions_mut().insert(failure.with_image_hint(BINARY_HINT));
    }
    // The outermost layer reads the stages' times from the context.
    response.extensions_mut().insert(context);
    response
}

/// Whether a body comes under the type that `curl -d` gives to every body.
fn is_called_a_form(headers: &HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    media.get(..FORM.len()).is_some_and(|start| start.eq_ignore_ascii_case(FORM))
}

fn refuse(state: &AppState, request: Request, error: Error) -> Response {
    discard(request.into_body().into_data_stream(), state.clone());
    Failure::from(error).into_response()
}

/// For routes whose answers are JSON and nothing else.
pub(in crate::http) async fn json_only(request: Request, next: Next) -> Response {
    match negotiate(request.headers(), &[Media::Json]) {
        Ok(_) => next.run(request).await,
        Err(error) => Failure::from(error).into_response(),
    }
}

/// The milliseconds that a request may take: those that calibrate have time for many images.
fn longest_time(state: &AppState, request: &Request) -> u64 {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    if path.starts_with(CALIBRATIONS) { state.service.calibration_ms() } else { state.service.limits().deadline_ms }
}

/// The caller's time where it is shorter than the server's.
fn allowed_time(headers: &HeaderMap, server_ms: u64) -> Result<Duration> {
    let Some(value) = headers.get(TIMEOUT) else { return Ok(Duration::from_millis(server_ms)) };
    let asked = value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok()).filter(|ms| *ms > 0);
    asked
        .map(|ms| Duration::from_millis(ms.min(server_ms)))
        .ok_or_else(|| Error::invalid_request("x-request-timeout-ms is a whole number of milliseconds, at least 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shorter_time_counts_and_a_malformed_one_is_refused() {
        let time = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(TIMEOUT, text.parse().unwrap());
            allowed_time(&headers, 1000).map(|time| time.as_millis())
        };
        assert_eq!(time("10").unwrap(), 10);
        assert_eq!(time("5000").unwrap(), 1000);
        assert_eq!(allowed_time(&HeaderMap::new(), 7).unwrap().as_millis(), 7);
        for bad in ["", "0", "-1", "1.5", "soon", "99999999999999999999"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}
