//! The outcome if regions, demand or the whole configuration were other than they are.
//!
//! ```text
//!   snapshot ─▶ World ─────────────▶ placed: who is where now ──┐
//!                 │                                             ├─▶ compare ─▶ Outcome
//!                 └─ change, or ─▶ planned: who would be where ─┘
//!                    another's demand
//! ```
//!
//! Plans and decisions are made by the functions that make them for queries, from the demand that the
//! planner knows. Where it knows none, places are counted in its stead, each as one per service.
//! Nothing is changed by asking. Takes as long as a plan does, so never on a thread that answers.

pub mod flows;
pub mod outcome;
pub mod placed;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{GroupId, Model, RegionId, ServiceId, Switched, Weight};
use crate::state::Snapshot;
use crate::state::memory::planning::{Basis, HEADROOM};
use crate::state::memory::switches::canary_share;
use crate::steer::decide::View;
use crate::steer::health::dependency;
use crate::steer::health::effective::{EffectiveState, Override, RegionState};
use crate::steer::health::verdict::Verdict;
use crate::steer::latency::locations::{Locations, MOST_LOCATIONS};
use crate::steer::latency::sites::Sites;
use crate::steer::plan::{Inputs, Plan, plan};
use crate::steer::planner::demand::Demand;
use crate::steer::planner::{PlanError, Planned, Situation, make};

use super::find_region::find_region;

use outcome::{Outcome, compare};
use placed::{Asking, Counted, Placed, PlacedRegion, Spots};

/// Demand is taken times this at most.
pub const MOST_FACTOR: f64 = 1000.0;

/// The change that is asked about. Regions by bare or qualified name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "WhatIfChange")]
pub struct Change {
    /// These are down.
    pub kill: Vec<String>,
    /// These are drained.
    pub drain: Vec<String>,
    /// These are up, whatever is known of them.
    pub up: Vec<String>,
    /// The load that these can take, in the unit of their load reports; above 0.
    pub capacity: BTreeMap<String, f64>,
    /// Demand everywhere is this many times as much; above 0, 1000 at most.
    pub demand: Option<f64>,
    /// These services' clients are sent to these of their stages.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub switch: BTreeMap<String, String>,
    /// These services' canaries get this part of clients, 0 to 1.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub canary: BTreeMap<String, f64>,
}

/// A moment that may be changed without anybody noticing.
pub struct World {
    snapshot: Arc<Snapshot>,
    spots: Spots,
    states: Vec<RegionState>,
    /// By region: what it can take.
    capacities: Vec<Option<f64>>,
    /// By region: the part of it that is planned with.
    used: Vec<f64>,
    /// By region: see [`PlacedRegion::evidence`].
    evidence: Vec<bool>,
    /// The words of operators on services.
    switched: BTreeMap<ServiceId, Switched>,
    asking: Vec<Asking>,
    counted: Counted,
    /// Queries were answered.
    asked: bool,
    /// Services whose places were not counted, for their number.
    left_out: usize,
    notes: Vec<String>,
}

/// The outcome of `change`, for those whom this snapshot answers.
///
/// # Errors
/// Everything that is wrong with the change, for people.
pub fn what_if(snapshot: &Arc<Snapshot>, change: &Change, now: Instant) -> Result<Outcome, Vec<String>> {
    if *change == Change::default() {
        return Err(vec!["nothing is asked: say what to change, such as `kill` and a region".to_owned()]);
    }
    let mut world = World::of(snapshot.clone());
    let before = world.placed();
    world.change(change)?;
    Ok(compare(&before, &world.planned(now)))
}

/// The outcome for those whom `live` tells of, were they answered from this snapshot instead.
///
/// # Errors
/// As [`what_if`]; the regions of `change` are those of the snapshot.
pub fn what_if_moved(live: &Placed, to: Arc<Snapshot>, change: &Change, now: Instant) -> Result<Outcome, Vec<String>> {
    let mut world = World::of(to).with(live);
    world.change(change)?;
    Ok(compare(live, &world.planned(now)))
}

impl World {
    pub fn of(snapshot: Arc<Snapshot>) -> World {
        let spots = Spots::of(&snapshot);
        let states = snapshot.states.clone();
        let capacities = snapshot.model.region_ids().map(|id| capacity(&snapshot.model, &states, id)).collect();
        let basis = basis(&snapshot);
        let used = snapshot.model.region_ids().map(|id| part_used(basis, id)).collect();
        let is_evidence =
            |id: RegionId| basis.and_then(|basis| basis.evidence.get(id.index()).copied()).unwrap_or(false);
        let evidence = snapshot.model.region_ids().map(is_evidence).collect();
        let (asking, left_out) = match basis.map(|basis| asking(&basis.demand)) {
            Some(known) if !known.is_empty() => (known, 0),
            _ => placed::every_place(&snapshot, &spots),
        };
        let counted = match basis.is_some_and(|basis| basis.demand.flows().next().is_some()) {
            true => Counted::Demand,
            false => Counted::Places,
        };
        let switched = snapshot.model.service_ids().zip(&snapshot.plan.services);
        let is_said = |switched: Switched| switched != Switched::default();
        let switched = switched.map(|(id, plan)| (id, plan.switched)).filter(|(_, of)| is_said(*of)).collect();
        // The planner begins with the first answers it hears of.
        let asked = basis.is_some();
        World {
            spots,
            states,
            capacities,
            used,
            evidence,
            switched,
            asking,
            counted,
            asked,
            left_out,
            notes: Vec::new(),
            snapshot,
        }
    }

    /// The same configuration, with the demand and the regions' conditions that another server told
    /// of. What only this one has is as it was; services only the other has lead nowhere.
    pub fn with(mut self, live: &Placed) -> World {
        let model = self.snapshot.model.clone();
        let region_ids: BTreeMap<String, RegionId> =
            model.region_ids().map(|id| (model.qualified_region_name(id), id)).collect();
        let service_ids: BTreeMap<String, ServiceId> =
            model.service_ids().map(|id| (model.service_key(id), id)).collect();
        for (name, &id) in &region_ids {
            match live.regions.iter().find(|region| region.name == *name) {
                Some(known) => self.adopt(id, known),
                None => {
                    self.notes.push(format!("{name} is new: taken as {}", self.states[id.index()].effective.as_str()))
                }
            }
        }
        let regions: Vec<Option<RegionId>> =
            live.regions.iter().map(|region| region_ids.get(&region.name).copied()).collect();
        let services: Vec<Option<ServiceId>> =
            live.services.iter().map(|service| service_ids.get(&service.name).copied()).collect();
        let finder = self.spots.finder();
        let asking = live.clients.iter().map(|clients| Asking {
            service: services.get(clients.service).copied().flatten(),
            spot: finder.find(clients.at()),
            amount: clients.amount,
            on: clients.on.iter().filter_map(|on| Some(((*regions.get(on.region)?)?, on.part))).collect(),
        });
        self.asking = asking.collect();
        (self.counted, self.asked, self.left_out) = (live.counted, live.asked, live.left_out);
        self
    }

    /// Takes on what is known of a region elsewhere.
    fn adopt(&mut self, id: RegionId, known: &PlacedRegion) {
        let configured = self.snapshot.model.region(id).capacity;
        let at = id.index();
        // What it reports holds; what its file said may have changed.
        self.capacities[at] = if known.capacity == known.configured { configured } else { known.capacity };
        (self.used[at], self.evidence[at]) = (known.used, known.evidence);
        let state = &mut self.states[at];
        (state.effective, state.operator_override) = (known.effective, known.operator_override);
        state.verdict = match known.effective {
            EffectiveState::Down => Verdict::Down,
            EffectiveState::Unknown => Verdict::Unknown,
            _ => Verdict::Up,
        };
        (state.offered, state.shed, state.over_limit) = (known.offered, known.shed, known.over_limit);
        state.price_ms = known.price_ms;
    }

    /// Changes what `change` says.
    ///
    /// # Errors
    /// Everything that is wrong with it; then some of it may have been taken.
    pub fn change(&mut self, change: &Change) -> Result<(), Vec<String>> {
        let mut mistakes = Vec::new();
        let mut named: BTreeMap<RegionId, &'static str> = BTreeMap::new();
        for (names, word) in [(&change.kill, "kill"), (&change.drain, "drain"), (&change.up, "up")] {
            for name in names {
                match find_region(&self.snapshot.model, name) {
                    Ok(id) if named.get(&id).is_some_and(|other| *other != word) => {
                        mistakes.push(format!("`{name}` cannot have both `{}` and `{word}`", named[&id]));
                    }
                    Ok(id) => {
                        named.insert(id, word);
                        set_standing(&mut self.states[id.index()], word);
                    }
                    Err(mistake) => mistakes.push(mistake),
                }
            }
        }
        for (service, stage) in &change.switch {
            match find_stage(&self.snapshot.model, service, stage) {
                Ok((id, stage)) => self.switched.entry(id).or_default().stage = Some(stage),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        for (service, &share) in &change.canary {
            match find_canary(&self.snapshot.model, service, share) {
                Ok((id, share)) => self.switched.entry(id).or_default().canary = Some(share),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        self.follow_dependencies(&named);
        for (name, &capacity) in &change.capacity {
            match find_region(&self.snapshot.model, name) {
                Err(mistake) => mistakes.push(mistake),
                Ok(_) if !(capacity.is_finite() && capacity > 0.0) => {
                    mistakes.push(format!("the capacity of `{name}` is {capacity}: expected a number above 0"));
                }
                Ok(id) => self.capacities[id.index()] = Some(capacity),
            }
        }
        match change.demand {
            Some(factor) if !(factor > 0.0 && factor <= MOST_FACTOR) => {
                mistakes.push(format!("demand times {factor}: expected a number above 0, {MOST_FACTOR} at most"));
            }
            Some(factor) => self.asking.iter_mut().for_each(|asking| asking.amount *= factor),
            None => {}
        }
        if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
    }

    /// Takes down regions that depend on what is down now, but for those that something is said of.
    fn follow_dependencies(&mut self, said: &BTreeMap<RegionId, &'static str>) {
        let snapshot = &self.snapshot;
        let switched_to = |id: ServiceId| self.switched.get(&id).and_then(|switched| switched.stage);
        dependency::apply(&snapshot.model, switched_to, &mut self.states);
        said.iter().for_each(|(id, word)| set_standing(&mut self.states[id.index()], word));
    }

    /// The clients and where they are, by the plan in force.
    pub fn placed(&self) -> Placed {
        let snapshot = &self.snapshot;
        let by = basis(snapshot).map(|basis| (basis.planned.is_some(), basis.error.clone()));
        let by = match by {
            Some((true, _)) => "planned".to_owned(),
            Some((false, Some(error))) if self.counted == Counted::Demand => format!("by price: {error}"),
            _ => "by price: nothing is planned yet".to_owned(),
        };
        self.place(&snapshot.plan, &self.states, by)
    }

    /// The clients and where they would be, by the plan that would be made now.
    pub fn planned(&self, now: Instant) -> Placed {
        let before = basis(&self.snapshot).and_then(|basis| basis.planned.as_ref());
        let first = self.plan(&self.states, before, now);
        let made = match &first.sites {
            Some(sites) if self.counted == Counted::Demand => self.make(sites, &first, now),
            _ => Err(PlanError::NoDemand),
        };
        match made {
            Ok(planned) => {
                let mut states = self.states.clone();
                for (state, price_ms) in states.iter_mut().zip(&planned.prices_ms) {
                    state.price_ms = *price_ms;
                }
                let plan = self.plan(&states, Some(&Arc::new(planned)), now);
                self.place(&plan, &states, "planned".to_owned())
            }
            Err(_) if self.counted == Counted::Places => {
                self.place(&first, &self.states, "by price: nothing can be planned yet".to_owned())
            }
            Err(error) => self.place(&first, &self.states, format!("by price: {error}")),
        }
    }

    fn plan(&self, states: &[RegionState], planned: Option<&Arc<Planned>>, now: Instant) -> Plan {
        let snapshot = &self.snapshot;
        plan(&Inputs {
            model: &snapshot.model,
            atlas: &snapshot.atlas,
            states,
            measured: &snapshot.measured,
            switched: &self.switched,
            seed: snapshot.plan.seed,
            planned,
            previous: Some(&snapshot.plan),
            now,
        })
    }

    fn make(&self, sites: &Arc<Sites>, plan: &Plan, now: Instant) -> Result<Planned, PlanError> {
        let model = &self.snapshot.model;
        let basis = basis(&self.snapshot);
        let locations = match basis.map(|basis| &basis.locations) {
            Some(locations) if locations.is_of(sites) => locations.clone(),
            previous => Arc::new(Locations::of(sites, model, MOST_LOCATIONS, previous.map(|previous| &**previous))),
        };
        let known = self.asking.iter().filter_map(|asking| {
            Some((asking.service?, u32::try_from(asking.spot?).ok()?, asking.amount, asking.on.as_slice()))
        });
        let offered = self.capacities.iter().zip(&self.used).zip(&self.states);
        let demand = Demand::of_flows(known);
        let on = demand.on_regions(model.regions.len());
        // What is left of a capacity for clients who are sent there, as the planner counts them.
        let room = |(id, ((capacity, used), state)): (usize, ((&Option<f64>, &f64), &RegionState))| {
            let whole = (*capacity)? * used * state.offered;
            let feed = basis.and_then(|basis| basis.feeds.get(id));
            Some(feed.map_or(whole, |feed| feed.room(whole, on[id].demand, 1.0)))
        };
        let capacities: Vec<Option<f64>> = offered.enumerate().map(room).collect();
        let eligible: Vec<bool> = self.states.iter().map(|state| state.effective.is_eligible()).collect();
        make(&Situation {
            model,
            locations: &locations,
            demand: &demand,
            parts: &plan.services.iter().map(|service| service.parts.clone()).collect::<Vec<_>>(),
            eligible: &eligible,
            capacities: &capacities,
            evidence: &self.evidence,
            previous: basis.and_then(|basis| basis.planned.as_deref()),
            now,
        })
    }

    fn place(&self, plan: &Plan, states: &[RegionState], by: String) -> Placed {
        let model = &self.snapshot.model;
        let regions = model.region_ids().zip(states).map(|(id, state)| PlacedRegion {
            name: model.qualified_region_name(id),
            effective: state.effective,
            operator_override: state.operator_override,
            load: 0.0,
            capacity: self.capacities[id.index()],
            configured: model.region(id).capacity,
            reported: state.load.last.map(|figure| figure.load),
            used: self.used[id.index()],
            evidence: self.evidence[id.index()],
            offered: state.offered,
            shed: state.shed,
            over_limit: state.over_limit,
            price_ms: state.price_ms,
            cost: model.region(id).cost,
        });
        let mut placed = Placed {
            generation: self.snapshot.generation,
            counted: self.counted,
            by,
            asked: self.asked,
            left_out: self.left_out,
            notes: self.notes.clone(),
            regions: regions.collect(),
            services: placed::services(model, plan),
            clients: placed::clients(&View { plan, states, ..self.snapshot.view() }, &self.spots, &self.asking),
        };
        placed.add_up();
        self.count_as_regions_do(&mut placed);
        placed
    }

    /// Regions may count in units of their own, and have load that did not come by answers given here.
    fn count_as_regions_do(&self, placed: &mut Placed) {
        let feeds = basis(&self.snapshot).map_or(&[][..], |basis| &basis.feeds);
        if self.counted == Counted::Demand {
            for (region, feed) in placed.regions.iter_mut().zip(feeds) {
                let others = if region.effective == EffectiveState::Down { 0.0 } else { feed.others() };
                region.load = feed.unit() * region.load + others;
            }
        }
    }
}

/// The basis that the planner last planned from, where its numbers are still those of the snapshot.
pub fn basis(snapshot: &Snapshot) -> Option<&Basis> {
    let basis = snapshot.planning.as_deref()?;
    let sites = snapshot.plan.sites.as_ref()?;
    basis.locations.numbered_as(sites).then_some(basis)
}

fn asking(demand: &Demand) -> Vec<Asking> {
    let known = demand.flows().map(|(flow, amount)| Asking {
        service: Some(flow.service),
        spot: Some(flow.site as usize),
        amount,
        on: flow.on_regions().collect(),
    });
    known.collect()
}

fn capacity(model: &Model, states: &[RegionState], id: RegionId) -> Option<f64> {
    match states.get(id.index()).and_then(|state| state.load.last) {
        Some(figure) => figure.capacity,
        None => model.region(id).capacity,
    }
}

/// The one service of this name.
fn find_service(model: &Model, service: &str) -> Result<ServiceId, String> {
    match *model.find_services(service) {
        [id] => Ok(id),
        [] => Err(format!("no service is called `{service}`")),
        _ => Err(format!("several services are called `{service}`: say its whole name")),
    }
}

/// A part of clients for the canary of the one service of this name.
fn find_canary(model: &Model, service: &str, share: f64) -> Result<(ServiceId, Weight), String> {
    let id = find_service(model, service)?;
    if model.service(id).policies.canary_share().is_none() {
        return Err(format!("`{service}` has no canary"));
    }
    let part = canary_share(share);
    part.map(|part| (id, part)).ok_or_else(|| format!("{share} of the clients of `{service}`: expected 0 to 1"))
}

/// The stage of this name, of the one service of this name.
fn find_stage(model: &Model, service: &str, stage: &str) -> Result<(ServiceId, GroupId), String> {
    let id = find_service(model, service)?;
    let policies = &model.service(id).policies;
    policies.stage(stage).map(|group| (id, group)).ok_or_else(|| {
        let known: Vec<&str> = policies.stage_names().collect();
        match known.is_empty() {
            true => format!("`{service}` has no stages to switch between"),
            false => format!("`{service}` has no stage `{stage}`; there are: {}", known.join(", ")),
        }
    })
}

fn part_used(basis: Option<&Basis>, id: RegionId) -> f64 {
    let of = |basis: &Basis| {
        let capacity = basis.capacities.get(id.index()).copied().flatten()?;
        let used = basis.planned_with.get(id.index()).copied().flatten()?;
        (capacity > 0.0).then_some(used / capacity)
    };
    basis.and_then(of).unwrap_or(HEADROOM)
}

fn set_standing(state: &mut RegionState, word: &str) {
    (state.effective, state.verdict, state.operator_override) = match word {
        "kill" => (EffectiveState::Down, Verdict::Down, Override::Auto),
        "drain" => (EffectiveState::Drain, state.verdict, Override::Drain),
        _ => (EffectiveState::Up, Verdict::Up, Override::Auto),
    };
    state.stability.damped_until = None;
    state.stability.held_until = None;
    (state.stability.delayed_until, state.stability.awaits_resume) = (None, None);
    state.stability.failed_dependency = None;
    if word == "up" {
        (state.shed, state.over_limit, state.offered) = (0.0, false, 1.0);
    }
}

#[cfg(test)]
pub(crate) mod tests;
