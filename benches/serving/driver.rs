//! Sends requests over connections that stay open: as fast as they are answered, or at a fixed rate.
//!
//! At a fixed rate a request's latency counts from the moment it was due, whether or not a connection was free, so that
//! a server which stalls cannot hide the requests that it kept from being sent.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use crate::{
    answer::{self, Head},
    window::{Window, spread},
};

/// Who is refused in a closed loop waits so long before it asks again.
const REST: Duration = Duration::from_millis(100);

/// What is asked, and how.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) address: SocketAddr,
    /// Whole requests, heads and bodies, sent in turn.
    pub(crate) requests: Vec<Vec<u8>>,
    /// Requests at a time; at a fixed rate, the most at a time.
    pub(crate) connections: usize,
    /// Requests in a second, whatever comes of them; else each connection asks again as soon as it is answered.
    pub(crate) rate: Option<f64>,
    /// How long the last answers are waited for.
    pub(crate) patience: Duration,
    pub(crate) window: Window,
}

/// A whole request. Headers are written `Name: value`.
pub(crate) fn request(method: &str, target: &str, address: SocketAddr, headers: &[String], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    [head.as_bytes(), body].concat()
}

/// An open connection and the room that answers are read into.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(64 << 10) })
    }

    /// Sends a whole request and reads the answer to it.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> std::io::Result<(Head, &[u8])> {
        self.stream.write_all(request).await?;
        let head = answer::read(&mut self.stream, &mut self.buffer).await?;
        Ok((head, head.body_of(&self.buffer)))
    }
}

/// What came of one request.
struct Sample {
    /// When the latency began.
    due: Instant,
    done: Instant,
    /// 0: the connection broke.
    status: u16,
    body: usize,
}

struct Driver {
    asking: Asking,
    next: RefCell<usize>,
    samples: RefCell<Vec<Sample>>,
}

/// Asks until the window ends, in tasks of the local set that this runs in. Returns answers per second, latencies by
/// status, how many never came, and the least and greatest bytes of a good one.
pub(crate) async fn drive(asking: Asking) -> Value {
    let driver = Rc::new(Driver { asking, next: RefCell::new(0), samples: RefCell::default() });
    let unanswered = match driver.asking.rate {
        None => driver.closed().await,
        Some(rate) => driver.open(rate).await,
    };
    driver.report(unanswered)
}

impl Driver {
    /// Each connection asks until the window ends; returns how many never got an answer.
    async fn closed(self: &Rc<Self>) -> usize {
        let mut tasks = Vec::new();
        for _ in 0..self.asking.connections {
            let driver = Rc::clone(self);
            tasks.push(tokio::task::spawn_local(async move {
                let mut connection = None;
                while Instant::now() < driver.asking.window.end() {
                    let (reusable, status) = driver.ask(connection, Instant::now()).await;
                    connection = reusable;
                    if status != 200 {
                        tokio::time::sleep(REST).await;
                    }
                }
            }));
        }
        let last = self.asking.window.end() + self.asking.patience;
        let mut unanswered = 0;
        for task in tasks {
            unanswered += usize::from(tokio::time::timeout_at(last.into(), task).await.is_err());
        }
        unanswered
    }

    async fn open(self: &Rc<Self>, rate: f64) -> usize {
        let idle: Rc<RefCell<Vec<Connection>>> = Rc::default();
        let places = Rc::new(tokio::sync::Semaphore::new(self.asking.connections));
        let started = Instant::now();
        let mut tasks = Vec::new();
        for number in 0_u32.. {
            let due = started + Duration::from_secs_f64(f64::from(number) / rate);
            if due >= self.asking.window.end() {
                break;
            }
            tokio::time::sleep_until(due.into()).await;
            let (driver, idle, places) = (Rc::clone(self), Rc::clone(&idle), Rc::clone(&places));
            let task = tokio::task::spawn_local(async move {
                let _place = places.acquire().await.unwrap();
                let connection = idle.borrow_mut().pop();
                let (connection, _) = driver.ask(connection, due).await;
                idle.borrow_mut().extend(connection);
            });
            tasks.push((due, task));
        }
        let last = self.asking.window.end() + self.asking.patience;
        let mut unanswered = 0;
        for (due, task) in tasks {
            let late = tokio::time::timeout_at(last.into(), task).await.is_err();
            unanswered += usize::from(late && self.asking.window.holds(due));
        }
        unanswered
    }

    /// Sends the next request, notes what comes of it, and returns the connection, if it can be used again, and the
    /// status.
    async fn ask(&self, connection: Option<Connection>, due: Instant) -> (Option<Connection>, u16) {
        let outcome = self.exchange(connection).await;
        let done = Instant::now();
        let (status, body) = outcome.as_ref().map_or((0, 0), |(_, head)| (head.status, head.body));
        self.samples.borrow_mut().push(Sample { due, done, status, body });
        (outcome.ok().filter(|(_, head)| !head.closes).map(|(connection, _)| connection), status)
    }

    async fn exchange(&self, connection: Option<Connection>) -> std::io::Result<(Connection, Head)> {
        let mut connection = match connection {
            Some(connection) => connection,
            None => Connection::open(self.asking.address).await?,
        };
        let (head, _) = connection.exchange(self.next_request()).await?;
        Ok((connection, head))
    }

    fn next_request(&self) -> &[u8] {
        let mut next = self.next.borrow_mut();
        *next += 1;
        &self.asking.requests[*next % self.asking.requests.len()]
    }

    /// Counts answers by status: those that came in the window or, at a fixed rate, those whose requests were due in it.
    fn report(&self, unanswered: usize) -> Value {
        let open = self.asking.rate.is_some();
        let samples = self.samples.borrow();
        let counts = |sample: &&Sample| self.asking.window.holds(if open { sample.due } else { sample.done });
        let mut by_status: BTreeMap<u16, Vec<Duration>> = BTreeMap::new();
        for sample in samples.iter().filter(counts) {
            by_status.entry(sample.status).or_default().push(sample.done - sample.due);
        }
        let good = || samples.iter().filter(|sample| sample.status == 200);
        let statuses: BTreeMap<String, Value> =
            by_status.into_iter().map(|(status, times)| (status.to_string(), spread(times))).collect();
        json!({
            "seconds": self.asking.window.length.as_secs_f64(),
            "images_per_second": self.asking.window.rate(good().map(|sample| sample.done)),
            "answers_per_second": self.asking.window.rate(samples.iter().map(|sample| sample.done)),
            "statuses": statuses,
            "unanswered": unanswered,
            "answer_bytes": [good().map(|sample| sample.body).min(), good().map(|sample| sample.body).max()],
        })
    }
}
