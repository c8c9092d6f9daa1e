//! Which endpoints are alive: asks each one, over and over, and reports every answer.
//!
//! In: the checks of a [`Model`]. Out: an [`EndpointReport`] after every probe, on a bounded
//! channel. What a region is worth with some endpoints down, and what is answered then, is left
//! to the reader of that channel.
//!
//! ```text
//!   Model ─▶ Prober ─▶ one watch per probe ─▶ ask ─▶ judge ─▶ History ─▶ report
//!                            ▲ schedule              (steer::health)
//! ```
//!
//! A family of an endpoint's addresses is healthy when *every* one of them answers: clients are handed all of them and may
//! use any. IPv6 beside IPv4 is a probe of its own, so that its failure costs AAAA records alone; where this machine has no
//! route for it, nothing is learnt. An address without a route fails otherwise, with an error that says so.
//!
//! Several checks of a region are as many probes of each endpoint; what they mean together is left to the reader.
//!
//! A probe that this machine cannot make, for want of file descriptors, ports or memory, is no evidence: see [`fault`].
//!
//! - [`report`], [`outcome`]: what is told; timings and errors of one probe
//! - [`schedule`]: when to probe next
//! - [`reachability`]: whether it is this server that is cut off
//! - [`budget`]: how many connections there may be, and who waits for one
//! - [`times`]: how long probes take
//! - `watch`: the life of one endpoint's checks
//! - `ask`, `resolve`, `step`, `tls`, `encrypt`, `certificate`: one probe, from name to answer
//! - `http` with `http2` and `judge`, `exchange`, `dns`, `grpc`, `icmp`, `heartbeat`, `exec`: what each kind of check asks

pub mod budget;
pub mod fault;
pub mod outcome;
pub mod reachability;
pub mod schedule;
pub mod times;

mod ask;
mod certificate;
mod dns;
mod encrypt;
mod exchange;
pub(in crate::control) mod exec;
mod grpc;
mod heartbeat;
mod http;
mod http2;
mod icmp;
pub(crate) mod judge;
mod report;
pub(crate) mod resolve;
mod step;
pub(crate) mod tls;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::control::events::history::Events;
use crate::control::supervise::supervise;
use crate::control::vitals::{TaskKind, Vitals};
use crate::model::{AddressPart, Check, EndpointTarget, Model, Probed};
use crate::state::Snapshot;
use crate::steer::health::verdict::{History, Verdict};

pub use heartbeat::Heartbeats;
pub use icmp::icmp_refusal;
pub use outcome::{Phase, ProbeError, Timings};
pub use report::{EndpointKey, EndpointReport};

use ask::Question;
use budget::Budget;
use fault::OwnFaults;
use heartbeat::Pulse;
use reachability::Reachability;
use resolve::Resolver;
use schedule::first_spread;
use times::TimedKind;
use watch::{Memory, Shared, Watched};

/// Bounds on all probes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeLimits {
    /// Connections open at once; 1 to 65,536. As many are taken as are needed: silent endpoints hold one for their
    /// whole timeout, `fall` of them before they are down. Default 10,000, more than 2,000 that all fall silent
    /// at once take. Probes above it wait, and their clock starts when they do.
    pub concurrency: u32,
}

impl Default for ProbeLimits {
    fn default() -> ProbeLimits {
        ProbeLimits { concurrency: 10_000 }
    }
}

/// Probes the endpoints of a model. Dropping it stops all probes.
pub struct Prober {
    sink: mpsc::Sender<EndpointReport>,
    budget: Arc<Budget>,
    faults: Arc<OwnFaults>,
    heartbeats: Arc<Heartbeats>,
    reachability: Arc<Reachability>,
    /// Asks the references; ends with the prober. As a set, because that ends it when dropped.
    asking: JoinSet<()>,
    resolver: Resolver,
    slots: HashMap<EndpointKey, Slot>,
    /// What was found before a restart, until the endpoints are first watched.
    before: HashMap<EndpointKey, Before>,
    vitals: Arc<Vitals>,
}

/// One endpoint under watch.
struct Slot {
    target: EndpointTarget,
    check: Check,
    memory: Arc<Mutex<Memory>>,
    probed: tokio::sync::watch::Receiver<bool>,
    /// One task; as a set, because that ends it when dropped.
    _task: JoinSet<()>,
}

impl Prober {
    /// Probes nothing until it is configured. Where `sink` is full, only the latest report of
    /// each endpoint waits for room.
    pub fn new(sink: mpsc::Sender<EndpointReport>, limits: ProbeLimits) -> Prober {
        let (budget, faults) = (Arc::new(Budget::new(limits.concurrency)), Arc::new(OwnFaults::new("a probe")));
        let (heartbeats, resolver, slots, before, vitals, reachability, asking) = Default::default();
        Prober { sink, budget, faults, heartbeats, reachability, asking, resolver, slots, before, vitals }
    }

    /// The connections of all probes.
    pub fn budget(&self) -> Arc<Budget> {
        self.budget.clone()
    }

    /// The probes that could not be made.
    pub fn faults(&self) -> Arc<OwnFaults> {
        self.faults.clone()
    }

    /// Where heartbeats go, which are asked for as endpoints are.
    pub fn heartbeats(&self) -> Arc<Heartbeats> {
        self.heartbeats.clone()
    }

    /// Whether this server itself is cut off.
    pub fn reachability(&self) -> Arc<Reachability> {
        self.reachability.clone()
    }

    /// Adds to these when this server is cut off, and when no more. Call it before [`Prober::reachability`].
    pub fn recording(self, events: Arc<Events>) -> Prober {
        Prober { reachability: Arc::new(Reachability::recording(events)), ..self }
    }

    /// Counts watches that panicked and were started again.
    pub fn counted(self, vitals: Arc<Vitals>) -> Prober {
        Prober { vitals, ..self }
    }

    /// Goes on from what was found before a restart. Call it before [`Prober::configure`].
    pub fn resume(&mut self, snapshot: &Snapshot, now: Instant) {
        self.before = verdicts(snapshot, now).collect();
    }

    /// Probes what the model's checks say from now on.
    ///
    /// Endpoints whose check is unchanged go on undisturbed. Where only its pace, timeout or
    /// thresholds changed, the history is kept; where what is asked changed, it starts anew.
    /// Endpoints that are gone, or have no check any more, are not probed again.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn configure(&mut self, model: &Model) {
        self.reachability.configure(model);
        if self.asking.is_empty() {
            self.asking.spawn(self.reachability.clone().keep_asking());
        }
        let mut before = std::mem::take(&mut self.slots);
        let unchanged = |slot: &Slot, asked: &Asked| slot.target == asked.target && slot.check == *asked.check;
        let starting =
            asked(model).filter(|asked| !before.get(&asked.key).is_some_and(|slot| unchanged(slot, asked))).count();
        for asked in asked(model) {
            if self.slots.contains_key(&asked.key) {
                continue; // The same address twice in a region: probed once.
            }
            let slot = match before.remove(&asked.key) {
                Some(slot) if unchanged(&slot, &asked) => slot,
                known => {
                    let Asked { key, target, check } = asked.clone();
                    let kept = known.filter(|slot| slot.target == target && slot.check.kind == check.kind);
                    let first_wait = first_spread(starting, check.interval).mul_f64(fastrand::f64());
                    self.start(key, target, check, kept.map(|slot| slot.memory.clone()), first_wait)
                }
            };
            self.slots.insert(asked.key, slot);
        }
        self.before = HashMap::new();
        let asked: HashSet<EndpointKey> = self.slots.keys().map(EndpointKey::whole).collect();
        self.heartbeats.keep(|key| asked.contains(key));
    }

    /// Resolves when every endpoint configured now has been probed once, is probed no more, or could not be asked twice in
    /// a row for a fault of this machine. Of one that is known from before a restart, no probe is awaited.
    ///
    /// The report of that probe is in the sink by then, unless the sink was full. Bounded by the
    /// longest timeout as long as no more connections are needed than the limit allows.
    pub fn first_round(&self) -> impl Future<Output = ()> + Send + 'static {
        let waiting: Vec<_> = self.slots.values().map(|slot| slot.probed.clone()).collect();
        async move {
            for mut probed in waiting {
                // An error means that its watch has ended.
                let _ = probed.wait_for(|&probed| probed).await;
            }
        }
    }

    fn start(
        &self,
        key: EndpointKey,
        target: EndpointTarget,
        check: &Check,
        kept: Option<Arc<Mutex<Memory>>>,
        first_wait: Duration,
    ) -> Slot {
        let watched = kept.is_some() || self.before.contains_key(&key);
        let memory = kept.unwrap_or_else(|| Arc::new(Mutex::new(self.memory(&key, check))));
        let known = {
            let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
            memory.history.set_thresholds(check.rise, check.fall);
            watched && (memory.history.verdict().is_some() || self.before.contains_key(&key))
        };
        let (probed_sender, probed) = tokio::sync::watch::channel(known);
        let pulse = Pulse::of(&self.heartbeats, &key.whole());
        let beside = key.probe.part == AddressPart::Ipv6;
        let question = Arc::new(Question::new(target.clone(), check, self.resolver.clone(), pulse).beside_ipv4(beside));
        let watched = Watched {
            key,
            target: target.clone(),
            interval: check.interval,
            fall: check.fall,
            grace: check.grace,
            timeout: check.timeout,
            connections: u32::try_from(question.connections()).unwrap_or(u32::MAX),
            first_wait,
        };
        let (budget, faults, sink) = (self.budget.clone(), self.faults.clone(), self.sink.clone());
        let reachability = self.reachability.clone();
        let shared = Shared { memory: memory.clone(), budget, faults, reachability, sink, probed: probed_sender };
        let mut task = JoinSet::new();
        let of = watched.key.to_string();
        let (vitals, kind) = (self.vitals.clone(), TimedKind::of(&check.kind));
        task.spawn(supervise(TaskKind::Probes, of, self.vitals.clone(), move || {
            let (question, vitals) = (question.clone(), vitals.clone());
            watch::watch(watched.clone(), shared.clone(), move || {
                let (question, vitals) = (question.clone(), vitals.clone());
                async move { vitals.probes().timed(kind, question.ask()).await }
            })
        }));
        Slot { target, check: check.clone(), memory, probed, _task: task }
    }

    fn memory(&self, key: &EndpointKey, check: &Check) -> Memory {
        match self.before.get(key) {
            Some(before) => {
                let history = resumed(check, before.verdict, before.failures, before.probed_ago);
                Memory::since(history, before.since)
            }
            None => Memory::new(History::new(check.rise, check.fall)),
        }
    }
}

/// The history of an endpoint that was last probed `age` ago, with this verdict, and by nobody since.
///
/// One that is down stays down until its probes say otherwise. One that served does so as long as its next probes could
/// still prove it dead in time; after a longer break it has to prove itself anew. `failures`: so many probes in a row
/// had failed.
pub fn resumed(check: &Check, verdict: Verdict, failures: u32, age: Duration) -> History {
    if verdict.serves() && age > check.interval.saturating_mul(check.fall.max(1)) {
        return History::new(check.rise, check.fall);
    }
    History::after(check.rise, check.fall, verdict, failures)
}

/// What was known of an endpoint before a restart.
struct Before {
    verdict: Verdict,
    /// How many probes in a row had failed.
    failures: u32,
    /// When the verdict became this one.
    since: SystemTime,
    probed_ago: Duration,
}

/// This node's own verdicts in a snapshot of now.
fn verdicts(snapshot: &Snapshot, now: Instant) -> impl Iterator<Item = (EndpointKey, Before)> {
    let wall = SystemTime::now();
    let wall_time = move |at: Instant| wall.checked_sub(now.saturating_duration_since(at)).unwrap_or(wall);
    snapshot.model.region_ids().zip(&snapshot.states).flat_map(move |(id, state)| {
        let name: Arc<str> = snapshot.model.qualified_region_name(id).into();
        let endpoints = snapshot.model.region(id).endpoints.iter().zip(&state.endpoints);
        let probes = endpoints.flat_map(|(endpoint, state)| {
            let label: Arc<str> = endpoint.label().into();
            state.probes.iter().map(move |(id, seen)| (label.clone(), id, seen))
        });
        probes.filter_map(move |(endpoint, id, seen)| {
            let key = EndpointKey { region: name.clone(), endpoint, probe: id.clone() };
            let probed_ago = now.saturating_duration_since(seen.probed_at?);
            // A vote of several vantages tells nothing of what this one has to find out.
            let (verdict, since) = seen.own_verdict();
            let (verdict, since) = (verdict?, wall_time(since?));
            Some((key, Before { verdict, failures: seen.failures, since, probed_ago }))
        })
    })
}

/// What is asked, of whom.
#[derive(Clone)]
struct Asked<'a> {
    key: EndpointKey,
    target: EndpointTarget,
    check: &'a Check,
}

/// All probes of all endpoints that have a check.
fn asked(model: &Model) -> impl Iterator<Item = Asked<'_>> {
    model.region_ids().flat_map(move |id| {
        let region = model.region(id);
        let name: Arc<str> = model.qualified_region_name(id).into();
        region.endpoints.iter().flat_map(move |endpoint| {
            let (name, label): (_, Arc<str>) = (name.clone(), endpoint.label().into());
            region.probes_of(endpoint).map(move |Probed { id, member }| {
                let target = endpoint.target_of(id.part);
                let key = EndpointKey { region: name.clone(), endpoint: label.clone(), probe: id };
                Asked { key, target, check: &member.check }
            })
        })
    })
}
