//! The making of a plan as a job: begun from the facts of now, done wherever there is time, and taken back.
//!
//! ```text
//!   Planning ─▶ begin ─▶ PlanJob ─▶ run, on any thread ─▶ PlanDone ─▶ end ─▶ Planning
//!                                                                └─▶ dropped, where what it was made for is gone
//! ```

use std::sync::Arc;
use std::time::Instant;

use crate::model::Model;
use crate::steer::haste::Haste;
use crate::steer::health::effective::RegionState;
use crate::steer::latency::locations::{Locations, MOST_LOCATIONS};
use crate::steer::latency::sites::Sites;
use crate::steer::load::feed::Feed;
use crate::steer::plan::Plan;
use crate::steer::planner::demand::{Demand, OnRegion};
use crate::steer::planner::score_group_parts::ScoreGroupParts;
use crate::steer::planner::{PERIOD, PlanError, Planned, Situation, make};

use super::role::Role;
use super::{Basis, MOST_AGE, Planning, eligible};

/// All that a plan is made from.
#[derive(Debug)]
pub struct PlanJob {
    model: Arc<Model>,
    sites: Arc<Sites>,
    /// Those of the plan before.
    locations: Option<Arc<Locations>>,
    parts: Vec<Arc<ScoreGroupParts>>,
    previous: Option<Arc<Planned>>,
    demand: Arc<Demand>,
    eligible: Vec<bool>,
    capacities: Vec<Option<f64>>,
    planned_with: Vec<Option<f64>>,
    /// By region, in the unit of the demand.
    rooms: Vec<Option<f64>>,
    feeds: Vec<Feed>,
    evidence: Vec<bool>,
    now: Instant,
}

/// The plan that was made, or the reason why there is none, and what it was made from.
#[derive(Debug)]
pub struct PlanDone {
    model: Arc<Model>,
    planned: Result<Arc<Planned>, PlanError>,
    basis: Basis,
}

/// The outcome of a job that is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// There is a new plan: in force, or to be agreed on.
    Planned,
    /// No plan could be made.
    Unplanned,
    /// It does not fit any more: another is due.
    Dropped,
}

impl PlanJob {
    pub fn run(self) -> PlanDone {
        let PlanJob { model, sites, parts, previous, demand, rooms, feeds, evidence, now, .. } = self;
        let locations = match self.locations {
            Some(locations) if locations.is_of(&sites) => locations,
            previous => Arc::new(Locations::of(&sites, &model, MOST_LOCATIONS, previous.as_deref())),
        };
        let made = make(&Situation {
            model: &model,
            locations: &locations,
            demand: &demand,
            parts: &parts,
            eligible: &self.eligible,
            capacities: &rooms,
            evidence: &evidence,
            previous: previous.as_deref(),
            now,
        });
        let planned = made.map(|mut planned| {
            planned.loads.iter_mut().zip(&feeds).for_each(|(load, feed)| *load = feed.load_of(*load));
            Arc::new(planned)
        });
        let basis = Basis {
            demand,
            locations,
            eligible: self.eligible,
            capacities: self.capacities,
            planned_with: self.planned_with,
            planned: None,
            feeds,
            evidence,
            error: planned.as_ref().err().cloned(),
            made_at: now,
        };
        PlanDone { model, planned, basis }
    }
}

impl Planning {
    /// Begins a plan where one is due that is at least so pressing. `before`: what clients are answered by. Until the job
    /// of this number is back by [`Planning::end`], no other begins.
    pub fn begin(
        &mut self,
        number: u64,
        least: Haste,
        model: &Arc<Model>,
        before: &Plan,
        states: &[RegionState],
        now: Instant,
    ) -> Option<(Haste, PlanJob)> {
        let sites = before.sites.as_ref()?;
        if self.shared.role == Role::Follower || self.next_step.is_none() || self.under_way.is_some() {
            return None;
        }
        self.renumber(model, sites, now);
        let due = self.next_plan.filter(|&at| at <= now)?;
        let haste = self.haste(states);
        if haste < least {
            return None;
        }
        self.unheeded.note(due);
        self.unheeded.begin();
        (self.under_way, self.surprised) = (Some(number), false);
        (self.last_plan, self.next_plan) = (Some(now), Some(now + PERIOD));
        self.eligible = eligible(states);
        self.capacities = self.capacities_now(model, states);
        Some((haste, self.job(model, before, sites, now)))
    }

    fn haste(&self, states: &[RegionState]) -> Haste {
        match self.surprised || eligible(states) != self.eligible {
            true => Haste::Pressing,
            false => Haste::Unhurried,
        }
    }

    fn job(&self, model: &Arc<Model>, before: &Plan, sites: &Arc<Sites>, now: Instant) -> PlanJob {
        let planned_with: Vec<_> = model.region_ids().map(|id| self.planned_with(model, id, now)).collect();
        let on = self.demand.on_regions(model.regions.len());
        let gain = self.usual_gain();
        let room =
            |(capacity, (feed, on)): (&Option<f64>, (&Feed, &OnRegion))| Some(feed.room((*capacity)?, on.demand, gain));
        let mut rooms: Vec<Option<f64>> = planned_with.iter().zip(self.feeds.iter().zip(&on)).map(room).collect();
        self.widen(&mut rooms);
        PlanJob {
            model: model.clone(),
            sites: sites.clone(),
            locations: self.locations.clone(),
            parts: before.services.iter().map(|service| service.parts.clone()).collect(),
            previous: self.planned.clone(),
            demand: Arc::new(self.demand.clone()),
            eligible: self.eligible.clone(),
            capacities: self.capacities.clone(),
            planned_with,
            rooms,
            feeds: self.feeds.clone(),
            evidence: self.evidence(model),
            now,
        }
    }

    /// Takes what came of the job of this number, under the numbers of this model and these sites. A leader's plan holds
    /// once it is agreed on.
    pub fn end(
        &mut self,
        number: u64,
        done: PlanDone,
        model: &Arc<Model>,
        sites: Option<&Arc<Sites>>,
        now: Instant,
    ) -> Taken {
        let PlanDone { model: of, planned, mut basis } = done;
        let fits = of.steers_as(model) && sites.is_some_and(|sites| basis.locations.numbered_as(sites));
        if self.under_way != Some(number) || !fits {
            self.lose(number, now);
            return Taken::Dropped;
        }
        self.under_way = None;
        self.locations = Some(basis.locations.clone());
        let taken = match planned {
            Ok(planned) if self.shared.role == Role::Leader => {
                self.shared.propose(planned);
                self.unheeded.proposed();
                Taken::Planned
            }
            Ok(planned) => {
                self.planned = Some(planned);
                self.unheeded.heeded();
                Taken::Planned
            }
            Err(_) => {
                self.unheeded.heeded();
                self.give_up_the_old(now);
                Taken::Unplanned
            }
        };
        basis.planned = self.planned.clone();
        self.basis = Some(Arc::new(basis));
        taken
    }

    /// The job of this number comes to nothing: another is due. Whether the plan in force was given up, for its age.
    pub fn lose(&mut self, number: u64, now: Instant) -> bool {
        if self.under_way != Some(number) {
            return false;
        }
        self.begin_anew(now);
        let gives_up = self.give_up_the_old(now);
        if gives_up {
            self.refresh_basis();
        }
        gives_up
    }

    /// What is under way or proposed fits no more.
    pub(super) fn begin_anew(&mut self, now: Instant) {
        self.unheeded.lost();
        if self.under_way.take().is_some() {
            self.next_plan = Some(now);
        }
    }

    fn give_up_the_old(&mut self, now: Instant) -> bool {
        let old = |planned: &mut Arc<Planned>| now.saturating_duration_since(planned.made_at) > MOST_AGE;
        self.planned.take_if(old).is_some()
    }
}
