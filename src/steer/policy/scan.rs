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

/// For each of the services, of each of some sites what [`ByScore::only`] says of it.
pub fn only_regions(
    services: &[ByScore<'_>],
    model: &Model,
    sites: &Sites,
    wanted: &[u32],
) -> Vec<Vec<Option<RegionId>>> {
    let mut distances = Distances::of(services);
    let mut scans: Vec<Scan> = services.iter().map(|service| Scan::of(service, &distances)).collect();
    let mut only: Vec<Vec<Option<RegionId>>> = services.iter().map(|_| Vec::with_capacity(wanted.len())).collect();
    for block in wanted.chunks(BLOCK) {
        distances.read(model, sites, block);
        for ((service, scan), only) in services.iter().zip(&mut scans).zip(&mut only) {
            scan.add_up(service, &distances);
            let is_planned = |site| scan.has_plan && service.is_planned(site);
            only.extend(block.iter().zip(0..).map(|(&site, at)| match (site as usize, scan.at(at)) {
                (site, Some(found)) if !is_planned(site) => found,
                (site, _) => service.only(site),
            }));
        }
    }
    only
}

/// Those of the sites where some of the services may decide by one of the lost regions. Where a region is behind an
/// eligible one by more than a tier, the tier of that one decides, or one before it, and none of these has the region.
pub fn reached(
    services: &[ByScore<'_>],
    model: &Model,
    sites: &Sites,
    wanted: &[u32],
    is_lost: impl Fn(RegionId) -> bool,
) -> Vec<u32> {
    let mut distances = Distances::of(services);
    let are_eligible = |&region: &RegionId| {
        services.iter().all(|service| service.regions().contains(&region) && service.is_eligible(region))
    };
    let near: Vec<usize> = (0..distances.regions.len()).filter(|&row| are_eligible(&distances.regions[row])).collect();
    let services: Vec<Losing> = services.iter().map(|of| Losing::of(of, &distances, &near, &is_lost)).collect();
    let mut reached = Vec::new();
    for block in wanted.chunks(BLOCK) {
        distances.read(model, sites, block);
        let nearest = distances.nearest(&near);
        let mut may = [false; BLOCK];
        services.iter().for_each(|service| service.mark(block, &distances, &nearest, &mut may));
        reached.extend(block.iter().zip(may).filter(|(_, may)| *may).map(|(site, _)| *site));
    }
    reached
}

/// A service, as far as regions of its are lost.
struct Losing<'s, 'a> {
    service: &'s ByScore<'a>,
    has_plan: bool,
    /// The lost regions: the rows of their distances.
    lost: Vec<(usize, Terms)>,
    /// Of the regions that may be the nearest.
    near: Vec<Terms>,
}

impl<'s, 'a> Losing<'s, 'a> {
    fn of(
        service: &'s ByScore<'a>,
        distances: &Distances,
        near: &[usize],
        is_lost: &impl Fn(RegionId) -> bool,
    ) -> Losing<'s, 'a> {
        let row = |region: &RegionId| distances.regions.binary_search(region).unwrap_or(0); // all are there
        let lost = service.regions().iter().filter(|region| is_lost(**region));
        Losing {
            service,
            has_plan: service.has_plan(),
            lost: lost.map(|region| (row(region), service.terms(*region))).collect(),
            near: near.iter().map(|&row| service.terms(distances.regions[row])).collect(),
        }
    }

    /// Marks the sites of a block that one of the lost regions may decide at.
    fn mark(&self, block: &[u32], distances: &Distances, nearest: &Nearest, may: &mut [bool; BLOCK]) {
        let weights = self.service.weights();
        for (row, lost) in &self.lost {
            let near = nearest.ms.iter().zip(&nearest.of);
            for ((may, lost_ms), (near_ms, near)) in may.iter_mut().zip(&distances.rows[*row]).zip(near) {
                let near_ms = self.near.get(*near).map_or(f64::INFINITY, |near| near.total_ms(weights, *near_ms));
                let is_behind = lost.total_ms(weights, *lost_ms) - near_ms > TIER_MS;
                *may |= !is_behind;
            }
        }
        if self.has_plan && !self.lost.is_empty() {
            may.iter_mut().zip(block).for_each(|(may, site)| *may |= self.service.is_planned(*site as usize));
        }
    }
}

/// The nearest region to each site of a block.
struct Nearest {
    ms: Row,
    /// Its place among those that were asked about; beyond them where there are none.
    of: [usize; BLOCK],
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

    /// Of the regions of these rows.
    fn nearest(&self, rows: &[usize]) -> Nearest {
        let mut nearest = Nearest { ms: [f64::INFINITY; BLOCK], of: [rows.len(); BLOCK] };
        for (number, row) in rows.iter().enumerate() {
            let found = nearest.ms.iter_mut().zip(&mut nearest.of);
            for ((least, of), ms) in found.zip(&self.rows[*row]) {
                let is_nearer = *ms < *least;
                *least = if is_nearer { *ms } else { *least };
                *of = if is_nearer { number } else { *of };
            }
        }
        nearest
    }

    fn read(&mut self, model: &Model, sites: &Sites, block: &[u32]) {
        for (&region, row) in self.regions.iter().zip(&mut self.rows) {
            for (ms, &site) in row.iter_mut().zip(block) {
                *ms = sites.rtt_ms(model, site as usize, region);
            }
        }
    }
}

/// The totals of one service's regions over a block, and what they come to.
struct Scan {
    regions: Vec<Scanned>,
    /// The planner may have shares for a site.
    has_plan: bool,
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
            has_plan: service.has_plan(),
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
