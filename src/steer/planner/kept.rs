//! A plan as it is kept over a restart: regions by what [`Names`](crate::steer::kept::Names) says of their old ids,
//! locations by a site in each.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{Model, RegionId, Service};
use crate::steer::choice::cell::Share;
use crate::steer::kept::{Clock, Ids, SiteFinder, sound};
use crate::steer::latency::locations::Locations;
use crate::steer::latency::sites::SiteKey;

use super::planned::{LocationPlan, Planned};
use super::score_group::ScoreGroup;

/// See [`Planned::kept`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptPlan {
    score_groups: Vec<KeptScoreGroup>,
    /// A site of each location.
    locations: Vec<SiteKey>,
    prices_ms: Vec<f64>,
    loads: Vec<f64>,
    made_at_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct KeptScoreGroup {
    regions: Vec<u16>,
    weights: [u64; 3],
    bias: Vec<u64>,
    /// By location.
    places: Vec<KeptLocationPlan>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct KeptLocationPlan {
    shares: Vec<(u16, f64)>,
    moved_at_ms: Option<u64>,
}

/// No weight is above the whole, but for rounding.
const MOST_WEIGHT: f64 = 1.001;
/// In milliseconds; any price of a plan is far below.
const MOST_PRICE_MS: f64 = 1e9;
/// No load is above this, in whatever unit.
const MOST_LOAD: f64 = 1e18;

impl KeptPlan {
    /// Tells whether any location has shares.
    pub fn has_shares(&self) -> bool {
        self.score_groups.iter().flat_map(|group| &group.places).any(|place| !place.shares.is_empty())
    }
}

impl Planned {
    /// The plan as plain data.
    pub fn kept(&self, clock: &Clock) -> KeptPlan {
        let sites = self.locations.sites();
        let mut locations = vec![None; self.locations.len()];
        for site in sites.ids() {
            if let Some(first) = self.locations.of_site(site).and_then(|location| locations.get_mut(location)) {
                first.get_or_insert_with(|| sites.key(site, 0.0));
            }
        }
        let place = |place: &LocationPlan| KeptLocationPlan {
            shares: place.shares.iter().map(|share| (share.region.0, share.weight)).collect(),
            moved_at_ms: place.moved_at.map(|at| clock.kept(at)),
        };
        let group = |(group, places): (&ScoreGroup, &Vec<LocationPlan>)| KeptScoreGroup {
            regions: group.regions.iter().map(|region| region.0).collect(),
            weights: group.weights,
            bias: group.bias.to_vec(),
            places: places.iter().map(place).collect(),
        };
        KeptPlan {
            score_groups: self.score_groups.iter().map(group).collect(),
            // A location is made of sites: there is one in each.
            locations: locations.into_iter().flatten().collect(),
            prices_ms: self.prices_ms.clone(),
            loads: self.loads.clone(),
            made_at_ms: clock.kept(self.made_at),
        }
    }

    /// The plan as it was, with regions and locations of now. Regions that are gone are left out, and locations
    /// without any site of old have no shares. `None` where nothing of it is left.
    pub fn restored(
        kept: &KeptPlan,
        model: &Model,
        ids: &Ids,
        locations: &Arc<Locations>,
        finder: &SiteFinder,
        clock: &Clock,
    ) -> Option<Planned> {
        let from = sources(kept, locations, finder);
        let known: HashMap<Likeness, &KeptScoreGroup> =
            kept.score_groups.iter().filter_map(|group| Some((group.likeness(ids)?, group))).collect();
        let mut score_groups: HashMap<ScoreGroup, Vec<LocationPlan>> = HashMap::new();
        for group in score_groups_of(model) {
            let Some(kept) = found(&group, &known, ids) else { continue };
            let place = |from: &Option<u32>| Some(kept.places.get((*from)? as usize)?.place(&group, ids, clock));
            let places = from.iter().map(|from| place(from).unwrap_or_default()).collect();
            score_groups.insert(group, places);
        }
        let planned = Planned {
            locations: locations.clone(),
            score_groups,
            prices_ms: ids
                .by_region(&kept.prices_ms, model, 0.0)
                .into_iter()
                .map(|ms| or_none(ms, MOST_PRICE_MS))
                .collect(),
            loads: ids.by_region(&kept.loads, model, 0.0).into_iter().map(|load| or_none(load, MOST_LOAD)).collect(),
            made_at: clock.instant(kept.made_at_ms)?.min(clock.now()),
            kept_near: Default::default(),
            plainly: 0,
        };
        (planned.places() > 0).then_some(planned)
    }

    /// The number of score groups and locations with shares.
    pub fn places(&self) -> usize {
        self.score_groups.values().flatten().filter(|place| !place.shares.is_empty()).count()
    }
}

/// By location of now: the one of old whose site is in it.
fn sources(kept: &KeptPlan, locations: &Locations, finder: &SiteFinder) -> Vec<Option<u32>> {
    let mut from = vec![None; locations.len()];
    for (old, key) in (0..).zip(&kept.locations) {
        let location = finder.find(key).and_then(|site| locations.of_site(site as usize));
        if let Some(first) = location.and_then(|location| from.get_mut(location)) {
            first.get_or_insert(old);
        }
    }
    from
}

fn or_none(amount: f64, most: f64) -> f64 {
    sound(amount, 0.0..=most).unwrap_or(0.0)
}

/// The key that makes two score groups the same decision, in whatever order they name their regions: the weights, and
/// each region with its bias.
type Likeness = ([u64; 3], Vec<(RegionId, u64)>);

/// All decisions by score that clients of the model's services may come to.
fn score_groups_of(model: &Model) -> HashSet<ScoreGroup> {
    let of_service = |service: &Service| {
        let groups = service.policies.groups.iter();
        groups.filter_map(|group| ScoreGroup::of(service, group)).collect::<Vec<_>>()
    };
    model.services.iter().flat_map(of_service).collect()
}

/// The plan for the score group; where there was none such, for the same without regions that are new: they get
/// their part with the next plan.
fn found<'a>(
    group: &ScoreGroup,
    known: &HashMap<Likeness, &'a KeptScoreGroup>,
    ids: &Ids,
) -> Option<&'a KeptScoreGroup> {
    let regions = group.regions.iter().enumerate();
    let regions = regions.map(|(index, &region)| (region, group.bias.get(index).copied().unwrap_or(0)));
    let likeness = |regions: &mut dyn Iterator<Item = (RegionId, u64)>| {
        let mut regions: Vec<_> = regions.collect();
        regions.sort_unstable();
        (group.weights, regions)
    };
    let whole = known.get(&likeness(&mut regions.clone()));
    whole.or_else(|| known.get(&likeness(&mut regions.filter(|(region, _)| ids.has(*region))))).copied()
}

impl KeptScoreGroup {
    /// Of its regions that are left; `None`: none is.
    fn likeness(&self, ids: &Ids) -> Option<Likeness> {
        let regions = self.regions.iter().enumerate();
        let mut left: Vec<(RegionId, u64)> = regions
            .filter_map(|(index, &old)| Some((ids.region(old)?, self.bias.get(index).copied().unwrap_or(0))))
            .collect();
        left.sort_unstable();
        (!left.is_empty()).then_some((self.weights, left))
    }
}

impl KeptLocationPlan {
    fn place(&self, group: &ScoreGroup, ids: &Ids, clock: &Clock) -> LocationPlan {
        let share = |&(old, weight): &(u16, f64)| {
            let region = ids.region(old).filter(|region| group.regions.contains(region))?;
            Some(Share { region, weight: sound(weight, f64::MIN_POSITIVE..=MOST_WEIGHT)? })
        };
        let mut shares: Vec<Share> = self.shares.iter().filter_map(share).collect();
        shares.sort_by_key(|share| share.region);
        shares.dedup_by_key(|share| share.region);
        if shares.len() < self.shares.len() {
            let whole: f64 = shares.iter().map(|share| share.weight).sum();
            shares.iter_mut().for_each(|share| share.weight /= whole);
        }
        let moved_at = self.moved_at_ms.and_then(|ms| clock.instant(ms)).map(|at| at.min(clock.now()));
        LocationPlan { shares: shares.into(), moved_at, kept_near: None }
    }
}

#[cfg(test)]
use crate::steer::latency::locations::MOST_LOCATIONS;

#[cfg(test)]
impl KeptPlan {
    /// One with a value in every place.
    pub fn sample() -> KeptPlan {
        let place = KeptLocationPlan { shares: vec![(0, 0.5)], moved_at_ms: Some(1) };
        let group = KeptScoreGroup { regions: vec![0], weights: [2, 3, 4], bias: vec![5], places: vec![place] };
        let locations = vec![SiteKey::sample()];
        KeptPlan { score_groups: vec![group], locations, prices_ms: vec![6.0], loads: vec![7.0], made_at_ms: 8 }
    }

    /// As much as there may be, one place in ten on three regions.
    pub fn largest() -> KeptPlan {
        let mut largest = KeptPlan::sample();
        let split = |location: usize| {
            if location.is_multiple_of(10) { vec![(0, 0.1), (200, 0.2), (1000, 0.7)] } else { vec![(7, 1.0)] }
        };
        let place = |location| KeptLocationPlan { shares: split(location), moved_at_ms: Some(1 << 41) };
        let group =
            KeptScoreGroup { places: (0..MOST_LOCATIONS).map(place).collect(), ..largest.score_groups[0].clone() };
        largest.score_groups = vec![group; super::MOST_SOURCES / MOST_LOCATIONS];
        largest.locations = vec![SiteKey::sample(); MOST_LOCATIONS];
        largest
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::model::{Policy, RegionId, ServiceId};
    use crate::steer::kept::Names;
    use crate::steer::latency::sites::Sites;
    use crate::steer::planner::demand::Demand;
    use crate::steer::planner::demand::kept::KeptDemand;
    use crate::steer::planner::{Situation, make};
    use crate::steer::testing::{World, at};

    const NOW_MS: u64 = 1_790_000_000_000;

    /// Ten places along the equator, and regions on it by longitude.
    fn world(regions: &[(&str, f64)]) -> (World, Arc<Sites>, Arc<Locations>) {
        let networks: Vec<String> = (0..10).map(|n| format!("10.{n}.0.0/16")).collect();
        let placed: Vec<_> = (0u8..).zip(&networks).map(|(n, net)| (&**net, at(0.0, f64::from(n) * 5.0))).collect();
        let regions: Vec<_> = regions.iter().map(|&(name, longitude)| (name, at(0.0, longitude))).collect();
        let world = World::new(Policy::Score, &regions).clients(&placed);
        let sites = world.plan(Instant::now()).plan.sites.expect("sites");
        let locations = Arc::new(Locations::of(&sites, &world.model, 100, None));
        (world, sites, locations)
    }

    fn group(world: &World) -> ScoreGroup {
        let service = &world.model.services[0];
        ScoreGroup::of(service, service.policies.main()).expect("a score group")
    }

    /// By place: the regions' names and shares.
    fn shares(world: &World, sites: &Sites, planned: &Planned) -> Vec<Vec<(String, f64)>> {
        let of_place = |n: usize| {
            let address = format!("10.{n}.0.0").parse().expect("an address");
            let site = sites.of_place(world.atlas.locate(address).place).expect("a site");
            let shares = planned.shares(&group(world), site).unwrap_or_default();
            let mut named: Vec<(String, f64)> =
                shares.iter().map(|share| (world.model.region(share.region).name.to_string(), share.weight)).collect();
            named.sort_by(|one, other| one.0.cmp(&other.0));
            named
        };
        (0..10).map(of_place).collect()
    }

    const BEFORE: [(&str, f64); 3] = [("west", 0.0), ("middle", 25.0), ("east", 45.0)];

    struct Before {
        names: Names,
        plan: KeptPlan,
        demand: KeptDemand,
        shares: Vec<Vec<(String, f64)>>,
        expected: f64,
    }

    /// A plan with more in the west than fits there, as it is kept.
    fn before() -> Before {
        let (world, sites, locations) = world(&BEFORE);
        let now = Instant::now();
        let flow = |site| (ServiceId(0), site as u32, if site < 5 { 40.0 } else { 4.0 }, &[(RegionId(0), 1.0)][..]);
        let demand = Demand::of_flows(sites.ids().map(flow));
        let parts: Vec<_> = world.plan(now).plan.services.into_iter().map(|service| service.parts).collect();
        let planned = make(&Situation {
            model: &world.model,
            locations: &locations,
            demand: &demand,
            parts: &parts,
            eligible: &[true; 3],
            capacities: &[Some(80.0), Some(80.0), Some(100.0)],
            evidence: &[true; 3],
            previous: None,
            now,
        });
        let planned = planned.expect("a plan");
        let shares = shares(&world, &sites, &planned);
        assert!(shares.iter().any(|shares| shares.len() > 1), "{shares:?}");
        let plan = planned.kept(&Clock::new(now + Duration::from_secs(3), NOW_MS));
        let expected = expected(&demand);
        Before { names: Names::of(&world.model), plan, demand: demand.kept(&sites), shares, expected }
    }

    fn expected(demand: &Demand) -> f64 {
        demand.on_regions(3).iter().map(|on| on.demand).sum()
    }

    struct After {
        planned: Option<Planned>,
        demand: Demand,
        shares: Vec<Vec<(String, f64)>>,
        world: World,
    }

    fn after(before: &Before, regions: &[(&str, f64)]) -> After {
        let (world, sites, locations) = world(regions);
        let (ids, finder) = (before.names.ids(&world.model), SiteFinder::of(&sites));
        let clock = Clock::new(Instant::now(), NOW_MS + 10_000);
        let planned = Planned::restored(&before.plan, &world.model, &ids, &locations, &finder, &clock);
        let demand = Demand::restored(&before.demand, &ids, &finder, Duration::ZERO);
        let shares = planned.as_ref().map_or(Vec::new(), |planned| shares(&world, &sites, planned));
        After { planned, demand, shares, world }
    }

    #[test]
    fn a_plan_comes_back_as_it_was_also_where_regions_are_renumbered() {
        let before = before();
        for regions in [BEFORE, [BEFORE[2], BEFORE[0], BEFORE[1]]] {
            let after = after(&before, &regions);
            assert_eq!(after.shares, before.shares);
            assert!((expected(&after.demand) - before.expected).abs() < 1e-9);
            let planned = after.planned.expect("a plan");
            let west = after.world.model.region_ids().find(|&id| &*after.world.model.region(id).name == "west");
            let west = west.expect("the west").index();
            assert!(planned.prices_ms[west] > 0.0 && planned.loads[west] > 70.0, "{:?}", planned.prices_ms);
            let age = planned.made_at.elapsed().as_secs_f64();
            assert!((12.9..20.0).contains(&age), "{age}");
        }
    }

    #[test]
    fn regions_that_are_gone_are_left_out_and_new_ones_change_nothing_yet() {
        let before = before();
        let grown = after(&before, &[BEFORE[0], ("new", 10.0), BEFORE[1], BEFORE[2]]);
        assert_eq!(grown.shares, before.shares);
        let shrunk = after(&before, &BEFORE[1..]);
        for (before, after) in before.shares.iter().zip(&shrunk.shares) {
            assert!(after.iter().all(|(region, _)| region != "west"), "{after:?}");
            let left = before.iter().any(|(region, _)| region != "west");
            let whole: f64 = after.iter().map(|(_, weight)| weight).sum();
            assert!(if left { (whole - 1.0).abs() < 0.03 } else { after.is_empty() }, "{before:?} {after:?}");
        }
        assert!(after(&before, &[("other", 0.0)]).planned.is_none());
    }

    #[test]
    fn numbers_that_make_no_sense_are_left_out() {
        let mut before = before();
        for place in before.plan.score_groups.iter_mut().flat_map(|group| &mut group.places) {
            for (weight, wrong) in place.shares.iter_mut().zip([f64::NAN, -1.0, 1e9]) {
                weight.1 = wrong;
            }
            place.moved_at_ms = Some(u64::MAX);
        }
        before.plan.prices_ms = vec![f64::INFINITY; 9];
        before.plan.made_at_ms = u64::MAX;
        assert!(after(&before, &BEFORE).planned.is_none(), "nothing is left");
        before.plan.locations.clear();
        before.plan.score_groups.iter_mut().for_each(|group| group.bias = vec![1]);
        assert!(after(&before, &BEFORE).planned.is_none());
    }
}
