//! Measures the embedded index.
//!
//! | `make bench-index ARGS=…` | measures |
//! | --- | --- |
//! | `'--items 200000 --dimension 256'` | the index in this process |
//! | `'--http --items 200000 --dimension 256'` | vectors added to a `latentd serve` and searched for over HTTP with JSON, and the same index then in this process |
//! | `'--growth 10000,100000,1000000 --dimension 128 --queries 500'` | indexes of growing size: building, memory, disk, opening, latency |
//!
//! Vectors are drawn around random centres from a fixed seed, so that every run and `bench/index_peers.py`, which reads
//! the files written here, measure the same. Prints Markdown tables; docs/BENCHMARKS.md holds such output.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measurement that fails has nothing to return to"
)]

#[path = "../serving/answer.rs"]
mod answer;
mod answers;
mod data;
#[path = "../serving/driver.rs"]
mod driver;
mod growth;
mod http;
mod opened;
mod turns;
mod whole;
#[path = "../serving/window.rs"]
mod window;

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Parser;

/// As the server has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Items that a search asks for.
const NEAREST: usize = 10;

#[derive(Debug, Parser)]
struct Options {
    #[arg(long, default_value_t = 200_000)]
    items: usize,
    #[arg(long, default_value_t = 256)]
    dimension: usize,
    #[arg(long, default_value_t = 1000)]
    queries: usize,
    /// Seconds of writing while searching; of each measurement over HTTP and beside it
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Items written a second while searching, before it is done as fast as it goes
    #[arg(long, default_value_t = 2000.0)]
    write_rate: f64,
    /// Candidates kept while the graph is searched
    #[arg(long, default_value_t = 64)]
    expansion: usize,
    /// Length of a vector that is added to all, beside centres of length 1: an encoder that has collapsed in part
    #[arg(long, default_value_t = 0.0)]
    common: f32,
    /// Where vectors and index are kept; emptied first
    #[arg(long, default_value = "target/bench-index")]
    folder: PathBuf,
    /// Through a server of its own process
    #[arg(long, conflicts_with = "growth")]
    http: bool,
    /// Numbers of items, in place of `--items`
    #[arg(long, value_delimiter = ',')]
    growth: Vec<usize>,
    /// Opens an index that is there and says how it does, for `--growth`
    #[arg(long, hide = true)]
    reopen: bool,
    /// Leaves vectors and index as they are, and searches that index whenever a line of the input says so
    #[arg(long, conflicts_with_all = ["http", "growth"])]
    turns: bool,
    /// cargo bench passes it
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    // as the server has it
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(latentd::threads::take_latency_priority)
        .build()
        .unwrap();
    runtime.block_on(measure(Options::parse()));
}

async fn measure(options: Options) {
    if options.reopen {
        return growth::reopen(&options).await;
    }
    if options.turns {
        return turns::serve(&options).await;
    }
    let _ = fs::remove_dir_all(&options.folder);
    fs::create_dir_all(&options.folder).unwrap();
    if options.http {
        http::measure(&options).await;
    } else if options.growth.is_empty() {
        whole::measure(&options).await;
    } else {
        growth::measure(&options).await;
    }
}

fn row(what: &str, figure: impl std::fmt::Display) {
    println!("| {what} | {figure} |");
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) << 10
}

fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { size_of(&path) } else { path.metadata().unwrap().len() }).sum()
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
