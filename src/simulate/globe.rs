//! The clients who ask, and the true cost to serve them: cities, their resolvers, the regions, and the
//! round-trip times between them, drawn from a seed.
//!
//! What steering is told of it (locations, estimates, configured capacity) is a [`World`]; the rest
//! only the simulated clients and whoever scores them know.

use std::f64::consts::TAU;

use crate::model::{Coordinates, Ttl};
use crate::steer::latency::rtt::model_rtt;

use super::cities::CITIES;
use super::{ClientLocation, Site, World};

/// The parameters that a world is drawn by.
#[derive(Clone, Debug)]
pub struct Drawing {
    pub seed: u64,
    pub regions: Vec<Site>,
    /// The largest so many cities have clients; at most there are [`CITIES`].
    pub cities: usize,
    pub resolvers: usize,
    /// Demand of the whole world at its daily peak, in the unit of the regions' capacity.
    pub peak_demand: f64,
    /// Demand of a place at its trough, as a part of its peak; 0 to 1.
    pub trough: f64,
    /// The error of RTT estimates, as a part: 0.1 is ±10 %. `None`: there are no estimates.
    pub estimate_error: Option<f64>,
    /// The unlikeness of resolvers' clienteles: the standard deviation of the logarithm of their size.
    pub skew: f64,
    pub ttl_s: u32,
}

/// Resolvers' clienteles as unlike as they are, about: a tenth of all resolvers has some two thirds of all clients.
pub const USUAL_SKEW: f64 = 1.6;

/// A world and all its secrets.
pub struct Globe {
    pub world: World,
    /// By city: demand at its daily peak.
    pub city_peaks: Vec<f64>,
    pub trough: f64,
    /// City by city, by region: what clients see, in milliseconds.
    pub rtt_ms: Vec<f64>,
    /// As `rtt_ms`: what steering is told; empty: nothing.
    pub estimates_ms: Vec<f64>,
    pub caches: Vec<Cache>,
    /// Of all caches.
    pub clients: Vec<Clientele>,
}

/// One cached answer: a resolver's, or with ECS its answer for one network.
#[derive(Clone, Debug)]
pub struct Cache {
    /// The location where it appears to be.
    pub location: usize,
    pub key: u64,
    pub by_subnet: bool,
    /// Answers are kept at least this long, whatever their TTL.
    pub least_ttl_s: u32,
    /// The clients who get the answer: into [`Globe::clients`].
    pub clients: std::ops::Range<usize>,
}

/// Clients of one city behind one cache.
#[derive(Clone, Copy, Debug)]
pub struct Clientele {
    pub city: usize,
    /// Part of the city's demand.
    pub share: f64,
}

/// The part of a city's demand that comes by public resolvers.
const PUBLIC_PART: f64 = 0.15;
/// Sites of public resolvers.
const PUBLIC_SITES: usize = 40;
/// The time when demand peaks, in hours of local solar time.
const PEAK_HOUR: f64 = 20.0;

impl Globe {
    pub fn draw(drawing: &Drawing) -> Globe {
        let mut chance = fastrand::Rng::with_seed(drawing.seed ^ 0x67_6c6f_6265);
        let locations: Vec<ClientLocation> = CITIES.iter().take(drawing.cities).filter_map(place).collect();
        let rtt_ms = true_rtts(&locations, &drawing.regions, &mut chance);
        let estimates_ms = match drawing.estimate_error {
            Some(error) => rtt_ms.iter().map(|ms| ms * (1.0 + error * (2.0 * chance.f64() - 1.0))).collect(),
            None => Vec::new(),
        };
        let (caches, clients) = Resolvers::draw(&locations, drawing, &mut chance);
        let ttl = Ttl::saturating(drawing.ttl_s);
        let (regions, seed) = (drawing.regions.clone(), drawing.seed);
        let world = World { regions, locations, ttl, seed, ..World::default() };
        let city_peaks = CITIES.iter().take(drawing.cities).map(|city| city.millions).collect();
        let mut globe = Globe { world, city_peaks, trough: drawing.trough, rtt_ms, estimates_ms, caches, clients };
        let scale = drawing.peak_demand / globe.world_peak().max(f64::MIN_POSITIVE);
        globe.city_peaks.iter_mut().for_each(|peak| *peak *= scale);
        globe
    }

    /// A city's demand at this time of the day (UTC), in seconds.
    pub fn demand(&self, city: usize, second: f64) -> f64 {
        let longitude = self.world.locations.get(city).map_or(0.0, |place| place.at.longitude());
        let local_hour = second / 3600.0 + longitude / 15.0;
        let wave = 0.5 + 0.5 * ((local_hour - PEAK_HOUR) / 24.0 * TAU).cos();
        self.city_peaks.get(city).copied().unwrap_or(0.0) * (self.trough + (1.0 - self.trough) * wave)
    }

    /// The highest demand of the day over these cities.
    pub fn peak_of(&self, cities: &[usize]) -> f64 {
        let at = |minute: u32| cities.iter().map(|&city| self.demand(city, f64::from(minute) * 60.0)).sum::<f64>();
        (0..1440).step_by(10).map(at).fold(0.0, f64::max)
    }

    fn world_peak(&self) -> f64 {
        self.peak_of(&(0..self.city_peaks.len()).collect::<Vec<_>>())
    }

    /// The cities whose nearest region this is, by round-trip time.
    pub fn local_cities(&self, region: usize) -> Vec<usize> {
        (0..self.city_peaks.len()).filter(|&city| self.nearest(city) == region).collect()
    }

    fn nearest(&self, city: usize) -> usize {
        let rtts = self.rtts_of(city).iter().enumerate();
        rtts.min_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(region, _)| region)
    }

    /// True round-trip times from a city, by region.
    pub fn rtts_of(&self, city: usize) -> &[f64] {
        let regions = self.world.regions.len();
        self.rtt_ms.get(city * regions..(city + 1) * regions).unwrap_or_default()
    }
}

fn place(city: &super::cities::City) -> Option<ClientLocation> {
    let at = Coordinates::new(city.latitude, city.longitude)?;
    Some(ClientLocation { country: city.country.parse().ok(), at, name: city.name.to_owned() })
}

/// The distance model, off by -15 to +30 % per pair, and each city's access network.
fn true_rtts(locations: &[ClientLocation], regions: &[Site], chance: &mut fastrand::Rng) -> Vec<f64> {
    let mut rtts = Vec::with_capacity(locations.len() * regions.len());
    for place in locations {
        let access_ms = 2.0 + 10.0 * chance.f64();
        for region in regions {
            let modelled = model_rtt(Some(place.at), region.at).ms;
            rtts.push(modelled * (0.85 + 0.45 * chance.f64()) + access_ms);
        }
    }
    rtts
}

/// Resolvers as they are drawn.
struct Resolvers<'a> {
    locations: &'a [ClientLocation],
    skew: f64,
    caches: Vec<Cache>,
    clients: Vec<Clientele>,
}

impl Resolvers<'_> {
    /// Each city has resolvers by its size, of very different clienteles; some clients use public
    /// ones, whose sites serve the cities around, every other by ECS.
    fn draw(
        locations: &[ClientLocation],
        drawing: &Drawing,
        chance: &mut fastrand::Rng,
    ) -> (Vec<Cache>, Vec<Clientele>) {
        let Drawing { resolvers, skew, .. } = *drawing;
        let mut drawn = Resolvers { locations, skew, caches: Vec::new(), clients: Vec::new() };
        let people: f64 = CITIES.iter().take(locations.len()).map(|city| city.millions).sum();
        for (city, of_city) in CITIES.iter().take(locations.len()).enumerate() {
            let number = (resolvers.saturating_sub(PUBLIC_SITES) as f64 * of_city.millions / people).round().max(1.0);
            drawn.city(city, number as usize, chance);
        }
        drawn.public(chance);
        (drawn.caches, drawn.clients)
    }

    fn city(&mut self, city: usize, number: usize, chance: &mut fastrand::Rng) {
        let sizes: Vec<f64> = (0..number).map(|_| heavy_tailed(self.skew, chance)).collect();
        let total: f64 = sizes.iter().sum();
        for size in sizes {
            // Most resolvers are where their clients are.
            let location = if chance.f64() < 0.92 { city } else { self.neighbour(city, chance) };
            let share = (1.0 - PUBLIC_PART) * size / total;
            self.add(location, false, &[Clientele { city, share }], chance);
        }
    }

    fn public(&mut self, chance: &mut fastrand::Rng) {
        let sites: Vec<usize> = (0..PUBLIC_SITES).map(|_| chance.usize(0..self.locations.len().max(1))).collect();
        let mut served = vec![Vec::new(); PUBLIC_SITES];
        for city in 0..self.locations.len() {
            // Routing takes clients to the nearest site, or to the next.
            let mut by_distance: Vec<usize> = (0..PUBLIC_SITES).collect();
            by_distance.sort_by(|&a, &b| self.km(city, sites[a]).total_cmp(&self.km(city, sites[b])));
            for (rank, part) in [(0, 0.8), (1, 0.2)] {
                served[by_distance[rank]].push(Clientele { city, share: PUBLIC_PART * part });
            }
        }
        for (site, clients) in served.iter().enumerate() {
            if site % 2 == 0 {
                clients.iter().for_each(|&one| self.add(one.city, true, &[one], chance));
            } else if !clients.is_empty() {
                self.add(sites[site], false, clients, chance);
            }
        }
    }

    fn add(&mut self, location: usize, by_subnet: bool, clients: &[Clientele], chance: &mut fastrand::Rng) {
        let first = self.clients.len();
        self.clients.extend_from_slice(clients);
        let least_ttl_s = match chance.u32(0..100) {
            0..3 => 30,
            3..5 => 60,
            _ => 0,
        };
        let clients = first..self.clients.len();
        self.caches.push(Cache { location, key: chance.u64(..), by_subnet, least_ttl_s, clients });
    }

    /// One of the five nearest other cities.
    fn neighbour(&self, city: usize, chance: &mut fastrand::Rng) -> usize {
        let mut others: Vec<usize> = (0..self.locations.len()).filter(|&other| other != city).collect();
        others.sort_by(|&a, &b| self.km(city, a).total_cmp(&self.km(city, b)));
        others.truncate(5);
        chance.choice(others).unwrap_or(city)
    }

    fn km(&self, one: usize, other: usize) -> f64 {
        match (self.locations.get(one), self.locations.get(other)) {
            (Some(one), Some(other)) => one.at.distance_km(other.at),
            _ => 0.0,
        }
    }
}

/// Log-normal.
fn heavy_tailed(skew: f64, chance: &mut fastrand::Rng) -> f64 {
    let (u, v) = (chance.f64().max(1e-12), chance.f64());
    let normal = (-2.0 * u.ln()).sqrt() * (TAU * v).cos();
    (skew * normal).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globe(seed: u64) -> Globe {
        let site = |name: &str, latitude, longitude| Site {
            name: name.into(),
            at: Coordinates::new(latitude, longitude).expect("coordinates"),
            cost: 0.5,
            capacity: 500.0,
        };
        Globe::draw(&Drawing {
            seed,
            regions: vec![site("tokyo", 35.7, 139.7), site("frankfurt", 50.1, 8.7)],
            cities: 240,
            resolvers: 4700,
            peak_demand: 1000.0,
            trough: 0.4,
            estimate_error: Some(0.1),
            skew: USUAL_SKEW,
            ttl_s: 30,
        })
    }

    #[test]
    fn every_citys_demand_is_behind_some_cache_once() {
        let globe = globe(1);
        let mut shares = vec![0.0; globe.city_peaks.len()];
        globe.clients.iter().for_each(|clients| shares[clients.city] += clients.share);
        assert!(shares.iter().all(|share| (share - 1.0).abs() < 1e-9), "{shares:?}");
        let covered: usize = globe.caches.iter().map(|cache| cache.clients.len()).sum();
        assert_eq!(covered, globe.clients.len());
        assert!((4600..5100).contains(&globe.caches.len()), "{}", globe.caches.len());
    }

    #[test]
    fn demand_peaks_in_the_evening_and_the_world_at_what_was_asked() {
        let globe = globe(2);
        let tokyo = globe.world.locations.iter().position(|place| place.name == "Tokyo").expect("Tokyo");
        let hours: Vec<f64> = (0..24).map(|hour| globe.demand(tokyo, f64::from(hour) * 3600.0)).collect();
        let best = (0..24).max_by(|&a, &b| hours[a].total_cmp(&hours[b])).expect("hours");
        assert!((10..=11).contains(&best), "20:00 there is some 10:40 UTC: {best}");
        let lowest = hours.iter().copied().fold(f64::INFINITY, f64::min);
        assert!((lowest / hours[best] - 0.4).abs() < 0.01);
        assert!((globe.world_peak() - 1000.0).abs() < 1e-6);
    }

    #[test]
    fn the_same_seed_draws_the_same_world() {
        let (one, same, other) = (globe(3), globe(3), globe(4));
        assert_eq!(one.rtt_ms, same.rtt_ms);
        assert_ne!(one.rtt_ms, other.rtt_ms);
        let keys = |globe: &Globe| globe.caches.iter().map(|cache| cache.key).collect::<Vec<_>>();
        assert_eq!(keys(&one), keys(&same));
    }

    #[test]
    fn estimates_are_as_far_off_as_asked() {
        let globe = globe(5);
        let off = globe.rtt_ms.iter().zip(&globe.estimates_ms).map(|(ms, estimate)| (estimate / ms - 1.0).abs());
        let worst = off.fold(0.0, f64::max);
        assert!((0.09..=0.1).contains(&worst), "{worst}");
    }
}
