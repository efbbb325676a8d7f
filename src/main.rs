//! The binary: parse arguments, call a command, turn its error into an exit code.

use std::process::ExitCode;

/// Requests come and go on several threads at once, each with many small allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    latentd::runtime::forbid_telemetry();
    latentd::cli::run()
}
