//! A server with a model, what it has, `latentd ingest` beside it, and images.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use image::{Rgb, RgbImage};
use serde_json::Value;

use crate::process;

pub const MODEL: &str = "tiny-contrastive";

pub struct Server {
    _process: process::Server,
    pub url: String,
    client: reqwest::Client,
    home: tempfile::TempDir,
}

impl Server {
    pub async fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        process::give_model(home.path(), MODEL);
        let process = process::Server::start(home.path(), &[]);
        process.ready().await;
        Self { url: process.base.clone(), _process: process, client: process::client(), home }
    }

    /// A folder that goes with the server.
    pub fn folder(&self, name: &str) -> PathBuf {
        let folder = self.home.path().join(name);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    pub async fn get(&self, path: &str) -> Value {
        self.find(path).await.unwrap_or_else(|| panic!("there is no {path}"))
    }

    /// None if there is no such thing.
    pub async fn find(&self, path: &str) -> Option<Value> {
        let answer = self.client.get(format!("{}/v1/collections/{path}", self.url)).send().await.unwrap();
        if answer.status() == 404 {
            return None;
        }
        assert_eq!(answer.status(), 200, "{path}");
        Some(answer.json().await.unwrap())
    }

    pub async fn count(&self, collection: &str) -> u64 {
        self.get(collection).await["count"].as_u64().unwrap()
    }

    /// The metadata of every item, in the order of insertion.
    pub async fn metadata(&self, collection: &str) -> Vec<Value> {
        let page = self.get(&format!("{collection}/items?limit=1000")).await;
        page["data"].as_array().unwrap().iter().map(|item| item["metadata"].clone()).collect()
    }
}

/// `latentd ingest --collection c --url URL`, without the environment's settings.
pub fn ingest(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_latentd"));
    command.args(["ingest", "--collection", "c", "--url", url]).args(arguments);
    command.env_remove("LATENTD_API_KEY").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end on a thread that may block.
pub async fn run(mut command: Command) -> Run {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    Run::of(output)
}

#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Added, there already, failed: the numbers of the summary.
    pub fn counts(&self) -> [u64; 3] {
        let words: Vec<&str> = self.stdout.split_whitespace().collect();
        let before = |word: &str| {
            let at = words.iter().position(|found| found.starts_with(word)).unwrap_or_else(|| panic!("{self:?}"));
            words[at - 1].parse().unwrap_or_else(|_| panic!("{self:?}"))
        };
        [before("added"), before("there"), before("failed")]
    }
}

/// A small PNG that differs with the seed.
pub fn png(seed: u32) -> Vec<u8> {
    let image = RgbImage::from_fn(16, 16, |x, y| {
        let [a, b, ..] = seed.to_le_bytes();
        Rgb([a.wrapping_add((x * 7) as u8), b.wrapping_add((y * 5) as u8), (x * y + seed) as u8])
    });
    let mut file = std::io::Cursor::new(Vec::new());
    image.write_to(&mut file, image::ImageFormat::Png).unwrap();
    file.into_inner()
}

/// Images by number, in a folder for each of the labels.
pub fn fill(folder: &Path, labels: &[&str], count: u32) {
    for number in 0..count {
        let label = folder.join(labels[number as usize % labels.len()]);
        fs::create_dir_all(&label).unwrap();
        fs::write(label.join(format!("{number:04}.png")), png(number)).unwrap();
    }
}
