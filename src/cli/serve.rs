//! `latentd serve`: runs the server until it is told to stop.

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    app::App,
    config::{self, Flags},
    error::{Error, Result},
    telemetry::logging,
};

pub(super) fn run(flags: &Flags) -> Result<()> {
    let loaded = config::load(flags, std::env::vars())?;
    logging::start(&loaded.config.log.level, loaded.config.log.format)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("latentd-async")
        .build()
        .map_err(|error| Error::internal("cannot start the async threads").with_source(error))?;
    runtime.block_on(async {
        let app = App::build(loaded.config).await?;
        app.run(stopped()).await
    })
}

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
