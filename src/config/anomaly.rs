//! The section of calibrations and verdicts.

use super::section::section;

section! {
    /// Calibrations, and the verdicts by them.
    pub struct Anomaly in "anomaly" {
        /// Images of one calibration.
        calibration_images: usize = 20_000,
        /// Milliseconds that a request which calibrates may take, unless the caller's `X-Request-Timeout-Ms` is shorter.
        calibration_ms: u64 = 600_000,
        /// The streams that requests may name, beside `default`, each watched for drift by itself; separated by commas.
        streams: String = String::new(),
        /// How rarely a stream without drift may raise the alarm of the drift, over all time.
        drift_delta: f64 = 0.001,
    }
}

impl Anomaly {
    /// The labels of streams that requests may name.
    #[must_use]
    pub fn streams(&self) -> Vec<String> {
        self.streams.split(',').map(str::trim).filter(|label| !label.is_empty()).map(str::to_owned).collect()
    }

    /// Contradictions and values out of range.
    pub(super) fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if self.streams().iter().any(|label| label.len() > 64 || !label.bytes().all(plain)) {
            found.push("anomaly.streams are labels of 1 to 64 letters, digits, '.', '-' and '_'".into());
        }
        if !(self.drift_delta > 0.0 && self.drift_delta < 1.0) {
            found.push("anomaly.drift_delta must be above 0 and below 1".into());
        }
        found
    }
}
