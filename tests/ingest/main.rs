//! `latentd ingest`, the real binary, against the real server and against servers that misbehave by script.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what a test takes for granted is a part of what it proves"
)]

#[path = "../support/server.rs"]
mod process;
mod runs;
mod server;
mod sources;
mod stub;
mod troubles;
mod vectors;
mod verdicts;
