//! Errors as answers: the one place where kinds become status codes.

use std::{error::Error as _, sync::Arc, time::Duration};

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::extract::LOOKS_LIKE_JSON;
use crate::error::{Error, ErrorKind};

/// The public text of an internal error; the cause is in the log under the request id.
const INTERNAL: &str = "something went wrong in the server; its log has the cause under this request id";
/// The wait that a refused caller is given where nothing better is known.
const DEFAULT_RETRY: Duration = Duration::from_secs(1);
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// The status and the title of each kind.
const fn meaning(kind: ErrorKind) -> (StatusCode, &'static str) {
    match kind {
        ErrorKind::InvalidRequest => (StatusCode::BAD_REQUEST, "the request is not valid"),
        ErrorKind::Unauthorized => (StatusCode::UNAUTHORIZED, "no valid key"),
        ErrorKind::Forbidden => (StatusCode::FORBIDDEN, "not allowed"),
        ErrorKind::RouteNotFound => (StatusCode::NOT_FOUND, "no such route"),
        ErrorKind::ModelNotFound => (StatusCode::NOT_FOUND, "no such model"),
        ErrorKind::CollectionNotFound => (StatusCode::NOT_FOUND, "no such collection"),
        ErrorKind::ItemNotFound => (StatusCode::NOT_FOUND, "no such item"),
        ErrorKind::CalibrationNotFound => (StatusCode::NOT_FOUND, "no such calibration"),
        ErrorKind::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "not with this method"),
        ErrorKind::NotAcceptable => (StatusCode::NOT_ACCEPTABLE, "no answer of the accepted types"),
        ErrorKind::AlreadyExists => (StatusCode::CONFLICT, "the name is taken"),
        ErrorKind::SpaceMismatch => (StatusCode::CONFLICT, "vectors of different spaces"),
        ErrorKind::CalibrationStale => (StatusCode::CONFLICT, "a calibration of other scores"),
        ErrorKind::PayloadTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the request is too large"),
        ErrorKind::ImageTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "an image has too many pixels"),
        ErrorKind::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "a format that is not read here"),
        ErrorKind::InvalidImage => (StatusCode::UNPROCESSABLE_ENTITY, "not a whole image"),
        ErrorKind::CapabilityNotSupported => (StatusCode::UNPROCESSABLE_ENTITY, "the model cannot do this"),
        ErrorKind::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "too many requests"),
        ErrorKind::Overloaded => (StatusCode::TOO_MANY_REQUESTS, "the server is busy"),
        ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "an error of the server"),
        ErrorKind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "not available now"),
        ErrorKind::DeadlineExceeded => (StatusCode::GATEWAY_TIMEOUT, "the deadline has passed"),
        ErrorKind::StorageFull => (StatusCode::INSUFFICIENT_STORAGE, "the storage is full"),
    }
}

/// The status of a kind.
pub(super) const fn status(kind: ErrorKind) -> StatusCode {
    meaning(kind).0
}

/// What the caller may know of an error.
pub(super) fn public_message(error: &Error) -> &str {
    if error.kind() == ErrorKind::Internal { INTERNAL } else { error.message() }
}

/// A problem document (RFC 9457), the body of every error of `/v1`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// `urn:latentd:error:` and the code.
    #[serde(rename = "type")]
    #[schema(example = "urn:latentd:error:invalid_image")]
    kind: String,
    /// The same for every error of this code.
    title: &'static str,
    status: u16,
    /// What to change, or what to wait for.
    detail: String,
    /// One of a closed set, for programs.
    #[schema(example = "invalid_image")]
    code: &'static str,
    /// Names this request in the server's log.
    request_id: String,
    /// Everything that keeps the server from being ready; `/readyz` alone has it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
}

/// The error envelope of OpenAI's contract.
#[derive(Debug, Serialize, ToSchema)]
pub struct OpenAiProblem {
    error: OpenAiError,
}

#[derive(Debug, Serialize, ToSchema)]
struct OpenAiError {
    message: String,
    #[serde(rename = "type")]
    #[schema(example = "invalid_request_error")]
    kind: &'static str,
    /// The input that is at fault, such as `input[1]`.
    param: Option<String>,
    code: &'static str,
}

/// The form in which a failure is written.
#[derive(Debug, Clone)]
enum Dialect {
    Problem { reasons: Vec<String> },
    OpenAi { status: StatusCode, param: Option<String> },
}

/// A request's failure on its way out. The outermost layer, which knows the request's id, writes and logs it.
#[derive(Debug, Clone)]
pub struct Failure {
    error: Arc<Error>,
    dialect: Dialect,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error: Arc::new(error), dialect: Dialect::Problem { reasons: Vec::new() } }
    }
}

impl Failure {
    /// A server that is not ready, and all the reasons.
    pub(super) fn not_ready(reasons: Vec<String>) -> Self {
        let error = Error::unavailable(format!("not ready: {}", reasons.join("; ")));
        Self { error: Arc::new(error), dialect: Dialect::Problem { reasons } }
    }

    /// An error in OpenAI's envelope.
    pub(super) fn open_ai(error: Error) -> Self {
        let status = status(error.kind());
        Self { error: Arc::new(error), dialect: Dialect::OpenAi { status, param: None } }
    }

    /// A bad input in OpenAI's envelope: 400 whatever is wrong with it, unless it is the server that failed.
    pub(super) fn open_ai_input(index: usize, error: Error) -> Self {
        let status = match status(error.kind()) {
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => status,
            _ => StatusCode::BAD_REQUEST,
        };
        let param = Some(format!("input[{index}]"));
        Self { error: Arc::new(error), dialect: Dialect::OpenAi { status, param } }
    }

    /// The failure of an image that is not whole, with what may have broken it; any other stays as it is.
    pub(super) fn with_image_hint(self, hint: &str) -> Self {
        if self.error.kind() != ErrorKind::InvalidImage || self.error.message() == LOOKS_LIKE_JSON {
            return self;
        }
        let text = format!("{}; {hint}", self.error.message());
        Self { error: Arc::new(Error::invalid_image(text)), dialect: self.dialect }
    }

    fn status(&self) -> StatusCode {
        match self.dialect {
            Dialect::Problem { .. } => status(self.error.kind()),
            Dialect::OpenAi { status, .. } => status,
        }
    }

    /// Writes the failure into its answer and notes what only the log may know.
    pub(super) fn write(&self, request_id: &str, response: &mut Response) {
        self.log();
        let body = match &self.dialect {
            Dialect::Problem { reasons } => self.problem(request_id, reasons.clone()),
            Dialect::OpenAi { status, param } => self.envelope(*status, param.clone()),
        };
        let (parts, body) = body.into_parts();
        *response.status_mut() = self.status();
        *response.body_mut() = body;
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response.headers_mut().extend(parts.headers);
        self.retry_headers(response);
        if self.error.kind() == ErrorKind::Unauthorized {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
    }

    /// An error of ours, or one with a cause that the caller is not told; a busy or stopping server is no error.
    fn log(&self) {
        let (code, cause) = (self.error.kind().code(), self.error.chain());
        if self.error.kind() == ErrorKind::Internal {
            tracing::error!(code, cause, "request failed");
        } else if self.status().is_server_error() && self.error.source().is_some() {
            tracing::warn!(code, cause, "request failed");
        }
    }

    fn problem(&self, request_id: &str, reasons: Vec<String>) -> Response {
        let kind = self.error.kind();
        let (status, title) = meaning(kind);
        let problem = Problem {
            kind: format!("urn:latentd:error:{}", kind.code()),
            title,
            status: status.as_u16(),
            detail: public_message(&self.error).to_owned(),
            code: kind.code(),
            request_id: request_id.to_owned(),
            reasons,
        };
        ([(header::CONTENT_TYPE, "application/problem+json")], Json(problem)).into_response()
    }

    fn envelope(&self, status: StatusCode, param: Option<String>) -> Response {
        let kind = match status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        let message = public_message(&self.error).to_owned();
        Json(OpenAiProblem { error: OpenAiError { message, kind, param, code: self.error.kind().code() } })
            .into_response()
    }

    /// Whole seconds, rounded up, and milliseconds.
    fn retry_headers(&self, response: &mut Response) {
        let busy = matches!(self.error.kind(), ErrorKind::Overloaded | ErrorKind::RateLimited);
        let Some(wait) = self.error.retry_after().or_else(|| busy.then_some(DEFAULT_RETRY)) else { return };
        let millis = wait.as_nanos().div_ceil(1_000_000).clamp(1, u128::from(u64::MAX)) as u64;
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(millis.div_ceil(1000)));
        response.headers_mut().insert(RETRY_AFTER_MS, HeaderValue::from(millis));
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The failure that an answer of the framework stands for, so that its own texts never leave the server.
pub(super) fn of_status(status: StatusCode) -> Option<Failure> {
    if !status.is_client_error() && !status.is_server_error() {
        return None;
    }
    Some(Failure::from(match status {
        StatusCode::NOT_FOUND => Error::new(ErrorKind::RouteNotFound, "there is no such route"),
        StatusCode::METHOD_NOT_ALLOWED => Error::new(ErrorKind::MethodNotAllowed, "the route is not for this method"),
        StatusCode::PAYLOAD_TOO_LARGE => Error::new(ErrorKind::PayloadTooLarge, "the body is too large"),
        status if status.is_server_error() => Error::internal(format!("the framework answered {status}")),
        status => Error::invalid_request(format!("the request could not be read ({status})")),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(error: Error) -> Response {
        let mut response = StatusCode::OK.into_response();
        Failure::from(error).write("id-1", &mut response);
        response
    }

    #[test]
    fn every_kind_is_an_error_status_with_a_title() {
        for kind in ErrorKind::ALL {
            let (status, title) = meaning(kind);
            assert!(status.is_client_error() || status.is_server_error(), "{kind:?}");
            assert!(!title.is_empty() && !title.ends_with('.'));
        }
    }

    #[test]
    fn only_broken_images_get_a_hint() {
        let hinted = |error: Error| Failure::from(error).with_image_hint("try again").error.message().to_owned();
        assert_eq!(hinted(Error::invalid_image("cut off")), "cut off; try again");
        assert_eq!(hinted(Error::invalid_request("no")), "no");
        assert_eq!(hinted(Error::invalid_image(LOOKS_LIKE_JSON)), LOOKS_LIKE_JSON);
    }

    #[test]
    fn waits_are_rounded_up_and_never_zero() {
        for (wait, seconds, millis) in [
            (Duration::ZERO, "1", "1"),
            (Duration::from_micros(1), "1", "1"),
            (Duration::from_millis(1000), "1", "1000"),
            (Duration::from_micros(1_000_001), "2", "1001"),
        ] {
            let response = written(Error::overloaded("busy", wait));
            assert_eq!(response.headers()["retry-after"], seconds);
            assert_eq!(response.headers()["retry-after-ms"], millis);
        }
        assert_eq!(written(Error::new(ErrorKind::RateLimited, "busy")).headers()["retry-after"], "1");
        assert!(!written(Error::invalid_request("no")).headers().contains_key("retry-after"));
    }

    #[test]
    fn the_text_of_an_internal_error_stays_inside() {
        assert_eq!(public_message(&Error::internal("disk /dev/sda")), INTERNAL);
        assert_eq!(public_message(&Error::invalid_request("limit is 5")), "limit is 5");
    }

    #[test]
    fn an_unauthorised_caller_is_told_the_scheme() {
        assert_eq!(written(Error::new(ErrorKind::Unauthorized, "no key")).headers()["www-authenticate"], "Bearer");
    }

    #[test]
    fn a_bad_input_of_openai_is_400_but_a_failing_server_is_not() {
        for (kind, status) in [
            (ErrorKind::InvalidImage, 400),
            (ErrorKind::ImageTooLarge, 400),
            (ErrorKind::Forbidden, 400),
            (ErrorKind::Internal, 500),
            (ErrorKind::DeadlineExceeded, 504),
        ] {
            assert_eq!(Failure::open_ai_input(1, Error::new(kind, "x")).status().as_u16(), status, "{kind:?}");
        }
    }
}
