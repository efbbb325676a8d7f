//! `latentd serve`: runs the server until it is told to stop.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    app::App,
    config::{self, Flags},
    error::{Error, Result},
    telemetry::logging,
    threads::take_latency_priority,
};

/// What is still being written when everything else has stopped gets this long.
const LAST_WORK: Duration = Duration::from_secs(5);

pub(super) fn run(flags: &Flags) -> Result<()> {
    let loaded = config::load(flags, std::env::vars_os())?;
    // lives until the last line is written
    let _log = logging::start(&loaded.config.log.level, loaded.config.log.format)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("latentd-async")
        .on_thread_start(take_latency_priority)
        .build()
        .map_err(|error| Error::internal("cannot start the async threads").with_source(error))?;
    let outcome = runtime.block_on(async {
        outlive_file_limits();
        let app = App::build(loaded.config).await?;
        app.run(stopped()).await
    });
    // work whose client has left may still be going; a run that hangs must not hold the process
    runtime.shutdown_timeout(LAST_WORK);
    outcome
}

/// Makes a write beyond the limit on the size of files fail as on a full disk, where the signal would end the process.
/// The handler stays when the listener goes.
#[cfg(target_os = "linux")]
fn outlive_file_limits() {
    if let Err(error) = signal(SignalKind::from_raw(libc::SIGXFSZ)) {
        tracing::warn!(%error, "a file that reaches the limit on its size will end the process");
    }
}

#[cfg(not(target_os = "linux"))]
fn outlive_file_limits() {}

/// Comes with the first SIGTERM or SIGINT; the second SIGINT ends the process at once.
async fn stopped() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be received; the server runs until it is killed");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("asked to stop: finishing what was admitted");
    tokio::spawn(async move {
        interrupt.recv().await;
        std::process::exit(130);
    });
}
