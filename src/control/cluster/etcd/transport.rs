//! One request over HTTP, with certificates and passwords from files.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::AUTHORIZATION;
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use serde_json::Value;
use tokio::time::Instant;

use crate::control::bounded_file;
use crate::control::probe::outcome::chain;
use crate::control::probe::tls::{TlsFiles, client_config_of};

use super::fault::{Fault, read_fault};
use super::settings::EtcdSettings;

/// The longest response taken, in octets.
const MOST_BODY: usize = 16 * 1024 * 1024;
/// Files are not read more often than this.
const LEAST_BETWEEN_READS: Duration = Duration::from_secs(10);
/// Tells a member without a leader to say so at once, on watches too, instead of waiting for one.
const REQUIRE_LEADER: (&str, &str) = ("Grpc-Metadata-hasleader", "true");

pub(super) struct Transport {
    settings: Arc<EtcdSettings>,
    made: Mutex<Option<Made>>,
}

/// A client, and the age of what it read.
struct Made {
    client: Result<Client, String>,
    at: Instant,
    /// A request failed since: files may have been replaced.
    doubted: bool,
}

impl Transport {
    pub(super) fn new(settings: Arc<EtcdSettings>) -> Transport {
        Transport { settings, made: Mutex::new(None) }
    }

    /// The response to a POST, if it is a good one; what it says is not read yet.
    pub(super) async fn post(&self, url: &str, token: Option<&str>, body: &Value) -> Result<Response, Fault> {
        let client = self.client().await?;
        let mut request = client.post(url).header(REQUIRE_LEADER.0, REQUIRE_LEADER.1).json(body);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token);
        }
        let response = request.send().await.map_err(|error| self.failed(error))?;
        let status = response.status().as_u16();
        if status == 200 {
            return Ok(response);
        }
        Err(read_fault(status, &self.body(response).await?))
    }

    /// A whole response.
    pub(super) async fn body(&self, mut response: Response) -> Result<Vec<u8>, Fault> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(error))? {
            if body.len() + chunk.len() > MOST_BODY {
                return Err(Fault::Unknown(format!("its answer is longer than {} MiB", MOST_BODY >> 20)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// The password of the user, read anew each time.
    pub(super) async fn password(&self) -> Result<String, Fault> {
        let Some(path) = self.settings.password_file.clone() else { return Ok(String::new()) };
        let reading = tokio::task::spawn_blocking(move || bounded_file::read_secret(&path, "etcd's password", 1));
        let secret = reading.await.map_err(|error| Fault::Refused(error.to_string()))?;
        secret.map(|secret| secret.text).map_err(Fault::Refused)
    }

    /// What a failure means; files are looked at again before the next connection.
    pub(super) fn failed(&self, error: reqwest::Error) -> Fault {
        self.doubt();
        let error = error.without_url();
        let why = chain(&error);
        if error.is_connect() || error.is_builder() { Fault::NotDone(why) } else { Fault::Unknown(why) }
    }

    /// For failures that are no errors of HTTP, such as an answer that never came.
    pub(super) fn doubt(&self) {
        if let Some(made) = self.made.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            made.doubted = true;
        }
    }

    async fn client(&self) -> Result<Client, Fault> {
        if let Some(client) = self.usable() {
            return client.map_err(Fault::NotDone);
        }
        let settings = self.settings.clone();
        // Beside, since the files' disk may hang.
        let making = tokio::task::spawn_blocking(move || client(&settings)).await;
        let client = making.unwrap_or_else(|error| Err(error.to_string()));
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let client = match (client, made.take()) {
            // Files that are being replaced: those of before are better than none.
            (Err(why), Some(Made { client: Ok(before), .. })) => {
                tracing::warn!(%why, "etcd: certificates stay those of before");
                Ok(before)
            }
            (client, _) => client,
        };
        *made = Some(Made { client: client.clone(), at: Instant::now(), doubted: client.is_err() });
        client.map_err(Fault::NotDone)
    }

    /// The client there is, unless a new one is due.
    fn usable(&self) -> Option<Result<Client, String>> {
        let has_files = self.settings.ca_file.is_some() || self.settings.certificate_file.is_some();
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let due = |made: &&Made| !(made.doubted && has_files && made.at.elapsed() >= LEAST_BETWEEN_READS);
        made.as_ref().filter(due).map(|made| made.client.clone())
    }
}

/// Proxies named in the environment are not used, as for all that this server asks. Nothing is sent twice.
fn client(settings: &EtcdSettings) -> Result<Client, String> {
    Client::builder()
        .tls_backend_preconfigured(client_config_of(&TlsFiles {
            ca: settings.ca_file.clone(),
            certificate: settings.certificate_file.clone(),
            key: settings.key_file.clone(),
        })?)
        .no_proxy()
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .http1_only()
        .connect_timeout(settings.timeout / 2)
        .user_agent(concat!("meridian/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| chain(&error))
}
