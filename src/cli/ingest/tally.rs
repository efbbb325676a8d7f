//! What has become of the images so far: counted, shown, and reported.

use std::{
    fs::File,
    io::{BufWriter, IsTerminal as _, Write as _},
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::source::Failed;
use crate::error::{Error, Result};

const BAR: &str = "{wide_bar} {pos}/{len} {msg} ETA {eta}";
const REDRAWS_PER_SECOND: u8 = 8;
/// Failures shown in full as they come; the report has all.
const SHOWN: u64 = 20;
/// Between two lines where there is no terminal to draw on.
pub(super) const BETWEEN_LINES: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Tally {
    started: Instant,
    added: AtomicU64,
    present: AtomicU64,
    failed: AtomicU64,
    /// 0 until it is known.
    total: AtomicU64,
    bar: ProgressBar,
    report: Option<Mutex<BufWriter<File>>>,
}

impl Tally {
    /// With a bar where standard error is a terminal, and a report where a file is named.
    pub(super) fn new(report: Option<&Path>) -> Result<Self> {
        let create = |path: &Path| {
            File::create(path)
                .map(|file| Mutex::new(BufWriter::new(file)))
                .map_err(|error| Error::invalid_request(format!("cannot write the report {}: {error}", path.display())))
        };
        let bar = ProgressBar::no_length();
        if std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND));
            bar.set_style(ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar()));
        } else {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let zero = AtomicU64::default;
        Ok(Self {
            started: Instant::now(),
            added: zero(),
            present: zero(),
            failed: zero(),
            total: zero(),
            bar,
            report: report.map(create).transpose()?,
        })
    }

    pub(super) fn set_total(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
        self.bar.set_length(total);
    }

    pub(super) fn added(&self, count: u64) {
        self.added.fetch_add(count, Ordering::Relaxed);
        self.moved(count);
    }

    pub(super) fn present(&self, count: u64) {
        self.present.fetch_add(count, Ordering::Relaxed);
        self.moved(count);
    }

    pub(super) fn failed(&self, failed: &Failed) {
        let before = self.failed.fetch_add(1, Ordering::Relaxed);
        self.moved(1);
        if before < SHOWN {
            self.say(&format!("{}: {}: {}", failed.name, failed.code, failed.message));
        } else if before == SHOWN {
            self.say("further failures are counted; --report FILE lists them all");
        }
        if let Some(report) = &self.report {
            let line = json!({"file": failed.name, "id": failed.id, "code": failed.code, "message": failed.message});
            let written = writeln!(report.lock().unwrap_or_else(PoisonError::into_inner), "{line}");
            if let Err(error) = written {
                self.say(&format!("the report cannot be written: {error}"));
            }
        }
    }

    fn moved(&self, count: u64) {
        self.bar.inc(count);
        self.bar.set_message(format!("{:.1}/s, {} failed", self.rate(), self.failed.load(Ordering::Relaxed)));
    }

    fn done(&self) -> u64 {
        [&self.added, &self.present, &self.failed].iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    fn rate(&self) -> f64 {
        self.done() as f64 / self.started.elapsed().as_secs_f64().max(0.001)
    }

    /// A line beside the bar.
    #[expect(clippy::print_stderr, reason = "progress is what standard error is for here")]
    pub(super) fn say(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }

    /// A line of progress, where no bar is drawn.
    pub(super) fn line(&self) {
        if !self.bar.is_hidden() {
            return;
        }
        let (done, total, rate) = (self.done(), self.total.load(Ordering::Relaxed), self.rate());
        let of = if total == 0 { String::new() } else { format!(" of {total}") };
        let left = if total > done && rate > 0.0 {
            format!(", {:.0} s left", (total - done) as f64 / rate)
        } else {
            String::new()
        };
        self.say(&format!("{done}{of} done, {rate:.1}/s, {} failed{left}", self.failed.load(Ordering::Relaxed)));
    }

    /// Ends bar and report; what came of it in one line, and how many failed.
    pub(super) fn finish(&self) -> Result<(String, u64)> {
        self.bar.finish_and_clear();
        if let Some(report) = &self.report {
            let flushed = report.lock().unwrap_or_else(PoisonError::into_inner).flush();
            flushed.map_err(|error| Error::unavailable(format!("the report cannot be written: {error}")))?;
        }
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let failed = count(&self.failed);
        let text = format!(
            "{} added, {} there already, {failed} failed in {:.1} s ({:.1}/s)",
            count(&self.added),
            count(&self.present),
            self.started.elapsed().as_secs_f64(),
            self.rate()
        );
        Ok((text, failed))
    }
}
