//! The log: lines on standard error, as text or JSON.

use std::{
    io::{self, BufWriter, IsTerminal as _, Write},
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    error::{Error, Result},
    threads::run_behind_requests,
};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Lines that wait to be written, at most; whoever logs more waits, so that none is lost.
const LINES: usize = 4096;

/// How long the thread that writes rests after what was there. Lines that come meanwhile wait, and wake nobody; else each
/// request of an idle server would wake this thread on another core, by a call of the system.
const REST: Duration = Duration::from_millis(5);

/// A writer whose thread runs behind requests from its first write on: where these want the cores, it comes later and
/// finds more lines at a time.
struct Behind<W> {
    inner: W,
    begun: bool,
}

/// A writer that rests after each flush, which is made when no more lines are there.
struct Resting<W>(W);

impl<W: Write> Write for Behind<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !std::mem::replace(&mut self.begun, true) {
            run_behind_requests();
        }
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<W: Write> Write for Resting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.0.flush();
        thread::sleep(REST);
        flushed
    }
}

/// Starts logging for the process; `level` is a filter as `info` or `latentd=debug,ort=warn`. Lines are written by a
/// thread of their own, several at a time while they come quickly; when the guard goes, what waits is written.
pub fn start(level: &str, format: LogFormat) -> Result<WorkerGuard> {
    // ONNX Runtime tells much at info; warnings and errors are what an operator wants of it
    let filter = EnvFilter::builder()
        .parse(format!("ort=warn,{level}"))
        .map_err(|error| Error::invalid_request(format!("log.level {level:?} is not a log filter: {error}")))?;
    let registry = tracing_subscriber::registry().with(filter);
    let colours = io::stderr().is_terminal();
    let writer = BufWriter::with_capacity(64 << 10, Behind { inner: io::stderr(), begun: false });
    let (lines, guard) = NonBlockingBuilder::default()
        .lossy(false)
        .buffered_lines_limit(LINES)
        .thread_name("log")
        .finish(Resting(writer));
    let layer = tracing_subscriber::fmt::layer().with_writer(lines).with_ansi(colours);
    let started = match format {
        LogFormat::Text => registry.with(layer.with_target(false)).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    started.map_err(|error| Error::internal("logging was started twice").with_source(error))?;
    Ok(guard)
}
