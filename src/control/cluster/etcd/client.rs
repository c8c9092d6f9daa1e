//! The calls: each within its time, at one endpoint after the other, and nothing done twice by mistake.
//!
//! A reading, a lease's prolongation and the like may be asked of another endpoint at once. A transaction that was sent
//! may take though its answer is lost: it is not sent again, and [`StoreError::Away`] says that nobody knows.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Response;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::control::cluster::store::{LeaseId, Listing, Outcome, Revision, StoreError, Transaction};

use super::fault::Fault;
use super::members::{Gateway, Members, PREFIXES};
use super::message;
use super::settings::EtcdSettings;
use super::transport::Transport;
use super::watch::Watch;

pub use super::members::EtcdHealth;

/// A client of etcd, for as long as the process lives. Calls may run at the same time.
pub struct Etcd {
    settings: Arc<EtcdSettings>,
    members: Arc<Members>,
    transport: Arc<Transport>,
    /// Of the user, if there is one.
    token: Mutex<Option<String>>,
}

/// A request, and whether it may be sent to another endpoint when nobody knows whether the first did it.
struct Call {
    path: Path,
    body: Value,
    repeatable: bool,
}

#[derive(Clone, Copy)]
enum Path {
    Of(&'static str),
    /// It has moved from version to version.
    Revoke,
}

impl Etcd {
    /// Connects at the first call.
    pub fn new(settings: EtcdSettings) -> Etcd {
        let settings = Arc::new(settings);
        Etcd {
            members: Arc::new(Members::new(&settings.endpoints)),
            transport: Arc::new(Transport::new(settings.clone())),
            token: Mutex::new(None),
            settings,
        }
    }

    /// All keys that begin so, as a majority of the members has them; at most 16 MiB as JSON. Keys that are no text are
    /// left out here and in watches: no node makes such.
    ///
    /// # Errors
    /// [`StoreError::Away`], [`StoreError::Refused`]
    pub async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        let call = Call::new("kv/range", message::list_request(prefix));
        self.call(call, |body| message::read_listing(body).map_err(Fault::Unknown)).await
    }

    /// Does all of a transaction or nothing.
    ///
    /// # Errors
    /// [`StoreError::Away`]: not known whether it took; [`StoreError::Refused`] and [`StoreError::LeaseOver`]: it did not.
    pub async fn commit(&self, transaction: &Transaction) -> Result<Outcome, StoreError> {
        transaction.check()?;
        let conditions = transaction.conditions.len();
        let call = Call::once("kv/txn", message::commit_request(transaction));
        self.call(call, |body| message::read_outcome(body, conditions).map_err(Fault::Unknown)).await
    }

    /// A new lease for this long: whole seconds, rounded up. etcd may give more, 2 s at least with its usual settings.
    ///
    /// # Errors
    /// [`StoreError::Away`]: if there is a new lease, it ends by itself; [`StoreError::Refused`]: no space is left.
    pub async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let seconds = ttl.as_secs().saturating_add(u64::from(ttl.subsec_nanos() > 0));
        let call = Call::new("lease/grant", message::grant_request(seconds));
        self.call(call, |body| message::read_grant(body).map_err(Fault::Unknown)).await
    }

    /// Gives a lease all of its time again.
    ///
    /// # Errors
    /// [`StoreError::LeaseOver`], [`StoreError::Away`]
    pub async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        let call = Call::new("lease/keepalive", message::lease_request(lease));
        self.call(call, message::read_keep_alive).await
    }

    /// Ends a lease, with its keys.
    ///
    /// # Errors
    /// [`StoreError::LeaseOver`]: it is no more; [`StoreError::Away`]
    pub async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        let call = Call { path: Path::Revoke, body: message::lease_request(lease), repeatable: true };
        self.call(call, |body| message::read_nothing(body).map_err(Fault::Unknown)).await
    }

    /// The changes below a prefix, this revision's and all later ones.
    ///
    /// # Errors
    /// [`StoreError::Compacted`]: some of them are not told any more; [`StoreError::Away`], [`StoreError::Refused`]
    pub async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, StoreError> {
        let call = Call::new("watch", message::watch_request(prefix, from));
        let begin =
            |endpoint, response| Watch::begin(self.members.clone(), endpoint, response, from, self.settings.watch_idle);
        self.each(&call, begin).await
    }

    /// Alarms that keep etcd from its work, such as `NOSPACE` and `CORRUPT`; none is usual.
    ///
    /// # Errors
    /// [`StoreError::Away`], [`StoreError::Refused`]: a user without the role for it.
    pub async fn alarms(&self) -> Result<Vec<String>, StoreError> {
        let call = Call::new("maintenance/alarm", json!({ "action": "GET" }));
        self.call(call, |body| message::read_alarms(body).map_err(Fault::Unknown)).await
    }

    /// Which endpoint answers, for people. Asks nothing: it is as the last calls found it.
    pub fn health(&self) -> EtcdHealth {
        self.members.health()
    }

    /// A call with a bounded answer.
    async fn call<T>(&self, call: Call, read: impl Fn(&[u8]) -> Result<T, Fault>) -> Result<T, StoreError> {
        let (read, transport) = (&read, &self.transport);
        self.each(&call, move |_, response| async move { read(&transport.body(response).await?) }).await
    }

    /// Asks one endpoint after the other, each at most once.
    ///
    /// All of it takes no longer than the settings say. An attempt has half of what is left if another may follow.
    async fn each<T, F: Future<Output = Result<T, Fault>>>(
        &self,
        call: &Call,
        take: impl Fn(usize, Response) -> F,
    ) -> Result<T, StoreError> {
        let deadline = Instant::now() + self.settings.timeout;
        let order = self.members.order();
        let mut last = Fault::NotDone("no endpoint is configured".into());
        for (tried, &endpoint) in order.iter().enumerate() {
            let more = tried + 1 < order.len();
            let fault = match self.attempt(call, endpoint, share(deadline, more), deadline, &take).await {
                Ok(taken) => {
                    self.members.answered(endpoint);
                    return Ok(taken);
                }
                Err(fault) => fault,
            };
            match &fault {
                Fault::Refused(why) | Fault::Token(why) => self.members.refused(endpoint, why),
                Fault::LeaseOver | Fault::Compacted(_) => self.members.answered(endpoint),
                Fault::NotDone(why) | Fault::Unknown(why) => self.members.failed(endpoint, why),
                Fault::NoSuchPath => self.members.failed(endpoint, "it is no etcd with a gateway"),
            }
            let ask_another = match fault {
                Fault::NotDone(_) | Fault::NoSuchPath => true,
                Fault::Unknown(_) => call.repeatable,
                _ => false,
            };
            last = fault;
            if !ask_another {
                break;
            }
        }
        Err(last.told())
    }

    /// One attempt; once more with a new token if the old one is not valid.
    async fn attempt<T, F: Future<Output = Result<T, Fault>>>(
        &self,
        call: &Call,
        endpoint: usize,
        soon: Instant,
        deadline: Instant,
        take: &impl Fn(usize, Response) -> F,
    ) -> Result<T, Fault> {
        // What comes before the request itself changes nothing.
        let gateway = self.within(soon, self.gateway(endpoint)).await.map_err(not_done)?;
        let mut token = self.within(soon, self.token(endpoint, &gateway, None)).await.map_err(not_done)?;
        let until = if call.repeatable { soon } else { deadline };
        let url = self.members.url(endpoint, gateway.prefix, call.path.at(&gateway));
        let mut renewed = self.settings.user.is_none();
        loop {
            let asking = async {
                let response = self.transport.post(&url, token.as_deref(), &call.body).await?;
                take(endpoint, response).await
            };
            match self.within(until, asking).await {
                Err(Fault::Token(_)) if !renewed => renewed = true,
                done => return done,
            }
            token = self.within(until, self.token(endpoint, &gateway, token)).await.map_err(not_done)?;
        }
    }

    /// Where the endpoint's gateway serves: asked once, and again after a failure.
    async fn gateway(&self, endpoint: usize) -> Result<Gateway, Fault> {
        if let Some(gateway) = self.members.gateway(endpoint) {
            return Ok(gateway);
        }
        for prefix in PREFIXES {
            let url = self.members.url(endpoint, prefix, "maintenance/status");
            let status = match self.transport.post(&url, None, &json!({})).await {
                Ok(response) => {
                    let body = self.transport.body(response).await?;
                    message::read_status(&body).map_err(Fault::NotDone)?
                }
                Err(Fault::NoSuchPath) => continue,
                // It serves here, but tells us nothing of itself.
                Err(Fault::Refused(_) | Fault::Token(_)) => message::Status { has_leader: true, ..Default::default() },
                Err(fault) => return Err(fault),
            };
            if !status.has_leader {
                return Err(Fault::NotDone("it has no leader".into()));
            }
            let gateway = Gateway::new(prefix, status);
            self.members.found(endpoint, gateway.clone());
            return Ok(gateway);
        }
        Err(Fault::NoSuchPath)
    }

    /// The user's token, but not the one that was refused; `None` where there is no user, or where etcd asks for none.
    async fn token(&self, endpoint: usize, gateway: &Gateway, not: Option<String>) -> Result<Option<String>, Fault> {
        let Some(user) = &self.settings.user else { return Ok(None) };
        let known = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if known.is_some() && known != not {
            return Ok(known);
        }
        let request = message::authenticate_request(user, &self.transport.password().await?);
        let url = self.members.url(endpoint, gateway.prefix, "auth/authenticate");
        let token = match self.transport.post(&url, None, &request).await {
            Ok(response) => message::read_token(&self.transport.body(response).await?).map_err(Fault::NotDone)?,
            Err(Fault::Refused(why)) if why.contains("authentication is not enabled") => return Ok(None),
            Err(fault) => return Err(fault),
        };
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
        Ok(Some(token))
    }

    async fn within<T>(&self, until: Instant, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        timeout_at(until, work).await.unwrap_or_else(|_| {
            self.transport.doubt();
            Err(Fault::Unknown("no answer in time".into()))
        })
    }
}

impl Call {
    fn new(path: &'static str, body: Value) -> Call {
        Call { path: Path::Of(path), body, repeatable: true }
    }

    /// One that must not be done twice.
    fn once(path: &'static str, body: Value) -> Call {
        Call { repeatable: false, ..Call::new(path, body) }
    }
}

impl Path {
    fn at(self, gateway: &Gateway) -> &'static str {
        match self {
            Path::Of(path) => path,
            Path::Revoke => gateway.revoke_path(),
        }
    }
}

/// The end of an attempt.
fn share(deadline: Instant, more: bool) -> Instant {
    let left = deadline.saturating_duration_since(Instant::now());
    if more { deadline - left / 2 } else { deadline }
}

/// What failed before the request was sent.
fn not_done(fault: Fault) -> Fault {
    match fault {
        Fault::Unknown(why) => Fault::NotDone(why),
        fault => fault,
    }
}
