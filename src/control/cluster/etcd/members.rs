//! Which endpoint is asked first, and what is known of each: the last that answered is the first that is asked.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::message::Status;

/// For people: who answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdHealth {
    /// The endpoint that answered last; `None`: none does.
    pub endpoint: Option<String>,
    /// Its version, such as `3.4.23`.
    pub version: Option<String>,
    /// How long none has answered; `None`: one does, or nothing was asked yet.
    pub away_for: Option<Duration>,
    /// The last error, with the endpoint it is of, though others may answer. A refusal is one too.
    pub last_error: Option<String>,
    /// How long ago that was.
    pub last_error_ago: Option<Duration>,
}

pub(super) struct Members {
    endpoints: Vec<String>,
    known: Mutex<Known>,
}

struct Known {
    /// The endpoint to ask first.
    first: usize,
    /// By endpoint; `None`: to be found out.
    gateways: Vec<Option<Gateway>>,
    answering: Option<usize>,
    away_since: Option<Instant>,
    last_error: Option<(Instant, String)>,
}

/// Where an endpoint's gateway serves, and its version.
#[derive(Clone)]
pub(super) struct Gateway {
    /// One of [`PREFIXES`].
    pub(super) prefix: &'static str,
    version: String,
}

/// Where gateways serve: etcd 3.4 and later, 3.3, 3.2.
pub(super) const PREFIXES: [&str; 3] = ["v3", "v3beta", "v3alpha"];

impl Gateway {
    pub(super) fn new(prefix: &'static str, status: Status) -> Gateway {
        Gateway { prefix, version: status.version }
    }

    /// Leases are revoked elsewhere since 3.4.
    pub(super) fn revoke_path(&self) -> &'static str {
        if self.prefix == "v3" { "lease/revoke" } else { "kv/lease/revoke" }
    }
}

impl Members {
    pub(super) fn new(endpoints: &[String]) -> Members {
        let endpoints: Vec<String> = endpoints.iter().map(|url| url.trim_end_matches('/').to_owned()).collect();
        let gateways = vec![None; endpoints.len()];
        let known = Known { first: 0, gateways, answering: None, away_since: None, last_error: None };
        Members { endpoints, known: Mutex::new(known) }
    }

    /// Endpoints by number, in the order to ask them.
    pub(super) fn order(&self) -> Vec<usize> {
        let (first, all) = (self.known().first, self.endpoints.len());
        (first..all).chain(0..first.min(all)).collect()
    }

    pub(super) fn url(&self, endpoint: usize, prefix: &str, path: &str) -> String {
        format!("{}/{prefix}/{path}", self.endpoint(endpoint))
    }

    pub(super) fn gateway(&self, endpoint: usize) -> Option<Gateway> {
        self.known().gateways.get(endpoint).cloned().flatten()
    }

    pub(super) fn found(&self, endpoint: usize, gateway: Gateway) {
        if let Some(slot) = self.known().gateways.get_mut(endpoint) {
            *slot = Some(gateway);
        }
    }

    /// It answered, if only that it will not.
    pub(super) fn answered(&self, endpoint: usize) {
        let mut known = self.known();
        known.first = endpoint;
        known.answering = Some(endpoint);
        known.away_since = None;
    }

    /// It answered that it will not.
    pub(super) fn refused(&self, endpoint: usize, why: &str) {
        self.answered(endpoint);
        self.known().last_error = Some((Instant::now(), self.told(endpoint, why)));
    }

    /// It brought nothing: others are asked before it. Its gateway may be another one when it is back.
    pub(super) fn failed(&self, endpoint: usize, why: &str) {
        let mut known = self.known();
        if known.first == endpoint {
            known.first = (endpoint + 1) % self.endpoints.len().max(1);
        }
        if known.answering == Some(endpoint) {
            known.answering = None;
        }
        if known.answering.is_none() {
            known.away_since.get_or_insert_with(Instant::now);
        }
        known.last_error = Some((Instant::now(), self.told(endpoint, why)));
        if let Some(slot) = known.gateways.get_mut(endpoint) {
            *slot = None;
        }
    }

    pub(super) fn health(&self) -> EtcdHealth {
        let known = self.known();
        let gateway = known.answering.and_then(|endpoint| known.gateways.get(endpoint)?.as_ref());
        EtcdHealth {
            endpoint: known.answering.map(|endpoint| self.endpoint(endpoint).to_owned()),
            version: gateway.map(|gateway| gateway.version.clone()).filter(|version| !version.is_empty()),
            away_for: known.away_since.map(|since| since.elapsed()),
            last_error: known.last_error.as_ref().map(|(_, why)| why.clone()),
            last_error_ago: known.last_error.as_ref().map(|(at, _)| at.elapsed()),
        }
    }

    fn told(&self, endpoint: usize, why: &str) -> String {
        format!("{}: {why}", self.endpoint(endpoint))
    }

    fn endpoint(&self, endpoint: usize) -> &str {
        self.endpoints.get(endpoint).map_or("", String::as_str)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_that_answered_is_asked_first_and_who_failed_after_all_others() {
        let members = Members::new(&["http://a/".into(), "http://b".into(), "http://c".into()]);
        assert_eq!((members.order(), members.health().away_for), (vec![0, 1, 2], None));
        members.answered(1);
        assert_eq!(members.order(), [1, 2, 0]);
        assert_eq!(members.health().endpoint.as_deref(), Some("http://b"));
        members.failed(1, "no answer");
        assert_eq!(members.order(), [2, 0, 1]);
        let health = members.health();
        assert!(health.endpoint.is_none() && health.away_for.is_some());
        assert_eq!(health.last_error.as_deref(), Some("http://b: no answer"));
        members.refused(2, "no space");
        assert_eq!(members.health().last_error.as_deref(), Some("http://c: no space"));
        members.failed(0, "no answer");
        assert_eq!((members.order(), members.health().away_for), (vec![2, 0, 1], None));
        assert_eq!(members.url(0, "v3", "kv/range"), "http://a/v3/kv/range");
        assert_eq!(Members::new(&[]).order(), [0; 0]);
    }
}
