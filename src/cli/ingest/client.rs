//! What the server is asked, and what its answers mean.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{
    Client, Method, RequestBuilder, Response, StatusCode, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER},
    multipart::{Form, Part},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::proxy::ProxyUse;
use crate::{
    config::Limits,
    domain::{CollectionName, ItemId, Metadata},
    error::{Error, ErrorKind, Result},
};

const CONNECT: Duration = Duration::from_secs(5);
/// More than any deadline that a server is likely to have.
const ANSWER: Duration = Duration::from_secs(120);
/// Where a busy server does not say how long to wait.
const DEFAULT_WAIT: Duration = Duration::from_secs(1);
/// A server may say so, but nobody waits for longer before asking again.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// One collection of one server.
#[derive(Debug, Clone)]
pub(super) struct Api {
    client: Client,
    base: Url,
    collection: CollectionName,
}

/// Ids that are asked for by one request: they stand in its address.
const ASKED: usize = 50;

/// An item on its way.
#[derive(Debug, Clone)]
pub(super) struct Upload {
    pub(super) id: ItemId,
    pub(super) metadata: Metadata,
    pub(super) payload: Payload,
}

#[derive(Debug, Clone)]
pub(super) enum Payload {
    Image(Bytes),
    Vector(Vec<f32>),
}

/// An item with a vector, as it is sent.
#[derive(Serialize)]
struct VectorItem<'a> {
    id: &'a ItemId,
    vector: &'a [f32],
    metadata: &'a Metadata,
}

/// What a collection of vectors is made with.
#[derive(Debug, Clone, Copy)]
pub(super) struct VectorSpace<'a> {
    pub(super) dimension: usize,
    pub(super) metric: &'a str,
}

/// Why a request has no result.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The server asks to wait this long.
    Busy(Duration),
    /// It may well work another time: no answer, or one of a server that is not well.
    Passing(Refusal),
    /// What was sent is at fault.
    Refused(Refusal),
    /// Nothing else will fare better.
    Fatal(Error),
}

/// What the server says of a request or an item that failed.
#[derive(Debug, Clone, Deserialize, PartialEq)]
pub(super) struct Refusal {
    pub(super) code: String,
    #[serde(alias = "detail")]
    pub(super) message: String,
}

/// What became of the images of one request.
#[derive(Debug, Deserialize)]
pub(super) struct Added {
    pub(super) data: Vec<AddedItem>,
    pub(super) errors: Vec<ItemError>,
}

#[derive(Debug, Deserialize)]
pub(super) struct AddedItem {
    pub(super) index: usize,
}

#[derive(Debug, Deserialize)]
pub(super) struct ItemError {
    pub(super) index: usize,
    #[serde(flatten)]
    pub(super) refusal: Refusal,
}

/// A model of the server.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Described {
    pub(super) limits: ServerLimits,
    pub(super) space_key: Option<String>,
}

/// What the server takes in one request.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(super) struct ServerLimits {
    pub(super) body_bytes: u64,
    pub(super) images: usize,
    /// Vectors; servers of before have no limit of their own for them.
    #[serde(default)]
    pub(super) vectors: Option<usize>,
}

impl ServerLimits {
    /// Those of a server that nobody has configured, where no model tells.
    fn usual() -> Self {
        let limits = Limits::default();
        Self { body_bytes: limits.body_bytes, images: limits.images, vectors: Some(limits.vectors) }
    }
}

impl Api {
    /// Also returns what the user should know of the proxies that the environment names.
    pub(super) fn new(base: &str, key: Option<&str>, collection: CollectionName) -> Result<(Self, Option<String>)> {
        let mut base: Url = base.parse().map_err(|error| Error::invalid_request(format!("--url {base:?}: {error}")))?;
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            return Err(Error::invalid_request(format!("--url {base} is neither an http:// nor an https:// address")));
        }
        // Clients of OpenAI's interface are given the address with its version.
        let root = base.path().trim_end_matches('/').strip_suffix("/v1").map(ToOwned::to_owned);
        if let Some(root) = root {
            base.set_path(&root);
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            let mut value = HeaderValue::try_from(format!("Bearer {key}"))
                .map_err(|_| Error::invalid_request("LATENTD_API_KEY has characters that no header takes"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        crate::tls::install();
        let mut builder = Client::builder();
        if base.scheme() == "http" {
            // who speaks in clear text needs no authorities, and a bare container has none
            builder = builder.tls_certs_only([]);
        }
        let proxy = ProxyUse::of(&base, |name| std::env::var(name).ok());
        let builder = proxy.apply(builder)?;
        let client = builder
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .default_headers(headers)
            .user_agent(concat!("latentd-ingest/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Error::internal("cannot make an HTTP client").with_source(error))?;
        Ok((Self { client, base, collection }, proxy.notice()))
    }

    fn request(&self, method: Method, path: &str, query: &[(&str, &str)]) -> Result<RequestBuilder, Trouble> {
        let mut url =
            self.base.join(path).map_err(|error| Trouble::Fatal(Error::internal(format!("{path}: {error}"))))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(self.client.request(method, url))
    }

    fn path(&self, rest: &str) -> String {
        format!("v1/collections/{}{rest}", self.collection)
    }

    /// The collection's description, none if there is no such collection.
    pub(super) async fn describe(&self) -> Result<Option<Value>, Trouble> {
        match answer(self.request(Method::GET, &self.path(""), &[])?).await {
            Ok(description) => Ok(Some(description)),
            Err(Trouble::Fatal(error)) if error.kind() == ErrorKind::CollectionNotFound => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    /// Makes the collection.
    pub(super) async fn create(&self, model: &str, store: Option<&str>) -> Result<Value, Trouble> {
        let mut body = json!({ "model": model });
        if let Some(store) = store {
            body["store"] = store.into();
        }
        answer(self.request(Method::PUT, &self.path(""), &[])?.json(&body)).await
    }

    /// Makes the collection for vectors of no model.
    pub(super) async fn create_for_vectors(&self, space: VectorSpace<'_>) -> Result<Value, Trouble> {
        let body = json!({ "dimension": space.dimension, "metric": space.metric });
        answer(self.request(Method::PUT, &self.path(""), &[])?.json(&body)).await
    }

    /// What the server takes, as any of its models tells.
    pub(super) async fn limits(&self) -> Result<ServerLimits, Trouble> {
        #[derive(Deserialize)]
        struct Models {
            data: Vec<Described>,
        }
        let models: Models = answer(self.request(Method::GET, "v1/models", &[])?).await?;
        Ok(models.data.first().map_or_else(ServerLimits::usual, |model| model.limits))
    }

    /// The collection's model: what the server takes for it, and the space of its vectors once it is loaded.
    pub(super) async fn model(&self, model: &str) -> Result<Described, Trouble> {
        answer(self.request(Method::GET, &format!("v1/models/{model}"), &[])?).await
    }

    /// Which of these items are there already.
    pub(super) async fn present(&self, ids: &[&ItemId]) -> Result<Vec<ItemId>, Trouble> {
        #[derive(Deserialize)]
        struct Page {
            data: Vec<Present>,
        }
        #[derive(Deserialize)]
        struct Present {
            id: ItemId,
        }
        let mut present = Vec::new();
        for ids in ids.chunks(ASKED) {
            let filter = json!({"must": [{"has_id": ids}]}).to_string();
            let limit = ids.len().to_string();
            let query = [("limit", limit.as_str()), ("filter", filter.as_str())];
            let page: Page = answer(self.request(Method::GET, &self.path("/items"), &query)?).await?;
            present.extend(page.data.into_iter().map(|present| present.id));
        }
        Ok(present)
    }

    /// Adds items, or replaces those of their ids: images by a form, vectors in JSON. They are all of one kind.
    pub(super) async fn add(&self, uploads: &[&Upload]) -> Result<Added, Trouble> {
        let request = self.request(Method::POST, &self.path("/items"), &[])?;
        let mut form = Form::new();
        let mut items = Vec::new();
        for Upload { id, metadata, payload } in uploads {
            match payload {
                Payload::Image(bytes) => {
                    let part = Part::stream_with_length(bytes.clone(), bytes.len() as u64).file_name("upload");
                    let metadata = Value::Object(metadata.clone()).to_string();
                    form = form.part("image", part).text("id", id.to_string()).text("metadata", metadata);
                }
                Payload::Vector(vector) => items.push(VectorItem { id, vector, metadata }),
            }
        }
        let request = if items.is_empty() { request.multipart(form) } else { request.json(&json!({ "items": items })) };
        answer(request).await
    }
}

/// Sends a request and reads its result.
async fn answer<T: for<'de> Deserialize<'de>>(request: RequestBuilder) -> Result<T, Trouble> {
    let response = request.send().await.map_err(lost)?;
    if !response.status().is_success() {
        return Err(trouble(response).await);
    }
    let bytes = response.bytes().await.map_err(lost)?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Trouble::Fatal(Error::unavailable(format!("the answer is not that of a latentd server: {error}")))
    })
}

fn lost(error: reqwest::Error) -> Trouble {
    Trouble::Passing(Refusal { code: "unavailable".to_owned(), message: chain(&error) })
}

/// reqwest keeps what matters in its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

async fn trouble(response: Response) -> Trouble {
    let (status, wait) = (response.status(), wait(response.headers()));
    let body = response.bytes().await.unwrap_or_default();
    let refusal = serde_json::from_slice::<Refusal>(&body).unwrap_or_else(|_| Refusal {
        code: status.as_str().to_owned(),
        message: format!("the server answered {status}"),
    });
    let fatal = |kind| Trouble::Fatal(Error::new(kind, format!("{}: {}", refusal.code, refusal.message)));
    match status {
        StatusCode::TOO_MANY_REQUESTS => Trouble::Busy(wait.unwrap_or(DEFAULT_WAIT)),
        StatusCode::UNAUTHORIZED => fatal(ErrorKind::Unauthorized),
        StatusCode::FORBIDDEN => fatal(ErrorKind::Forbidden),
        StatusCode::NOT_FOUND => fatal(ErrorKind::CollectionNotFound),
        StatusCode::CONFLICT => fatal(ErrorKind::SpaceMismatch),
        StatusCode::INSUFFICIENT_STORAGE => fatal(ErrorKind::StorageFull),
        status if status.is_server_error() => Trouble::Passing(refusal),
        _ => Trouble::Refused(refusal),
    }
}

/// How long a busy server says to wait: `retry-after-ms` is the more precise.
fn wait(headers: &HeaderMap) -> Option<Duration> {
    let number = |text: &HeaderValue| text.to_str().ok()?.trim().parse::<u64>().ok();
    let millis = headers.get("retry-after-ms").and_then(number).map(Duration::from_millis);
    let seconds = || headers.get(RETRY_AFTER).and_then(number).map(Duration::from_secs);
    millis.or_else(seconds).map(|wait| wait.min(LONGEST_WAIT))
}

/// Whether an item that failed for this may fare better another time.
pub(super) fn is_passing(code: &str) -> bool {
    matches!(code, "deadline_exceeded" | "overloaded" | "rate_limited" | "unavailable" | "internal")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_precise_wait_counts_and_none_is_endless() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            wait(&pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect())
        };
        assert_eq!(headers(&[("retry-after", "2"), ("retry-after-ms", "1500")]), Some(Duration::from_millis(1500)));
        assert_eq!(headers(&[("retry-after", "2")]), Some(Duration::from_secs(2)));
        assert_eq!(headers(&[("retry-after", "86400")]), Some(LONGEST_WAIT));
        assert_eq!(headers(&[("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT")]), None);
        assert_eq!(headers(&[]), None);
    }

    #[test]
    fn addresses_that_cannot_be_asked_are_refused() {
        let name: CollectionName = "c".parse().unwrap();
        for bad in ["", "127.0.0.1:80", "ftp://x", "http://"] {
            assert!(Api::new(bad, None, name.clone()).is_err(), "{bad}");
        }
        let api = |base: &str, key| Api::new(base, key, name.clone()).unwrap().0;
        let with_base = api("http://h:1/base", Some("key"));
        let items = with_base.base.join(&with_base.path("/items")).unwrap();
        assert_eq!(items.as_str(), "http://h:1/base/v1/collections/c/items");
        for versioned in ["http://h:1/base/v1", "http://h:1/base/v1/"] {
            assert_eq!(api(versioned, None).base.as_str(), "http://h:1/base/");
        }
        assert_eq!(api("http://h:1/v1", None).base.as_str(), "http://h:1/");
        assert!(Api::new("http://h:1", Some("a\nb"), name).is_err());
    }
}
