//! Tables that go on from those of before when regions are lost, held to tables made of nothing.

use std::sync::Arc;
use std::time::Instant;

use super::code::Answer;
use super::*;
use crate::model::{Coordinates, Name, Policy, Weights, ZoneId};
use crate::steer::choice::cell::{Cell, Share};
use crate::steer::health::effective::{EffectiveState, Override};
use crate::steer::testing::{World, at};

const REGIONS: u16 = 9;
const SERVICES: usize = 40;

fn anywhere(rng: &mut fastrand::Rng) -> Coordinates {
    at(rng.f64() * 130.0 - 60.0, rng.f64() * 360.0 - 180.0)
}

/// Services of which no two are decided alike, most of them with a few regions less than all, and 600 sites.
fn world(rng: &mut fastrand::Rng) -> World {
    let regions: Vec<(String, Coordinates)> = (0..REGIONS).map(|n| (format!("r{n}"), anywhere(rng))).collect();
    let regions: Vec<(&str, Coordinates)> = regions.iter().map(|(name, at)| (name.as_str(), *at)).collect();
    let sites: Vec<(String, Coordinates)> =
        (0..600).map(|n| (format!("10.{}.{}.0/24", n / 200, n % 200), anywhere(rng))).collect();
    let sites: Vec<(&str, Coordinates)> = sites.iter().map(|(prefix, at)| (prefix.as_str(), *at)).collect();
    let mut world = World::new(Policy::Score, &regions).clients(&sites);
    let origin = Name::parse_absolute("gslb.example").expect("a name");
    for number in 0..SERVICES {
        let mut ids: Vec<RegionId> = (0..REGIONS).map(RegionId).collect();
        rng.shuffle(&mut ids);
        ids.truncate(rng.usize(3..=ids.len()));
        let name = Name::parse(&format!("s{number}"), &origin).expect("a name");
        let latency = 0.4 + number as f64 / 300.0;
        let bias_ms = ids.iter().filter(|_| rng.u8(..4) == 0).map(|id| (*id, (number % 30) as i16)).collect();
        let flat = Service::flat(name, ZoneId(0), Policy::Score, ids);
        world.model.services.push(Service { weights: Weights { latency, ..Weights::default() }, bias_ms, ..flat });
    }
    world
}

/// Something happens to some region. True: some may be lost, and nothing else is otherwise.
fn event(world: &mut World, rng: &mut fastrand::Rng) -> bool {
    let region = rng.usize(..usize::from(REGIONS));
    match rng.u8(..12) {
        0 => world.states[region].price_ms = f64::from(rng.u8(..3)) * 30.0,
        1 => world.states[region].shed = f64::from(rng.u8(..3)) / 4.0,
        2 => world.say(region, Override::Drain),
        3 => world.states[region].over_limit = !world.states[region].over_limit,
        4 | 5 => world.states.iter_mut().for_each(|state| state.effective = EffectiveState::Up),
        6 => {
            world.down(region);
            world.down((region + 1) % usize::from(REGIONS));
        }
        7 => world.states[region].effective = EffectiveState::Up,
        _ => {
            world.down(region);
            return true;
        }
    }
    false
}

/// The planner's shares at some sites, of some services.
fn planned(world: &World, sites: &Arc<Sites>, rng: &mut fastrand::Rng) -> Arc<Planned> {
    let services: Vec<&Service> = world.model.services.iter().filter(|_| rng.bool()).collect();
    Arc::new(Planned::sample(&world.model, sites, &services, |service| {
        let some = service.regions.iter().filter(|_| rng.u8(..4) == 0);
        some.map(|&region| Share { region, weight: 1.0 + region.0 as f64 }).collect()
    }))
}

fn plan_after(world: &World, planned: Option<&Arc<Planned>>, previous: &Plan) -> Plan {
    let World { model, atlas, states, switched, measured } = world;
    let previous = Some(previous);
    plan(&Inputs { model, atlas, states, measured, switched, seed: 0, planned, previous, now: Instant::now() })
}

/// The answer at each place, and what the table says of itself.
type Said = (Vec<Result<Answer, Option<Cell>>>, Vec<bool>, bool);

fn said(world: &World, service: &ServicePlan) -> Said {
    let table = &service.table;
    let at = |place| match table.code(table.class_of(place)).expect("a code").read() {
        Answer::Cell(number) => Err(table.cell(number).cloned()),
        answer => Ok(answer),
    };
    let regions = world.model.region_ids().map(|region| table.may_answer(region)).collect();
    for site in 0..600 {
        let client = [10, (site / 200) as u8, (site % 200) as u8, 1].into();
        assert_eq!(table.find(client).class, table.class_of(world.atlas.locate(client).place), "{client}");
    }
    (world.atlas.places().map(at).collect(), regions, table.has_open())
}

#[test]
fn tables_that_go_on_from_those_of_before_are_those_made_of_nothing() {
    let mut rng = fastrand::Rng::with_seed(3);
    let mut went_on = 0;
    for _ in 0..4 {
        let mut world = world(&mut rng);
        let first = world.plan(Instant::now()).plan;
        // Sites are lent, so that what is planned is of them; recipes and tables are not.
        let nothing = Plan { sites: first.sites.clone(), latency: first.latency.clone(), ..Plan::default() };
        let (mut before, mut shares) = (first, None);
        for _ in 0..40 {
            let only_lost = event(&mut world, &mut rng);
            if rng.u8(..10) == 0 {
                let sites = before.sites.clone().expect("sites");
                shares = rng.bool().then(|| planned(&world, &sites, &mut rng));
            }
            let (next, anew) =
                (plan_after(&world, shares.as_ref(), &before), plan_after(&world, shares.as_ref(), &nothing));
            assert!(next.behind().is_empty() && anew.behind().is_empty());
            let pairs = next.services.iter().zip(&anew.services);
            for (number, (next, anew)) in pairs.enumerate() {
                assert_eq!(said(&world, next), said(&world, anew), "service {number}, {:?}", world.states);
            }
            let kept = before.tables.iter().zip(&next.tables).filter(|(one, other)| Arc::ptr_eq(one, other)).count();
            went_on += usize::from(only_lost && kept < before.tables.len());
            before = next;
        }
    }
    assert!(went_on > 20, "{went_on} times a region was lost and nothing else");
}

#[test]
fn a_service_without_the_lost_region_keeps_its_table() {
    let mut rng = fastrand::Rng::with_seed(5);
    let mut world = world(&mut rng);
    let before = world.plan(Instant::now()).plan;
    world.down(0);
    let next = world.plan_after(Some(&before), Instant::now());
    for ((service, before), next) in
        world.model.services.iter().zip(&before.services).zip(&next.services).skip(part::RECIPES)
    {
        let has_it = service.regions.contains(&RegionId(0));
        assert_eq!(Arc::ptr_eq(&before.table, &next.table), !has_it, "{}", service.name);
    }
}

#[test]
fn a_region_that_comes_back_brings_back_the_tables_of_before() {
    let mut rng = fastrand::Rng::with_seed(5);
    let mut world = world(&mut rng);
    let with_it: Vec<usize> =
        (0..=SERVICES).filter(|service| world.model.services[*service].regions.contains(&RegionId(0))).collect();
    let tables = |plan: &Plan| with_it.iter().map(|&service| plan.services[service].table.clone()).collect::<Vec<_>>();
    let same = |one: &Plan, other: &Plan| {
        let pairs = tables(one).into_iter().zip(tables(other));
        pairs.filter(|(one, other)| Arc::ptr_eq(one, other)).count()
    };
    let follow_after = |world: &World, before: &Plan| {
        let World { model, atlas, states, switched, measured } = world;
        let (previous, now) = (Some(before), Instant::now());
        follow(&Inputs { model, atlas, states, measured, switched, seed: 0, planned: None, previous, now }, Vec::new())
    };
    let healthy = world.plan(Instant::now()).plan;
    world.down(0);
    let lost = world.plan_after(Some(&healthy), Instant::now());
    assert_eq!(same(&healthy, &lost), 0);
    world.states[0].effective = EffectiveState::Up;
    let back = follow_after(&world, &lost);
    assert_eq!((same(&healthy, &back), back.behind()), (with_it.len(), &[][..]), "at once");
    world.down(0);
    let again = follow_after(&world, &back);
    assert_eq!((same(&lost, &again), again.behind()), (with_it.len(), &[][..]));

    // Of a price that moved, too, they are not those of before.
    world.states[1].price_ms = 5.0;
    world.states[0].effective = EffectiveState::Up;
    assert!(!follow_after(&world, &again).behind().is_empty());
}

#[test]
fn classes_of_before_are_taken_up_by_tables_that_are_made_anew() {
    let mut rng = fastrand::Rng::with_seed(5);
    let mut world = world(&mut rng);
    let classes = |plan: &Plan| plan.services[0].table.classes().cloned().expect("by place");
    let healthy = world.plan(Instant::now()).plan;
    assert!(healthy.former.is_empty(), "nothing was before");
    // The same shares at all sites as without any: other tables, the same classes.
    let sites = healthy.sites.clone().expect("sites");
    let none = Arc::new(Planned::sample(&world.model, &sites, &[], |_| Vec::new()));
    let planned = plan_after(&world, Some(&none), &healthy);
    assert!(!Arc::ptr_eq(&planned.tables[0], &healthy.tables[0]));
    assert!(Arc::ptr_eq(&classes(&planned), &classes(&healthy)));
    assert!(planned.former.is_empty(), "what was before that plan does not come back");
    world.down(0);
    assert!(!Arc::ptr_eq(&classes(&plan_after(&world, None, &planned)), &classes(&healthy)));
}
