//! The log: lines on standard error, as text or JSON.

use std::io::IsTerminal as _;

use serde::{Deserialize, Serialize};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::error::{Error, Result};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Starts logging for the process; `level` is a filter as `info` or `latentd=debug,ort=warn`.
pub fn start(level: &str, format: LogFormat) -> Result<()> {
    // ONNX Runtime tells much at info; warnings and errors are what an operator wants of it
    let filter = EnvFilter::builder()
        .parse(format!("ort=warn,{level}"))
        .map_err(|error| Error::invalid_request(format!("log.level {level:?} is not a log filter: {error}")))?;
    let registry = tracing_subscriber::registry().with(filter);
    let colours = std::io::stderr().is_terminal();
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    let started = match format {
        LogFormat::Text => registry.with(layer.with_target(false)).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    started.map_err(|error| Error::internal("logging was started twice").with_source(error))
}
