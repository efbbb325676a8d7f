//! What `make bench` runs beside the servers: `serving load` asks a server, `serving limit` does the same work without
//! one. The harness in `bench/` starts both and reads what they print, one JSON object a line.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measurement that fails has nothing to return to"
)]

mod answer;
mod driver;
mod limit;
mod load;
mod times;
mod window;

use std::{fs, io::Write as _, path::Path};

use clap::{Parser, Subcommand};
use serde_json::json;

/// As the server has it, so that the limit is measured under the same conditions.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
struct Options {
    #[command(subcommand)]
    command: Command,
    /// cargo bench passes it
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Posts bodies to a server and measures its answers
    Load(load::Options),
    /// Embeds images in this process, as fast as this machine can
    Limit(limit::Options),
}

fn main() {
    match Options::parse().command {
        Command::Load(options) => load::run(&options),
        Command::Limit(options) => limit::run(&options),
    }
}

/// The contents of all files of a folder, by name.
fn files(folder: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let contents: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(!contents.is_empty(), "{} is empty", folder.display());
    contents
}

/// Tells the harness that the window begins or ends, so that it looks at the processor time of all processes.
fn tell(event: &str) {
    println!("{}", json!({"event": event}));
    std::io::stdout().flush().unwrap();
}
