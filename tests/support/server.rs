//! A latentd of its own process, and what is needed to talk to it. Taken in by `#[path]`, as a file of a test's own.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::Value;

/// Ended when it is dropped.
pub struct Server {
    process: Child,
    /// Its address, `http://…`
    pub base: String,
    /// The lines of its log until now.
    log: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Models and data lie under `home`, which several may share where their settings put the index elsewhere.
    pub fn start(home: &Path, settings: &[&str]) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_latentd")), home, settings)
    }

    /// Starts by a command that takes the arguments of `latentd`.
    pub fn start_by(mut command: Command, home: &Path, settings: &[&str]) -> Self {
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        let mut process = command
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
        let log = Arc::new(Mutex::new(seen));
        let written = Arc::clone(&log);
        // the pipe must not fill up
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| written.lock().unwrap().push(line)));
        Self { process, base, log }
    }

    /// The first line of its log that says so.
    #[allow(dead_code, reason = "not every test that starts one reads its log")]
    pub fn logged(&self, what: &str) -> Option<String> {
        self.log.lock().unwrap().iter().find(|line| line.contains(what)).cloned()
    }

    /// Waits until it is.
    pub async fn ready(&self) {
        let (client, deadline) = (client(), Instant::now() + Duration::from_secs(60));
        loop {
            let answer = client.get(format!("{}/readyz", self.base)).send().await.unwrap();
            if answer.status() == 200 {
                return;
            }
            assert!(Instant::now() < deadline, "not ready: {}", answer.text().await.unwrap());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// By SIGKILL, where there is one.
    #[allow(dead_code, reason = "not every test that starts one kills it")]
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

/// Copies a model of the fixtures to where a server with this home finds it.
pub fn give_model(home: &Path, name: &str) {
    let model = home.join("models").join(name);
    fs::create_dir_all(&model).unwrap();
    let fixture = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/models").join(name);
    for entry in fs::read_dir(fixture).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, model.join(path.file_name().unwrap())).unwrap();
    }
}
