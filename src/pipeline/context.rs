//! What every use case knows of the request it works for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// A stage of the work on a request, as `Server-Timing` and the stage metric name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Decode,
    Preprocess,
    Queue,
    Infer,
    Index,
}

impl Stage {
    pub const ALL: [Self; 5] = [Self::Decode, Self::Preprocess, Self::Queue, Self::Infer, Self::Index];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Preprocess => "preprocess",
            Self::Queue => "queue",
            Self::Infer => "infer",
            Self::Index => "index",
        }
    }
}

/// The deadline of a request and the time its stages took.
#[derive(Debug, Clone)]
pub struct Context {
    pub deadline: Instant,
    stages: Arc<[AtomicU64; Stage::ALL.len()]>,
}

impl Context {
    #[must_use]
    pub fn new(deadline: Instant) -> Self {
        Self { deadline, stages: Arc::default() }
    }

    /// Notes the time a stage took for one item. Items go side by side: a stage's time is that of its slowest item.
    pub fn note(&self, stage: Stage, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.stages[stage as usize].fetch_max(nanos, Ordering::Relaxed);
    }

    /// The stages that were entered, with the time of each one's slowest item.
    pub fn stages(&self) -> impl Iterator<Item = (Stage, Duration)> + '_ {
        let time = |stage: Stage| Duration::from_nanos(self.stages[stage as usize].load(Ordering::Relaxed));
        Stage::ALL.into_iter().map(move |stage| (stage, time(stage))).filter(|(_, took)| !took.is_zero())
    }
}
