//! What the webhook is told of verdicts.

use serde::Serialize;

use super::judge::{Assessed, Judge};
use crate::{
    anomaly::{ScoreMetric, calibration::Verdict},
    image::Encoded,
    service::Service,
};

/// A verdict other than `ok`, as the webhook tells it.
#[derive(Debug, Serialize)]
struct VerdictEvent<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    model: &'a str,
    calibration: &'a str,
    version: u32,
    stream: &'a str,
    /// The image's place in its request.
    index: usize,
    /// The BLAKE3 of the image's file, by which collections name it too.
    image: String,
    metric: ScoreMetric,
    score: f64,
    p_value: f64,
    threshold: f64,
    verdict: Verdict,
    false_positive_rate: f64,
}

impl Service {
    /// Tells the webhook of every verdict other than `ok`.
    pub(super) async fn tell(&self, judge: &Judge, good: &[(usize, Assessed)], files: &[Option<Encoded>]) {
        let Some(webhook) = &self.webhook else { return };
        for (index, Assessed { scored, metric, judgement }) in good {
            let Some(judgement) = judgement.filter(|judgement| judgement.verdict != Verdict::Ok) else { continue };
            let Some(file) = files.get(*index).cloned().flatten() else { continue };
            let image = if file.hashes_quickly() {
                file.hash().to_hex().to_string()
            } else {
                let hashed = self.compute(move || file.hash().to_hex().to_string()).await;
                // Only a server that stops hashes nothing any more.
                let Ok(hash) = hashed else { return };
                hash
            };
            webhook.send(&VerdictEvent {
                kind: "anomaly.verdict",
                model: judge.key.model.as_str(),
                calibration: judge.key.name.as_str(),
                version: judge.calibration.document.version,
                stream: &judge.stream,
                index: *index,
                image,
                metric: *metric,
                score: scored.score,
                p_value: judgement.p_value,
                threshold: judgement.threshold,
                verdict: judgement.verdict,
                false_positive_rate: judge.rates.false_positive_rate,
            });
        }
    }
}
