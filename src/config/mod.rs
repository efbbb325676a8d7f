//! Configuration as plain data: defaults < `latentd.toml` < environment < flags, read once and checked once, with
//! every violation listed at once.

mod engine;
mod layers;
mod secret;
mod section;

pub use engine::IndexEngine;
pub use layers::{Flags, Loaded, load};
pub use secret::Secret;
pub use section::Key;

use std::net::SocketAddr;

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
        /// The data folder: index and stored pictures. Environment: `LATENTD_DATA`.
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
        /// Pictures or items in one request.
        images: usize = 64,
        /// Pixels of one picture, told from its header before it is decoded.
        image_pixels: u64 = 50_000_000,
        /// Bytes of all decoded pictures held at a time; decoding waits for room.
        decoded_in_flight_bytes: u64 = 512 << 20,
        /// Items admitted to one model's graph and not yet finished; more are `overloaded`.
        queue_items: usize = 256,
        /// Milliseconds a request may take, unless the caller's `X-Request-Timeout-Ms` is shorter.
        deadline_ms: u64 = 30_000,
        /// Bytes of one item's metadata as JSON.
        metadata_bytes: usize = 64 << 10,
    }
}

section! {
    /// How graphs run; a model's manifest may say otherwise for itself.
    pub struct Runtime in "runtime" {
        /// `cpu`, `cuda`, `cuda:N` or `auto`. Only `auto` may fall back to the CPU; else a missing device is an error.
        device: Device = Device::Cpu,
        /// Sessions of each graph, each with a thread of its own; 0: one a core.
        sessions: usize = 0,
        /// Threads inside one run. Sessions × threads in use never exceed the cores.
        threads: usize = 1,
        /// Items in one run.
        max_batch: usize = 8,
        /// Milliseconds after which a run is ended.
        run_limit_ms: u64 = 60_000,
        /// Threads that decode and prepare pictures; 0: one a core.
        decode_threads: usize = 0,
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
        /// Candidates kept while the graph is searched: more find more and take longer.
        graph_expansion_search: usize = 64,
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
    /// Where stored pictures lie.
    pub struct Store in "store" {
        /// Empty: the folder `pictures` under `data`. Else `s3://BUCKET/PREFIX`, in S3 or a store that speaks its language.
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
    pub server: Server,
    pub index: Index,
    pub qdrant: Qdrant,
    pub store: Store,
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
            Server::keys(),
            Index::keys(),
            Qdrant::keys(),
            Store::keys(),
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
            ("limits.deadline_ms", limits.deadline_ms),
            ("limits.metadata_bytes", limits.metadata_bytes as u64),
            ("runtime.threads", self.runtime.threads as u64),
            ("runtime.max_batch", self.runtime.max_batch as u64),
            ("runtime.run_limit_ms", self.runtime.run_limit_ms),
            ("index.graph_expansion_add", self.index.graph_expansion_add as u64),
            ("index.graph_expansion_search", self.index.graph_expansion_search as u64),
            ("index.graph_rebuild_percent", self.index.graph_rebuild_percent),
        ];
        let mut found: Vec<String> = positive
            .iter()
            .filter(|(_, value)| *value == 0)
            .map(|(key, _)| format!("{key} must be at least 1"))
            .collect();
        if self.index.graph_connectivity < 2 {
            found.push("index.graph_connectivity must be at least 2".into());
        }
        if limits.bodies_in_flight_bytes < limits.body_bytes {
            found
                .push("limits.bodies_in_flight_bytes is less than limits.body_bytes: no body of that size fits".into());
        }
        // a decoded picture takes up to 4 bytes a pixel
        if limits.decoded_in_flight_bytes < limits.image_pixels.saturating_mul(4) {
            found.push(
                "limits.decoded_in_flight_bytes is less than 4 × limits.image_pixels: no such picture fits".into(),
            );
        }
        if limits.queue_items < limits.images {
            found.push("limits.queue_items is less than limits.images: no such request is ever admitted".into());
        }
        found.extend(self.qdrant.violations());
        found.extend(self.store.violations());
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
