//! One event on its way to the address, again and again until it is taken.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::{Client, StatusCode, Url, redirect::Policy};

use super::{Event, queue::Queue, signature::SigningKey, unusable};
use crate::{
    config,
    error::{Error, Result},
};

/// The wait before the first retry; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What became of an event.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    Taken,
    /// With the last reason.
    GivenUp(String),
}

/// Posts events to one address.
#[derive(Debug)]
pub(super) struct Delivery {
    client: Client,
    url: Url,
    key: SigningKey,
    retries: u32,
    first_wait: Duration,
}

impl Delivery {
    pub(super) fn new(settings: &config::Webhook) -> Result<Self> {
        let url: Url = settings.url.parse().map_err(unusable)?;
        crate::tls::install();
        let mut builder = Client::builder();
        if url.scheme() == "http" {
            // Who speaks in clear text needs no authorities, and a bare container has none.
            builder = builder.tls_certs_only([]);
        }
        let client = builder
            .timeout(Duration::from_millis(settings.timeout_ms))
            // An event goes where the configuration says and nowhere else.
            .redirect(Policy::none())
            .user_agent(concat!("latentd/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Error::internal("cannot make an HTTP client").with_source(error))?;
        let key = SigningKey::new(settings.secret.expose())?;
        Ok(Self { client, url, key, retries: settings.retries, first_wait: FIRST_WAIT })
    }

    /// Sends an event until it is taken, or refused for good, or there were enough tries. A hurried queue has no retries.
    pub(super) async fn deliver(&self, event: &Event, queue: &Queue) -> Outcome {
        let mut wait = self.first_wait;
        let mut tries = 0;
        loop {
            let (reason, passing) = match self.post(event).await {
                Ok(status) if status.is_success() => return Outcome::Taken,
                Ok(status) => (format!("the receiver answered {status}"), may_pass(status)),
                Err(error) => (error.without_url().to_string(), true),
            };
            tries += 1;
            if !passing || tries > self.retries {
                return Outcome::GivenUp(reason);
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = queue.until_hurried() => return Outcome::GivenUp(reason),
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    async fn post(&self, event: &Event) -> Result<StatusCode, reqwest::Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        let request = self
            .client
            .post(self.url.clone())
            .header("content-type", "application/json")
            .header("webhook-id", &event.id)
            .header("webhook-timestamp", now)
            .header("webhook-signature", self.key.sign(&event.id, now, &event.body))
            .body(event.body.clone());
        Ok(request.send().await?.status())
    }
}

/// Whether a receiver that answered so may take the event another time.
fn may_pass(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader, Read as _, Write as _},
        net::{TcpListener, TcpStream},
        sync::{Arc, Mutex},
    };

    use bytes::Bytes;

    use super::*;

    /// A request as a receiver got it.
    #[derive(Debug, Clone, Default)]
    struct Received {
        id: String,
        timestamp: u64,
        signature: String,
        body: Vec<u8>,
    }

    /// A receiver on this machine that answers with these statuses, and then with 200.
    fn receiver(answers: &[u16]) -> (String, Arc<Mutex<Vec<Received>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let all = Arc::new(Mutex::new(Vec::new()));
        let (shared, answers) = (Arc::clone(&all), answers.to_vec());
        // It ends with the process.
        std::thread::spawn(move || {
            for (at, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                shared.lock().unwrap().push(receive(&mut stream));
                let status = answers.get(at).copied().unwrap_or(200);
                write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            }
        });
        (url, all)
    }

    fn receive(stream: &mut TcpStream) -> Received {
        let mut reader = BufReader::new(stream);
        let (mut received, mut length) = (Received::default(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim().split_once(": ") else {
                if line.trim().is_empty() {
                    break;
                }
                continue;
            };
            match name.to_ascii_lowercase().as_str() {
                "webhook-id" => received.id = value.to_owned(),
                "webhook-timestamp" => received.timestamp = value.parse().unwrap(),
                "webhook-signature" => received.signature = value.to_owned(),
                "content-length" => length = value.parse().unwrap(),
                _ => {}
            }
        }
        received.body = vec![0; length];
        reader.read_exact(&mut received.body).unwrap();
        received
    }

    fn delivery(url: &str, retries: u32) -> Delivery {
        let secret = "secret".parse().unwrap();
        let settings = config::Webhook { url: url.to_owned(), secret, retries, ..config::Webhook::default() };
        Delivery { first_wait: Duration::from_millis(1), ..Delivery::new(&settings).unwrap() }
    }

    fn event() -> Event {
        Event { id: "evt_1".to_owned(), body: Bytes::from_static(b"{\"verdict\":\"anomalous\"}") }
    }

    #[tokio::test]
    async fn an_event_is_sent_again_under_its_id_until_it_is_taken() {
        let (url, all) = receiver(&[500, 429]);
        assert_eq!(delivery(&url, 8).deliver(&event(), &Queue::new(1)).await, Outcome::Taken);
        let all = all.lock().unwrap();
        assert_eq!(all.len(), 3);
        for Received { id, timestamp, signature, body } in all.iter() {
            assert_eq!((id.as_str(), body.as_slice()), ("evt_1", &event().body[..]));
            assert_eq!(*signature, SigningKey::new("secret").unwrap().sign("evt_1", *timestamp, body));
        }
    }

    #[tokio::test]
    async fn what_is_refused_for_good_is_given_up_at_once_and_the_rest_after_the_retries() {
        let (url, all) = receiver(&[400]);
        let given_up = delivery(&url, 8).deliver(&event(), &Queue::new(1)).await;
        assert!(matches!(given_up, Outcome::GivenUp(reason) if reason.contains("400")));
        assert_eq!(all.lock().unwrap().len(), 1);
        let (url, all) = receiver(&[500; 9]);
        assert!(matches!(delivery(&url, 2).deliver(&event(), &Queue::new(1)).await, Outcome::GivenUp(_)));
        assert_eq!(all.lock().unwrap().len(), 3);
    }

    #[tokio::test]
    async fn a_server_that_stops_waits_for_no_retry() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let delivery = Delivery { first_wait: LONGEST_WAIT, ..delivery(&format!("http://{closed}/"), 8) };
        let queue = Queue::new(1);
        queue.hurry();
        let given_up = delivery.deliver(&event(), &queue).await;
        assert!(matches!(given_up, Outcome::GivenUp(reason) if !reason.contains("127.0.0.1")));
    }
}
