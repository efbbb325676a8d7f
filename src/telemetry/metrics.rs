//! Every metric of latentd. Names appear here and nowhere else; the rooms hold typed handles.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, text::encode},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::Histogram,
    },
    registry::{Registry, Unit},
};

type Count = Counter<u64, AtomicU64>;
type Level = Gauge<i64, AtomicI64>;
type Figure = Gauge<f64, AtomicU64>;

/// Makes histograms of one family; a type, since a family needs to name its constructor.
#[derive(Debug, Clone, Copy)]
pub struct Buckets(&'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

/// Reads the count of dropped log lines when the metrics are rendered.
#[derive(Debug)]
struct DroppedLogLines;

impl Collector for DroppedLogLines {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let help = "Lines of the log that were dropped because standard error did not take them";
        let metric = encoder.encode_descriptor("log_lines_dropped", help, None, MetricType::Counter)?;
        ConstCounter::new(super::logging::dropped_lines()).encode(metric)
    }
}

type Histograms<L> = Family<L, Histogram, Buckets>;

/// 100 µs to 30 s.
const SECONDS: Buckets = Buckets(&[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
]);
/// 10 ms to 3 hours.
const LONG_SECONDS: Buckets = Buckets(&[0.01, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 10_800.0]);
/// 0.0001 to 1,000, three a decade: scores are of any magnitude.
const MAGNITUDES: Buckets = Buckets(&[
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0,
    100.0, 200.0, 500.0, 1000.0,
]);
const SIZES: Buckets = Buckets(&[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0]);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    pub route: String,
    pub method: String,
    pub status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StageLabels {
    pub stage: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct GraphLabels {
    pub model: String,
    pub graph: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RejectLabels {
    /// Empty where no model is concerned.
    pub model: String,
    /// The kind of work: `graph`, `decode`, `index_read`, `index_write`, `background`.
    pub work: &'static str,
    pub reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CodeLabels {
    pub code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ModelLabels {
    pub model: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ModelInfoLabels {
    pub model: String,
    pub family: String,
    pub space_key: String,
    pub device: String,
    pub provider: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CollectionLabels {
    pub collection: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PlanLabels {
    pub collection: String,
    pub plan: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ScoreLabels {
    pub model: String,
    pub metric: &'static str,
}

/// A calibration and a stream of images that are judged by it; the labels of streams are a closed set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StreamLabels {
    pub model: String,
    pub calibration: String,
    pub stream: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct VerdictLabels {
    pub model: String,
    pub calibration: String,
    pub stream: String,
    pub verdict: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabels {
    pub outcome: &'static str,
}

/// What is known of the health of a collection's vectors.
#[derive(Debug, Clone, Copy, Default)]
pub struct HealthFigures {
    pub norm_mean: Option<f64>,
    pub norm_std: Option<f64>,
    pub effective_rank: Option<f64>,
    pub active_units: Option<f64>,
    pub nearest_score: Option<f64>,
    pub query_drift: Option<f64>,
}

/// The registry and a handle to each metric in it.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub requests: Family<RequestLabels, Count>,
    pub request_seconds: Histograms<RequestLabels>,
    pub stage_seconds: Histograms<StageLabels>,
    pub queue_seconds: Histograms<GraphLabels>,
    pub run_seconds: Histograms<GraphLabels>,
    pub batch_size: Histograms<GraphLabels>,
    pub max_batch: Family<GraphLabels, Level>,
    pub queue_depth: Family<GraphLabels, Level>,
    pub rejected: Family<RejectLabels, Count>,
    pub dropped: Family<RejectLabels, Count>,
    pub item_errors: Family<CodeLabels, Count>,
    pub cache_hits: Family<ModelLabels, Count>,
    pub cache_misses: Family<ModelLabels, Count>,
    pub cache_bytes: Level,
    pub body_bytes_in_flight: Level,
    pub decoded_bytes_in_flight: Level,
    pub model_ready: Family<ModelLabels, Level>,
    pub model_info: Family<ModelInfoLabels, Level>,
    pub device_fallback: Family<ModelLabels, Level>,
    pub index_reads: Level,
    pub index_writes: Level,
    pub background_jobs: Level,
    store_pending_deletions: Level,
    pub index_vectors: Family<CollectionLabels, Level>,
    pub index_search_seconds: Histograms<CollectionLabels>,
    index_searches: Family<PlanLabels, Count>,
    index_graph_recall: Family<CollectionLabels, Figure>,
    index_graph_expansion: Family<CollectionLabels, Level>,
    index_graph_pending: Family<CollectionLabels, Level>,
    index_graph_build_seconds: Histograms<CollectionLabels>,
    index_graph_save_seconds: Histograms<CollectionLabels>,
    pub norm_mean: Family<CollectionLabels, Figure>,
    pub norm_std: Family<CollectionLabels, Figure>,
    pub effective_rank: Family<CollectionLabels, Figure>,
    pub active_units: Family<CollectionLabels, Figure>,
    pub nearest_score: Family<CollectionLabels, Figure>,
    pub query_drift: Family<CollectionLabels, Figure>,
    pub anomaly_scores: Histograms<ScoreLabels>,
    pub verdicts: Family<VerdictLabels, Count>,
    pub drift: Family<StreamLabels, Figure>,
    pub drift_alarm: Family<StreamLabels, Level>,
    pub webhook_events: Family<OutcomeLabels, Count>,
    pub webhook_queue: Level,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("latentd");
        registry.register_collector(Box::new(DroppedLogLines));
        let r = &mut registry;
        let build: Family<BuildLabels, Level> = family(r, "build_info", "1, with the version as a label");
        build.get_or_create(&BuildLabels { version: env!("CARGO_PKG_VERSION") }).set(1);
        Self {
            requests: family(r, "requests", "Requests answered, by route, method and status"),
            request_seconds: timing(r, "request_duration", "Time from the request's head to its answer"),
            stage_seconds: timing(r, "stage_duration", "Time of one stage of one image"),
            queue_seconds: timing(r, "queue_duration", "Time an item waited for its run"),
            run_seconds: timing(r, "run_duration", "Time of one run of a graph"),
            batch_size: {
                let sizes = Histograms::new_with_constructor(SIZES);
                r.register("batch_size", "Items in one run of a graph", sizes.clone());
                sizes
            },
            max_batch: family(r, "max_batch", "Items in one run of a graph, at most"),
            queue_depth: family(r, "queue_depth", "Items admitted and not yet finished"),
            rejected: family(r, "rejected", "Items refused before any work, by reason"),
            dropped: family(r, "dropped", "Admitted items dropped before their run, by reason"),
            item_errors: family(r, "item_errors", "Images that failed, by error code"),
            cache_hits: family(r, "cache_hits", "Images whose vector was there already"),
            cache_misses: family(r, "cache_misses", "Images whose vector was not there"),
            cache_bytes: gauge(r, "cache_bytes", "Bytes of vectors kept for images that come again"),
            body_bytes_in_flight: gauge(r, "body_bytes_in_flight", "Bytes of request bodies held"),
            decoded_bytes_in_flight: gauge(r, "decoded_bytes_in_flight", "Bytes of decoded images held"),
            model_ready: family(r, "model_ready", "1 for a model that serves, 0 for one that failed or loads"),
            model_info: family(r, "model_info", "1 for each model that serves, with what it is as labels"),
            device_fallback: family(r, "device_fallback", "1 for a model that device auto put on the CPU"),
            index_reads: gauge(r, "index_reads", "Reads of the index admitted and not yet finished"),
            index_writes: gauge(r, "index_writes", "Writes to the index admitted and not yet finished"),
            background_jobs: gauge(r, "background_jobs", "Jobs beside the requests that run or wait"),
            store_pending_deletions: gauge(
                r,
                "store_pending_deletions",
                "Stored images that are still to be deleted; items of dropped collections count until looked through",
            ),
            index_vectors: family(r, "index_vectors", "Vectors in a collection"),
            index_search_seconds: timing(r, "index_search", "Time of one search"),
            index_searches: family(r, "index_searches", "Searches, by the plan that answered them"),
            index_graph_recall: family(r, "index_graph_recall", "Share of the 10 nearest items that the graph finds"),
            index_graph_expansion: family(r, "index_graph_expansion", "Candidates that a search of the graph keeps"),
            index_graph_pending: family(r, "index_graph_pending", "Items that are scanned until the graph has them"),
            index_graph_build_seconds: long_timing(r, "index_graph_build", "Time from a graph's start to its service"),
            index_graph_save_seconds: long_timing(r, "index_graph_save", "Time to save a graph"),
            norm_mean: family(r, "collection_norm_mean", "Mean length of the stored vectors"),
            norm_std: family(r, "collection_norm_std", "Standard deviation of the lengths of the stored vectors"),
            effective_rank: family(r, "collection_effective_rank", "Effective rank of the stored vectors"),
            active_units: family(r, "collection_active_units", "Dimensions whose variance exceeds the threshold"),
            nearest_score: family(r, "collection_nearest_score", "Mean score of an item's nearest neighbour"),
            query_drift: family(r, "collection_query_drift", "How far recent queries lie from what is stored"),
            anomaly_scores: {
                let scores = Histograms::new_with_constructor(MAGNITUDES);
                r.register("anomaly_score", "Anomaly scores", scores.clone());
                scores
            },
            verdicts: family(r, "anomaly_verdicts", "Images judged by a calibration, by their verdict"),
            drift: family(r, "anomaly_drift_log", "Natural logarithm of the test martingale of a stream's scores"),
            webhook_events: family(r, "webhook_events", "Events of the webhook: delivered, failed or dropped"),
            webhook_queue: gauge(r, "webhook_queue", "Events of the webhook that wait for their delivery"),
            drift_alarm: family(r, "anomaly_drift_alarm", "1 for a stream whose martingale has reached its alarm"),
            registry,
        }
    }
}

impl Metrics {
    /// The exposition in the OpenMetrics text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        // writing to a string cannot fail; a broken encoder would show as an empty page, which the tests catch
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// How many vectors a collection has now.
    pub fn count_vectors(&self, collection: &str, count: u64) {
        let labels = CollectionLabels { collection: collection.to_owned() };
        self.index_vectors.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How many stored images are still to be deleted.
    pub fn count_pending_deletions(&self, count: u64) {
        self.store_pending_deletions.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Drops everything told about a collection, so that names that come and go do not pile up.
    pub fn forget_collection(&self, collection: &str) {
        let labels = CollectionLabels { collection: collection.to_owned() };
        self.index_vectors.remove(&labels);
        self.index_search_seconds.remove(&labels);
        self.health_families().into_iter().for_each(|family| {
            family.remove(&labels);
        });
        for plan in SEARCH_PLANS {
            self.index_searches.remove(&PlanLabels { collection: collection.to_owned(), plan });
        }
        self.index_graph_build_seconds.remove(&labels);
        self.index_graph_save_seconds.remove(&labels);
        self.forget_graph(collection);
    }

    /// Counts a search of a collection; `plan` is one of [`SEARCH_PLANS`].
    pub fn count_search(&self, collection: &str, plan: &'static str) {
        self.index_searches.get_or_create(&PlanLabels { collection: collection.to_owned(), plan }).inc();
    }

    /// What a sample of searches finds, and the candidates that searches keep for it.
    pub fn set_graph_recall(&self, collection: &str, recall: f64, expansion: usize) {
        self.index_graph_recall.get_or_create(&of(collection)).set(recall);
        self.index_graph_expansion.get_or_create(&of(collection)).set(i64::try_from(expansion).unwrap_or(i64::MAX));
    }

    pub fn set_graph_pending(&self, collection: &str, items: u64) {
        self.index_graph_pending.get_or_create(&of(collection)).set(i64::try_from(items).unwrap_or(i64::MAX));
    }

    pub fn observe_graph_build(&self, collection: &str, seconds: f64) {
        self.index_graph_build_seconds.get_or_create(&of(collection)).observe(seconds);
    }

    pub fn observe_graph_save(&self, collection: &str, seconds: f64) {
        self.index_graph_save_seconds.get_or_create(&of(collection)).observe(seconds);
    }

    /// Drops what is told about a graph that is no longer there.
    pub fn forget_graph(&self, collection: &str) {
        self.index_graph_recall.remove(&of(collection));
        self.index_graph_expansion.remove(&of(collection));
        self.index_graph_pending.remove(&of(collection));
    }

    fn health_families(&self) -> [&Family<CollectionLabels, Figure>; 6] {
        [
            &self.norm_mean,
            &self.norm_std,
            &self.effective_rank,
            &self.active_units,
            &self.nearest_score,
            &self.query_drift,
        ]
    }

    /// What is known now of a collection's vectors; what is not known is not told.
    pub fn observe_health(&self, collection: &str, figures: HealthFigures) {
        let HealthFigures { norm_mean, norm_std, effective_rank, active_units, nearest_score, query_drift } = figures;
        let labels = CollectionLabels { collection: collection.to_owned() };
        let figures = [norm_mean, norm_std, effective_rank, active_units, nearest_score, query_drift];
        for (family, figure) in self.health_families().into_iter().zip(figures) {
            match figure {
                Some(figure) => {
                    family.get_or_create(&labels).set(figure);
                }
                None => {
                    family.remove(&labels);
                }
            }
        }
    }

    /// Drops everything told about streams that were judged by a calibration.
    pub fn forget_streams(&self, streams: impl IntoIterator<Item = StreamLabels>) {
        for labels in streams {
            self.drift.remove(&labels);
            self.drift_alarm.remove(&labels);
            for verdict in VERDICTS {
                let StreamLabels { model, calibration, stream } = labels.clone();
                self.verdicts.remove(&VerdictLabels { model, calibration, stream, verdict });
            }
        }
    }

    pub fn observe_stage(&self, stage: &'static str, seconds: f64) {
        self.stage_seconds.get_or_create(&StageLabels { stage }).observe(seconds);
    }
}

/// What an image can be judged.
const VERDICTS: [&str; 3] = ["ok", "review", "anomalous"];

/// The ways in which a search can be answered.
pub const SEARCH_PLANS: [&str; 6] = ["exact", "scan", "filter_scan", "graph", "graph_then_scan", "qdrant"];

fn of(collection: &str) -> CollectionLabels {
    CollectionLabels { collection: collection.to_owned() }
}

fn long_timing<L>(registry: &mut Registry, name: &str, help: &str) -> Histograms<L>
where
    L: Clone + std::hash::Hash + Eq + EncodeLabelSet + std::fmt::Debug + Send + Sync + 'static,
{
    let histograms = Histograms::new_with_constructor(LONG_SECONDS);
    registry.register_with_unit(name, help, Unit::Seconds, histograms.clone());
    histograms
}

fn family<L, M>(registry: &mut Registry, name: &str, help: &str) -> Family<L, M>
where
    L: Clone + std::hash::Hash + Eq + EncodeLabelSet + std::fmt::Debug + Send + Sync + 'static,
    M: Default + prometheus_client::encoding::EncodeMetric + prometheus_client::metrics::TypedMetric,
    M: std::fmt::Debug + Send + Sync + 'static,
{
    let family = Family::<L, M>::default();
    registry.register(name, help, family.clone());
    family
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Level {
    let gauge = Level::default();
    registry.register(name, help, gauge.clone());
    gauge
}

fn timing<L>(registry: &mut Registry, name: &str, help: &str) -> Histograms<L>
where
    L: Clone + std::hash::Hash + Eq + EncodeLabelSet + std::fmt::Debug + Send + Sync + 'static,
{
    let histograms = Histograms::new_with_constructor(SECONDS);
    registry.register_with_unit(name, help, Unit::Seconds, histograms.clone());
    histograms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exposition_carries_units_and_the_prefix() {
        let metrics = Metrics::default();
        metrics.observe_stage("decode", 0.002);
        let text = metrics.render();
        assert!(text.contains("latentd_stage_duration_seconds_bucket{le=\"0.0025\",stage=\"decode\"} 1"), "{text}");
        assert!(text.contains("# TYPE latentd_body_bytes_in_flight gauge"));
        assert!(text.contains("latentd_log_lines_dropped_total 0"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
