//! What is put right where the store says what nobody meant: keys of this node that others wrote or deleted, leaders that
//! are none.
//!
//! Each only under the condition that it still stands there, and now and then: two nodes of one name would otherwise
//! write against each other without end.

use std::time::{Duration, Instant};

use crate::control::cluster::keys::{LEADER, Leader, NODES};
use crate::control::cluster::store::{Condition, Listing, Operation, Revision};

use super::{LEASE, Node, RETRY, Ticket};

/// Own keys are put right so often at most.
const AGAIN: Duration = Duration::from_secs(5);

impl Node {
    /// Revisions and leases of a store that began anew mean nothing.
    pub(super) fn hear_of_store(&mut self, listing: &Listing) {
        self.plans.store_is(listing.store, listing.revision);
        let known = self.view.store() != 0;
        if known && (self.view.store() != listing.store || listing.revision < self.view.revision()) {
            self.lose_lease();
            (self.mending.past, self.trimmed) = (None, 0);
        }
    }

    pub(super) fn mend(&mut self, now: Instant) {
        self.mending.lead_again = self.mending.lead_again.filter(|&at| now < at);
        if !self.view.is_there() || self.retry.is_some() || self.lease.is_none() {
            return;
        }
        self.release_leaders(now);
        if self.mending.put_right.is_some_and(|at| now < at + AGAIN) {
            return;
        }
        let (untrue, verdicts) = (self.is_untrue_member(), self.untrue_verdicts());
        if untrue {
            self.registered = None;
        }
        if untrue || verdicts.is_some() {
            self.mending.put_right = Some(now);
        }
        if let Some(said) = verdicts {
            self.tell_verdicts_again(said);
        }
    }

    /// The store has heard who this node is, and says something else.
    fn is_untrue_member(&self) -> bool {
        let heard = self.registered_at.is_some_and(|at| at <= self.view.revision()) && !self.registering;
        let said = self.view.members().get(&self.identity.node);
        let corrupt = self.view.corrupt().contains_key(&format!("{NODES}{}", self.identity.node));
        heard && (corrupt || said != self.registered.as_ref().map(|(_, member)| member))
    }

    /// Ends leaders that are none: this node for another model, or of before its lease was over; one that is no member,
    /// for as long as a lease lasts.
    fn release_leaders(&mut self, now: Instant) {
        let is_left = |(model, leader, created): &(&String, &Leader, Revision)| {
            let own = leader.node == self.identity.node && leader.boot == self.identity.boot;
            own && (**model != self.model || Some(*created) == self.mending.past)
        };
        let left = self.view.leaders().find(is_left).map(|(model, _, created)| (model.clone(), created));
        let ghost = self.ghost(now).map(|created| (self.model.clone(), created));
        let Some((model, created)) = left.or(ghost) else { return };
        if self.mending.released.is_some_and(|at| now < at + RETRY) {
            return;
        }
        self.mending.released = Some(now);
        let key = self.key(LEADER, &model);
        self.commit(Ticket::Release, vec![Condition::Created(key.clone(), created)], vec![Operation::Delete { key }]);
    }

    /// The leader of this model, where it is no member for too long: its key is not of its lease.
    fn ghost(&mut self, now: Instant) -> Option<Revision> {
        let member = |name: &str| self.view.members().get(name);
        let leader = self.view.leader(&self.model);
        let absent = leader.filter(|(leader, _)| member(&leader.node).is_none_or(|member| member.boot != leader.boot));
        let created = absent.map(|(_, created)| created);
        let since = self.mending.ghost.filter(|(of, _)| Some(*of) == created);
        self.mending.ghost = created.map(|created| since.unwrap_or((created, now)));
        self.mending.ghost.filter(|(_, since)| *since + LEASE <= now).map(|(created, _)| created)
    }
}
