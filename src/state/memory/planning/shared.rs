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

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::model::{Model, RegionId, ServiceId};
use crate::steer::kept::Clock;
use crate::steer::latency::sites::Sites;
use crate::steer::planner::Planned;
use crate::steer::planner::demand::STEP;

use super::Planning;
use super::kept::KeptPlanning;

/// Who makes the plans that hold here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// This node, for itself.
    #[default]
    Alone,
    /// This node, for all: what it plans holds once all have agreed on it.
    Leader,
    /// Another node.
    Follower,
}

/// Answers given to clients of one site, as nodes tell each other. Ids are of a model that both have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SiteSample {
    pub service: ServiceId,
    /// The lower [`SITE_BITS`] of [`SiteKey::number`](crate::steer::latency::sites::SiteKey::number).
    pub site: u64,
    pub region: RegionId,
    /// As of a [`DemandSample`](crate::steer::planner::demand::DemandSample).
    pub weight: f32,
    pub ttl_s: f32,
}

/// Forty bits: of a hundred thousand sites two share a number by chance of one in two hundred, which adds one up to
/// the other.
pub const SITE_BITS: u64 = (1 << 40) - 1;

/// A plan that holds nowhere yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// Grows with each.
    pub number: u64,
    /// With all that a leader remembers, the plan in it.
    pub planning: KeptPlanning,
}

/// Flows that wait to be told, at most; the others of that time are not told.
const MOST_UNTOLD: usize = 200_000;

/// The shared part of planning.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub role: Role,
    /// The plan that is to be agreed on, by its number.
    proposed: Option<(u64, Arc<Planned>)>,
    /// It was not handed out yet.
    untold: bool,
    proposals: u64,
    /// As a leader last knew it.
    adopted: Option<(Arc<KeptPlanning>, Clock)>,
    /// The demand is that of a leader, and this node sees a part of the clients.
    pub partial: bool,
    /// Answers times seconds, and answers, since they were last told.
    outgoing: HashMap<(ServiceId, u32, RegionId), (f64, f64)>,
    /// The numbers of sites, of these.
    numbers: Option<(Arc<Sites>, HashMap<u64, u32>)>,
    /// Samples of other nodes at sites that are not known here, of all that came.
    strangers: (u64, u64),
}

impl Shared {
    pub fn propose(&mut self, planned: Arc<Planned>) {
        self.proposals += 1;
        (self.proposed, self.untold) = (Some((self.proposals, planned)), true);
    }

    pub fn tell(&mut self, service: ServiceId, site: u32, region: RegionId, weight: f64, ttl_s: f64) {
        let room = self.outgoing.len() < MOST_UNTOLD;
        if room || self.outgoing.contains_key(&(service, site, region)) {
            let sums = self.outgoing.entry((service, site, region)).or_default();
            *sums = (sums.0 + weight, sums.1 + weight / ttl_s);
        }
    }

    /// Sites have other numbers now.
    pub fn renumber(&mut self) {
        self.outgoing.clear();
        (self.numbers, self.proposed) = (None, None);
    }
}

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
        let heard_others = before == Role::Leader && self.shared.strangers.1 > 0;
        self.shared.partial = role != Role::Leader && (self.shared.partial || heard_others);
        if role != Role::Follower {
            self.shared.outgoing.clear();
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
        let Some((_, numbers)) = &self.shared.numbers else { return };
        for sample in samples {
            let site = numbers.get(&sample.site);
            self.shared.strangers.0 += u64::from(site.is_none());
            self.shared.strangers.1 += 1;
            if let Some(&site) = site
                && sample.service.index() < model.services.len()
                && sample.region.index() < model.regions.len()
            {
                let (weight, ttl_s) = (f64::from(sample.weight), f64::from(sample.ttl_s));
                self.demand.count(sample.service, site, sample.region, weight, ttl_s);
            }
        }
        self.next_step.get_or_insert(now + STEP);
    }

    /// The part of other nodes' answers that were given at sites which are not known here, 0 to 1: their databases
    /// differ.
    pub fn part_at_unknown_sites(&self) -> f64 {
        let (unknown, all) = self.shared.strangers;
        if all == 0 { 0.0 } else { unknown as f64 / all as f64 }
    }
}
