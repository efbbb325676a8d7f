//! The body of a request: read once, within its own limit and that of all bodies together.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    body::{Body, BodyDataStream, HttpBody as _},
    extract::Request,
    http::{HeaderMap, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use prometheus_client::metrics::gauge::Gauge;

use crate::{
    error::{Error, ErrorKind, Result},
    http::{AppState, error::Failure},
    service::Context,
};

/// The least a refused caller is told to wait.
const MIN_RETRY: Duration = Duration::from_millis(100);

/// How much of a refused body is read to its end: this many times the limit of a body, for this long.
const DISCARD_BODIES: u64 = 4;
const DISCARD_TIME: Duration = Duration::from_secs(10);
/// And no longer than this once the server is to stop.
const DISCARD_TIME_DRAINING: Duration = Duration::from_millis(500);

/// The most that is reserved for a body by its announced length alone; beyond it, room is made as its bytes come.
const RESERVED: usize = 1 << 20;

/// The bytes of all bodies that are held at a time.
pub struct BodyBudget {
    limit: u64,
    used: AtomicU64,
    /// Smoothed time that a body is held, in nanoseconds: how soon room comes back.
    held_nanos: AtomicU64,
    gauge: Gauge<i64, AtomicI64>,
}

impl BodyBudget {
    pub(in crate::http) fn new(limit: u64, gauge: Gauge<i64, AtomicI64>) -> Self {
        Self { limit, used: AtomicU64::new(0), held_nanos: AtomicU64::new(0), gauge }
    }

    /// A share of no bytes yet; it is given back when it is dropped.
    fn share(self: &Arc<Self>) -> Share {
        Share { budget: Arc::clone(self), bytes: 0, since: Instant::now() }
    }

    fn take(&self, bytes: u64) -> Result<()> {
        let room = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.limit);
        if self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).is_err() {
            return Err(self.full());
        }
        self.gauge.inc_by(signed(bytes));
        Ok(())
    }

    /// Whether so many more bytes fit now.
    fn has_room(&self, bytes: u64) -> Result<()> {
        let used = self.used.load(Ordering::Acquire);
        if used.saturating_add(bytes) > self.limit { Err(self.full()) } else { Ok(()) }
    }

    fn full(&self) -> Error {
        let text = format!("too many bytes of bodies in flight: limits.bodies_in_flight_bytes is {}", self.limit);
        let wait = Duration::from_nanos(self.held_nanos.load(Ordering::Relaxed)).max(MIN_RETRY);
        Error::overloaded(text, wait)
    }

    fn give_back(&self, bytes: u64, held: Duration) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
        self.gauge.dec_by(signed(bytes));
        let sample = u64::try_from(held.as_nanos()).unwrap_or(u64::MAX);
        let old = self.held_nanos.load(Ordering::Relaxed);
        let new = if old == 0 { sample } else { old - old / 8 + sample / 8 };
        self.held_nanos.store(new, Ordering::Relaxed);
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// What one body takes of the budget.
struct Share {
    budget: Arc<BodyBudget>,
    bytes: u64,
    since: Instant,
}

impl Share {
    /// Takes what is missing up to `bytes`.
    fn reach(&mut self, bytes: u64) -> Result<()> {
        let missing = bytes.saturating_sub(self.bytes);
        if missing > 0 {
            self.budget.take(missing)?;
            self.bytes = bytes;
        }
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.give_back(self.bytes, self.since.elapsed());
        }
    }
}

/// Reads the body before the handler runs, which then finds it whole. Its share of the budget lasts until the answer.
pub(super) async fn receive(state: AppState, request: Request, next: Next) -> Response {
    let mut share = state.bodies.share();
    let (parts, body) = request.into_parts();
    if body.is_end_stream() {
        return next.run(Request::from_parts(parts, Body::empty())).await;
    }
    let deadline = parts.extensions.get::<Context>().map(|context| context.deadline);
    let reading = Reading { headers: &parts.headers, limit: state.service.limits().body_bytes, share: &mut share };
    let mut chunks = body.into_data_stream();
    let read = match deadline {
        Some(deadline) => {
            let late = |_| Err(Error::deadline_exceeded("the body did not arrive before the deadline"));
            tokio::time::timeout_at(deadline.into(), reading.run(&mut chunks)).await.unwrap_or_else(late)
        }
        None => reading.run(&mut chunks).await,
    };
    match read {
        Ok(bytes) => next.run(Request::from_parts(parts, Body::from(bytes))).await,
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
    limit: u64,
    share: &'a mut Share,
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
        let announced = usize::try_from(declared.unwrap_or(0)).unwrap_or(RESERVED).min(RESERVED);
        let mut whole = BytesMut::with_capacity(announced.max(first.len() + second.len()));
        whole.extend_from_slice(&first);
        whole.extend_from_slice(&second);
        drop((first, second));
        while let Some(chunk) = self.chunk(chunks, whole.len()).await? {
            whole.extend_from_slice(&chunk);
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

    /// Whether a body of this size may come. Its room is taken as its bytes come: announced bytes hold none.
    fn check(&self, declared: u64) -> Result<()> {
        self.fits(declared)?;
        self.share.budget.has_room(declared)
    }

    fn reach(&mut self, bytes: u64) -> Result<()> {
        self.fits(bytes)?;
        self.share.reach(bytes)
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

    fn budget(limit: u64) -> Arc<BodyBudget> {
        Arc::new(BodyBudget::new(limit, Gauge::default()))
    }

    async fn read(
        budget: &Arc<BodyBudget>,
        limit: u64,
        declared: Option<u64>,
        chunks: &[&'static str],
    ) -> Result<Bytes> {
        let mut headers = HeaderMap::new();
        if let Some(declared) = declared {
            headers.insert(header::CONTENT_LENGTH, declared.into());
        }
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok::<_, std::io::Error>(Bytes::from(*chunk))).collect();
        let mut share = budget.share();
        Reading { headers: &headers, limit, share: &mut share }
            .run(&mut Body::from_stream(stream::iter(chunks)).into_data_stream())
            .await
    }

    #[tokio::test]
    async fn chunks_become_one_body_and_their_room_comes_back() {
        let budget = budget(100);
        assert_eq!(read(&budget, 10, None, &["ab", "cd", "ef"]).await.unwrap(), "abcdef");
        assert_eq!(read(&budget, 10, Some(2), &["ab"]).await.unwrap(), "ab");
        assert_eq!(read(&budget, 10, None, &[]).await.unwrap(), "");
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
        assert_eq!(budget.gauge.get(), 0);
    }

    #[tokio::test]
    async fn a_body_over_its_limit_is_refused_by_its_head_or_by_its_bytes() {
        let budget = budget(100);
        for (declared, chunks) in [(Some(11), &[][..]), (None, &["abcdef", "ghijkl"][..])] {
            let error = read(&budget, 10, declared, chunks).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PayloadTooLarge);
            assert!(error.message().contains("limits.body_bytes"));
        }
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn bodies_over_their_common_limit_are_told_to_come_back() {
        let budget = budget(10);
        let mut other = budget.share();
        other.reach(8).unwrap();
        for (declared, chunks) in [(Some(3), &["abc"][..]), (None, &["a", "b", "c"][..])] {
            let error = read(&budget, 10, declared, chunks).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Overloaded);
            assert!(error.retry_after().is_some_and(|wait| wait >= MIN_RETRY));
        }
        assert_eq!(budget.used.load(Ordering::Relaxed), 8);
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
