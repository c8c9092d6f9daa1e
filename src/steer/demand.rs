//! How many clients are where: from what was answered, corrected by what regions report.
//!
//! Answers alone mislead: a resolver asks once per TTL whether ten clients stand behind it or ten
//! thousand. Load reports alone say how much, but not from where. Together they say both: answers
//! tell which regions a location's clients are on, reports tell how many came, and where a region
//! has more than was expected, the locations it serves are credited with more.
//!
//! ```text
//!   samples ─▶ q: coverage per service and site ─┐
//!           └▶ y: which regions they were given ─┼─▶ d = s · q · m, in the regions' own unit
//!   load reports ─▶ m: correction ───────────────┘
//! ```
//!
//! Clients on regions that report nothing are followed by the sun: their demand grows and falls as
//! that of others did who are heard, at the same local time of day. What nothing is heard of would
//! otherwise keep its size of the small hours into the evening.
//!
//! The resolver's round-trip time plays no part in it, and is never taken for its clients'.

pub mod kept;

use std::collections::HashMap;
use std::time::Duration;

use crate::atlas::PlaceId;
use crate::model::{RegionId, ServiceId};

/// Answers given to clients of one place for one service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DemandSample {
    pub service: ServiceId,
    pub place: PlaceId,
    pub region: RegionId,
    /// Answers times the seconds they live: how much of the clients' time they cover. Above 0.
    pub weight: f32,
}

/// From one correction to the next.
pub const STEP: Duration = Duration::from_secs(10);

/// What is left of a location's coverage after a step: half of it is forgotten in 4 minutes.
const COVERAGE_KEPT: f64 = 0.97;
/// What is left of the answered shares after a step: most clients ask again within it.
const ANSWERED_KEPT: f64 = 0.8;
/// How far a correction goes towards what a report says: reports and answers are both a little late.
const CORRECTION: f64 = 0.35;
/// How far it goes for a region that has [`SURGE`] more than expected, or more: all the way, since
/// a crowd does not wait to be believed.
const SURGE_CORRECTION: f64 = 1.0;
/// A surge, as the logarithm of reported over expected: 5 %.
const SURGE: f64 = 0.05;
/// A region's report counts for a correction of this at most, either way.
const MOST_RATIO: f64 = 2.0;
/// Corrections stay within this, either way: beyond it the reports and the answers are not of the
/// same clients.
const MOST_CORRECTION: f64 = 1000.0;
/// Added to shares of the peak load, so that idle regions do not divide by nothing.
const FLOOR: f64 = 1e-4;
/// Services and sites kept at most; the idlest go first. 64 octets each, with their regions.
const MOST_FLOWS: usize = 200_000;
/// What has less than this part of all coverage is forgotten.
const NEGLIGIBLE: f64 = 1e-9;

/// The estimate, of the model and the sites its ids are of.
#[derive(Clone, Debug, Default)]
pub struct Demand {
    flows: Vec<Flow>,
    index: HashMap<(ServiceId, u32), usize>,
    /// What makes coverage a load; 0: no report has come.
    scale: f64,
    /// The largest sum of loads seen.
    peak: f64,
    /// By region: how much more its last report said than was expected, as a part of that.
    surprises: Vec<f64>,
    /// By region: whether its reports are heard.
    heard: Vec<bool>,
    ever_heard: Vec<bool>,
    rhythm: Rhythm,
}

/// How demand grows through the day, by local solar time.
#[derive(Clone, Debug, Default)]
struct Rhythm {
    /// By hour: the logarithm of what a [`STEP`] makes of demand.
    growth: [f64; 24],
    /// Steps since demand was last compared.
    steps: u32,
    /// By hour: whether anything was heard of it.
    known: [bool; 24],
}

/// Steps from one comparison to the next: ten minutes.
const COMPARED_AFTER: u32 = 60;
/// Demand that grows or falls faster, per step, does so for other reasons than the time of day:
/// by half in an hour.
const MOST_GROWTH: f64 = 0.405 / 360.0;

/// The clients of one service at one site.
#[derive(Clone, Debug)]
pub struct Flow {
    pub service: ServiceId,
    pub site: u32,
    /// Seconds of answers' lives, decaying.
    coverage: f64,
    correction: f64,
    /// What was answered, decaying: regions and weights.
    answered: Vec<(RegionId, f64)>,
    /// Its demand when it was last compared, if it was heard of then; else 0.
    compared: f64,
    /// Its demand while its regions are not heard; else 0.
    held: f64,
}

impl Demand {
    /// An estimate that was made elsewhere: services, sites, demand in the unit of the load reports, and
    /// the regions it is on as parts. Amounts that are no numbers, or not above 0, are left out.
    pub fn of_flows<'a>(flows: impl IntoIterator<Item = (ServiceId, u32, f64, &'a [(RegionId, f64)])>) -> Demand {
        let mut demand = Demand { scale: 1.0, ..Demand::default() };
        for (service, site, amount, on) in flows {
            for (region, part) in on {
                demand.count(service, site, *region, amount * part);
            }
            if on.is_empty() && amount.is_finite() && amount > 0.0 {
                demand.flow(service, site).coverage += amount;
            }
        }
        demand
    }

    /// Takes answers to clients of one site.
    pub fn count(&mut self, service: ServiceId, site: u32, region: RegionId, weight: f64) {
        if !weight.is_finite() || weight <= 0.0 {
            return;
        }
        let flow = self.flow(service, site);
        flow.coverage += weight;
        match flow.answered.iter_mut().find(|(of, _)| *of == region) {
            Some((_, answered)) => *answered += weight,
            None => flow.answered.push((region, weight)),
        }
    }

    /// A report came from each of `reporting`: the clients on these regions are credited with it.
    ///
    /// `loads` by region: what it last reported, where that is fresh and of a region that has been
    /// up for a while; such a report is 0 or more and finite.
    pub fn correct(&mut self, reporting: &[RegionId], loads: &[Option<f64>]) {
        self.heard = loads.iter().map(Option::is_some).collect();
        self.ever_heard.resize(loads.len(), false);
        self.ever_heard.iter_mut().zip(&self.heard).for_each(|(ever, heard)| *ever |= heard);
        self.hold();
        let reported: f64 = loads.iter().flatten().sum();
        let raw = self.sums(loads.len());
        let expected: f64 = raw.iter().zip(loads).filter(|(_, load)| load.is_some()).map(|(raw, _)| raw).sum();
        if reported <= 0.0 || expected <= 0.0 {
            return;
        }
        self.scale = reported / expected;
        self.peak = self.peak.max(reported);
        self.surprises.resize(loads.len(), 0.0);
        let mut ratios = vec![1.0; loads.len()];
        for &region in reporting {
            let at = region.index();
            if let (Some(&raw), Some(&Some(load))) = (raw.get(at), loads.get(at)) {
                let share = |load: f64| load / self.peak + FLOOR;
                let ratio = (share(load) / share(raw * self.scale)).clamp(1.0 / MOST_RATIO, MOST_RATIO);
                (ratios[at], self.surprises[at]) = (ratio, ratio - 1.0);
            }
        }
        self.flows.iter_mut().for_each(|flow| flow.credit(&ratios));
        self.hold();
    }

    /// How much more a region's last report said than was expected, as a part of that; below 0, less.
    pub fn surprise(&self, region: RegionId) -> f64 {
        self.surprises.get(region.index()).copied().unwrap_or(0.0)
    }

    /// One [`STEP`] of time: the past fades. `hour_of` gives a site's local solar time, 0 to 24; only
    /// differences of it matter. `None`: not known.
    pub fn fade(&mut self, hour_of: impl Fn(u32) -> Option<f64>) {
        self.follow_the_sun(hour_of);
        for flow in &mut self.flows {
            flow.coverage *= COVERAGE_KEPT;
            flow.answered.iter_mut().for_each(|(_, weight)| *weight *= ANSWERED_KEPT);
            flow.answered.retain(|(_, weight)| *weight > 1e-6);
        }
        self.hold();
        self.forget();
    }

    /// Each service's clients at each site: demand in the unit of the load reports, and the parts
    /// of it that are on each region. In the order they were first seen. Empty before any report.
    pub fn flows(&self) -> impl Iterator<Item = (&Flow, f64)> {
        let known = if self.scale > 0.0 { &self.flows[..] } else { &[] };
        known.iter().map(|flow| (flow, self.scale * flow.raw()))
    }

    /// What each region should have now, by this estimate.
    pub fn expected(&self, regions: usize) -> Vec<f64> {
        self.sums(regions).into_iter().map(|sum| sum * self.scale).collect()
    }

    /// The same estimate under other numbers of services, sites and regions; `None`: gone.
    pub fn renumbered(
        &self,
        of: impl Fn(ServiceId, u32) -> Option<(ServiceId, u32)>,
        region_of: impl Fn(RegionId) -> Option<RegionId>,
    ) -> Demand {
        let (scale, peak, rhythm) = (self.scale, self.peak, self.rhythm.clone());
        let mut demand = Demand { scale, peak, rhythm, ..Demand::default() };
        for flow in &self.flows {
            let Some((service, site)) = of(flow.service, flow.site) else { continue };
            let next = demand.flows.len();
            let at = *demand.index.entry((service, site)).or_insert(next);
            let known = |&(region, weight): &(RegionId, f64)| Some((region_of(region)?, weight));
            let answered: Vec<_> = flow.answered.iter().filter_map(known).collect();
            if at == next {
                demand.flows.push(Flow { service, site, answered, ..*flow });
            } else {
                demand.flows[at].coverage += flow.coverage;
            }
        }
        demand
    }

    fn flow(&mut self, service: ServiceId, site: u32) -> &mut Flow {
        let next = self.flows.len();
        let at = *self.index.entry((service, site)).or_insert(next);
        if at == next {
            self.flows.push(Flow {
                service,
                site,
                coverage: 0.0,
                correction: 1.0,
                answered: Vec::new(),
                compared: 0.0,
                held: 0.0,
            });
        }
        &mut self.flows[at]
    }

    /// Keeps what most of is on regions that were heard and are not any more: neither the scale,
    /// which is that of the others, nor how often is asked tells how it fares.
    fn hold(&mut self) {
        for flow in &mut self.flows {
            if flow.unheard(&self.heard, &self.ever_heard) < 0.5 {
                flow.held = 0.0;
                continue;
            }
            if flow.held == 0.0 {
                flow.held = self.scale * flow.raw();
            }
            let raw = self.scale * flow.coverage;
            if raw > 0.0 && flow.held > 0.0 {
                flow.correction = (flow.held / raw).clamp(1.0 / MOST_CORRECTION, MOST_CORRECTION);
            }
        }
    }

    fn follow_the_sun(&mut self, hour_of: impl Fn(u32) -> Option<f64>) {
        let hour_of = |flow: &Flow| hour_of(flow.site).map(|hour| hour.rem_euclid(24.0) as usize % 24);
        self.rhythm.steps += 1;
        if self.rhythm.steps >= COMPARED_AFTER {
            self.rhythm.steps = 0;
            self.compare(&hour_of);
        }
        for flow in self.flows.iter_mut().filter(|flow| flow.held > 0.0) {
            if let Some(hour) = hour_of(flow) {
                flow.held *= self.rhythm.growth[hour].exp();
            }
        }
    }

    /// Learns how the demand that is heard of has grown since the last comparison, by hour.
    fn compare(&mut self, hour_of: &impl Fn(&Flow) -> Option<usize>) {
        let mut sums = [(0.0, 0.0); 24];
        for flow in &mut self.flows {
            let heard = flow.held == 0.0;
            let demand = if heard { self.scale * flow.raw() } else { 0.0 };
            let before = std::mem::replace(&mut flow.compared, demand);
            if before > 0.0
                && demand > 0.0
                && let Some(hour) = hour_of(flow)
            {
                sums[hour] = (sums[hour].0 + before, sums[hour].1 + demand);
            }
        }
        for (hour, (before, after)) in sums.into_iter().enumerate() {
            if before > 0.0 {
                let growth = ((after / before).ln() / f64::from(COMPARED_AFTER)).clamp(-MOST_GROWTH, MOST_GROWTH);
                let (old, known) = (self.rhythm.growth[hour], self.rhythm.known[hour]);
                self.rhythm.growth[hour] = if known { 0.5 * (old + growth) } else { growth };
                self.rhythm.known[hour] = true;
            }
        }
    }

    /// By region: the sum of raw demand on it.
    fn sums(&self, regions: usize) -> Vec<f64> {
        let mut sums = vec![0.0; regions];
        for flow in &self.flows {
            for (region, part) in flow.on_regions() {
                if let Some(sum) = sums.get_mut(region.index()) {
                    *sum += flow.raw() * part;
                }
            }
        }
        sums
    }

    fn forget(&mut self) {
        let total: f64 = self.flows.iter().map(|flow| flow.coverage).sum();
        let mut least = total * NEGLIGIBLE;
        if self.flows.len() > MOST_FLOWS {
            let mut coverage: Vec<f64> = self.flows.iter().map(|flow| flow.coverage).collect();
            let spare = self.flows.len() - MOST_FLOWS;
            least = least.max(*coverage.select_nth_unstable_by(spare, f64::total_cmp).1);
        }
        if self.flows.iter().all(|flow| flow.coverage >= least) {
            return;
        }
        self.flows.retain(|flow| flow.coverage >= least);
        self.index = self.flows.iter().enumerate().map(|(at, flow)| ((flow.service, flow.site), at)).collect();
    }
}

impl Flow {
    /// The regions its clients are on, as parts that sum to 1; none where nothing was answered
    /// lately.
    pub fn on_regions(&self) -> impl Iterator<Item = (RegionId, f64)> + '_ {
        let sum: f64 = self.answered.iter().map(|(_, weight)| weight).sum();
        self.answered.iter().map(move |&(region, weight)| (region, weight / sum))
    }

    /// The part of it that is on regions that were heard once, and are not.
    fn unheard(&self, heard: &[bool], ever: &[bool]) -> f64 {
        let is = |flags: &[bool], region: RegionId| flags.get(region.index()).copied().unwrap_or(false);
        let lost = |region: RegionId| is(ever, region) && !is(heard, region);
        self.on_regions().filter(|(region, _)| lost(*region)).map(|(_, part)| part).sum()
    }

    fn raw(&self) -> f64 {
        self.coverage * self.correction
    }

    /// Corrects it by how reports and expectations compare, by region, for the regions it is on.
    fn credit(&mut self, ratios: &[f64]) {
        let of = |region: RegionId| ratios.get(region.index()).copied().unwrap_or(1.0);
        let ratio: f64 = self.on_regions().map(|(region, part)| part * of(region)).sum();
        if ratio > 0.0 {
            let surge = (ratio.ln() / SURGE).clamp(0.0, 1.0);
            let reach = CORRECTION + (SURGE_CORRECTION - CORRECTION) * surge;
            self.correction = (self.correction * ratio.powf(reach)).clamp(1.0 / MOST_CORRECTION, MOST_CORRECTION);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WWW: ServiceId = ServiceId(0);
    const EAST: RegionId = RegionId(0);
    const WEST: RegionId = RegionId(1);

    fn demand_of(demand: &Demand, site: u32) -> f64 {
        demand.flows().filter(|(flow, _)| flow.site == site).map(|(_, demand)| demand).sum()
    }

    /// A report from each region that has one, then a step of time.
    fn step(demand: &mut Demand, loads: &[Option<f64>]) {
        let regions: Vec<RegionId> = (0..loads.len() as u16).map(RegionId).collect();
        demand.correct(&regions, loads);
        demand.fade(|_| Some(0.0));
    }

    #[test]
    fn what_is_not_heard_of_follows_the_sun() {
        // Site 1 is on a region that falls silent; site 2 lives by the same hours and is heard of.
        let mut demand = Demand::default();
        let mut load = 100.0;
        for round in 0..1000 {
            let silent = round >= 100;
            load *= if silent { 1.0005 } else { 1.0 };
            demand.count(WWW, 1, EAST, 30.0);
            demand.count(WWW, 2, WEST, 30.0);
            step(&mut demand, &[if silent { None } else { Some(100.0) }, Some(load)]);
        }
        let (unheard, heard) = (demand_of(&demand, 1), demand_of(&demand, 2));
        assert!(heard > 140.0 && (unheard / heard - 1.0).abs() < 0.08, "{unheard} {heard}");
    }

    #[test]
    fn a_surge_is_believed_at_once_and_a_lull_by_and_by() {
        let mut demand = Demand::default();
        for _ in 0..100 {
            demand.count(WWW, 1, EAST, 30.0);
            demand.count(WWW, 2, WEST, 30.0);
            step(&mut demand, &[Some(500.0), Some(500.0)]);
        }
        let after = |loads: [f64; 2]| {
            let mut demand = demand.clone();
            demand.correct(&[EAST], &loads.map(Some));
            demand_of(&demand, 1) / demand_of(&demand, 2)
        };
        assert!((demand_of(&demand, 1) / demand_of(&demand, 2) - 1.0).abs() < 1e-6);
        assert!((after([650.0, 500.0]) - 1.13).abs() < 0.01, "{}", after([650.0, 500.0]));
        let lull = after([350.0, 500.0]);
        assert!((0.9..0.95).contains(&lull), "{lull}");
        let mut surged = demand.clone();
        surged.correct(&[EAST], &[Some(650.0), Some(500.0)]);
        assert!((surged.surprise(EAST) - 0.13).abs() < 0.01 && surged.surprise(WEST) == 0.0);
    }

    #[test]
    fn nothing_is_known_before_a_report() {
        let mut demand = Demand::default();
        demand.count(WWW, 1, EAST, 30.0);
        step(&mut demand, &[None, None]);
        assert_eq!(demand.flows().count(), 0);
        step(&mut demand, &[Some(100.0), None]);
        assert!((demand_of(&demand, 1) - 97.0).abs() < 1e-6, "faded by one step: {}", demand_of(&demand, 1));
    }

    #[test]
    fn reports_tell_large_resolvers_from_small_ones_that_ask_as_often() {
        let mut demand = Demand::default();
        for _ in 0..60 {
            demand.count(WWW, 1, EAST, 30.0);
            demand.count(WWW, 2, WEST, 30.0);
            step(&mut demand, &[Some(900.0), Some(100.0)]);
        }
        let (large, small) = (demand_of(&demand, 1), demand_of(&demand, 2));
        assert!((large / small - 9.0).abs() < 0.2, "{large} {small}");
    }

    #[test]
    fn a_location_that_moved_takes_its_load_along() {
        // Three locations that ask alike; where they are told to go changes, and their clients follow.
        let loads = [600.0, 300.0, 100.0];
        let mut east = [1.0f64; 3];
        let mut demand = Demand::default();
        for round in 0..400 {
            let on_east = |site: usize| round / 20 % 4 != site;
            let mut reports = [0.0; 2];
            for (site, load) in loads.into_iter().enumerate() {
                let region = if on_east(site) { EAST } else { WEST };
                east[site] += 0.2 * (f64::from(u8::from(region == EAST)) - east[site]);
                reports[EAST.index()] += load * east[site];
                reports[WEST.index()] += load * (1.0 - east[site]);
                for _ in 0..4 {
                    demand.count(WWW, site as u32, region, 7.5);
                }
            }
            step(&mut demand, &reports.map(Some));
        }
        let total: f64 = (0..3).map(|site| demand_of(&demand, site)).sum();
        for (site, load) in loads.into_iter().enumerate() {
            let found = demand_of(&demand, site as u32) / total;
            assert!((found - load / 1000.0).abs() < 0.1, "site {site}: {found}");
        }
    }

    #[test]
    fn a_region_without_report_corrects_nobody() {
        let mut demand = Demand::default();
        for _ in 0..50 {
            demand.count(WWW, 1, EAST, 30.0);
            demand.count(WWW, 2, WEST, 30.0);
            step(&mut demand, &[Some(100.0), None]);
        }
        let (heard, silent) = (demand_of(&demand, 1), demand_of(&demand, 2));
        assert!((heard - silent).abs() < 1e-6, "silence is not idleness: {heard} {silent}");
    }

    #[test]
    fn what_is_not_a_number_or_too_much_changes_nothing_for_good() {
        let mut demand = Demand::default();
        for weight in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
            demand.count(WWW, 1, EAST, weight);
        }
        assert!(demand.flows.is_empty());
        for site in 0..(MOST_FLOWS as u32 + 10) {
            demand.count(WWW, site, EAST, 1e6 + f64::from(site));
        }
        step(&mut demand, &[Some(1.0)]);
        assert_eq!(demand.flows.len(), MOST_FLOWS);
        assert!(demand.flows.iter().all(|flow| flow.site >= 10), "the idlest have gone");
        for _ in 0..300 {
            demand.count(WWW, 7, EAST, 1e12);
            step(&mut demand, &[Some(1.0)]);
        }
        assert!(demand.flows.len() < 10, "{}", demand.flows.len());
    }

    #[test]
    fn a_reload_keeps_what_is_still_there() {
        let mut demand = Demand::default();
        demand.count(WWW, 1, EAST, 30.0);
        demand.count(WWW, 2, WEST, 60.0);
        step(&mut demand, &[Some(100.0), Some(200.0)]);
        let kept = demand.renumbered(
            |service, site| (site == 2).then_some((service, 9)),
            |region| (region == WEST).then_some(RegionId(5)),
        );
        assert!((demand_of(&kept, 9) - demand_of(&demand, 2)).abs() < 1e-9);
        assert_eq!(kept.flows().next().expect("one").0.on_regions().collect::<Vec<_>>(), [(RegionId(5), 1.0)]);
    }
}
