//! The body of a request: read once, within its own limit and the budget of all bodies together.

use std::{
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use axum::{
    body::{Body, BodyDataStream, HttpBody as _},
    extract::Request,
    http::{HeaderMap, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use prometheus_client::metrics::gauge::Gauge;

use super::body_buffer::BodyBuffer;
use crate::{
    admission::{Budget, BudgetOptions, BytesPermit, SharedPermit},
    error::{Error, ErrorKind, Result},
    http::{AppState, error::Failure},
    service::Context,
};

/// How much of a refused body is read to its end: this many times the limit of a body, for this long.
const DISCARD_BODIES: u64 = 4;
const DISCARD_TIME: Duration = Duration::from_secs(10);
/// And no longer than this once the server is to stop.
const DISCARD_TIME_DRAINING: Duration = Duration::from_millis(500);

/// The budget of all bodies that are held at a time.
pub(in crate::http) fn body_budget(limit: u64, held: Gauge<i64, AtomicI64>) -> Arc<Budget> {
    Budget::new(BudgetOptions {
        noun: "request bodies",
        key: "limits.bodies_in_flight_bytes",
        limit,
        too_large: ErrorKind::PayloadTooLarge,
        held,
    })
}

/// The share that a request's body has of the budget, an extension of the request.
///
/// The body holds it by itself, and so do all slices of it. What is made of the body by copying (images out of base64,
/// parts of a form) has to take it along by [`SharedPermit::attach`], so that it is counted for as long as it is there.
#[derive(Debug, Clone)]
pub(in crate::http) struct BodyShare(pub(in crate::http) SharedPermit);

/// Reads the body before the handler runs, which then finds it whole. The bytes keep their share of the budget, however
/// long the request lasts: an admitted write goes on after its caller has gone.
pub(super) async fn receive(state: AppState, request: Request, next: Next) -> Response {
    let mut permit = state.bodies.empty();
    let (mut parts, body) = request.into_parts();
    if body.is_end_stream() {
        return next.run(Request::from_parts(parts, Body::empty())).await;
    }
    let budget = Arc::clone(&state.bodies);
    let deadline = parts.extensions.get::<Context>().map(|context| context.deadline);
    let limit = state.service.limits().body_bytes;
    let reading = Reading { headers: &parts.headers, limit, budget: &budget, permit: &mut permit };
    let mut chunks = body.into_data_stream();
    let read = match deadline {
        Some(deadline) => {
            let late = |_| Err(Error::deadline_exceeded("the body did not arrive before the deadline"));
            tokio::time::timeout_at(deadline.into(), reading.run(&mut chunks)).await.unwrap_or_else(late)
        }
        None => reading.run(&mut chunks).await,
    };
    match read {
        Ok(bytes) => {
            let share = BodyShare(permit.shared());
            let body = Body::from(share.0.attach(bytes));
            parts.extensions.insert(share);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(error) => {
            discard(chunks, state);
            Failure::from(error).into_response()
        }
    }
}

/// Reads the rest of a refused body and throws it away, within bounds, so that a client which sends its whole request
/// before it reads gets to see the answer instead of a broken connection.
pub(super) fn discard(mut chunks: BodyDataStream, state: AppState) {
    let most = state.service.limits().body_bytes.saturating_mul(DISCARD_BODIES);
    let rest = async move {
        let mut read = 0;
        while let Some(Ok(chunk)) = chunks.next().await {
            read += chunk.len() as u64;
            if read > most {
                break;
            }
        }
    };
    let stopped = async move {
        state.until_draining().await;
        tokio::time::sleep(DISCARD_TIME_DRAINING).await;
    };
    tokio::spawn(tokio::time::timeout(DISCARD_TIME, async {
        tokio::select! {
            () = rest => {}
            () = stopped => {}
        }
    }));
}

struct Reading<'a> {
    headers: &'a HeaderMap,
    /// Bytes of one body, at most.
    limit: u64,
    budget: &'a Arc<Budget>,
    permit: &'a mut BytesPermit,
}

impl Reading<'_> {
    async fn run(mut self, chunks: &mut BodyDataStream) -> Result<Bytes> {
        refuse_encoding(self.headers)?;
        let declared = self.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if let Some(declared) = declared {
            self.check(declared)?;
        }
        let Some(first) = self.chunk(chunks, 0).await? else { return Ok(Bytes::new()) };
        let Some(second) = self.chunk(chunks, first.len()).await? else { return Ok(first) };
        let mut whole = BodyBuffer::new(usize::try_from(declared.unwrap_or(0)).unwrap_or(0));
        whole.push(&first)?;
        whole.push(&second)?;
        drop((first, second));
        while let Some(chunk) = self.chunk(chunks, whole.len()).await? {
            whole.push(&chunk)?;
        }
        Ok(whole.freeze())
    }

    /// The next bytes after the `read` ones, counted before they are kept.
    async fn chunk(&mut self, chunks: &mut BodyDataStream, read: usize) -> Result<Option<Bytes>> {
        match chunks.next().await {
            None => Ok(None),
            Some(Ok(chunk)) => {
                self.reach((read + chunk.len()) as u64)?;
                Ok(Some(chunk))
            }
            Some(Err(error)) => Err(Error::invalid_request(format!("the body could not be read: {error}"))),
        }
    }

    /// Whether a body of this size may come. Its share is taken as its bytes come: announced bytes hold none.
    fn check(&self, declared: u64) -> Result<()> {
        self.fits(declared)?;
        self.budget.check(declared)
    }

    fn reach(&mut self, bytes: u64) -> Result<()> {
        self.fits(bytes)?;
        self.permit.grow_to(bytes)
    }

    fn fits(&self, bytes: u64) -> Result<()> {
        if bytes > self.limit {
            let text = format!("the body is larger than limits.body_bytes, which is {}", self.limit);
            return Err(Error::new(ErrorKind::PayloadTooLarge, text));
        }
        Ok(())
    }
}

fn refuse_encoding(headers: &HeaderMap) -> Result<()> {
    let Some(encoding) = headers.get(header::CONTENT_ENCODING) else { return Ok(()) };
    if encoding.as_bytes().eq_ignore_ascii_case(b"identity") {
        return Ok(());
    }
    let encoding = String::from_utf8_lossy(encoding.as_bytes());
    let text = format!("bodies are taken as they are: the content-encoding {encoding:?} is not supported");
    Err(Error::new(ErrorKind::UnsupportedMediaType, text))
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn budget(limit: u64) -> (Arc<Budget>, Gauge<i64, AtomicI64>) {
        let held = Gauge::default();
        (body_budget(limit, held.clone()), held)
    }

    async fn read(budget: &Arc<Budget>, limit: u64, declared: Option<u64>, chunks: &[&'static str]) -> Result<Bytes> {
        let mut headers = HeaderMap::new();
        if let Some(declared) = declared {
            headers.insert(header::CONTENT_LENGTH, declared.into());
        }
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok::<_, std::io::Error>(Bytes::from(*chunk))).collect();
        let mut permit = budget.empty();
        Reading { headers: &headers, limit, budget, permit: &mut permit }
            .run(&mut Body::from_stream(stream::iter(chunks)).into_data_stream())
            .await
    }

    #[tokio::test]
    async fn chunks_become_one_body_and_their_share_comes_back() {
        let (budget, held) = budget(100);
        assert_eq!(read(&budget, 10, None, &["ab", "cd", "ef"]).await.unwrap(), "abcdef");
        assert_eq!(read(&budget, 10, Some(2), &["ab"]).await.unwrap(), "ab");
        assert_eq!(read(&budget, 10, None, &[]).await.unwrap(), "");
        assert_eq!(held.get(), 0);
    }

    #[tokio::test]
    async fn a_body_over_its_limit_is_refused_by_its_head_or_by_its_bytes() {
        let (budget, held) = budget(100);
        for (declared, chunks) in [(Some(11), &[][..]), (None, &["abcdef", "ghijkl"][..])] {
            let error = read(&budget, 10, declared, chunks).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
            assert!(error.message().contains("limits.body_bytes"));
        }
        assert_eq!(held.get(), 0);
    }

    #[tokio::test]
    async fn bodies_over_their_common_limit_are_told_to_come_back() {
        let (budget, held) = budget(10);
        let mut other = budget.empty();
        other.grow_to(8).unwrap();
        for (declared, chunks) in [(Some(3), &["abc"][..]), (None, &["a", "b", "c"][..])] {
            let error = read(&budget, 10, declared, chunks).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Overloaded);
            assert!(error.retry_after().is_some_and(|wait| !wait.is_zero()));
        }
        assert_eq!(held.get(), 8);
        drop(other);
        assert!(read(&budget, 10, Some(3), &["abc"]).await.is_ok());
    }

    #[test]
    fn only_plain_bodies_are_taken() {
        let mut headers = HeaderMap::new();
        assert!(refuse_encoding(&headers).is_ok());
        headers.insert(header::CONTENT_ENCODING, "Identity".parse().unwrap());
        assert!(refuse_encoding(&headers).is_ok());
        headers.insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
        assert_eq!(refuse_encoding(&headers).unwrap_err().kind(), ErrorKind::UnsupportedMediaType);
    }
}
