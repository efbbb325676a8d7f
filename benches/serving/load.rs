//! Posts bodies over connections that stay open: as fast as they are answered, or at a fixed rate.
//!
//! At a fixed rate a request's latency counts from the moment it was due, whether or not a connection was free, so that
//! a server which stalls cannot hide the requests that it kept from being sent.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::LocalSet};

use crate::{
    answer, files,
    window::{Times, Window, spread},
};

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[arg(long)]
    address: SocketAddr,
    /// Path and query
    #[arg(long)]
    target: String,
    /// `Name: value`
    #[arg(long)]
    header: Vec<String>,
    /// A folder; its files are the bodies, posted in turn
    #[arg(long)]
    bodies: PathBuf,
    /// Requests at a time; at a fixed rate, the most at a time
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Requests in a second, whatever comes of them; else each connection asks again as soon as it is answered
    #[arg(long)]
    rate: Option<f64>,
    /// Seconds to wait for the last answers
    #[arg(long, default_value_t = 30.0)]
    patience: f64,
    #[command(flatten)]
    times: Times,
}

/// Who is refused in a closed loop waits so long before it asks again.
const REST: Duration = Duration::from_millis(100);

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
    address: SocketAddr,
    /// Whole requests, heads and bodies.
    requests: Vec<Vec<u8>>,
    next: RefCell<usize>,
    samples: RefCell<Vec<Sample>>,
    window: Window,
}

pub(crate) fn run(options: &Options) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = LocalSet::new().block_on(&runtime, drive(options));
    println!("{result}");
}

async fn drive(options: &Options) -> Value {
    let driver = Rc::new(Driver {
        address: options.address,
        requests: files(&options.bodies).iter().map(|body| request(options, body)).collect(),
        next: RefCell::new(0),
        samples: RefCell::default(),
        window: Window::after_warming(options.times),
    });
    let window = driver.window;
    let telling = tokio::task::spawn_local(async move {
        tokio::time::sleep_until(window.begin.into()).await;
        Window::tell("begin");
        tokio::time::sleep_until(window.end().into()).await;
        Window::tell("end");
    });
    let unanswered = match options.rate {
        None => driver.closed(options).await,
        Some(rate) => driver.open(options, rate).await,
    };
    telling.await.unwrap();
    driver.report(options.rate.is_some(), unanswered)
}

fn request(options: &Options, body: &[u8]) -> Vec<u8> {
    let mut head = format!("POST {} HTTP/1.1\r\nHost: {}\r\n", options.target, options.address);
    for header in &options.header {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    [head.as_bytes(), body].concat()
}

/// An open connection and the room that answers are read into.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Driver {
    /// Each connection asks until the window ends; returns how many never got an answer.
    async fn closed(self: &Rc<Self>, options: &Options) -> usize {
        let mut tasks = Vec::new();
        for _ in 0..options.connections {
            let driver = Rc::clone(self);
            tasks.push(tokio::task::spawn_local(async move {
                let mut connection = None;
                while Instant::now() < driver.window.end() {
                    let (reusable, status) = driver.ask(connection, Instant::now()).await;
                    connection = reusable;
                    if status != 200 {
                        tokio::time::sleep(REST).await;
                    }
                }
            }));
        }
        let last = self.window.end() + Duration::from_secs_f64(options.patience);
        let mut unanswered = 0;
        for task in tasks {
            unanswered += usize::from(tokio::time::timeout_at(last.into(), task).await.is_err());
        }
        unanswered
    }

    async fn open(self: &Rc<Self>, options: &Options, rate: f64) -> usize {
        let idle: Rc<RefCell<Vec<Connection>>> = Rc::default();
        let places = Rc::new(tokio::sync::Semaphore::new(options.connections));
        let started = Instant::now();
        let mut tasks = Vec::new();
        for number in 0_u32.. {
            let due = started + Duration::from_secs_f64(f64::from(number) / rate);
            if due >= self.window.end() {
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
        let last = self.window.end() + Duration::from_secs_f64(options.patience);
        let mut unanswered = 0;
        for (due, task) in tasks {
            let late = tokio::time::timeout_at(last.into(), task).await.is_err();
            unanswered += usize::from(late && self.window.holds(due));
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

    async fn exchange(&self, connection: Option<Connection>) -> std::io::Result<(Connection, answer::Head)> {
        let mut connection = match connection {
            Some(connection) => connection,
            None => {
                let stream = TcpStream::connect(self.address).await?;
                stream.set_nodelay(true)?;
                Connection { stream, buffer: Vec::with_capacity(64 << 10) }
            }
        };
        connection.stream.write_all(self.next_request()).await?;
        let head = answer::read(&mut connection.stream, &mut connection.buffer).await?;
        Ok((connection, head))
    }

    fn next_request(&self) -> &[u8] {
        let mut next = self.next.borrow_mut();
        *next += 1;
        &self.requests[*next % self.requests.len()]
    }

    /// Counts answers by status: those that came in the window or, at a fixed rate, those whose requests were due in it.
    fn report(&self, open: bool, unanswered: usize) -> Value {
        let samples = self.samples.borrow();
        let counts = |sample: &&Sample| self.window.holds(if open { sample.due } else { sample.done });
        let mut by_status: BTreeMap<u16, Vec<Duration>> = BTreeMap::new();
        for sample in samples.iter().filter(counts) {
            by_status.entry(sample.status).or_default().push(sample.done - sample.due);
        }
        let good = || samples.iter().filter(|sample| sample.status == 200);
        let statuses: BTreeMap<String, Value> =
            by_status.into_iter().map(|(status, times)| (status.to_string(), spread(times))).collect();
        json!({
            "seconds": self.window.length.as_secs_f64(),
            "pictures_per_second": self.window.rate(good().map(|sample| sample.done)),
            "answers_per_second": self.window.rate(samples.iter().map(|sample| sample.done)),
            "statuses": statuses,
            "unanswered": unanswered,
            "answer_bytes": [good().map(|sample| sample.body).min(), good().map(|sample| sample.body).max()],
        })
    }
}
