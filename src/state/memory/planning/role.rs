//! What nodes that plan together tell each other, and what each has to remember for it.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{RegionId, ServiceId};
use crate::steer::kept::Clock;
use crate::steer::latency::sites::Sites;
use crate::steer::planner::Planned;

use super::kept_form::KeptPlanning;

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
    pub proposed: Option<(u64, Arc<Planned>)>,
    /// It was not handed out yet.
    pub untold: bool,
    pub proposals: u64,
    /// As a leader last knew it.
    pub adopted: Option<(Arc<KeptPlanning>, Clock)>,
    /// The demand is that of a leader, and this node sees a part of the clients.
    pub partial: bool,
    /// Answers times seconds, and answers, since they were last told.
    pub outgoing: HashMap<(ServiceId, u32, RegionId), (f64, f64)>,
    /// The numbers of sites, of these.
    pub numbers: Option<(Arc<Sites>, HashMap<u64, u32>)>,
    /// Other nodes have told this one what was asked.
    pub hears_others: bool,
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
