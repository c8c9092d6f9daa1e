//! The regions that a region's clients go to when it leaves the answers, or come from when it is back. Pure.
//!
//! Told from the answers of two snapshots: what each place's clients got before, and what they get after. Places weigh by
//! the demand that is known there, or all alike. Looking is bounded: the writer waits for it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::atlas::PlaceId;
use crate::control::what_if::basis;
use crate::model::{RegionId, ServiceId};
use crate::state::Snapshot;
use crate::steer::decide::cell_at_place;
use crate::steer::plan::ServicePlan;

use super::event::{ClientShare, MOST_SHARES};

/// So many places are looked at for one snapshot, over all services: a few milliseconds' worth. Where there are more, one of
/// every so many is, which tells the shares to a percent or so.
const MOST_LOOKS: usize = 20_000;
/// A smaller part of a region's clients is nobody to speak of.
const NEGLIGIBLE: f64 = 1e-4;

/// By region, the others that its clients go to, or come from: the largest share first, [`MOST_SHARES`] at most.
pub type Moves = HashMap<RegionId, Vec<ClientShare>>;

/// The moves of these regions' clients. A region that moves none, as the second choice of all, is left out.
///
/// `gone`: the regions have left, and theirs go elsewhere. Otherwise they are back, and theirs come from elsewhere.
pub fn moves(before: &Snapshot, after: &Snapshot, regions: &[RegionId], gone: bool) -> Moves {
    let (tables, of_service) = changed_tables(before, after, regions);
    if tables.is_empty() {
        return Moves::new();
    }
    let known = by_demand(after, &tables, &of_service);
    let amounts = if known.is_empty() { by_place(after, &tables) } else { known };
    let mut sums: BTreeMap<RegionId, BTreeMap<RegionId, f64>> =
        regions.iter().map(|id| (*id, BTreeMap::new())).collect();
    let (from, to) = if gone { (before, after) } else { (after, before) };
    for ((table, place), amount) in amounts {
        let Some(of) = tables.get(table) else { continue };
        let had = fractions(from, of.service, place);
        if had.iter().any(|(id, _)| sums.contains_key(id)) {
            add_moves(had, fractions(to, of.service, place), amount, &mut sums);
        }
    }
    sums.into_iter().filter_map(|(id, sums)| Some((id, shares(after, sums)?))).collect()
}

/// Services whose answers changed alike.
struct Tables {
    /// One of them.
    service: ServiceId,
    services: usize,
    depends_on_place: bool,
}

/// By tables, and a place that is answered alike: an amount of clients.
type Amounts = HashMap<(usize, PlaceId), f64>;

/// Those tables of services with one of these regions that are not read as they were, and which service has which.
fn changed_tables(
    before: &Snapshot,
    after: &Snapshot,
    regions: &[RegionId],
) -> (Vec<Tables>, HashMap<ServiceId, usize>) {
    let mut is_asked = vec![false; after.model.regions.len()];
    regions.iter().filter_map(|id| is_asked.get_mut(id.index()).map(|asked| *asked = true)).for_each(drop);
    let (mut tables, mut of_service, mut known) = (Vec::<Tables>::new(), HashMap::new(), HashMap::new());
    for id in after.model.service_ids() {
        let mut used = after.model.service(id).regions.iter();
        if !used.any(|region| is_asked.get(region.index()) == Some(&true)) {
            continue;
        }
        let plans = (before.plan.services.get(id.index()), after.plan.services.get(id.index()));
        let (Some(old), Some(new)) = plans else { continue };
        let key = (read(old), read(new));
        if key.0 == key.1 {
            continue;
        }
        let number = *known.entry(key).or_insert_with(|| {
            let depends_on_place = after.model.service(id).policies.depends_on_place();
            tables.push(Tables { service: id, services: 0, depends_on_place });
            tables.len() - 1
        });
        tables[number].services += 1;
        of_service.insert(id, number);
    }
    (tables, of_service)
}

/// A table, and the standing of regions that it is read under: that does not matter to most, since few share it.
fn read(of: &ServicePlan) -> [usize; 2] {
    let standing = Arc::as_ptr(&of.standing) as usize;
    [Arc::as_ptr(&of.table) as usize, standing]
}

/// Clients as the planner knows of them; empty where it does not. A site's are taken for those of its first place.
fn by_demand(snapshot: &Snapshot, tables: &[Tables], of_service: &HashMap<ServiceId, usize>) -> Amounts {
    let mut amounts = Amounts::new();
    let (Some(basis), Some(sites)) = (basis(snapshot), &snapshot.plan.sites) else { return amounts };
    let mut first = vec![None; sites.ids().len()];
    for (place, site) in snapshot.atlas.places().zip(sites.of_places()) {
        first.get_mut(site).map(|first: &mut Option<PlaceId>| first.get_or_insert(place));
    }
    let step = basis.demand.flows().count().div_ceil(MOST_LOOKS).max(1);
    for (flow, amount) in basis.demand.flows().step_by(step).filter(|(_, amount)| *amount > 0.0) {
        let place = first.get(flow.site as usize).copied().flatten();
        let (Some(&number), Some(place)) = (of_service.get(&flow.service), place) else { continue };
        if number < tables.len() {
            *amounts.entry((number, place)).or_default() += amount;
        }
    }
    amounts
}

/// All places alike, and all services.
fn by_place(snapshot: &Snapshot, tables: &[Tables]) -> Amounts {
    let mut amounts = Amounts::new();
    let places = snapshot.atlas.place_count();
    let step = step(places, tables.len());
    for (number, of) in tables.iter().enumerate() {
        let looks = if of.depends_on_place { places } else { 1 };
        let each = of.services as f64 / looks.div_ceil(step).max(1) as f64;
        for begin in (0..looks).step_by(step) {
            let place = PlaceId((begin + scattered(begin, step)).min(looks - 1) as u32);
            *amounts.entry((number, place)).or_default() += each;
        }
    }
    amounts
}

/// From one place that is looked at to the next, so that [`MOST_LOOKS`] are enough for all tables; at least 1.
fn step(places: usize, tables: usize) -> usize {
    places.div_ceil((MOST_LOOKS / tables.max(1)).max(1)).max(1)
}

/// Somewhere below `step`: places may be alike by turns, as a network's often are.
fn scattered(begin: usize, step: usize) -> usize {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    ((begin as u64).wrapping_mul(GOLDEN) >> 32) as usize % step
}

fn fractions(snapshot: &Snapshot, service: ServiceId, place: PlaceId) -> Vec<(RegionId, f64)> {
    cell_at_place(&snapshot.view(), service, place).map(|cell| cell.fractions().collect()).unwrap_or_default()
}

/// Where a region of `sums` has less of these clients in `to` than in `from`, others have more: they share the difference.
fn add_moves(
    from: Vec<(RegionId, f64)>,
    to: Vec<(RegionId, f64)>,
    amount: f64,
    sums: &mut BTreeMap<RegionId, BTreeMap<RegionId, f64>>,
) {
    let part = |of: &[(RegionId, f64)], id| of.iter().find(|(other, _)| *other == id).map_or(0.0, |(_, part)| *part);
    let gains: Vec<(RegionId, f64)> = to.iter().map(|(id, more)| (*id, (more - part(&from, *id)).max(0.0))).collect();
    let gained: f64 = gains.iter().map(|(_, gain)| gain).sum();
    for (id, had) in &from {
        let lost = had - part(&to, *id);
        let Some(sums) = sums.get_mut(id).filter(|_| lost > 0.0 && gained > 0.0) else { continue };
        for (other, gain) in gains.iter().filter(|(_, gain)| *gain > 0.0) {
            *sums.entry(*other).or_default() += amount * lost * gain / gained;
        }
    }
}

fn shares(snapshot: &Snapshot, sums: BTreeMap<RegionId, f64>) -> Option<Vec<ClientShare>> {
    let all: f64 = sums.values().sum();
    let mut sums: Vec<(RegionId, f64)> = sums.into_iter().filter(|(_, sum)| *sum > NEGLIGIBLE * all).collect();
    sums.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    let share = |(id, sum): (RegionId, f64)| ClientShare {
        region: snapshot.model.qualified_region_name(id),
        share: (sum / all * 1e4).round() / 1e4,
    };
    let shares: Vec<ClientShare> = sums.into_iter().take(MOST_SHARES).map(share).collect();
    (!shares.is_empty()).then_some(shares)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;
    use crate::atlas::Atlas;
    use crate::model::{Location, Policy};
    use crate::state::memory::planning::Basis;
    use crate::state::{News, Publisher};
    use crate::steer::health::effective::Override;
    use crate::steer::latency::locations::{Locations, MOST_LOCATIONS};
    use crate::steer::planner::demand::Demand;
    use crate::steer::testing::{World, at, moment};

    const REGIONS: [RegionId; 3] = [RegionId(0), RegionId(1), RegionId(2)];

    /// Three regions, and clients who are all nearest to the middle one: two places lean west, and one east.
    fn world(policy: Policy) -> World {
        let regions = [("mid", at(0.0, 0.0)), ("west", at(0.0, -60.0)), ("east", at(0.0, 60.0))];
        let clients =
            [("10.1.0.0/16", at(0.0, -12.0)), ("10.2.0.0/16", at(0.0, -14.0)), ("10.3.0.0/16", at(0.0, 13.0))];
        World::new(policy, &regions).clients(&clients)
    }

    /// The snapshots before and after `mid` is taken out.
    fn mid_out(World { model, atlas, .. }: World) -> (Arc<Snapshot>, Arc<Snapshot>) {
        let now = moment(Instant::now());
        let mut publisher = Publisher::new(model, atlas, "", 0, Default::default(), now);
        publisher.assume_up(now);
        let before = publisher.shared().load_full();
        publisher.apply(News::set_override("mid@gslb.example", Override::Down), now);
        publisher.publish(now);
        let after = publisher.shared().load_full();
        (before, after)
    }

    fn said(moves: &Moves, region: RegionId) -> Vec<(&str, f64)> {
        let shares = moves.get(&region).map(Vec::as_slice).unwrap_or_default();
        shares.iter().map(|of| (of.region.trim_end_matches("@gslb.example"), of.share)).collect()
    }

    #[test]
    fn clients_go_where_the_next_answers_send_them_and_come_back_from_there() {
        let (before, after) = mid_out(world(Policy::Nearest));
        let gone = moves(&before, &after, &REGIONS, true);
        // Places without coordinates are somewhere too, and are not told apart from the others.
        assert_eq!(said(&gone, RegionId(0)).first().map(|(region, _)| *region), Some("west"), "{gone:?}");
        assert!((said(&gone, RegionId(0)).iter().map(|(_, share)| share).sum::<f64>() - 1.0).abs() < 1e-3);
        assert_eq!(gone.len(), 1, "the others lose nobody: {gone:?}");
        let back = moves(&after, &before, &REGIONS, false);
        assert_eq!(said(&back, RegionId(0)), said(&gone, RegionId(0)));
        let (before, after) = mid_out(world(Policy::Failover));
        assert_eq!(said(&moves(&before, &after, &REGIONS[..1], true), RegionId(0)), [("west", 1.0)]);
        assert!(moves(&before, &before, &REGIONS, true).is_empty(), "nothing has changed");
    }

    #[test]
    fn places_weigh_by_the_demand_that_is_known() {
        let (before, after) = mid_out(world(Policy::Nearest));
        let sites = after.plan.sites.clone().expect("sites");
        let lean = |site: usize| sites.position(site).map(|at| at.longitude());
        let amount = |site: &usize| match lean(*site) {
            Some(west) if west < -1.0 => 10.0,
            Some(east) if east > 1.0 => 60.0,
            _ => 0.0,
        };
        let on = [(RegionId(0), 1.0)];
        let flows = sites.ids().map(|site| (ServiceId(0), site as u32, amount(&site), &on[..]));
        let demand = Demand::of_flows(flows.filter(|(_, _, amount, _)| *amount > 0.0));
        let basis = Basis {
            demand: Arc::new(demand),
            locations: Arc::new(Locations::of(&sites, &after.model, MOST_LOCATIONS, None)),
            eligible: vec![true; 3],
            capacities: vec![None; 3],
            planned_with: vec![None; 3],
            planned: None,
            feeds: Vec::new(),
            evidence: vec![true; 3],
            error: None,
            made_at: Instant::now(),
        };
        let known = Snapshot {
            generation: after.generation,
            configured: after.configured.clone(),
            atlas: after.atlas.clone(),
            states: after.states.clone(),
            endpoint_sets: after.endpoint_sets.clone(),
            plan: after.plan.clone(),
            precomputed: Default::default(),
            measured: after.measured.clone(),
            overrides_error: None,
            switches: Arc::default(),
            planning: Some(Arc::new(basis)),
            vantages: None,
            made_at: after.made_at,
        };
        let gone = moves(&before, &known, &REGIONS[..1], true);
        assert_eq!(said(&gone, RegionId(0)), [("east", 0.75), ("west", 0.25)]);
    }

    #[test]
    fn so_many_places_are_looked_at_and_no_more() {
        for (places, tables) in
            [(0, 1), (1, 1), (3_000_000, 1), (300_000, 50), (300_000, 10_000), (7usize, 300_000usize)]
        {
            let looks = places.div_ceil(step(places, tables)) * tables.min(MOST_LOOKS);
            assert!(looks <= MOST_LOOKS, "{places} places, {tables} tables: {looks}");
        }
        assert_eq!(step(400, 50), 1, "all of them where that is within the bound");
    }

    #[test]
    fn some_of_many_places_tell_the_shares() {
        let mut world = world(Policy::Nearest);
        let place = |n: u32| {
            let longitude = if n.is_multiple_of(10) { 13.0 } else { -13.0 } + f64::from(n % 997) * 1e-4;
            let location =
                Location { coordinates: Some(at(f64::from(n / 997) * 1e-3, longitude)), ..Location::default() };
            (format!("10.{}.{}.0/24", n >> 8, n & 255).parse().expect("a prefix"), location)
        };
        world.atlas = Atlas::build(&[], &(0..60_000).map(place).collect::<Vec<_>>()).expect("an atlas");
        let service = world.model.services[0].clone();
        for kind in 1..10 {
            let mut service = service.clone();
            service.bias_ms.insert(RegionId(0), -kind);
            world.model.services.push(service);
        }
        let (before, after) = mid_out(world);
        let (tables, _) = changed_tables(&before, &after, &REGIONS);
        assert!(step(after.atlas.place_count(), tables.len()) > 1 && tables.len() == 10, "{}", tables.len());
        let gone = moves(&before, &after, &REGIONS[..1], true);
        let [("west", west), ("east", east)] = said(&gone, RegionId(0))[..] else { panic!("{gone:?}") };
        assert!((west - 0.9).abs() < 0.01 && (east - 0.1).abs() < 0.01, "{gone:?}");
    }
}
