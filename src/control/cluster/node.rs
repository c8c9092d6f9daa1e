//! One node of a cluster, as a state machine: what was heard comes in, what is to be done and told goes out.
//!
//! ```text
//!   store: listing, changes, outcomes ─▶┐         ┌─▶ leases, transactions
//!   peers: messages, replies ──────────▶│  Node   │─▶ messages
//!   this server: proposals, answers ───▶│         │─▶ news for the publisher
//!   time ──────────────────────────────▶┘         └─▶ when to look again
//! ```
//!
//! No socket and no clock here: the daemon drives it with etcd and real peers, a simulation with a store in memory
//! under a virtual clock. Nothing it waits for holds up an answer: whatever stays out, the node goes on with what it has.
//!
//! - [`view`]: what the store says, as last heard
//! - [`plans`]: how a plan comes into force everywhere
//! - [`say`]: how an operator's word does
//! - [`verdicts`]: what nodes' probes say
//! - [`mend`]: what is put right where the store says what nobody meant

mod mend;
mod plans;
mod say;
mod told;
mod verdicts;
mod view;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::control::load_report::LoadUpdate;
use crate::state::News;
use crate::state::memory::planning::role::{Role, SiteSample};
use crate::steer::kept::Clock;

use super::keys::{LEADER, Leader, Member, NODES, prefix};
use super::messages::{Beat, SharedLoad, decode, decode_demand, encode, encode_demand};
use super::store::{Change, Condition, LeaseId, Listing, Operation, Outcome, Revision, StoreError, Transaction};
use super::words::{Overtaken, Word, Words};
pub use plans::{MOST_PLAN_BYTES, Plans};
pub use say::SayError;
pub use told::SeenProbe;
use told::Verdicts;
pub use view::View;

/// What a node holds ends so long after it was last heard of.
pub const LEASE: Duration = Duration::from_secs(10);
/// The time between two words that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// Followers tell the leader so often what was asked. Every 10 s costs up to half a per cent of what plans are worth.
pub const DEMAND_PERIOD: Duration = Duration::from_secs(2);
/// Nodes tell each other so often what came.
const BEAT_PERIOD: Duration = Duration::from_secs(1);
/// Answers that could not be told wait for so many more times.
const MOST_UNTOLD: usize = 1_000_000;
/// Every so many beats tell how far regions are.
const CONNECTS_EVERY: u64 = 10;
/// Nothing is asked of the store more often, where it failed.
const RETRY: Duration = Duration::from_secs(1);
/// Reports of loads that wait for the next beat.
const MOST_LOADS: usize = 4096;

/// What a node is, from its configuration.
#[derive(Clone, Debug)]
pub struct Identity {
    pub cluster: String,
    pub node: String,
    /// Where others reach it.
    pub address: String,
    /// Another number with each start.
    pub boot: u64,
    pub version: String,
}

/// What was heard.
#[derive(Debug)]
pub enum Input {
    /// All keys below the cluster's prefix.
    Listed(Listing),
    /// What changed since, in order.
    Changed(Vec<Change>),
    /// The store does not answer.
    Away(StoreError),
    Granted {
        asked_at: Instant,
        result: Result<LeaseId, StoreError>,
    },
    KeptAlive {
        asked_at: Instant,
        result: Result<(), StoreError>,
    },
    Committed {
        of: Ticket,
        result: Result<Outcome, StoreError>,
    },
    /// A reply to a message.
    Replied {
        of: Ticket,
        from: String,
        result: Result<Vec<u8>, String>,
    },
}

/// What a reply or an outcome is of.
#[derive(Clone, Debug, PartialEq)]
pub enum Ticket {
    Member,
    Lead,
    Pointer {
        number: u64,
    },
    Beat,
    Demand {
        samples: usize,
    },
    Plan {
        number: u64,
    },
    Fetch {
        hash: String,
    },
    /// A word, and who asked for it.
    Say {
        ask: u64,
        key: String,
        word: Word,
    },
    /// A word that was said here, on its way to all.
    Merge {
        key: String,
        word: Word,
    },
    Trim,
    Verdicts,
    /// The end of a leader that is none.
    Release,
}

/// What is to be done.
#[derive(Debug)]
pub enum Output {
    /// A lease of [`LEASE`].
    Grant,
    KeepAlive(LeaseId),
    Commit {
        of: Ticket,
        transaction: Transaction,
    },
    Send {
        of: Ticket,
        to: String,
        address: String,
        kind: &'static str,
        body: Vec<u8>,
    },
    /// For the publisher.
    News(News),
    /// A load report that another node had: as if it had come here.
    Load(LoadUpdate),
    /// Words have changed: to be kept, and then to hold.
    Words(Box<Words>),
    /// What became of a word.
    Said {
        ask: u64,
        result: Result<(), SayError>,
    },
    /// What was said here does not hold any more.
    Overtaken(Overtaken),
}

/// See the module's head.
pub struct Node {
    identity: Identity,
    model: String,
    reloads: u64,
    ready: bool,
    view: View,
    lease: Option<Lease>,
    /// A lease was asked for then, and nothing was heard of it.
    granting: Option<Instant>,
    kept_alive_at: Option<Instant>,
    /// The store failed; it is asked again then.
    retry: Option<Instant>,
    /// Key and value as put last under this lease.
    registered: Option<(LeaseId, Member)>,
    registering: bool,
    /// The store has it since this revision.
    registered_at: Option<Revision>,
    leading: Leading,
    mending: Mending,
    role: Role,
    plans: Plans,
    verdicts: Verdicts,
    words: Words,
    /// Words that are on their way to all, by key.
    merging: BTreeSet<String>,
    trimming: bool,
    /// The audit was made shorter with this revision.
    trimmed: Revision,
    untold: Vec<SiteSample>,
    beat_due: Option<Instant>,
    beats: u64,
    loads: Vec<LoadUpdate>,
    generation: u64,
    /// How long connections to each region take from here, in milliseconds.
    connects: BTreeMap<String, f32>,
    peers: BTreeMap<String, Heard>,
    /// It has gone: nothing is begun any more.
    left: bool,
    /// What was due then is done, or waits for news.
    settled_at: Option<Instant>,
    outputs: Vec<Output>,
}

/// See [`mend`].
#[derive(Debug, Default)]
struct Mending {
    /// The last epoch of this node under a lease that is over.
    past: Option<Revision>,
    /// Another node was faster: until then nothing is asked.
    lead_again: Option<Instant>,
    /// Own keys were put right then.
    put_right: Option<Instant>,
    /// The leader since this revision is no member; since then.
    ghost: Option<(Revision, Instant)>,
    /// A leader that is none was told to go then.
    released: Option<Instant>,
}

/// What makes this node alive in the store.
#[derive(Clone, Copy, Debug)]
struct Lease {
    id: LeaseId,
    /// Nothing is done in its name after that: counted from before it was asked for.
    valid_until: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leading {
    No,
    Asking,
    /// Since this revision.
    Yes(Revision),
}

/// What was last heard of another node, from itself.
#[derive(Clone, Debug)]
pub struct Heard {
    pub at: Instant,
    pub boot: u64,
    pub number: u64,
    pub generation: u64,
    pub plan: Option<(Revision, u64)>,
    /// By region, in milliseconds.
    pub connects: BTreeMap<String, f32>,
    /// Words that hold at that node alone, by key.
    pub here: Vec<(String, Word)>,
}

impl Node {
    pub fn new(identity: Identity, model: String) -> Node {
        Node {
            identity,
            model,
            reloads: 0,
            ready: true,
            view: View::default(),
            lease: None,
            granting: None,
            kept_alive_at: None,
            retry: None,
            registered: None,
            registering: false,
            registered_at: None,
            leading: Leading::No,
            mending: Mending::default(),
            role: Role::Alone,
            plans: Plans::default(),
            verdicts: Verdicts::default(),
            words: Words::default(),
            merging: BTreeSet::new(),
            trimming: false,
            trimmed: 0,
            untold: Vec::new(),
            beat_due: None,
            beats: 0,
            loads: Vec::new(),
            generation: 0,
            connects: BTreeMap::new(),
            peers: BTreeMap::new(),
            left: false,
            settled_at: None,
            outputs: Vec::new(),
        }
    }

    pub fn name(&self) -> &str {
        &self.identity.node
    }

    pub fn cluster(&self) -> &str {
        &self.identity.cluster
    }

    pub fn model(&self) -> &str {
        &self.model
    }

    pub fn plans(&self) -> &Plans {
        &self.plans
    }

    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn role(&self) -> Role {
        self.role
    }

    pub fn view(&self) -> &View {
        &self.view
    }

    pub fn peers(&self) -> &BTreeMap<String, Heard> {
        &self.peers
    }

    /// What is to be done, in this order.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// Another model is served: what was agreed on before is of another one.
    pub fn set_model(&mut self, model: String, reloads: u64, now: &Clock) {
        self.reloads = reloads;
        if model != self.model {
            self.model = model;
            self.plans = Plans::default();
            self.leading = Leading::No;
            self.untold.clear();
        }
        self.settle(now);
    }

    pub fn set_ready(&mut self, ready: bool, now: &Clock) {
        self.ready = ready;
        self.settle(now);
    }

    /// The number of the snapshot that is answered from.
    pub fn set_generation(&mut self, generation: u64) {
        self.generation = generation;
    }

    /// This node is about to end: the lease that is to be revoked, so that all know at once.
    pub fn leave(&mut self) -> Option<LeaseId> {
        self.left = true;
        let lease = self.lease.map(|lease| lease.id);
        self.lose_lease();
        lease
    }

    /// How long connections to each region take from here, in milliseconds.
    pub fn set_connects(&mut self, connects: BTreeMap<String, f32>) {
        self.connects = connects;
    }

    pub fn connects(&self) -> &BTreeMap<String, f32> {
        &self.connects
    }

    /// Answers that were given here, for the leader.
    pub fn tell_demand(&mut self, samples: Vec<SiteSample>) {
        let room = MOST_UNTOLD.saturating_sub(self.untold.len());
        self.untold.extend(samples.into_iter().take(room));
    }

    /// A load report came here.
    pub fn tell_load(&mut self, update: LoadUpdate) {
        if update.outcome.is_ok() && self.loads.len() < MOST_LOADS {
            self.loads.push(update);
        }
    }

    /// Something was heard.
    pub fn hear(&mut self, input: Input, now: &Clock) {
        match input {
            Input::Listed(listing) => {
                self.hear_of_store(&listing);
                self.view.list(listing, &prefix(&self.identity.cluster));
                self.hear_words(true);
            }
            Input::Changed(changes) => {
                self.view.change(changes, &prefix(&self.identity.cluster));
                self.hear_words(false);
            }
            Input::Away(error) => self.view.away(error.to_string(), now.now()),
            Input::Granted { asked_at, result } => self.granted(asked_at, result, now),
            Input::KeptAlive { asked_at, result } => self.kept_alive(asked_at, result, now.now()),
            Input::Committed { of, result } => self.committed(of, result, now),
            Input::Replied { of, from, result } => self.replied(of, &from, result, now),
        }
        self.settle(now);
    }

    /// A message from another node came. The reply to it.
    ///
    /// # Errors
    /// The reason why it is refused.
    pub fn receive(&mut self, from: &str, kind: &str, body: &[u8], now: &Clock) -> Result<Vec<u8>, String> {
        let reply = match kind {
            "beat" => self.take_beat(from, body, now).map(|()| Vec::new()),
            "demand" => self.take_demand(from, body).map(|()| Vec::new()),
            "plan" => self.plans.keep(body).map(|()| Vec::new()),
            "fetch" => self.plans.body(body),
            kind => Err(format!("a message of an unknown kind, `{kind}`")),
        };
        self.settle(now);
        reply
    }

    /// Time has passed.
    pub fn tick(&mut self, now: &Clock) {
        self.settle(now);
    }

    /// When to [`Node::tick`] next: never a moment that has passed, or whoever drives it would do nothing else.
    pub fn next(&self) -> Option<Instant> {
        let alive = self.kept_alive_at.map(|at| at + KEEP_ALIVE);
        let ends = self.lease.map(|lease| lease.valid_until);
        let (plans, stale) = (self.plans.next(), self.next_silence());
        [alive, ends, self.retry, self.beat_due, plans, stale]
            .into_iter()
            .flatten()
            .filter(|&at| self.settled_at.is_none_or(|settled| settled < at))
            .min()
    }

    /// Does what is due.
    fn settle(&mut self, now: &Clock) {
        self.settled_at = Some(now.now());
        self.retry = self.retry.filter(|&at| now.now() < at);
        self.hold_lease(now.now());
        self.mend(now.now());
        self.register();
        self.lead();
        self.follow_plans(now);
        self.take_role(now.now());
        self.tell_leader();
        self.tell_verdicts();
        self.hear_vantages(now.now());
        self.merge_words();
        self.trim_audit();
        self.beat(now);
    }

    fn hold_lease(&mut self, now: Instant) {
        if self.lease.is_some_and(|lease| lease.valid_until <= now) {
            self.lose_lease();
        }
        if !self.view.is_there() || self.retry.is_some() || self.left {
            return;
        }
        match self.lease {
            None if self.granting.is_none_or(|at| at + LEASE <= now) => {
                self.granting = Some(now);
                self.outputs.push(Output::Grant);
            }
            Some(lease) if self.kept_alive_at.is_none_or(|at| at + KEEP_ALIVE <= now) => {
                self.kept_alive_at = Some(now);
                self.outputs.push(Output::KeepAlive(lease.id));
            }
            _ => {}
        }
    }

    fn lose_lease(&mut self) {
        (self.lease, self.kept_alive_at, self.registered) = (None, None, None);
        if let Leading::Yes(epoch) = self.leading {
            self.mending.past = Some(epoch);
        }
        (self.registering, self.registered_at, self.leading) = (false, None, Leading::No);
        self.verdicts.forget_told();
    }

    fn granted(&mut self, asked_at: Instant, result: Result<LeaseId, StoreError>, now: &Clock) {
        self.granting = None;
        match result {
            Ok(id) => {
                self.lease = Some(Lease { id, valid_until: asked_at + LEASE });
                self.kept_alive_at = Some(asked_at);
            }
            Err(error) => self.failed(&error, now.now()),
        }
    }

    fn kept_alive(&mut self, asked_at: Instant, result: Result<(), StoreError>, now: Instant) {
        match (result, &mut self.lease) {
            (Ok(()), Some(lease)) => lease.valid_until = lease.valid_until.max(asked_at + LEASE),
            (Err(StoreError::LeaseOver), _) => self.lose_lease(),
            // Asked again while the lease lasts.
            (Err(error), _) => self.failed(&error, now),
            (Ok(()), None) => {}
        }
    }

    fn failed(&mut self, error: &StoreError, now: Instant) {
        self.view.trouble(error.to_string());
        self.retry = Some(now + RETRY);
    }

    fn key(&self, of: &str, name: &str) -> String {
        format!("{}{of}{name}", prefix(&self.identity.cluster))
    }

    /// What it says of itself.
    pub fn member(&self) -> Member {
        Member {
            address: self.identity.address.clone(),
            boot: self.identity.boot,
            version: self.identity.version.clone(),
            model: self.model.clone(),
            reloads: self.reloads,
            ready: self.ready,
        }
    }

    /// Says in the store that it is there, and what it is.
    fn register(&mut self) {
        let (Some(lease), member) = (self.lease, self.member()) else { return };
        let known = self.registered.as_ref().is_some_and(|(id, known)| *id == lease.id && *known == member);
        if known || self.registering || self.retry.is_some() {
            return;
        }
        self.registering = true;
        let value = serde_json::to_vec(&member).unwrap_or_default();
        let put = Operation::Put { key: self.key(NODES, &self.identity.node), value, lease: Some(lease.id) };
        (self.registered, self.registered_at) = (Some((lease.id, member)), None);
        self.commit(Ticket::Member, Vec::new(), vec![put]);
    }

    fn commit(&mut self, of: Ticket, conditions: Vec<Condition>, operations: Vec<Operation>) {
        self.outputs.push(Output::Commit { of, transaction: Transaction { conditions, operations } });
    }

    /// Asks to lead where nobody does. Who leads, and since which revision, is what the store says.
    fn lead(&mut self) {
        let Some(lease) = self.lease.filter(|_| self.view.is_there()) else { return };
        match self.view.leader(&self.model) {
            // It led under a lease that is over: this view is of before.
            Some((_, created)) if Some(created) == self.mending.past => self.leading = Leading::No,
            Some((leader, created)) if leader.node == self.identity.node && leader.boot == self.identity.boot => {
                self.leading = Leading::Yes(created);
            }
            Some(_) => self.leading = Leading::No,
            None if self.leading == Leading::Asking || self.retry.is_some() || self.mending.lead_again.is_some() => {}
            // The store said so before it told what it did.
            None if matches!(self.leading, Leading::Yes(since) if since > self.view.revision()) => {}
            // There is none, or it was deleted: by hand, or since a lease was over.
            None => {
                self.leading = Leading::Asking;
                let leader = Leader { node: self.identity.node.clone(), boot: self.identity.boot };
                let (key, value) = (self.key(LEADER, &self.model), serde_json::to_vec(&leader).unwrap_or_default());
                let put = Operation::Put { key: key.clone(), value, lease: Some(lease.id) };
                self.commit(Ticket::Lead, vec![Condition::Absent(key)], vec![put]);
            }
        }
    }

    fn committed(&mut self, of: Ticket, result: Result<Outcome, StoreError>, now: &Clock) {
        match (&of, &result) {
            (_, Err(error)) => self.failed(error, now.now()),
            // What is newer there is heard soon.
            (Ticket::Merge { .. }, Ok(Outcome::Refused { .. })) => self.retry = Some(now.now() + RETRY),
            _ => {}
        }
        match of {
            Ticket::Member => {
                self.registering = false;
                match result {
                    Ok(Outcome::Done(revision)) => self.registered_at = Some(revision),
                    _ => self.registered = None,
                }
            }
            // Who leads is told by the store itself.
            Ticket::Lead if self.leading == Leading::Asking => {
                match result {
                    Ok(Outcome::Done(revision)) => self.leading = Leading::Yes(revision),
                    // Somebody does. That is heard soon; where it is not, this node need not ask all the time.
                    Ok(Outcome::Refused { .. }) => {
                        (self.leading, self.mending.lead_again) = (Leading::No, Some(now.now() + RETRY));
                    }
                    Err(_) => self.leading = Leading::No,
                }
            }
            Ticket::Pointer { number } => self.pointed(number, &result),
            Ticket::Say { ask, key, word } => self.answered(ask, &key, word, result),
            Ticket::Merge { key, word } => self.merged(&key, word, result),
            Ticket::Trim => {
                self.trimming = false;
                if let Ok(Outcome::Done(revision)) = result {
                    self.trimmed = revision;
                }
            }
            Ticket::Verdicts => self.verdicts.put(result.ok()),
            _ => {}
        }
    }

    /// The epoch in which this node may act as the leader.
    fn epoch(&self) -> Option<Revision> {
        match self.leading {
            Leading::Yes(epoch) => self.lease.is_some().then_some(epoch),
            _ => None,
        }
    }

    /// Whose plans hold here.
    fn take_role(&mut self, now: Instant) {
        let followed = self.plans.followed_until().is_some_and(|until| now < until);
        let led_by_other = self.view.is_there()
            && self.view.leader(&self.model).is_some_and(|(leader, _)| leader.node != self.identity.node);
        let role = match self.epoch() {
            Some(_) => Role::Leader,
            None if led_by_other || followed => Role::Follower,
            // The store may answer again soon, and there is no plan of another node to follow: as before.
            None => Role::Alone,
        };
        if role != self.role {
            self.role = role;
            self.outputs.push(Output::News(News::Role(role)));
        }
    }

    /// Other nodes that are there and serve the same model.
    fn alike(&self) -> impl Iterator<Item = (&String, &Member)> {
        self.others().filter(|(_, member)| member.model == self.model)
    }

    fn others(&self) -> impl Iterator<Item = (&String, &Member)> {
        self.view.members().iter().filter(|(name, _)| **name != self.identity.node)
    }

    fn tell_leader(&mut self) {
        if self.role != Role::Follower {
            self.untold.clear();
        }
        let leader = self.view.leader(&self.model).map(|(leader, _)| leader.node.clone());
        let member = leader.and_then(|to| Some((to.clone(), self.view.members().get(&to)?.address.clone())));
        let Some((to, address)) = member.filter(|_| !self.untold.is_empty()) else { return };
        let samples = std::mem::take(&mut self.untold);
        let (of, body) = (Ticket::Demand { samples: samples.len() }, encode_demand(&samples));
        self.outputs.push(Output::Send { of, to, address, kind: "demand", body });
    }

    fn take_demand(&mut self, from: &str, body: &[u8]) -> Result<(), String> {
        if self.epoch().is_none() {
            return Err("this node does not lead".into());
        }
        // Its numbers are of that node's model.
        if self.view.members().get(from).is_none_or(|member| member.model != self.model) {
            return Err("this node serves another model".into());
        }
        let samples = decode_demand(body)?;
        self.outputs.push(Output::News(News::DemandOfOthers(samples)));
        Ok(())
    }

    fn beat(&mut self, now: &Clock) {
        let due = *self.beat_due.get_or_insert(now.now());
        if now.now() < due {
            return;
        }
        self.beat_due = Some(now.now() + BEAT_PERIOD);
        self.beats += 1;
        let loads = std::mem::take(&mut self.loads);
        let connects = match self.beats % CONNECTS_EVERY == 1 {
            true => self.connects.iter().map(|(region, ms)| (region.clone(), *ms)).collect(),
            false => Vec::new(),
        };
        let beat = Beat {
            boot: self.identity.boot,
            number: self.beats,
            generation: self.generation,
            plan: self.plans.in_force(),
            loads: loads.iter().filter_map(|update| SharedLoad::of(update, now)).collect(),
            connects,
            here: self.words.here().map(|(key, word)| (key.to_owned(), word.clone())).collect(),
        };
        let body = encode(&beat);
        let to: Vec<(String, String)> =
            self.others().map(|(name, member)| (name.clone(), member.address.clone())).collect();
        for (to, address) in to {
            self.outputs.push(Output::Send { of: Ticket::Beat, to, address, kind: "beat", body: body.clone() });
        }
    }

    fn take_beat(&mut self, from: &str, body: &[u8], now: &Clock) -> Result<(), String> {
        let beat: Beat = decode(body)?;
        if !self.view.members().contains_key(from) {
            return Err("this node does not know of such a member yet".into());
        }
        let known = self.peers.get(from).filter(|known| known.boot == beat.boot);
        if known.is_some_and(|known| known.number >= beat.number) {
            return Ok(()); // it came late
        }
        let connects = match (beat.connects.is_empty(), known) {
            (true, Some(known)) => known.connects.clone(),
            _ => beat.connects.into_iter().collect(),
        };
        let heard = Heard {
            at: now.now(),
            boot: beat.boot,
            number: beat.number,
            generation: beat.generation,
            plan: beat.plan,
            connects,
            here: beat.here,
        };
        self.peers.insert(from.to_owned(), heard);
        let loads = beat.loads.into_iter().filter_map(|load| load.update(now));
        self.outputs.extend(loads.map(Output::Load));
        Ok(())
    }

    fn replied(&mut self, of: Ticket, from: &str, result: Result<Vec<u8>, String>, now: &Clock) {
        match of {
            Ticket::Plan { number } => self.plans.told(number, from),
            Ticket::Fetch { hash } => self.plans.fetched(&hash, result, now.now()),
            _ => {}
        }
        self.peers.retain(|name, _| self.view.members().contains_key(name));
    }
}

/// A name for a model as far as plans go by it: nodes with the same one may follow one plan. Sixteen hexadecimal digits.
pub fn model_hash(model: &crate::model::Model, seed: u64) -> String {
    let of =
        format!("{:?} {:?} {:?} {:?}", model.regions, model.services, model.steering, (seed, super::messages::FORM));
    let zones: Vec<&crate::model::Name> = model.zones.iter().map(|zone| &zone.origin).collect();
    let digest = crate::control::atomic_file::checksum(&[of.as_bytes(), format!("{zones:?}").as_bytes()]);
    digest.as_ref().iter().take(8).map(|octet| format!("{octet:02x}")).collect()
}

/// A plan's octets, shared between those who hold them.
pub type Body = Arc<Vec<u8>>;
