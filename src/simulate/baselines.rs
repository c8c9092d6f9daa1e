//! Simpler ways to steer, for comparison: with the same probes and reports, but no plan.

use std::io;
use std::time::Duration;

use crate::steer::latency::rtt::model_rtt;
use crate::steer::latency::score::LAMBDA_MS_PER_DOLLAR;

use super::SimulatedAnswer;
use super::day::{Second, Steering};
use super::globe::Globe;
use super::probes::Watch;
use super::world;

/// The way it picks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The nearest region that is up.
    Nearest,
    /// The lowest sum of round-trip time, last reported load and cost now.
    GreedyScore,
}

/// A baseline under way.
pub struct Baseline {
    way: Way,
    /// By region.
    watches: Vec<Watch>,
    up: Vec<bool>,
    /// As last reported.
    utilisation: Vec<f64>,
    costs: Vec<f64>,
    /// Location by location, by region.
    rtt_ms: Vec<f64>,
    ttl_s: u32,
    chance: fastrand::Rng,
}

/// The milliseconds that a full region adds to its score: 0.3 of the sum, as 60 ms are.
const FULL_MS: f64 = 60.0;

impl Baseline {
    pub fn new(way: Way, globe: &Globe) -> Baseline {
        let regions = &globe.world.regions;
        let modelled = globe
            .world
            .locations
            .iter()
            .flat_map(|place| regions.iter().map(|region| model_rtt(Some(place.at), region.at).ms));
        Baseline {
            way,
            watches: regions.iter().map(|_| Watch::new(&world::check())).collect(),
            up: vec![true; regions.len()],
            utilisation: vec![0.0; regions.len()],
            costs: regions.iter().map(|region| region.cost).collect(),
            rtt_ms: if globe.estimates_ms.is_empty() { modelled.collect() } else { globe.estimates_ms.clone() },
            ttl_s: globe.world.ttl.as_secs(),
            chance: fastrand::Rng::with_seed(globe.world.seed),
        }
    }

    fn score(&self, location: usize, region: usize) -> f64 {
        let rtt_ms = self.rtt_ms[location * self.up.len() + region];
        let rest = match self.way {
            Way::Nearest => 0.0,
            Way::GreedyScore => FULL_MS * self.utilisation[region] + LAMBDA_MS_PER_DOLLAR * self.costs[region],
        };
        let down = if self.up[region] { 0.0 } else { 1e9 };
        rtt_ms + rest + down
    }
}

impl Steering for Baseline {
    fn second(&mut self, second: &Second<'_>, answers: &mut Vec<SimulatedAnswer>) -> io::Result<()> {
        let now = Duration::from_secs(second.t);
        for (region, watch) in self.watches.iter_mut().enumerate() {
            if let Some(verdict) = watch.look(now, second.alive[region], &mut self.chance) {
                self.up[region] = verdict.serves();
            }
        }
        for report in second.reports.iter().filter(|report| report.load.is_finite() && report.capacity > 0.0) {
            self.utilisation[report.region] = report.load / report.capacity;
        }
        for query in second.queries {
            let score = |region: &usize| self.score(query.location, *region);
            let region = (0..self.up.len()).min_by(|a, b| score(a).total_cmp(&score(b))).unwrap_or(0);
            answers.push(SimulatedAnswer { region, ttl_s: self.ttl_s });
        }
        Ok(())
    }
}
