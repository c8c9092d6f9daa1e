//! What a plan costs where it is large: 300,000 places at 80,000 positions, 50 services by score over
//! 12 regions whose load moves. Prints the time of a whole snapshot: the first, after a region's
//! price moved, after a verdict changed, and when nothing did. Then what the planner's own part costs
//! where regions fill up: 4,000 sites, 16 regions, 50 services of 50 kinds; and 100,000 sites, 64 regions,
//! 1,000 services of 100 kinds.
//!
//! ```text
//! cargo bench --bench plan               all of it
//! cargo bench --bench plan -- planner    the planner's part alone
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meridian::atlas::Atlas;
use meridian::control::clock;
use meridian::model::{
    Coordinates, Endpoint, LoadReport, Location, Model, Name, Policy, Prefix, Region, RegionId, Service, ServiceId,
    Weights, Zone, ZoneId,
};
use meridian::state::{LoadNews, News, Publisher};
use meridian::steer::health::effective::Override;
use meridian::steer::latency::locations::{Locations, MOST_LOCATIONS};
use meridian::steer::latency::rtt::Latency;
use meridian::steer::latency::sites::Sites;
use meridian::steer::planner::demand::Demand;
use meridian::steer::planner::score_group::ScoreGroup;
use meridian::steer::planner::score_group_parts::ScoreGroupParts;
use meridian::steer::planner::{Planned, Situation, make};

const SERVICES: u32 = 50;
const POSITIONS: usize = 80_000;

fn main() {
    // `cargo test --benches`, which says no `--bench`, only wants to know that this runs.
    let small = !std::env::args().any(|argument| argument == "--bench");
    let places = if small { 300 } else { 300_000 };
    let alone = std::env::args().any(|argument| argument == "planner");
    for (title, kinds) in
        [("50 services alike", 1), ("50 services of 50 kinds", SERVICES)].into_iter().filter(|_| !alone)
    {
        measure(title, kinds, &Atlas::build(&[], &networks(places, POSITIONS)).expect("an atlas"), places);
    }
    for size in PLANNED {
        let few = Planning { sites: 100, services: 5, kinds: 5, flows: 500, ..size };
        measure_planner(if small { &few } else { &size });
    }
}

/// What the planner is measured with.
const PLANNED: [Planning; 2] = [
    Planning { sites: 4_000, positions: POSITIONS, regions: 16, services: SERVICES, kinds: SERVICES, flows: 200_000 },
    Planning { sites: 100_000, positions: 100_000, regions: 64, services: 1_000, kinds: 100, flows: 200_000 },
];

/// A size of what the planner is given.
#[derive(Clone, Copy)]
struct Planning {
    sites: u32,
    positions: usize,
    regions: u16,
    services: u32,
    kinds: u32,
    /// Pairs of a service and a site that clients come from.
    flows: usize,
}

fn measure_planner(size: &Planning) {
    let Planning { sites, regions, services, kinds, flows, .. } = *size;
    println!("the planner, {sites} sites, {regions} regions, {services} services of {kinds} kinds: CPU time");
    let atlas = Atlas::build(&[], &networks(sites, size.positions)).expect("an atlas");
    let model = Arc::new(model(services, kinds, regions));
    let now = Instant::now();
    let latency = Arc::new(Latency::of(&model, &Arc::default()));
    let sites = Sites::of_services(&model, &atlas, &latency, None).expect("sites");
    let group = |service: &Service| ScoreGroup::of(service, service.policies.main()).expect("a score group");
    let parts = model.services.iter().map(|service| ScoreGroupParts::everywhere(vec![(&group(service), 1.0)]));
    let parts: Vec<_> = parts.map(Arc::new).collect();
    let places = Arc::new(Locations::of(&sites, &model, MOST_LOCATIONS, None));
    let mut rng = fastrand::Rng::with_seed(9);
    let mut flows = pairs(flows, services, sites.ids().len() as u32, &mut rng);
    // Regions are small and large; together they could take 1.4 times what there is.
    let sizes: Vec<f64> = (0..regions).map(|_| 0.2 + rng.f64()).collect();
    let whole: f64 = sizes.iter().sum();
    let mut capacities: Vec<_> = sizes.iter().map(|size| Some(1400.0 * size / whole)).collect();
    let mut eligible = vec![true; usize::from(regions)];
    let mut previous: Option<Planned> = None;
    for what in ["first", "nothing new", "demand drifts", "a region lost", "and half of another", "and back"] {
        match what {
            "demand drifts" => flows.iter_mut().for_each(|(.., amount)| *amount *= 0.97 + 0.06 * rng.f64()),
            "a region lost" => eligible[3] = false,
            "and half of another" => capacities[5] = capacities[5].map(|capacity| capacity / 2.0),
            "and back" => eligible[3] = true,
            _ => {}
        }
        let unit = 1000.0 / flows.iter().map(|(.., amount)| amount).sum::<f64>();
        let on = [(RegionId(0), 1.0)];
        let demand = Demand::of_flows(flows.iter().map(|&(of, site, amount)| (of, site, amount * unit, &on[..])));
        let (model, locations, previous_plan) = (&*model, &places, previous.as_ref());
        let situation = Situation {
            model,
            locations,
            demand: &demand,
            parts: &parts,
            eligible: &eligible,
            capacities: &capacities,
            evidence: &vec![true; usize::from(regions)],
            previous: previous_plan,
            now,
        };
        let began = cpu();
        let planned = make(&situation).expect("a plan");
        report(what, cpu() - began);
        previous = Some(planned);
    }
}

/// Clients of services at sites: all pairs of these, or so many by chance.
fn pairs(most: usize, services: u32, sites: u32, rng: &mut fastrand::Rng) -> Vec<(ServiceId, u32, f64)> {
    let all = (services * sites) as usize;
    let any = |rng: &mut fastrand::Rng| (rng.u32(..services), rng.u32(..sites));
    let pair = |number: usize, rng: &mut fastrand::Rng| match all <= most {
        true => (number as u32 / sites, number as u32 % sites),
        false => any(rng),
    };
    let amount = |(service, site), rng: &mut fastrand::Rng| (ServiceId(service), site, rng.f64().powi(8));
    (0..all.min(most)).map(|number| amount(pair(number, rng), rng)).collect()
}

/// CPU time of this process.
fn cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the one struct it is given, which outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn measure(title: &str, kinds: u32, atlas: &Atlas, places: u32) {
    println!("{title}, {} places", atlas.place_count());
    let atlas = Atlas::build(&[], &networks(places, POSITIONS)).expect("an atlas");
    let now = Instant::now();
    let mut publisher = Publisher::new(model(SERVICES, kinds, 12), atlas, "", 0, BTreeMap::new(), clock::read());
    report("first", now.elapsed());
    let mut timed = |what: &str, news: &mut dyn FnMut(&mut Publisher, u32)| {
        let rounds = 5;
        let mut spent = Duration::ZERO;
        for round in 0..rounds {
            news(&mut publisher, round);
            let now = Instant::now();
            publisher.publish(clock::read());
            spent += now.elapsed();
        }
        report(what, spent / rounds);
    };
    timed("nothing new", &mut |_, _| {});
    timed("one price moved", &mut |publisher, round| {
        let region = format!("r{}@gslb.example", round % 3).into();
        publisher.apply(
            News::Load(LoadNews { region, at: Instant::now(), outcome: Ok((200.0, Some(100.0))) }),
            clock::read(),
        );
    });
    timed("one price crept", &mut |publisher, _| {
        let region = "r5@gslb.example".into();
        publisher.apply(
            News::Load(LoadNews { region, at: Instant::now(), outcome: Ok((85.1, Some(100.0))) }),
            clock::read(),
        );
    });
    timed("one region lost or back", &mut |publisher, round| {
        publisher.apply(
            News::set_override("r4@gslb.example", if round % 2 == 0 { Override::Down } else { Override::Auto }),
            clock::read(),
        );
    });
}

fn report(what: &str, spent: Duration) {
    println!("  {what:<26}{:>10.2} ms", spent.as_secs_f64() * 1e3);
}

/// /24s at so many positions, of networks of their own.
fn networks(places: u32, positions: usize) -> Vec<(Prefix, Location)> {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut at = || Coordinates::new(rng.f64() * 130.0 - 60.0, rng.f64() * 360.0 - 180.0);
    let positions: Vec<_> = (0..positions).map(|_| at()).collect();
    (0..places)
        .map(|index| {
            let address = std::net::Ipv4Addr::from(0x0100_0000 + (index << 8));
            let coordinates = positions[index as usize % positions.len()];
            (
                Prefix::containing(address.into(), 24),
                Location { coordinates, asn: Some(index + 1), ..Location::default() },
            )
        })
        .collect()
}

fn model(services: u32, kinds: u32, regions: u16) -> Model {
    let origin = Name::parse_absolute("gslb.example").expect("a name");
    let mut rng = fastrand::Rng::with_seed(8);
    let places = (0..regions).map(|index| region(index, rng.f64() * 100.0 - 50.0, rng.f64() * 360.0 - 180.0));
    let service = |index: u32| {
        let name = Name::parse(&format!("s{index}"), &origin).expect("a name");
        let weights = Weights { latency: 0.5 + f64::from(index % kinds) * 1e-3, ..Weights::default() };
        Service { weights, ..Service::flat(name, ZoneId(0), Policy::Score, (0..regions).map(RegionId).collect()) }
    };
    let (regions, services) = (places.collect(), (0..services).map(service).collect());
    Model { zones: vec![Zone { origin, nodes: Default::default() }], regions, services, ..Model::default() }
}

fn region(index: u16, latitude: f64, longitude: f64) -> Region {
    let address = std::net::Ipv4Addr::new(192, 0, 2, index as u8);
    let at = Coordinates::new(latitude, longitude).expect("coordinates");
    Region {
        capacity: Some(100.0),
        load_report: Some(LoadReport::pushed(Duration::from_secs(10))),
        ..Region::new(format!("r{index}"), ZoneId(0), at, vec![Endpoint::at(address.into())])
    }
}
