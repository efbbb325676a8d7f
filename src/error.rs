//! The one error type of latentd and its closed set of kinds.
//!
//! Which kind to use where:
//!
//! | situation | kind |
//! | --- | --- |
//! | the caller wrote something malformed, unknown or contradictory | [`ErrorKind::InvalidRequest`] |
//! | bytes that are not an image, or a damaged one | [`ErrorKind::InvalidImage`] |
//! | a real image format that this build does not read | [`ErrorKind::UnsupportedMediaType`] |
//! | something of ours broke and the caller can do nothing | [`ErrorKind::Internal`] |
//! | something of ours is not there *now* (loading, draining, device lost) | [`ErrorKind::Unavailable`] |
//!
//! The message of an error is for the caller: it says what to change. The [`source`](std::error::Error::source)
//! is for the operator: it is logged once, under the request id, and never sent.

use std::{borrow::Cow, fmt, time::Duration};

/// What went wrong, as a closed set; `http` turns each kind into a status with one exhaustive match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    InvalidRequest,
    Unauthorized,
    Forbidden,
    RouteNotFound,
    ModelNotFound,
    CollectionNotFound,
    ItemNotFound,
    CalibrationNotFound,
    MethodNotAllowed,
    NotAcceptable,
    AlreadyExists,
    SpaceMismatch,
    CalibrationStale,
    PayloadTooLarge,
    ImageTooLarge,
    UnsupportedMediaType,
    InvalidImage,
    CapabilityNotSupported,
    RateLimited,
    Overloaded,
    Internal,
    Unavailable,
    DeadlineExceeded,
    StorageFull,
}

impl ErrorKind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Self; 24] = [
        Self::InvalidRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::RouteNotFound,
        Self::ModelNotFound,
        Self::CollectionNotFound,
        Self::ItemNotFound,
        Self::CalibrationNotFound,
        Self::MethodNotAllowed,
        Self::NotAcceptable,
        Self::AlreadyExists,
        Self::SpaceMismatch,
        Self::CalibrationStale,
        Self::PayloadTooLarge,
        Self::ImageTooLarge,
        Self::UnsupportedMediaType,
        Self::InvalidImage,
        Self::CapabilityNotSupported,
        Self::RateLimited,
        Self::Overloaded,
        Self::Internal,
        Self::Unavailable,
        Self::DeadlineExceeded,
        Self::StorageFull,
    ];

    /// The code as clients see it, in problem documents, per-item errors and metrics.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::RouteNotFound => "route_not_found",
            Self::ModelNotFound => "model_not_found",
            Self::CollectionNotFound => "collection_not_found",
            Self::ItemNotFound => "item_not_found",
            Self::CalibrationNotFound => "calibration_not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::NotAcceptable => "not_acceptable",
            Self::AlreadyExists => "already_exists",
            Self::SpaceMismatch => "space_mismatch",
            Self::CalibrationStale => "calibration_stale",
            Self::PayloadTooLarge => "payload_too_large",
            Self::ImageTooLarge => "image_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::InvalidImage => "invalid_image",
            Self::CapabilityNotSupported => "capability_not_supported",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::StorageFull => "storage_full",
        }
    }
}

type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// A failure: its kind, what to tell the caller, and what only the log may know.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: Cow<'static, str>,
    source: Option<Source>,
    retry_after: Option<Duration>,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), source: None, retry_after: None }
    }

    pub fn invalid_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidRequest, message)
    }

    pub fn invalid_image(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidImage, message)
    }

    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// A failure of ours; `what` names the operation for the log.
    pub fn internal(what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Internal, what)
    }

    /// The queue is full or its wait too long; come back after `retry_after`.
    pub fn overloaded(message: impl Into<Cow<'static, str>>, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(ErrorKind::Overloaded, message) }
    }

    pub fn deadline_exceeded(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::DeadlineExceeded, message)
    }

    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    #[must_use]
    pub fn with_retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after = Some(retry_after);
        self
    }

    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The text for the caller (for [`ErrorKind::Internal`] it is for the log; `http` sends a generic one).
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The whole chain of causes on one line, for the log.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.message.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }

    /// The same failure for another waiter of the same run; the source becomes text.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self {
            kind: self.kind,
            message: self.message.clone(),
            source: self.source.as_ref().map(|source| Source::from(source.to_string())),
            retry_after: self.retry_after,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_distinct_snake_case() {
        let codes: std::collections::BTreeSet<_> = ErrorKind::ALL.iter().map(|kind| kind.code()).collect();
        assert_eq!(codes.len(), ErrorKind::ALL.len());
        assert!(codes.iter().all(|code| code.chars().all(|c| c.is_ascii_lowercase() || c == '_')));
    }

    #[test]
    fn the_chain_names_every_cause_and_the_message_only_the_first() {
        let error = Error::internal("write failed").with_source(std::io::Error::other("disk on fire"));
        assert_eq!(error.to_string(), "write failed");
        assert_eq!(error.chain(), "write failed: disk on fire");
        assert_eq!(error.duplicate().chain(), error.chain());
    }
}
