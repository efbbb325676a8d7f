//! W3C trace context: <https://www.w3.org/TR/trace-context/>.

use axum::http::HeaderMap;
use uuid::Uuid;

/// The trace that a request belongs to, with the id of our own span in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TraceContext {
    pub(super) trace_id: String,
    span_id: String,
    flags: String,
}

/// A version 4 UUID, from the generator of this thread: the system's own costs a call into it for each.
pub(super) fn random_id() -> Uuid {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid()
}

impl TraceContext {
    /// Continues the caller's trace, or begins one where the header is missing or malformed.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let span_id = format!("{:016x}", rand::random::<u64>().max(1));
        let incoming = headers.get("traceparent").and_then(|value| value.to_str().ok()).and_then(parse);
        let (trace_id, flags) = incoming.unwrap_or_else(|| (random_id().simple().to_string(), "00".to_owned()));
        Self { trace_id, span_id, flags }
    }

    /// The header of the answer.
    pub(super) fn header(&self) -> String {
        format!("00-{}-{}-{}", self.trace_id, self.span_id, self.flags)
    }
}

/// The trace id and the flags of a header.
fn parse(header: &str) -> Option<(String, String)> {
    let mut fields = header.trim().split('-');
    let (version, trace, parent, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let well_formed = hex(version, 2) && hex(trace, 32) && hex(parent, 16) && hex(flags, 2);
    let nothing = |id: &str| id.bytes().all(|b| b == b'0');
    // a later version may have more fields, this one has not; version ff is forbidden
    let whole = version != "ff" && (version != "00" || fields.next().is_none());
    (well_formed && whole && !nothing(trace) && !nothing(parent)).then(|| (trace.to_owned(), flags.to_owned()))
}

fn hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn of(header: &str) -> TraceContext {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", header.parse().unwrap());
        TraceContext::of(&headers)
    }

    #[test]
    fn a_trace_goes_on_with_a_span_of_our_own() {
        let answer = of(HEADER).header();
        assert_eq!(answer[..36], HEADER[..36]);
        assert_ne!(answer[36..52], HEADER[36..52]);
        assert_eq!(answer[52..], HEADER[52..]);
        assert!(parse(&answer).is_some());
    }

    #[test]
    fn what_is_malformed_begins_a_new_trace() {
        for bad in [
            "",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf9-00f067aa0ba902b7-01",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
            assert!(parse(&of(bad).header()).is_some());
        }
        assert!(parse("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later").is_some());
    }
}
