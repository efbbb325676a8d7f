//! The accept loop: connections in, requests to the router, and an orderly end.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{body::Body, http::Request};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

use super::{AppState, Router, router};
use crate::error::Result;

/// A client that has not sent the head of its request by then is cut off.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long accepting rests when the system has no file handle left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the answers that a stopping server is stopping get to be sent in, once all others are.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Serves until `stop` comes; then gives the requests under way `grace` to end. Until they have, connections are
/// accepted as before, so that `/readyz` says why there is no more work here.
pub async fn serve(
    listener: TcpListener,
    state: AppState,
    stop: impl Future<Output = ()> + Send + 'static,
    grace: Duration,
) -> Result<()> {
    let acceptor = Acceptor { listener, router: router(state.clone()), head_timeout: HEAD_TIMEOUT };
    acceptor.run(stop, || state.drain(), grace).await;
    Ok(())
}

/// Takes connections and serves each on a task of its own.
struct Acceptor {
    listener: TcpListener,
    router: Router,
    head_timeout: Duration,
}

impl Acceptor {
    async fn run(self, stop: impl Future<Output = ()>, drain: impl FnOnce(), grace: Duration) {
        let connections = GracefulShutdown::new();
        self.accept_until(stop, &connections).await;
        drain();
        let mut in_time = true;
        let late = GracefulShutdown::new();
        // idle connections close at once, the others with their answer
        let ended = async { in_time = tokio::time::timeout(grace, connections.shutdown()).await.is_ok() };
        self.accept_until(ended, &late).await;
        drop(self.listener);
        if !in_time {
            let grace_ms = grace.as_millis() as u64;
            tracing::warn!(grace_ms, "requests were still under way when the grace period ended");
        }
        if tokio::time::timeout(LAST_ANSWERS, late.shutdown()).await.is_err() {
            tracing::debug!("connections to the stopping server were cut off");
        }
    }

    async fn accept_until(&self, end: impl Future<Output = ()>, connections: &GracefulShutdown) {
        let mut end = std::pin::pin!(end);
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => self.connect(stream, connections),
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                () = &mut end => return,
            }
        }
    }

    fn connect(&self, stream: TcpStream, connections: &GracefulShutdown) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection takes no nodelay");
        }
        let head_timeout = self.head_timeout;
        let asked = Arc::new(AtomicBool::new(false));
        let asks = Arc::clone(&asked);
        let service = self.router.clone().map_request(move |request: Request<Incoming>| {
            asks.store(true, Ordering::Relaxed);
            request.map(Body::new)
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(head_timeout);
        builder.http2().timer(TokioTimer::new()).keep_alive_interval(HEAD_TIMEOUT);
        let service = hyper_util::service::TowerToHyperService::new(service);
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = &mut connection => ended,
                // the builder waits without end for the bytes that tell the version of the protocol
                () = tokio::time::sleep(head_timeout) => {
                    if !asked.load(Ordering::Relaxed) {
                        return tracing::debug!("a connection that asked nothing is closed");
                    }
                    connection.await
                }
            };
            // a connection that breaks is the client's affair
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
}

/// The router never fails: what goes wrong is an answer.
const _: fn() = || {
    fn infallible<S: tower::Service<axum::extract::Request, Error = Infallible>>() {}
    infallible::<Router>();
};

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::SocketAddr,
    };

    use axum::routing::get;
    use tokio::{
        sync::{Notify, oneshot},
        task::JoinHandle,
    };

    use super::*;

    /// More than any of these tests takes, less than anybody waits.
    const LONG: Duration = Duration::from_secs(20);

    /// A server with a route that waits until it is let go.
    struct Running {
        addr: SocketAddr,
        begun: Arc<Notify>,
        release: Arc<Notify>,
        stop: oneshot::Sender<()>,
        draining: oneshot::Receiver<()>,
        ended: JoinHandle<()>,
    }

    impl Running {
        async fn start(head_timeout: Duration, grace: Duration) -> Self {
            // the clients of these tests have to have a TLS stack, although they speak clear text
            crate::tls::install();
            let (begun, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
            let (begins, released) = (Arc::clone(&begun), Arc::clone(&release));
            let slow = async move || {
                begins.notify_one();
                released.notified().await;
                "slow"
            };
            let router = Router::new().route("/slow", get(slow)).route("/quick", get(async || "quick"));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let (stop, stopped) = oneshot::channel();
            let (drains, draining) = oneshot::channel();
            let acceptor = Acceptor { listener, router, head_timeout };
            let ended = tokio::spawn(async move {
                let stopped = async { stopped.await.unwrap() };
                acceptor.run(stopped, || drains.send(()).unwrap(), grace).await;
            });
            Self { addr, begun, release, stop, draining, ended }
        }

        fn ask(&self, path: &str) -> JoinHandle<reqwest::Result<String>> {
            let url = format!("http://{}{path}", self.addr);
            tokio::spawn(async move { reqwest::get(url).await?.text().await })
        }
    }

    /// What comes of a connection that sends no more than this, until the server closes it.
    async fn read_to_end(addr: SocketAddr, sent: &'static [u8]) -> std::io::Result<usize> {
        let read = tokio::task::spawn_blocking(move || {
            let mut stream = std::net::TcpStream::connect(addr)?;
            stream.set_read_timeout(Some(LONG))?;
            stream.write_all(sent)?;
            stream.read_to_end(&mut Vec::new())
        });
        read.await.unwrap()
    }

    #[tokio::test]
    async fn others_are_answered_until_the_requests_under_way_are_done() {
        let server = Running::start(LONG, LONG).await;
        let slow = server.ask("/slow");
        server.begun.notified().await;
        let quick = server.ask("/quick");
        assert_eq!(quick.await.unwrap().unwrap(), "quick");
        let quick = format!("http://{}/quick", server.addr);
        server.stop.send(()).unwrap();
        server.draining.await.unwrap();
        assert_eq!(reqwest::get(&quick).await.unwrap().text().await.unwrap(), "quick");
        assert!(!server.ended.is_finished());
        server.release.notify_one();
        assert_eq!(slow.await.unwrap().unwrap(), "slow");
        tokio::time::timeout(LONG, server.ended).await.unwrap().unwrap();
        assert!(reqwest::get(&quick).await.unwrap_err().is_connect());
    }

    #[tokio::test]
    async fn idle_connections_do_not_hold_up_the_end() {
        let server = Running::start(LONG, LONG * 10).await;
        let silent = std::net::TcpStream::connect(server.addr).unwrap();
        let client = reqwest::Client::new();
        client.get(format!("http://{}/quick", server.addr)).send().await.unwrap().text().await.unwrap();
        server.stop.send(()).unwrap();
        tokio::time::timeout(LONG, server.ended).await.unwrap().unwrap();
        drop((silent, client));
    }

    #[tokio::test]
    async fn the_end_of_the_grace_period_is_the_end() {
        let server = Running::start(LONG, Duration::from_millis(50)).await;
        let slow = server.ask("/slow");
        server.begun.notified().await;
        server.stop.send(()).unwrap();
        tokio::time::timeout(LONG, server.ended).await.unwrap().unwrap();
        slow.abort();
    }

    #[tokio::test]
    async fn a_connection_that_asks_nothing_is_closed() {
        let server = Running::start(Duration::from_millis(50), LONG).await;
        for sent in [&b""[..], b"PRI * HTTP", b"GET /quick HTTP/1.1\r\n"] {
            // closed with or without an answer, but not by this side's patience
            let kind = read_to_end(server.addr, sent).await.err().map(|error| error.kind());
            assert!(kind.is_none_or(|kind| kind == std::io::ErrorKind::ConnectionReset), "{kind:?}");
        }
        let slow = server.ask("/slow");
        server.begun.notified().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.release.notify_one();
        assert_eq!(slow.await.unwrap().unwrap(), "slow");
    }
}
