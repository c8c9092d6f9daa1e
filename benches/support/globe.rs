//! What benchmarks of steering share: a world drawn from a seed, and an eventful day in it.
//!
//! 240 cities, 4,700 resolvers, 8 regions; total capacity 1.4 × the peak, two regions below their
//! local peak.

use meridian::model::Coordinates;
use meridian::simulate::globe::{Drawing, Globe, USUAL_SKEW};
use meridian::simulate::incident::{Incident, What};
use meridian::simulate::{Simulation, Site};

pub const WARM_UP_S: u64 = 900;
const PEAK_DEMAND: f64 = 1_000_000.0;

/// What differs between worlds, besides chance.
pub struct Drawn {
    pub resolvers: usize,
    /// How far round-trip estimates are off; `None`: none are given.
    pub estimate_error: Option<f64>,
    pub skew: f64,
    pub ttl_s: u32,
}

impl Default for Drawn {
    fn default() -> Drawn {
        Drawn { resolvers: 4700, estimate_error: Some(0.1), skew: USUAL_SKEW, ttl_s: 30 }
    }
}

/// One of each row is drawn.
const CANDIDATES: [&[(&str, f64, f64)]; 8] = [
    &[("tokyo", 35.68, 139.69), ("seoul", 37.57, 126.98), ("osaka", 34.69, 135.5)],
    &[("singapore", 1.35, 103.82), ("hongkong", 22.32, 114.17), ("jakarta", -6.21, 106.85)],
    &[("mumbai", 19.08, 72.88), ("bahrain", 26.23, 50.59), ("chennai", 13.08, 80.27)],
    &[("frankfurt", 50.11, 8.68), ("london", 51.51, -0.13), ("paris", 48.86, 2.35)],
    &[("virginia", 38.95, -77.45), ("ohio", 39.96, -83.0), ("montreal", 45.5, -73.57)],
    &[("oregon", 45.84, -119.7), ("california", 37.35, -121.95), ("dallas", 32.78, -96.8)],
    &[("saopaulo", -23.55, -46.63), ("santiago", -33.45, -70.67)],
    &[("sydney", -33.87, 151.21), ("johannesburg", -26.2, 28.05), ("stockholm", 59.33, 18.07)],
];

pub fn draw(seed: u64, drawn: &Drawn) -> Globe {
    let mut chance = fastrand::Rng::with_seed(seed ^ 0x0064_7269_7665);
    let site = |row: &&[(&str, f64, f64)]| {
        let (name, latitude, longitude) = row[chance.usize(0..row.len())];
        let at = Coordinates::new(latitude, longitude).expect("coordinates");
        Site { name: name.into(), at, cost: (30 + chance.u32(0..=90)) as f64 / 100.0, capacity: 1.0 }
    };
    let mut globe = Globe::draw(&Drawing {
        seed,
        regions: CANDIDATES.iter().map(site).collect(),
        cities: 240,
        resolvers: drawn.resolvers,
        peak_demand: PEAK_DEMAND,
        trough: 0.38,
        estimate_error: drawn.estimate_error,
        skew: drawn.skew,
        ttl_s: drawn.ttl_s,
    });
    size_regions(&mut globe, &mut chance);
    globe
}

/// Two regions get less than their own clients need at their peak; all together 1.4 × the world's.
fn size_regions(globe: &mut Globe, chance: &mut fastrand::Rng) {
    let regions = globe.world.regions.len();
    let peaks: Vec<f64> = (0..regions).map(|region| globe.peak_of(&globe.local_cities(region))).collect();
    let mut large: Vec<usize> = (0..regions).filter(|&region| peaks[region] > 0.06 * PEAK_DEMAND).collect();
    chance.shuffle(&mut large);
    let small: Vec<usize> = large.into_iter().take(2).collect();
    let mut rest = 1.4 * PEAK_DEMAND;
    for &region in &small {
        globe.world.regions[region].capacity = peaks[region] * (0.72 + 0.16 * chance.f64());
        rest -= globe.world.regions[region].capacity;
    }
    let others: Vec<usize> = (0..regions).filter(|region| !small.contains(region)).collect();
    // Nobody runs a region of almost no capacity.
    let sizes: Vec<f64> =
        others.iter().map(|&r| peaks[r].max(0.03 * PEAK_DEMAND) * (0.85 + 0.3 * chance.f64())).collect();
    let total: f64 = sizes.iter().sum();
    for (&region, size) in others.iter().zip(sizes) {
        globe.world.regions[region].capacity = rest * size / total;
    }
}

pub fn day(globe: &Globe, seed: u64, chance: &mut fastrand::Rng) -> Vec<Incident> {
    let mut large: Vec<usize> = (0..globe.world.regions.len()).collect();
    large.sort_by(|&a, &b| globe.world.regions[b].capacity.total_cmp(&globe.world.regions[a].capacity));
    large.truncate(6);
    let mut between = |from_h: u64, until_h: u64| WARM_UP_S + chance.u64(from_h * 3600..until_h * 3600);
    let [brown, dead, crowd, flapping] = [between(2, 5), between(7, 10), between(12, 15), between(18, 21)];
    let during = |from_s: u64, length_s: u64, what: What| Incident { from_s, until_s: from_s + length_s, what };
    let (dead, lost) = loss(globe, seed, dead, &large, chance);
    vec![
        during(brown, 2400, What::BrownOut { region: busy_region(globe, brown, &large, chance), part: 0.5 }),
        during(dead, 1800, What::Dead { region: lost, cold_s: 180 }),
        during(crowd, 1200, What::FlashCrowd { cities: cluster(globe, chance), factor: 2.5, ramp_s: 90 }),
        during(
            flapping,
            600,
            What::Flapping {
                region: busy_region(globe, flapping, &large, chance),
                up_s: chance.u64(8..30),
                down_s: chance.u64(12..25),
            },
        ),
    ]
}

/// Which region dies, and when: for odd seeds one whose clients the others have ample room for.
fn loss(globe: &Globe, seed: u64, at_s: u64, large: &[usize], chance: &mut fastrand::Rng) -> (u64, usize) {
    let mut drawn = (at_s, large[chance.usize(0..large.len())]);
    for _ in 0..200 {
        if seed.is_multiple_of(2) || is_ample(globe, drawn.1, drawn.0) {
            break;
        }
        drawn = (WARM_UP_S + chance.u64(6 * 3600..10 * 3600), large[chance.usize(0..large.len())]);
    }
    drawn
}

/// By region: demand over capacity if everybody went where it costs least, but to `without`.
fn utilisation(globe: &Globe, without: Option<usize>, at_s: u64) -> Vec<f64> {
    let regions = &globe.world.regions;
    let mut loads = vec![0.0; regions.len()];
    for city in 0..globe.city_peaks.len() {
        let cost = |region: &usize| globe.rtts_of(city)[*region] + 5.0 * regions[*region].cost;
        let others = (0..regions.len()).filter(|&region| Some(region) != without);
        let best = others.min_by(|a, b| cost(a).total_cmp(&cost(b))).expect("a region");
        loads[best] += globe.demand(city, at_s as f64);
    }
    loads.iter().zip(regions).map(|(load, region)| load / region.capacity).collect()
}

fn is_ample(globe: &Globe, lost: usize, at_s: u64) -> bool {
    let (before, after) = (utilisation(globe, None, at_s), utilisation(globe, Some(lost), at_s));
    before.iter().zip(after).all(|(before, after)| after <= *before || after < 0.8)
}

/// One that has something to lose, where there is.
fn busy_region(globe: &Globe, at_s: u64, among: &[usize], chance: &mut fastrand::Rng) -> usize {
    let utilisation = utilisation(globe, None, at_s);
    let busy: Vec<usize> = among.iter().copied().filter(|&region| utilisation[region] > 0.6).collect();
    let among = if busy.is_empty() { among } else { &busy };
    among[chance.usize(0..among.len())]
}

/// Cities around a large one, with 3 to 9 % of the demand.
fn cluster(globe: &Globe, chance: &mut fastrand::Rng) -> Vec<usize> {
    let total: f64 = globe.city_peaks.iter().sum();
    let centre = globe.world.locations[chance.usize(0..40)].at;
    let part = total * (0.03 + 0.06 * chance.f64());
    let mut near: Vec<usize> = (0..globe.city_peaks.len()).collect();
    let km = |city: usize| globe.world.locations[city].at.distance_km(centre);
    near.sort_by(|&a, &b| km(a).total_cmp(&km(b)));
    let mut before = 0.0;
    let wanted = |&city: &usize| {
        let wanted = before + globe.city_peaks[city] / 2.0 < part;
        before += globe.city_peaks[city];
        wanted
    };
    near.into_iter().take_while(wanted).collect()
}

/// Steering as it serves, told the estimates.
pub fn in_process(globe: &Globe) -> Simulation {
    let mut simulation = Simulation::start(&globe.world).expect("a simulation");
    for (location, region, ms) in estimates(globe) {
        simulation.measure_rtt(location, region, ms);
    }
    simulation
}

/// Location, region, milliseconds.
pub fn estimates(globe: &Globe) -> impl Iterator<Item = (usize, usize, f64)> {
    let regions = globe.world.regions.len();
    globe.estimates_ms.iter().enumerate().map(move |(at, &ms)| (at / regions, at % regions, ms))
}
