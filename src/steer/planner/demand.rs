//! The number of clients in each place: from what was answered, corrected by what regions report.
//!
//! Answers alone mislead: a resolver asks once per TTL whether ten clients stand behind it or ten
//! thousand. Load reports alone say how much, but not from where. Together they say both: answers
//! tell which regions a location's clients are on, reports tell how many came, and where a region
//! has more than was expected, the locations it serves are credited with more.
//!
//! ```text
//!   samples ─▶ resolvers per service and site ──────────┐
//!           └▶ answers that live: where they were sent ─┼─▶ demand = resolvers · weight
//!   believed reports ─▶ weight per resolver ────────────┘
//! ```
//!
//! Demand is counted in the unit that most regions report in. Clients on regions that are not heard of weigh
//! what others do at the same local time of day: see [`Profile`].
//!
//! The resolver's round-trip time plays no part in it, and is never taken for its clients'.

pub mod kept;

use std::collections::HashMap;
use std::time::Duration;

use crate::atlas::PlaceId;
use crate::model::{RegionId, ServiceId};

use super::profile::Profile;
use crate::steer::load::feed::{Credit, reach, restless};

/// Answers given to clients of one place for one service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DemandSample {
    pub service: ServiceId,
    pub place: PlaceId,
    pub region: RegionId,
    /// Answers times the seconds they live: how much of the clients' time they cover. Above 0.
    pub weight: f32,
    /// The lifetime of one of these answers, in seconds. Above 0.
    pub ttl_s: f32,
}

/// From one look at what has faded to the next.
pub const STEP: Duration = Duration::from_secs(5);

/// Resolvers are counted in the mean of so long, in seconds, fading.
const MEAN_OVER_S: f64 = 330.0;
/// Weights stay within this of what is usual, either way: beyond it reports and answers are not of the same
/// clients.
const MOST_WEIGHT: f64 = 1000.0;
/// Services and sites kept at most; the idlest go first. 96 octets each, with their regions.
const MOST_FLOWS: usize = 200_000;
/// The part of all resolvers below which a flow is forgotten.
const NEGLIGIBLE: f64 = 1e-9;
/// So many resolvers are taken for half of all clients, where no report tells.
const FEW: f64 = 100.0;
/// Less than this of an answer is none.
const LEAST_ALIVE: f64 = 1e-3;
/// Answers that live longer than a day are few.
const MOST_LIFE_S: f64 = 86_400.0;

/// The estimate, of the model and the sites its ids are of.
#[derive(Clone, Debug, Default)]
pub struct Demand {
    flows: Vec<Flow>,
    index: HashMap<(ServiceId, u32), usize>,
    /// By region: whether its reports are believed now.
    heard: Vec<bool>,
    profile: Profile,
    /// Demand per resolver where no report has told of any; `None`: nothing is assumed.
    assumed: Option<f64>,
    /// Amounts were given from elsewhere, and are not to be told from the profile.
    given: bool,
    /// Answers are not counted here: as many are taken to live as did.
    held: bool,
    /// Since a restart, in seconds; `None`: it is long ago. Answers that were given before may not be known.
    restarted_s: Option<f64>,
}

/// The clients of one service at one site.
#[derive(Clone, Debug)]
pub struct Flow {
    pub service: ServiceId,
    pub site: u32,
    /// Answers that lived, in the mean of the last minutes, times `counted`.
    lived: f64,
    /// 1 as soon as those minutes are full; 0 at first.
    counted: f64,
    /// Demand per resolver; `None`: nothing was heard of its clients yet.
    weight: Option<f64>,
    /// The profile's figure for its hour when it was last looked at; 0: nothing yet.
    usual: f64,
    answered: Vec<Answered>,
}

/// Answers that live, with one region and lives about as long.
#[derive(Clone, Copy, Debug)]
struct Answered {
    region: RegionId,
    /// Answers, by the part of their lives they are in. A part ends by chance: together they are nearly as sharp
    /// as a TTL.
    parts: [f64; LIFE_PARTS],
    /// The lifetime of each, in seconds.
    life_s: f64,
}

/// Parts of an answer's life.
const LIFE_PARTS: usize = 4;
/// Lives that differ by less than this factor are about as long.
const ALIKE_LIFE: f64 = 2.0;

/// The demand on one region.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OnRegion {
    /// Resolvers that hold an answer with it.
    pub resolvers: f64,
    /// Their demand.
    pub demand: f64,
    /// The lifetime of their answers, in seconds; 0: there are none.
    pub life_s: f64,
}

impl Demand {
    /// An estimate that was made elsewhere: services, sites, demand in the unit of the load reports, and
    /// the regions it is on as parts. Amounts that are no numbers, or not above 0, are left out.
    pub fn of_flows<'a>(flows: impl IntoIterator<Item = (ServiceId, u32, f64, &'a [(RegionId, f64)])>) -> Demand {
        let mut demand = Demand { given: true, ..Demand::default() };
        for (service, site, amount, on) in
            flows.into_iter().filter(|(_, _, amount, _)| amount.is_finite() && *amount > 0.0)
        {
            let flow = demand.flow(service, site);
            let before = flow.weight.unwrap_or(0.0);
            (flow.lived, flow.counted, flow.weight) = (1.0, 1.0, Some(before + amount));
            for &(region, part) in on.iter().filter(|(_, part)| part.is_finite() && *part > 0.0) {
                flow.answer(region, amount * part, 1.0);
            }
        }
        demand
    }

    /// Takes answers to clients of one site. `weight` and `ttl_s` as of a [`DemandSample`].
    pub fn count(&mut self, service: ServiceId, site: u32, region: RegionId, weight: f64, ttl_s: f64) {
        let is_sane = |value: f64| value.is_finite() && value > 0.0;
        if !is_sane(weight) || !is_sane(ttl_s) {
            return;
        }
        self.flow(service, site).answer(region, weight / ttl_s, ttl_s);
    }

    /// Reports were believed: the clients on these regions are credited with them. By region; `None`: nothing new.
    pub fn credit(&mut self, credits: &[Option<Credit>]) {
        for flow in &mut self.flows {
            flow.credit(credits);
        }
    }

    /// Gives clients on these regions the demand that was first made out for all of them together. By region;
    /// `None`: as it was.
    pub fn set_level(&mut self, demand: &[Option<f64>]) {
        let on = self.on_regions(demand.len());
        let level = |region: RegionId| {
            let on = on.get(region.index()).filter(|on| on.resolvers > 0.0)?;
            Some(demand.get(region.index()).copied().flatten()? / on.resolvers)
        };
        for flow in &mut self.flows {
            let levels = flow.on_regions().filter_map(|(region, part)| Some((part, level(region)?)));
            let (parts, sum) =
                levels.fold((0.0, 0.0), |(parts, sum), (part, level)| (parts + part, sum + part * level));
            if parts > 0.0 && sum > 0.0 {
                flow.weight = Some(sum / parts);
            }
        }
    }

    /// All demand is taken for so many times what it was.
    pub fn scale(&mut self, factor: f64) {
        self.flows.iter_mut().filter_map(|flow| flow.weight.as_mut()).for_each(|weight| *weight *= factor);
    }

    /// Assumes that all clients together are so much demand, until the first report that is believed.
    pub fn assume(&mut self, all: Option<f64>) {
        let resolvers: f64 = self.flows.iter().map(Flow::resolvers).sum();
        // A few resolvers stand for nobody.
        self.assumed = all.map(|all| all / (resolvers + FEW));
    }

    /// Says whether answers are known as they are given: where they are not, none run out.
    pub fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// Says whose reports are believed now, by region.
    pub fn hear(&mut self, heard: Vec<bool>) {
        self.heard = heard;
    }

    /// Time has passed: the past fades. `hour_of` gives a site's local solar time, 0 to 24; only
    /// differences of it matter. `None`: not known.
    pub fn fade(&mut self, elapsed: Duration, hour_of: impl Fn(u32) -> Option<f64>) {
        let elapsed_s = elapsed.as_secs_f64();
        let restarted_s = self.restarted_s;
        for flow in self.flows.iter_mut().filter(|_| !self.held) {
            let complete = restarted_s.is_none_or(|seconds| seconds >= flow.life_s());
            flow.fade(elapsed_s, complete);
        }
        self.restarted_s = restarted_s.map(|seconds| seconds + elapsed_s).filter(|seconds| *seconds < MOST_LIFE_S);
        self.learn_profile(elapsed_s, &hour_of);
        let heard = std::mem::take(&mut self.heard);
        for flow in &mut self.flows {
            let Some(usual) = self.profile.at(hour_of(flow.site)) else { continue };
            let follows = flow.heard_part(&heard) < 0.5;
            flow.weight = Some(match flow.weight {
                Some(weight) if follows && flow.usual > 0.0 => weight * usual / flow.usual,
                Some(weight) => weight,
                None => usual,
            });
            flow.usual = usual;
            flow.weight = flow.weight.map(|weight| weight.clamp(usual / MOST_WEIGHT, usual * MOST_WEIGHT));
        }
        self.heard = heard;
        self.forget();
    }

    /// Each service's clients at each site: demand in the unit of the load reports, and the parts
    /// of it that are on each region. In the order they were first seen. Empty before any report.
    pub fn flows(&self) -> impl Iterator<Item = (&Flow, f64)> {
        self.flows.iter().filter_map(|flow| Some((flow, flow.resolvers() * flow.weight.or(self.assumed)?)))
    }

    /// The demand on each region now, by this estimate.
    pub fn on_regions(&self, regions: usize) -> Vec<OnRegion> {
        let mut sums = vec![OnRegion::default(); regions];
        for flow in &self.flows {
            let resolvers = flow.resolvers();
            for (region, part) in flow.on_regions() {
                if let Some(sum) = sums.get_mut(region.index()) {
                    sum.resolvers += part * resolvers;
                    sum.demand += part * resolvers * flow.weight.or(self.assumed).unwrap_or(0.0);
                    sum.life_s += part * resolvers * flow.life_s();
                }
            }
        }
        sums.iter_mut().filter(|sum| sum.resolvers > 0.0).for_each(|sum| sum.life_s /= sum.resolvers);
        sums
    }

    /// The same estimate under other numbers of services, sites and regions; `None`: gone.
    pub fn renumbered(
        &self,
        of: impl Fn(ServiceId, u32) -> Option<(ServiceId, u32)>,
        region_of: impl Fn(RegionId) -> Option<RegionId>,
    ) -> Demand {
        let (given, restarted_s) = (self.given, self.restarted_s);
        let mut demand = Demand { profile: self.profile.clone(), given, restarted_s, ..Demand::default() };
        for flow in &self.flows {
            let Some((service, site)) = of(flow.service, flow.site) else { continue };
            let next = demand.flows.len();
            let at = *demand.index.entry((service, site)).or_insert(next);
            let known = |answered: &Answered| Some(Answered { region: region_of(answered.region)?, ..*answered });
            let answered: Vec<_> = flow.answered.iter().filter_map(known).collect();
            if at == next {
                demand.flows.push(Flow { service, site, answered, ..*flow });
            } else {
                demand.flows[at].lived += flow.lived;
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
                lived: 0.0,
                counted: 0.0,
                weight: None,
                usual: 0.0,
                answered: Vec::new(),
            });
        }
        &mut self.flows[at]
    }

    fn learn_profile(&mut self, elapsed_s: f64, hour_of: &impl Fn(u32) -> Option<f64>) {
        if self.given {
            return;
        }
        let mut now = [(0.0, 0.0); 24];
        for flow in &self.flows {
            let part = flow.heard_part(&self.heard);
            if let (true, Some(hour), Some(weight)) = (part > 0.5, hour_of(flow.site), flow.weight) {
                let resolvers = flow.resolvers();
                let sum = &mut now[Profile::index(hour)];
                *sum = (sum.0 + resolvers * weight, sum.1 + resolvers);
            }
        }
        self.profile.hear(&now, elapsed_s);
    }

    fn forget(&mut self) {
        let all: Vec<f64> = self.flows.iter().map(Flow::resolvers).collect();
        let mut least = all.iter().sum::<f64>() * NEGLIGIBLE;
        if self.flows.len() > MOST_FLOWS {
            let mut all = all;
            let spare = self.flows.len() - MOST_FLOWS;
            least = least.max(*all.select_nth_unstable_by(spare, f64::total_cmp).1);
        }
        if self.flows.iter().all(|flow| flow.resolvers() >= least) {
            return;
        }
        self.flows.retain(|flow| flow.resolvers() >= least);
        self.index = self.flows.iter().enumerate().map(|(at, flow)| ((flow.service, flow.site), at)).collect();
    }
}

impl Flow {
    /// The regions its clients are on, as parts that sum to 1; none where no answer lives. A region may come more
    /// than once.
    pub fn on_regions(&self) -> impl Iterator<Item = (RegionId, f64)> + '_ {
        let sum = self.alive();
        self.answered.iter().map(move |answered| (answered.region, answered.alive() / sum))
    }

    /// The number of resolvers that hold an answer, in the mean of the last minutes.
    fn resolvers(&self) -> f64 {
        if self.counted > 0.0 { self.lived / self.counted } else { self.alive() }
    }

    fn alive(&self) -> f64 {
        self.answered.iter().map(Answered::alive).sum()
    }

    /// The lifetime of its answers, on average.
    fn life_s(&self) -> f64 {
        let (alive, lives) = self.answered.iter().fold((0.0, 0.0), |(alive, lives), answered| {
            (alive + answered.alive(), lives + answered.alive() * answered.life_s)
        });
        if alive > 0.0 { lives / alive } else { 0.0 }
    }

    fn answer(&mut self, region: RegionId, answers: f64, ttl_s: f64) {
        let alike = |answered: &&mut Answered| {
            answered.region == region && answered.life_s < ttl_s * ALIKE_LIFE && ttl_s < answered.life_s * ALIKE_LIFE
        };
        match self.answered.iter_mut().find(alike) {
            Some(answered) => {
                let alive = answered.alive();
                answered.life_s = (answered.life_s * alive + ttl_s * answers) / (alive + answers);
                answered.parts[0] += answers;
            }
            None => {
                let mut parts = [0.0; LIFE_PARTS];
                parts[0] = answers;
                self.answered.push(Answered { region, parts, life_s: ttl_s });
            }
        }
    }

    /// `complete`: all its answers that live are known. Otherwise there are as many as there were.
    fn fade(&mut self, elapsed_s: f64, complete: bool) {
        let new = if complete { 1.0 - (-elapsed_s / MEAN_OVER_S).exp() } else { 0.0 };
        self.lived += (self.alive() - self.lived) * new;
        self.counted += (1.0 - self.counted) * new;
        self.answered.iter_mut().for_each(|answered| answered.fade(elapsed_s));
        self.answered.retain(|answered| answered.alive() > LEAST_ALIVE);
    }

    /// The part of it that is on regions that are heard; 0 where no answer lives.
    fn heard_part(&self, heard: &[bool]) -> f64 {
        let is = |region: RegionId| heard.get(region.index()).copied().unwrap_or(false);
        self.on_regions().filter(|(region, _)| is(*region)).map(|(_, part)| part).sum()
    }

    /// Corrects it by how reports and expectations compare, for the regions it is on.
    fn credit(&mut self, credits: &[Option<Credit>]) {
        let of = |region: RegionId| credits.get(region.index()).copied().flatten();
        let (mut ratio, mut elapsed_s, mut slow) = (0.0, 0.0f64, 0.0);
        for (region, part) in self.on_regions() {
            match of(region) {
                Some(credit) if credit.restless => {
                    ratio += part;
                    slow += part * credit.ratio.ln() * restless::reach(credit.elapsed_s);
                }
                Some(credit) => (ratio, elapsed_s) = (ratio + part * credit.ratio, elapsed_s.max(credit.elapsed_s)),
                None => ratio += part,
            }
        }
        let Some(weight) = &mut self.weight else { return };
        *weight *= slow.exp();
        if ratio > 0.0 && elapsed_s > 0.0 {
            *weight *= ratio.powf(reach(ratio, elapsed_s));
        }
    }
}

impl Answered {
    fn alive(&self) -> f64 {
        self.parts.iter().sum()
    }

    fn fade(&mut self, elapsed_s: f64) {
        let steps = LIFE_PARTS as f64 * elapsed_s / self.life_s.max(1.0);
        // Poisson: so many parts of a life have passed.
        let mut chance = (-steps).exp();
        let mut passed = [0.0; LIFE_PARTS];
        for (number, passed) in passed.iter_mut().enumerate() {
            *passed = chance;
            chance *= steps / (number + 1) as f64;
        }
        let before = self.parts;
        for (at, part) in self.parts.iter_mut().enumerate() {
            *part = (0..=at).map(|from| before[from] * passed[at - from]).sum();
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

    /// As regions report and are believed, every 10 s; then time passes. `None`: not heard.
    fn step(demand: &mut Demand, loads: [Option<f64>; 2]) {
        let on = demand.on_regions(2);
        if loads.iter().zip(&on).all(|(load, on)| load.is_none() || on.demand == 0.0) {
            demand.set_level(&loads);
        } else {
            let credit = |(load, on): (&Option<f64>, &OnRegion)| {
                Some(Credit { ratio: (*load)? / on.demand, elapsed_s: 10.0, restless: false })
            };
            demand.credit(&loads.iter().zip(&on).map(credit).collect::<Vec<_>>());
        }
        demand.hear(loads.iter().map(Option::is_some).collect());
        demand.fade(Duration::from_secs(10), |_| Some(12.0));
    }

    /// A resolver at each site, which asks once per TTL of 30 s.
    fn ask(demand: &mut Demand, round: usize, on: &[(u32, RegionId)]) {
        if round.is_multiple_of(3) {
            on.iter().for_each(|&(site, region)| demand.count(WWW, site, region, 30.0, 30.0));
        }
    }

    #[test]
    fn nothing_is_known_before_a_report() {
        let mut demand = Demand::default();
        demand.count(WWW, 1, EAST, 30.0, 30.0);
        demand.fade(STEP, |_| Some(0.0));
        assert_eq!(demand.flows().count(), 0);
        demand.assume(Some(101.0));
        assert!((0.5..1.5).contains(&demand_of(&demand, 1)), "one resolver of few: {}", demand_of(&demand, 1));
        demand.assume(None);
        step(&mut demand, [Some(100.0), None]);
        assert!((demand_of(&demand, 1) - 100.0).abs() < 5.0, "{}", demand_of(&demand, 1));
    }

    #[test]
    fn reports_tell_large_resolvers_from_small_ones_that_ask_as_often() {
        let mut demand = Demand::default();
        for round in 0..90 {
            ask(&mut demand, round, &[(1, EAST), (2, WEST)]);
            step(&mut demand, [Some(900.0), Some(100.0)]);
        }
        let (large, small) = (demand_of(&demand, 1), demand_of(&demand, 2));
        assert!((large / small - 9.0).abs() < 0.2, "{large} {small}");
    }

    #[test]
    fn a_site_that_moves_takes_its_demand_along() {
        let mut demand = Demand::default();
        for round in 0..300 {
            // Site 2 is in the west for ten minutes, then in the east for ten, and so on.
            let at = if round / 60 % 2 == 0 { WEST } else { EAST };
            ask(&mut demand, round, &[(1, EAST), (2, at), (3, WEST)]);
            let settled = round % 60 > 6;
            let loads = if at == WEST { [600.0, 400.0] } else { [900.0, 100.0] };
            step(&mut demand, if settled { loads.map(Some) } else { [None; 2] });
        }
        let found = [1, 2, 3].map(|site| demand_of(&demand, site));
        for (found, truth) in found.into_iter().zip([600.0, 300.0, 100.0]) {
            assert!((found / truth - 1.0).abs() < 0.15, "{found} of {truth}");
        }
    }

    #[test]
    fn who_is_not_heard_of_weighs_what_others_do_at_the_same_hour() {
        let mut demand = Demand::default();
        let mut load = 100.0;
        for round in 0..600 {
            let silent = round >= 100;
            load *= if silent { 1.001 } else { 1.0 };
            ask(&mut demand, round, &[(1, EAST), (2, WEST)]);
            step(&mut demand, [if silent { None } else { Some(100.0) }, Some(load)]);
        }
        let (unheard, heard) = (demand_of(&demand, 1), demand_of(&demand, 2));
        assert!(heard > 150.0 && (unheard / heard - 1.0).abs() < 0.15, "{unheard} {heard}");
    }

    #[test]
    fn answers_of_long_lives_are_not_forgotten_before_they_have_run_out() {
        let mut demand = Demand::default();
        demand.count(WWW, 1, EAST, 300.0, 300.0);
        (0..6).for_each(|_| step(&mut demand, [Some(100.0), None]));
        demand.count(WWW, 1, WEST, 300.0, 300.0);
        let parts: Vec<_> = demand.flows().next().expect("known").0.on_regions().collect();
        assert!(parts.iter().all(|(_, part)| (part - 0.5).abs() < 0.02), "half has moved, and half not yet: {parts:?}");
        (0..150).for_each(|_| step(&mut demand, [None; 2]));
        assert_eq!(demand.on_regions(2)[EAST.index()].resolvers, 0.0, "all have run out");
    }

    #[test]
    fn what_is_not_a_number_or_too_much_changes_nothing_for_good() {
        let mut demand = Demand::default();
        for weight in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
            demand.count(WWW, 1, EAST, weight, 30.0);
            demand.count(WWW, 1, EAST, 30.0, weight);
        }
        assert!(demand.flows.is_empty());
        for site in 0..(MOST_FLOWS as u32 + 10) {
            demand.count(WWW, site, EAST, 1e6 + f64::from(site), 30.0);
        }
        step(&mut demand, [Some(1.0), None]);
        assert_eq!(demand.flows.len(), MOST_FLOWS);
        assert!(demand.flows.iter().all(|flow| flow.site >= 10), "the idlest have gone");
        for _ in 0..300 {
            demand.count(WWW, 77, EAST, 1e12, 30.0);
            step(&mut demand, [Some(1.0), None]);
        }
        assert!(demand.flows.len() < 10, "{}", demand.flows.len());
    }

    #[test]
    fn a_reload_keeps_what_is_still_there() {
        let mut demand = Demand::default();
        ask(&mut demand, 0, &[(1, EAST), (2, WEST)]);
        step(&mut demand, [Some(100.0), Some(200.0)]);
        let kept = demand.renumbered(
            |service, site| (site == 2).then_some((service, 9)),
            |region| (region == WEST).then_some(RegionId(5)),
        );
        assert!((demand_of(&kept, 9) - demand_of(&demand, 2)).abs() < 1e-9);
        assert_eq!(kept.flows().next().expect("one").0.on_regions().collect::<Vec<_>>(), [(RegionId(5), 1.0)]);
    }
}
