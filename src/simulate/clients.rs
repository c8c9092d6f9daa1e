//! Resolvers that keep answers for as long as they may, and the clients behind them, who go where
//! they were last told.
//!
//! ```text
//!   an answer runs out ─▶ the next client asks ─▶ Query ─▶ Answer ─▶ kept for its TTL
//!                                                             └─▶ its clients' demand goes there
//! ```

use super::SimulatedAnswer;
use super::globe::{Cache, Clientele, Globe};

/// Lookups per second of the whole world at its peak.
const PEAK_LOOKUPS: f64 = 20_000.0;
/// Longest time an answer is kept and nobody asks, in seconds.
const LONGEST_WAIT: usize = 8000;
/// Answers' first questions are spread over this long, in seconds.
const FIRST_SPREAD: usize = 30;

/// A question, as steering sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    pub location: usize,
    pub key: u64,
    pub by_subnet: bool,
}

/// All caches of a world.
pub struct Clients<'a> {
    caches: &'a [Cache],
    clients: &'a [Clientele],
    regions: usize,
    lookups_per_demand: f64,
    /// By cache: the region its clients go to; [`NOWHERE`] before its first answer.
    told: Vec<u8>,
    /// City by city, by region: the part of its clients who go there.
    shares: Vec<f64>,
    /// By second, in turn: caches whose next question comes then.
    wheel: Vec<Vec<u32>>,
    /// Those who ask in this second.
    asking: Vec<u32>,
    queries: Vec<Query>,
    chance: fastrand::Rng,
}

/// No region: not asked yet.
pub const NOWHERE: u8 = u8::MAX;

impl<'a> Clients<'a> {
    pub fn new(globe: &'a Globe) -> Clients<'a> {
        let mut chance = fastrand::Rng::with_seed(globe.world.seed ^ 0x63_6c69_656e_7473);
        let mut wheel = vec![Vec::new(); LONGEST_WAIT + FIRST_SPREAD];
        for cache in 0..globe.caches.len() {
            wheel[chance.usize(0..FIRST_SPREAD)].push(cache as u32);
        }
        let regions = globe.world.regions.len();
        let peak = globe.city_peaks.iter().sum::<f64>().max(f64::MIN_POSITIVE);
        Clients {
            caches: &globe.caches,
            clients: &globe.clients,
            regions,
            lookups_per_demand: PEAK_LOOKUPS / peak,
            told: vec![NOWHERE; globe.caches.len()],
            shares: vec![0.0; globe.city_peaks.len() * regions],
            wheel,
            asking: Vec::new(),
            queries: Vec::new(),
            chance,
        }
    }

    /// The queries of this second; each second comes once, in order.
    pub fn ask(&mut self, t: u64) -> &[Query] {
        let slot = t as usize % self.wheel.len();
        self.asking.clear();
        self.asking.append(&mut self.wheel[slot]);
        let query = |&cache: &u32| {
            let Cache { location, key, by_subnet, .. } = self.caches[cache as usize];
            Query { location, key, by_subnet }
        };
        self.queries.clear();
        self.queries.extend(self.asking.iter().map(query));
        &self.queries
    }

    /// The answers to what was asked in this second, in order. `demand`: by city.
    pub fn take(&mut self, t: u64, answers: &[SimulatedAnswer], demand: &[f64]) {
        for (index, answer) in answers.iter().enumerate().take(self.asking.len()) {
            let cache = self.asking[index] as usize;
            self.move_to(cache, answer.region);
            let kept_s = answer.ttl_s.max(self.caches[cache].least_ttl_s).max(1) as usize;
            let lookups = self.demand_of(cache, demand) * self.lookups_per_demand;
            // Then it is asked anew by the next client that comes: those are a Poisson process.
            let idle_s = -self.chance.f64().max(1e-300).ln() / lookups.max(1e-9);
            let wait = (kept_s + (idle_s.min(1e6) as usize)).min(LONGEST_WAIT);
            let slot = (t as usize + wait) % self.wheel.len();
            self.wheel[slot].push(cache as u32);
        }
    }

    fn move_to(&mut self, cache: usize, region: usize) {
        let before = std::mem::replace(&mut self.told[cache], region as u8);
        if usize::from(before) == region {
            return;
        }
        for &Clientele { city, share } in &self.clients[self.caches[cache].clients.clone()] {
            let shares = &mut self.shares[city * self.regions..][..self.regions];
            if before != NOWHERE {
                shares[usize::from(before)] -= share;
            }
            shares[region] += share;
        }
    }

    fn demand_of(&self, cache: usize, demand: &[f64]) -> f64 {
        self.clients[self.caches[cache].clients.clone()].iter().map(|one| one.share * demand[one.city]).sum()
    }

    /// City by city, by region: the part of its clients who go there.
    pub fn shares(&self) -> &[f64] {
        &self.shares
    }

    /// By cache: the region its clients go to, or [`NOWHERE`].
    pub fn told(&self) -> &[u8] {
        &self.told
    }

    /// Demand of clients whose region is another than it was, `before` being an earlier
    /// [`Clients::told`].
    pub fn moved(&self, before: &[u8], demand: &[f64]) -> f64 {
        let moved = |&cache: &usize| self.told[cache] != before[cache] && before[cache] != NOWHERE;
        (0..self.told.len())
            .filter(moved)
            .map(|cache| self.demand_of(cache, demand))
            .fold(0.0, |sum, moved| sum + moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Coordinates;
    use crate::simulate::Site;
    use crate::simulate::globe::{Drawing, USUAL_SKEW};

    fn globe() -> Globe {
        let at = Coordinates::new(0.0, 0.0).expect("coordinates");
        let region = Site { name: "a".into(), at, cost: 0.0, capacity: 1.0 };
        Globe::draw(&Drawing {
            seed: 1,
            regions: vec![region.clone(), region],
            cities: 30,
            resolvers: 300,
            peak_demand: 1000.0,
            trough: 1.0,
            estimate_error: None,
            skew: USUAL_SKEW,
            ttl_s: 30,
        })
    }

    #[test]
    fn clients_go_where_they_were_last_told() {
        let globe = globe();
        let demand = globe.city_peaks.clone();
        let mut clients = Clients::new(&globe);
        let load = |clients: &Clients<'_>, region: usize| -> f64 {
            clients.shares().chunks(2).zip(&demand).map(|(shares, demand)| shares[region] * demand).sum()
        };
        let play = |clients: &mut Clients<'_>, seconds: std::ops::Range<u64>, region: usize| {
            for t in seconds {
                let asked = clients.ask(t).len();
                clients.take(t, &vec![SimulatedAnswer { region, ttl_s: 30 }; asked], &demand);
            }
        };
        play(&mut clients, 0..40, 0);
        assert!((load(&clients, 0) - 1000.0).abs() < 1e-6);
        let before = clients.told().to_vec();
        assert_eq!(clients.moved(&before, &demand), 0.0);
        // Half of the answers have run out by now, and hardly any is kept for longer than 60 s.
        play(&mut clients, 40..55, 1);
        assert!((300.0..700.0).contains(&load(&clients, 1)), "{}", load(&clients, 1));
        assert!((clients.moved(&before, &demand) - load(&clients, 1)).abs() < 1e-6);
        play(&mut clients, 55..130, 1);
        assert!(load(&clients, 1) > 990.0, "{}", load(&clients, 1));
        assert!((load(&clients, 0) + load(&clients, 1) - 1000.0).abs() < 1e-6, "nobody is in two places");
    }

    #[test]
    fn a_busy_resolver_asks_once_per_ttl() {
        let globe = globe();
        let mut clients = Clients::new(&globe);
        let mut asked = 0;
        for t in 0..600 {
            let queries = clients.ask(t).len();
            asked += queries;
            clients.take(t, &vec![SimulatedAnswer { region: 0, ttl_s: 30 }; queries], &globe.city_peaks);
        }
        let once_per_ttl = globe.caches.len() * 20;
        assert!((once_per_ttl * 7 / 10..=once_per_ttl * 21 / 20).contains(&asked), "{asked} of {once_per_ttl}");
    }
}
