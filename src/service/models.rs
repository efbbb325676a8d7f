//! What there is to serve, and whether it can be.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::Service;
use crate::{
    domain::ModelName,
    error::{Error, ErrorKind, Result},
    model::{Declared, Model, ModelEntry, ModelState},
};

/// How long a request waits for a model that is being loaded: a server that has just started is not a broken one.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// How often index and store are asked whether they answer.
const PROBE_EVERY: Duration = Duration::from_secs(2);

/// A model of the repository, whatever became of it.
#[derive(Clone)]
pub struct ModelSummary {
    pub name: String,
    pub required: bool,
    /// `loading`, `ready` or `failed`.
    pub state: &'static str,
    /// Why it failed.
    pub reasons: Vec<String>,
    /// What its files tell; none where its manifest cannot be read.
    pub declared: Option<Arc<Declared>>,
    pub ready: Option<Arc<Model>>,
}

impl From<ModelEntry> for ModelSummary {
    fn from(entry: ModelEntry) -> Self {
        let (state, reasons, ready) = match entry.state {
            ModelState::Loading => ("loading", Vec::new(), None),
            ModelState::Ready(model) => ("ready", Vec::new(), Some(model)),
            ModelState::Failed(reasons) => ("failed", reasons, None),
        };
        Self { name: entry.name, required: entry.required, state, reasons, declared: entry.declared, ready }
    }
}

impl Service {
    /// Every model by name, failed ones included.
    #[must_use]
    pub fn models(&self) -> Vec<ModelSummary> {
        self.models.list().into_iter().map(ModelSummary::from).collect()
    }

    /// One model, or `model_not_found`.
    pub fn model(&self, name: &ModelName) -> Result<ModelSummary> {
        let entry = self.models.list().into_iter().find(|entry| entry.name == name.as_str());
        entry
            .map(ModelSummary::from)
            .ok_or_else(|| Error::new(ErrorKind::ModelNotFound, format!("there is no model {name}")))
    }

    /// The model of that name. One that is just being loaded is waited for, a moment and not beyond the deadline.
    pub(super) async fn loaded(&self, name: &ModelName, deadline: Instant) -> Result<Arc<Model>> {
        self.models.loaded(name, deadline.min(Instant::now() + PATIENCE)).await
    }

    /// Whether requests can be served now; every reason why not. It waits for nothing: models, index and store publish
    /// their states.
    ///
    /// # Errors
    /// The reasons.
    pub fn readiness(&self) -> Result<(), Vec<String>> {
        let mut reasons = self.models.readiness().err().unwrap_or_default();
        if let Err(reason) = self.index.readiness() {
            reasons.push(format!("the index is not ready: {reason}"));
        }
        reasons.extend(self.store.readiness().err());
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    /// Asks index and store again and again whether they answer, for [`readiness`](Self::readiness) to tell. Ends never.
    pub async fn watch_readiness(&self) {
        let mut was_ready = (true, true);
        loop {
            let (index, store) = tokio::join!(self.index.probe(), self.store.probe());
            for (what, outcome, was_ready) in
                [("index", &index, &mut was_ready.0), ("image store", &store, &mut was_ready.1)]
            {
                if let Some(error) = outcome.as_ref().err().filter(|_| *was_ready) {
                    tracing::warn!(what, cause = error.chain(), "what the server stands on is not ready");
                }
                *was_ready = outcome.is_ok();
            }
            tokio::time::sleep(PROBE_EVERY).await;
        }
    }
}
