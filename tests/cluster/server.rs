//! A latentd of its own process.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

pub struct Server {
    process: Child,
    pub base: String,
}

impl Server {
    /// Data lie under `home`, and replicas may share it.
    pub fn start(home: &Path, settings: &[&str]) -> Self {
        give_model(home);
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        let mut process = Command::new(env!("CARGO_BIN_EXE_latentd"))
            .args(["serve", "--listen", "127.0.0.1:0", "--set", "log.format=json", "--set", "runtime.sessions=1"])
            .args(settings)
            .arg("--models")
            .arg(home.join("models"))
            .arg("--data")
            .arg(home.join("data"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut seen = Vec::new();
        let base = loop {
            let line = lines.next().unwrap_or_else(|| panic!("the server ended early:\n{}", seen.join("\n"))).unwrap();
            let entry: Value = serde_json::from_str(&line).unwrap_or_default();
            if entry["message"] == "latentd serves" {
                break format!("http://{}", entry["addr"].as_str().unwrap());
            }
            seen.push(line);
        };
        // the pipe must not fill up
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, base }
    }

    pub async fn ready(&self) {
        let (client, deadline) = (client(), Instant::now() + Duration::from_secs(60));
        loop {
            let answer = client.get(format!("{}/readyz", self.base)).send().await.unwrap();
            if answer.status() == 200 {
                return;
            }
            assert!(Instant::now() < deadline, "not ready: {}", answer.text().await.unwrap());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// By SIGKILL.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A client for clear text; any client has to have a TLS stack.
pub fn client() -> reqwest::Client {
    latentd::tls::install();
    reqwest::Client::builder().tls_certs_only([]).build().unwrap()
}

fn give_model(home: &Path) {
    let model = home.join("models/tiny-ae");
    if model.exists() {
        return;
    }
    fs::create_dir_all(&model).unwrap();
    let fixture = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/models/tiny-ae");
    for entry in fs::read_dir(fixture).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, model.join(path.file_name().unwrap())).unwrap();
    }
}
