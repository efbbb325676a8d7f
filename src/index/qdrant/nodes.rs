//! The nodes of the cluster, and which of them is asked.
//!
//! Requests take turns over the nodes. A node that refuses, breaks off, does not answer in time or says that it is
//! unavailable is put aside for a while: others are asked first, it itself only if none of them answers. Any node
//! takes any request and passes it on to where the points lie.
//!
//! # Why every request may be made again
//!
//! Whether a request whose answer was lost had arrived, nobody knows, so only what does no harm twice is retried. All
//! that this room asks for is of that kind, by construction:
//!
//! - Reads change nothing.
//! - An upsert names its points' ids and states them in full. If another's write came between the first arrival and
//!   the second, then ours was not acknowledged yet, and the outcome is that of ours coming last.
//! - Deleting by ids, or by a filter together with ids, removes no more the second time; the same holds for what
//!   comes between.
//! - A collection is made, and dropped, under a name that was drawn for it alone: one that is there already, or gone
//!   already, is our own doing.
//! - An entry of the catalogue is inserted only where there is none, and then read back.
//! - A patch is applied where the item still has the mark that was read with it, and puts a mark of its own there.
//!
//! What could not be repeated is a write that says "one more" or "what is there, changed": reading, merging and
//! writing are therefore steps of their own, each of them repeatable.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use qdrant_client::qdrant::{collections_client::CollectionsClient, points_client::PointsClient};
use rand::RngExt as _;
use tonic::{
    Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, ClientTlsConfig, Endpoint},
};

use super::{
    QdrantOptions,
    failure::{Blame, Failure, blame},
};
use crate::{
    error::{Error, Result},
    index::Readiness,
};

/// The first wait before a request is made again; the next ones are twice as long each, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A connection on which nothing comes is asked for a sign of life so often, and given up after that long.
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(10);
const SIGN_OF_LIFE_WITHIN: Duration = Duration::from_secs(5);

pub(super) type Service = InterceptedService<Channel, Key>;

/// One node as requests are made to it.
#[derive(Clone)]
pub(super) struct Client(Service);

impl Client {
    pub(super) fn points(&self) -> PointsClient<Service> {
        PointsClient::new(self.0.clone()).max_decoding_message_size(usize::MAX)
    }

    pub(super) fn collections(&self) -> CollectionsClient<Service> {
        CollectionsClient::new(self.0.clone()).max_decoding_message_size(usize::MAX)
    }
}

/// Adds the key to every request.
#[derive(Clone)]
pub(super) struct Key(Option<MetadataValue<Ascii>>);

impl Interceptor for Key {
    fn call(&mut self, mut request: Request<()>) -> std::result::Result<Request<()>, Status> {
        if let Some(key) = &self.0 {
            request.metadata_mut().insert("api-key", key.clone());
        }
        Ok(request)
    }
}

struct Node {
    address: String,
    client: Client,
    aside_until: Mutex<Option<Instant>>,
}

impl Node {
    fn is_aside(&self, now: Instant) -> bool {
        self.aside_until.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| until > now)
    }

    fn put_aside(&self, span: Duration, reason: &str) {
        let mut until = self.aside_until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.replace(Instant::now() + span).is_none() {
            tracing::warn!(node = self.address, reason, "a node of the index is put aside");
        }
    }

    fn take_back(&self) {
        let mut until = self.aside_until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.take().is_some() {
            tracing::info!(node = self.address, "a node of the index answers again");
        }
    }
}

/// The nodes, and whose turn it is.
pub(super) struct Nodes {
    nodes: Vec<Node>,
    turn: AtomicUsize,
    request_timeout: Duration,
    retries: u32,
    put_aside: Duration,
    /// Whether the cluster answers: a request that no node answers takes that back at once, a probe finds out anew.
    pub(super) readiness: Readiness,
}

impl Nodes {
    pub(super) fn new(options: &QdrantOptions) -> Result<Self> {
        if options.nodes.is_empty() {
            return Err(Error::invalid_request("qdrant.url names no node"));
        }
        let key = match options.api_key.expose().as_str() {
            "" => Key(None),
            key => {
                let bad = |_| Error::invalid_request("qdrant.api_key has characters that no key can have");
                let mut value: MetadataValue<Ascii> = key.parse().map_err(bad)?;
                value.set_sensitive(true);
                Key(Some(value))
            }
        };
        let nodes = options.nodes.iter().map(|address| node(address, options, &key)).collect::<Result<Vec<_>>>()?;
        Ok(Self {
            turn: AtomicUsize::new(0),
            nodes,
            request_timeout: options.request_timeout,
            retries: options.retries,
            put_aside: options.put_aside,
            readiness: Readiness::unknown("the index has not answered yet"),
        })
    }

    /// The addresses, for messages.
    fn addresses(&self) -> String {
        self.nodes.iter().map(|node| node.address.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Makes a request of one node after the other until one of them answers. The request has to be one that may be
    /// made twice.
    pub(super) async fn call<T, A>(&self, ask: impl Fn(Client) -> A + Send + Sync) -> std::result::Result<T, Failure>
    where
        A: Future<Output = std::result::Result<Response<T>, Status>> + Send,
    {
        let order = self.order();
        let mut late = vec![false; self.nodes.len()];
        let mut reason = String::new();
        for attempt in 0..=self.retries as usize {
            // who was late once is not asked again: it has enough to do
            let Some(at) = (0..order.len()).map(|step| order[(attempt + step) % order.len()]).find(|&at| !late[at])
            else {
                break;
            };
            let node = &self.nodes[at];
            if attempt > 0 && attempt >= order.len() {
                tokio::time::sleep(pause(attempt - order.len())).await;
            }
            let status = match tokio::time::timeout(self.request_timeout, ask(node.client.clone())).await {
                Ok(Ok(answer)) => {
                    node.take_back();
                    return Ok(answer.into_inner());
                }
                Ok(Err(status)) => status,
                Err(_) => {
                    late[at] = true;
                    reason = format!("no answer within {} ms", self.request_timeout.as_millis());
                    node.put_aside(self.put_aside, &reason);
                    continue;
                }
            };
            match blame(&status) {
                Blame::Request(failure) => {
                    node.take_back();
                    return Err(failure);
                }
                Blame::Node(what) => {
                    node.put_aside(self.put_aside, &what);
                    reason = what;
                }
                Blame::Moment(what) => reason = what,
            }
            tracing::debug!(node = node.address, attempt, reason, "a request to the index failed");
        }
        let text = format!("the index at {} is out of reach: {reason}", self.addresses());
        self.readiness.set(Err(text.clone()));
        Err(Failure::Other(Error::unavailable(text)))
    }

    /// Every node once, beginning with the one whose turn it is; those put aside come last.
    fn order(&self) -> Vec<usize> {
        let (count, now) = (self.nodes.len(), Instant::now());
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let all = (0..count).map(|step| (first.wrapping_add(step)) % count);
        let (aside, mut order): (Vec<_>, Vec<_>) = all.partition(|&at| self.nodes[at].is_aside(now));
        order.extend(aside);
        order
    }
}

/// How long to wait before the nodes are gone through again, drawn from the upper half of a growing span.
fn pause(round: usize) -> Duration {
    let span = FIRST_PAUSE.saturating_mul(1 << round.min(10)).min(LONGEST_PAUSE);
    span.mul_f64(rand::rng().random_range(0.5..1.0))
}

fn node(address: &str, options: &QdrantOptions, key: &Key) -> Result<Node> {
    let bad = |error: &dyn std::fmt::Display| {
        Error::invalid_request(format!("qdrant.url: {address:?} is not an http:// or https:// address: {error}"))
    };
    let mut endpoint = Endpoint::from_shared(address.to_owned())
        .map_err(|error| bad(&error))?
        .connect_timeout(options.connect_timeout)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(SIGN_OF_LIFE_EVERY)
        .keep_alive_timeout(SIGN_OF_LIFE_WITHIN);
    match endpoint.uri().scheme_str() {
        Some("http") => {}
        Some("https") => {
            crate::tls::install();
            endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots()).map_err(|error| bad(&error))?;
        }
        _ => return Err(bad(&"it has another scheme")),
    }
    let client = Client(InterceptedService::new(endpoint.connect_lazy(), key.clone()));
    Ok(Node { address: address.to_owned(), client, aside_until: Mutex::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(addresses: &[&str]) -> Nodes {
        let nodes = addresses.iter().map(|&address| address.to_owned()).collect();
        Nodes::new(&QdrantOptions { nodes, ..QdrantOptions::default() }).unwrap()
    }

    #[tokio::test]
    async fn nodes_take_turns_and_those_put_aside_come_last() {
        let nodes = nodes(&["http://a:1", "http://b:1", "http://c:1"]);
        assert_eq!([nodes.order(), nodes.order(), nodes.order()], [[0, 1, 2], [1, 2, 0], [2, 0, 1]]);
        nodes.nodes[0].put_aside(Duration::from_secs(60), "test");
        assert_eq!([nodes.order(), nodes.order()], [[1, 2, 0], [1, 2, 0]]);
        nodes.nodes[1].put_aside(Duration::ZERO, "test");
        assert_eq!(nodes.order(), [2, 1, 0], "the span of the second is over");
        nodes.nodes[0].take_back();
        assert_eq!(nodes.order(), [0, 1, 2]);
    }

    #[tokio::test]
    async fn addresses_and_keys_have_to_be_some() {
        for bad in ["", "qdrant:6334", "ftp://qdrant", "not an address"] {
            let options = QdrantOptions { nodes: vec![bad.to_owned()], ..QdrantOptions::default() };
            assert!(Nodes::new(&options).is_err(), "{bad}");
        }
        assert!(Nodes::new(&QdrantOptions { nodes: Vec::new(), ..QdrantOptions::default() }).is_err());
        let options = QdrantOptions { api_key: "a\nb".parse().unwrap(), ..QdrantOptions::default() };
        let error = Nodes::new(&options).err().unwrap();
        assert!(!error.chain().contains("a\nb"), "{error}");
        assert!(Nodes::new(&QdrantOptions { nodes: vec!["https://q:6334".to_owned()], ..options_with_key() }).is_ok());
    }

    fn options_with_key() -> QdrantOptions {
        QdrantOptions { api_key: "key".parse().unwrap(), ..QdrantOptions::default() }
    }

    #[test]
    fn pauses_grow_and_are_drawn() {
        for round in 0..20 {
            let longest = FIRST_PAUSE.saturating_mul(1 << round.min(10)).min(LONGEST_PAUSE);
            let pause = pause(round);
            assert!(pause >= longest / 2 && pause < longest, "{round}: {pause:?}");
        }
    }
}
