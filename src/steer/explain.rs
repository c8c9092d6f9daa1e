//! The whole reasoning behind one client's answer, as data: what `meridian explain`, the API and
//! the status page show.
//!
//! The decision in it is made by [`decide_for`], the function that answers packets; the table around
//! it by the functions the plan was made with.

use std::borrow::Cow;
use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::atlas::PlaceId;
use crate::model::{Policy, RegionId, Service, ServiceId, Weights};

use super::choice::cell::Cell;

use super::decide::{
    Decision, Family, ScopeReason, Seen, TtlReason, View, asker, cell_at, decide_for, endpoint_of_family, picker,
};
use super::health::dependency::reason;
use super::health::effective::{EffectiveState, Override, RegionState};
use super::latency::rtt::coordinates;
use super::latency::score::{Score, total_ms};
use super::load::feed::{Implausible, Reading};
use super::load::state::LoadState;
use super::plan::scores;
use super::planner::Planned;
use super::planner::score_group::ScoreGroup;
use super::policy::Step;
use super::policy::eligible::{Eligible, ServiceCondition};
use super::policy::tiers;

/// The reason why this client gets this region.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    pub service: String,
    pub policy: Cow<'static, str>,
    pub client: ClientSeen,
    /// The groups of regions this client came through, the outermost first.
    pub walk: Vec<Step>,
    /// In the order of the service's configuration.
    pub regions: Vec<RegionRow>,
    /// The condition that this client's regions are in.
    pub condition: ServiceCondition,
    /// The rule whose regions this client never leaves, such as `rule 2 (asia)`: then `condition` is of those alone.
    pub fence: Option<String>,
    /// The case that the plan would send these clients farther, were a load believed.
    pub kept_near: Option<KeptNearRow>,
    pub chosen: Chosen,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct KeptNearRow {
    /// The nearest region, whose load is not believed.
    pub region: String,
    /// `steering.max_detour`: how much farther than that region they may be sent.
    pub max_detour_ms: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ClientSeen {
    pub address: String,
    /// `ecs` or `source`.
    pub seen_by: Cow<'static, str>,
    pub location: String,
    pub latitude: Option<f64>,
    pub longitude: Option<f64>,
}

/// One region's case.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RegionRow {
    pub region: String,
    #[serde(rename = "state")]
    pub effective: EffectiveState,
    #[serde(rename = "override")]
    pub operator_override: Override,
    /// All terms in milliseconds. Under other policies than `score` for information only.
    pub score: Score,
    /// The milliseconds that the operator adds to its round trips, weighed as these are; below 0: it is favoured.
    pub bias_ms: f64,
    /// The milliseconds it may be worse by before the planner sends elsewhere those of these clients it has; 0 where it
    /// has none, or nothing is planned.
    pub stays_ms: f64,
    /// The score with bias, less what stays.
    pub total_ms: f64,
    /// 0 to 1: its part of these clients by the plan in force; `None` where nothing is planned for them.
    pub planned_share: Option<f64>,
    /// Under `score`, where no plan decides: clients share the first tier with an eligible region. From 0.
    pub tier: Option<u32>,
    pub load: Option<LoadRow>,
    /// 0 to 1: the part of its new clients it sheds for its load.
    pub shed: f64,
    /// True where its load is at its hard limit.
    pub over_limit: bool,
    /// 0 to 1: the part of this place's clients it gets.
    pub share: f64,
    /// The reason why the share is 0; `None` where it is not.
    pub excluded: Option<Cow<'static, str>>,
    /// Seconds since the last probe of any of its endpoints.
    pub probe_age_s: Option<f64>,
    /// Whether what probes say of some endpoint of it is from before a restart, and none has confirmed that since.
    pub restored: bool,
    /// 0.01 to 1: the part of its capacity it offers, less than 1 during a slow start and while it is degraded.
    pub offered: f64,
    /// What makes it worse without taking it down, for people; empty where nothing does.
    #[serde(default)]
    pub degraded: Vec<String>,
    /// Seconds it stays out though its probes say up, for having gone down too often.
    pub damped_s: Option<f64>,
    /// Seconds it is answered though its probes say down, because too many of its zone have gone at once.
    pub held_s: Option<f64>,
    /// What it depends on and does not serve, where that alone takes it down: a service, or a region as `name@zone`.
    pub failed_dependency: Option<String>,
    /// Seconds it stays out though its probes say up again, for having been up for too short a time.
    pub delayed_s: Option<f64>,
    /// Seconds since its probes took it down, where an operator's word alone brings it back.
    pub awaits_resume_s: Option<f64>,
    /// As many vantages say that it is down, of so many that judge it; `None`: no other node judges with this one.
    #[serde(default)]
    pub vote: Option<VoteRow>,
}

/// The word of all vantages on a region.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub struct VoteRow {
    pub judging: usize,
    pub down: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LoadRow {
    pub load: f64,
    pub capacity: Option<f64>,
    pub utilisation: Option<f64>,
    pub age_s: f64,
    /// Too old to act on.
    pub stale: bool,
    #[serde(flatten)]
    pub heard: HeardRow,
}

/// The standing of a region's load reports, and the reading of its figures. The command line reads it back; all of it
/// is left out by servers from before there was such a thing.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct HeardRow {
    /// `believed`, `doubted`, `stale`, `failing`, `new`: not made sense of yet, or `never`.
    pub heard: Option<Cow<'static, str>>,
    /// For how long that has been so.
    pub since_s: Option<f64>,
    /// The reason why its figures are not believed.
    pub doubt: Option<String>,
    /// The thing to look for then, where that is known.
    pub cure: Option<Cow<'static, str>>,
    /// The reason why the last report gave nothing, or not all that it says.
    pub error: Option<String>,
    /// `None`: not made sense of yet.
    pub reading: Option<ReadingRow>,
}

/// The reading of a region's figures.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReadingRow {
    /// Load, as the region counts it, per unit of demand: 1 where it counts as most regions do.
    pub unit: f64,
    /// Load that did not come by answers given here, in the region's unit.
    pub others: f64,
    /// The feed says so many times what there is; 1 unless it jumped and nothing that is known explains it.
    pub gain: f64,
    /// Since that jump was borne out, where it is remembered.
    pub jumped_s: Option<f64>,
    /// The capacity that is acted on: as last reported, but for leaps that were said once only.
    pub capacity: Option<f64>,
    /// Its load rises and falls again and again, and counts in the mean of twenty minutes only.
    #[serde(default)]
    pub restless: bool,
}

impl HeardRow {
    pub fn of(load: &LoadState, now: Instant) -> HeardRow {
        let since = |at: Instant| now.saturating_duration_since(at).as_millis() as f64 / 1e3;
        let reading = |reading: Reading| {
            let Reading { unit, others, gain, jumped_at, capacity, restless } = reading;
            ReadingRow { unit, others, gain, jumped_s: jumped_at.map(since), capacity, restless }
        };
        HeardRow {
            heard: Some(load.heard().as_str().into()),
            since_s: load.since.map(since),
            doubt: load.doubt.map(|doubt| doubt.to_string()),
            cure: load.doubt.and_then(Implausible::cure).map(Cow::from),
            error: load.error.clone(),
            reading: load.reading.map(reading),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Chosen {
    pub region: String,
    /// The other regions in the answer, under `multi`.
    pub others: Vec<String>,
    pub endpoint: String,
    /// Addresses by family, where a family's endpoint is another than `endpoint`.
    pub ipv4_endpoint: Option<String>,
    pub ipv6_endpoint: Option<String>,
    pub ttl_s: u32,
    pub ttl_reason: TtlReason,
    /// SCOPE PREFIX-LENGTH (RFC 7871) a resolver with ECS is told; `None` without ECS.
    pub scope: Option<u8>,
    pub scope_reason: ScopeReason,
}

/// Explains a service's answer to a client. `states` are those the view's plan was made from.
/// `None` only for a service the view does not have.
pub fn explain(
    view: &View<'_>,
    states: &[RegionState],
    id: ServiceId,
    seen: Seen,
    now: Instant,
) -> Option<Explanation> {
    let service = view.model.services.get(id.index())?;
    let plan = view.plan.services.get(id.index())?;
    let found = plan.table.find(seen.address());
    let decision = decide_for(view, id, seen, found)?;
    // The cell that the decision was made from; what is known of the client is known of its own place.
    let cell = cell_at(view, id, seen.address())?;
    let place = view.atlas.locate(seen.address()).place;
    let (walk, fence) = walk(view, id, place, seen)?;
    Some(Explanation {
        service: service.name.to_string(),
        policy: service.policies.main().policy.as_str().into(),
        client: client_seen(view, place, seen),
        walk,
        regions: region_rows(view, states, service, (place, &cell), now),
        condition: cell.condition,
        fence,
        kept_near: kept_near(view, service, place),
        chosen: chosen(view, &decision, seen),
    })
}

/// Every region's case, in the order of the service, for clients of a place and its cell.
fn region_rows(
    view: &View<'_>,
    states: &[RegionState],
    service: &Service,
    (place, cell): (PlaceId, &Cell),
    now: Instant,
) -> Vec<RegionRow> {
    let rtts = view.plan.latency.rtts_at(view.model, view.atlas, place, &service.regions);
    let scores = scores(view.model, service, states, &rtts);
    let bias_ms: Vec<f64> = service.regions.iter().map(|&region| weighed(service, service.bias_ms(region))).collect();
    let totals: Vec<f64> = scores.iter().zip(&bias_ms).map(|(score, bias_ms)| score.total_ms + bias_ms).collect();
    let ahead = Ahead::of(view, service, place);
    let tiers = tiers(&totals);
    // Of nested policies, no single one says why: the walk does.
    let policy = (service.policies.groups.len() == 1).then(|| &service.policies.main().policy);
    let eligible = Eligible::of(&service.regions, states);
    // As in the policy: the plan's shares go before tiers, as long as one of their regions is eligible.
    let by_plan = ahead.as_ref().map_or(0, |ahead| ahead.eligible(&eligible));
    let rows = service.regions.iter().enumerate().map(|(index, &region)| {
        let state = states.get(region.index());
        let share = cell.fractions().find(|(of, _)| *of == region).map_or(0.0, |(_, share)| share);
        let stays_ms = ahead.as_ref().map_or(0.0, |ahead| ahead.stays_ms(region, now));
        RegionRow {
            region: view.model.region(region).name.to_string(),
            effective: state.map_or(EffectiveState::Up, |state| state.effective),
            operator_override: state.map_or(Override::Auto, |state| state.operator_override),
            score: scores[index],
            bias_ms: bias_ms[index],
            stays_ms,
            total_ms: totals[index] - stays_ms,
            planned_share: ahead.as_ref().and_then(|ahead| ahead.share(region)),
            tier: (policy == Some(&Policy::Score) && by_plan == 0).then_some(tiers[index]),
            load: state.and_then(|state| load_row(state, now)),
            shed: state.map_or(0.0, |state| state.shed),
            over_limit: state.is_some_and(|state| state.over_limit),
            share,
            excluded: (share == 0.0).then(|| {
                why_out(view, state, eligible.has(region))
                    .unwrap_or_else(|| why_excluded(policy, state, eligible.has(region), by_plan).into())
            }),
            probe_age_s: state.and_then(|state| probe_age(state, now)),
            restored: state.is_some_and(|state| state.endpoints.iter().any(|seen| seen.restored)),
            offered: state.map_or(1.0, |state| state.offered),
            degraded: state.map_or(Vec::new(), |state| state.degraded.why.iter().map(ToString::to_string).collect()),
            damped_s: state.and_then(|state| seconds_to(state.stability.damped_until, now)),
            held_s: state.and_then(|state| seconds_to(state.stability.held_until, now)),
            failed_dependency: failed_dependency(view, state),
            delayed_s: state.and_then(|state| seconds_to(state.stability.delayed_until, now)),
            awaits_resume_s: state.and_then(|state| {
                let at = state.stability.awaits_resume?;
                Some(now.saturating_duration_since(at).as_secs_f64())
            }),
            vote: state.and_then(|state| state.vote).map(|of| VoteRow { judging: of.judging, down: of.down }),
        }
    });
    rows.collect()
}

fn kept_near(view: &View<'_>, service: &Service, place: PlaceId) -> Option<KeptNearRow> {
    let ahead = Ahead::of(view, service, place)?;
    let region = ahead.planned.kept_near(&ahead.score_group, ahead.site)?;
    let max_detour_ms = view.model.steering.max_detour?.as_secs_f64() * 1e3;
    Some(KeptNearRow { region: view.model.region(region).name.to_string(), max_detour_ms })
}

/// The groups a client came through, and the fence it is in.
fn walk(view: &View<'_>, id: ServiceId, place: PlaceId, seen: Seen) -> Option<(Vec<Step>, Option<String>)> {
    let service = view.model.services.get(id.index())?;
    let picker = picker(view, id)?;
    let site = view.plan.sites.as_ref().and_then(|sites| sites.of_place(place)).unwrap_or(0);
    let route = picker.route(view.atlas, place);
    let fence = picker.fence_of(&route).map(|rule| service.policies.rule_name(rule));
    Some((picker.walk(site, &route, &asker(seen)), fence))
}

/// Milliseconds of a round trip in those of the service's score.
fn weighed(service: &Service, rtt_ms: f64) -> f64 {
    total_ms(service.weights, rtt_ms, 0.0, 0.0)
}

/// The planner's decision for clients of one site, of a service whose main group it plans for.
struct Ahead<'a> {
    planned: &'a Planned,
    score_group: ScoreGroup,
    site: usize,
}

impl<'a> Ahead<'a> {
    fn of(view: &View<'a>, service: &Service, place: PlaceId) -> Option<Ahead<'a>> {
        let score_group = ScoreGroup::of(service, service.policies.main())?;
        let site = view.plan.sites.as_ref()?.of_place(place)?;
        Some(Ahead { planned: view.plan.planned()?, score_group, site })
    }

    fn share(&self, region: RegionId) -> Option<f64> {
        let shares = self.planned.shares(&self.score_group, self.site)?;
        let all: f64 = shares.iter().map(|share| share.weight).sum();
        Some(shares.iter().find(|share| share.region == region).map_or(0.0, |share| share.weight / all))
    }

    /// The number of regions that share the site's clients by the plan and are eligible; 0: others decide.
    fn eligible(&self, eligible: &Eligible) -> usize {
        let shares = self.planned.shares(&self.score_group, self.site).unwrap_or_default();
        shares.iter().filter(|share| eligible.has(share.region)).count()
    }

    fn stays_ms(&self, region: RegionId, now: Instant) -> f64 {
        // In the service's own scale, as the planner weighs it.
        let scale = self.score_group.weights().load / Weights::default().load;
        self.planned.stays_ms(&self.score_group, self.site, region, now) * scale
    }
}

fn client_seen(view: &View<'_>, place: PlaceId, seen: Seen) -> ClientSeen {
    let at = coordinates(view.model, view.atlas, place);
    ClientSeen {
        address: seen.address().to_string(),
        seen_by: match seen {
            Seen::Source(_) => "source".into(),
            Seen::Subnet(_) => "ecs".into(),
        },
        location: match (&view.model.default_location, view.atlas.coordinates(place)) {
            (Some(default), None) => format!("unknown, taken to be at {default}"),
            _ => view.atlas.location(place).to_string(),
        },
        latitude: at.map(|at| at.latitude()),
        longitude: at.map(|at| at.longitude()),
    }
}

fn chosen(view: &View<'_>, decision: &Decision, seen: Seen) -> Chosen {
    let region = view.model.region(decision.region);
    let label = |index: u16| region.endpoints.get(usize::from(index)).map(|endpoint| endpoint.label());
    let of_family =
        |family| endpoint_of_family(view, decision, family).filter(|&e| e != decision.endpoint).and_then(label);
    Chosen {
        region: region.name.to_string(),
        others: decision.regions.as_slice().iter().skip(1).map(|id| view.model.region(*id).name.to_string()).collect(),
        endpoint: label(decision.endpoint).unwrap_or_default(),
        ipv4_endpoint: of_family(Family::Ipv4),
        ipv6_endpoint: of_family(Family::Ipv6),
        ttl_s: decision.ttl.as_secs(),
        ttl_reason: decision.ttl_reason,
        scope: matches!(seen, Seen::Subnet(_)).then_some(decision.scope),
        scope_reason: decision.scope_reason,
    }
}

fn failed_dependency(view: &View<'_>, state: Option<&RegionState>) -> Option<String> {
    Some(view.model.dependency_name(state?.stability.failed_dependency?))
}

/// That it is down for what it depends on.
fn why_out(view: &View<'_>, state: Option<&RegionState>, eligible: bool) -> Option<Cow<'static, str>> {
    let is_down = state?.effective == EffectiveState::Down && state?.operator_override == Override::Auto;
    let failed = failed_dependency(view, state).filter(|_| is_down && !eligible)?;
    Some(format!("down: {}", reason(&failed)).into())
}

/// `by_plan`: how many regions the plan shares the clients among; 0 where no plan decides.
fn why_excluded(policy: Option<&Policy>, state: Option<&RegionState>, eligible: bool, by_plan: usize) -> &'static str {
    if state.is_some_and(RegionState::waits_for_resume) {
        return "it awaits resume: its probes say up again, an operator has to say so too";
    }
    if state.is_some_and(|state| state.stability.damped_until.is_some()) {
        return "damped: it went down too often";
    }
    if state.is_some_and(|state| state.stability.delayed_until.is_some()) {
        return "its probes have not said up for as long as its failback delay";
    }
    match (state.map(|state| (state.operator_override, state.effective)), policy) {
        (Some((Override::Down, _)), _) => "down by override",
        (Some((Override::Drain, _)), _) => "draining by override",
        (Some((_, EffectiveState::Down)), _) if !eligible => "down by its probes",
        (Some((_, EffectiveState::Unknown)), _) if !eligible => "not proven up by its probes yet",
        _ if state.is_some_and(|state| state.over_limit) => "at its hard limit",
        _ if state.is_some_and(|state| state.shed >= 1.0) => "above its high watermark",
        (_, Some(Policy::Score)) => match by_plan {
            0 => "a better tier has eligible regions",
            1 => "the plan sends this place's clients to another",
            _ => "the plan shares this place's clients among others",
        },
        (_, Some(Policy::Failover)) => "an earlier region is eligible",
        (_, Some(Policy::Weighted(_) | Policy::Sticky(_) | Policy::Multi { .. })) => "its weight is 0",
        (_, Some(Policy::Nearest | Policy::Latency)) => "another is nearer",
        (_, None | Some(Policy::Canary { .. } | Policy::Stage { .. })) => "the way does not lead there",
        (_, Some(Policy::Geo(_))) => "another comes first in the list for this place",
    }
}

fn load_row(state: &RegionState, now: Instant) -> Option<LoadRow> {
    let figure = state.load.last?;
    Some(LoadRow {
        load: figure.load,
        capacity: figure.capacity,
        utilisation: figure.utilisation(),
        age_s: now.saturating_duration_since(figure.at).as_secs_f64(),
        stale: state.load.stale,
        heard: HeardRow::of(&state.load, now),
    })
}

fn seconds_to(until: Option<Instant>, now: Instant) -> Option<f64> {
    Some(until?.saturating_duration_since(now).as_secs_f64())
}

fn probe_age(state: &RegionState, now: Instant) -> Option<f64> {
    let latest = state.endpoints.iter().filter_map(|endpoint| endpoint.probed_at).max()?;
    Some(now.saturating_duration_since(latest).as_secs_f64())
}
