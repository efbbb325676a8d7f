//! A model that serves.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    declared::Declared,
    family::{Capability, GraphRole},
    graph::Graph,
    head::EmbeddingHead,
    manifest::Manifest,
    masking::Masking,
    memory::PatchMemory,
    space,
};
use crate::{
    batch::{BatchSearch, GraphQueue, Workers},
    domain::{Device, ModelName, SpaceKey},
    error::{Error, ErrorKind, Result},
    image::Preprocessor,
};

/// A loaded model: what its manifest says, resolved, and its graphs, ready to run.
///
/// Dropping the last handle lets the admitted items be answered and ends the threads, on a thread of its own, so that
/// it may be dropped anywhere.
pub struct Model {
    pub(super) name: ModelName,
    pub(super) declared: Arc<Declared>,
    pub(super) space_key: SpaceKey,
    pub(super) graph_hashes: BTreeMap<GraphRole, blake3::Hash>,
    pub(super) preprocessor: Preprocessor,
    pub(super) graphs: BTreeMap<GraphRole, Graph>,
    pub(super) embedding: Option<EmbeddingHead>,
    pub(super) latent: Option<Vec<usize>>,
    pub(super) masking: Option<Masking>,
    pub(super) memory: Option<Arc<PatchMemory>>,
    pub(super) device: Device,
    pub(super) workers: Mutex<Vec<Workers>>,
    /// The searches for the best batch of its graphs, until the repository has them made.
    pub(super) searches: Mutex<Vec<(GraphQueue, BatchSearch)>>,
}

impl Model {
    #[must_use]
    pub const fn name(&self) -> &ModelName {
        &self.name
    }

    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.declared.manifest
    }

    /// Of its vectors; for a model that gives images only, of what it sees.
    #[must_use]
    pub const fn space_key(&self) -> &SpaceKey {
        &self.space_key
    }

    /// The key of the scores that these graphs of the model make, with everything else that a score is made of as text: two
    /// scores compare only where their keys are equal.
    #[must_use]
    pub fn score_key(&self, graphs: &[GraphRole], rest: &str) -> String {
        let hashes = self.graph_hashes.iter().filter(|(role, _)| graphs.contains(role));
        let hashes: Vec<(GraphRole, blake3::Hash)> = hashes.map(|(role, hash)| (*role, *hash)).collect();
        space::score_key(self.name.as_str(), self.manifest(), &hashes, rest)
    }

    /// The hashes (BLAKE3) of the image files that the model was trained on; none where its folder lists none.
    #[must_use]
    pub fn trained_on(&self) -> Option<&HashSet<blake3::Hash>> {
        self.declared.trained_on.as_ref()
    }

    #[must_use]
    pub const fn preprocessor(&self) -> &Preprocessor {
        &self.preprocessor
    }

    /// What the model can do by its family and graphs.
    #[must_use]
    pub fn capabilities(&self) -> &[Capability] {
        &self.declared.capabilities
    }

    /// # Errors
    /// `capability_not_supported`, with what the model can do.
    pub fn require(&self, capability: Capability) -> Result<()> {
        if self.declared.capabilities.contains(&capability) {
            return Ok(());
        }
        let can: Vec<&str> = self.declared.capabilities.iter().map(|one| one.as_str()).collect();
        let text = format!("model {} does not {capability}; it can {}", self.name, can.join(", "));
        Err(Error::new(ErrorKind::CapabilityNotSupported, text))
    }

    #[must_use]
    pub fn graph(&self, role: GraphRole) -> Option<&Graph> {
        self.graphs.get(&role)
    }

    /// How its vectors are made; none for a model without an encoder.
    #[must_use]
    pub const fn embedding(&self) -> Option<&EmbeddingHead> {
        self.embedding.as_ref()
    }

    /// The shape of what its decoder takes, without the batch axis; none for a model without encoder and decoder.
    #[must_use]
    pub fn latent_shape(&self) -> Option<&[usize]> {
        self.latent.as_deref()
    }

    /// How images are hidden from it; none unless it is a masked autoencoder.
    #[must_use]
    pub const fn masking(&self) -> Option<&Masking> {
        self.masking.as_ref()
    }

    /// The normal patches that it compares with; none unless it has a memory.
    #[must_use]
    pub const fn memory(&self) -> Option<&Arc<PatchMemory>> {
        self.memory.as_ref()
    }

    /// Where its graphs run; the CPU as soon as one of them does.
    #[must_use]
    pub const fn device(&self) -> Device {
        self.device
    }

    /// The execution provider of that device, by ONNX Runtime's name.
    #[must_use]
    pub const fn provider(&self) -> &'static str {
        match self.device {
            Device::Cuda(_) => "CUDAExecutionProvider",
            Device::Cpu | Device::Auto => "CPUExecutionProvider",
        }
    }

    /// Items in one run of any of its graphs, at most.
    #[must_use]
    pub fn max_batch(&self) -> usize {
        self.graphs.values().map(Graph::max_batch).min().unwrap_or(1)
    }

    /// Admits nothing more, computes what was admitted and waits for it: blocks.
    pub(super) fn stop(&self) {
        for graph in self.graphs.values() {
            graph.queue.close();
        }
        drop(self.take_workers());
    }

    /// The graphs whose batch is to be measured; the next call gives none.
    pub(super) fn take_searches(&self) -> Vec<(GraphQueue, BatchSearch)> {
        std::mem::take(&mut *self.searches.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take_workers(&self) -> Vec<Workers> {
        std::mem::take(&mut *self.workers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        for graph in self.graphs.values() {
            graph.queue.close();
        }
        let workers = self.take_workers();
        if workers.is_empty() {
            return;
        }
        let thread = std::thread::Builder::new().name(format!("unload {}", self.name)).spawn(move || drop(workers));
        if let Err(error) = thread {
            // the workers went with the closure that was not run: they have been waited for here
            tracing::warn!(model = %self.name, %error, "a model was unloaded without a thread of its own");
        }
    }
}
