//! When the planner plans, and what it plans from: the part of the publisher that looks ahead.
//!
//! In: what was answered and what regions report, as it comes. Out: the plan in force, if any. A
//! plan is made every [`PERIOD`], and at once when regions come, go, change what they can take or
//! report far more than was planned. Where none can be made the last one goes on for a while, then
//! prices alone decide.
//!
//! Plans leave room: capacities are counted a little lower than they are, more so where a region
//! has had too much, and where its load runs ahead of what was expected.

pub mod kept;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::{Model, Region, RegionId};
use crate::steer::belief::{Belief, Doubt};
use crate::steer::demand::{Demand, DemandSample, STEP};
use crate::steer::locations::{Locations, MOST_LOCATIONS};
use crate::steer::plan::Plan;
use crate::steer::planner::{PERIOD, PlanError, Planned, Situation, make};
use crate::steer::sites::{SiteKey, Sites};
use crate::steer::standing::{RegionState, Standing};

/// A plan older than this is not followed any more.
const MOST_AGE: Duration = Duration::from_secs(300);
/// A region's report corrects demand once the region has been up for this long.
const SETTLED: Duration = Duration::from_secs(60);
/// A capacity that changes by this part takes a new plan at once.
const CAPACITY_STEP: f64 = 0.03;
/// The most of a region's capacity that is planned with.
pub const HEADROOM: f64 = 0.95;
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
/// What is planned with, of the capacity of a region whose reports have stopped or are not
/// believed: at first, less by the hour, and at least.
const UNHEARD: f64 = 0.85;
const UNHEARD_PER_HOUR: f64 = 0.1;
const LEAST_UNHEARD: f64 = 0.5;
const DEGREES_PER_HOUR: f64 = 15.0;
/// The utilisation from which a region is trimmed, that is given less than it says it can take.
const TRIM_ABOVE: f64 = 0.95;
const TRIM_GAIN: f64 = 0.5;
const TRIM_BACK: f64 = 0.01;
const LEAST_TRIM: f64 = 0.6;

/// Demand, trims and the plan in force.
#[derive(Default)]
pub struct Planning {
    demand: Demand,
    /// What services, sites and regions of `demand` and `trims` are numbered by.
    numbered_by: Option<(Arc<Model>, Arc<Sites>)>,
    locations: Option<Arc<Locations>>,
    /// By region: the part of its capacity that is used, [`LEAST_TRIM`] to 1.
    trims: Vec<f64>,
    planned: Option<Arc<Planned>>,
    /// What the plan in force, or the last attempt, was made from.
    eligible: Vec<bool>,
    capacities: Vec<Option<f64>>,
    /// By region.
    beliefs: Vec<Belief>,
    /// When demand was first known: the sun is told from there.
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
    error: Option<PlanError>,
    basis: Option<Arc<Basis>>,
}

/// What the last plan was made from, for those who ask what would follow from other regions.
#[derive(Debug)]
pub struct Basis {
    pub demand: Demand,
    pub locations: Arc<Locations>,
    /// By region: whether it was sent new clients.
    pub eligible: Vec<bool>,
    /// By region, in the unit of its load reports: what it could take; `None`: no limit known.
    pub capacities: Vec<Option<f64>>,
    /// The same, as planned with.
    pub planned_with: Vec<Option<f64>>,
    pub planned: Option<Arc<Planned>>,
    /// Why this attempt at a plan came to nothing, if so.
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
            beliefs: Vec::new(),
            began: None,
            reporting: Vec::new(),
            unheard_since: Vec::new(),
            next_step: None,
            next_plan: None,
            last_plan: None,
            heard_from: None,
            error: None,
            basis: None,
        }
    }

    /// Takes answers that were given, to places of the atlas that `sites` are of.
    pub fn count(&mut self, samples: &[DemandSample], model: &Arc<Model>, sites: &Arc<Sites>, now: Instant) {
        self.renumber(model, sites, now);
        for sample in samples {
            if let Some(site) = sites.of_place(sample.place) {
                self.demand.count(sample.service, site as u32, sample.region, f64::from(sample.weight));
            }
        }
        self.next_step.get_or_insert(now + STEP);
    }

    /// Takes note that a region reported. A report of its utilisation, where its capacity is known,
    /// trims one that has too much.
    pub fn report(&mut self, region: RegionId, utilisation: Option<f64>) {
        if !self.reporting.contains(&region) {
            self.reporting.push(region);
        }
        let Some(utilisation) = utilisation else { return };
        let Some(trim) = self.trims.get_mut(region.index()) else { return };
        if !utilisation.is_finite() {
            return;
        }
        let step = if utilisation > TRIM_ABOVE { -TRIM_GAIN * (utilisation - TRIM_ABOVE) } else { TRIM_BACK };
        *trim = (*trim + step).clamp(LEAST_TRIM, 1.0);
    }

    /// Does what is due. News of regions makes a plan due, for the next call: first answers are
    /// published that do without what was lost, then there is time for a plan.
    pub fn advance(&mut self, model: &Arc<Model>, before: Option<&Plan>, states: &[RegionState], now: Instant) {
        let reporting = std::mem::take(&mut self.reporting);
        let Some((before, sites)) = before.and_then(|plan| Some((plan, plan.sites.as_ref()?))) else { return };
        self.renumber(model, sites, now);
        if self.next_step.is_none() {
            return; // nobody has asked yet
        }
        self.believe(&reporting, states, now);
        let loads = self.believed_loads(states, now);
        self.demand.correct(&reporting, &loads);
        if self.next_step.is_some_and(|at| at <= now) {
            let began = *self.began.get_or_insert(now);
            let hours = now.saturating_duration_since(began).as_secs_f64() / 3600.0;
            self.demand.fade(|site| Some(hours + sites.longitude(site as usize)? / DEGREES_PER_HOUR));
            self.next_step = Some(now + STEP);
            self.next_plan.get_or_insert(now);
        }
        let hears = self.heard_from.is_none_or(|at| at <= now);
        let may = hears && self.last_plan.is_some_and(|at| now.saturating_duration_since(at) >= LEAST_PERIOD);
        if may && reporting.iter().any(|&region| self.surprises(region, states)) {
            self.next_plan = Some(now);
        }
        if self.next_plan.is_some_and(|at| at <= now) {
            self.plan(model, before, sites, states, now);
        } else if hears && self.next_plan.is_some() && self.has_news(model, states) {
            self.next_plan = Some(now);
        }
    }

    /// The plan in force.
    pub fn planned(&self) -> Option<&Arc<Planned>> {
        self.planned.as_ref()
    }

    /// Why what a region reports is not believed, if so.
    pub fn doubt(&self, region: RegionId) -> Option<Doubt> {
        self.beliefs.get(region.index())?.doubt()
    }

    /// What it was made from; also where the last attempt came to nothing.
    pub fn basis(&self) -> Option<&Arc<Basis>> {
        self.basis.as_ref()
    }

    /// When there is something to do next.
    pub fn next(&self) -> Option<Instant> {
        self.next_step.into_iter().chain(self.next_plan).min()
    }

    fn plan(&mut self, model: &Arc<Model>, before: &Plan, sites: &Arc<Sites>, states: &[RegionState], now: Instant) {
        (self.last_plan, self.next_plan) = (Some(now), Some(now + PERIOD));
        self.eligible = eligible(states);
        self.capacities = capacities(model, states);
        let locations = match &self.locations {
            Some(locations) if locations.is_of(sites) => locations.clone(),
            previous => Arc::new(Locations::of(sites, model, MOST_LOCATIONS, previous.as_deref())),
        };
        self.locations = Some(locations.clone());
        let planned_with: Vec<_> = model.region_ids().map(|id| self.planned_with(id, now)).collect();
        let made = make(&Situation {
            model,
            locations: &locations,
            demand: &self.demand,
            reached: &before.services.iter().map(|service| service.reached.clone()).collect::<Vec<_>>(),
            eligible: &self.eligible,
            capacities: &planned_with,
            previous: self.planned.as_deref(),
            now,
        });
        match made {
            Ok(planned) => (self.planned, self.error) = (Some(Arc::new(planned)), None),
            Err(error) => {
                self.error = Some(error);
                let old = |planned: &Arc<Planned>| now.saturating_duration_since(planned.made_at) > MOST_AGE;
                if self.planned.as_ref().is_some_and(old) {
                    self.planned = None;
                }
            }
        }
        self.basis = Some(Arc::new(Basis {
            demand: self.demand.clone(),
            locations,
            eligible: self.eligible.clone(),
            capacities: self.capacities.clone(),
            planned_with,
            planned: self.planned.clone(),
            error: self.error.clone(),
            made_at: now,
        }));
    }

    /// What a region's capacity is taken for.
    fn planned_with(&self, id: RegionId, now: Instant) -> Option<f64> {
        let capacity = self.capacities.get(id.index()).copied().flatten()?;
        let trim = self.trims.get(id.index()).copied().unwrap_or(1.0).min(HEADROOM);
        let ahead = (self.demand.surprise(id) - CHANCE).clamp(0.0, MOST_AHEAD);
        let unheard = self.unheard_since.get(id.index()).copied().flatten().map_or(1.0, |since| {
            let hours = now.saturating_duration_since(since).as_secs_f64() / 3600.0;
            (UNHEARD - UNHEARD_PER_HOUR * hours).max(LEAST_UNHEARD)
        });
        Some(capacity * trim * unheard / (1.0 + ahead))
    }

    /// Weighs what regions have just reported against what was answered.
    fn believe(&mut self, reporting: &[RegionId], states: &[RegionState], now: Instant) {
        self.beliefs.resize_with(states.len(), Belief::default);
        let expected = self.demand.expected(states.len());
        for (id, state) in states.iter().enumerate() {
            let reports = reporting.iter().any(|region| region.index() == id);
            match state.load.last {
                _ if !is_settled(state, now) => self.beliefs[id].forget(),
                Some(figure) if reports => self.beliefs[id].hear(figure.load, expected[id], figure.capacity),
                _ => {}
            }
        }
    }

    /// What regions report of their load, where it is fresh, believed and says something of where
    /// clients are.
    fn believed_loads(&mut self, states: &[RegionState], now: Instant) -> Vec<Option<f64>> {
        let known = |(state, belief): (&RegionState, &Belief)| {
            let fresh = state.load.last.filter(|_| !state.load.stale && belief.doubt().is_none());
            fresh.filter(|_| is_settled(state, now)).map(|figure| figure.load)
        };
        let silent = |(state, belief): (&RegionState, &Belief)| {
            state.load.last.is_some() && (state.load.stale || belief.doubt().is_some())
        };
        self.unheard_since.resize(states.len(), None);
        for (since, silent) in self.unheard_since.iter_mut().zip(states.iter().zip(&self.beliefs).map(silent)) {
            *since = if silent { since.or(Some(now)) } else { None };
        }
        states.iter().zip(&self.beliefs).map(known).collect()
    }

    /// Whether a region that has just reported has far more than planned, and little room for it.
    fn surprises(&self, region: RegionId, states: &[RegionState]) -> bool {
        let planned = self.planned.as_ref().and_then(|planned| planned.loads.get(region.index()));
        let Some((planned, state)) = planned.zip(states.get(region.index())) else { return false };
        let Some((figure, capacity)) = state.load.last.and_then(|figure| Some((figure, figure.capacity?))) else {
            return false;
        };
        let utilisation = figure.load / capacity;
        let beyond_plan = utilisation > NEARLY_FULL && figure.load > planned + SURPRISE * capacity;
        !state.load.stale && (beyond_plan || utilisation > FULL)
    }

    /// Whether regions have come, gone or changed what they can take since the last plan.
    fn has_news(&self, model: &Model, states: &[RegionState]) -> bool {
        let changed = |(old, new): (&Option<f64>, &Option<f64>)| match (old, new) {
            (Some(old), Some(new)) => (new - old).abs() > old * CAPACITY_STEP,
            (old, new) => old.is_some() != new.is_some(),
        };
        eligible(states) != self.eligible || self.capacities.iter().zip(&capacities(model, states)).any(changed)
    }

    /// Brings everything under the numbers of this model and these sites. What is gone is forgotten.
    fn renumber(&mut self, model: &Arc<Model>, sites: &Arc<Sites>, now: Instant) {
        if let Some((old_model, old_sites)) = &self.numbered_by {
            if Arc::ptr_eq(old_model, model) && old_sites.numbered_as(sites) {
                return;
            }
            let regions = renumbered_regions(old_model, model);
            let region_of = |id: RegionId| regions.get(id.index()).copied().flatten();
            let services: HashMap<_, _> = model.service_ids().map(|id| (&model.service(id).name, id)).collect();
            let by_key: HashMap<SiteKey, u32> = sites.ids().map(|site| (sites.key(site, 0.0), site as u32)).collect();
            self.demand = self.demand.renumbered(
                |service, site| {
                    let name = &old_model.services.get(service.index())?.name;
                    let site = by_key.get(&old_sites.key(site as usize, 0.0))?;
                    Some((*services.get(name)?, *site))
                },
                region_of,
            );
            let mut trims = vec![1.0; model.regions.len()];
            for (old, trim) in old_model.region_ids().zip(&self.trims) {
                if let Some(trimmed) = region_of(old).and_then(|new| trims.get_mut(new.index())) {
                    *trimmed = *trim;
                }
            }
            (self.trims, self.beliefs, self.unheard_since) = (trims, Vec::new(), Vec::new());
        } else {
            self.trims = vec![1.0; model.regions.len()];
        }
        self.numbered_by = Some((model.clone(), sites.clone()));
        self.planned = None;
        self.next_plan = self.next_plan.map(|_| now);
    }
}

fn renumbered_regions(old: &Model, new: &Model) -> Vec<Option<RegionId>> {
    let ids: HashMap<String, RegionId> = new.region_ids().map(|id| (new.qualified_region_name(id), id)).collect();
    old.region_ids().map(|id| ids.get(&old.qualified_region_name(id)).copied()).collect()
}

fn eligible(states: &[RegionState]) -> Vec<bool> {
    states.iter().map(|state| state.standing.is_eligible()).collect()
}

/// What each region can take now: as last reported, else as configured; less while it starts slowly.
fn capacities(model: &Model, states: &[RegionState]) -> Vec<Option<f64>> {
    let of = |(region, state): (&Region, &RegionState)| {
        let whole = match state.load.last {
            Some(figure) => figure.capacity,
            None => region.capacity,
        };
        whole.map(|capacity| capacity * state.offered)
    };
    model.regions.iter().zip(states).map(of).collect()
}

/// Whether its load says something of where clients are: not while they come back to it.
fn is_settled(state: &RegionState, now: Instant) -> bool {
    let settled = state.changed_at.is_none_or(|at| now.saturating_duration_since(at) >= SETTLED);
    settled && state.standing != Standing::Down
}
