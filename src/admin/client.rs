//! The other end of the admin API, for the command line: asks a running server.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, ETAG, IF_MATCH};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::api::{OverrideReply, Ready};
use super::frames::{Frame, Frames};
use super::heartbeat::{HeartbeatBody, HeartbeatTaken};
use super::node::{NodeSaid, NodeStatus};
use super::switch::{RollbackBody, RolledBack, ShiftBody, Shifted, SwitchBody, Switched};
use crate::control::events::history::FoundEvents;
pub use crate::control::probe::tls::TlsFiles;
use crate::control::probe::tls::client_config_of;
use crate::control::rum::Imported;
use crate::control::what_if::Change;
use crate::control::what_if::outcome::Outcome;
use crate::control::what_if::placed::Placed;
use crate::steer::health::effective::Override;

/// The longest answer taken, in octets: the status of 1,024 regions of 64 endpoints, and room.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// For the whole of a request. A reload takes up to 50 s before the server gives up waiting.
const PATIENCE: Duration = Duration::from_secs(60);
/// For a stream, which is begun anew then.
const LONGEST_STREAM: Duration = Duration::from_secs(24 * 3_600);
/// The server gives no more items of a list at once.
const MOST_OF_A_PAGE: usize = 1_000;

/// Asks one server.
pub struct AdminClient {
    base: String,
    /// Where the server is, in messages.
    shown: String,
    token: Option<String>,
    http: reqwest::Client,
}

/// Why a server did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot connect to {address}: is `meridian serve` running? ({why})")]
    CannotConnect { address: String, why: String },
    #[error("{address} takes no unknown callers: give the admin token")]
    Token { address: String },
    /// It answered, and said no.
    #[error("{error}{}", details.iter().map(|line| format!("\n{line}")).collect::<String>())]
    Refused { status: u16, error: String, details: Vec<String> },
    /// What answers there is something else, or broke off.
    #[error("{address} does not answer as meridian does: {why}")]
    NotMeridian { address: String, why: String },
    #[error("cannot ask: {0}")]
    Unusable(String),
}

/// The state of a server as it comes.
pub struct Live {
    response: reqwest::Response,
    frames: Frames,
    address: String,
}

impl Live {
    /// The next frame; `None`: the server has ended the stream. May be dropped while it waits.
    ///
    /// # Errors
    /// The stream broke off, or is none of ours.
    pub async fn next(&mut self) -> Result<Option<Frame>, ClientError> {
        let broken = |why: String| ClientError::NotMeridian { address: self.address.clone(), why };
        loop {
            if let Some(frame) = self.frames.cut_off().map_err(broken)? {
                return Ok(Some(frame));
            }
            match self.response.chunk().await.map_err(|error| broken(chain(&error)))? {
                Some(octets) => self.frames.add(&octets),
                None => return Ok(None),
            }
        }
    }
}

impl AdminClient {
    /// A client of the server whose admin API listens at `address`. Proxies named in the
    /// environment are not used, and no redirect is followed.
    ///
    /// # Errors
    /// The HTTP client cannot be made; certificates are not needed for it.
    pub fn new(address: SocketAddr, token: Option<String>) -> Result<AdminClient, ClientError> {
        AdminClient::made(format!("http://{}", reachable(address)), token, |builder| builder)
    }

    /// The same over TLS. `authority` is `HOST:PORT`; the certificate has to be of that host.
    ///
    /// # Errors
    /// As [`AdminClient::new`], or a file cannot be used.
    pub fn over_tls(authority: &str, token: Option<String>, files: &TlsFiles) -> Result<AdminClient, ClientError> {
        let tls = client_config_of(files).map_err(ClientError::Unusable)?;
        AdminClient::made(format!("https://{authority}"), token, |builder| builder.tls_backend_preconfigured(tls))
    }

    /// The same by a socket of this machine.
    ///
    /// # Errors
    /// As [`AdminClient::new`].
    pub fn here(socket: &Path, token: Option<String>) -> Result<AdminClient, ClientError> {
        let mut client = AdminClient::made("http://localhost".into(), token, |builder| builder.unix_socket(socket))?;
        client.shown = format!("unix:{}", socket.display());
        Ok(client)
    }

    /// Where the server is, for people.
    pub fn address(&self) -> &str {
        &self.shown
    }

    fn made(
        base: String,
        token: Option<String>,
        how: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> Result<AdminClient, ClientError> {
        // reqwest wants a TLS provider to be there, though this is plain HTTP. An error means that
        // one is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = how(reqwest::Client::builder())
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE)
            .connect_timeout(Duration::from_secs(5))
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|error| ClientError::Unusable(error.to_string()))?;
        Ok(AdminClient { shown: base.clone(), base, token, http })
    }

    /// Everything at a glance: [`super::status::Status`] as JSON.
    pub async fn status(&self) -> Result<Value, ClientError> {
        self.get(&["v1", "status"], &[]).await
    }

    /// What is at a path, as JSON.
    pub async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, ClientError> {
        self.ask(Method::GET, path, query, None).await
    }

    /// The same with the version of what is told: its `ETag`, which a change may be held to.
    pub async fn look(&self, path: &[&str]) -> Result<(Value, Option<String>), ClientError> {
        let response = self.send(self.http.request(Method::GET, self.url(path, &[])?)).await?;
        let tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        Ok((self.taken(response).await?, tag))
    }

    /// What is at a path, as text.
    pub async fn text(&self, path: &[&str]) -> Result<String, ClientError> {
        let response = self.send(self.http.request(Method::GET, self.url(path, &[])?)).await?;
        let status = response.status();
        let octets = self.read(response).await?;
        match status.is_success() {
            true => Ok(String::from_utf8_lossy(&octets).into_owned()),
            false => Err(self.refused(status, &octets)),
        }
    }

    /// A list from after a key on, as if it were one page: all `items` of it, `limit` at most, and `next` of the last page.
    pub async fn list(&self, path: &[&str], limit: usize, after: Option<&str>) -> Result<Value, ClientError> {
        let mut whole: Option<Value> = None;
        let (mut found, mut after) = (0, after.map(str::to_owned));
        loop {
            let part = (limit - found).clamp(1, MOST_OF_A_PAGE).to_string();
            let mut query = vec![("limit", part.as_str())];
            query.extend(after.as_deref().map(|after| ("after", after)));
            let mut page = self.get(path, &query).await?;
            let Some(items) = page["items"].as_array_mut().map(std::mem::take) else {
                return Err(self.not_ours("its answer is no list".to_owned()));
            };
            let is_last = items.is_empty();
            found += items.len();
            after = page["next"].as_str().map(str::to_owned);
            let whole = whole.get_or_insert_with(|| page.clone());
            whole["next"] = page["next"].take();
            if let Some(all) = whole["items"].as_array_mut() {
                all.extend(items);
            }
            if is_last || after.is_none() || found >= limit {
                return Ok(whole.take());
            }
        }
    }

    /// The status and events as they come, from after that event on where one is named. It ends when the server does.
    pub async fn live(&self, after: Option<u64>) -> Result<Live, ClientError> {
        let mut request = self.http.request(Method::GET, self.url(&["v1", "live"], &[])?).timeout(LONGEST_STREAM);
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let response = self.send(request).await?;
        let status = response.status();
        if !status.is_success() {
            let octets = self.read(response).await?;
            return Err(self.refused(status, &octets));
        }
        Ok(Live { response, frames: Frames::default(), address: self.shown.clone() })
    }

    /// What changed, and why. The keys are `since`, `after`, `region` and `limit`.
    pub async fn events(&self, query: &[(&str, &str)]) -> Result<FoundEvents, ClientError> {
        let answer = self.ask(Method::GET, &["v1", "events"], query, None).await?;
        serde_json::from_value(answer).map_err(|error| self.not_ours(error.to_string()))
    }

    /// Why a client gets what it gets: [`super::explain::ExplainReport`] as JSON. `by` is `ecs`
    /// or `source`.
    pub async fn explain(&self, name: &str, client: &str, qtype: &str, by: Option<&str>) -> Result<Value, ClientError> {
        let mut query = vec![("name", name), ("client", client), ("type", qtype)];
        query.extend(by.map(|by| ("by", by)));
        self.ask(Method::GET, &["v1", "explain"], &query, None).await
    }

    /// Says something of a region, by bare or qualified name.
    pub async fn set_override(&self, region: &str, operator_override: Override) -> Result<OverrideReply, ClientError> {
        self.say(region, operator_override, false, None).await
    }

    /// As [`AdminClient::set_override`]; `here`: at that node of a cluster alone, while what all share is away;
    /// `if_match`: only where this is the version still, as [`AdminClient::look`] tells it.
    pub async fn say(
        &self,
        region: &str,
        operator_override: Override,
        here: bool,
        if_match: Option<&str>,
    ) -> Result<OverrideReply, ClientError> {
        let mut body = serde_json::json!({ "override": operator_override });
        if here {
            body["here"] = here.into();
        }
        let answer = self.change(&["v1", "regions", region, "override"], &body, if_match).await?;
        serde_json::from_value(answer).map_err(|error| self.not_ours(error.to_string()))
    }

    /// Reports a region's load: what [`super::load::LoadTaken`] says as JSON.
    pub async fn report_load(&self, region: &str, body: &Value) -> Result<Value, ClientError> {
        self.change(&["v1", "regions", region, "load"], body, None).await
    }

    /// Sends a heartbeat of a region's endpoints, by bare or qualified name.
    pub async fn heartbeat(&self, region: &str, body: &HeartbeatBody) -> Result<HeartbeatTaken, ClientError> {
        let body = serde_json::json!(body);
        let answer = self.ask(Method::POST, &["v1", "regions", region, "heartbeat"], &[], Some(body)).await?;
        serde_json::from_value(answer).map_err(|error| self.not_ours(error.to_string()))
    }

    /// Switches a service to another of its stages; with `if_match`, only where this is the version still.
    pub async fn switch(
        &self,
        service: &str,
        body: &SwitchBody,
        if_match: Option<&str>,
    ) -> Result<Switched, ClientError> {
        let body = serde_json::json!(body);
        let answer = self.change(&["v1", "services", service, "switch"], &body, if_match).await?;
        serde_json::from_value(answer).map_err(|error| self.not_ours(error.to_string()))
    }

    /// Shifts a service's canary; with `if_match`, only where this is the version still.
    pub async fn shift(&self, service: &str, body: &ShiftBody, if_match: Option<&str>) -> Result<Shifted, ClientError> {
        let body = serde_json::json!(body);
        let answer = self.change(&["v1", "services", service, "canary"], &body, if_match).await?;
        serde_json::from_value(answer).map_err(|error| self.not_ours(error.to_string()))
    }

    /// Takes back the last switch or shift of a service; with `if_match`, only where this is the version still.
    pub async fn roll_back(
        &self,
        service: &str,
        body: &RollbackBody,
        if_match: Option<&str>,
    ) -> Result<RolledBack, ClientError> {
        let body = serde_json::json!(body);
        let answer = self.change(&["v1", "services", service, "rollback"], &body, if_match).await?;
        serde_json::from_value(answer).map_err(|error| self.not_ours(error.to_string()))
    }

    /// Whether the node should be announced: waits for no longer than this.
    ///
    /// # Errors
    /// Nothing that is known of it.
    pub async fn ready(&self, within: Duration) -> Result<NodeStatus, ClientError> {
        self.well(&["ready"], within).await
    }

    /// Whether the writer lives: [`super::api::Ready`], also where it does not.
    pub async fn writer(&self) -> Result<Ready, ClientError> {
        self.well(&["readyz"], PATIENCE).await
    }

    /// What is said of how it is, also where that is nothing good (503).
    async fn well<T: DeserializeOwned>(&self, path: &[&str], within: Duration) -> Result<T, ClientError> {
        let request = self.http.request(Method::GET, self.url(path, &[])?).timeout(within);
        let response = self.send(request.header(ACCEPT, "application/json")).await?;
        let status = response.status();
        let octets = self.read(response).await?;
        match status {
            StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE => {
                serde_json::from_slice(&octets).map_err(|error| self.not_ours(error.to_string()))
            }
            _ => Err(self.refused(status, &octets)),
        }
    }

    /// Drains this node as a whole, or ends that.
    pub async fn say_of_node(&self, drained: bool) -> Result<NodeSaid, ClientError> {
        let word = if drained { "drain" } else { "resume" };
        let answer = self.ask(Method::POST, &["v1", "node", word], &[], Some(serde_json::json!({}))).await?;
        serde_json::from_value(answer).map_err(|error| self.not_ours(error.to_string()))
    }

    /// Who is in the cluster: [`crate::control::cluster::status::ClusterStatus`] as JSON.
    pub async fn nodes(&self) -> Result<Value, ClientError> {
        self.ask(Method::GET, &["v1", "nodes"], &[], None).await
    }

    /// All nodes' own statuses: [`super::nodes::NodeStatuses`] as JSON.
    pub async fn statuses(&self) -> Result<Value, ClientError> {
        self.ask(Method::GET, &["v1", "nodes", "status"], &[], None).await
    }

    /// Who is where now, and how much.
    pub async fn demand(&self) -> Result<Placed, ClientError> {
        let answer = self.ask(Method::GET, &["v1", "demand"], &[], None).await?;
        serde_json::from_value(answer).map_err(|error| self.not_ours(error.to_string()))
    }

    /// What would follow from a change.
    pub async fn what_if(&self, change: &Change) -> Result<Outcome, ClientError> {
        let body = serde_json::json!(change);
        let answer = self.ask(Method::POST, &["v1", "what-if"], &[], Some(body)).await?;
        serde_json::from_value(answer).map_err(|error| self.not_ours(error.to_string()))
    }

    /// Loads everything afresh: [`crate::control::reload::Reloaded`] as JSON. Mistakes come as
    /// [`ClientError::Refused`]. `force`: also what loses all zones, databases, networks or listeners.
    pub async fn reload(&self, force: bool) -> Result<Value, ClientError> {
        let body = if force { serde_json::json!({ "force": true }) } else { Value::Object(Default::default()) };
        self.ask(Method::POST, &["v1", "reload"], &[], Some(body)).await
    }

    /// What was measured of round trips: [`super::latency::LatencyReport`] as JSON.
    pub async fn latency(&self, query: &[(&str, &str)]) -> Result<Value, ClientError> {
        self.ask(Method::GET, &["v1", "latency"], query, None).await
    }

    /// Imports a table of measurements, written as JSON or CSV. Mistakes come as [`ClientError::Refused`].
    pub async fn import_latency(&self, text: String, json: bool, replace: bool) -> Result<Imported, ClientError> {
        let kind = if json { "application/json" } else { "text/csv" };
        let url = self.url(&["v1", "latency"], if replace { &[("replace", "true")] } else { &[] })?;
        let request = self.http.request(Method::POST, url).header(CONTENT_TYPE, kind).body(text);
        let answer = self.answer(request).await?;
        serde_json::from_value(answer).map_err(|error| self.not_ours(error.to_string()))
    }

    async fn ask(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<Value>,
    ) -> Result<Value, ClientError> {
        let url = self.url(path, query)?;
        let mut request = self.http.request(method, url);
        if let Some(body) = body {
            request = request.json(&body);
        }
        self.answer(request).await
    }

    async fn change(&self, path: &[&str], body: &Value, if_match: Option<&str>) -> Result<Value, ClientError> {
        let mut request = self.http.request(Method::POST, self.url(path, &[])?).json(body);
        if let Some(tag) = if_match {
            request = request.header(IF_MATCH, tag);
        }
        self.answer(request).await
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Value, ClientError> {
        self.taken(self.send(request).await?).await
    }

    async fn send(&self, mut request: reqwest::RequestBuilder) -> Result<reqwest::Response, ClientError> {
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        request.send().await.map_err(|error| self.not_sent(&error))
    }

    async fn taken(&self, response: reqwest::Response) -> Result<Value, ClientError> {
        let status = response.status();
        let octets = self.read(response).await?;
        if status.is_success() {
            return serde_json::from_slice(&octets).map_err(|error| self.not_ours(error.to_string()));
        }
        Err(self.refused(status, &octets))
    }

    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Result<reqwest::Url, ClientError> {
        let unusable = || ClientError::Unusable(format!("{} is no base of URLs", self.base));
        let mut url = reqwest::Url::parse(&self.base).map_err(|_| unusable())?;
        url.path_segments_mut().map_err(|()| unusable())?.clear().extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    async fn read(&self, mut response: reqwest::Response) -> Result<Vec<u8>, ClientError> {
        let mut octets = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.not_ours(chain(&error)))? {
            if octets.len() + chunk.len() > MAX_ANSWER {
                return Err(self.not_ours(format!("its answer is longer than {MAX_ANSWER} octets")));
            }
            octets.extend_from_slice(&chunk);
        }
        Ok(octets)
    }

    fn refused(&self, status: StatusCode, octets: &[u8]) -> ClientError {
        #[derive(Deserialize)]
        struct Body {
            error: String,
            #[serde(default)]
            details: Vec<String>,
        }
        match serde_json::from_slice(octets) {
            Ok(Body { .. }) if status == StatusCode::UNAUTHORIZED && self.token.is_none() => {
                ClientError::Token { address: self.shown.clone() }
            }
            Ok(Body { error, details }) => ClientError::Refused { status: status.as_u16(), error, details },
            Err(_) => self.not_ours(format!("status {status}")),
        }
    }

    fn not_sent(&self, error: &reqwest::Error) -> ClientError {
        if error.is_connect() {
            return ClientError::CannotConnect { address: self.shown.clone(), why: innermost(error) };
        }
        self.not_ours(chain(error))
    }

    /// The error that what answers there is something else, or broke off.
    pub fn not_ours(&self, why: String) -> ClientError {
        ClientError::NotMeridian { address: self.shown.clone(), why }
    }
}

/// A server that listens on all addresses is asked on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => (std::net::Ipv4Addr::LOCALHOST, v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (std::net::Ipv6Addr::LOCALHOST, v6.port()).into(),
        other => other,
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", innermost(source)),
        None => error.to_string(),
    }
}

/// What was wrong at the bottom of it: `Connection refused`.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut at = error;
    while let Some(source) = at.source() {
        at = source;
    }
    at.to_string()
}
