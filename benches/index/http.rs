//! The index through a server: vectors added and searched for over HTTP with JSON, on connections that stay open. Then the
//! server is ended, and the same index is searched in this process.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use latentd::domain::Embedding;
use serde_json::{Value, json};
use tokio::task::LocalSet;

use crate::{
    NEAREST, Options,
    answers::{Answers, share},
    data::{Data, write_truth},
    driver::{self, Asking, Connection},
    opened::{Opened, item},
    row,
    window::{Window, spread},
};

/// Items of one request, what the server takes by default.
const BATCH: usize = 64;
/// Connections that add items side by side.
const WRITERS: usize = 4;
/// Requests that are made ready at a time, so that writing JSON is not measured.
const READY: usize = 256;
/// How many search at a time.
const SEARCHERS: [usize; 2] = [1, 4];
const WARMING: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn measure(options: &Options) {
    let data = Data::draw(options.items, options);
    data.write(&options.folder);
    let truth = data.nearest(|_| true);
    write_truth(&options.folder, &truth);
    let (items, dimension) = (options.items, options.dimension);
    println!("{items} vectors of {dimension}, cosine, the {NEAREST} nearest, {} queries\n", options.queries);
    println!("| what | figure |\n| --- | --- |");

    let server = Server::start(options).await;
    let body = json!({"dimension": dimension, "metric": "cosine", "store": "none"});
    server.ask("PUT", "/v1/collections/bench", &body).await;
    let added = server.add(&data.vectors).await;
    row(
        &format!("adding over HTTP, {BATCH} a request, {WRITERS} connections, items/s"),
        format!("{:.0}", (items as f64 / added.as_secs_f64()).floor()),
    );
    let started = Instant::now();
    server.settled().await;
    row("building the rest of the graph", format!("{:.1} s", started.elapsed().as_secs_f64()));

    let queries: Vec<Vec<u8>> = data.queries.iter().map(|query| server.search(query)).collect();
    let recall = share(server.answers(&queries).await.recall(&truth));
    let length = Duration::from_secs(options.seconds);
    let mut found = Vec::new();
    for connections in SEARCHERS {
        found.push(over_http(server.address, queries.clone(), connections, length).await);
    }
    server.stop();
    let opened = Opened::new(options, items as u64 / 2).await;
    opened.settled().await;
    let same = share(opened.answers(&data.queries, None).await.recall(&truth));
    let opened = Arc::new(opened);
    let mut beside = Vec::new();
    for searchers in SEARCHERS {
        beside.push(in_process(&opened, &data.queries, searchers, length).await);
    }

    println!("\n| searching | recall | searches/s | p50 | p99 |\n| --- | --- | --- | --- | --- |");
    for (at, searchers) in SEARCHERS.into_iter().enumerate() {
        beside[at].report(&format!("in this process, {searchers} at a time"), &same);
        found[at].report(&format!("over HTTP with JSON, {searchers} at a time"), &recall);
        let ratio = found[at].rate / beside[at].rate;
        println!("| HTTP of in this process | | {:.2} × | | |", (ratio * 100.0).floor() / 100.0);
    }
}

/// Searches in a second, and how long they took.
struct Rate {
    rate: f64,
    times: Value,
}

impl Rate {
    fn report(&self, what: &str, recall: &str) {
        let [p50, p99] = ["p50_ms", "p99_ms"].map(|key| self.times[key].as_f64().unwrap());
        println!("| {what} | {recall} | {:.0} | {p50:.2} ms | {p99:.2} ms |", self.rate.floor());
    }
}

/// By a load generator on a thread of its own.
async fn over_http(address: SocketAddr, requests: Vec<Vec<u8>>, connections: usize, length: Duration) -> Rate {
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let window = Window::after(WARMING, length);
        let asking = Asking { address, requests, connections, rate: None, patience: PATIENCE, window };
        LocalSet::new().block_on(&runtime, driver::drive(asking))
    };
    let result = tokio::task::spawn_blocking(work).await.unwrap();
    let statuses = result["statuses"].as_object().unwrap();
    assert!(statuses.len() == 1 && statuses.contains_key("200"), "{result}");
    Rate { rate: result["answers_per_second"].as_f64().unwrap(), times: statuses["200"].clone() }
}

async fn in_process(opened: &Arc<Opened>, queries: &[Embedding], searchers: usize, length: Duration) -> Rate {
    let window = Window::after(WARMING, length);
    let tasks: Vec<_> = (0..searchers)
        .map(|first| {
            let (opened, queries) = (Arc::clone(opened), queries.to_vec());
            tokio::spawn(async move {
                let mut samples = Vec::new();
                for query in queries.iter().cycle().skip(first * queries.len() / searchers) {
                    let begun = Instant::now();
                    if begun >= window.end() {
                        break;
                    }
                    opened.search(query).await;
                    samples.push((begun, Instant::now()));
                }
                samples
            })
        })
        .collect();
    let mut samples = Vec::new();
    for task in tasks {
        samples.extend(task.await.unwrap());
    }
    let times = samples.iter().filter(|(_, done)| window.holds(*done)).map(|(begun, done)| *done - *begun);
    Rate { rate: window.rate(samples.iter().map(|(_, done)| *done)), times: spread(times.collect()) }
}

/// A `latentd serve` over the index of the folder.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    async fn start(options: &Options) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let models = options.folder.join("models");
        fs::create_dir_all(&models).unwrap();
        let log = options.folder.join("server.log");
        let process = Command::new(env!("CARGO_BIN_EXE_latentd"))
            .args(["serve", "--listen", &address.to_string()])
            .args(["--set", &format!("index.scan_items={}", options.items / 2)])
            .args(["--set", &format!("index.graph_expansion_search={}", options.expansion)])
            .arg("--data")
            .arg(&options.folder)
            .arg("--models")
            .arg(models)
            .stdin(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .expect("the server starts");
        let mut server = Self { process, address };
        server.answering(&log).await;
        server
    }

    async fn answering(&mut self, log: &Path) {
        let started = Instant::now();
        while Connection::open(self.address).await.is_err() {
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none() && started.elapsed() < PATIENCE, "no answer; its log: {}", log.display());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn request(&self, method: &str, target: &str, body: &Value) -> Vec<u8> {
        let headers = ["Content-Type: application/json".to_owned()];
        driver::request(method, target, self.address, &headers, body.to_string().as_bytes())
    }

    async fn ask(&self, method: &str, target: &str, body: &Value) -> Value {
        let mut connection = Connection::open(self.address).await.unwrap();
        let request = self.request(method, target, body);
        let (head, body) = connection.exchange(&request).await.unwrap();
        assert!(head.status < 300, "{method} {target}: {}", String::from_utf8_lossy(body));
        serde_json::from_slice(body).unwrap()
    }

    fn search(&self, query: &Embedding) -> Vec<u8> {
        let body = json!({"vector": query.as_slice(), "limit": NEAREST, "with_metadata": false});
        self.request("POST", "/v1/collections/bench/search", &body)
    }

    /// Adds all, and returns how long the server took.
    async fn add(&self, vectors: &[Embedding]) -> Duration {
        let mut passed = Duration::ZERO;
        for (part, vectors) in vectors.chunks(BATCH * READY).enumerate() {
            let requests = vectors.chunks(BATCH).enumerate().map(|(batch, vectors)| {
                let first = part * BATCH * READY + batch * BATCH;
                let items: Vec<Value> =
                    vectors.iter().enumerate().map(|(at, vector)| row_of(first + at, vector)).collect();
                self.request("POST", "/v1/collections/bench/items", &json!({ "items": items }))
            });
            let requests: Arc<Mutex<Vec<Vec<u8>>>> = Arc::new(Mutex::new(requests.collect()));
            let started = Instant::now();
            let writers: Vec<_> =
                (0..WRITERS).map(|_| tokio::spawn(send(self.address, Arc::clone(&requests)))).collect();
            for writer in writers {
                writer.await.unwrap();
            }
            passed += started.elapsed();
        }
        passed
    }

    async fn settled(&self) {
        loop {
            let about = self.ask("GET", "/v1/collections/bench", &Value::Null).await;
            if Opened::is_settled(about["form"].as_str().unwrap(), about["form_reason"].as_str().unwrap()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// One answer to each query, for its recall.
    async fn answers(&self, queries: &[Vec<u8>]) -> Answers {
        let mut connection = Connection::open(self.address).await.unwrap();
        let mut answers = Answers::default();
        for query in queries {
            let (head, body) = connection.exchange(query).await.unwrap();
            assert_eq!(head.status, 200, "{}", String::from_utf8_lossy(body));
            let body: Value = serde_json::from_slice(body).unwrap();
            let hits = body["data"].as_array().unwrap();
            answers.found.push(hits.iter().map(|hit| hit["id"].as_str().unwrap().parse().unwrap()).collect());
        }
        answers
    }

    /// In order, so that the graph is saved.
    fn stop(mut self) {
        let told = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status().unwrap();
        assert!(told.success() && self.process.wait().unwrap().success(), "the server did not end in order");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An item as JSON, the same as in this process.
fn row_of(id: usize, vector: &Embedding) -> Value {
    let item = item(id, vector);
    json!({"id": id.to_string(), "vector": vector.as_slice(), "metadata": item.metadata})
}

/// One connection, which sends what is left until nothing is.
async fn send(address: SocketAddr, requests: Arc<Mutex<Vec<Vec<u8>>>>) {
    let mut connection = Connection::open(address).await.unwrap();
    loop {
        let request = requests.lock().unwrap().pop();
        let Some(request) = request else { return };
        let (head, body) = connection.exchange(&request).await.unwrap();
        assert_eq!(head.status, 200, "{}", String::from_utf8_lossy(body));
    }
}
