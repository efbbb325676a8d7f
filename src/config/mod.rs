//! Configuration as plain data: defaults < `latentd.toml` < environment < flags, read once and checked once, with
//! every violation listed at once.

mod anomaly;
mod engine;
mod layers;
mod secret;
mod section;
mod table;
mod webhook;

pub use anomaly::Anomaly;
pub use engine::IndexEngine;
pub use layers::{Flags, Loaded, load};
pub use secret::Secret;
pub use section::Key;
pub(crate) use table::Section;
pub use webhook::Webhook;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{
    domain::Device,
    error::{Error, Result},
    telemetry::logging::LogFormat,
};
use section::section;

section! {
    /// Where the server listens and what it works on.
    pub struct General in "" {
        /// Address and port that the server listens on; port 0 takes a free one. Environment: `LATENTD_LISTEN`.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8080)),
        /// The model repository: a folder of model folders. Environment: `LATENTD_MODELS`.
        models: String = "models".to_owned(),
        /// The data folder: index and stored images. Environment: `LATENTD_DATA`.
        data: String = "data".to_owned(),
        /// The ONNX Runtime library; empty: look in the usual places. Environment: `LATENTD_ONNXRUNTIME`.
        onnxruntime: String = String::new(),
    }
}

section! {
    /// What one request, and all of them together, may take. Advertised in `/v1/models`.
    pub struct Limits in "limits" {
        /// Bytes of one request's body.
        body_bytes: u64 = 32 << 20,
        /// Bytes of all bodies held at a time; more is `overloaded`.
        bodies_in_flight_bytes: u64 = 256 << 20,
        /// Images in one request, and images that one request asks for.
        images: usize = 64,
        /// Items and queries of one request that are vectors or ids.
        vectors: usize = 1000,
        /// Pixels of one image, told from its header before it is decoded.
        image_pixels: u64 = 50_000_000,
        /// Bytes of all decoded images held at a time; decoding waits for them, and an image that takes more is decoded alone.
        decoded_in_flight_bytes: u64 = 512 << 20,
        /// Items admitted to one model's graph and not yet finished; more are `overloaded`.
        queue_items: usize = 256,
        /// Reads of the index admitted and not yet finished; more are `overloaded`, and so is a read that could not be done
        /// before its deadline.
        index_reads: usize = 4096,
        /// Writes to the index admitted and not yet finished; more are `overloaded`, and so is a write whose turn could not
        /// come before its deadline.
        index_writes: usize = 1024,
        /// Computations of one kind beside the requests (duplicates, maps, health) that run or wait; more are `overloaded`.
        background_jobs: usize = 2,
        /// Milliseconds a request may take, unless the caller's `X-Request-Timeout-Ms` is shorter.
        deadline_ms: u64 = 30_000,
        /// Bytes of one item's metadata as JSON.
        metadata_bytes: usize = 64 << 10,
    }
}

/// What the cores are planned for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    #[default]
    Throughput,
    Latency,
}

impl Runtime {
    /// Sessions of each graph and threads inside one run, on so many cores.
    #[must_use]
    pub fn plan(&self, cores: usize) -> (usize, usize) {
        let planned = |count: usize, otherwise: usize| if count == 0 { otherwise.max(1) } else { count };
        match self.profile {
            Profile::Throughput => {
                let threads = planned(self.threads, 1);
                (planned(self.sessions, cores / threads), threads)
            }
            Profile::Latency => {
                let sessions = planned(self.sessions, 1);
                (sessions, planned(self.threads, cores / sessions))
            }
        }
    }
}

section! {
    /// How graphs run; a model's manifest may say otherwise for itself.
    pub struct Runtime in "runtime" {
        /// `cpu`, `cuda`, `cuda:N` or `auto`. Only `auto` may fall back to the CPU; else a missing device is an error.
        device: Device = Device::Cpu,
        /// What `sessions` and `threads` are planned for: `throughput` (as many sessions as cores, of one thread each) or
        /// `latency` (one session that spreads a run over all cores).
        profile: Profile = Profile::Throughput,
        /// Sessions of each graph, each with a thread of its own; 0: by the profile, on CUDA one. The first is opened with
        /// the model, the others when an item comes while all that are open are busy.
        sessions: usize = 0,
        /// Threads inside one run; 0: by the profile. Sessions × threads in use never exceed the cores.
        threads: usize = 0,
        /// Items in one run; 0: for each graph the smallest batch that is within 3 % of the best throughput, measured
        /// for a second while the graph is idle.
        max_batch: usize = 0,
        /// Milliseconds after which a run is ended.
        run_limit_ms: u64 = 60_000,
        /// Threads that decode and prepare images; 0: one a core.
        decode_threads: usize = 0,
        /// Bytes of a CUDA device's memory that one session may take for its tensors; 0: as many as there are.
        cuda_memory_bytes: usize = 0,
        /// Whether CUDA may round the factors of products to TF32: faster, with three digits instead of seven.
        cuda_tf32: bool = false,
    }
}

section! {
    /// Vectors of images that come again, byte for byte, are not computed again.
    pub struct Cache in "cache" {
        /// Bytes of vectors kept, the least recently used going first; 0: none.
        bytes: u64 = 0,
    }
}

section! {
    /// How the server stops.
    pub struct Server in "server" {
        /// Milliseconds that a stopping server gives to what it has admitted.
        shutdown_grace_ms: u64 = 30_000,
    }
}

section! {
    /// The page for people at `/`.
    pub struct Ui in "ui" {
        /// Whether browsers get the Explorer at `/`; without it, `/` leads everybody to `/docs/`.
        enabled: bool = true,
    }
}

section! {
    /// The latent index.
    pub struct Index in "index" {
        /// `embedded`: in this process, under `data`. `qdrant`: in the cluster that the section `qdrant` names.
        engine: IndexEngine = IndexEngine::Embedded,
        /// Bytes of database pages kept in memory, beside the codes of the vectors.
        cache_bytes: usize = 256 << 20,
        /// Reads that run at once; 0: one a core.
        read_threads: usize = 0,
        /// Items up to which a collection is scanned; above, a graph is built in the background and answers.
        scan_items: u64 = 200_000,
        /// Filters that at most so many items pass are answered by a scan of those items.
        filter_scan_items: u64 = 20_000,
        /// Neighbours of a node of the graph, and twice as many in its lowest layer. Another value builds it anew.
        graph_connectivity: usize = 16,
        /// Candidates kept while a node is added to the graph. Another value builds it anew.
        graph_expansion_add: usize = 100,
        /// Candidates kept while the graph is searched, at least: more find more and take longer.
        graph_expansion_search: usize = 64,
        /// The share of the nearest items that a search of the graph is to find, at most 1. Where a sample of searches finds
        /// less, searches keep more candidates, up to 8 times `graph_expansion_search`; 0: never more.
        graph_recall: f64 = 0.99,
        /// Writes after which the graph is saved.
        graph_save_operations: u64 = 5_000,
        /// Seconds after which the graph is saved if anything has changed.
        graph_save_seconds: u64 = 30,
        /// Per cent of the graph's nodes that may be out of date before it is built anew.
        graph_rebuild_percent: u64 = 25,
        /// Seconds between two looks at the health of every collection, for the metrics; 0: only when asked.
        health_every_s: u64 = 300,
    }
}

section! {
    /// The Qdrant that holds the index where `index.engine` is `qdrant`.
    pub struct Qdrant in "qdrant" {
        /// Addresses of its nodes' gRPC ports, separated by commas; whoever of them answers is asked.
        url: String = "http://127.0.0.1:6334".to_owned(),
        /// The key that the nodes ask for, better given by the environment than in a file; empty: none.
        api_key: Secret = Secret::default(),
        /// What the names of its collections begin with; those of another prefix are not touched.
        prefix: String = "latentd".to_owned(),
        /// Shards of a new collection; 0: as Qdrant decides, which is one for each node.
        shard_number: u32 = 0,
        /// Copies of each shard of a new collection.
        replication_factor: u32 = 1,
        /// Copies that have to take a write. The others are told as well, and one that fails serves no more until it has caught up.
        write_consistency_factor: u32 = 1,
        /// Milliseconds that connecting to a node may take.
        connect_timeout_ms: u64 = 2_000,
        /// Milliseconds that a node has for each answer.
        request_timeout_ms: u64 = 10_000,
        /// How often a request that failed is made again, of another node if there is one.
        retries: u32 = 3,
        /// Milliseconds for which a node that failed is asked only if no other answers.
        put_aside_ms: u64 = 5_000,
    }
}

section! {
    /// Where stored images lie.
    pub struct Store in "store" {
        /// Empty: the folder `images` under `data`. Else `s3://BUCKET/PREFIX`, in S3 or a store that speaks its language.
        url: String = String::new(),
        /// The address of such a store, as `https://minio.example.org:9000`; empty: S3 itself.
        endpoint: String = String::new(),
        /// The region of the bucket; empty: `AWS_REGION`, else us-east-1.
        region: String = String::new(),
        /// Who asks; empty: `AWS_ACCESS_KEY_ID`, else the role of the machine.
        access_key_id: String = String::new(),
        /// Its secret, better given by the environment than in a file; empty: `AWS_SECRET_ACCESS_KEY`.
        secret_access_key: Secret = Secret::default(),
        /// Lets the endpoint be an `http://` one, which anybody on the way can read.
        allow_http: bool = false,
    }
}

section! {
    /// The log, on standard error.
    pub struct Log in "log" {
        /// A filter: `error`, `warn`, `info`, `debug`, `trace`, or by target as `info,latentd::batch=debug`.
        level: String = "info".to_owned(),
        /// `text` or `json`.
        format: LogFormat = LogFormat::Text,
    }
}

/// The whole configuration.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    pub general: General,
    pub limits: Limits,
    pub runtime: Runtime,
    pub cache: Cache,
    pub server: Server,
    pub ui: Ui,
    pub index: Index,
    pub qdrant: Qdrant,
    pub store: Store,
    pub anomaly: Anomaly,
    pub webhook: Webhook,
    pub log: Log,
}

impl Config {
    /// Every key there is, for the reference and for the check of unknown ones.
    #[must_use]
    pub fn keys() -> Vec<Key> {
        [
            General::keys(),
            Limits::keys(),
            Runtime::keys(),
            Cache::keys(),
            Server::keys(),
            Ui::keys(),
            Index::keys(),
            Qdrant::keys(),
            Store::keys(),
            Anomaly::keys(),
            Webhook::keys(),
            Log::keys(),
        ]
        .concat()
    }

    /// Contradictions and values out of range.
    fn violations(&self) -> Vec<String> {
        let limits = &self.limits;
        let positive = [
            ("limits.body_bytes", limits.body_bytes),
            ("limits.images", limits.images as u64),
            ("limits.image_pixels", limits.image_pixels),
            ("limits.queue_items", limits.queue_items as u64),
            ("limits.index_reads", limits.index_reads as u64),
            ("limits.index_writes", limits.index_writes as u64),
            ("limits.background_jobs", limits.background_jobs as u64),
            ("limits.deadline_ms", limits.deadline_ms),
            ("limits.metadata_bytes", limits.metadata_bytes as u64),
            ("runtime.run_limit_ms", self.runtime.run_limit_ms),
            ("anomaly.calibration_images", self.anomaly.calibration_images as u64),
            ("anomaly.calibration_ms", self.anomaly.calibration_ms),
            ("index.graph_expansion_add", self.index.graph_expansion_add as u64),
            ("index.graph_expansion_search", self.index.graph_expansion_search as u64),
            ("index.graph_rebuild_percent", self.index.graph_rebuild_percent),
        ];
        let mut found: Vec<String> = positive
            .iter()
            .filter(|(_, value)| *value == 0)
            .map(|(key, _)| format!("{key} must be at least 1"))
            .collect();
        if !(0.0..=1.0).contains(&self.index.graph_recall) {
            found.push("index.graph_recall must be between 0 and 1".into());
        }
        if self.index.graph_connectivity < 2 {
            found.push("index.graph_connectivity must be at least 2".into());
        }
        if limits.bodies_in_flight_bytes < limits.body_bytes {
            found
                .push("limits.bodies_in_flight_bytes is less than limits.body_bytes: no body of that size fits".into());
        }
        // a decoded image takes up to 4 bytes a pixel
        if limits.decoded_in_flight_bytes < limits.image_pixels.saturating_mul(4) {
            found
                .push("limits.decoded_in_flight_bytes is less than 4 × limits.image_pixels: no such image fits".into());
        }
        if limits.queue_items < limits.images {
            found.push("limits.queue_items is less than limits.images: no such request is ever admitted".into());
        }
        found.extend(self.qdrant.violations());
        found.extend(self.store.violations());
        found.extend(self.anomaly.violations());
        found.extend(self.webhook.violations());
        if self.general.models.is_empty() || self.general.data.is_empty() {
            found.push("models and data name a folder each".into());
        }
        found
    }

    /// The reference of all keys as Markdown, as docs/CONFIGURATION.md holds it.
    #[must_use]
    pub fn reference() -> String {
        let mut text = String::from(REFERENCE_HEAD);
        let mut section = None;
        for key in Self::keys() {
            if section != Some(key.section) {
                section = Some(key.section);
                let title = if key.section.is_empty() { "top level".to_owned() } else { format!("[{}]", key.section) };
                text.push_str(&format!("\n## {title}\n\n{}\n\n", key.section_doc.trim()));
                text.push_str("| key | default | environment | meaning |\n| --- | --- | --- | --- |\n");
            }
            text.push_str(&format!(
                "| `{}` | `{}` | `{}` | {} |\n",
                key.name,
                key.default,
                key.environment(),
                key.doc.trim()
            ));
        }
        text
    }
}

impl Qdrant {
    /// The addresses, one by one.
    #[must_use]
    pub fn nodes(&self) -> Vec<String> {
        self.url.split(',').map(str::trim).filter(|node| !node.is_empty()).map(str::to_owned).collect()
    }

    fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        let nodes = self.nodes();
        let is_address = |node: &String| node.starts_with("http://") || node.starts_with("https://");
        if nodes.is_empty() || !nodes.iter().all(is_address) {
            found.push("qdrant.url is one http:// or https:// address, or several separated by commas".into());
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if self.prefix.is_empty() || self.prefix.len() > 64 || !self.prefix.bytes().all(plain) {
            found.push("qdrant.prefix is 1 to 64 letters, digits, '-' and '_'".into());
        }
        for (key, value) in [
            ("replication_factor", u64::from(self.replication_factor)),
            ("write_consistency_factor", u64::from(self.write_consistency_factor)),
            ("connect_timeout_ms", self.connect_timeout_ms),
            ("request_timeout_ms", self.request_timeout_ms),
        ] {
            if value == 0 {
                found.push(format!("qdrant.{key} must be at least 1"));
            }
        }
        if self.write_consistency_factor > self.replication_factor {
            found.push("qdrant.write_consistency_factor is more than qdrant.replication_factor".into());
        }
        found
    }
}

impl Store {
    fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        let bucket = self.url.strip_prefix("s3://").map(|rest| rest.split('/').next().unwrap_or_default());
        if !self.url.is_empty() && bucket.is_none_or(str::is_empty) {
            found.push("store.url is s3://BUCKET or s3://BUCKET/PREFIX, or empty for a folder".into());
        }
        let (clear, safe) = (self.endpoint.starts_with("http://"), self.endpoint.starts_with("https://"));
        if !self.endpoint.is_empty() && !clear && !safe {
            found.push("store.endpoint begins with https:// or http://".into());
        }
        if clear && !self.allow_http {
            found.push("store.endpoint is in clear text, and store.allow_http does not allow it".into());
        }
        if self.access_key_id.is_empty() != self.secret_access_key.expose().is_empty() {
            found.push("store.access_key_id and store.secret_access_key go together".into());
        }
        found
    }
}

impl Config {
    /// A configuration file with every key at its default, as latentd.example.toml holds it.
    #[must_use]
    pub fn example() -> String {
        let mut text = String::from(
            "# Every key with its default. Made by `latentd config --example`; a test keeps it in step.\n",
        );
        let mut section = "";
        for key in Self::keys() {
            if key.section != section {
                section = key.section;
                text.push_str(&format!("\n[{section}]\n"));
            }
            text.push_str(&format!("\n# {}\n{} = {}\n", key.doc.trim(), key.name, key.default));
        }
        text
    }
}

const REFERENCE_HEAD: &str = "# Configuration

Made by `latentd config`; a test keeps it in step with the code.

Values are taken from, each over the one before: the defaults below, `latentd.toml` in the working directory (or the \
file that `--config` or `LATENTD_CONFIG` names), the environment, the flags (`--listen`, `--models`, `--data`, \
`--onnxruntime`, and `--set section.key=value` for every other key). An unknown key in the file or on the command line \
stops the start, with every violation listed; an unknown `LATENTD_…` variable only warns.
";

fn refuse(violations: &[String]) -> Result<()> {
    if violations.is_empty() {
        Ok(())
    } else {
        Err(Error::invalid_request(format!("the configuration is not valid:\n  {}", violations.join("\n  "))))
    }
}
