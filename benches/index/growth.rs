//! Indexes of growing size. Each is opened once more by a process of its own that holds nothing else, so that memory and
//! the time of opening are those of the index.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    Options,
    answers::Answers,
    data::{Data, read_queries, read_truth, write_truth},
    mebibytes,
    opened::Opened,
    resident, size_of,
};

/// The graph of an index that was opened again is checked ten times as often as by default, for the sake of whoever
/// waits for the table, and has found its candidates when eight checks have left them alone.
const CHECKS: Duration = Duration::from_secs(6);
const CALM: Duration = Duration::from_secs(60);

pub(crate) async fn measure(options: &Options) {
    println!("vectors of {}, cosine, {} queries, one thread\n", options.dimension, options.queries);
    println!(
        "| items | filled, items/s | scan: recall, searches/s, p50, p99 | graph built in | memory while building | on the disk | opened in, by a new process | its memory | graph: recall, searches/s, p50, p99 | held to its recall: candidates, recall, searches/s, p50, p99 |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for &items in &options.growth {
        let mut cells = vec![items.to_string()];
        cells.extend(grown(items, options).await);
        let index = options.folder.join("index");
        cells.push(mebibytes(size_of(&index)));
        let again = reopened(items, options);
        cells.extend(["opened", "memory", "graph", "held"].map(|cell| again[cell].as_str().unwrap().to_owned()));
        println!("| {} |", cells.join(" | "));
        fs::remove_dir_all(index).unwrap();
    }
}

/// Fills an index, scans it, builds its graph and leaves it saved.
async fn grown(items: usize, options: &Options) -> [String; 4] {
    let data = Data::draw(items, options);
    data.write_queries(&options.folder);
    let before = resident();
    let index = Opened::new(options, u64::MAX).await;
    let started = Instant::now();
    index.fill(&data).await;
    let rate = items as f64 / started.elapsed().as_secs_f64();
    let truth = data.nearest(|_| true);
    write_truth(&options.folder, &truth);
    let scan = index.answers(&data.queries, None).await.figures(&truth).join(", ");
    drop(index);
    let index = Opened::new(options, items as u64 / 2).await;
    let started = Instant::now();
    index.settled().await;
    let built = format!("{:.1} s", started.elapsed().as_secs_f64());
    let memory = mebibytes(resident().saturating_sub(before));
    [format!("{:.0}", rate.floor()), scan, built, memory]
}

fn reopened(items: usize, options: &Options) -> Value {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--reopen", "--items", &items.to_string(), "--dimension", &options.dimension.to_string()])
        .args(["--expansion", &options.expansion.to_string(), "--folder"])
        .arg(&options.folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the new process does.
pub(crate) async fn reopen(options: &Options) {
    let (queries, truth) = (read_queries(&options.folder, options.dimension), read_truth(&options.folder));
    let before = resident();
    let started = Instant::now();
    let index = Opened::checked_every(CHECKS, options, options.items as u64 / 2).await;
    let opened = started.elapsed();
    let form = index.collection.info().await.unwrap().form;
    index.settled().await;
    index.checked().await;
    let answers: Answers = index.answers(&queries, None).await;
    let candidates = index.candidates(CALM).await;
    let held = index.answers(&queries, None).await;
    println!(
        "{}",
        json!({
            "opened": format!("{:.2} s, as a {form}", opened.as_secs_f64()),
            "memory": mebibytes(resident().saturating_sub(before)),
            "graph": answers.figures(&truth).join(", "),
            "held": format!("{candidates}, {}", held.figures(&truth).join(", ")),
        })
    );
}
