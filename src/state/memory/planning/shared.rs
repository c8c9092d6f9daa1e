//! Planning among nodes: one plans for all, the others follow, and each goes on alone where it hears of none.
//!
//! ```text
//!   follower: answers ─▶ what is to be told ─▶ the leader's demand
//!   leader:   demand ─▶ a proposal ─▶ (agreed) ─▶ in force here
//!                                        └─▶ adopted by followers, with all that a leader remembers
//! ```
//!
//! A follower does not listen and does not plan: it holds what the leader last knew, as a restarted server holds what
//! was kept, so that whichever node leads next goes on from there. Who hears of no leader any more plans alone, with
//! the demand as it was last known: of other nodes' clients it sees nothing new.

use std::sync::Arc;
use std::time::Instant;

use crate::model::Model;
use crate::steer::kept::Clock;
use crate::steer::latency::sites::Sites;
use crate::steer::planner::demand::STEP;

use super::Planning;
use super::kept_form::KeptPlanning;
use super::role::{Proposal, Role, SITE_BITS, Shared, SiteSample};
use super::unheeded::Unheeded;

impl Planning {
    pub fn role(&self) -> Role {
        self.shared.role
    }

    /// Takes another role. The next plan of a node that begins to plan is due within a step.
    pub fn set_role(&mut self, role: Role, now: Instant) {
        let before = std::mem::replace(&mut self.shared.role, role);
        if before == role {
            return;
        }
        (self.shared.proposed, self.shared.untold) = (None, false);
        self.begin_anew(now);
        let heard_others = before == Role::Leader && self.shared.hears_others;
        self.shared.partial = role != Role::Leader && (self.shared.partial || heard_others);
        match role {
            Role::Follower => self.unheeded = Unheeded::default(),
            Role::Alone | Role::Leader => self.shared.outgoing.clear(),
        }
        if before == Role::Follower && self.next_step.is_some() {
            self.next_step = Some(now + STEP);
            self.next_plan = Some(now + STEP);
        }
    }

    /// The plan that was made and not handed out yet, with what goes with it.
    pub fn take_proposal(&mut self, clock: &Clock) -> Option<Proposal> {
        let (number, planned) = self.shared.proposed.clone().filter(|_| std::mem::take(&mut self.shared.untold))?;
        let in_force = self.planned.replace(planned);
        let planning = self.kept(clock);
        self.planned = in_force;
        Some(Proposal { number, planning: planning? })
    }

    /// A proposal holds from now. Whether it is the last one that was made.
    pub fn agree(&mut self, number: u64) -> bool {
        let agreed = self.shared.proposed.take_if(|(of, _)| *of == number);
        let holds = agreed.is_some() && self.shared.role == Role::Leader;
        if let Some((_, planned)) = agreed.filter(|_| holds) {
            self.planned = Some(planned);
            self.unheeded.agreed();
            self.refresh_basis();
        }
        holds
    }

    /// Takes up what a leader knows and has planned, in place of what was known here. `clock`: by the leader's wall clock.
    /// Whether it was: nothing is, where no shares would be left of its plan.
    pub fn adopt(&mut self, kept: Arc<KeptPlanning>, model: &Arc<Model>, sites: &Arc<Sites>, clock: &Clock) -> bool {
        let mut next = Planning::new();
        next.restore(&kept, model, sites, clock);
        if next.planned.is_none() {
            return false;
        }
        next.shared = Shared { adopted: Some((kept, *clock)), partial: true, ..std::mem::take(&mut self.shared) };
        *self = next;
        true
    }

    /// After a reload or other measurements: what was adopted under the numbers of now.
    pub(super) fn adopt_again(&mut self, model: &Arc<Model>, sites: &Arc<Sites>, now: Instant) {
        if let Some((kept, clock)) = self.shared.adopted.clone() {
            self.adopt(kept, model, sites, &Clock::new(now, clock.kept(now)));
        }
    }

    /// The answers of a follower since the last call, for the leader. In no order.
    pub fn take_outgoing(&mut self) -> Vec<SiteSample> {
        let Some((_, sites)) = self.numbered_by.clone() else { return Vec::new() };
        let sample = |((service, site, region), (weight, answers)): (_, (f64, f64))| SiteSample {
            service,
            site: sites.key(site as usize, 0.0).number() & SITE_BITS,
            region,
            weight: weight as f32,
            ttl_s: (weight / answers) as f32,
        };
        self.shared
            .outgoing
            .drain()
            .map(|((service, site, region), sums)| sample(((service, site, region), sums)))
            .collect()
    }

    /// Takes answers that another node gave. Only a leader does.
    pub fn count_of_others(&mut self, samples: &[SiteSample], model: &Arc<Model>, sites: &Arc<Sites>, now: Instant) {
        if self.shared.role != Role::Leader {
            return;
        }
        self.renumber(model, sites, now);
        if !self.shared.numbers.as_ref().is_some_and(|(of, _)| of.numbered_as(sites)) {
            let numbers = sites.ids().map(|site| (sites.key(site, 0.0).number() & SITE_BITS, site as u32)).collect();
            self.shared.numbers = Some((sites.clone(), numbers));
        }
        self.shared.hears_others |= !samples.is_empty();
        let Some((_, numbers)) = &self.shared.numbers else { return };
        for sample in samples {
            if let Some(&site) = numbers.get(&sample.site)
                && sample.service.index() < model.services.len()
                && sample.region.index() < model.regions.len()
            {
                let (weight, ttl_s) = (f64::from(sample.weight), f64::from(sample.ttl_s));
                self.demand.count(sample.service, site, sample.region, weight, ttl_s);
            }
        }
        self.next_step.get_or_insert(now + STEP);
    }
}
