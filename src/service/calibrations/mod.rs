//! Calibrations: the scores of images known to be normal, and verdicts by them.
//!
//! | file | idea |
//! | --- | --- |
//! | `known` | the calibrations in the store, those in use kept in memory |
//! | `normals` | many images scored in portions, for a calibration |
//! | `make` | making, extending, describing, moving and deleting calibrations |
//! | `judge` | scores of a request, judged by a calibration |
//! | `tell` | what the webhook is told of verdicts |
//! | `watch` | whether what is judged drifts away from the calibration |

mod judge;
mod known;
mod make;
mod normals;
mod tell;
mod watch;

pub use judge::{AnomalyRequest, Assessed, Assessment, JudgeRequest, JudgedBy, Ties};
pub use make::{CalibrateRequest, CalibrationState, Made};
pub use normals::Normals;
pub use watch::StreamDrift;

pub(super) use known::{Calibrations, CalibrationsParts};

use crate::{
    domain::{CalibrationName, ModelName},
    error::{Error, ErrorKind},
};

/// What a calibration is looked up by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct CalibrationKey {
    model: ModelName,
    name: CalibrationName,
}

impl CalibrationKey {
    fn not_found(&self) -> Error {
        let text = format!("the model {} has no calibration {}", self.model, self.name);
        Error::new(ErrorKind::CalibrationNotFound, text)
    }
}
