//! `latentd calibrate` and `latentd score`, the real binary against the real server.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use image::{Rgb, RgbImage};
use serde_json::Value;

use crate::{
    process,
    server::{Run, png, run},
};

const MODEL: &str = "tiny-ae";

struct Line {
    _process: process::Server,
    url: String,
    home: tempfile::TempDir,
}

impl Line {
    async fn start(settings: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        process::give_model(home.path(), MODEL);
        let process = process::Server::start(home.path(), settings);
        process.ready().await;
        Self { url: process.base.clone(), _process: process, home }
    }

    /// `latentd COMMAND …` for this server, without the environment's settings.
    async fn latentd(&self, arguments: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_latentd"));
        command.args(arguments).args(["--url", &self.url]).env_remove("LATENTD_API_KEY");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        run(command).await
    }

    async fn calibrate(&self, folder: &Path, more: &[&str]) -> Run {
        let folder = folder.display().to_string();
        self.latentd(&[&["calibrate", MODEL, &folder, "--name", "line-1"], more].concat()).await
    }

    async fn score(&self, folder: &Path, more: &[&str]) -> Run {
        let folder = folder.display().to_string();
        let rate = ["--calibration", "line-1", "--model", MODEL, "--false-positive-rate", "0.06"];
        self.latentd(&[&["score", &folder], &rate[..], more].concat()).await
    }

    async fn described(&self) -> Value {
        let url = format!("{}/v1/models/{MODEL}/calibrations/line-1", self.url);
        process::client().get(url).send().await.unwrap().json().await.unwrap()
    }

    /// Two photographs of each of so many parts.
    fn parts(&self, folder: &str, from: u32, parts: u32) -> PathBuf {
        let folder = self.home.path().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        for photograph in 0..2 * parts {
            let name = format!("part-{:02}_{}.png", from + photograph / 2, photograph % 2);
            std::fs::write(folder.join(name), png(from * 100 + photograph)).unwrap();
        }
        folder
    }
}

/// What the tiny autoencoder, which keeps a mean of each quarter, cannot make.
fn strange() -> Vec<u8> {
    let image = RgbImage::from_fn(16, 16, |x, y| Rgb([if (x / 4 + y / 4) % 2 == 0 { 0 } else { 255 }; 3]));
    let mut file = std::io::Cursor::new(Vec::new());
    image.write_to(&mut file, image::ImageFormat::Png).unwrap();
    file.into_inner()
}

#[tokio::test]
async fn a_folder_is_calibrated_by_groups_in_as_many_requests_as_it_takes() {
    let line = Line::start(&["limits.body_bytes=30000"]).await;
    let folder = line.parts("good", 0, 15);
    let made = line.calibrate(&folder, &["--group-from", r"part-(\d+)_"]).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(made.stdout.contains("calibration line-1@1 of tiny-ae: 30 normal images in 15 groups"), "{made:?}");
    let described = line.described().await;
    assert_eq!((&described["count"], &described["groups"], &described["version"]), (&30.into(), &15.into(), &1.into()));
    let url = format!("{}/v1/models/{MODEL}/calibrations", line.url);
    let all: Value = process::client().get(url).send().await.unwrap().json().await.unwrap();
    assert_eq!(all["data"].as_array().unwrap().len(), 1, "what was made aside is gone: {all}");

    let more = line.parts("more", 20, 3);
    std::fs::write(more.join("part-99_0.png"), b"not an image").unwrap();
    let added = line.calibrate(&more, &["--group-from", r"part-(\d+)_", "--add"]).await;
    assert_eq!(added.code, Some(1), "{added:?}");
    assert!(added.stdout.contains("36 normal images in 18 groups"), "{added:?}");
    assert!(added.stderr.contains("part-99_0.png: invalid_image"), "{added:?}");

    let ungrouped = line.calibrate(&folder, &["--group-from", "lot-(.)"]).await;
    assert_eq!(ungrouped.code, Some(2), "{ungrouped:?}");
    assert!(ungrouped.stderr.contains("finds no group in"), "{ungrouped:?}");
}

#[tokio::test]
async fn a_folder_is_judged_with_the_verdict_as_the_exit_code_and_a_report_that_stands_alone() {
    let line = Line::start(&[]).await;
    let good = line.parts("good", 0, 10);
    let made = line.calibrate(&good, &[]).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    let parts = line.home.path().join("parts");
    std::fs::create_dir(&parts).unwrap();
    // An image of the calibration, so that it is `ok`.
    std::fs::copy(good.join("part-03_0.png"), parts.join("a.png")).unwrap();
    let ok = line.score(&parts, &[]).await;
    assert_eq!(ok.code, Some(0), "{ok:?}");

    std::fs::write(parts.join("b.png"), strange()).unwrap();
    std::fs::write(parts.join("c.png"), b"not an image").unwrap();
    let report = line.home.path().join("report.html");
    let judged = line.score(&parts, &["--format", "ndjson", "--report", &report.display().to_string()]).await;
    assert_eq!(judged.code, Some(4), "{judged:?}");
    let rows: Vec<Value> = judged.stdout.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    assert_eq!(rows.len(), 3, "{judged:?}");
    assert!(rows[1]["image"].as_str().unwrap().ends_with("b.png") && rows[1]["verdict"] == "anomalous", "{judged:?}");
    assert_eq!(rows[2]["error"]["code"], "invalid_image", "{judged:?}");
    let page = std::fs::read_to_string(report).unwrap();
    assert!(page.contains("b.png") && page.contains("<svg viewBox=\"0 0 16 16\""), "{page}");
    assert!(page.contains("<rect ") && !page.contains("<script") && !page.contains("src=\"http"), "{page}");

    let csv = line.score(&parts, &["--format", "csv"]).await;
    assert_eq!(csv.stdout.lines().count(), 4, "{csv:?}");
    let table = line.score(&parts, &[]).await;
    assert!(table.stdout.contains("3 images: ") && table.stdout.contains("by line-1@1"), "{table:?}");
    let unknown =
        line.latentd(&["score", &parts.display().to_string(), "--model", MODEL, "--calibration", "none"]).await;
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    assert!(unknown.stderr.contains("calibration_not_found"), "{unknown:?}");
}
