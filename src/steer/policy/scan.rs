//! The sites all of whose clients get one region, for several services at once.
//!
//! Sites are taken in blocks. How far the regions are from the sites of a block is laid out region by region once, for all
//! services; each of them is then a few passes over short rows of numbers, which a processor does several at a time. What
//! takes more than a look at the totals is left to [`ByScore::only`], and so are sites that the planner has shares for.

use super::TIER_MS;
use super::by_score::ByScore;
use super::terms::Terms;
use crate::model::{Model, RegionId};
use crate::steer::latency::sites::Sites;

/// Sites of a block: few enough that the rows of a service stay in a core's nearest cache.
const BLOCK: usize = 128;

type Row = [f64; BLOCK];

/// For each of the services, of each site what [`ByScore::only`] says of it.
pub fn only_regions(services: &[ByScore<'_>], model: &Model, sites: &Sites) -> Vec<Vec<Option<RegionId>>> {
    let mut distances = Distances::of(services);
    let mut scans: Vec<Scan> = services.iter().map(|service| Scan::of(service, &distances)).collect();
    let mut only: Vec<Vec<Option<RegionId>>> = services.iter().map(|_| Vec::with_capacity(sites.ids().len())).collect();
    for first in sites.ids().step_by(BLOCK) {
        let block = first..(first + BLOCK).min(sites.ids().end);
        distances.read(model, sites, block.clone());
        for ((service, scan), only) in services.iter().zip(&mut scans).zip(&mut only) {
            scan.add_up(service, &distances);
            only.extend(block.clone().zip(0..).map(|(site, at)| match scan.at(at) {
                Some(found) if !service.is_planned(site) => found,
                _ => service.only(site),
            }));
        }
    }
    only
}

/// How far the regions of all services are from the sites of a block, in milliseconds.
struct Distances {
    regions: Vec<RegionId>,
    rows: Vec<Row>,
}

impl Distances {
    fn of(services: &[ByScore<'_>]) -> Distances {
        let mut regions: Vec<RegionId> = services.iter().flat_map(|service| service.regions()).copied().collect();
        regions.sort_unstable();
        regions.dedup();
        Distances { rows: vec![[0.0; BLOCK]; regions.len()], regions }
    }

    fn read(&mut self, model: &Model, sites: &Sites, block: std::ops::Range<usize>) {
        for (&region, row) in self.regions.iter().zip(&mut self.rows) {
            for (ms, site) in row.iter_mut().zip(block.clone()) {
                *ms = sites.rtt_ms(model, site, region);
            }
        }
    }
}

/// The totals of one service's regions over a block, and what they come to.
struct Scan {
    regions: Vec<Scanned>,
    totals: Vec<Row>,
    /// The eligible regions within the best's tier.
    near: Row,
    /// The place of one of them among the regions.
    last: Row,
}

struct Scanned {
    region: RegionId,
    terms: Terms,
    /// The row of its distances.
    row: usize,
    is_eligible: bool,
    /// Alone in its tier it is every client's.
    is_settled: bool,
}

impl Scan {
    fn of(service: &ByScore<'_>, distances: &Distances) -> Scan {
        let scanned = |&region: &RegionId| Scanned {
            region,
            terms: service.terms(region),
            row: distances.regions.binary_search(&region).unwrap_or(0), // all are there
            is_eligible: service.is_eligible(region),
            is_settled: service.is_settled(region),
        };
        Scan {
            regions: service.regions().iter().map(scanned).collect(),
            totals: vec![[0.0; BLOCK]; service.regions().len()],
            near: [0.0; BLOCK],
            last: [0.0; BLOCK],
        }
    }

    fn add_up(&mut self, service: &ByScore<'_>, distances: &Distances) {
        let weights = service.weights();
        let mut best = [f64::INFINITY; BLOCK];
        for (of, totals) in self.regions.iter().zip(&mut self.totals) {
            for ((total, rtt_ms), best) in totals.iter_mut().zip(&distances.rows[of.row]).zip(&mut best) {
                *total = of.terms.total_ms(weights, *rtt_ms);
                *best = if *total < *best { *total } else { *best };
            }
        }
        (self.near, self.last) = ([0.0; BLOCK], [0.0; BLOCK]);
        for ((of, totals), number) in self.regions.iter().zip(&self.totals).zip(0u16..) {
            if !of.is_eligible {
                continue;
            }
            let found = self.near.iter_mut().zip(&mut self.last);
            for ((near, last), (total, best)) in found.zip(totals.iter().zip(&best)) {
                let is_near = total - best <= TIER_MS; // not where both are infinite
                *near += if is_near { 1.0 } else { 0.0 };
                *last = if is_near { f64::from(number) } else { *last };
            }
        }
    }

    /// Of a site of the block; `None`: it cannot be told from the totals alone.
    fn at(&self, at: usize) -> Option<Option<RegionId>> {
        match self.near.get(at).map_or(0, |&near| near as usize) {
            0 => None, // the next tier decides
            1 => {
                let of = self.regions.get(self.last.get(at).map_or(0, |&last| last as usize))?;
                Some(of.is_settled.then_some(of.region))
            }
            _ => Some(None),
        }
    }
}
