//! The times when the planner plans, and what it plans from: the part of the publisher that looks ahead.
//!
//! In: what was answered and what regions report, as it comes. Out: the plan in force, if any. A
//! plan is made every [`PERIOD`](crate::steer::planner::PERIOD), and at once when regions come, go, change what they can take or
//! report far more than was planned. Where none can be made the last one goes on for a while, then
//! prices alone decide.
//!
//! Plans leave room: capacities are counted a little lower than they are, more so where a region
//! has had too much, and where its load runs ahead of what was expected.

pub mod job;
pub mod kept;
pub mod kept_form;
pub mod role;
mod shared;
mod unheeded;

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::{Model, Region, RegionId};
use crate::steer::health::effective::{EffectiveState, RegionState};
use crate::steer::kept::{Names, SiteFinder};
use crate::steer::latency::locations::Locations;
use crate::steer::latency::sites::Sites;
use crate::steer::load::common_mode::CommonMode;
use crate::steer::load::feed;
use crate::steer::load::feed::{Credit, Feed, FeedReport, FirstSight, Implausible};
use crate::steer::plan::Plan;
use crate::steer::planner::demand::{Demand, DemandSample, OnRegion, STEP};
use crate::steer::planner::{PlanError, Planned};

use role::{Role, Shared};
use unheeded::Unheeded;

/// A plan older than this is not followed any more.
const MOST_AGE: Duration = Duration::from_secs(300);
/// A region's report corrects demand once the region has been up for this long.
const SETTLED: Duration = Duration::from_secs(60);
/// A capacity that changes by this part takes a new plan at once.
const CAPACITY_STEP: f64 = 0.03;
/// The most of a region's capacity that is planned with.
pub const HEADROOM: f64 = 0.97;
/// A load this part of the capacity above the planned one, in a region that is nearly full, takes a
/// new plan at once; so does one above all capacity. Not sooner than this after the last plan.
const SURPRISE: f64 = 0.04;
const NEARLY_FULL: f64 = 0.9;
const FULL: f64 = 0.99;
const LEAST_PERIOD: Duration = Duration::from_secs(5);
/// What a load is ahead of the expected, beyond what chance explains, it will be ahead once more
/// by the time that clients have followed a plan: so much less is planned with.
const CHANCE: f64 = 0.02;
const MOST_AHEAD: f64 = 0.3;
/// The part that is planned with, of the capacity of a region that reports and was never believed yet.
const NEVER_HEARD: f64 = 0.65;
/// The same of one whose reports have stopped or are doubted: less by and by, then by the hour, and at least.
const UNHEARD: f64 = 0.85;
/// The same of one whose figures jump time and again.
const RESTLESS: f64 = 0.93;
const UNHEARD_AFTER: Duration = Duration::from_secs(600);
const UNHEARD_PER_HOUR: f64 = 0.1;
const LEAST_UNHEARD: f64 = 0.5;
/// Where no report was ever believed, all demand is taken for this part of all capacity.
const ASSUMED: f64 = 0.6;
/// All regions' room, over all demand: where it is less, more is made of it in proportion.
const LEAST_ROOM: f64 = 1.05;
/// The less room there is said to be, the less of it is believed: so much more where demand is twice the room.
const SHORT_ROOM: f64 = 0.3;
/// Feeds are first made sense of together: so long after the first report, once all have come; and at last.
const FIRST_SIGHT: Duration = Duration::from_secs(30);
const LAST_FIRST_SIGHT: Duration = Duration::from_secs(100);
const DEGREES_PER_HOUR: f64 = 15.0;
/// The utilisation from which a region is trimmed, that is given less than it says it can take.
const TRIM_ABOVE: f64 = 0.95;
/// The speed of that: per second and unit of utilisation above it; and back, per second.
const TRIM_PER_S: f64 = 0.05;
const TRIM_BACK_PER_S: f64 = 0.001;
const USUAL_LIFE_S: f64 = 30.0;
const LEAST_TRIM: f64 = 0.6;

/// Demand, trims and the plan in force.
#[derive(Default)]
pub struct Planning {
    demand: Demand,
    /// The model and sites that services, sites and regions of `demand` and `trims` are numbered by.
    numbered_by: Option<(Arc<Model>, Arc<Sites>)>,
    locations: Option<Arc<Locations>>,
    /// By region: the part of its capacity that is used, [`LEAST_TRIM`] to 1.
    trims: Vec<f64>,
    planned: Option<Arc<Planned>>,
    /// The facts that the plan in force, or the last attempt, was made from.
    eligible: Vec<bool>,
    capacities: Vec<Option<f64>>,
    /// By region.
    feeds: Vec<Feed>,
    common: CommonMode,
    /// The time when the first report came.
    first_report: Option<Instant>,
    /// The time when the past last faded.
    faded: Option<Instant>,
    /// The time when demand was first known: the sun is told from there.
    began: Option<Instant>,
    /// Regions that reported since the last [`Planning::advance`].
    reporting: Vec<RegionId>,
    /// By region: it reported once, and is not heard or not believed since then.
    unheard_since: Vec<Option<Instant>>,
    next_step: Option<Instant>,
    next_plan: Option<Instant>,
    last_plan: Option<Instant>,
    /// After a warm start: until then, regions are still to be heard, and no news makes a plan due.
    heard_from: Option<Instant>,
    /// Since the last plan a region has had far more than planned.
    surprised: bool,
    /// The number of the job that makes a plan and whose result will fit.
    under_way: Option<u64>,
    unheeded: Unheeded,
    basis: Option<Arc<Basis>>,
    shared: Shared,
}

/// The facts that the last plan was made from, for those who ask what would follow from other regions.
#[derive(Clone, Debug)]
pub struct Basis {
    pub demand: Arc<Demand>,
    pub locations: Arc<Locations>,
    /// By region: whether it was sent new clients.
    pub eligible: Vec<bool>,
    /// By region, in the unit of its load reports: what it could take; `None`: no limit known.
    pub capacities: Vec<Option<f64>>,
    /// The same, as planned with.
    pub planned_with: Vec<Option<f64>>,
    pub planned: Option<Arc<Planned>>,
    /// By region: what is made of its load reports.
    pub feeds: Vec<Feed>,
    /// By region: whether clients may be sent far away for what is known of its load.
    pub evidence: Vec<bool>,
    /// The reason why this attempt at a plan came to nothing, if so.
    pub error: Option<PlanError>,
    pub made_at: Instant,
}

impl Planning {
    pub fn new() -> Planning {
        Planning {
            demand: Demand::default(),
            numbered_by: None,
            locations: None,
            trims: Vec::new(),
            planned: None,
            eligible: Vec::new(),
            capacities: Vec::new(),
            feeds: Vec::new(),
            common: CommonMode::default(),
            first_report: None,
            faded: None,
            began: None,
            reporting: Vec::new(),
            unheard_since: Vec::new(),
            next_step: None,
            next_plan: None,
            last_plan: None,
            heard_from: None,
            surprised: false,
            under_way: None,
            unheeded: Unheeded::default(),
            basis: None,
            shared: Shared::default(),
        }
    }

    /// Takes answers that were given, to places of the atlas that `sites` are of.
    pub fn count(&mut self, samples: &[DemandSample], model: &Arc<Model>, sites: &Arc<Sites>, now: Instant) {
        self.renumber(model, sites, now);
        for sample in samples {
            let Some(site) = sites.of_place(sample.place) else { continue };
            let (weight, ttl_s) = (f64::from(sample.weight), f64::from(sample.ttl_s));
            match self.shared.role {
                Role::Follower => self.shared.tell(sample.service, site as u32, sample.region, weight, ttl_s),
                _ if self.shared.partial => {} // what other nodes answer would have to be told apart
                _ => self.demand.count(sample.service, site as u32, sample.region, weight, ttl_s),
            }
        }
        self.next_step.get_or_insert(now + STEP);
    }

    /// Takes note that a region reported.
    pub fn report(&mut self, region: RegionId) {
        if !self.reporting.contains(&region) {
            self.reporting.push(region);
        }
    }

    /// Does what is due but for a plan: whether one is due, for [`Planning::begin`]. News of regions makes one due for
    /// the next call: first answers are published that do without what was lost, then there is time for a plan.
    pub fn advance(&mut self, model: &Arc<Model>, before: Option<&Plan>, states: &[RegionState], now: Instant) -> bool {
        let reporting = std::mem::take(&mut self.reporting);
        let Some(sites) = before.and_then(|plan| plan.sites.as_ref()) else { return false };
        self.renumber(model, sites, now);
        if self.shared.role == Role::Follower {
            if self.planned.is_none() {
                self.adopt_again(model, sites, now);
            }
            return false;
        }
        if self.next_step.is_none() {
            return false; // nobody has asked yet
        }
        self.listen(&reporting, states, now);
        if self.next_step.is_some_and(|at| at <= now) {
            self.fade(sites, now);
            self.make_sense(model, states, now);
            self.next_step = Some(now + STEP);
            self.next_plan.get_or_insert(now);
        }
        let hears = self.heard_from.is_none_or(|at| at <= now);
        let may = hears && self.last_plan.is_some_and(|at| now.saturating_duration_since(at) >= LEAST_PERIOD);
        if may && reporting.iter().any(|&region| self.surprises(region, states)) {
            (self.next_plan, self.surprised) = (Some(now), true);
        }
        let due = self.next_plan.filter(|&at| at <= now);
        if due.is_none() && hears && self.next_plan.is_some() && self.has_news(model, states) {
            self.next_plan = Some(now);
        }
        if let Some(at) = self.next_plan.filter(|&at| at <= now) {
            self.unheeded.note(at);
        }
        due.is_some()
    }

    /// The plan in force; `None`, too, where it is of another model's numbers.
    pub fn planned_for(&self, model: &Arc<Model>) -> Option<&Arc<Planned>> {
        self.planned.as_ref().filter(|_| self.is_numbered_by(model))
    }

    /// The feed made of a region's load reports; `None`: nothing was weighed yet under this model's numbers.
    pub fn feed(&self, model: &Arc<Model>, region: RegionId) -> Option<&Feed> {
        self.feeds.get(region.index()).filter(|_| self.is_numbered_by(model))
    }

    fn is_numbered_by(&self, model: &Arc<Model>) -> bool {
        self.numbered_by.as_ref().is_some_and(|(of, _)| Arc::ptr_eq(of, model))
    }

    /// The facts it was made from; also where the last attempt came to nothing.
    pub fn basis(&self) -> Option<&Arc<Basis>> {
        self.basis.as_ref()
    }

    /// The time when [`Planning::advance`] has something to do.
    pub fn next(&self) -> Option<Instant> {
        self.next_step.filter(|_| self.shared.role != Role::Follower)
    }

    /// The time when a plan is due; it may be past.
    pub fn next_plan(&self) -> Option<Instant> {
        self.next_plan.filter(|_| self.shared.role != Role::Follower)
    }

    /// The time of the oldest news that the plan in force does not heed; `None`: it heeds all, or another node plans.
    pub fn unheeded_since(&self) -> Option<Instant> {
        self.unheeded.since()
    }

    /// Another plan holds than when it was made.
    fn refresh_basis(&mut self) {
        if let Some(basis) = &self.basis {
            self.basis = Some(Arc::new(Basis { planned: self.planned.clone(), ..Basis::clone(basis) }));
        }
    }

    /// The capacity that a region is taken to have, in the unit of its reports.
    fn planned_with(&self, model: &Model, id: RegionId, now: Instant) -> Option<f64> {
        let capacity = self.capacities.get(id.index()).copied().flatten()?;
        let trim = self.trims.get(id.index()).copied().unwrap_or(1.0).min(HEADROOM);
        let ahead = self.feeds.get(id.index()).map_or(0.0, |feed| (feed.surprise() - CHANCE).clamp(0.0, MOST_AHEAD));
        Some(capacity * trim * self.caution(model, id, now) / (1.0 + ahead))
    }

    /// The part of a capacity that is planned with, for want of reports that are believed.
    fn caution(&self, model: &Model, id: RegionId, now: Instant) -> f64 {
        let reports = model.region(id).load_report.is_some();
        if reports && !self.feeds.get(id.index()).is_some_and(Feed::is_calibrated) {
            return NEVER_HEARD;
        }
        let Some(since) = self.unheard_since.get(id.index()).copied().flatten() else {
            return if self.feeds.get(id.index()).is_some_and(Feed::is_restless) { RESTLESS } else { 1.0 };
        };
        let silent = now.saturating_duration_since(since).as_secs_f64();
        let at_first = (silent / UNHEARD_AFTER.as_secs_f64()).min(1.0) * (1.0 - UNHEARD);
        (1.0 - at_first - UNHEARD_PER_HOUR * silent / 3600.0).max(LEAST_UNHEARD)
    }

    /// By region: whether what is known of its load is believed. Where a region reports none, its configured
    /// capacity is the operator's word, beside demand that others' reports tell.
    fn evidence(&self, model: &Model) -> Vec<bool> {
        let any = self.feeds.iter().any(Feed::is_calibrated);
        let of = |(region, feed): (&Region, &Feed)| feed.is_evidence() || region.load_report.is_none() && any;
        model.regions.iter().zip(&self.feeds).map(of).collect()
    }

    /// The quotient of what most feeds say and what there is, 1 or more: a jump that all of them made is none of one
    /// region's.
    fn usual_gain(&self) -> f64 {
        let mut gains: Vec<f64> = self.feeds.iter().filter(|feed| feed.is_calibrated()).map(Feed::gain).collect();
        gains.sort_by(f64::total_cmp);
        gains.get(gains.len() / 3).copied().unwrap_or(1.0).max(1.0)
    }

    /// Widens rooms: where all together are too small, more is made of each: to spread clients over the globe for want
    /// of room that nobody has helps none of them.
    fn widen(&self, rooms: &mut [Option<f64>]) {
        if rooms.iter().zip(&self.eligible).any(|(room, eligible)| *eligible && room.is_none()) {
            return;
        }
        let all: f64 =
            rooms.iter().zip(&self.eligible).filter(|(_, eligible)| **eligible).filter_map(|(room, _)| *room).sum();
        let demand = self.demand.flows().map(|(_, amount)| amount).sum::<f64>();
        let short = (demand / all.max(f64::MIN_POSITIVE) - 1.0).clamp(0.0, 1.0);
        let wanted = (LEAST_ROOM + SHORT_ROOM * short) * demand;
        if all > 0.0 && all < wanted {
            rooms.iter_mut().flatten().for_each(|room| *room *= wanted / all);
        }
    }

    /// Weighs what regions have just reported against what was answered, and credits their clients with it.
    fn listen(&mut self, reporting: &[RegionId], states: &[RegionState], now: Instant) {
        self.feeds.resize_with(states.len(), Feed::default);
        self.tell_common(); // feeds may be new, or of before a restart
        // Most publications bring no report, and flows number up to 200,000.
        let on = match reporting {
            [] => vec![OnRegion::default(); states.len()],
            _ => self.demand.on_regions(states.len()),
        };
        let mut credits: Vec<Option<Credit>> = vec![None; states.len()];
        for (id, (state, feed)) in states.iter().zip(&mut self.feeds).enumerate() {
            let figure = state.load.last.filter(|_| reporting.iter().any(|region| region.index() == id));
            if !is_settled(state, now) {
                feed.interrupt();
            } else if let Some(figure) = figure.filter(|_| !state.load.stale) {
                self.first_report.get_or_insert(now);
                let OnRegion { demand, resolvers, .. } = on[id];
                let report = FeedReport { load: figure.load, capacity: figure.capacity, demand, resolvers, now };
                credits[id] = feed.hear(&report);
                if let (Some(credit), Some(utilisation), Some(trim)) =
                    (credits[id].filter(|credit| !credit.restless), figure.utilisation(), self.trims.get_mut(id))
                {
                    // Clients follow as their answers run out: what was trimmed shows no sooner.
                    let pace = (USUAL_LIFE_S / on[id].life_s.max(USUAL_LIFE_S)).min(1.0);
                    *trim = trimmed(*trim, utilisation / feed.gain(), credit.elapsed_s * pace);
                }
            }
        }
        if credits.iter().any(Option::is_some) {
            self.demand.credit(&credits);
            let after = self.demand.on_regions(states.len());
            let grown = |(before, after): (&OnRegion, &OnRegion)| match before.demand > 0.0 && after.demand > 0.0 {
                true => after.demand / before.demand,
                false => 1.0,
            };
            let growth: Vec<f64> = on.iter().zip(&after).map(grown).collect();
            self.feeds.iter_mut().zip(&growth).for_each(|(feed, growth)| feed.scale_past(*growth));
            self.doubt_what_all_say(&growth, states);
        }
        let calibrated: Vec<&Feed> = self.feeds.iter().filter(|feed| feed.is_calibrated()).collect();
        self.common.note_jumps(
            calibrated.iter().map(|feed| matches!(feed.doubt(), Some(Implausible::Fell | Implausible::Rose))),
        );
        self.note_silence(states, now);
    }

    /// Takes back what most regions have gained or lost alike, as far as it is not believed.
    fn doubt_what_all_say(&mut self, growth: &[f64], states: &[RegionState]) {
        let heard = |(feed, state): (&Feed, &RegionState)| feed.is_calibrated() && !state.load.stale;
        let heard: Vec<bool> = self.feeds.iter().zip(states).map(heard).collect();
        let gains: Vec<f64> = growth.iter().map(|growth| growth.ln()).collect();
        let factor = self.common.take_back(&gains, &heard);
        self.scale(factor);
    }

    /// All demand is so many times what it was, and all feeds say so much less than is believed of them.
    fn scale(&mut self, factor: f64) {
        if factor != 1.0 {
            self.demand.scale(factor);
            self.feeds.iter_mut().for_each(|feed| feed.scale(factor));
        }
        self.tell_common();
    }

    fn tell_common(&mut self) {
        let common = self.common.factor();
        self.feeds.iter_mut().for_each(|feed| feed.set_common(common));
    }

    fn note_silence(&mut self, states: &[RegionState], now: Instant) {
        let believed = |(state, feed): (&RegionState, &Feed)| feed.is_believed() && !state.load.stale;
        let heard: Vec<bool> = states.iter().zip(&self.feeds).map(believed).collect();
        self.unheard_since.resize(states.len(), None);
        for ((since, &heard), feed) in self.unheard_since.iter_mut().zip(&heard).zip(&self.feeds) {
            *since = if heard || !feed.is_calibrated() { None } else { since.or(Some(now)) };
        }
        let settled = states.iter().map(|state| is_settled(state, now));
        self.demand.hear(heard.into_iter().zip(settled).map(|(heard, settled)| heard && settled).collect());
    }

    /// The past fades.
    fn fade(&mut self, sites: &Sites, now: Instant) {
        let began = *self.began.get_or_insert(now);
        let hours = now.saturating_duration_since(began).as_secs_f64() / 3600.0;
        let elapsed = now.saturating_duration_since(self.faded.replace(now).unwrap_or(now));
        self.demand.hold(self.shared.partial);
        self.demand.fade(elapsed, |site| Some(hours + sites.longitude(site as usize)? / DEGREES_PER_HOUR));
        let factor = self.common.fade(elapsed);
        self.scale(factor);
        let on = self.demand.on_regions(self.feeds.len());
        self.feeds.iter_mut().zip(&on).for_each(|(feed, on)| feed.note_expected(on.demand, now));
    }

    /// Makes sense of feeds that were not understood yet: all together at first, then each as it comes.
    fn make_sense(&mut self, model: &Model, states: &[RegionState], now: Instant) {
        let first = !self.feeds.iter().any(Feed::is_calibrated);
        let waited = self.began.is_some_and(|began| now.saturating_duration_since(began) >= LAST_FIRST_SIGHT);
        self.demand.assume(
            (first && waited).then(|| ASSUMED * self.capacities_now(model, states).iter().flatten().sum::<f64>()),
        );
        let since = self.first_report.map(|at| now.saturating_duration_since(at));
        let silent = |id: RegionId| model.region(id).load_report.is_some() && states[id.index()].load.last.is_none();
        let all = !model.region_ids().any(silent);
        let may = since.is_some_and(|since| since >= LAST_FIRST_SIGHT || since >= FIRST_SIGHT && (all || !first));
        if !may {
            return;
        }
        let on = self.demand.on_regions(states.len());
        let known = usual_capacity(&self.feeds, states);
        let mut ids = Vec::new();
        let mut sights = Vec::new();
        for (id, (feed, state)) in self.feeds.iter_mut().zip(states).enumerate() {
            let fresh = state
                .load
                .last
                .filter(|_| !state.load.stale && is_settled(state, now) && !feed.is_calibrated() && feed.is_steady());
            if let Some(figure) = fresh {
                let OnRegion { resolvers, demand, .. } = on[id];
                let demand = if first { resolvers } else { demand };
                ids.push(id);
                sights.push((feed, FirstSight { load: figure.load, capacity: figure.capacity, resolvers, demand }));
            }
        }
        let mut levels = vec![None; states.len()];
        for (id, level) in ids.into_iter().zip(feed::calibrate(&mut sights, known, now)) {
            levels[id] = level;
        }
        if levels.iter().any(Option::is_some) {
            self.demand.set_level(&levels);
        }
    }

    /// Tells whether a region that has just reported has far more than planned, and little room for it.
    fn surprises(&self, region: RegionId, states: &[RegionState]) -> bool {
        let planned = self.planned.as_ref().and_then(|planned| planned.loads.get(region.index()));
        let Some((planned, state)) = planned.zip(states.get(region.index())) else { return false };
        let Some((figure, capacity)) = state.load.last.and_then(|figure| Some((figure, figure.capacity?))) else {
            return false;
        };
        let Some(feed) = self.feeds.get(region.index()).filter(|feed| feed.is_believed() && !feed.is_restless()) else {
            return false;
        };
        let load = figure.load / feed.gain();
        let utilisation = load / capacity;
        let beyond_plan = utilisation > NEARLY_FULL && load > planned + SURPRISE * capacity;
        !state.load.stale && (beyond_plan || utilisation > FULL)
    }

    /// The demand each region can take now: as reported and not doubted, else as configured; less while it starts
    /// slowly.
    fn capacities_now(&self, model: &Model, states: &[RegionState]) -> Vec<Option<f64>> {
        let of = |(id, (region, state)): (usize, (&Region, &RegionState))| {
            let whole = match (state.load.last, self.feeds.get(id).and_then(Feed::capacity)) {
                (Some(_), Some(capacity)) => Some(capacity),
                _ => region.capacity,
            };
            whole.map(|capacity| capacity * state.offered)
        };
        model.regions.iter().zip(states).enumerate().map(of).collect()
    }

    /// Tells whether regions have come, gone or changed what they can take since the last plan.
    fn has_news(&self, model: &Model, states: &[RegionState]) -> bool {
        let changed = |(old, new): (&Option<f64>, &Option<f64>)| match (old, new) {
            (Some(old), Some(new)) => (new - old).abs() > old * CAPACITY_STEP,
            (old, new) => old.is_some() != new.is_some(),
        };
        eligible(states) != self.eligible
            || self.capacities.iter().zip(&self.capacities_now(model, states)).any(changed)
    }

    /// Brings everything under the numbers of this model and these sites. What is gone is forgotten.
    fn renumber(&mut self, model: &Arc<Model>, sites: &Arc<Sites>, now: Instant) {
        if let Some((old_model, old_sites)) = &self.numbered_by {
            if old_model.steers_as(model) && old_sites.numbered_as(sites) {
                self.numbered_by = Some((model.clone(), sites.clone())); // the one before is not needed any more
                return;
            }
            let (ids, finder) = (Names::of(old_model).ids(model), OnceCell::new());
            let find = |site: u32| {
                let finder = finder.get_or_init(|| SiteFinder::of(sites));
                finder.find_exact(&old_sites.key(site as usize, 0.0))
            };
            self.demand = self.demand.renumbered(
                |service, site| Some((ids.service(service.0)?, find(site)?)),
                |region| ids.region(region.0),
            );
            self.trims = ids.by_region(&self.trims, model, 1.0);
            self.feeds = ids.by_region(&self.feeds, model, Feed::default());
            self.unheard_since = ids.by_region(&self.unheard_since, model, None);
            self.common.renumber();
        } else {
            self.trims = vec![1.0; model.regions.len()];
        }
        self.numbered_by = Some((model.clone(), sites.clone()));
        self.planned = None;
        self.shared.renumber();
        self.begin_anew(now);
        self.next_plan = self.next_plan.map(|_| now);
    }
}

/// The part that is used of a capacity after a report of this utilisation, `elapsed_s` after the one before.
fn trimmed(trim: f64, utilisation: f64, elapsed_s: f64) -> f64 {
    let step = match utilisation > TRIM_ABOVE {
        true => -TRIM_PER_S * (utilisation - TRIM_ABOVE),
        false => TRIM_BACK_PER_S,
    };
    (trim + step * elapsed_s).clamp(LEAST_TRIM, 1.0)
}

/// The usual size of the regions that are understood, as demand; `None`: none is.
fn usual_capacity(feeds: &[Feed], states: &[RegionState]) -> Option<f64> {
    let of = |(feed, state): (&Feed, &RegionState)| {
        feed.is_calibrated().then_some(state.load.last?.capacity? / feed.unit()).map(f64::ln)
    };
    let sizes: Vec<f64> = feeds.iter().zip(states).filter_map(of).collect();
    (!sizes.is_empty()).then(|| (sizes.iter().sum::<f64>() / sizes.len() as f64).exp())
}

fn eligible(states: &[RegionState]) -> Vec<bool> {
    states.iter().map(|state| state.effective.is_eligible()).collect()
}

/// Tells whether its load says something of where clients are: not while they come back to it.
fn is_settled(state: &RegionState, now: Instant) -> bool {
    let settled = state.changed_at.is_none_or(|at| now.saturating_duration_since(at) >= SETTLED);
    settled && state.effective != EffectiveState::Down
}
