//! Whether what is judged drifts away from its calibration, stream by stream.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::CalibrationKey;
use crate::{
    anomaly::{calibration::Calibration, martingale::DriftWatch},
    config,
    error::{Error, Result},
    telemetry::{Metrics, metrics::StreamLabels},
};

/// The stream of requests that name none.
const DEFAULT_STREAM: &str = "default";

/// The drift of one stream.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamDrift {
    pub stream: String,
    /// Images since the calibration was made or the server began.
    pub count: u64,
    /// ln M of the test martingale.
    pub log_martingale: f64,
    /// Whether M has ever reached 1/δ.
    pub alarm: bool,
}

/// The streams that are watched, each from its first image on.
pub(super) struct Watched {
    /// The labels of streams that requests may name.
    labels: Vec<String>,
    delta: f64,
    watches: Mutex<BTreeMap<(CalibrationKey, String), Watch>>,
    metrics: Arc<Metrics>,
}

struct Watch {
    /// When the calibration was made, and its version.
    made: (u64, u32),
    drift: DriftWatch,
}

impl Watched {
    pub(super) fn new(settings: &config::Anomaly, metrics: Arc<Metrics>) -> Self {
        let mut labels = settings.streams();
        labels.push(DEFAULT_STREAM.to_owned());
        Self { labels, delta: settings.drift_delta, watches: Mutex::default(), metrics }
    }

    /// The label of the stream that a request is about.
    ///
    /// # Errors
    /// `invalid_request` for a label that the configuration does not name: labels of metrics are a closed set.
    pub(super) fn label(&self, named: Option<String>) -> Result<String> {
        let label = named.unwrap_or_else(|| DEFAULT_STREAM.to_owned());
        if self.labels.contains(&label) {
            return Ok(label);
        }
        let known = self.labels.join(", ");
        Err(Error::invalid_request(format!("stream {label:?} is not one of {known}; anomaly.streams lists them")))
    }

    /// Takes scores of a stream in their order, whatever their verdicts. A newer calibration begins a new watch; an older
    /// version, which a request may name, does not end the watch of the newer one.
    pub(super) fn observe(&self, key: &CalibrationKey, stream: &str, calibration: &Calibration, scores: &[f64]) {
        let made = (calibration.document.created_unix, calibration.document.version);
        let begin = || Watch { made, drift: DriftWatch::new(calibration.reference(), u64::from(made.1)) };
        let mut watches = self.watches();
        let watch = watches.entry((key.clone(), stream.to_owned())).or_insert_with(begin);
        if watch.made > made {
            return;
        }
        if watch.made < made {
            *watch = begin();
        }
        scores.iter().for_each(|score| watch.drift.observe(*score));
        let martingale = watch.drift.martingale();
        let (log, alarm) = (martingale.log(), martingale.has_alarmed(self.delta));
        drop(watches);
        let labels = labels(key, stream);
        self.metrics.drift.get_or_create(&labels).set(log);
        self.metrics.drift_alarm.get_or_create(&labels).set(i64::from(alarm));
    }

    /// The streams that were judged by a calibration.
    pub(super) fn of(&self, key: &CalibrationKey) -> Vec<StreamDrift> {
        let watches = self.watches();
        let of_key = watches.iter().filter(|((watched, _), _)| watched == key);
        let drift = |((_, stream), watch): (&(CalibrationKey, String), &Watch)| {
            let martingale = watch.drift.martingale();
            StreamDrift {
                stream: stream.clone(),
                count: martingale.count(),
                log_martingale: martingale.log(),
                alarm: martingale.has_alarmed(self.delta),
            }
        };
        of_key.map(drift).collect()
    }

    /// Drops what is known of a calibration that was deleted, and what the metrics say of it.
    pub(super) fn forget(&self, key: &CalibrationKey) {
        self.watches().retain(|(watched, _), _| watched != key);
        self.metrics.forget_streams(self.labels.iter().map(|stream| labels(key, stream)));
    }

    fn watches(&self) -> MutexGuard<'_, BTreeMap<(CalibrationKey, String), Watch>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn labels(key: &CalibrationKey, stream: &str) -> StreamLabels {
    StreamLabels { model: key.model.to_string(), calibration: key.name.to_string(), stream: stream.to_owned() }
}
