//! A running server, as the commands that are its clients see it.

use std::time::Duration;

use reqwest::{
    Client, Method, RequestBuilder, Response, StatusCode, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER},
};
use serde::Deserialize;

use super::{healthcheck::reachable, ingest::proxy::ProxyUse};
use crate::{
    config::{self, Flags, Limits},
    error::{Error, ErrorKind, Result},
};

const CONNECT: Duration = Duration::from_secs(5);
/// More than any deadline that a server is likely to have, but for requests that calibrate.
const ANSWER: Duration = Duration::from_secs(120);
/// Where a busy server does not say how long to wait.
const DEFAULT_WAIT: Duration = Duration::from_secs(1);
/// A server may say so, but nobody waits for longer before asking again.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A server and the connections to it.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    client: Client,
    base: Url,
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

impl Trouble {
    /// The error of a command that cannot begin, or go on.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Fatal(error) => error,
            Self::Busy(_) => Error::unavailable("the server is too busy to begin with"),
            Self::Passing(refusal) => {
                Error::unavailable(format!("the server does not serve: {}: {}", refusal.code, refusal.message))
            }
            Self::Refused(refusal) => Error::invalid_request(format!("{}: {}", refusal.code, refusal.message)),
        }
    }
}

/// What the server says of a request or an item that failed.
#[derive(Debug, Clone, Deserialize, PartialEq)]
pub(super) struct Refusal {
    pub(super) code: String,
    #[serde(alias = "detail")]
    pub(super) message: String,
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

impl Remote {
    /// The server of this address, or the configured one on this machine. `LATENTD_API_KEY`, if set, is sent as a bearer
    /// token. Also returns what the user should know of the proxies that the environment names.
    pub(super) fn of(url: Option<&str>, flags: &Flags) -> Result<(Self, Option<String>)> {
        let url = match url {
            Some(url) => url.to_owned(),
            None => {
                let listen = config::load(flags, std::env::vars_os())?.config.general.listen;
                format!("http://{}", reachable(listen))
            }
        };
        let key = std::env::var("LATENTD_API_KEY").ok().filter(|key| !key.is_empty());
        Self::new(&url, key.as_deref())
    }

    /// As [`of`](Self::of), for the commands that say what there is to know themselves.
    pub(super) fn told(url: Option<&str>, flags: &Flags) -> Result<Self> {
        let (remote, notice) = Self::of(url, flags)?;
        if let Some(notice) = notice {
            super::complain(&notice);
        }
        Ok(remote)
    }

    /// Also returns what the user should know of the proxies that the environment names.
    pub(super) fn new(base: &str, key: Option<&str>) -> Result<(Self, Option<String>)> {
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
            .user_agent(concat!("latentd/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Error::internal("cannot make an HTTP client").with_source(error))?;
        Ok((Self { client, base }, proxy.notice()))
    }

    pub(super) fn request(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<RequestBuilder, Trouble> {
        let mut url =
            self.base.join(path).map_err(|error| Trouble::Fatal(Error::internal(format!("{path}: {error}"))))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(self.client.request(method, url))
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

    /// A model: what the server takes for it, and the space of its vectors once it is loaded.
    pub(super) async fn model(&self, model: &str) -> Result<Described, Trouble> {
        answer(self.request(Method::GET, &format!("v1/models/{model}"), &[])?).await
    }
}

/// The async threads of a command.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .thread_name("latentd-client")
        .build()
        .map_err(|error| Error::internal("cannot start the async threads").with_source(error))
}

/// Sends a request and reads its result.
pub(super) async fn answer<T: for<'de> Deserialize<'de>>(request: RequestBuilder) -> Result<T, Trouble> {
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
        StatusCode::NOT_FOUND | StatusCode::CONFLICT => fatal(kind_of(&refusal.code)),
        StatusCode::INSUFFICIENT_STORAGE => fatal(ErrorKind::StorageFull),
        status if status.is_server_error() => Trouble::Passing(refusal),
        _ => Trouble::Refused(refusal),
    }
}

/// The kind of a code; one that this version does not know is of something that is not there.
fn kind_of(code: &str) -> ErrorKind {
    ErrorKind::ALL.into_iter().find(|kind| kind.code() == code).unwrap_or(ErrorKind::RouteNotFound)
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
        for bad in ["", "127.0.0.1:80", "ftp://x", "http://"] {
            assert!(Remote::new(bad, None).is_err(), "{bad}");
        }
        let remote = |base: &str, key| Remote::new(base, key).unwrap().0;
        let items = remote("http://h:1/base", Some("key")).base.join("v1/collections/c/items").unwrap();
        assert_eq!(items.as_str(), "http://h:1/base/v1/collections/c/items");
        for versioned in ["http://h:1/base/v1", "http://h:1/base/v1/"] {
            assert_eq!(remote(versioned, None).base.as_str(), "http://h:1/base/");
        }
        assert_eq!(remote("http://h:1/v1", None).base.as_str(), "http://h:1/");
        assert!(Remote::new("http://h:1", Some("a\nb")).is_err());
    }
}
