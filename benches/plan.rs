//! What a plan costs where it is large: 300,000 places at 80,000 positions, 50 services by score over
//! 12 regions whose load moves. Prints the time of a whole snapshot: the first, after a region's
//! price moved, after a verdict changed, and when nothing did. Then what the planner's own part costs:
//! 4,000 locations, 16 regions that fill up, 50 services of 50 kinds that share them.
//!
//! ```text
//! cargo bench --bench plan
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meridian::atlas::Atlas;
use meridian::control::clock;
use meridian::model::{
    Coordinates, Endpoint, LoadReport, Location, Model, Name, Policy, Prefix, Region, RegionId, Service, Weights, Zone,
    ZoneId,
};
use meridian::state::{LoadNews, News, Publisher};
use meridian::steer::health::effective::{Override, RegionState};
use meridian::steer::latency::locations::{Locations, MOST_LOCATIONS};
use meridian::steer::plan::{Inputs, plan};
use meridian::steer::planner::demand::Demand;
use meridian::steer::planner::{Planned, Situation, make};

const SERVICES: u32 = 50;

fn main() {
    // `cargo test --benches`, which says no `--bench`, only wants to know that this runs.
    let small = !std::env::args().any(|argument| argument == "--bench");
    let places = if small { 300 } else { 300_000 };
    for (title, kinds) in [("50 services alike", 1), ("50 services of 50 kinds", SERVICES)] {
        measure(title, kinds, &Atlas::build(&[], &networks(places)).expect("an atlas"), places);
    }
    measure_planner(if small { 100 } else { 4_000 });
}

fn measure_planner(locations: u32) {
    println!("the planner, {locations} locations, 16 regions, 50 services of 50 kinds");
    let atlas = Atlas::build(&[], &networks(locations)).expect("an atlas");
    let model = Arc::new(model(SERVICES, 16));
    let states: Vec<RegionState> = model.regions.iter().map(|_| RegionState::unprobed(1)).collect();
    let now = Instant::now();
    let measured = Arc::default();
    let inputs = Inputs {
        model: &model,
        atlas: &atlas,
        states: &states,
        measured: &measured,
        switched: &BTreeMap::new(),
        seed: 0,
        planned: None,
        previous: None,
        now,
    };
    let first = plan(&inputs);
    let parts: Vec<_> = first.services.iter().map(|service| service.parts.clone()).collect();
    let sites = first.sites.expect("sites");
    let places = Arc::new(Locations::of(&sites, &model, MOST_LOCATIONS, None));
    let mut rng = fastrand::Rng::with_seed(9);
    let all = model.service_ids().flat_map(|service| sites.ids().map(move |site| (service, site as u32)));
    let flows: Vec<_> = all.map(|of| (of, rng.f64().powi(8), [(RegionId(rng.u16(..16)), 1.0)])).collect();
    let amount = 1000.0 / flows.iter().map(|(_, amount, _)| amount).sum::<f64>();
    let flows = flows.iter().map(|((service, site), part, on)| (*service, *site, part * amount, &on[..]));
    let demand = Demand::of_flows(flows);
    // Regions are small and large; together they could take 1.4 times what there is.
    let sizes: Vec<f64> = (0..16).map(|_| 0.2 + rng.f64()).collect();
    let whole: f64 = sizes.iter().sum();
    let mut capacities: Vec<_> = sizes.iter().map(|size| Some(1400.0 * size / whole)).collect();
    let mut eligible = vec![true; 16];
    let mut previous: Option<Planned> = None;
    for what in ["first", "nothing new", "a region lost", "and half of another"] {
        eligible[3] = !what.starts_with('a');
        if what.starts_with("and") {
            capacities[5] = capacities[5].map(|capacity| capacity / 2.0);
        }
        let began = Instant::now();
        let (model, locations, previous_plan) = (&*model, &places, previous.as_ref());
        let situation = Situation {
            model,
            locations,
            demand: &demand,
            parts: &parts,
            eligible: &eligible,
            capacities: &capacities,
            evidence: &[true; 16],
            previous: previous_plan,
            now,
        };
        previous = Some(make(&situation).expect("a plan"));
        report(what, began.elapsed());
    }
}

fn measure(title: &str, kinds: u32, atlas: &Atlas, places: u32) {
    println!("{title}, {} places", atlas.place_count());
    let atlas = Atlas::build(&[], &networks(places)).expect("an atlas");
    let now = Instant::now();
    let mut publisher = Publisher::new(model(kinds, 12), atlas, "", 0, BTreeMap::new(), clock::read());
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

/// /24s at 80,000 positions, of networks of their own.
fn networks(places: u32) -> Vec<(Prefix, Location)> {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut at = || Coordinates::new(rng.f64() * 130.0 - 60.0, rng.f64() * 360.0 - 180.0);
    let positions: Vec<_> = (0..80_000).map(|_| at()).collect();
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

fn model(kinds: u32, regions: u16) -> Model {
    let origin = Name::parse_absolute("gslb.example").expect("a name");
    let mut rng = fastrand::Rng::with_seed(8);
    let places = (0..regions).map(|index| region(index, rng.f64() * 100.0 - 50.0, rng.f64() * 360.0 - 180.0));
    let service = |index: u32| {
        let name = Name::parse(&format!("s{index}"), &origin).expect("a name");
        let weights = Weights { latency: 0.5 + f64::from(index % kinds) * 1e-3, ..Weights::default() };
        Service { weights, ..Service::flat(name, ZoneId(0), Policy::Score, (0..regions).map(RegionId).collect()) }
    };
    let (regions, services) = (places.collect(), (0..SERVICES).map(service).collect());
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
