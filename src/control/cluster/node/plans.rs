//! How a plan comes into force everywhere at once: its octets go to all nodes first, then one key of the store says that
//! they hold.
//!
//! ```text
//!   leader: proposal ─▶ octets to all nodes ─▶ pointer, if it still leads ─▶ in force
//!   others: octets kept by their hash ──────────────▶ pointer: greater, same model ─▶ adopted
//! ```
//!
//! Who has no such octets asks for them. Nothing is adopted that is not greater than what was, or whose octets have
//! another hash than the pointer says.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::control::atomic_file::checksum;
use crate::control::cluster::keys::{Member, PLAN, Pointer};
use crate::control::cluster::messages::{PlanBody, decode, encode};
use crate::control::cluster::store::{Condition, Operation, Outcome, Revision, StoreError};
use crate::state::News;
use crate::state::memory::planning::role::Proposal;
use crate::steer::kept::Clock;

use super::{Body, Leading, Node, Output, Ticket};

/// Other nodes are waited for so long to take a plan's octets: who is slower asks for them.
const PATIENCE: Duration = Duration::from_secs(1);
/// A plan is followed for so long after it came into force; then everybody plans alone.
const FOLLOWED: Duration = Duration::from_secs(300);
/// Plans whose octets are kept: the one in force, the next, and one of a leader that was overtaken.
const MOST_BODIES: usize = 3;
/// Octets that did not come are asked for again.
const FETCH_AGAIN: Duration = Duration::from_secs(1);
/// The most that a plan's octets may be.
pub const MOST_PLAN_BYTES: usize = 32 << 20;

#[derive(Debug, Default)]
pub struct Plans {
    /// The store that the numbers are of.
    store: Option<u64>,
    /// What is in force here, as the store counts.
    last: Option<(Revision, u64)>,
    adopted_at: Option<Instant>,
    bodies: VecDeque<(String, Body)>,
    proposal: Option<Pending>,
    /// Of this epoch.
    numbers: (Revision, u64),
    /// These octets were asked for, then.
    fetching: Option<(String, Instant)>,
    /// So often octets were asked for: each time of another node.
    fetches: usize,
    /// Why the last plan was not taken, for people.
    refused: Option<String>,
}

/// A plan of this node on its way.
#[derive(Debug)]
struct Pending {
    /// The publisher's.
    proposal: u64,
    epoch: Revision,
    number: u64,
    hash: String,
    bytes: usize,
    made_unix_ms: u64,
    /// Who has not said yet that it has the octets.
    waiting: BTreeSet<String>,
    until: Instant,
    /// The store was asked.
    asked: bool,
}

impl Plans {
    /// Numbers of another store mean nothing.
    pub fn store_is(&mut self, store: u64, revision: Revision) {
        let another = self.store.replace(store).is_some_and(|before| before != store);
        if another || self.last.is_some_and(|(epoch, _)| epoch > revision) {
            self.last = None;
        }
    }

    /// Epoch and number of the plan in force, where it came by the store.
    pub fn in_force(&self) -> Option<(Revision, u64)> {
        self.last
    }

    pub fn followed_until(&self) -> Option<Instant> {
        self.adopted_at.map(|at| at + FOLLOWED)
    }

    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    pub fn next(&self) -> Option<Instant> {
        let pending = self.proposal.as_ref().filter(|pending| !pending.asked).map(|pending| pending.until);
        let fetch = self.fetching.as_ref().map(|(_, at)| *at + FETCH_AGAIN);
        pending.into_iter().chain(fetch).chain(self.followed_until()).min()
    }

    /// Keeps a plan's octets until the store says that they hold.
    pub fn keep(&mut self, body: &[u8]) -> Result<(), String> {
        if body.len() > MOST_PLAN_BYTES {
            return Err(format!("a plan of {} octets", body.len()));
        }
        self.insert(hash(body), Arc::new(body.to_vec()));
        Ok(())
    }

    fn insert(&mut self, hash: String, body: Body) {
        self.bodies.retain(|(known, _)| *known != hash);
        self.bodies.push_back((hash, body));
        if self.bodies.len() > MOST_BODIES {
            self.bodies.pop_front();
        }
    }

    /// The octets of a plan, by its hash.
    pub fn body(&self, hash: &[u8]) -> Result<Vec<u8>, String> {
        let found = self.bodies.iter().find(|(known, _)| known.as_bytes() == hash);
        found.map(|(_, body)| body.to_vec()).ok_or_else(|| "this node has no such plan".into())
    }

    /// Another node said that it has the octets, or did not take them.
    pub fn told(&mut self, number: u64, node: &str) {
        if let Some(pending) = self.proposal.as_mut().filter(|pending| pending.number == number) {
            pending.waiting.remove(node);
        }
    }

    pub fn fetched(&mut self, wanted: &str, result: Result<Vec<u8>, String>, now: Instant) {
        match result {
            Ok(body) if hash(&body) == wanted => {
                self.insert(wanted.to_owned(), Arc::new(body));
                self.fetching = None;
            }
            Ok(_) => self.refused = Some("other octets came than the plan in force has".into()),
            Err(error) => self.refused = Some(format!("the plan in force could not be fetched: {error}")),
        }
        if let Some((_, at)) = &mut self.fetching {
            *at = now;
        }
    }
}

impl Node {
    /// The publisher has planned for all. Plans without shares are none.
    pub fn propose(&mut self, proposal: Proposal, now: &Clock) {
        // It may have slept since it last looked.
        self.hold_lease(now.now());
        let Some(epoch) = self.epoch() else { return };
        if !proposal.planning.has_plan() {
            return;
        }
        let body = encode(&PlanBody { unix_ms: now.unix_ms(), planning: proposal.planning });
        if body.len() > MOST_PLAN_BYTES {
            self.plans.refused = Some(format!("a plan of {} octets is too large to be told", body.len()));
            return;
        }
        let (of, number) = &mut self.plans.numbers;
        let in_store = self.view.plan(&self.model).filter(|pointed| pointed.pointer.epoch == epoch);
        let last = if *of == epoch { *number } else { 0 };
        *number = last.max(in_store.map_or(0, |pointed| pointed.pointer.number)).saturating_add(1);
        *of = epoch;
        let (number, hash) = (*number, hash(&body));
        let others: Vec<(String, String)> =
            self.alike().map(|(name, member)| (name.clone(), member.address.clone())).collect();
        for (to, address) in &others {
            let (to, address) = (to.clone(), address.clone());
            self.outputs.push(Output::Send {
                of: Ticket::Plan { number },
                to,
                address,
                kind: "plan",
                body: body.clone(),
            });
        }
        let (bytes, until) = (body.len(), now.now() + PATIENCE);
        self.plans.insert(hash.clone(), Arc::new(body));
        self.plans.proposal = Some(Pending {
            proposal: proposal.number,
            epoch,
            number,
            hash,
            bytes,
            made_unix_ms: now.unix_ms(),
            waiting: others.into_iter().map(|(name, _)| name).collect(),
            until,
            asked: false,
        });
        self.tick(now);
    }

    /// Says in the store what holds, and takes what the store says.
    pub(super) fn follow_plans(&mut self, now: &Clock) {
        self.point(now.now());
        let Some(pointed) = self.view.plan(&self.model) else { return };
        let pointer = pointed.pointer.clone();
        if self.is_of_a_lost_store() {
            self.plans.last = None;
        }
        if self.plans.last.is_some_and(|last| pointer.order() <= last) {
            return;
        }
        if let Some(pending) = self.plans.proposal.take_if(|pending| pending.hash == pointer.hash) {
            return self.agreed(&pending, &pointer, now.now());
        }
        let found = self.plans.bodies.iter().find(|(hash, _)| *hash == pointer.hash).map(|(_, body)| body.clone());
        match found {
            Some(body) => self.adopt(&pointer, &body, now),
            None => self.fetch(&pointer, now.now()),
        }
    }

    /// A store that still knew of the epoch of the last plan would not have an older leader.
    fn is_of_a_lost_store(&self) -> bool {
        let Some((epoch, _)) = self.plans.last.filter(|(epoch, _)| *epoch <= self.view.revision()) else {
            return false;
        };
        self.view.leader(&self.model).is_some_and(|(_, created)| created < epoch)
    }

    /// Only who still leads may: the store looks at that in the same transaction.
    fn point(&mut self, now: Instant) {
        let current = self.view.plan_modified(&self.model);
        let (leads, key) = (self.epoch(), self.key(PLAN, &self.model));
        let Some(pending) = &mut self.plans.proposal else { return };
        if leads != Some(pending.epoch) {
            self.plans.proposal = None;
            return;
        }
        if pending.asked || !pending.waiting.is_empty() && now < pending.until {
            return;
        }
        pending.asked = true;
        let pointer = Pointer {
            epoch: pending.epoch,
            number: pending.number,
            hash: pending.hash.clone(),
            bytes: pending.bytes,
            node: self.identity.node.clone(),
            made_unix_ms: pending.made_unix_ms,
        };
        let (of, epoch) = (Ticket::Pointer { number: pending.number }, pending.epoch);
        let unchanged = match current {
            Some(modified) => Condition::Unmodified(key.clone(), modified),
            None => Condition::Absent(key.clone()),
        };
        let leader = Condition::Created(self.key(super::LEADER, &self.model), epoch);
        let put = Operation::Put { key, value: serde_json::to_vec(&pointer).unwrap_or_default(), lease: None };
        self.commit(of, vec![leader, unchanged], vec![put]);
    }

    /// The store has decided. That it took is told by the pointer itself, too.
    pub(super) fn pointed(&mut self, number: u64, result: &Result<Outcome, StoreError>) {
        let Some(pending) = self.plans.proposal.as_ref().filter(|pending| pending.number == number) else { return };
        match result {
            Ok(Outcome::Done(_)) | Err(StoreError::Away(_)) => {}
            Ok(Outcome::Refused { .. }) => {
                let leads = self.view.leader(&self.model).is_some_and(|(_, created)| created == pending.epoch);
                (self.plans.proposal, self.plans.refused) =
                    (None, Some("the store has a newer plan, or leader".into()));
                if !leads {
                    self.leading = Leading::No;
                }
            }
            Err(error) => (self.plans.refused, self.plans.proposal) = (Some(error.to_string()), None),
        }
    }

    fn agreed(&mut self, pending: &Pending, pointer: &Pointer, now: Instant) {
        (self.plans.last, self.plans.adopted_at) = (Some(pointer.order()), Some(now));
        (self.plans.refused, self.plans.fetching) = (None, None);
        self.outputs.push(Output::News(News::Agreed(pending.proposal)));
    }

    fn adopt(&mut self, pointer: &Pointer, body: &Body, now: &Clock) {
        // Whatever becomes of it: it is not looked at again.
        (self.plans.last, self.plans.fetching) = (Some(pointer.order()), None);
        match decode::<PlanBody>(body) {
            Ok(body) if body.planning.has_plan() => {
                (self.plans.adopted_at, self.plans.refused) = (Some(now.now()), None);
                let clock = Clock::new(now.now(), body.unix_ms);
                self.outputs.push(Output::News(News::Adopted(Arc::new(body.planning), clock)));
            }
            Ok(_) => self.plans.refused = Some("the plan of the leader is empty".into()),
            Err(error) => self.plans.refused = Some(error),
        }
    }

    /// Whoever made the plan has its octets, and so has whoever follows it.
    fn fetch(&mut self, pointer: &Pointer, now: Instant) {
        let waits = |(hash, at): &(String, Instant)| *hash == pointer.hash && now < *at + FETCH_AGAIN;
        if self.plans.fetching.as_ref().is_some_and(waits) {
            return;
        }
        let (made, alike): (Vec<_>, Vec<_>) = self.alike().partition(|(name, _)| **name == pointer.node);
        let all: Vec<(&String, &Member)> = made.into_iter().chain(alike).collect();
        let again = self.plans.fetching.as_ref().is_some_and(|(hash, _)| *hash == pointer.hash);
        let fetches = if again { self.plans.fetches } else { 0 };
        let Some((to, member)) = all.get(fetches % all.len().max(1)) else { return };
        let (to, address, body) = ((*to).clone(), member.address.clone(), pointer.hash.clone().into_bytes());
        (self.plans.fetching, self.plans.fetches) = (Some((pointer.hash.clone(), now)), fetches + 1);
        let of = Ticket::Fetch { hash: pointer.hash.clone() };
        self.outputs.push(Output::Send { of, to, address, kind: "fetch", body });
    }
}

fn hash(body: &[u8]) -> String {
    checksum(&[body]).as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
}
