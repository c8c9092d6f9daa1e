//! Everything at a glance, as data: what `GET /v1/status`, `meridian status` and the status page
//! show. Times are in seconds unless their name says otherwise; ages are at the time of asking.
//!
//! The server writes these types and the command line reads them, also from servers of before: fields that those
//! left out have a default.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::atlas::DatabaseSummary;
use crate::control::audit::Entry;
use crate::control::clock;
use crate::control::cluster::status::ClusterStatus;
use crate::control::events::event::timestamp;
use crate::model::{AddressPart, CheckRole, Endpoint, Layer, ProbeId, Region, RegionId, ServiceId};
use crate::state::Snapshot;
use crate::steer::explain::HeardRow;
use crate::steer::health::degraded::Degraded;
use crate::steer::health::effective::{EffectiveState, EndpointState, Override, ProbeState, RegionState};
use crate::steer::health::stability::Drain;
use crate::steer::health::vote::RegionVote;
use crate::steer::load::state::LoadState;
use crate::steer::plan::lives::Lives;
use crate::steer::policy::eligible::{FenceOut, ServiceCondition};

use super::canary::{CanaryStatus, WayStatus, canary, rollback};
use super::cluster::{cluster, planned_by};
use super::context::Context;
use super::node::{NodeStatus, node};
use super::planning::{PlanningStatus, PlanningWork, planning};
use super::probing::{CutOffStatus, ProbingStatus, probing};
use super::receivers::{ReceiverStatus, receivers};
use super::shares::{RegionShare, ShareCounts};
use super::summary::Summary;
use super::wellbeing::{self, FileTrouble, WriterStatus};

/// One moment's state of the whole server.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// What is wrong, in short. Left out by servers from before there was such a thing.
    #[serde(default)]
    pub summary: Option<Summary>,
    pub version: Cow<'static, str>,
    pub uptime_s: f64,
    /// Grows by one with every snapshot.
    pub generation: u64,
    /// Grows by one with every reload that took.
    pub reloads: u64,
    pub snapshot_age_s: f64,
    pub last_load: LastLoad,
    /// Why what operators said before could not be read; none of it holds until it can.
    pub overrides_error: Option<String>,
    /// Left out by servers from before there was such a thing.
    pub writer: Option<WriterStatus>,
    /// Whether this node should be announced. Left out by servers from before there was such a thing.
    #[serde(default)]
    pub node: Option<NodeStatus>,
    /// What is wrong with the files of the state directory; empty where nothing is.
    #[serde(default)]
    pub state_files: Vec<FileTrouble>,
    /// Who is told of events by HTTP, by name; empty where nobody is.
    #[serde(default)]
    pub webhooks: Vec<ReceiverStatus>,
    /// The programs that are given events, likewise.
    #[serde(default)]
    pub event_commands: Vec<ReceiverStatus>,
    /// Left out by servers from before there was such a thing.
    pub planning: Option<PlanningStatus>,
    /// Left out by servers from before there was such a thing.
    pub probing: Option<ProbingStatus>,
    /// `None`: no other node judges with this one.
    #[serde(default)]
    pub vantages: Option<VantagesStatus>,
    /// The nodes this one shares with; `None`: it is of no cluster. What each sees is at `GET /v1/nodes`.
    #[serde(default)]
    pub cluster: Option<ClusterStatus>,
    /// The last change that was asked for by the admin API and rejected; `None`: none is remembered.
    #[serde(default)]
    pub rejected: Option<Rejected>,
    pub atlas: AtlasStatus,
    pub zones: Vec<String>,
    pub regions: Vec<RegionStatus>,
    pub services: Vec<ServiceStatus>,
}

/// A change that was rejected.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Rejected {
    pub age_s: f64,
    #[serde(flatten)]
    pub entry: Entry,
}

impl Rejected {
    fn of(entry: Entry) -> Rejected {
        let at = entry.at.parse().unwrap_or(Timestamp::MIN);
        let age = timestamp(clock::read().unix_ms()).duration_since(at);
        Rejected { age_s: age.as_secs_f64().max(0.0), entry }
    }
}

/// The nodes that judge together.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct VantagesStatus {
    /// `majority` or `any`.
    pub rule: Cow<'static, str>,
    /// The other nodes, by name.
    pub others: Vec<String>,
    /// The families for which this node is cut off by the others' word, so that its probes do not vote.
    pub cut_off: Vec<CutOffStatus>,
    /// The other nodes that are cut off.
    pub others_cut_off: Vec<String>,
}

impl VantagesStatus {
    fn of(snapshot: &Snapshot, now: Instant) -> Option<VantagesStatus> {
        let vantages = snapshot.vantages.as_ref()?;
        let names = |of: &[Arc<str>]| of.iter().map(ToString::to_string).collect();
        let cut_off = vantages.cut_off.iter().map(|of| CutOffStatus {
            family: of.family().into(),
            since_s: since(now, of.since),
            why: of.why.told(),
        });
        Some(VantagesStatus {
            rule: snapshot.model.vote.as_str().into(),
            others: names(&vantages.others),
            cut_off: cut_off.collect(),
            others_cut_off: names(&vantages.others_cut_off),
        })
    }
}

/// The word of all vantages on a region.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub struct VoteStatus {
    /// The vantages that judge it, this node among them; those that are cut off are not.
    pub judging: usize,
    /// Those of them to which the region is down.
    pub down: usize,
}

/// How the last load or reload went.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LastLoad {
    pub ok: bool,
    pub age_s: f64,
    /// By the wall clock, in seconds since 1970.
    pub at_unix_s: u64,
    /// The text of each; the old configuration is being served where there are any.
    pub mistakes: Vec<String>,
}

/// What is known of where clients are.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AtlasStatus {
    pub places: usize,
    pub ranges_ipv4: usize,
    pub ranges_ipv6: usize,
    pub memory_bytes: usize,
    pub databases: Vec<DatabaseStatus>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DatabaseStatus {
    pub path: String,
    /// Such as `GeoLite2-City`; empty where nothing serves.
    pub kind: String,
    pub networks: u64,
    /// By the wall clock, in seconds since 1970. Of what serves, as the following; 0 where nothing does.
    pub built_unix_s: u64,
    /// From then to now.
    #[serde(default)]
    pub age_s: f64,
    /// `file`; `copy`, `before` (what was read of the file before it went bad) or `nothing`, where the file is bad;
    /// `embedded`. Empty from servers of before.
    #[serde(default)]
    pub serves: Cow<'static, str>,
    /// Why its file is not used, or not any more; what serves then stands in `serves`.
    #[serde(default)]
    pub error: Option<String>,
    /// Why there is no copy to start with, should its file be bad then.
    #[serde(default)]
    pub copy_error: Option<String>,
    /// How often its file was taken since the start.
    #[serde(default)]
    pub generation: u64,
    /// How often in a row its file was found bad; it is tried again by itself.
    #[serde(default)]
    pub failures: u32,
    /// How long ago its file was last read.
    #[serde(default)]
    pub tried_s: Option<f64>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RegionStatus {
    /// Qualified: `seoul@gslb.example.com`.
    pub name: String,
    pub location: String,
    /// Override, else verdict.
    #[serde(rename = "state")]
    pub effective: EffectiveState,
    pub verdict: Cow<'static, str>,
    /// The verdict on its IPv6 addresses, where it has both families; while it is `down`, its AAAA answers are empty.
    #[serde(default)]
    pub ipv6: Option<Cow<'static, str>>,
    /// Whether they are answered all the same, because no region's can be reached from here.
    #[serde(default)]
    pub ipv6_doubted: bool,
    #[serde(rename = "override")]
    pub operator_override: Override,
    pub endpoints: Vec<EndpointStatus>,
    pub load: LoadStatus,
    /// 0 or more: what its load adds to its score. The plan's price, or where there is none, one that follows
    /// its own load alone.
    pub price_ms: f64,
    /// What it should have by the plan in force, in the unit of its load reports.
    pub planned_load: Option<f64>,
    /// Since it last went down, began to drain or came back; `None`: not since the start.
    pub changed_s: Option<f64>,
    /// 0.01 to 1: the part of its capacity it offers; less than 1 during a slow start and while it is degraded.
    #[serde(default = "whole")]
    pub offered: f64,
    /// `None`: nothing makes it worse.
    #[serde(default)]
    pub degraded: Option<DegradedStatus>,
    /// 0 or more: grows by 1 whenever its probes take it down, and halves with every half-life.
    #[serde(default)]
    pub flap_penalty: f64,
    /// How long it stays out though its probes say up, for having gone down too often.
    pub damped_s: Option<f64>,
    /// What it depends on and does not serve, where that alone takes it down: a service, or a region as `name@zone`.
    pub failed_dependency: Option<String>,
    /// How long it stays out yet, though its probes say up again, for having been up for too short a time.
    pub delayed_s: Option<f64>,
    /// Since its probes took it down, where an operator's word alone brings it back. Also while they still say down, and
    /// while it is answered for want of others.
    pub awaits_resume_s: Option<f64>,
    /// How long it is answered though its probes say down, because too many regions of its zone have gone at once.
    pub held_s: Option<f64>,
    /// While an operator drains it.
    pub drain: Option<DrainStatus>,
    /// `None`: no other node judges with this one, or nobody can.
    #[serde(default)]
    pub vote: Option<VoteStatus>,
}

/// What makes a region worse without taking it down.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DegradedStatus {
    /// 0.1 to 1: the part of its capacity it offers for that alone; 1 where health is asked for and cannot be read.
    pub offered: f64,
    /// For people: `3 of 4 servers up, 12 % errors`, `slow: 412 ms above 300 ms`; the balancer's word comes first.
    pub why: Vec<String>,
    /// Whether its balancer says that it is down, and is believed: then the region is down by that.
    #[serde(default)]
    pub withdrawn: bool,
}

impl DegradedStatus {
    fn of(degraded: &Degraded) -> Option<DegradedStatus> {
        let why: Vec<String> = degraded.why.iter().map(ToString::to_string).collect();
        (!why.is_empty()).then_some(DegradedStatus { offered: degraded.factor, why, withdrawn: degraded.withdrawn })
    }
}

/// How far a drain has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DrainStatus {
    /// When it began, by the wall clock, in seconds since 1970.
    pub since_unix_s: u64,
    /// Whether nobody is sent there any more by an answer from here.
    pub safe: bool,
    /// The earliest time at which that is so, in seconds since 1970; `None` while the region is still being
    /// answered, for want of others.
    pub safe_at_unix_s: Option<u64>,
    /// From now to then; 0 once it is safe.
    pub safe_in_s: Option<f64>,
    /// 0 to 1: the part of its clients that may still come, at most, by the age of answers. 0 decides that it is
    /// safe; 1 while the region is still being answered.
    pub may_come: f64,
    /// Its load now over that when the drain began, 0 or more; `None` where one of the two is not known. Tells of
    /// clients that are still connected, and decides nothing.
    pub load_ratio: Option<f64>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EndpointStatus {
    pub label: String,
    /// `l4` or `l7`.
    pub layer: Cow<'static, str>,
    pub weight: u32,
    /// `None`: not probed.
    pub verdict: Option<Cow<'static, str>>,
    /// How long it has had this verdict.
    pub since_s: Option<f64>,
    /// What the last probe saw; empty before the first.
    pub last_probe: String,
    pub probe_age_s: Option<f64>,
    pub connect_ms: Option<f64>,
    /// Whether all of this is from before a restart, and no probe has confirmed it since.
    #[serde(default)]
    pub restored: bool,
    /// The verdict on its IPv6 addresses, where it has both families: all above is of its IPv4 ones then.
    #[serde(default)]
    pub ipv6: Option<Cow<'static, str>>,
    /// Each of its probes, where there are several.
    #[serde(default)]
    pub probes: Vec<ProbeStatus>,
}

/// One of several probes of an endpoint.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ProbeStatus {
    /// Empty where the region has one check without a name.
    pub check: String,
    /// `vote`, `must_pass` or `watch_only`.
    pub role: Cow<'static, str>,
    /// Whether it asks its IPv6 addresses, beside IPv4 ones.
    pub ipv6: bool,
    /// `None`: not probed yet.
    pub verdict: Option<Cow<'static, str>>,
    pub since_s: Option<f64>,
    pub last_probe: String,
    pub probe_age_s: Option<f64>,
    pub connect_ms: Option<f64>,
}

/// What a region says of its load. `None` figures were never reported: that is not a load of 0.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LoadStatus {
    /// Whether the region has a load report at all.
    #[serde(default = "yes")]
    pub configured: bool,
    pub load: Option<f64>,
    pub capacity: Option<f64>,
    /// Load over capacity: 0 or more, above 1 in an overload.
    pub utilisation: Option<f64>,
    /// How old the figure is, by its own time where the report tells one.
    pub age_s: Option<f64>,
    /// Too old to act on.
    pub stale: bool,
    /// The age at which it is; `None`: it has no load report.
    pub stale_after_s: Option<f64>,
    #[serde(flatten)]
    pub heard: HeardRow,
}

fn whole() -> f64 {
    1.0
}

fn yes() -> bool {
    true
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ServiceStatus {
    pub name: String,
    pub policy: Cow<'static, str>,
    /// Its stages, in the order of the file; empty where it has none.
    #[serde(default)]
    pub stages: Vec<String>,
    /// The stage its clients are sent to; `None` where it has none.
    pub stage: Option<String>,
    /// The stage that the zone file says; `None` where it has none.
    #[serde(default)]
    pub file_stage: Option<String>,
    /// Whether an operator switched it to that stage: then the zone file may say another.
    pub switched: bool,
    /// The part of its clients that is sent elsewhere; `None`: it has no canary.
    #[serde(default)]
    pub canary: Option<CanaryStatus>,
    /// What a rollback of it would lead to; `None`: there is nothing to take back.
    #[serde(default)]
    pub rollback: Option<WayStatus>,
    /// Of clients that no rule is for.
    pub condition: ServiceCondition,
    /// The fences whose regions have run out, in the order of the rules: a matter of their clients alone.
    #[serde(default)]
    pub fences_out: Vec<FenceStatus>,
    /// How long its answers live at this moment, in seconds: worked out as answers are. Left out by servers from
    /// before there was such a thing.
    pub answered_ttl_s: Option<AnsweredTtl>,
    /// As configured, for when all is calm.
    pub ttl_s: u32,
    /// As configured, for near a failover.
    pub failover_ttl_s: u32,
    /// In the order of the file.
    pub regions: Vec<ServiceRegion>,
}

/// How long answers live, over all clients of a service, in seconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub struct AnsweredTtl {
    pub least: u32,
    /// At least `least`.
    pub most: u32,
}

/// A rule whose clients never leave its regions, of which none is eligible, or all are above their limits.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FenceStatus {
    /// Such as `rule 2`, or `rule 2 (asia)` where its group has a name.
    pub rule: String,
    pub condition: ServiceCondition,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ServiceRegion {
    /// Qualified.
    pub name: String,
    #[serde(rename = "state")]
    pub effective: EffectiveState,
    /// Places of the atlas of which it gets the largest part; `None`: not counted yet.
    pub places: Option<usize>,
    /// 0 to 1: its share of clients, all places counted alike; `None`: not counted yet.
    pub mean_share: Option<f64>,
}

/// The state now, not summed up yet. Counts places: milliseconds where the atlas is large.
pub fn status(context: &Context, counts: &ShareCounts) -> Status {
    let snapshot = context.shared.load_full();
    let now = Instant::now();
    let cluster = cluster(context);
    let of_node = cluster.as_ref().and_then(planned_by);
    Status {
        summary: None,
        version: env!("CARGO_PKG_VERSION").into(),
        uptime_s: since(now, context.started),
        generation: snapshot.generation,
        reloads: snapshot.reloads,
        snapshot_age_s: since(now, snapshot.made_at),
        last_load: last_load(context),
        overrides_error: snapshot.overrides_error.as_deref().map(str::to_owned),
        writer: Some(wellbeing::writer(&context.vitals)),
        node: Some(node(context)),
        state_files: wellbeing::files(&context.troubles),
        webhooks: receivers(&context.receivers, false),
        event_commands: receivers(&context.receivers, true),
        planning: Some(planning_of(context, &snapshot, of_node, now)),
        probing: Some(probing(&context.probing, now)),
        vantages: VantagesStatus::of(&snapshot, now),
        cluster,
        rejected: context.audit.last_rejected().map(Rejected::of),
        atlas: atlas(context, &snapshot),
        zones: snapshot.model.zones.iter().map(|zone| zone.origin.to_string()).collect(),
        regions: snapshot.model.region_ids().map(|id| region(&snapshot, id, now)).collect(),
        services: services(&snapshot, counts).map(|(_, status)| status).collect(),
    }
}

/// How clients are shared out, with the work that takes.
pub(super) fn planning_of(
    context: &Context,
    snapshot: &Snapshot,
    of_node: Option<String>,
    now: Instant,
) -> PlanningStatus {
    PlanningStatus { of_node, work: Some(PlanningWork::of(context.vitals.jobs(), now)), ..planning(snapshot, now) }
}

/// All services in the order of their ids. Counts places: milliseconds where the atlas is large.
pub(super) fn services(snapshot: &Snapshot, counts: &ShareCounts) -> impl Iterator<Item = (ServiceId, ServiceStatus)> {
    let lives = Lives::of(&snapshot.view());
    let each = snapshot.model.service_ids().zip(counts.of(snapshot)).zip(lives);
    each.filter_map(|((id, shares), lives)| Some((id, service(snapshot, id, shares.as_deref(), lives)?)))
}

/// How the last load or reload went.
pub fn last_load(context: &Context) -> LastLoad {
    let status = context.load_status.load_full();
    LastLoad {
        ok: status.mistakes.is_empty(),
        // A clock set back meanwhile makes it look like now.
        age_s: rounded(SystemTime::now().duration_since(status.at).unwrap_or_default()),
        at_unix_s: status.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        mistakes: status.mistakes.clone(),
    }
}

fn atlas(context: &Context, snapshot: &Snapshot) -> AtlasStatus {
    let summary = snapshot.atlas.summary();
    AtlasStatus {
        places: summary.places,
        ranges_ipv4: summary.ranges_v4,
        ranges_ipv6: summary.ranges_v6,
        memory_bytes: snapshot.atlas.memory_bytes(),
        databases: databases(context, snapshot),
    }
}

/// The configured databases in the order of the configuration, and those that are built in.
pub fn databases(context: &Context, snapshot: &Snapshot) -> Vec<DatabaseStatus> {
    let read = &snapshot.atlas.summary().databases;
    let status = context.load_status.load_full();
    let configured = status.databases.iter().map(|report| {
        let summary = read.iter().find(|summary| report.read_as.as_ref() == Some(&summary.path));
        DatabaseStatus {
            path: report.path.display().to_string(),
            serves: report.serves.as_str().into(),
            error: report.error.clone(),
            copy_error: report.copy_error.clone(),
            generation: report.generation,
            failures: report.failures,
            tried_s: Some(rounded(SystemTime::now().duration_since(report.tried_at).unwrap_or_default())),
            ..of_contents(summary)
        }
    });
    let of_file = |summary: &DatabaseSummary| {
        status.databases.iter().any(|report| report.read_as.as_ref() == Some(&summary.path))
    };
    let embedded = read.iter().filter(|summary| !of_file(summary)).map(|summary| DatabaseStatus {
        path: summary.path.clone(),
        serves: "embedded".into(),
        ..of_contents(Some(summary))
    });
    configured.chain(embedded).collect()
}

/// Of what is in a database; all else is left empty.
fn of_contents(summary: Option<&DatabaseSummary>) -> DatabaseStatus {
    let built_unix_s = summary.map_or(0, |summary| summary.build_epoch);
    let built = UNIX_EPOCH + Duration::from_secs(built_unix_s.min(u64::from(u32::MAX)));
    DatabaseStatus {
        path: String::new(),
        kind: summary.map_or(String::new(), |summary| summary.kind.clone()),
        networks: summary.map_or(0, |summary| summary.networks),
        built_unix_s,
        age_s: summary.map_or(0.0, |_| rounded(SystemTime::now().duration_since(built).unwrap_or_default())),
        serves: "".into(),
        error: None,
        copy_error: None,
        generation: 0,
        failures: 0,
        tried_s: None,
    }
}

pub(super) fn region(snapshot: &Snapshot, id: RegionId, now: Instant) -> RegionStatus {
    let configured = snapshot.model.region(id);
    let unknown = || RegionState::unprobed(configured.endpoints.len());
    let state = snapshot.states.get(id.index()).cloned().unwrap_or_else(unknown);
    let endpoints = configured.endpoints.iter().enumerate().map(|(index, of)| endpoint(snapshot, id, (index, of), now));
    RegionStatus {
        name: snapshot.model.qualified_region_name(id),
        location: configured.location.to_string(),
        effective: state.effective,
        verdict: state.verdict.as_str().into(),
        ipv6: state.ipv6.map(|verdict| verdict.as_str().into()),
        ipv6_doubted: state.ipv6_doubted,
        operator_override: state.operator_override,
        endpoints: endpoints.collect(),
        load: load(configured.load_report.is_some(), &state, now),
        price_ms: state.price_ms,
        planned_load: snapshot.plan.planned().and_then(|planned| planned.loads.get(id.index()).copied()),
        changed_s: state.changed_at.map(|at| since(now, at)),
        offered: state.offered,
        degraded: DegradedStatus::of(&state.degraded),
        flap_penalty: snapshot
            .model
            .steering
            .damping
            .map_or(0.0, |damping| state.stability.flaps.penalty(damping, now)),
        damped_s: state.stability.damped_until.map(|until| since(until, now)),
        failed_dependency: state.stability.failed_dependency.map(|on| snapshot.model.dependency_name(on)),
        delayed_s: state.stability.delayed_until.map(|until| since(until, now)),
        awaits_resume_s: state.stability.awaits_resume.map(|at| since(now, at)),
        held_s: state.stability.held_until.map(|until| since(until, now)),
        drain: state.stability.drain.map(|drain| drain_status(snapshot, id, &drain, &state.load, now)),
        vote: state.vote.map(|RegionVote { judging, down }| VoteStatus { judging, down }),
    }
}

/// All drains under way, and how far they have come, by qualified region name.
pub(super) fn drains(snapshot: &Snapshot, now: Instant) -> BTreeMap<String, DrainStatus> {
    let draining = snapshot.model.region_ids().zip(&snapshot.states);
    let drains = draining.filter_map(|(id, state)| Some((id, state.stability.drain?, &state.load)));
    let told = |(id, drain, load): (RegionId, Drain, &LoadState)| {
        (snapshot.model.qualified_region_name(id), drain_status(snapshot, id, &drain, load, now))
    };
    drains.map(told).collect()
}

fn drain_status(snapshot: &Snapshot, id: RegionId, drain: &Drain, load: &LoadState, now: Instant) -> DrainStatus {
    let unix_s = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let allowance = snapshot.model.steering.drain_allowance;
    let progress = drain.progress(snapshot.plan.answers(id), load, allowance, now);
    let (left, gone) = match progress.safe_at {
        Some(at) => (Some(at.saturating_duration_since(now)), now.saturating_duration_since(at)),
        None => (None, Duration::ZERO),
    };
    let wall = |left: Duration| SystemTime::now().checked_sub(gone).map(|then| unix_s(then + left));
    DrainStatus {
        since_unix_s: unix_s(drain.since),
        safe: left.is_some_and(|left| left.is_zero()),
        safe_at_unix_s: left.and_then(wall),
        safe_in_s: left.map(rounded),
        may_come: progress.may_come,
        load_ratio: progress.load_ratio,
    }
}

/// The endpoint at this place of a region.
pub(super) fn endpoint(
    snapshot: &Snapshot,
    id: RegionId,
    (index, endpoint): (usize, &Endpoint),
    now: Instant,
) -> EndpointStatus {
    let state = snapshot.states.get(id.index());
    let seen = state.and_then(|state| state.endpoints.get(index)).cloned().unwrap_or_default();
    endpoint_status(endpoint, snapshot.model.region(id), seen, now)
}

fn endpoint_status(endpoint: &Endpoint, region: &Region, seen: EndpointState, now: Instant) -> EndpointStatus {
    let layer = match endpoint.layer {
        Layer::L4 => "l4",
        Layer::L7 => "l7",
    };
    let roles: HashMap<&str, CheckRole> =
        region.checks.iter().flat_map(|checks| &checks.members).map(|member| (&*member.name, member.role)).collect();
    let probe = |(id, seen): &(ProbeId, ProbeState)| ProbeStatus {
        check: id.check.to_string(),
        role: roles.get(&*id.check).copied().unwrap_or_default().as_str().into(),
        ipv6: id.part == AddressPart::Ipv6,
        verdict: seen.verdict.map(|verdict| verdict.as_str().into()),
        since_s: seen.since.map(|at| since(now, at)),
        last_probe: seen.last_probe.to_string(),
        probe_age_s: seen.probed_at.map(|at| since(now, at)),
        connect_ms: seen.connect_ms,
    };
    EndpointStatus {
        label: endpoint.label(),
        layer: layer.into(),
        weight: endpoint.weight,
        ipv6: seen.ipv6.map(|verdict| verdict.as_str().into()),
        probes: if seen.probes.len() > 1 { seen.probes.iter().map(probe).collect() } else { Vec::new() },
        verdict: seen.verdict.map(|verdict| verdict.as_str().into()),
        since_s: seen.since.map(|at| since(now, at)),
        last_probe: seen.last_probe,
        probe_age_s: seen.probed_at.map(|at| since(now, at)),
        connect_ms: seen.connect_ms,
        restored: seen.restored,
    }
}

fn load(configured: bool, state: &RegionState, now: Instant) -> LoadStatus {
    let figure = state.load.last;
    LoadStatus {
        configured,
        load: figure.map(|figure| figure.load),
        capacity: figure.and_then(|figure| figure.capacity),
        utilisation: figure.and_then(|figure| figure.utilisation()),
        age_s: figure.map(|figure| since(now, figure.at)),
        stale: state.load.stale,
        stale_after_s: state.load.stale_after.map(rounded),
        heard: HeardRow::of(&state.load, now),
    }
}

fn service(snapshot: &Snapshot, id: ServiceId, shares: Option<&[RegionShare]>, lives: Lives) -> Option<ServiceStatus> {
    let configured = snapshot.model.service(id);
    let plan = snapshot.plan.services.get(id.index())?;
    let regions = configured.regions.iter().map(|&region| {
        let share = shares.and_then(|shares| shares.iter().find(|share| share.region == region));
        ServiceRegion {
            name: snapshot.model.qualified_region_name(region),
            effective: snapshot.states.get(region.index()).map_or(EffectiveState::Up, |state| state.effective),
            places: share.map(|share| share.places),
            mean_share: share.map(|share| share.mean),
        }
    });
    let fence =
        |fence: &FenceOut| FenceStatus { rule: configured.policies.rule_name(fence.rule), condition: fence.condition };
    let stage = |switched_to| {
        let active = configured.policies.active_stage(switched_to);
        active.map(|id| configured.policies.group(id).name.to_string())
    };
    Some(ServiceStatus {
        name: configured.name.to_string(),
        policy: configured.policies.main().policy.as_str().into(),
        stages: configured.policies.stage_names().map(str::to_owned).collect(),
        stage: stage(plan.switched.stage),
        file_stage: stage(None),
        switched: plan.switched.stage.is_some(),
        canary: canary(snapshot, id),
        rollback: rollback(snapshot, id),
        condition: plan.standing.condition,
        fences_out: plan.standing.fences_out.iter().map(fence).collect(),
        answered_ttl_s: Some(AnsweredTtl { least: lives.least, most: lives.most }),
        ttl_s: configured.ttl.as_secs(),
        failover_ttl_s: configured.failover_ttl.as_secs(),
        regions: regions.collect(),
    })
}

fn since(now: Instant, at: Instant) -> f64 {
    rounded(now.saturating_duration_since(at))
}

/// Seconds, to the millisecond: finer is noise to readers.
fn rounded(duration: Duration) -> f64 {
    duration.as_millis() as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The first servers' answer, which the command line still reads.
    #[test]
    fn what_the_first_servers_left_out_is_not_missed() {
        let region = json!({
            "name": "seoul@gslb.example", "location": "KR", "state": "drain", "verdict": "up", "override": "drain",
            "endpoints": [{
                "label": "192.0.2.1", "layer": "l7", "weight": 1, "verdict": null, "since_s": null, "last_probe": "",
                "probe_age_s": null, "connect_ms": null,
            }],
            "load": { "load": 1.0, "capacity": null, "utilisation": null, "age_s": 2.0, "stale": false, "error": "late" },
            "price_ms": 0.0,
        });
        let service = json!({
            "name": "www.gslb.example", "policy": "score", "switched": false, "condition": "normal", "ttl_s": 30,
            "failover_ttl_s": 5,
            "regions": [{ "name": "seoul@gslb.example", "state": "up", "places": null, "mean_share": 0.5 }],
        });
        let status: Status = serde_json::from_value(json!({
            "version": "0.0.1", "uptime_s": 1.5, "generation": 7, "reloads": 0, "snapshot_age_s": 0.5,
            "last_load": { "ok": true, "age_s": 1.0, "at_unix_s": 1_790_000_000, "mistakes": [] },
            "atlas": { "places": 1, "ranges_ipv4": 0, "ranges_ipv6": 0, "memory_bytes": 0, "databases": [] },
            "zones": ["gslb.example"], "regions": [region], "services": [service],
        }))
        .expect("read");
        assert!(status.planning.is_none() && status.overrides_error.is_none());
        let (region, service) = (&status.regions[0], &status.services[0]);
        assert_eq!((region.offered, region.load.configured, region.operator_override), (1.0, true, Override::Drain));
        assert_eq!((region.load.heard.heard.as_deref(), region.load.heard.error.as_deref()), (None, Some("late")));
        assert!(region.drain.is_none() && service.answered_ttl_s.is_none() && service.fences_out.is_empty());
    }
}
