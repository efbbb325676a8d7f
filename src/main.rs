//! The binary: parse arguments, call a command, turn its error into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    latentd::runtime::forbid_telemetry();
    latentd::cli::run()
}
