//! The planner's decisions: for each score group of a service that goes by score, and each location,
//! the regions that share its clients.
//!
//! ```text
//!   demand ──────┐
//!   sites, RTTs ─┼─▶ one flow problem over all services ─▶ solve ─▶ verify ─▶ shares and prices
//!   capacities ──┘
//! ```
//!
//! Regions' capacities are shared by all services that use them; what services of other policies
//! put on a region is taken off it first. A region's load is priced in tiers, so that the last of
//! its capacity is used only where it saves much. Whoever is somewhere already stays for a little
//! gain; whoever has just moved, for more.

pub mod demand;
pub mod flow;
pub mod kept;
mod planned;
pub mod profile;
pub mod score_group;
pub mod score_group_parts;
mod situation;
mod ways;

use std::collections::HashMap;
use std::time::Duration;

use self::planned::LocationPlan;
use self::score_group::ScoreGroup;
use self::situation::micro;
use flow::{FORBIDDEN, Flow, FlowError, Problem, Road, Tier, solve};
use ways::Ways;

pub use planned::{KeptNear, Planned};
pub use situation::Situation;

/// From one plan to the next. Beyond 60 s plans lag behind the demand they move.
pub const PERIOD: Duration = Duration::from_secs(30);
/// The parts of a region's capacity, and what a client in each costs on top, in milliseconds.
const TIERS: [(f64, f64); 4] = [(0.85, 0.0), (0.06, 6.0), (0.05, 20.0), (0.02, 60.0)];
/// The cost of a client beyond all tiers: it may well be turned away.
const BEYOND_MS: f64 = 1000.0;
/// Shares below this part of a location's clients are not worth splitting it for, as long as regions can do
/// without: see [`SLACK`].
const SLIVER: f64 = 0.02;
/// The most that dropping slivers may add to a region's load, as a part of its room.
const SLACK: f64 = 0.005;
/// Amounts are counted in this part of the whole demand.
const UNITS: f64 = 1e10;
/// Score groups times locations planned for at most; beyond it, only those with demand.
const MOST_SOURCES: usize = 400_000;

/// The reason why there is no new plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("no demand is known yet")]
    NoDemand,
    #[error("no service goes by score")]
    NoScoreGroups,
    #[error("the flow problem was not solved: {0}")]
    Unsolved(#[from] FlowError),
    #[error("the solution did not prove right: {0}")]
    Unproven(String),
}

/// A new plan: the cheapest, and proven so.
///
/// # Errors
/// See [`PlanError`]; the plan before, or prices, should then go on.
pub fn make(situation: &Situation<'_>) -> Result<Planned, PlanError> {
    let asked = GroupDemand::gather(situation)?;
    let total = asked.total();
    let unit = (total / UNITS).max(f64::MIN_POSITIVE);
    let sources = asked.sources();
    let ways: Vec<Ways> = asked.score_groups.iter().map(|group| Ways::of(situation, group)).collect();
    let mut problem = Problem::new(tiers(situation, &asked.others, unit));
    problem.reserve(sources.len());
    let mut costs = Vec::new();
    for &(group, location) in &sources {
        ways[group].write_costs(location, &mut costs);
        let stranded = costs.iter().all(|&cost| cost == FORBIDDEN); // others decide then
        let amount = if stranded { 0 } else { ((asked.demand[group][location] / unit) as u64).max(1) };
        problem.source(amount, &costs);
    }
    let near = |previous: &Planned| previous.prices_ms.iter().map(|&ms| micro(ms).into()).collect::<Vec<i64>>();
    let mut flow = solve(&problem, situation.previous.map(near).as_deref())?;
    let proven = flow.loads.clone();
    drop_slivers(&mut flow, situation, unit);
    let none = || std::iter::repeat_with(LocationPlan::default).take(situation.locations.len()).collect();
    let mut places: Vec<Vec<LocationPlan>> = asked.score_groups.iter().map(|_| none()).collect();
    for (&(group, location), shares) in sources.iter().zip(&flow.shares) {
        places[group][location] = ways[group].place(location, shares, &flow.prices);
    }
    let loads = asked.loads(&places);
    let slack = |region: usize| SLACK * situation.room(region).unwrap_or(f64::INFINITY) + 1e-6 * total;
    for (region, (load, proven)) in loads.iter().zip(proven).enumerate() {
        let proven = proven as f64 * unit + asked.others[region];
        if *load > proven + slack(region) {
            return Err(PlanError::Unproven(format!("region {region} has {load} by its shares, {proven} by the flow")));
        }
    }
    Ok(Planned {
        locations: situation.locations.clone(),
        kept_near: asked.kept_near(&places),
        score_groups: asked.score_groups.into_iter().zip(places).collect(),
        prices_ms: flow.prices.iter().map(|&price| price as f64 / 1000.0).collect(),
        loads,
        plainly: situation.previous.map_or(0, |previous| previous.plainly) + u64::from(flow.road == Road::Plain),
        made_at: situation.now,
    })
}

/// Gives shares that are not worth having to the largest of their location, as far as that region can take them.
fn drop_slivers(flow: &mut Flow, situation: &Situation<'_>, unit: f64) {
    let slack = |region| situation.room(region).map_or(u64::MAX, |room| (SLACK * room / unit) as u64);
    let mut left: Vec<u64> = (0..flow.loads.len()).map(slack).collect();
    for shares in flow.shares.iter_mut().filter(|shares| shares.len() > 1) {
        let total: u64 = shares.iter().map(|(_, amount)| amount).sum();
        shares.sort_by_key(|&(region, amount)| (std::cmp::Reverse(amount), region));
        let (first, _) = shares[0];
        let mut dropped = 0;
        shares.retain(|&(region, amount)| {
            let is_sliver = (amount as f64) < SLIVER * total as f64;
            let fits = left[usize::from(first)] >= amount;
            if region == first || !is_sliver || !fits {
                return true;
            }
            left[usize::from(first)] -= amount;
            dropped += amount;
            flow.loads[usize::from(region)] -= amount;
            flow.loads[usize::from(first)] += amount;
            false
        });
        shares[0].1 += dropped;
    }
}

/// The demand of each score group, by location.
struct GroupDemand {
    score_groups: Vec<ScoreGroup>,
    /// By score group, then by location, in the unit of the load reports.
    demand: Vec<Vec<f64>>,
    /// By region: what services of other policies put there.
    others: Vec<f64>,
}

impl GroupDemand {
    fn gather(situation: &Situation<'_>) -> Result<GroupDemand, PlanError> {
        let Situation { model, locations, parts, .. } = situation;
        let mut numbers: HashMap<ScoreGroup, usize> = HashMap::new();
        let mut score_groups = Vec::new();
        let mut number = |group: &ScoreGroup| {
            *numbers.entry(group.clone()).or_insert_with(|| {
                score_groups.push(group.clone());
                score_groups.len() - 1
            })
        };
        let numbered = parts.iter().map(|parts| parts.score_groups().iter().map(&mut number).collect());
        let of_service: Vec<Vec<usize>> = numbered.collect();
        if score_groups.is_empty() {
            return Err(PlanError::NoScoreGroups);
        }
        let mut demand = vec![vec![0.0; locations.len()]; score_groups.len()];
        let mut others = vec![0.0; model.regions.len()];
        for (flow, amount) in situation.demand.flows() {
            let (service, site) = (flow.service.index(), flow.site as usize);
            let mut elsewhere = 1.0;
            if let (Some(numbers), Some(location)) = (of_service.get(service), locations.of_site(site)) {
                for &(group, part) in parts[service].at(site) {
                    demand[numbers[group as usize]][location] += amount * part;
                    elsewhere -= part;
                }
            }
            // Where the rest is, is not known apart from the whole.
            if elsewhere > 1e-9 {
                for (region, part) in flow.on_regions() {
                    if let Some(sum) = others.get_mut(region.index()) {
                        *sum += amount * part * elsewhere;
                    }
                }
            }
        }
        let asked = GroupDemand { score_groups, demand, others };
        if asked.total() > 0.0 { Ok(asked) } else { Err(PlanError::NoDemand) }
    }

    fn total(&self) -> f64 {
        self.demand.iter().flatten().sum()
    }

    /// By region: what it has if clients go by these shares.
    fn loads(&self, places: &[Vec<LocationPlan>]) -> Vec<f64> {
        let mut loads = self.others.clone();
        for (demand, place) in self.demand.iter().zip(places).flat_map(|(demand, places)| demand.iter().zip(places)) {
            for share in &place.shares {
                loads[share.region.index()] += demand * share.weight;
            }
        }
        loads
    }

    fn kept_near(&self, places: &[Vec<LocationPlan>]) -> KeptNear {
        let (mut kept, total) = (KeptNear::default(), self.total());
        for (demand, place) in self.demand.iter().zip(places).flat_map(|(demand, places)| demand.iter().zip(places)) {
            if let Some(region) = place.kept_near.filter(|_| *demand > 0.0) {
                kept.places += 1;
                kept.part += demand / total;
                kept.regions.push(region);
            }
        }
        kept.regions.sort();
        kept.regions.dedup();
        kept
    }

    /// The score groups and locations to plan for: all of them, that whoever asks next finds a plan,
    /// or, should they be too many, those with demand.
    fn sources(&self) -> Vec<(usize, usize)> {
        let locations = self.demand.first().map_or(0, Vec::len);
        let all = (0..self.score_groups.len()).flat_map(|group| (0..locations).map(move |location| (group, location)));
        if self.score_groups.len() * locations <= MOST_SOURCES {
            return all.collect();
        }
        let mut asking: Vec<_> = all.filter(|&(group, location)| self.demand[group][location] > 0.0).collect();
        if asking.len() > MOST_SOURCES {
            let demand = |&(group, location): &(usize, usize)| self.demand[group][location];
            asking.sort_by(|one, other| demand(other).total_cmp(&demand(one)));
            asking.truncate(MOST_SOURCES);
        }
        asking
    }
}

/// Each region's tiers, less what others take: from the cheapest on.
fn tiers(situation: &Situation<'_>, others: &[f64], unit: f64) -> Vec<Vec<Tier>> {
    let beyond = Tier { room: None, cost: micro(BEYOND_MS) };
    let of_region = |(capacity, others): (&Option<f64>, &f64)| {
        let Some(capacity) = capacity else { return vec![Tier { room: None, cost: 0 }] };
        let mut taken = *others;
        let tier = |(part, cost_ms): (f64, f64)| {
            let whole = part * capacity;
            let room = (whole - taken).max(0.0);
            taken = (taken - whole).max(0.0);
            // A float turned into a whole number stays within its range.
            Tier { room: Some(((room / unit) as u64).min(1 << 56)), cost: micro(cost_ms) }
        };
        TIERS.into_iter().map(tier).chain([beyond]).collect()
    };
    situation.capacities.iter().zip(others).map(of_region).collect()
}

#[cfg(test)]
mod kept_near_tests;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::sync::Arc;
    use std::time::Instant;

    use super::demand::{Demand, STEP};
    use super::flow::MAX_COST;
    use super::planned::DWELL;
    use super::*;
    use crate::model::Policy;
    use crate::model::RegionId;
    use crate::model::{PolicyTree, ServiceId};
    use crate::steer::latency::locations::Locations;
    use crate::steer::latency::sites::Sites;
    use crate::steer::testing::{World, at};

    /// Ten places along a line, two regions at its ends, and what comes from each place.
    struct Line {
        world: World,
        locations: Arc<Locations>,
        sites: Arc<Sites>,
        demand: Demand,
        eligible: Vec<bool>,
        capacities: Vec<Option<f64>>,
        now: Instant,
    }

    type FlowOf = (ServiceId, u32, f64, &'static [(RegionId, f64)]);

    impl Line {
        fn new(loads: [f64; 10]) -> Line {
            let networks: Vec<String> = (0..10).map(|n| format!("10.{n}.0.0/16")).collect();
            let placed: Vec<_> = (0u8..).zip(&networks).map(|(n, net)| (&**net, at(0.0, f64::from(n) * 5.0))).collect();
            let regions = [("west", at(0.0, 0.0)), ("east", at(0.0, 45.0)), ("far", at(0.0, 90.0))];
            let world = World::new(Policy::Score, &regions).clients(&placed);
            let now = Instant::now();
            let sites = world.plan(now).plan.sites.expect("sites");
            let locations = Arc::new(Locations::of(&sites, &world.model, 100, None));
            let mut line = Line {
                demand: Demand::default(),
                eligible: vec![true; 3],
                capacities: vec![Some(100.0); 3],
                world,
                locations,
                sites,
                now,
            };
            line.demand = Demand::of_flows(line.in_west(&loads));
            line
        }

        /// Flows of these amounts, by place, all of them on the first region.
        fn in_west(&self, loads: &[f64]) -> Vec<FlowOf> {
            let flow = |(n, &load)| (ServiceId(0), self.site(n) as u32, load, &[(RegionId(0), 1.0)][..]);
            loads.iter().enumerate().map(flow).collect()
        }

        fn site(&self, place: usize) -> usize {
            let address = format!("10.{place}.0.0").parse().expect("an address");
            self.sites.of_place(self.world.atlas.locate(address).place).expect("a site")
        }

        fn plan(&self, previous: Option<&Planned>) -> Result<Planned, PlanError> {
            let services = self.world.plan(self.now).plan.services;
            make(&Situation {
                model: &self.world.model,
                locations: &self.locations,
                demand: &self.demand,
                parts: &services.into_iter().map(|service| service.parts).collect::<Vec<_>>(),
                eligible: &self.eligible,
                capacities: &self.capacities,
                evidence: &[true; 3],
                previous,
                now: self.now,
            })
        }

        fn group(&self) -> ScoreGroup {
            let service = &self.world.model.services[0];
            ScoreGroup::of(service, service.policies.main()).expect("a score group")
        }

        /// The part of a place's clients that each region gets.
        fn parts(&self, planned: &Planned, place: usize) -> [f64; 3] {
            let mut parts = [0.0; 3];
            let group = self.group();
            let shares = planned.shares(&group, self.site(place)).unwrap_or_default();
            shares.iter().for_each(|share| parts[share.region.index()] = share.weight);
            parts
        }

        fn placement(&self, planned: &Planned) -> Vec<[f64; 3]> {
            (0..10).map(|place| self.parts(planned, place)).collect()
        }
    }

    #[test]
    fn clients_stay_near_while_there_is_room() {
        let line = Line::new([5.0; 10]);
        let planned = line.plan(None).expect("a plan");
        assert_eq!(line.parts(&planned, 0), [1.0, 0.0, 0.0]);
        assert_eq!(line.parts(&planned, 9), [0.0, 1.0, 0.0]);
        assert_eq!(planned.prices_ms, [0.0; 3]);
        assert!((planned.loads.iter().sum::<f64>() - 50.0).abs() < 0.1, "{:?}", planned.loads);
    }

    #[test]
    fn a_full_region_keeps_those_who_would_lose_most() {
        let line = Line::new([40.0, 40.0, 40.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0]);
        let planned = line.plan(None).expect("a plan");
        assert_eq!(line.parts(&planned, 0), [1.0, 0.0, 0.0]);
        let split = line.parts(&planned, 2);
        assert!(split[0] > 0.0 && split[1] > 0.5, "{split:?}");
        assert!(planned.loads[0] <= 100.0, "{:?}", planned.loads);
        assert!(planned.prices_ms[0] > planned.prices_ms[1], "{:?}", planned.prices_ms);
    }

    #[test]
    fn a_small_gain_moves_nobody_and_a_large_one_does() {
        let mut line = Line::new([5.0; 10]);
        let first = line.plan(None).expect("a plan");
        // The middle, 22.5 degrees from both ends, is nobody's: a little dearer, and it still stays.
        let middle = if line.parts(&first, 4)[0] > 0.0 { 0 } else { 1 };
        line.world.model.regions[middle].cost = 0.5;
        let next = line.plan(Some(&first)).expect("a plan");
        assert_eq!(line.placement(&first), line.placement(&next));
        line.world.model.regions[middle].cost = 4.0;
        let next = line.plan(Some(&first)).expect("a plan");
        assert_ne!(line.placement(&first), line.placement(&next));
    }

    #[test]
    fn whatever_prices_the_plan_before_had_the_next_one_is_the_same() {
        let line = Line::new([40.0, 40.0, 40.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0]);
        let first = || line.plan(None).expect("a plan");
        let next = line.plan(Some(&first())).expect("a plan");
        assert!(next.prices_ms[0] > 0.0, "{:?}", next.prices_ms);
        for prices_ms in [vec![0.0; 3], vec![1e9, 0.0, -1.0], vec![f64::NAN, f64::INFINITY, 7.0], vec![7.0]] {
            let other = line.plan(Some(&Planned { prices_ms, ..first() })).expect("a plan");
            assert_eq!((line.placement(&other), other.prices_ms), (line.placement(&next), next.prices_ms.clone()));
            assert_eq!(other.plainly, 0);
        }
    }

    #[test]
    fn costs_are_whole_microseconds_within_range() {
        let most = MAX_COST;
        for (ms, cost) in [(0.25, 250), (-10.0, -10_000), (0.0, 0), (1e12, most), (-1e12, -most), (f64::NAN, most)] {
            assert_eq!(micro(ms), cost, "{ms}");
        }
        for ms in [1e-3, 0.4999, 33.3333, 4_321.987_6, -7.1] {
            assert_eq!(micro(ms), (ms * 1000.0).round() as i32, "{ms}");
        }
    }

    #[test]
    fn who_was_moved_is_not_moved_back_for_a_trifle() {
        let mut line = Line::new([5.0; 10]);
        let first = line.plan(None).expect("a plan");
        line.world.model.regions[0].cost = 6.0;
        let away = line.plan(Some(&first)).expect("a plan");
        let moved = (0..10).find(|&place| line.parts(&first, place) != line.parts(&away, place)).expect("one");
        line.world.model.regions[0].cost = 0.0;
        line.world.model.regions[1].cost = 1.2;
        line.now += STEP;
        let soon = line.plan(Some(&away)).expect("a plan");
        assert_eq!(line.parts(&soon, moved), line.parts(&away, moved));
        line.now += DWELL;
        let later = line.plan(Some(&away)).expect("a plan");
        assert_eq!(line.parts(&later, moved), line.parts(&first, moved));
    }

    #[test]
    fn a_lost_region_moves_only_its_own_where_there_is_room() {
        let mut line = Line::new([5.0; 10]);
        let before = line.plan(None).expect("a plan");
        line.eligible[0] = false;
        let after = line.plan(Some(&before)).expect("a plan");
        for place in 0..10 {
            let (before, after) = (line.parts(&before, place), line.parts(&after, place));
            assert_eq!(after[0], 0.0);
            assert!(before[0] > 0.0 || before == after, "{place}: {before:?} {after:?}");
        }
    }

    #[test]
    fn other_policies_take_their_part_of_a_region_first() {
        let mut line = Line::new([9.0; 10]);
        let alone = line.plan(None).expect("a plan");
        let mut fixed = line.world.model.services[0].clone();
        fixed.policies = PolicyTree::flat(Policy::Failover, &fixed.regions);
        line.world.model.services.push(fixed);
        let other: &[_] = &[(RegionId(0), 1.0)];
        let flows = line.in_west(&[9.0; 10]).into_iter().chain([(ServiceId(1), line.site(0) as u32, 80.0, other)]);
        line.demand = Demand::of_flows(flows);
        let beside = line.plan(None).expect("a plan");
        let in_west = |planned: &Planned| line.placement(planned).iter().map(|parts| parts[0]).sum::<f64>();
        assert!(in_west(&beside) < in_west(&alone) - 1.0, "{} {}", in_west(&beside), in_west(&alone));
    }

    #[test]
    fn without_demand_or_regions_there_is_no_plan() {
        let mut line = Line::new([5.0; 10]);
        line.eligible = vec![false; 3];
        let planned = line.plan(None).expect("a plan of nothing");
        assert!(planned.shares(&line.group(), 0).is_none());
        line.demand = Demand::default();
        assert_eq!(line.plan(None).err(), Some(PlanError::NoDemand));
        line.world.service().weights.load = 0.0;
        assert_eq!(line.plan(None).err(), Some(PlanError::NoScoreGroups));
    }

    #[test]
    fn shares_that_are_worth_having_are_kept_and_slivers_only_where_they_must() {
        let line = Line::new([5.0; 10]);
        let services = line.world.plan(line.now).plan.services;
        let parts: Vec<_> = services.into_iter().map(|service| service.parts).collect();
        let dropped = |shares: &[(u16, u64)], room: f64| {
            let capacities = vec![Some(room); 3];
            let situation = Situation {
                model: &line.world.model,
                locations: &line.locations,
                demand: &line.demand,
                parts: &parts,
                eligible: &line.eligible,
                capacities: &capacities,
                evidence: &[true; 3],
                previous: None,
                now: line.now,
            };
            let loads = (0..3).map(|of| shares.iter().filter(|(r, _)| *r == of).map(|(_, a)| a).sum()).collect();
            let mut flow = Flow { shares: vec![shares.to_vec()], prices: vec![0; 3], loads, road: Default::default() };
            drop_slivers(&mut flow, &situation, 1.0);
            let sums: Vec<u64> =
                (0..3).map(|of| flow.shares[0].iter().filter(|(r, _)| *r == of).map(|(_, a)| a).sum()).collect();
            assert_eq!(sums, flow.loads, "loads are those of the shares");
            flow.shares.remove(0)
        };
        assert_eq!(dropped(&[(0, 950), (1, 50)], 1e6), [(0, 950), (1, 50)], "5 % is a share");
        assert_eq!(dropped(&[(0, 990), (1, 10)], 1e6), [(0, 1000)], "1 % is a sliver");
        assert_eq!(dropped(&[(0, 990), (1, 10)], 1000.0), [(0, 990), (1, 10)], "there is no room for it");
    }

    /// Regions that lie together, as many as there are capacities, and ten places with these loads around them.
    fn alike(loads: &[f64], capacities: &[f64]) -> Planned {
        let names: Vec<String> = (0..capacities.len()).map(|n| format!("r{n}")).collect();
        let regions: Vec<_> = names.iter().map(|name| (name.as_str(), at(0.0, 0.0))).collect();
        let networks: Vec<String> = (0..loads.len()).map(|n| format!("10.{n}.0.0/16")).collect();
        let placed: Vec<_> = (0u8..).zip(&networks).map(|(n, net)| (&**net, at(0.0, f64::from(n)))).collect();
        let world = World::new(Policy::Score, &regions).clients(&placed);
        let now = Instant::now();
        let plan = world.plan(now).plan;
        let sites = plan.sites.expect("sites");
        let locations = Arc::new(Locations::of(&sites, &world.model, 100, None));
        let of_place = |n: usize| {
            let address = format!("10.{n}.0.0").parse().expect("an address");
            sites.of_place(world.atlas.locate(address).place).expect("a site") as u32
        };
        let flows = loads.iter().enumerate().map(|(n, load)| (ServiceId(0), of_place(n), *load, &[][..]));
        let demand = Demand::of_flows(flows);
        let capacities: Vec<Option<f64>> = capacities.iter().copied().map(Some).collect();
        let planned = make(&Situation {
            model: &world.model,
            locations: &locations,
            demand: &demand,
            parts: &plan.services.into_iter().map(|service| service.parts).collect::<Vec<_>>(),
            eligible: &vec![true; capacities.len()],
            capacities: &capacities,
            evidence: &vec![true; capacities.len()],
            previous: None,
            now,
        });
        let planned = planned.expect("a plan");
        // What is published is what counts: loads by the shares that clients are hashed by.
        let service = &world.model.services[0];
        let group = ScoreGroup::of(service, service.policies.main()).expect("a score group");
        let mut implied = vec![0.0; capacities.len()];
        for (n, load) in loads.iter().enumerate() {
            let shares = planned.shares(&group, of_place(n) as usize).expect("planned");
            assert!((shares.iter().map(|share| share.weight).sum::<f64>() - 1.0).abs() < 1e-9);
            shares.iter().for_each(|share| implied[share.region.index()] += load * share.weight);
        }
        for (implied, told) in implied.iter().zip(&planned.loads) {
            assert!((implied - told).abs() <= 1e-6 * loads.iter().sum::<f64>(), "{implied} {told}");
        }
        planned
    }

    #[test]
    fn many_equal_regions_are_filled_alike_however_thin_their_shares() {
        let planned = alike(&[600.0, 600.0, 600.0, 600.0], &[50.0; 64]);
        assert!(planned.loads.iter().all(|load| *load <= 50.5), "{:?}", planned.loads);
        let capacities = [[124.0; 20], [76.0; 20]].concat();
        let planned = alike(&[1000.0, 1000.0, 1000.0], &capacities);
        assert!(planned.loads.iter().zip(&capacities).all(|(load, room)| *load <= room * 1.01), "{:?}", planned.loads);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        /// Shares as published: what fits, fits.
        #[test]
        fn no_region_gets_more_than_it_can_take_where_demand_fits(
            loads in prop::collection::vec(0.1f64..100.0, 1..12),
            sizes in prop::collection::vec(0.05f64..1.0, 2..64),
            part in 0.2f64..0.97,
        ) {
            let (all, size): (f64, f64) = (loads.iter().sum(), sizes.iter().sum());
            let capacities: Vec<f64> = sizes.iter().map(|part_of| part_of / size * all / part).collect();
            let planned = alike(&loads, &capacities);
            for (load, capacity) in planned.loads.iter().zip(&capacities) {
                prop_assert!(*load <= capacity * 1.01, "{:?} in {:?}", planned.loads, capacities);
            }
        }
    }

    proptest! {
        #[test]
        fn plans_fit_the_regions_and_are_the_same_each_time(
            loads in prop::array::uniform10(0.1f64..40.0), capacities in prop::array::uniform3(20.0f64..200.0),
        ) {
            let mut line = Line::new(loads);
            line.capacities = capacities.map(Some).to_vec();
            let planned = line.plan(None).expect("a plan");
            let room: f64 = capacities.iter().sum();
            let total: f64 = planned.loads.iter().sum();
            for (load, capacity) in planned.loads.iter().zip(capacities) {
                prop_assert!(*load <= capacity * (0.981 + SLACK) || total > room * 0.9, "{:?} in {:?}", planned.loads, capacities);
            }
            for place in 0..10 {
                prop_assert!((line.parts(&planned, place).iter().sum::<f64>() - 1.0).abs() < 0.05);
            }
            let again = line.plan(None).expect("a plan");
            prop_assert_eq!(line.placement(&planned), line.placement(&again));
            prop_assert_eq!(planned.prices_ms, again.prices_ms);
        }
    }
}
