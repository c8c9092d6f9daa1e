//! Zones, services, regions, endpoints, checks, overrides and the plan in force: one by one, or page by page.
//!
//! All of it is read from one snapshot, away from the threads that serve sockets. The figures are those of
//! [`super::status`], beside what is configured.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{
    Check, CheckKind, Endpoint, EndpointTarget, MemberCheck, Name, RecordType, RegionId, ServiceId, Zone,
};
use crate::state::Snapshot;
use crate::steer::health::effective::Override;
use crate::steer::health::verdict::Verdict;

use super::canary::way_of;
use super::cluster::{cluster, planned_by};
use super::load::region_named;
use super::paging::{Page, PageQuery};
use super::planning::PlanningStatus;
use super::problem::Problem;
use super::records::{self, RecordSet};
use super::request::{Api, Named, Shared};
use super::status::{self, DrainStatus, EndpointStatus, RegionStatus, ServiceRegion, ServiceStatus};
use super::versions::Tagged;

type Wanted = Result<Query<PageQuery>, QueryRejection>;

/// A zone at a glance.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ZoneRow {
    /// Absolute.
    pub origin: String,
    /// Of its SOA.
    pub serial: Option<u32>,
    /// Names with records.
    pub names: usize,
    pub regions: usize,
    pub services: usize,
}

/// A zone, and a page of its records.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ZoneDetail {
    #[serde(flatten)]
    pub zone: ZoneRow,
    #[serde(flatten)]
    pub records: Page<RecordSet>,
}

/// A service as it is, and as configured.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ServiceDetail {
    #[serde(flatten)]
    pub status: ServiceStatus,
    /// The origin of its zone.
    pub zone: String,
    /// Those that it can be switched to; empty where it has none.
    pub stages: Vec<String>,
    /// Whether EDNS Client Subnet is believed.
    pub ecs: bool,
    /// Whether HTTPS records are answered.
    pub https: bool,
}

/// A region as it is, and as configured.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RegionDetail {
    #[serde(flatten)]
    pub status: RegionStatus,
    /// The origin of its zone.
    pub zone: String,
    pub latitude: f64,
    pub longitude: f64,
    /// As configured, in the unit of its load report; `None`: unlimited, until a report says.
    pub capacity: Option<f64>,
    /// Dollars per million requests.
    pub cost: f64,
    /// It is up while so many endpoints are.
    pub min_healthy: usize,
    pub checks: Vec<CheckRow>,
    /// The services whose clients may be sent there.
    pub services: Vec<String>,
}

/// An endpoint of a region.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EndpointRow {
    /// Qualified.
    pub region: String,
    /// Empty where it is a host name.
    pub addresses: Vec<String>,
    #[serde(flatten)]
    pub status: EndpointStatus,
}

/// A check that each endpoint of a region is put to.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CheckRow {
    /// Qualified.
    pub region: String,
    /// Empty where it is the only one and was given none.
    pub name: String,
    /// `vote`, `must_pass` or `watch_only`.
    pub role: Cow<'static, str>,
    /// Such as `http`.
    pub kind: Cow<'static, str>,
    pub interval_s: f64,
    pub timeout_s: f64,
    /// Failures in a row that take an endpoint down.
    pub fall: u32,
    /// Successes in a row that bring it back.
    pub rise: u32,
    pub grace_s: f64,
    /// Its probes by verdict: `up`, `suspect`, `down`, `unknown`.
    pub probes: BTreeMap<Cow<'static, str>, usize>,
}

/// An override that holds.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct OverrideRow {
    /// Qualified.
    pub region: String,
    #[serde(rename = "override")]
    pub operator_override: Override,
    /// What it makes of the region.
    pub state: Cow<'static, str>,
    /// What its probes say.
    pub verdict: String,
    /// While it is drained.
    pub drain: Option<DrainStatus>,
}

/// The plan in force, and what each service makes of it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Plans {
    /// Its age, what it cost, and why there is none.
    pub planning: PlanningStatus,
    /// What it asks and expects of each region.
    pub regions: Vec<PlannedRegion>,
    /// By service.
    #[serde(flatten)]
    pub services: Page<PlannedService>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PlannedRegion {
    /// Qualified.
    pub name: String,
    /// 0 or more: what one client more would cost there, in milliseconds.
    pub price_ms: f64,
    /// In the unit of its load reports.
    pub planned_load: Option<f64>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PlannedService {
    pub name: String,
    pub policy: String,
    pub stage: Option<String>,
    pub regions: Vec<ServiceRegion>,
}

pub async fn get_zones(State(api): Shared, wanted: Wanted) -> Result<Json<Page<ZoneRow>>, Problem> {
    let wanted = PageQuery::taken(wanted)?;
    read(&api, move |snapshot, _| {
        let keyed =
            snapshot.model.zones.iter().enumerate().map(|(at, zone)| (zone.origin.to_lowercase().to_string(), at));
        let page = wanted.of(snapshot.generation, keyed);
        Ok(page.map(|at| zone_row(snapshot, at, &snapshot.model.zones[at])))
    })
    .await
}

pub async fn get_zone(State(api): Shared, Named(origin): Named, wanted: Wanted) -> Result<Json<ZoneDetail>, Problem> {
    let wanted = PageQuery::taken(wanted)?;
    read(&api, move |snapshot, _| {
        let name = Name::parse_absolute(&origin).map(|name| name.to_lowercase());
        let mut zones = snapshot.model.zones.iter().enumerate();
        let found = zones.find(|(_, zone)| name.as_ref().is_ok_and(|name| *name == zone.origin.to_lowercase()));
        let (at, zone) = found.ok_or_else(|| not_found(format!("no zone is called `{origin:.300}`")))?;
        let records = records::page(zone, snapshot.generation, &wanted)?;
        Ok(ZoneDetail { zone: zone_row(snapshot, at, zone), records })
    })
    .await
}

pub async fn get_services(State(api): Shared, wanted: Wanted) -> Result<Json<Page<ServiceDetail>>, Problem> {
    let wanted = PageQuery::taken(wanted)?;
    read(&api, move |snapshot, api| {
        let all =
            status::services(snapshot, &api.counts).map(|(id, status)| (snapshot.model.service_key(id), (id, status)));
        Ok(wanted.of(snapshot.generation, all).map(|(id, status)| service_detail(snapshot, id, status)))
    })
    .await
}

pub async fn get_service(State(api): Shared, Named(name): Named) -> Result<Tagged<ServiceDetail>, Problem> {
    let Json(found) = read(&api, move |snapshot, api| {
        let wanted = service_named(snapshot, &name)?;
        let mut all = status::services(snapshot, &api.counts);
        let (id, status) = all.find(|(id, _)| *id == wanted).ok_or_else(|| not_found("it is not served yet"))?;
        let (key, way) = (snapshot.model.service_key(id), way_of(snapshot, id).to_string());
        Ok((api.versions.tag(&key, &way), service_detail(snapshot, id, status)))
    })
    .await?;
    Ok(Tagged(found.0, found.1))
}

pub async fn get_regions(State(api): Shared, wanted: Wanted) -> Result<Json<Page<RegionDetail>>, Problem> {
    let wanted = PageQuery::taken(wanted)?;
    read(&api, move |snapshot, _| {
        let now = Instant::now();
        Ok(wanted.of(snapshot.generation, named_regions(snapshot)).map(|id| region_detail(snapshot, id, now)))
    })
    .await
}

pub async fn get_region(State(api): Shared, Named(name): Named) -> Result<Tagged<RegionDetail>, Problem> {
    let Json(found) = read(&api, move |snapshot, api| {
        let id = region_named(snapshot, &name)?;
        let tag = api.versions.tag(&snapshot.model.qualified_region_name(id), override_of(snapshot, id));
        Ok((tag, region_detail(snapshot, id, Instant::now())))
    })
    .await?;
    Ok(Tagged(found.0, found.1))
}

pub async fn get_endpoints(State(api): Shared, wanted: Wanted) -> Result<Json<Page<EndpointRow>>, Problem> {
    let wanted = PageQuery::taken(wanted)?;
    read(&api, move |snapshot, _| {
        let now = Instant::now();
        // A region has at most 64.
        let keyed = named_regions(snapshot).flat_map(|(name, id)| {
            let count = snapshot.model.region(id).endpoints.len();
            (0..count).map(move |at| (format!("{name}#{at:02}"), (id, at)))
        });
        let page = wanted.of(snapshot.generation, keyed);
        Ok(page.map(|(id, at)| {
            let endpoint = &snapshot.model.region(id).endpoints[at];
            EndpointRow {
                region: snapshot.model.qualified_region_name(id),
                addresses: addresses(endpoint),
                status: status::endpoint(snapshot, id, (at, endpoint), now),
            }
        }))
    })
    .await
}

pub async fn get_checks(State(api): Shared, wanted: Wanted) -> Result<Json<Page<CheckRow>>, Problem> {
    let wanted = PageQuery::taken(wanted)?;
    read(&api, move |snapshot, _| {
        let keyed = named_regions(snapshot).flat_map(|(name, id)| {
            let members = snapshot.model.region(id).checks.iter().flat_map(|checks| &checks.members).enumerate();
            members.map(move |(at, member)| (format!("{name}#{at:02}"), (id, member)))
        });
        Ok(wanted.of(snapshot.generation, keyed).map(|(id, member)| check_row(snapshot, id, member)))
    })
    .await
}

pub async fn get_overrides(State(api): Shared, wanted: Wanted) -> Result<Json<Page<OverrideRow>>, Problem> {
    let wanted = PageQuery::taken(wanted)?;
    read(&api, move |snapshot, _| {
        let now = Instant::now();
        let is_said = |id: &RegionId| {
            let state = snapshot.states.get(id.index());
            state.is_some_and(|state| state.operator_override != Override::Auto)
        };
        let keyed = named_regions(snapshot).filter(|(_, id)| is_said(id));
        Ok(wanted.of(snapshot.generation, keyed).map(|id| override_row(status::region(snapshot, id, now))))
    })
    .await
}

pub async fn get_plans(State(api): Shared, wanted: Wanted) -> Result<Json<Plans>, Problem> {
    let wanted = PageQuery::taken(wanted)?;
    read(&api, move |snapshot, api| {
        let now = Instant::now();
        let of_node = cluster(&api.context).as_ref().and_then(planned_by);
        let planned = |id: RegionId| {
            let status = status::region(snapshot, id, now);
            PlannedRegion { name: status.name, price_ms: status.price_ms, planned_load: status.planned_load }
        };
        let all = status::services(snapshot, &api.counts).map(|(id, status)| (snapshot.model.service_key(id), status));
        let services = wanted.of(snapshot.generation, all).map(|status| PlannedService {
            name: status.name,
            policy: status.policy.into_owned(),
            stage: status.stage,
            regions: status.regions,
        });
        let planning = status::planning_of(&api.context, snapshot, of_node, now);
        Ok(Plans { planning, regions: snapshot.model.region_ids().map(planned).collect(), services })
    })
    .await
}

/// Reads one snapshot, which may take milliseconds: not on a thread that serves sockets.
async fn read<T: Send + 'static>(
    api: &Arc<Api>,
    make: impl FnOnce(&Snapshot, &Api) -> Result<T, Problem> + Send + 'static,
) -> Result<Json<T>, Problem> {
    let api = api.clone();
    let made = tokio::task::spawn_blocking(move || make(&api.context.shared.load_full(), &api)).await;
    made.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?.map(Json)
}

fn not_found(why: impl Into<String>) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, why)
}

/// What operators said of a region.
pub fn override_of(snapshot: &Snapshot, id: RegionId) -> &'static str {
    snapshot.states.get(id.index()).map_or(Override::Auto, |state| state.operator_override).as_str()
}

fn named_regions(snapshot: &Snapshot) -> impl Iterator<Item = (String, RegionId)> {
    snapshot.model.region_ids().map(|id| (snapshot.model.qualified_region_name(id), id))
}

/// The one service that is called so.
pub fn service_named(snapshot: &Snapshot, name: &str) -> Result<ServiceId, Problem> {
    match *snapshot.model.find_services(name) {
        [id] => Ok(id),
        [] => Err(not_found(format!("no service is called `{name:.300}`"))),
        ref several => {
            let names: Vec<_> = several.iter().map(|id| snapshot.model.service_key(*id)).collect();
            let error = format!("several zones have a service `{name}`: say which of {}", names.join(", "));
            Err(Problem::new(StatusCode::CONFLICT, error))
        }
    }
}

fn zone_row(snapshot: &Snapshot, at: usize, zone: &Zone) -> ZoneRow {
    let model = &snapshot.model;
    ZoneRow {
        origin: zone.origin.to_string(),
        serial: serial(zone),
        names: zone.nodes.len(),
        regions: model.regions.iter().filter(|region| region.zone.index() == at).count(),
        services: model.services.iter().filter(|service| service.zone.index() == at).count(),
    }
}

/// The first of the five numbers that an SOA's RDATA ends with (RFC 1035 section 3.3.13).
fn serial(zone: &Zone) -> Option<u32> {
    let rdata = zone.nodes.apex()?.set(RecordType::SOA)?.rdatas().next()?;
    let numbers = rdata.get(rdata.len().checked_sub(20)?..)?;
    Some(u32::from_be_bytes(*numbers.first_chunk()?))
}

fn service_detail(snapshot: &Snapshot, id: ServiceId, status: ServiceStatus) -> ServiceDetail {
    let service = snapshot.model.service(id);
    ServiceDetail {
        status,
        zone: snapshot.model.zone(service.zone).origin.to_string(),
        stages: service.policies.stage_names().map(str::to_owned).collect(),
        ecs: service.ecs,
        https: service.https.is_some(),
    }
}

fn region_detail(snapshot: &Snapshot, id: RegionId, now: Instant) -> RegionDetail {
    let region = snapshot.model.region(id);
    let members = region.checks.iter().flat_map(|checks| &checks.members);
    let services =
        snapshot.model.service_ids().filter(|service| snapshot.model.service(*service).regions.contains(&id));
    RegionDetail {
        status: status::region(snapshot, id, now),
        zone: snapshot.model.zone(region.zone).origin.to_string(),
        latitude: region.coordinates.latitude(),
        longitude: region.coordinates.longitude(),
        capacity: region.capacity,
        cost: region.cost,
        min_healthy: region.min_healthy,
        checks: members.map(|member| check_row(snapshot, id, member)).collect(),
        services: services.map(|service| snapshot.model.service_key(service)).collect(),
    }
}

fn addresses(endpoint: &Endpoint) -> Vec<String> {
    match &endpoint.target {
        EndpointTarget::Addresses(addresses) => addresses.iter().map(ToString::to_string).collect(),
        EndpointTarget::Host(_) => Vec::new(),
    }
}

fn check_row(snapshot: &Snapshot, id: RegionId, member: &MemberCheck) -> CheckRow {
    let Check { kind, interval, timeout, fall, rise, grace } = &member.check;
    let mut probes = BTreeMap::new();
    for endpoint in snapshot.states.get(id.index()).iter().flat_map(|state| &state.endpoints) {
        for (_, probe) in endpoint.probes.iter().filter(|(probe, _)| probe.check == member.name) {
            *probes.entry(probe.verdict.map_or("unknown", Verdict::as_str).into()).or_default() += 1;
        }
    }
    CheckRow {
        region: snapshot.model.qualified_region_name(id),
        name: member.name.to_string(),
        role: member.role.as_str().into(),
        kind: kind_word(kind).into(),
        interval_s: interval.as_secs_f64(),
        timeout_s: timeout.as_secs_f64(),
        fall: *fall,
        rise: *rise,
        grace_s: grace.as_secs_f64(),
        probes,
    }
}

/// As it is called in zone files.
fn kind_word(kind: &CheckKind) -> &'static str {
    match kind {
        CheckKind::Tcp { .. } | CheckKind::TcpExchange(_) => "tcp",
        CheckKind::Udp(_) => "udp",
        CheckKind::Tls { .. } => "tls",
        CheckKind::Dns(_) => "dns",
        CheckKind::Grpc(_) => "grpc",
        CheckKind::Icmp => "icmp",
        CheckKind::Push { .. } => "push",
        CheckKind::Exec(_) => "exec",
        CheckKind::Http(_) => "http",
    }
}

fn override_row(status: RegionStatus) -> OverrideRow {
    OverrideRow {
        region: status.name,
        operator_override: status.operator_override,
        state: status.effective.as_str().into(),
        verdict: status.verdict.into_owned(),
        drain: status.drain,
    }
}
