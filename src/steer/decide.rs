//! The decision for one query: region, endpoint, TTL and scope. What `explain` shows and the
//! packet path answers with. Allocates nothing, but where a region has changed and the tables of a
//! service that goes by more than scores are not made anew yet.

use std::borrow::Cow;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::atlas::{Atlas, Located, PlaceId};
use crate::model::{Model, RegionId, Service, ServiceId, Ttl};

use super::choice::cell::{Asker, Cell, Pick, Regions};
use super::choice::endpoint_set::{EndpointChoice, EndpointSet};
use super::choice::pick::{ClientKey, NETWORK_BITS_IPV4, NETWORK_BITS_IPV6, rendezvous};
use super::health::effective::RegionState;
use super::plan::code::{Answer, Found};
use super::plan::table::Follows;
use super::plan::{Plan, ServicePlan};
use super::policy::eligible::ServiceCondition;
use super::policy::{Picker, PlanInputs};

/// The data that a decision reads: parts of one snapshot, whose ids match.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub model: &'a Model,
    pub atlas: &'a Atlas,
    /// Those that the plan stands by, indexed by [`RegionId`].
    pub states: &'a [RegionState],
    pub endpoint_sets: &'a [EndpointSet],
    pub plan: &'a Plan,
}

/// A client as a query shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Only the address the query came from: a resolver's, usually.
    Source(IpAddr),
    /// The client's network, from EDNS Client Subnet; the bits beyond it are zero.
    Subnet(IpAddr),
}

impl Seen {
    pub fn address(self) -> IpAddr {
        match self {
            Seen::Source(address) | Seen::Subnet(address) => address,
        }
    }
}

/// One client's answer, before it is put into records.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    pub region: RegionId,
    /// All regions that are answered, `region` first: more than one under the policy `multi` alone.
    pub regions: Regions,
    /// Into the region's endpoints: the one its clients are shared out to by weight.
    pub endpoint: u16,
    pub key: ClientKey,
    pub ttl: Ttl,
    pub ttl_reason: TtlReason,
    /// SCOPE PREFIX-LENGTH (RFC 7871): inside it every address gets this answer.
    pub scope: u8,
    pub scope_reason: ScopeReason,
}

/// The reason why an answer lives as long as it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TtlReason {
    Calm,
    /// The chosen region is near a verdict change.
    Suspect,
    /// A region of the service went down, began to drain or came back in the last 300 s.
    Aftermath,
    /// All regions are down or withdrawn.
    Panic,
    /// The chosen region is above 95 % of its capacity.
    Full,
    /// A chosen region is above 85 % of its capacity, or all are above their limits.
    Busy,
    /// Another region of the service is down or draining.
    Reduced,
}

/// The reason why an answer may be shared as widely as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScopeReason {
    /// The service answers all places alike.
    IgnoresLocation,
    /// The widest prefix whose addresses are all answered as the client's place is.
    Place,
    /// Clients of the place are shared out, by /24 or /48.
    Split,
}

/// The family of addresses that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Ipv4,
    Ipv6,
}

/// Decides for one client. `None` only for a service the view does not have.
pub fn decide(view: &View<'_>, service: ServiceId, seen: Seen) -> Option<Decision> {
    decide_by_key(view, service, seen, ClientKey::of(seen.address(), key_bits(seen)))
}

/// As [`decide`], for a client whose key is not that of its address: a simulated one.
pub fn decide_by_key(view: &View<'_>, service: ServiceId, seen: Seen, key: ClientKey) -> Option<Decision> {
    let found = view.plan.services.get(service.index())?.table.find(seen.address());
    decide_at(view, service, seen, key, found)
}

/// As [`decide`], of a client of whom it is known what
/// [`Table::find`](super::plan::table::Table::find) says.
pub fn decide_for(view: &View<'_>, service: ServiceId, seen: Seen, found: Found) -> Option<Decision> {
    decide_at(view, service, seen, ClientKey::of(seen.address(), key_bits(seen)), found)
}

#[inline]
fn decide_at(view: &View<'_>, service: ServiceId, seen: Seen, key: ClientKey, found: Found) -> Option<Decision> {
    let configured = view.model.services.get(service.index())?;
    let plan = view.plan.services.get(service.index())?;
    let asker = asker_of(seen, key);
    let Chosen { regions, condition, is_shared, widest } =
        chosen(view, (service, plan), &asker, seen.address(), found)?;
    let key_bits = key_bits(seen);
    let region = regions.first();
    let endpoint_set = view.endpoint_sets.get(region.index())?;
    let mut life = time_to_live(configured, plan, condition, span_of(endpoint_set));
    if let [_, others @ ..] = regions.as_slice() {
        for other in others.iter().filter_map(|other| view.endpoint_sets.get(other.index())) {
            life = life.min_by_ttl(time_to_live(configured, plan, condition, span_of(other)));
        }
    }
    let (scope, scope_reason) = match (is_shared || endpoint_set.endpoints.len() > 1, plan.depends_on_place) {
        (true, true) => (widest.max(key_bits), ScopeReason::Split),
        (true, false) => (key_bits, ScopeReason::Split),
        (false, true) => (widest, ScopeReason::Place),
        (false, false) => (0, ScopeReason::IgnoresLocation),
    };
    let endpoint = pick_endpoint(endpoint_set, key, |_| true)?.index;
    let Life { ttl, reason: ttl_reason } = life;
    Some(Decision { region, regions, endpoint, key, ttl, ttl_reason, scope, scope_reason })
}

/// One client's regions.
struct Chosen {
    regions: Regions,
    condition: ServiceCondition,
    /// Which client asks can matter for them.
    is_shared: bool,
    /// The widest prefix length around the client within which no more than that matters.
    widest: u8,
}

impl Chosen {
    #[inline]
    fn of(cell: &Cell, asker: &Asker, widest: u8) -> Chosen {
        let (regions, is_shared) = match &cell.pick {
            Pick::One(only) => (Regions::one(*only), false),
            pick => (pick.regions(asker), true),
        };
        Chosen { regions, condition: cell.condition, is_shared, widest }
    }
}

/// From the service's table, as far as that holds.
#[inline]
fn chosen(
    view: &View<'_>,
    (id, plan): (ServiceId, &ServicePlan),
    asker: &Asker,
    address: IpAddr,
    found: Found,
) -> Option<Chosen> {
    let code = plan.table.code(found.class)?;
    match code.read() {
        Answer::Open { site } if plan.follows != Follows::Nothing => {
            return worked_out(view, id, asker, (site as usize, None), found.widest);
        }
        _ if !plan.holds(code) => {}
        Answer::Open { .. } => {}
        Answer::One(region) => {
            let (regions, condition) = (Regions::one(region), ServiceCondition::Normal);
            return Some(Chosen { regions, condition, is_shared: false, widest: found.widest });
        }
        Answer::Cell(number) => return Some(Chosen::of(plan.table.cell(number)?, asker, found.widest)),
    }
    let Located { place, scope } = locate(view, id, address)?;
    worked_out(view, id, asker, (site_of(view, place), Some(place)), scope)
}

/// For clients of a site, and of a place if policies ask for more than the site. Allocates nothing for services that go
/// by score alone.
#[inline(never)] // few come here: it must not cost the others registers
fn worked_out(
    view: &View<'_>,
    id: ServiceId,
    asker: &Asker,
    (site, place): (usize, Option<PlaceId>),
    widest: u8,
) -> Option<Chosen> {
    let picker = picker(view, id)?;
    if let Some(by_score) = picker.scored() {
        let (region, is_shared) = by_score.choose(site, asker)?;
        let regions = Regions::one(region);
        let condition = view.plan.services.get(id.index())?.standing.condition;
        return Some(Chosen { regions, condition, is_shared, widest });
    }
    Some(Chosen::of(&cell_of(view, &picker, site, place), asker, widest))
}

/// The place of a client, as far as the service's answers depend on it.
fn locate(view: &View<'_>, id: ServiceId, address: IpAddr) -> Option<Located> {
    Some(match view.plan.services.get(id.index())?.depends_on_place {
        true => view.atlas.locate(address),
        false => Located { place: PlaceId::UNKNOWN, scope: 0 },
    })
}

fn site_of(view: &View<'_>, place: PlaceId) -> usize {
    view.plan.sites.as_ref().and_then(|sites| sites.of_place(place)).unwrap_or(0)
}

/// The cell that a client is answered from.
///
/// That is the one its service's table has for it, as long as that holds. Otherwise it is worked out for the client's
/// place, by the same functions that the table is made anew with in the background.
pub fn cell_at<'a>(view: &View<'a>, id: ServiceId, address: IpAddr) -> Option<Cow<'a, Cell>> {
    let plan = view.plan.services.get(id.index())?;
    let found = plan.table.find(address);
    kept_cell(plan, found.class).or_else(|| cell_at_place(view, id, locate(view, id, address)?.place))
}

/// As [`cell_at`], of all clients of a place.
pub fn cell_at_place<'a>(view: &View<'a>, id: ServiceId, place: PlaceId) -> Option<Cow<'a, Cell>> {
    let plan = view.plan.services.get(id.index())?;
    kept_cell(plan, plan.table.class_of(place)).or_else(|| {
        let cell = cell_of(view, &picker(view, id)?, site_of(view, place), Some(place));
        Some(Cow::Owned(cell))
    })
}

/// What the table has, as far as that holds.
fn kept_cell(plan: &ServicePlan, class: u32) -> Option<Cow<'_, Cell>> {
    let code = plan.table.code(class).filter(|code| plan.holds(*code))?;
    match code.read() {
        Answer::One(region) => Some(Cow::Owned(Cell { pick: Pick::One(region), condition: ServiceCondition::Normal })),
        Answer::Cell(number) => plan.table.cell(number).map(Cow::Borrowed),
        Answer::Open { .. } => None,
    }
}

/// `place`: where its clients are, if policies ask for more than the site.
fn cell_of(view: &View<'_>, picker: &Picker<'_>, site: usize, place: Option<PlaceId>) -> Cell {
    let route = match place {
        Some(place) => picker.route(view.atlas, place),
        None => picker.route_of_all(),
    };
    picker.cell(site, &route)
}

/// A service's policies at work, as its regions stand.
pub fn picker<'a>(view: &View<'a>, id: ServiceId) -> Option<Picker<'a>> {
    let recipes = view.plan.recipes()?;
    let inputs = PlanInputs {
        model: view.model,
        states: view.states,
        identities: &recipes.identities,
        sites: view.plan.sites.as_deref(),
        planned: view.plan.planned.as_deref(),
        seed: view.plan.seed,
    };
    let standing = &view.plan.services.get(id.index())?.standing;
    Some(Picker::of(inputs, view.model.services.get(id.index())?, &recipes.of_service(id)?.shape, standing))
}

/// The endpoint whose addresses of this family are answered: the decision's own where it has
/// some, else the next by the same hash. `None` where the region has none of the family.
pub fn endpoint_of_family(view: &View<'_>, decision: &Decision, family: Family) -> Option<u16> {
    endpoint_in(view, decision, decision.region, family)
}

/// As [`endpoint_of_family`], of any of the decision's regions.
pub fn endpoint_in(view: &View<'_>, decision: &Decision, region: RegionId, family: Family) -> Option<u16> {
    let endpoint_set = view.endpoint_sets.get(region.index())?;
    let has = |choice: &EndpointChoice| match family {
        Family::Ipv4 => choice.has_ipv4,
        Family::Ipv6 => choice.has_ipv6,
    };
    // Who won among all wins among some: mostly nothing has to be hashed again.
    let is_own = |choice: &EndpointChoice| region == decision.region && choice.index == decision.endpoint;
    if endpoint_set.endpoints.iter().any(|choice| is_own(choice) && has(choice)) {
        return Some(decision.endpoint);
    }
    pick_endpoint(endpoint_set, decision.key, has).map(|choice| choice.index)
}

fn pick_endpoint(
    endpoint_set: &EndpointSet,
    key: ClientKey,
    fits: impl Fn(&EndpointChoice) -> bool,
) -> Option<&EndpointChoice> {
    if let [only] = &*endpoint_set.endpoints {
        return fits(only).then_some(only);
    }
    let weight = |choice: &EndpointChoice| if fits(choice) { choice.weight } else { 0.0 };
    let index = rendezvous(key, endpoint_set.endpoints.iter().map(|choice| (choice.identity, weight(choice))))?;
    endpoint_set.endpoints.get(index)
}

fn key_bits(seen: Seen) -> u8 {
    match seen {
        Seen::Subnet(IpAddr::V4(_)) => NETWORK_BITS_IPV4,
        Seen::Subnet(IpAddr::V6(_)) => NETWORK_BITS_IPV6,
        Seen::Source(_) => 128,
    }
}

/// The asking client, as choices see it.
pub fn asker(seen: Seen) -> Asker {
    asker_of(seen, ClientKey::of(seen.address(), key_bits(seen)))
}

/// With this key. A resolver's own address tells more than its network, which some choices go by.
#[inline]
fn asker_of(seen: Seen, key: ClientKey) -> Asker {
    let source = match seen {
        Seen::Subnet(_) => None,
        Seen::Source(address) => Some(address),
    };
    Asker { key, source }
}

/// The lifetime of an answer, and its reason.
#[derive(Clone, Copy)]
pub(super) struct Life {
    pub(super) ttl: Ttl,
    reason: TtlReason,
}

impl Life {
    fn min_by_ttl(self, other: Life) -> Life {
        if other.ttl < self.ttl { other } else { self }
    }
}

/// How long answers with a region may live, as far as that is the region's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    Calm,
    Busy,
    Full,
    Suspect,
}

impl Span {
    pub(super) const COUNT: usize = 4;
    pub(super) const ALL: [Span; Span::COUNT] = [Span::Calm, Span::Busy, Span::Full, Span::Suspect];
}

pub(super) fn span_of(endpoint_set: &EndpointSet) -> Span {
    match endpoint_set {
        EndpointSet { suspect: true, .. } => Span::Suspect,
        EndpointSet { full: true, .. } => Span::Full,
        EndpointSet { busy: true, .. } => Span::Busy,
        _ => Span::Calm,
    }
}

/// An answer must not outlive its evidence.
pub(super) fn time_to_live(service: &Service, plan: &ServicePlan, condition: ServiceCondition, span: Span) -> Life {
    let half = Ttl::saturating((service.ttl.as_secs() / 2).max(service.failover_ttl.as_secs()));
    let (ttl, reason) = match span {
        _ if !matches!(condition, ServiceCondition::Normal | ServiceCondition::Full) => {
            (service.failover_ttl, TtlReason::Panic)
        }
        Span::Suspect => (service.failover_ttl, TtlReason::Suspect),
        _ if plan.aftermath => (service.failover_ttl, TtlReason::Aftermath),
        Span::Full => (service.failover_ttl, TtlReason::Full),
        Span::Busy => (half, TtlReason::Busy),
        Span::Calm if condition == ServiceCondition::Full => (half, TtlReason::Busy),
        Span::Calm if plan.reduced => (half, TtlReason::Reduced),
        Span::Calm => (service.ttl, TtlReason::Calm),
    };
    Life { ttl, reason }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::super::plan::AFTERMATH;
    use super::super::testing::{World, at, endpoint};
    use super::*;
    use crate::model::Policy;
    use crate::steer::health::effective::EffectiveState;
    use crate::steer::health::verdict::Verdict;
    use crate::steer::load::state::LoadFigure;

    #[test]
    fn the_ttl_says_how_near_a_change_is() {
        let now = Instant::now();
        let ttl = |world: &World| {
            let decision = world.plan(now).by_ecs("10.0.0.0");
            (decision.ttl.as_secs(), decision.ttl_reason)
        };
        let mut calm = World::two_coasts(Policy::Score);
        assert_eq!(ttl(&calm), (30, TtlReason::Calm));
        calm.states[0].load.last = Some(LoadFigure { load: 860.0, capacity: Some(1000.0), at: now });
        assert_eq!(ttl(&calm), (15, TtlReason::Busy));
        calm.states[0].load.last = Some(LoadFigure { load: 960.0, capacity: Some(1000.0), at: now });
        assert_eq!(ttl(&calm), (5, TtlReason::Full));

        let mut suspect = World::two_coasts(Policy::Score);
        suspect.states[0].effective = EffectiveState::Suspect;
        assert_eq!(ttl(&suspect), (5, TtlReason::Suspect));
        let mut one_endpoint = World::two_coasts(Policy::Score);
        one_endpoint.states[0].endpoints[0].verdict = Some(Verdict::Suspect);
        assert_eq!(ttl(&one_endpoint), (5, TtlReason::Suspect));

        let mut other_down = World::two_coasts(Policy::Score);
        other_down.down(1);
        assert_eq!(ttl(&other_down), (15, TtlReason::Reduced));
        other_down.states[1].changed_at = Some(now);
        assert_eq!(ttl(&other_down), (5, TtlReason::Aftermath));
        other_down.states[1].changed_at = now.checked_sub(AFTERMATH + Duration::from_secs(1));
        assert_eq!(ttl(&other_down), (15, TtlReason::Reduced));
        other_down.down(0);
        assert_eq!(ttl(&other_down), (5, TtlReason::Panic));
    }

    #[test]
    fn rfc7871_scope_is_the_widest_that_is_true() {
        let scored = World::two_coasts(Policy::Score);
        let plan = scored.plan(Instant::now());
        assert_eq!(plan.by_ecs("10.200.0.0").scope, 9);
        assert_eq!(plan.by_ecs("10.64.0.0").scope, 10); // 10.5.6.0/26 is in 10.0.0.0/10
        let failover = World::two_coasts(Policy::Failover);
        assert_eq!(failover.plan(Instant::now()).by_ecs("10.200.0.0").scope, 0);
        let weighted = World::two_coasts(Policy::Weighted(Vec::new()));
        assert_eq!(weighted.plan(Instant::now()).by_ecs("10.200.0.0").scope, 24);
    }

    #[test]
    fn places_that_are_answered_alike_share_a_scope() {
        let places =
            [("10.0.0.0/10", at(0.0, -80.0)), ("10.64.0.0/10", at(0.0, -70.0)), ("10.128.0.0/9", at(0.0, 80.0))];
        let two = World::new(Policy::Score, &[("west", at(0.0, -90.0)), ("east", at(0.0, 90.0))]).clients(&places);
        let plan = two.plan(Instant::now());
        for address in ["10.0.0.0", "10.64.0.0", "10.128.0.0", "10.200.0.0"] {
            assert_eq!(plan.by_ecs(address).scope, 9, "{address}");
        }
    }

    #[test]
    fn several_endpoints_share_a_regions_clients_by_24s() {
        let mut several = World::two_coasts(Policy::Score);
        several.model.regions[0].endpoints.push(endpoint("192.0.2.200"));
        several.states[0].endpoints.push(Default::default());
        let plan = several.plan(Instant::now());
        let endpoints: Vec<u16> = (0..=255).map(|n| plan.by_ecs(&format!("10.1.{n}.0")).endpoint).collect();
        let first = endpoints.iter().filter(|&&endpoint| endpoint == 0).count();
        assert!((90..166).contains(&first), "{first} of 256 for one of two");
        assert_eq!(plan.by_ecs("10.1.2.0").scope, 24);
        assert_eq!(plan.by_ecs("10.200.0.0").scope, 9); // the other region has one endpoint
    }

    #[test]
    fn an_endpoint_that_is_down_is_not_handed_out() {
        let mut several = World::two_coasts(Policy::Score);
        several.model.regions[0].endpoints.push(endpoint("192.0.2.200"));
        several.states[0].endpoints.push(Default::default());
        several.states[0].endpoints[0].verdict = Some(Verdict::Down);
        let plan = several.plan(Instant::now());
        assert!((0..=255).all(|n| plan.by_ecs(&format!("10.1.{n}.0")).endpoint == 1));
    }

    proptest! {
        /// Within any scope returned, every address gets the same answer.
        #[test]
        fn scope_is_true(
            seeds in prop::collection::vec((any::<u32>(), 8u8..29, -80.0f64..80.0, -180.0f64..180.0), 1..40),
            asked in prop::collection::vec(any::<u32>(), 20),
            inside: u32,
        ) {
            let networks: Vec<(String, _)> = seeds
                .iter()
                .map(|&(bits, len, latitude, longitude)| {
                    let address = Ipv4Addr::from(bits & (u32::MAX << (32 - u32::from(len))));
                    (format!("{address}/{len}"), at(latitude, longitude))
                })
                .collect();
            let networks: Vec<_> = networks.iter().map(|(prefix, place)| (prefix.as_str(), *place)).collect();
            let world = World::new(Policy::Score, &[
                ("seoul", at(37.57, 126.98)), ("tokyo", at(35.68, 139.69)), ("frankfurt", at(50.11, 8.68)),
            ]).clients(&networks);
            let plan = world.plan(Instant::now());
            let answer = |bits: u32| plan.decide(Seen::Subnet(IpAddr::V4(bits.into())));
            // Half of the addresses asked lie in the networks, where it is narrow.
            let near = seeds.iter().map(|&(bits, ..)| bits);
            for bits in asked.into_iter().chain(near) {
                let decision = answer(bits);
                let host = u32::MAX.checked_shr(u32::from(decision.scope)).unwrap_or(0);
                let other = answer(bits & !host | inside & host);
                prop_assert_eq!(decision.region, other.region);
                prop_assert_eq!(decision.endpoint, other.endpoint);
                prop_assert_eq!(decision.scope, other.scope);
            }
        }
    }
}
