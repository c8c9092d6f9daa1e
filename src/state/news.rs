//! The news that the publisher is told, and how soon that has to show: the one way in.
//!
//! In: probes, load reports, answers, operators' words, files. Out: nothing by itself; whoever brings the
//! news publishes as soon as its [`Urgency`] says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::atlas::Atlas;
use crate::model::{Model, ProbeId};
use crate::steer::health::degraded::BalancerHealth;
use crate::steer::health::effective::Override;
use crate::steer::health::stability::DrainBegin;
use crate::steer::health::verdict::Verdict;
use crate::steer::health::vote::Vantage;
use crate::steer::kept::Clock;
use crate::steer::latency::rtt::Measured;
use crate::steer::planner::demand::DemandSample;

use super::memory::planning::kept_form::KeptPlanning;
use super::memory::planning::role::{Role, SiteSample};
use super::memory::switches::Switches;
use super::work::Done;

/// Something to take into the next snapshot.
#[derive(Debug)]
pub enum News {
    /// A probe was judged.
    Probe(EndpointNews),
    /// A load report came, or failed to.
    Load(LoadNews),
    /// A balancer said something of what is behind it, or that cannot be read.
    Health(HealthNews),
    /// Answers were given. Their ids are of the current snapshot.
    Demand(Vec<DemandSample>),
    /// This node plans for itself, for all nodes, or not at all.
    Role(Role),
    /// Other nodes gave these answers: for the leader.
    DemandOfOthers(Vec<SiteSample>),
    /// What a leader knows and has planned takes the place of what was known: for followers. The clock is the
    /// leader's: when it was handed out, by both.
    Adopted(Arc<KeptPlanning>, Clock),
    /// All have agreed on the proposal of this number: for the leader.
    Agreed(u64),
    /// A job is back that [`Publisher::next_job`](super::Publisher::next_job) gave.
    Done(Done),
    /// An operator said something of a region, by qualified name; `Auto` takes it back.
    Override {
        region: String,
        operator_override: Override,
        /// The beginning of its drain, where that was kept before it was said: both tell the same then.
        drain: Option<DrainBegin>,
    },
    /// Operators' words of before a restart, and how drains began, by qualified region name: in place of all that
    /// was said, and of the reason why it could not be read.
    Overrides { overrides: BTreeMap<String, Override>, drains: BTreeMap<String, DrainBegin> },
    /// Operators' words of before a restart cannot be read, for this reason: regions stand on `auto` until they can.
    OverridesLost(String),
    /// Operators switched services between stages, or shifted their canaries: in place of all that was said of services before.
    Switches(Switches),
    /// The other vantages that are fresh said something, by node name: in place of all that was said before. Empty: this
    /// node goes by its own probes.
    Vantages(BTreeMap<String, Vantage>),
    /// Round trips were measured: in place of all that was before. Networks that have estimates are told apart.
    Measured(Arc<Measured>),
    /// Databases were replaced; all else stays.
    Atlas(Box<Atlas>),
    /// A configuration takes the place of the one before. What is known of regions and endpoints that are still there
    /// is kept.
    Reload(Box<Replacement>),
}

impl News {
    /// An operator's word of a region, of which nothing was kept before.
    pub fn set_override(region: impl Into<String>, operator_override: Override) -> News {
        News::Override { region: region.into(), operator_override, drain: None }
    }
}

/// The finding of a probe about one endpoint.
#[derive(Clone, Debug)]
pub struct EndpointNews {
    /// Qualified name.
    pub region: Arc<str>,
    /// `Endpoint::label`.
    pub endpoint: Arc<str>,
    /// Which of its probes.
    pub probe: ProbeId,
    pub verdict: Verdict,
    /// For people: what was seen.
    pub seen: String,
    pub connect_ms: Option<f64>,
    /// The time of the whole probe, in milliseconds; `None` where it failed.
    pub total_ms: Option<f64>,
    /// There was an answer of some kind, be it a refusal.
    pub heard: bool,
}

impl EndpointNews {
    /// The finding of an endpoint's only probe.
    pub fn of_only_probe(region: &str, endpoint: &str, verdict: Verdict) -> EndpointNews {
        EndpointNews {
            region: region.into(),
            endpoint: endpoint.into(),
            probe: ProbeId::default(),
            verdict,
            seen: String::new(),
            connect_ms: None,
            total_ms: None,
            heard: true,
        }
    }
}

/// The word of a load report on one region.
///
/// A report moves the region's price and trim, unless it is doubted; a failed one moves nothing, nor does one that is
/// stale already. A figure older than the one that is known tells nothing.
#[derive(Clone, Debug)]
pub struct LoadNews {
    /// Qualified name.
    pub region: Arc<str>,
    /// The time its figure is as of; of a failed one, when it failed.
    pub at: Instant,
    /// Load (0 or more, finite) and, where it was said, capacity (above 0, finite); or why not.
    pub outcome: Result<(f64, Option<f64>), String>,
}

/// The word of a region's balancer on what is behind it.
#[derive(Clone, Debug)]
pub struct HealthNews {
    /// Qualified name.
    pub region: Arc<str>,
    /// The time its word is as of.
    pub at: Instant,
    /// Or why it cannot be read: then the last word stays.
    pub outcome: Result<BalancerHealth, String>,
}

/// A loaded configuration on its way into the next snapshot.
#[derive(Debug)]
pub struct Replacement {
    pub model: Model,
    /// `None`: the one that is there.
    pub atlas: Option<Atlas>,
    /// Empty: NSID is not answered.
    pub nsid: String,
    pub seed: u64,
}

/// The urgency of publishing news.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Not for its own sake. What follows from it falls due by time
    /// ([`Publisher::next_change`](super::Publisher::next_change)).
    None,
    /// With other news of the same burst: it moves figures that people read, or prices by a little.
    Soon,
    /// At once: it changes what is answered, or somebody waits for it.
    Now,
}
