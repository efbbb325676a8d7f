//! The log: lines on standard error, as text or JSON.

use std::{
    io::{self, BufWriter, IsTerminal as _, Write},
    sync::OnceLock,
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    error::{Error, Result},
    threads::take_background_priority,
};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Lines that wait to be written, at most. A line beyond them is dropped and counted: whatever reads standard error may
/// stall for as long as it likes, and a thread that answers requests must not wait for it.
const LINES: usize = 16_384;

/// Counts the lines that were dropped since logging started.
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// The log lines that were dropped because standard error did not take them.
pub(super) fn dropped_lines() -> u64 {
    DROPPED.get().map_or(0, |counter| counter.dropped_lines() as u64)
}

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
            take_background_priority();
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

/// A queue of at most `limit` lines before the writer, whose thread ends with the guard.
fn queued(writer: impl Write + Send + 'static, limit: usize) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default().lossy(true).buffered_lines_limit(limit).thread_name("log").finish(writer)
}

/// The levels of the log.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Refuses a filter that would be read as the name of a target and switch the log off, as `warning` would.
fn check_level(filter: &str) -> Result<()> {
    for directive in filter.split(',') {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level).trim();
        if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            return Err(Error::invalid_request(format!(
                "log.level {filter:?}: {level:?} is no level; the levels are {}, alone or as TARGET=LEVEL, separated by commas",
                LEVELS.join(", ")
            )));
        }
    }
    Ok(())
}

/// Starts logging for the process; `level` is a filter as `info` or `latentd=debug,ort=warn`. Lines are written by a
/// thread of their own, several at a time while they come quickly; when the guard goes, what waits is written.
pub fn start(level: &str, format: LogFormat) -> Result<WorkerGuard> {
    check_level(level)?;
    // ONNX Runtime tells much at info; warnings and errors are what an operator wants of it
    let filter = EnvFilter::builder()
        .parse(format!("ort=warn,{level}"))
        .map_err(|error| Error::invalid_request(format!("log.level {level:?} is not a log filter: {error}")))?;
    let registry = tracing_subscriber::registry().with(filter);
    let colours = io::stderr().is_terminal();
    let writer = BufWriter::with_capacity(64 << 10, Behind { inner: io::stderr(), begun: false });
    let (lines, guard) = queued(Resting(writer), LINES);
    // It is set once for the process; a second start fails below.
    let _ = DROPPED.set(lines.error_counter());
    let layer = tracing_subscriber::fmt::layer().with_writer(lines).with_ansi(colours);
    let started = match format {
        LogFormat::Text => registry.with(layer.with_target(false)).try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    started.map_err(|error| Error::internal("logging was started twice").with_source(error))?;
    Ok(guard)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A writer that stalls at every line until the other end of its channel lets it go on.
    struct Stalled(mpsc::Receiver<()>);

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // An error is the other end that has gone: then nothing stalls any more.
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stalls_costs_lines_and_never_holds_up_who_logs() {
        let (go_on, stalled) = mpsc::channel();
        let (mut lines, guard) = queued(Stalled(stalled), 4);
        for _ in 0..50 {
            lines.write_all(b"a line\n").unwrap();
        }
        // Four lines wait and at most one is with the writer.
        let dropped = lines.error_counter().dropped_lines();
        assert!((45..=46).contains(&dropped), "{dropped}");
        drop(go_on);
        drop(guard);
    }

    #[test]
    fn a_filter_has_levels_and_every_other_word_is_refused_with_the_list_of_them() {
        for fine in ["info", "WARN", "latentd=debug,ort=warn", "off", "info,latentd::http=trace"] {
            assert!(check_level(fine).is_ok(), "{fine}");
        }
        for wrong in ["", "warning", "inof", "info,", "latentd=verbose", "latentd"] {
            let error = check_level(wrong).unwrap_err();
            assert!(error.message().contains("off, error, warn, info, debug, trace"), "{error}");
        }
    }
}
