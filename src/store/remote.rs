//! A bucket of S3, or of a store that speaks its language.

use std::{sync::Arc, time::Duration};

use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, RetryConfig, aws::AmazonS3Builder, path::Path, prefix::PrefixStore,
};

use crate::{
    config::Store,
    error::{Error, Result},
};

/// Each request by itself, and the way to it.
const ANSWER: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(3);
/// A store that fails is asked again so often, and not for longer.
const RETRIES: usize = 2;
const RETRYING: Duration = Duration::from_secs(10);

/// The store of an `s3://BUCKET/PREFIX`. What the section does not say is taken from the variables that S3's own tools
/// read (`AWS_ACCESS_KEY_ID` and so on), and then from the machine's role. Asks nobody yet.
pub(super) fn open(settings: &Store) -> Result<Arc<dyn ObjectStore>> {
    crate::tls::install();
    let (bucket, prefix) = bucket_and_prefix(&settings.url)?;
    let clear = settings.endpoint.starts_with("http://");
    let client = ClientOptions::new()
        .with_timeout(ANSWER)
        .with_connect_timeout(CONNECT)
        .with_allow_http(settings.allow_http)
        // who speaks in clear text needs no authorities, and a bare container has none
        .with_no_system_certificates(clear);
    let retry = RetryConfig { max_retries: RETRIES, retry_timeout: RETRYING, backoff: BackoffConfig::default() };
    let mut builder =
        AmazonS3Builder::from_env().with_bucket_name(bucket).with_client_options(client).with_retry(retry);
    for (value, set) in [
        (&settings.endpoint, AmazonS3Builder::with_endpoint as fn(AmazonS3Builder, String) -> AmazonS3Builder),
        (&settings.region, AmazonS3Builder::with_region),
        (&settings.access_key_id, AmazonS3Builder::with_access_key_id),
        (settings.secret_access_key.expose(), AmazonS3Builder::with_secret_access_key),
    ] {
        if !value.is_empty() {
            builder = set(builder, value.clone());
        }
    }
    let failed = |error| Error::invalid_request(format!("the image store {} cannot be used: {error}", settings.url));
    let bucket = builder.build().map_err(failed)?;
    Ok(if prefix.is_empty() { Arc::new(bucket) } else { Arc::new(PrefixStore::new(bucket, Path::from(prefix))) })
}

fn bucket_and_prefix(url: &str) -> Result<(&str, &str)> {
    let rest = url.strip_prefix("s3://").unwrap_or_default();
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(Error::invalid_request(format!("store.url {url:?} is not s3://BUCKET or s3://BUCKET/PREFIX")));
    }
    Ok((bucket, prefix.trim_matches('/')))
}

/// What is wrong, in a few words for callers; the rest is for the log.
pub(super) fn reason(error: &object_store::Error) -> &'static str {
    use object_store::Error as E;
    let text = causes(error);
    match error {
        E::Unauthenticated { .. } => "its credentials are not valid",
        E::PermissionDenied { .. } => "access is denied",
        _ if text.contains("NoSuchBucket") => "there is no such bucket",
        _ if text.contains("InvalidAccessKeyId") || text.contains("SignatureDoesNotMatch") => {
            "its credentials are not valid"
        }
        _ if text.contains("timed out") => "it does not answer in time",
        E::Generic { .. } => "it does not answer as it should",
        _ => "it cannot do this",
    }
}

/// The whole chain of causes: the store keeps what matters deep inside.
pub(super) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_bucket_and_perhaps_a_prefix() {
        for (url, bucket, prefix) in
            [("s3://images", "images", ""), ("s3://images/", "images", ""), ("s3://images/a/b/", "images", "a/b")]
        {
            assert_eq!(bucket_and_prefix(url).unwrap(), (bucket, prefix));
        }
        for bad in ["", "s3://", "s3:///a", "images", "gs://images"] {
            assert!(bucket_and_prefix(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_store_out_of_reach_is_opened_all_the_same_and_says_so_when_asked() {
        // a port that was free a moment ago
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let settings = Store {
            url: "s3://images/shop".to_owned(),
            endpoint: format!("http://{closed}"),
            access_key_id: "key".to_owned(),
            secret_access_key: "secret".parse().unwrap(),
            allow_http: true,
            ..Store::default()
        };
        let store = crate::store::ImageStore::connect(std::path::Path::new("unused"), &settings).unwrap();
        assert!(store.readiness().unwrap_err().contains("not answered yet"));
        let error = store.probe().await.unwrap_err();
        assert_eq!(store.readiness().unwrap_err(), error.message());
        assert_eq!(error.kind(), crate::error::ErrorKind::Unavailable);
        assert!(error.message().contains("s3://images/shop"), "{error}");
        assert!(!error.chain().contains("secret"));
    }
}
