//! How the searches of a collection are answered, in words.

use super::GraphOptions;

/// How the searches of a collection are answered, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// Scanned, because that is enough or because maintenance has not come by yet.
    Scan,
    /// Scanned while the graph is built.
    Building { percent: u64 },
    /// Scanned, because the graph could not be built.
    Failed { reason: String },
    Graph {
        pending: u64,
        /// How far a new graph is.
        rebuilding: Option<u64>,
        /// Candidates that a search keeps.
        expansion: usize,
    },
}

impl Form {
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Graph { .. } => "graph",
            _ => "scan",
        }
    }

    pub(crate) fn reason(&self, count: u64, options: &GraphOptions) -> String {
        let most = options.scan_items;
        let above = if options.wants_graph(count) {
            format!("count {count} is above index.scan_items {most}")
        } else if options.keeps_graph(count) {
            format!("count {count} is less than a fifth below index.scan_items {most}")
        } else {
            format!("count {count} is not above index.scan_items {most}")
        };
        match self {
            Self::Scan if options.wants_graph(count) => format!("the graph is about to be built: {above}"),
            Self::Scan => format!("count {count} is not above index.scan_items {most}"),
            Self::Building { percent } => format!("the graph is being built: {percent} % done"),
            Self::Failed { reason } => format!("the graph could not be built and is tried again: {reason}"),
            Self::Graph { pending, rebuilding, expansion } => {
                let renewal =
                    rebuilding.map(|percent| format!("; for many have changed, a new one is built: {percent} % done"));
                let scanned = (*pending > 0).then(|| format!("; {pending} items are pending and scanned beside it"));
                let expanded = (*expansion > options.expansion_search)
                    .then(|| format!("; searches keep {expansion} candidates for a recall of {}", options.recall));
                [Some(above), expanded, renewal, scanned].into_iter().flatten().collect()
            }
        }
    }
}
