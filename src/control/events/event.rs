//! One event: what changed, from what to what, why, and what the probes had seen. As it is kept, served and read.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::steer::figure::whole_percent;
use crate::steer::health::dependency;
use crate::steer::health::effective::{EffectiveState, Override};
use crate::steer::policy::eligible::ServiceCondition;

/// A change, numbered and dated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Greater than those of all events before, also over restarts; up to 2⁵³.
    pub id: u64,
    /// By the wall clock; RFC 3339 in UTC where it is written.
    #[serde(with = "rfc3339")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub at: Timestamp,
    #[serde(flatten)]
    pub change: Change,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schemars(rename = "EventChange")]
pub enum Change {
    Region(RegionChange),
    Service(ServiceChange),
    Reload(ReloadChange),
    Server(ServerChange),
    Node(NodeChange),
    Switch(WayChange),
}

/// A region's effective state, or what holds it there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RegionChange {
    /// Qualified.
    pub region: String,
    /// `None`: the region is new, by a reload.
    pub before: Option<EffectiveState>,
    /// `None`: the region is configured no more; all else is as it was last. The same as `before` where an override, a
    /// hold, a damping, a delay or a wait for an operator began or ended that changes nothing for now.
    pub after: Option<EffectiveState>,
    pub cause: Cause,
    /// What has ended, where the cause is that something has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifted: Option<Cause>,
    #[serde(rename = "override")]
    pub operator_override: Override,
    /// What the region depends on and does not serve, where that alone takes it down: a service, or a region as
    /// `name@zone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_dependency: Option<String>,
    /// How long a hold, a damping or a delay that begins will last, in seconds, unless it ends before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_s: Option<u64>,
    /// It comes back with a tenth of its capacity at first.
    #[serde(default)]
    pub starts_slowly: bool,
    /// What makes it offer less than it could, or takes it down by its balancer's word: `3 of 4 servers up`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<String>,
    /// Whether its IPv6 addresses are down, where that is what changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_down: Option<bool>,
    pub endpoints: usize,
    pub endpoints_down: usize,
    /// Those that are probed, the ones that are down first; [`MOST_PROBES`] at most.
    pub probes: Vec<ProbeSeen>,
    /// Names of services that use the region; [`MOST_SERVICES`] at most.
    pub services: Vec<String>,
    pub services_in_all: usize,
    /// Where the region leaves the answers: the regions that its clients go to, the largest share first; [`MOST_SHARES`] at
    /// most. Empty where it does not, or none of its clients moves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients_go_to: Vec<ClientShare>,
    /// Where it is back in answers: the regions that its clients come from, likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients_come_from: Vec<ClientShare>,
}

/// Another region's share of the clients that move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClientShare {
    /// Qualified.
    pub region: String,
    /// Above 0, up to 1; of all clients that move.
    pub share: f64,
}

/// So many regions that clients move to are told.
pub const MOST_SHARES: usize = 8;

/// So many endpoints of a region are written down.
pub const MOST_PROBES: usize = 8;
/// So many services of a region are named.
pub const MOST_SERVICES: usize = 8;

/// What made it so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// What its probes say, or that its slow start or hysteresis has passed.
    Probes,
    /// Its balancer says that it is down.
    Balancer,
    /// It offers less of its capacity than it could for its balancer's word or slow probes, or all of it again.
    Degraded,
    /// Something that it depends on does not serve.
    Dependency,
    /// An operator's word.
    Override,
    /// Its probes say up, but it has gone down too often.
    Damped,
    /// Its probes took it down and say up again, but not for long enough.
    Delayed,
    /// Its probes took it down and say up again, but an operator has to say so too.
    AwaitsResume,
    /// Its probes say down, but too many regions of its zone have gone at once.
    Held,
    /// An override, a failed dependency, a damping, a delay, a wait for an operator or a hold has ended.
    Lifted,
    /// Its IPv6 addresses alone are down, or up again.
    Ipv6,
    /// Another configuration.
    Reload,
}

/// An endpoint, as its last probe found it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProbeSeen {
    /// And which of its probes, where there are several: `192.0.2.1 IPv6`.
    pub endpoint: String,
    pub verdict: String,
    /// What the probe saw, for people; cut off after [`MOST_TEXT`] characters.
    pub last_probe: String,
    /// Since that probe, in seconds; `None`: there was none.
    pub age_s: Option<f64>,
    /// The last successful probe's connection set-up, in milliseconds.
    pub connect_ms: Option<f64>,
}

/// So many characters of what an endpoint said are kept.
pub const MOST_TEXT: usize = 200;

/// The condition that a service's regions leave it in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceChange {
    /// Its name, without a dot at the end.
    pub service: String,
    /// The fence whose clients it is about; `None`: clients that no fence is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<String>,
    /// `None`: the service is new, by a reload.
    pub before: Option<ServiceCondition>,
    /// `None`: the service is configured no more.
    pub after: Option<ServiceCondition>,
}

/// The numbers of regions and services that a reload brought or took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReloadChange {
    pub regions_new: usize,
    pub regions_gone: usize,
    pub services_new: usize,
    pub services_gone: usize,
}

/// This server's own reach by one family of addresses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServerChange {
    pub before: Reach,
    pub after: Reach,
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// Why it is thought to be cut off; `None`: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How long it was cut off, in seconds, where that has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_s: Option<u64>,
    /// Told by the other nodes, that see up what it sees down: then its probes do not vote.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_others: bool,
}

/// An operator's word on this node as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeChange {
    /// It drains: routers should no longer send clients here.
    pub drained: bool,
}

/// The way that a service's clients are sent, as far as operators have a say in it: its stage, or its canary's part of
/// clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WayChange {
    /// Its name, without a dot at the end.
    pub service: String,
    pub cause: WayCause,
    /// The stage before and after, where that changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<(String, String)>,
    /// The canary's part of clients before and after, 0 to 1, where that changed. After is `None` where the file has no
    /// canary any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<(Option<f64>, Option<f64>)>,
    /// Who said so, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What changed a service's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WayCause {
    /// An operator's word, here or at another node.
    Override,
    /// The time it was said for is over.
    Ended,
    /// What an operator said does not fit the files any more, and is dropped.
    Reload,
}

/// The outcome of asking the references, or of looking for any route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    Connected,
    /// It reaches nobody: what fails on the way counts against nobody.
    CutOff,
}

/// How much an event matters, as the log's levels do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    #[default]
    Info,
    Warning,
    Error,
}

impl Severity {
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// The time so many milliseconds after 1970.
pub fn timestamp(unix_ms: u64) -> Timestamp {
    i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX)
}

impl Change {
    /// A region down is a warning, as is one damped; one held is an error, as is a service in panic, or a server that is
    /// cut off. What an operator said is known to somebody.
    pub fn severity(&self) -> Severity {
        match self {
            Change::Region(RegionChange { cause, after, .. }) => match (cause, after) {
                (Cause::Held, _) => Severity::Error,
                (Cause::Damped | Cause::AwaitsResume | Cause::Delayed, _) => Severity::Warning,
                (Cause::Ipv6, _) if self.lost_ipv6() => Severity::Warning,
                (Cause::Degraded, _) if self.is_less() => Severity::Warning,
                (Cause::Override, _) => Severity::Info,
                (_, Some(EffectiveState::Down)) => Severity::Warning,
                _ => Severity::Info,
            },
            Change::Service(ServiceChange { after, .. }) => match after {
                Some(ServiceCondition::Panic | ServiceCondition::AllWithdrawn) => Severity::Error,
                Some(ServiceCondition::OnlyDraining | ServiceCondition::Full) => Severity::Warning,
                _ => Severity::Info,
            },
            Change::Server(ServerChange { after: Reach::CutOff, .. }) => Severity::Error,
            Change::Switch(WayChange { cause: WayCause::Reload | WayCause::Ended, .. }) => Severity::Warning,
            Change::Reload(_) | Change::Server(_) | Change::Node(_) | Change::Switch(_) => Severity::Info,
        }
    }

    fn is_less(&self) -> bool {
        matches!(self, Change::Region(RegionChange { degraded, .. }) if !degraded.is_empty())
    }

    fn lost_ipv6(&self) -> bool {
        matches!(self, Change::Region(RegionChange { ipv6_down: Some(true), .. }))
    }

    /// Tells whether it is about this region, by bare or qualified name.
    pub fn is_of_region(&self, name: &str) -> bool {
        let Change::Region(RegionChange { region, .. }) = self else { return false };
        let bare = region.split('@').next().unwrap_or_default();
        region.eq_ignore_ascii_case(name) || bare.eq_ignore_ascii_case(name)
    }
}

/// In a sentence that begins with its subject.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Region(change) => change.fmt(f),
            Change::Service(change) => change.fmt(f),
            Change::Reload(change) => change.fmt(f),
            Change::Server(change) => change.fmt(f),
            Change::Node(change) => change.fmt(f),
            Change::Switch(change) => change.fmt(f),
        }
    }
}

impl fmt::Display for RegionChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after) = match (self.before, self.after) {
            (Some(before), Some(after)) => (before.as_str(), after.as_str()),
            (None, after) => {
                return write!(f, "region {} new: {}", self.region, after.map_or("gone", |it| it.as_str()));
            }
            (Some(was), None) => return write!(f, "region {} gone, was {}: not configured", self.region, was.as_str()),
        };
        write!(f, "region {} {after}", self.region)?;
        match (self.cause, self.lifted) {
            (Cause::Probes, _) if self.after == Some(EffectiveState::Down) => write!(f, ": ")?,
            (Cause::Probes, _) => write!(f, ", was {before}: ")?,
            (Cause::Balancer, _) => write!(f, ", was {before}: its balancer says so: {}; ", self.degraded.join("; "))?,
            (Cause::Degraded, _) if self.degraded.is_empty() => write!(f, ": offers all of its capacity again; ")?,
            (Cause::Degraded, _) => write!(f, ": offers less of its capacity: {}; ", self.degraded.join("; "))?,
            (Cause::Dependency, _) => write!(f, ": {}; ", self.says_down())?,
            (Cause::Override, _) => write!(f, ", was {before}: override {}; ", self.operator_override.as_str())?,
            (Cause::Reload, _) => write!(f, ", was {before}: another configuration; ")?,
            (Cause::Ipv6, _) if self.ipv6_down == Some(true) => {
                write!(f, ": IPv6 down, so that its AAAA answers are empty; ")?;
            }
            (Cause::Ipv6, _) => write!(f, ": IPv6 up again; ")?,
            (Cause::Damped, _) => {
                write!(f, ": damped{}: its probes say up, but it has gone down too often; ", Lasting(self.for_s))?;
            }
            (Cause::Delayed, _) => write!(f, ": its probes say up again; back{}; ", In(self.for_s))?,
            (Cause::AwaitsResume, _) if self.after == Some(EffectiveState::Down) => write!(
                f,
                ": awaits resume: its probes say up again; `meridian region auto {}` lets it back; ",
                self.region
            )?,
            (Cause::AwaitsResume, _) => {
                write!(f, ", was {before}: answered for want of others, though it awaits resume; ")?;
            }
            (Cause::Held, _) => write!(
                f,
                ": HELD{}: {}, but too many regions of its zone have gone at once; it is still answered. Are the probes \
                 right? ",
                Lasting(self.for_s),
                self.says_down()
            )?,
            (Cause::Lifted, Some(Cause::Held)) => write!(f, ", was {before}: held no more; ")?,
            (Cause::Lifted, Some(Cause::Balancer)) => {
                write!(f, ", was {before}: its balancer says that it is up again; ")?
            }
            (Cause::Lifted, Some(Cause::Damped)) => write!(f, ", was {before}: damped no more; ")?,
            (Cause::Lifted, Some(Cause::Dependency)) => write!(f, ", was {before}: all that it depends on serves; ")?,
            (Cause::Lifted, Some(Cause::Delayed)) => write!(f, ", was {before}: delayed no more; ")?,
            (Cause::Lifted, Some(Cause::AwaitsResume)) => write!(f, ", was {before}: an operator lets it back; ")?,
            (Cause::Lifted, _) => write!(f, ", was {before}: no override any more; ")?,
        }
        self.evidence(f)?;
        if self.starts_slowly {
            f.write_str("; it starts slowly")?;
        }
        write!(f, "{}{}", Moving("go to", &self.clients_go_to), Moving("come from", &self.clients_come_from))
    }
}

impl RegionChange {
    /// What its verdict follows from where that is down.
    fn says_down(&self) -> String {
        self.failed_dependency.as_deref().map_or_else(|| "its probes say down".to_owned(), dependency::reason)
    }

    /// `2 of 2 endpoints; last: connection refused`.
    fn evidence(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (down, all) = (self.endpoints_down, self.endpoints);
        write!(f, "{down} of {all} endpoint{}", if all == 1 { "" } else { "s" })?;
        if self.after != Some(EffectiveState::Down) || self.cause != Cause::Probes {
            f.write_str(" down")?;
        }
        let last = self.probes.iter().filter(|seen| seen.verdict == "down" && !seen.last_probe.is_empty());
        let age = |seen: &&ProbeSeen| seen.age_s.unwrap_or(f64::INFINITY);
        match last.min_by(|a, b| age(a).total_cmp(&age(b))) {
            Some(last) => write!(f, "; last: {}", last.last_probe),
            None => Ok(()),
        }
    }
}

/// ` for 60 s`, or nothing.
struct Lasting(Option<u64>);

impl fmt::Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |seconds| write!(f, " for {seconds} s"))
    }
}

/// ` in 60 s`, or nothing.
struct In(Option<u64>);

impl fmt::Display for In {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |seconds| write!(f, " in {seconds} s"))
    }
}

/// `; clients go to tokyo 71 %, virginia 29 %`, or nothing.
struct Moving<'a>(&'a str, &'a [ClientShare]);

impl fmt::Display for Moving<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, ClientShare { region, share }) in self.1.iter().enumerate() {
            // A service's regions are all of its own zone.
            let bare = region.split('@').next().unwrap_or_default();
            match index {
                0 => write!(f, "; clients {} {bare}", self.0)?,
                _ => write!(f, ", {bare}")?,
            }
            match (share * 100.0).round() {
                0.0 => f.write_str(" below 1 %")?,
                percent => write!(f, " {percent} %")?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for ServiceChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "service {}", self.service)?;
        if let Some(fence) = &self.fence {
            write!(f, ", for the clients of {fence} alone")?;
        }
        let (before, after) = match (self.before, self.after) {
            (Some(before), Some(after)) => (before, after),
            (None, Some(after)) => return write!(f, ": new, {}", after.as_str()),
            (_, None) => return f.write_str(": gone, not configured"),
        };
        write!(f, ": {}, was {}", after.as_str(), before.as_str())?;
        f.write_str(match after {
            ServiceCondition::Normal => "; regions are eligible for these clients",
            ServiceCondition::Full => "; all regions are above their limits, so these are not heeded",
            ServiceCondition::Unproven => "; no region is proven up, so those that may be are answered",
            ServiceCondition::OnlyDraining => "; only draining regions are left for these clients, and answered",
            ServiceCondition::Panic => {
                "; PANIC: all regions these clients may get are down by their probes, so all are answered as if up. \
                 Are the probes right?"
            }
            ServiceCondition::AllWithdrawn => {
                "; all regions for these clients are down by override, and still answered"
            }
        })
    }
}

impl fmt::Display for ReloadChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ReloadChange { regions_new, regions_gone, services_new, services_gone } = self;
        write!(
            f,
            "another configuration: regions: {regions_new} new, {regions_gone} gone; \
             services: {services_new} new, {services_gone} gone"
        )
    }
}

impl fmt::Display for ServerChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ServerChange { after, family, why, for_s, by_others, .. } = self;
        match after {
            Reach::CutOff if *by_others => {
                write!(f, "this node is cut off by {family}: {}; it does not vote", why.as_deref().unwrap_or_default())
            }
            Reach::Connected if *by_others => {
                write!(f, "this node is cut off by {family} no more")?;
                for_s.map_or(Ok(()), |seconds| write!(f, ", after {seconds} s"))?;
                f.write_str(": it votes again")
            }
            Reach::CutOff => write!(
                f,
                "this server is cut off: {}; what fails on the way counts against nobody, and verdicts stay",
                why.as_deref().unwrap_or(family)
            ),
            Reach::Connected => {
                write!(f, "this server is cut off no more: {family} is back")?;
                for_s.map_or(Ok(()), |seconds| write!(f, " after {seconds} s"))
            }
        }
    }
}

impl fmt::Display for WayChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "service {}:", self.service)?;
        if let Some((before, after)) = &self.stage {
            write!(f, " stage {after}, was {before};")?;
        }
        if let Some((before, after)) = &self.canary {
            let told = |share: &Option<f64>| share.map_or("none".to_owned(), whole_percent);
            write!(f, " canary {}, was {};", told(after), told(before))?;
        }
        match self.cause {
            WayCause::Override => f.write_str(" an operator says so")?,
            WayCause::Ended => f.write_str(" the time it was said for is over")?,
            WayCause::Reload => f.write_str(" what an operator said is dropped: the files are others")?,
        }
        self.by.iter().try_for_each(|by| write!(f, " ({by})"))?;
        self.note.iter().try_for_each(|note| write!(f, ": {note}"))
    }
}

impl fmt::Display for NodeChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.drained {
            true => "this node drains: an operator says so; `/ready` says no until `meridian node resume`",
            false => "this node drains no more: an operator says so",
        })
    }
}

/// A time as RFC 3339 text in UTC.
mod rfc3339 {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(at)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
pub(in crate::control) mod tests {
    use super::*;

    /// A region of two endpoints that refuse.
    pub(in crate::control) fn down() -> RegionChange {
        let seen = |endpoint: &str, age_s, last: &str| ProbeSeen {
            endpoint: endpoint.into(),
            verdict: "down".into(),
            last_probe: last.into(),
            age_s: Some(age_s),
            connect_ms: None,
        };
        RegionChange {
            region: "seoul@gslb.example".into(),
            before: Some(EffectiveState::Suspect),
            after: Some(EffectiveState::Down),
            cause: Cause::Probes,
            lifted: None,
            operator_override: Override::Auto,
            failed_dependency: None,
            for_s: None,
            starts_slowly: false,
            degraded: Vec::new(),
            ipv6_down: None,
            endpoints: 2,
            endpoints_down: 2,
            probes: vec![seen("192.0.2.1", 3.0, "no answer"), seen("192.0.2.2", 0.1, "connection refused")],
            services: vec!["www.gslb.example".into()],
            services_in_all: 1,
            clients_go_to: vec![],
            clients_come_from: vec![],
        }
    }

    fn share(region: &str, share: f64) -> ClientShare {
        ClientShare { region: format!("{region}@gslb.example"), share }
    }

    #[test]
    fn an_event_is_a_sentence() {
        let (up, refused) = (Some(EffectiveState::Up), "last: connection refused");
        let back = RegionChange { after: up, before: Some(EffectiveState::Down), endpoints_down: 0, ..down() };
        let back = RegionChange { probes: vec![], starts_slowly: true, ..back };
        let drain = Some(EffectiveState::Drain);
        let drained = RegionChange { after: drain, cause: Cause::Override, before: up, ..back.clone() };
        let drained = RegionChange { operator_override: Override::Drain, starts_slowly: false, ..drained };
        let lifted = RegionChange { cause: Cause::Lifted, lifted: Some(Cause::Held), ..down() };
        let damped =
            RegionChange { cause: Cause::Damped, for_s: Some(96), before: Some(EffectiveState::Down), ..down() };
        let (new, gone) = (RegionChange { before: None, ..down() }, RegionChange { after: None, ..down() });
        let moved = RegionChange { clients_go_to: vec![share("tokyo", 0.706), share("virginia", 0.294)], ..down() };
        let returned =
            RegionChange { clients_come_from: vec![share("tokyo", 0.996), share("oslo", 0.004)], ..back.clone() };
        let again = RegionChange { before: Some(EffectiveState::Down), endpoints_down: 0, probes: vec![], ..down() };
        let delayed = RegionChange { cause: Cause::Delayed, for_s: Some(600), ..again.clone() };
        let awaits = RegionChange { cause: Cause::AwaitsResume, ..again.clone() };
        let needed = RegionChange { after: up, ..awaits.clone() };
        let resumed = RegionChange { cause: Cause::Lifted, lifted: Some(Cause::AwaitsResume), after: up, ..again };
        let failed_dependency = Some("auth.gslb.example".to_owned());
        let dependent = RegionChange { cause: Cause::Dependency, failed_dependency, before: up, ..delayed.clone() };
        let ill = |cause, after, why: &[&str]| {
            let degraded = why.iter().map(ToString::to_string).collect();
            RegionChange { cause, before: up, after, degraded, endpoints_down: 0, probes: vec![], ..down() }
        };
        let by_balancer = ill(Cause::Balancer, Some(EffectiveState::Down), &["says it is down, 0 of 4 servers up"]);
        let (less, whole) = (ill(Cause::Degraded, up, &["slow: 412 ms above 300 ms"]), ill(Cause::Degraded, up, &[]));
        let none = "0 of 2 endpoints down";
        for (change, said) in [
            (delayed, format!("down: its probes say up again; back in 600 s; {none}")),
            (
                awaits,
                format!(
                    "down: awaits resume: its probes say up again; `meridian region auto seoul@gslb.example` lets it \
                     back; {none}"
                ),
            ),
            (needed, format!("up, was down: answered for want of others, though it awaits resume; {none}")),
            (resumed, format!("up, was down: an operator lets it back; {none}")),
            (by_balancer, format!("down, was up: its balancer says so: says it is down, 0 of 4 servers up; {none}")),
            (less, format!("up: offers less of its capacity: slow: 412 ms above 300 ms; {none}")),
            (whole, format!("up: offers all of its capacity again; {none}")),
            (dependent, "down: depends on auth.gslb.example, which has no region up; 0 of 2 endpoints down".to_owned()),
            (moved, format!("down: 2 of 2 endpoints; {refused}; clients go to tokyo 71 %, virginia 29 %")),
            (
                returned,
                "up, was down: 0 of 2 endpoints down; it starts slowly; clients come from tokyo 100 %, oslo below 1 %"
                    .to_owned(),
            ),
            (new, "new: down".to_owned()),
            (gone, "gone, was suspect: not configured".to_owned()),
            (down(), format!("down: 2 of 2 endpoints; {refused}")),
            (back, "up, was down: 0 of 2 endpoints down; it starts slowly".to_owned()),
            (drained, "drain, was up: override drain; 0 of 2 endpoints down".to_owned()),
            (lifted, format!("down, was suspect: held no more; 2 of 2 endpoints down; {refused}")),
            (
                damped,
                format!(
                    "down: damped for 96 s: its probes say up, but it has gone down too often; 2 of 2 endpoints down; \
                     {refused}"
                ),
            ),
        ] {
            assert_eq!(Change::Region(change).to_string(), format!("region seoul@gslb.example {said}"));
        }
    }

    #[test]
    fn an_event_reads_as_it_was_written() {
        let at = "2026-11-21T04:30:00.25Z".parse().expect("a time");
        let (before, after) = (Some(ServiceCondition::Normal), Some(ServiceCondition::Panic));
        let service = ServiceChange { service: "www.gslb.example".into(), fence: None, before, after };
        let gone = ServiceChange { after: None, ..service.clone() };
        let reload = ReloadChange { services_gone: 1, ..ReloadChange::default() };
        let (before, after, why) = (Reach::Connected, Reach::CutOff, Some("no IPv6 reference answers".into()));
        let server =
            Change::Server(ServerChange { before, after, family: "IPv6".into(), why, for_s: None, by_others: false });
        let services = [Change::Service(service), Change::Service(gone)];
        for change in [Change::Region(down()), Change::Reload(reload), server].into_iter().chain(services) {
            let event = Event { id: 1_795_000_000_000, at, change };
            let text = serde_json::to_string(&event).expect("JSON");
            assert!(text.contains("\"at\":\"2026-11-21T04:30:00.25Z\""), "{text}");
            assert_eq!(serde_json::from_str::<Event>(&text).expect("an event"), event);
        }
    }
}
