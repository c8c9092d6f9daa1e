//! How a snapshot steers, as far as images see it: the one place here that reads the plan.
//!
//! ```text
//!   service ─▶ Facts: all that its choices follow from, besides the endpoints that regions hand out
//!   Facts, classes ─▶ ByClass: the cell of each class, and an address in each cell
//!   service, address ─▶ Choice: of all clients in a cell with it
//! ```

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::{EndpointTarget, RegionId, ServiceId};
use crate::state::Snapshot;
use crate::steer::choice::endpoint_set::EndpointSet;
use crate::steer::decide::{Decision, Family, ScopeReason, Seen, decide, endpoint_of_family};
use crate::steer::plan::ServicePlan;
use crate::steer::plan::code::Code;
use crate::steer::plan::table::Follows;

use super::classes::ClassImage;

/// All that a service's choices and their lifetimes follow from, besides the endpoints that regions hand out.
/// Services with the same facts choose alike.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Its table and how its regions stand are held, so that no others can be at their addresses.
    plan: ServicePlan,
    ttl: u32,
    failover_ttl: u32,
    aftermath: bool,
    reduced: bool,
    /// IPv4, IPv6, host names: see [`Offers`](crate::steer::plan::Offers).
    offers: [bool; 3],
}

impl Facts {
    /// `None` for a service that the plan does not have.
    pub fn of(snapshot: &Snapshot, id: ServiceId) -> Option<Facts> {
        let service = snapshot.model.services.get(id.index())?;
        let plan = snapshot.plan.services.get(id.index())?;
        Some(Facts {
            plan: plan.clone(),
            ttl: service.ttl.as_secs(),
            failover_ttl: service.failover_ttl.as_secs(),
            aftermath: plan.aftermath,
            reduced: plan.reduced,
            offers: [plan.offers.ipv4, plan.offers.ipv6, plan.offers.hosts],
        })
    }

    /// Told apart by this from other tables, and from the same one where less of it holds, while these facts or their
    /// [`ByClass`] are held.
    pub fn table(&self) -> TableId {
        let standing = match self.plan.follows {
            Follows::All => 0,
            Follows::Eligible | Follows::Nothing => Arc::as_ptr(&self.plan.standing).addr(),
        };
        TableId(Arc::as_ptr(&self.plan.table).addr(), standing)
    }

    /// False: all clients are in one cell.
    pub fn depends_on_place(&self) -> bool {
        self.plan.depends_on_place
    }

    /// The kinds of answers that all regions of the service can give between them.
    pub fn offers(&self) -> [bool; 3] {
        self.offers
    }

    pub fn by_class(&self, classes: &ClassImage) -> ByClass {
        let table = &self.plan.table;
        if !table.classes().is_some_and(|of| Arc::ptr_eq(of, &classes.of)) {
            return self.left_to_sockets(); // of another part of the plan, whose classes are others
        }
        let mut numbers: HashMap<Option<Code>, u32> = HashMap::new();
        let mut examples = Vec::new();
        let mut number = |(code, example): (Code, &Option<IpAddr>)| {
            // What does not hold, or is left open, is worked out for whoever asks.
            let holds = self.plan.holds(code);
            let number = *numbers.entry(holds.then_some(code)).or_insert(examples.len() as u32);
            if number as usize == examples.len() {
                examples.push(None);
            }
            if let Some(place) = examples.get_mut(number as usize).filter(|_| holds) {
                *place = place.or(*example);
            }
            number
        };
        let cells = table.codes().iter().zip(&classes.examples).map(&mut number).collect();
        ByClass { cells, examples, _plan: self.plan.clone() }
    }

    /// A table without a row.
    pub fn left_to_sockets(&self) -> ByClass {
        ByClass { cells: Vec::new(), examples: vec![None], _plan: self.plan.clone() }
    }

    fn key(&self) -> (TableId, u32, u32, bool, bool, [bool; 3]) {
        (self.table(), self.ttl, self.failover_ttl, self.aftermath, self.reduced, self.offers)
    }
}

impl PartialEq for Facts {
    fn eq(&self, other: &Facts) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Facts {}

impl Hash for Facts {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TableId(usize, usize);

/// A table of cells, by class.
#[derive(Debug)]
pub struct ByClass {
    /// The cell of each class; empty where all is left to the sockets.
    pub cells: Vec<u32>,
    /// Of each cell: an address in it, if there is one.
    pub examples: Vec<Option<IpAddr>>,
    /// Held, so that its [`TableId`] stays its own.
    _plan: ServicePlan,
}

/// The region and endpoint that every client of a cell is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    pub region: RegionId,
    /// Into the region's endpoints.
    pub endpoint: u16,
    /// Seconds.
    pub ttl: u32,
    /// By family, A first: addresses of it are answered.
    pub has: [bool; 2],
}

/// The choice for this client and all that are in a cell with it. `None` where they differ, or the answer is not
/// one endpoint's addresses.
pub fn choice(snapshot: &Snapshot, id: ServiceId, client: IpAddr) -> Option<Choice> {
    let view = snapshot.view();
    let decision = decide(&view, id, Seen::Source(client)).filter(|decision| is_for_all(snapshot, decision))?;
    let has = [Family::Ipv4, Family::Ipv6].map(|family| endpoint_of_family(&view, &decision, family).is_some());
    let Decision { region, endpoint, ttl, .. } = decision;
    Some(Choice { region, endpoint, ttl: ttl.as_secs(), has })
}

/// Tells whether every client of the place is answered so: one region, one endpoint, which has addresses.
fn is_for_all(snapshot: &Snapshot, decision: &Decision) -> bool {
    let region = snapshot.model.region(decision.region);
    let endpoint = region.endpoints.get(usize::from(decision.endpoint));
    decision.scope_reason != ScopeReason::Split
        && decision.regions.as_slice().len() == 1
        && endpoint.is_some_and(|endpoint| matches!(endpoint.target, EndpointTarget::Addresses(_)))
}

/// By region: the endpoints that it hands out, or how long, are not as they were.
pub fn changed_regions(before: &[EndpointSet], now: &[EndpointSet]) -> Vec<bool> {
    let same =
        |region: usize| before.get(region).zip(now.get(region)).is_some_and(|(old, new)| hands_out_alike(old, new));
    (0..before.len().max(now.len())).map(|region| !same(region)).collect()
}

fn hands_out_alike(old: &EndpointSet, new: &EndpointSet) -> bool {
    let of = |set: &EndpointSet| (set.is_partial, set.suspect, set.busy, set.full, set.identity);
    let endpoints = |set: &EndpointSet| {
        let of = |choice: &_| {
            let crate::steer::choice::endpoint_set::EndpointChoice { index, identity, weight, has_ipv4, has_ipv6 } =
                choice;
            (*index, *identity, weight.to_bits(), *has_ipv4, *has_ipv6)
        };
        set.endpoints.iter().map(of).collect::<Vec<_>>()
    };
    of(old) == of(new) && endpoints(old) == endpoints(new)
}
