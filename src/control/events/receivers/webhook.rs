//! Events by HTTP: a POST with a signature, 10 s, no redirects. No URL is ever told: its path is as good as a password.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;
use ring::hmac;
use tokio::time::timeout;

use crate::control::bounded_file::{Secret, read_secret};
use crate::control::clock;
use crate::control::config::events::{Format, Webhook};
use crate::control::events::history::Batch;
use crate::control::probe::outcome::chain;
use crate::control::probe::tls::{Trust, client_config};

use super::body;
use super::deliver::{Outcome, Sender};

/// A receiver that takes longer is tried again: it may get the same events twice.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Events in one request.
const MOST_EVENTS: usize = 100;
/// A message of more lines is not read by anybody, and cut off by Slack at 40,000 characters.
const MOST_LINES: usize = 20;
/// A secret has at least so many octets.
const LEAST_SECRET: usize = 16;

pub struct WebhookSender {
    webhook: Webhook,
    /// Made at the first need. The error says why it cannot be.
    client: OnceLock<Result<reqwest::Client, String>>,
}

impl WebhookSender {
    pub fn new(webhook: Webhook) -> WebhookSender {
        WebhookSender { webhook, client: OnceLock::new() }
    }

    async fn post(&self, batch: &Batch) -> Result<Outcome, String> {
        let Webhook { url, format, secret_file, ca_pem } = &self.webhook;
        let client = self.client.get_or_init(|| client(ca_pem.as_deref())).as_ref().map_err(Clone::clone)?;
        let body = match format {
            Format::Generic => body::generic(batch),
            Format::Slack => body::slack(batch),
        };
        let mut request = client.post(url).header(CONTENT_TYPE, "application/json");
        request = request.header("Meridian-Delivery", body::name(batch));
        if let Some(path) = secret_file.clone() {
            // Read each time, so that a new one holds at once; beside, since its disk may hang.
            let reading = tokio::task::spawn_blocking(move || read_webhook_secret(&path));
            let secret = reading.await.map_err(|error| error.to_string())??;
            let signature = signature(&secret.text, clock::read().unix_ms() / 1000, &body);
            request = request.header("Meridian-Signature", signature);
        }
        // What it says is not read: its connection closes with this.
        let response = request.body(body).send().await.map_err(|error| chain(&error.without_url()))?;
        let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(judged(response.status(), asked.map(Duration::from_secs)))
    }
}

impl Sender for WebhookSender {
    fn most(&self) -> usize {
        match self.webhook.format {
            Format::Generic => MOST_EVENTS,
            Format::Slack => MOST_LINES,
        }
    }

    async fn send(&self, batch: &Batch) -> Outcome {
        let failed = |why| Outcome::Failed { why, asked: None };
        match timeout(TIMEOUT, self.post(batch)).await {
            Ok(outcome) => outcome.unwrap_or_else(failed),
            Err(_) => failed(format!("no answer in time: waited {} s", TIMEOUT.as_secs())),
        }
    }
}

/// RFC 9110 section 15.5: a 4xx is the sender's mistake, and the same again brings the same, but for those that say "later".
fn judged(status: StatusCode, asked: Option<Duration>) -> Outcome {
    let why = format!("it answers {}", status.as_u16());
    match status {
        status if status.is_success() => Outcome::Delivered,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Outcome::Failed { why, asked }
        }
        status if status.is_client_error() => Outcome::Refused(why),
        _ => Outcome::Failed { why, asked },
    }
}

/// `t=UNIX,v1=HEX`: HMAC-SHA256 of the time, a dot and the body, so that none can be sent again later as if new.
pub fn signature(secret: &str, unix_s: u64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()));
    context.update(format!("{unix_s}.").as_bytes());
    context.update(body);
    let hex: String = context.sign().as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
    format!("t={unix_s},v1={hex}")
}

/// The secret in this file.
///
/// # Errors
/// What is wrong with the file, for people.
pub fn read_webhook_secret(path: &Path) -> Result<Secret, String> {
    read_secret(path, "the webhook's secret", LEAST_SECRET)
}

/// Proxies named in the environment are not used, as for all that this server asks.
fn client(ca_pem: Option<&str>) -> Result<reqwest::Client, String> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(client_config(ca_pem.map_or(Trust::System, Trust::Pem))?)
        .no_proxy()
        .redirect(Policy::none())
        .pool_max_idle_per_host(0)
        .user_agent(concat!("meridian-events/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| chain(&error))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Value;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::control::events::event::{Change, Event, RegionChange, tests::down};

    const SECRET: &str = "correct horse battery staple";

    fn batch(left_out: usize) -> Batch {
        let event = |id| {
            let region = RegionChange { region: "a&<b>@gslb.example".into(), ..down() };
            Arc::new(Event { id, at: jiff::Timestamp::UNIX_EPOCH, change: Change::Region(region) })
        };
        Batch::of(vec![event(7), event(9)], left_out)
    }

    /// A receiver that takes one request, and answers so; what it got.
    async fn exchange(answer: &str, format: Format, secret: bool, left_out: usize) -> (Outcome, String) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hook.secret");
        std::fs::write(&path, format!("{SECRET}\n")).expect("written");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/T0/B0/hidden", listener.local_addr().expect("an address"));
        let answer = format!("HTTP/1.1 {answer}\r\nconnection: close\r\n\r\n");
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let (mut got, mut octets) = (Vec::new(), [0; 4096]);
            while let Ok(length @ 1..) = stream.read(&mut octets).await {
                got.extend_from_slice(&octets[..length]);
                let text = String::from_utf8_lossy(&got).to_ascii_lowercase();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
                if length == Some(body.len()) {
                    break;
                }
            }
            stream.write_all(answer.as_bytes()).await.expect("answered");
            String::from_utf8(got).expect("text")
        });
        let secret_file = secret.then_some(path);
        let sender = WebhookSender::new(Webhook { url, format, secret_file, ca_pem: None });
        let outcome = sender.send(&batch(left_out)).await;
        (outcome, serving.await.expect("served"))
    }

    fn body(request: &str) -> (Value, &str) {
        let (_, body) = request.split_once("\r\n\r\n").expect("a body");
        (serde_json::from_str(body).expect("JSON"), body)
    }

    fn header<'a>(request: &'a str, name: &str) -> &'a str {
        let line = request.lines().find(|line| line.to_ascii_lowercase().starts_with(name)).expect("the header");
        line.split_once(": ").expect("a value").1
    }

    #[tokio::test]
    async fn a_receiver_gets_signed_events_as_the_api_has_them() {
        let (outcome, request) = exchange("204 No Content", Format::Generic, true, 2).await;
        assert_eq!(outcome, Outcome::Delivered);
        assert!(request.starts_with("POST /T0/B0/hidden HTTP/1.1\r\n"), "{request}");
        let (json, text) = body(&request);
        assert_eq!((json["left_out"].as_u64(), json["events"][1]["id"].as_u64()), (Some(2), Some(9)));
        assert_eq!(
            (json["events"][0]["kind"].as_str(), header(&request, "content-type")),
            (Some("region"), "application/json")
        );
        assert_eq!(header(&request, "meridian-delivery"), "7-9");
        let signed = header(&request, "meridian-signature");
        let (time, hex) = signed.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).expect("both parts");
        let octets: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect();
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        assert!(hmac::verify(&key, format!("{time}.{text}").as_bytes(), &octets).is_ok(), "{signed}");
        assert!(hmac::verify(&key, format!("{time}1.{text}").as_bytes(), &octets).is_err());
    }

    #[test]
    fn the_signature_is_that_of_other_programs() {
        // printf 1795000000.{} | openssl dgst -sha256 -hmac 'correct horse battery staple'
        let expected = "t=1795000000,v1=e1a69036a880ac21f0fbe65f71fb9255b5990ec8a54d902fecce95f36fd9280d";
        assert_eq!(signature(SECRET, 1_795_000_000, b"{}"), expected);
    }

    #[tokio::test]
    async fn slack_gets_a_text_whose_special_characters_are_escaped() {
        let (outcome, request) = exchange("200 OK", Format::Slack, false, 3).await;
        assert_eq!(outcome, Outcome::Delivered);
        let text = body(&request).0["text"].as_str().expect("a text").to_owned();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("(3 events before these are left out)"));
        let said = "1970-01-01T00:00:00Z warning: region a&amp;&lt;b&gt;@gslb.example down: 2 of 2 endpoints; \
                    last: connection refused";
        assert_eq!((lines.next(), lines.next(), lines.next()), (Some(said), Some(said), None));
    }

    #[tokio::test]
    async fn a_status_says_whether_to_try_again() {
        let failed = |code: u16, asked: Option<u64>| Outcome::Failed {
            why: format!("it answers {code}"),
            asked: asked.map(Duration::from_secs),
        };
        for (answer, expected) in [
            ("500 Oh", failed(500, None)),
            ("503 Oh\r\nretry-after: 20", failed(503, Some(20))),
            ("429 Oh\r\nretry-after: Fri, 31 Dec 1999 23:59:59 GMT", failed(429, None)),
            ("408 Oh", failed(408, None)),
            ("302 Found\r\nlocation: http://127.0.0.1:1/", failed(302, None)),
            ("404 Not Found", Outcome::Refused("it answers 404".into())),
            ("410 Gone", Outcome::Refused("it answers 410".into())),
        ] {
            assert_eq!(exchange(answer, Format::Generic, false, 0).await.0, expected, "{answer}");
        }
    }

    async fn why(url: String, secret_file: Option<std::path::PathBuf>) -> String {
        let sender = WebhookSender::new(Webhook { url, format: Format::Generic, secret_file, ca_pem: None });
        match sender.send(&batch(0)).await {
            Outcome::Failed { why, asked: None } => why,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn an_error_says_nothing_of_the_url_but_its_host() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let gone = listener.local_addr().expect("an address");
        drop(listener);
        let refused = why(format!("http://user:hunter2@{gone}/T0/hidden?token=hidden"), None).await;
        assert!(
            refused.contains("refused") && !refused.contains("hidden") && !refused.contains("hunter2"),
            "{refused}"
        );
        let unsigned = why(format!("http://{gone}/"), Some("/nonexistent/hook.secret".into())).await;
        assert!(unsigned.contains("the webhook's secret in /nonexistent/hook.secret"), "{unsigned}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_hangs_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        assert_eq!(why(url, None).await, "no answer in time: waited 10 s");
    }
}
