//! Work that may wait, and what comes of it.
//!
//! Until somebody takes it over, each job is done where it falls due, so that whoever goes through time step by step sees
//! the same each time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::model::ServiceId;
use crate::state::Snapshot;
use crate::state::memory::planning::job::{PlanDone, Taken};
use crate::state::news::Urgency;
use crate::state::regroup::{RegroupJob, Regrouped};
use crate::state::work::{Done, Job, Kind, Ledger, Lost, Outcome, TablesJob, Task, Ticket};
use crate::steer::haste::Haste;
use crate::steer::health::effective::RegionState;
use crate::steer::plan::{Inputs, PartMade, Plan, follow, plan};

use super::Publisher;

impl Publisher {
    /// From now on jobs are left to who drives this, by [`Publisher::next_job`], and counted.
    pub fn leave_work(&mut self) {
        (self.leaves_work, self.work) = (true, Ledger::default());
    }

    /// A job that is due and at least so pressing, made from the facts of now. It comes back as
    /// [`News::Done`](crate::state::News::Done), whatever becomes of it: until then no other of its kind is due. Ask after
    /// each publication and whenever there is time for one.
    pub fn next_job(&mut self, now: Instant, least: Haste) -> Option<Job> {
        let current = self.shared.load_full();
        let matches = Arc::ptr_eq(&current.model, &self.configured.model) && Arc::ptr_eq(&current.atlas, &self.atlas);
        if !self.leaves_work || !matches {
            return None;
        }
        if let Some(job) = self.plan_job(&current.plan, &current.states, now, least) {
            return Some(job);
        }
        // Those of clients who are answered without any; others would be made of classes that are soon gone.
        let of_tables = if self.may_regroup(least) { Haste::Pressing } else { least };
        self.tables_job(&current, of_tables).or_else(|| self.regroup_job(&current, least))
    }

    /// The jobs since they are left to others.
    pub fn work(&self) -> &Ledger {
        &self.work
    }

    /// The time of the oldest news that the plan in force does not heed; `None`: it heeds all, or another node plans.
    pub fn unheeded_since(&self) -> Option<Instant> {
        self.planning.unheeded_since()
    }

    /// The time since when some table of cells would come out otherwise if it were made anew; `None`: none would.
    pub fn behind_since(&self) -> Option<Instant> {
        self.behind_since
    }

    /// The time since when round trips were measured that answers do not go by; `None`: they go by all.
    pub fn ungrouped_since(&self) -> Option<Instant> {
        self.regrouping.since()
    }

    /// Does at once what is due, while the next snapshot is being made.
    pub(super) fn work_at_once(&mut self, before: &Plan, states: &[RegionState], now: Instant) {
        if let Some(job) = self.plan_job(before, states, now, Haste::Unhurried) {
            self.take_done(job.run(), now);
        }
    }

    /// The time when work falls due. What is due already is no matter of time where it is left to others.
    pub(super) fn next_work(&self, now: Instant) -> Option<Instant> {
        // First what was lost is done without: so it may be due at once, for the next snapshot.
        self.planning.next_plan().filter(|&at| !self.leaves_work || at > now)
    }

    pub(super) fn take_done(&mut self, done: Done, now: Instant) -> Urgency {
        let Done { ticket, outcome } = done;
        if !self.work.end(ticket) {
            return Urgency::None;
        }
        match outcome {
            Ok(Outcome::Plan(done)) => self.take_plan(ticket, *done, now),
            Ok(Outcome::Tables(made)) => self.take_tables(made),
            Ok(Outcome::Regrouped(made)) => self.take_regrouped(made, now),
            Err(lost) => {
                let tally = self.work.tally_mut(ticket.kind);
                match lost {
                    Lost::Failed => tally.failed += 1,
                    Lost::GivenUp => tally.given_up += 1,
                }
                match ticket.kind {
                    Kind::Plan if self.planning.lose(ticket.number, now) => Urgency::Now,
                    Kind::Plan | Kind::Tables | Kind::Regroup => Urgency::None,
                }
            }
        }
    }

    fn plan_job(&mut self, before: &Plan, states: &[RegionState], now: Instant, least: Haste) -> Option<Job> {
        let (kind, model) = (Kind::Plan, self.configured.model.clone());
        let number = self.work.vacant(kind)?;
        let (haste, job) = self.planning.begin(number, least, &model, before, states, now)?;
        let ticket = Ticket { kind, number, haste };
        self.work.begin(ticket);
        Some(Job::new(ticket, Task::Plan(Box::new(job))))
    }

    /// The tables of the part that is behind most: first where clients are answered without them.
    fn tables_job(&mut self, current: &Arc<Snapshot>, least: Haste) -> Option<Job> {
        let number = self.work.vacant(Kind::Tables)?;
        let made = |part: &usize| self.made.iter().any(|made| made.part() == *part);
        let mut loads: HashMap<ServiceId, f64> = HashMap::new();
        if let Some(basis) = current.planning.as_ref().filter(|_| current.plan.behind().len() > 1) {
            basis.demand.flows().for_each(|(flow, amount)| *loads.entry(flow.service).or_default() += amount);
        }
        let load = |service| loads.get(&service).copied().unwrap_or(0.0);
        let (part, haste) = current.plan.most_behind(|part| !made(&part), load)?;
        if haste < least {
            return None;
        }
        let ticket = Ticket { kind: Kind::Tables, number, haste };
        self.work.begin(ticket);
        Some(Job::new(ticket, Task::Tables(TablesJob { of: current.clone(), part })))
    }

    fn may_regroup(&self, least: Haste) -> bool {
        let is_wanted = self.regrouping.wanted().is_some() && self.work.vacant(Kind::Regroup).is_some();
        is_wanted && least <= Haste::Unhurried
    }

    /// Classes by what was measured last.
    fn regroup_job(&mut self, current: &Arc<Snapshot>, least: Haste) -> Option<Job> {
        let (kind, haste) = (Kind::Regroup, Haste::Unhurried);
        let measured = self.regrouping.wanted().filter(|_| self.may_regroup(least))?.clone();
        let ticket = Ticket { kind, number: self.work.vacant(kind)?, haste };
        self.work.begin(ticket);
        let switched = self.switched.clone();
        Some(Job::new(ticket, Task::Regroup(RegroupJob { of: current.clone(), measured, switched })))
    }

    fn take_regrouped(&mut self, made: Box<Regrouped>, now: Instant) -> Urgency {
        let fits = made.fits(&self.configured.model, &self.atlas, &self.switched);
        let taken = fits && self.regrouping.settle(made, now);
        let tally = self.work.tally_mut(Kind::Regroup);
        match taken {
            true => tally.taken += 1,
            false => tally.dropped += 1,
        }
        if taken { Urgency::Now } else { Urgency::None }
    }

    /// What the next snapshot takes up that was made for what was measured: from here on that holds, with its atlas.
    pub(super) fn regrouped(&mut self, now: Instant) -> Option<Box<Regrouped>> {
        let made = self.regrouping.take()?;
        if !made.fits(&self.configured.model, &self.atlas, &self.switched) {
            self.regrouping.lose(*made, now);
            return None;
        }
        (self.measured, self.atlas) = (made.measured.clone(), made.atlas.clone());
        self.made.clear(); // they were made for what was measured before
        Some(made)
    }

    /// Published within a second, so that many parts make one snapshot; the last of them at once.
    fn take_tables(&mut self, made: Option<PartMade>) -> Urgency {
        let tally = self.work.tally_mut(Kind::Tables);
        let current = self.shared.load();
        let Some(made) = made.filter(|made| current.plan.is_of(made)) else {
            tally.dropped += 1;
            return Urgency::None;
        };
        tally.taken += 1;
        self.made.push(made);
        let left = current.plan.behind().iter().any(|part| !self.made.iter().any(|made| made.part() == *part));
        if left { Urgency::Soon } else { Urgency::Now }
    }

    /// The plan for a new snapshot: as it follows at once where work is left to others, else with all tables made.
    pub(super) fn plan_for(&mut self, inputs: &Inputs<'_>) -> Plan {
        let made = std::mem::take(&mut self.made);
        let plan = if self.leaves_work { follow(inputs, made) } else { plan(inputs) };
        match plan.behind() {
            [] => self.behind_since = None,
            _ => _ = self.behind_since.get_or_insert(inputs.now),
        }
        plan
    }

    fn take_plan(&mut self, ticket: Ticket, done: PlanDone, now: Instant) -> Urgency {
        let current = self.shared.load_full();
        let (model, sites) = (&self.configured.model, current.plan.sites.as_ref());
        let (taken, tally) =
            (self.planning.end(ticket.number, done, model, sites, now), self.work.tally_mut(ticket.kind));
        match taken {
            Taken::Dropped => tally.dropped += 1,
            Taken::Planned | Taken::Unplanned => tally.taken += 1,
        }
        match taken {
            Taken::Planned => Urgency::Now,
            Taken::Unplanned => Urgency::Soon,
            Taken::Dropped => Urgency::None,
        }
    }
}

#[cfg(test)]
mod regroup_tests;
#[cfg(test)]
mod tests;
