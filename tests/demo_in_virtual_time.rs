//! The demo as README has it, for half an hour of virtual time: five regions whose loads stand still, a question now
//! and then, a region that breaks and is repaired, one that is overloaded and recovers. Every answer is the one that
//! a person expects.

use std::time::Duration;

use meridian::model::Coordinates;
use meridian::simulate::{ClientLocation, Simulation, Site, World};

const REGIONS: [(&str, f64, f64, f64, f64); 5] = [
    ("seoul", 37.57, 126.98, 0.9, 20_000.0),
    ("virginia", 39.04, -77.49, 0.4, 40_000.0),
    ("frankfurt", 50.11, 8.68, 0.6, 30_000.0),
    ("saopaulo", -23.55, -46.63, 1.5, 10_000.0),
    ("sydney", -33.87, 151.21, 1.2, 10_000.0),
];
const PLACES: [(&str, f64, f64, usize); 7] = [
    ("KR", 37.0, 127.5, SEOUL),
    ("JP", 36.0, 138.0, SEOUL),
    ("DE", 51.0, 9.0, FRANKFURT),
    ("GB", 54.0, -2.0, FRANKFURT),
    ("BR", -10.0, -55.0, SAO_PAULO),
    ("US", 38.0, -97.0, VIRGINIA),
    ("AU", -27.0, 133.0, SYDNEY),
];
const SEOUL: usize = 0;
const VIRGINIA: usize = 1;
const FRANKFURT: usize = 2;
const SAO_PAULO: usize = 3;
const SYDNEY: usize = 4;
const KOREA: usize = 0;

struct Demo {
    simulation: Simulation,
    t: u64,
    loads: [f64; 5],
}

impl Demo {
    fn start() -> Demo {
        let at = |latitude, longitude| Coordinates::new(latitude, longitude).expect("coordinates");
        let region = |&(name, latitude, longitude, cost, capacity): &(&str, f64, f64, f64, f64)| Site {
            name: name.into(),
            at: at(latitude, longitude),
            cost,
            capacity,
        };
        let place = |&(country, latitude, longitude, _): &(&str, f64, f64, usize)| ClientLocation {
            country: country.parse().ok(),
            at: at(latitude, longitude),
            name: country.into(),
        };
        let world = World {
            regions: REGIONS.iter().map(region).collect(),
            locations: PLACES.iter().map(place).collect(),
            ..World::default()
        };
        let mut deployment = world.deployment().expect("a deployment");
        for region in &mut deployment.model.regions {
            // As zones/gslb.example.toml has them.
            region.slow_start = Duration::from_secs(10);
            let check = &mut region.checks.as_mut().expect("a check").members[0].check;
            (check.interval, check.rise) = (Duration::from_secs(2), 2);
        }
        let simulation = Simulation::of(deployment, &world).expect("a simulation");
        Demo { simulation, t: 0, loads: REGIONS.map(|(.., capacity)| 0.35 * capacity) }
    }

    /// A second goes by, in which every place asks if `all` do, or else nobody. Regions that answer are given.
    fn second(&mut self, all: bool) -> Vec<usize> {
        self.simulation.end_second();
        self.t += 1;
        self.simulation.set_time(Duration::from_secs(self.t));
        if self.t.is_multiple_of(2) {
            for (region, load) in self.loads.into_iter().enumerate() {
                self.simulation.report_load(region, load, Some(REGIONS[region].4));
            }
        }
        let ask = |place| self.simulation.query(place, place as u64 * 77, false).expect("an answer").region;
        if all { (0..PLACES.len()).map(ask).collect() } else { Vec::new() }
    }

    /// Everybody is where they belong for so long, but those of `away`.
    fn is_calm(&mut self, seconds: u64, away: &[usize]) {
        for _ in 0..seconds {
            let all = self.t.is_multiple_of(7);
            let answers = self.second(all);
            for (place, region) in answers.into_iter().enumerate() {
                let home = PLACES[place].3;
                let belongs = if away.contains(&home) { region != home } else { region == home };
                assert!(belongs, "after {} s {} is sent to {}", self.t, PLACES[place].0, REGIONS[region].0);
            }
        }
    }

    /// Seconds until Korea's clients are in Seoul, or are not.
    fn until_korea_is(&mut self, home: bool) -> u64 {
        let began = self.t;
        while self.t < began + 300 {
            // Not more often than a person digs: every answer counts as one more resolver.
            let asks = self.t.is_multiple_of(5);
            if self.second(asks).get(KOREA).is_some_and(|&region| (region == SEOUL) == home) {
                return self.t - began;
            }
        }
        panic!("Korea is not {} after 300 s", if home { "back" } else { "gone" });
    }
}

#[test]
fn loads_that_stand_still_move_nobody() {
    Demo::start().is_calm(1800, &[]);
}

#[test]
fn a_broken_region_is_left_and_a_repaired_one_is_back_within_half_a_minute() {
    let mut demo = Demo::start();
    demo.is_calm(300, &[]);
    demo.simulation.set_alive(SEOUL, false);
    let gone = demo.until_korea_is(false);
    assert!(gone <= 10, "{gone} s");
    demo.is_calm(120, &[SEOUL]);
    demo.simulation.set_alive(SEOUL, true);
    let back = demo.until_korea_is(true);
    assert!(back <= 30, "{back} s");
    demo.is_calm(900, &[]);
}

#[test]
fn an_overload_that_lasts_moves_its_own_clients_alone_and_they_come_back() {
    let mut demo = Demo::start();
    demo.is_calm(300, &[]);
    demo.loads[SEOUL] = 40_000.0;
    let gone = demo.until_korea_is(false);
    assert!((60..=100).contains(&gone), "{gone} s");
    demo.is_calm(600, &[SEOUL]);
    demo.loads[SEOUL] = 7_000.0;
    let back = demo.until_korea_is(true);
    assert!(back <= 60, "{back} s");
    demo.is_calm(600, &[]);
}

#[test]
fn one_wild_report_moves_nobody() {
    for wild in [1.1, 2.0, 5.0, 1e6] {
        let mut demo = Demo::start();
        demo.is_calm(200, &[]);
        let usual = demo.loads;
        demo.loads = usual.map(|load| load * wild);
        demo.is_calm(3, &[]);
        demo.loads = usual;
        demo.is_calm(300, &[]);
    }
}
