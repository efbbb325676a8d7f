//! What went wrong, and whose fault it is: the request's, the node's, or the moment's.

use tonic::{Code, Status};

use crate::error::{Error, ErrorKind};

/// Why a request has no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The Qdrant collection that it is about is not there.
    NoCollection,
    /// The Qdrant collection that it makes is there already.
    Exists,
    Other(Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoCollection => Self::internal("a collection of the index engine is missing"),
            Failure::Exists => Self::internal("a collection of the index engine is there already"),
            Failure::Other(error) => error,
        }
    }
}

/// Whose fault a failure is.
#[derive(Debug)]
pub(super) enum Blame {
    /// No node will answer otherwise.
    Request(Failure),
    /// Another node should be asked; this one is out of reach.
    Node(String),
    /// The same may succeed in a moment, there or elsewhere: as when the cluster has not noticed yet that a node died.
    Moment(String),
}

pub(super) fn blame(status: &Status) -> Blame {
    let text = status.message();
    if text.contains("No space left on device") || text.contains("not enough space") {
        let message = "the disk of the index is full; nothing of the request was stored";
        return Blame::Request(Failure::Other(Error::new(ErrorKind::StorageFull, message).with_source(told(status))));
    }
    // a status that a node sent has no cause; one that tells of the way there has
    if std::error::Error::source(status).is_some() {
        return Blame::Node(causes(status));
    }
    match status.code() {
        Code::Unavailable => Blame::Node(text.to_owned()),
        Code::NotFound => Blame::Request(Failure::NoCollection),
        Code::AlreadyExists => Blame::Request(Failure::Exists),
        Code::InvalidArgument if text.contains("already exists") => Blame::Request(Failure::Exists),
        Code::Unauthenticated | Code::PermissionDenied => {
            let text = "the index engine does not accept qdrant.api_key";
            Blame::Request(Failure::Other(Error::unavailable(text).with_source(told(status))))
        }
        Code::Internal
        | Code::Unknown
        | Code::Aborted
        | Code::Cancelled
        | Code::DeadlineExceeded
        | Code::ResourceExhausted => Blame::Moment(told(status)),
        Code::Unimplemented => {
            let text = "the index engine is too old: it does not know a request that is needed";
            Blame::Request(Failure::Other(Error::unavailable(text).with_source(told(status))))
        }
        _ => Blame::Request(Failure::Other(
            Error::internal("the index engine refused a request").with_source(told(status)),
        )),
    }
}

fn told(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

/// The innermost cause says most: "connection refused" rather than "transport error".
fn causes(status: &Status) -> String {
    let mut error: &dyn std::error::Error = status;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_of_a_node_is_put_down_to_whose_fault_it_is() {
        for (code, text, expected) in [
            (Code::Unavailable, "shutting down", "node"),
            (Code::Internal, "1 of 2 shards failed", "moment"),
            (Code::DeadlineExceeded, "timeout", "moment"),
            (Code::NotFound, "Collection `c` doesn't exist!", "request"),
            (Code::InvalidArgument, "Wrong input", "request"),
            (Code::InvalidArgument, "Collection `c` already exists!", "exists"),
            (Code::Unauthenticated, "Invalid API key", "request"),
            (Code::Internal, "Service internal error: No space left on device", "request"),
        ] {
            let found = match blame(&Status::new(code, text)) {
                Blame::Node(_) => "node",
                Blame::Moment(_) => "moment",
                Blame::Request(Failure::Exists) => "exists",
                Blame::Request(_) => "request",
            };
            assert_eq!(found, expected, "{code:?} {text}");
        }
        let cut = Status::from_error(Box::new(std::io::Error::from(std::io::ErrorKind::ConnectionReset)));
        assert!(matches!(blame(&cut), Blame::Node(_)), "{cut:?}");
    }

    #[test]
    fn a_full_disk_and_a_wrong_key_say_so() {
        let kind = |status| match blame(&status) {
            Blame::Request(failure) => Error::from(failure).kind(),
            other => panic!("{other:?}"),
        };
        assert_eq!(kind(Status::internal("No space left on device")), ErrorKind::StorageFull);
        assert_eq!(kind(Status::unauthenticated("no")), ErrorKind::Unavailable);
        assert_eq!(kind(Status::invalid_argument("Vector dimension error")), ErrorKind::Internal);
    }
}
