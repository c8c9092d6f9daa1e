//! How well this machine can ask others: probes that wait, and questions it could not ask by its own fault.
//!
//! What `GET /v1/status`, `meridian status` and the metrics show of it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::control::probe::budget::Budget;
use crate::control::probe::fault::OwnFaults;
use crate::control::probe::reachability::{CutOff, Reachability};
use crate::steer::figure::rounded;

/// What is known of it.
#[derive(Clone)]
pub struct Probing {
    pub budget: Arc<Budget>,
    pub probe_faults: Arc<OwnFaults>,
    pub scrape_faults: Arc<OwnFaults>,
    pub reachability: Arc<Reachability>,
}

/// How well this machine can ask others.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProbingStatus {
    /// Connections that all probes may have at once; 1 or more.
    pub connections: u32,
    pub held: u32,
    /// Probes that are due and wait for a connection.
    pub waiting: u32,
    /// Probes that had to wait, since the start.
    pub delayed: u64,
    /// Probes that could not be made: they are no evidence, so verdicts stayed as they were.
    pub probe_faults: FaultStatus,
    /// The same of load reports that are fetched.
    pub scrape_faults: FaultStatus,
    /// Reference targets that tell whether this server is cut off; 0: none is configured.
    #[serde(default)]
    pub references: usize,
    /// Families of addresses by which it reaches nobody: their failures count against nobody.
    #[serde(default)]
    pub cut_off: Vec<CutOffStatus>,
    /// The same as sentences, as far as it is a trouble now; empty where all is well.
    pub troubles: Vec<String>,
}

/// A family of addresses by which this server reaches nobody.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CutOffStatus {
    /// `IPv4` or `IPv6`.
    pub family: Cow<'static, str>,
    /// For how long.
    pub since_s: f64,
    pub why: String,
}

/// Questions that could not be asked for a fault of this machine.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct FaultStatus {
    /// Since the start.
    pub count: u64,
    /// What the system said the last time; `None`: there was none.
    pub last: Option<String>,
    /// How long ago that was, in seconds.
    pub last_s: Option<f64>,
}

/// The state now.
pub fn probing(known: &Probing, now: Instant) -> ProbingStatus {
    let counts = known.budget.counts();
    let mut status = ProbingStatus {
        connections: counts.connections,
        held: counts.held,
        waiting: counts.waiting,
        delayed: counts.delayed,
        probe_faults: faults(&known.probe_faults, now),
        scrape_faults: faults(&known.scrape_faults, now),
        references: known.reachability.references(),
        cut_off: known.reachability.cut_off().into_iter().map(|of| cut_off(of, now)).collect(),
        troubles: Vec::new(),
    };
    status.troubles = troubles(&status);
    status
}

fn cut_off(of: CutOff, now: Instant) -> CutOffStatus {
    CutOffStatus {
        family: if of.ipv6 { "IPv6" } else { "IPv4" }.into(),
        since_s: now.saturating_duration_since(of.since).as_secs_f64(),
        why: of.why.to_string(),
    }
}

fn faults(of: &OwnFaults, now: Instant) -> FaultStatus {
    let (count, last) = (of.count(), of.last());
    let last_s = last.as_ref().map(|last| now.saturating_duration_since(last.at).as_secs_f64());
    FaultStatus { count, last: last.map(|last| last.why), last_s }
}

/// A fault this long ago is no trouble of now.
const LATELY: Duration = Duration::from_secs(600);

/// Sentences for an operator; none where all is well.
fn troubles(status: &ProbingStatus) -> Vec<String> {
    let waiting = (status.waiting > 0).then(|| {
        let connections = status.connections;
        format!(
            "Probes are due and wait: {connections} connections are all they may have, by `limits.probes` or by the \
             files this process may open."
        )
    });
    let faults = [("Probes", &status.probe_faults), ("Load reports", &status.scrape_faults)];
    let faults = faults.into_iter().filter_map(|(what, faults)| {
        let ago = faults.last_s.filter(|&ago| ago <= LATELY.as_secs_f64())?;
        let (last, ago) = (faults.last.as_deref().unwrap_or_default(), rounded(ago, 0));
        Some(format!(
            "{what} cannot be asked for a fault of this machine, and count against nobody ({ago} s ago: {last})."
        ))
    });
    let cut_off = status.cut_off.iter().map(|of| {
        let since = rounded(of.since_s, 0);
        format!("CUT OFF for {since} s: {}. What fails on the way counts against nobody, and verdicts stay.", of.why)
    });
    cut_off.chain(waiting).chain(faults).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troubles_of_this_machine_are_told_while_they_last() {
        let fault = |last_s| FaultStatus { count: 7, last: Some("Too many open files".into()), last_s: Some(last_s) };
        let mut status = ProbingStatus {
            connections: 10,
            held: 0,
            waiting: 0,
            delayed: 5,
            probe_faults: fault(601.0),
            scrape_faults: FaultStatus::default(),
            references: 0,
            cut_off: Vec::new(),
            troubles: Vec::new(),
        };
        assert!(troubles(&status).is_empty());
        (status.waiting, status.probe_faults) = (3, fault(2.0));
        let told = troubles(&status);
        assert!(told[0].starts_with("Probes are due and wait: 10 connections"), "{told:?}");
        assert!(told[1].starts_with("Probes cannot be asked") && told[1].ends_with("(2 s ago: Too many open files)."));
    }
}
