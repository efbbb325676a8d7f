//! A server in this process: its own data folder, the tiny models, no port of its own to talk to.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use axum::{Router, body::Body, http::Request};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use latentd::{app::App, config::Config};
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt as _;

/// Eight numbers by random projection; the image is cropped and normalised.
pub const CONTRASTIVE: &str = "tiny-contrastive";
/// A 2 × 2 grid of mean colours and back.
pub const AUTOENCODER: &str = "tiny-ae";
/// A 3 × 3 average blur that counts as a denoiser.
pub const DENOISER: &str = "tiny-dae";
/// A class token and patch tokens.
pub const TOKENS: &str = "tiny-tokens";

const LOAD_TIME: Duration = Duration::from_secs(60);

pub struct Server {
    router: Router,
    _app: App,
    /// None where the home is another's.
    home: Option<Home>,
}

/// Where a server has its models and its data.
pub struct Home(TempDir);

impl Home {
    /// With these models of `tests/data/models` (or `tests/data/broken`).
    pub fn with(models: &[&str]) -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        let repository = home.0.path().join("models");
        std::fs::create_dir(&repository).unwrap();
        models.iter().for_each(|name| copy_model(name, &repository));
        home
    }

    /// The settings of a server that lives here.
    pub fn config(&self) -> Config {
        let mut config = Config::default();
        config.general.listen = "127.0.0.1:0".parse().unwrap();
        config.general.models = self.0.path().join("models").display().to_string();
        config.general.data = self.data().display().to_string();
        config.general.onnxruntime = library().display().to_string();
        config.runtime.sessions = 1;
        config.runtime.decode_threads = 1;
        config
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }
}

impl Server {
    /// The models that most tests use, and the default settings.
    pub async fn start() -> Self {
        Self::with(&[CONTRASTIVE, AUTOENCODER, DENOISER], |_| ()).await
    }

    /// These models of `tests/data/models` (or `tests/data/broken`), with changed settings.
    pub async fn with(models: &[&str], change: impl FnOnce(&mut Config)) -> Self {
        let home = Home::with(models);
        let mut config = home.config();
        change(&mut config);
        let server = Self::at(config).await;
        Self { home: Some(home), ..server }
    }

    /// With settings of a home that outlives it.
    pub async fn at(config: Config) -> Self {
        let mut app = App::build(config).await.unwrap();
        app.opened().await.unwrap();
        let server = Self { router: app.router(), _app: app, home: None };
        server.loaded().await;
        server
    }

    /// The models load in the background, and only an answer tells when they are there.
    async fn loaded(&self) {
        let started = std::time::Instant::now();
        while self.get("/v1/models").await.json()["data"].to_string().contains("\"loading\"") {
            assert!(started.elapsed() < LOAD_TIME, "the models take too long to load");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.home.as_ref().unwrap().data()
    }

    pub fn router(&self) -> Router {
        self.router.clone()
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        answer_of(self.router(), request).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(request("GET", path, &[], Body::empty())).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(request("DELETE", path, &[], Body::empty())).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send_json("POST", path, &[], body).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send_json("PUT", path, &[], body).await
    }

    pub async fn send_json(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Value) -> Answer {
        let headers = [&[("content-type", "application/json")], headers].concat();
        self.send(request(method, path, &headers, Body::from(body.to_string()))).await
    }

    pub async fn post_accepting(&self, path: &str, accept: &str, body: Value) -> Answer {
        self.send_json("POST", path, &[("accept", accept)], body).await
    }

    /// A body that is not JSON, as one image.
    pub async fn post_raw(&self, path: &str, content_type: &str, body: impl Into<Body>) -> Answer {
        self.send(request("POST", path, &[("content-type", content_type)], body.into())).await
    }

    pub async fn post_form(&self, path: &str, parts: &[(&str, &[u8])]) -> Answer {
        self.post_raw(path, "multipart/form-data; boundary=BOUNDARY", form(parts)).await
    }

    /// A collection with a model and stored originals.
    pub async fn collection(&self, name: &str, model: &str) -> String {
        let path = format!("/v1/collections/{name}");
        let made = self.put(&path, serde_json::json!({"model": model, "store": "original"})).await;
        assert_eq!(made.status, 201, "{}", made.text());
        path
    }
}

pub async fn answer_of(router: Router, request: Request<Body>) -> Answer {
    let response = router.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

/// A form of parts, whose boundary is `BOUNDARY`.
pub fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, content) in parts {
        body.extend(format!("--BOUNDARY\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n").bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--BOUNDARY--\r\n");
    body
}

/// The ONNX Runtime library: LATENTD_ONNXRUNTIME, else the one `make onnxruntime` puts into the checkout.
pub fn library() -> PathBuf {
    if let Some(named) = std::env::var_os("LATENTD_ONNXRUNTIME") {
        return PathBuf::from(named);
    }
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ort/lib/libonnxruntime.so");
    let fetched = if cfg!(target_os = "macos") { fetched.with_extension("dylib") } else { fetched };
    assert!(fetched.exists(), "no ONNX Runtime: run `make onnxruntime`, or name a library in LATENTD_ONNXRUNTIME");
    fetched
}

fn copy_model(name: &str, repository: &Path) {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let source = ["models", "broken"].map(|kind| data.join(kind).join(name)).into_iter().find(|path| path.is_dir());
    let source = source.unwrap_or_else(|| panic!("tests/data has no model {name}"));
    let target = repository.join(name);
    std::fs::create_dir(&target).unwrap();
    for entry in std::fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), target.join(entry.file_name())).unwrap();
    }
}

pub struct Answer {
    pub status: u16,
    pub headers: axum::http::HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no header {name}")).to_str().unwrap()
    }

    /// The body of a success.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }

    /// The detail of a problem with this status and code.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], format!("urn:latentd:error:{code}"));
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()));
        problem["detail"].as_str().unwrap().to_owned()
    }
}

/// The numbers of a JSON list.
pub fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

#[track_caller]
pub fn close(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5), "{a:?} is not {b:?}");
}
