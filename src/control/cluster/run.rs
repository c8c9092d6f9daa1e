//! Drives a [`Node`] with the real etcd and real peers.
//!
//! ```text
//!   etcd: listing, watch ─▶┐           ┌─▶ etcd, other nodes: each in a task of its own
//!   other nodes ──────────▶│  one loop │
//!   writer, admin ────────▶│           └─▶ writer: news, words, loads
//!   time ─────────────────▶┘
//! ```
//!
//! The loop waits for nothing but news: what takes time is done beside it, and told to it.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use crate::control::clock;
use crate::control::readiness::Readiness;
use crate::control::writer::Command;
use crate::model::{AddressPart, RegionId};
use crate::state::SharedSnapshot;
use crate::steer::health::effective::RegionState;

use super::duty::{Duty, own_regions};
use super::etcd::Etcd;
use super::handle::{Ask, Asked, StatusOf};
use super::keys::prefix;
use super::node::{Input, LEASE, Node, Output, SayError, Ticket};
use super::peers::{PeerClient, Received};
use super::since::Since;
use super::status::{ClusterStatus, Counts};
use super::store::{LeaseId, StoreError};
use super::words::{InForce, Words};
use super::words_file::WordsFile;

/// The store is asked anew so long after it failed; a little more each time.
const LISTEN_AGAIN: Duration = Duration::from_millis(500);
const LISTEN_AGAIN_AT_MOST: Duration = Duration::from_secs(5);
/// Messages that wait for the loop.
const QUEUE: usize = 1024;
/// The loop looks after the status that people read so often at most.
const TOLD_EVERY: Duration = Duration::from_millis(500);
/// Who fetches which load report is looked at so often.
const SHARED_OUT_EVERY: Duration = Duration::from_secs(5);
/// Another node is there while it was heard within so many seconds.
const HEARD_S: f64 = 5.0;
/// Each kind of message to a node has this long.
const BEAT_WITHIN: Duration = Duration::from_secs(2);
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// Nodes' own statuses are waited for so long.
const STATUS_WITHIN: Duration = Duration::from_secs(3);
/// So many who want these are served at once; the others wait.
const MOST_ASKING: usize = 4;
/// Nothing is said of a store that was not heard yet before this.
const AT_START: f64 = 3.0;

/// Whom the loop tells, and by what it reaches others.
pub struct Driven {
    pub cluster: String,
    pub etcd: Arc<Etcd>,
    pub peers: Arc<PeerClient>,
    pub received: mpsc::Receiver<Received>,
    pub commands: mpsc::Sender<Command>,
    pub words: WordsFile,
    /// What this server says of itself, for other nodes' operators: JSON.
    pub own_status: Arc<dyn Fn() -> Vec<u8> + Send + Sync>,
    pub readiness: Arc<Readiness>,
    /// The network decides which node a client reaches: one that is cut off asks to be passed over.
    pub anycast: bool,
    pub shared: SharedSnapshot,
    pub duty: Arc<Duty>,
}

/// Drives the node until whoever asks has gone. `held`: what operators had said at its start.
pub async fn run(mut node: Node, driven: Driven, asked: Asked, held: InForce) {
    let announced = Announced { readiness: driven.readiness, anycast: driven.anycast, shared: driven.shared };
    let duty = driven.duty;
    let Driven { cluster, etcd, peers, received, commands, words, own_status, .. } = driven;
    let (inputs, heard) = mpsc::channel(QUEUE);
    let orders = Arc::new(Orders::default());
    // Not on a thread that serves others: the disk may hang.
    let file = words.clone();
    let mut kept = tokio::task::spawn_blocking(move || file.load()).await.unwrap_or_default();
    kept.add_local(&held, node.name());
    node.restore_words(kept);
    let watching = tokio::spawn(watch(etcd.clone(), prefix(&cluster), inputs.clone()));
    let carrying = tokio::spawn(carry(words, orders.clone(), commands.clone()));
    let Asked { asks, status } = asked;
    let (beating, tally) = (Arc::default(), Arc::default());
    let outside = Outside { etcd, peers, inputs, orders, commands, beating, tally };
    let mut driver = Driver {
        node,
        outside,
        own_status,
        status,
        says: BTreeMap::new(),
        said: 0,
        told_at: None,
        known: Known::default(),
        since: Since::new(Instant::now()),
        telling: Arc::new(Semaphore::new(1)),
        asking: Arc::new(Semaphore::new(MOST_ASKING)),
        announced,
        duty,
        shared_out: None,
    };
    driver.run(asks, heard, received).await;
    watching.abort();
    carrying.abort();
}

struct Driver {
    node: Node,
    outside: Outside,
    own_status: Arc<dyn Fn() -> Vec<u8> + Send + Sync>,
    status: Arc<ArcSwap<ClusterStatus>>,
    says: BTreeMap<u64, oneshot::Sender<Result<(), SayError>>>,
    said: u64,
    told_at: Option<Instant>,
    known: Known,
    since: Since,
    /// This server's own status is worked out once at a time.
    telling: Arc<Semaphore>,
    asking: Arc<Semaphore>,
    announced: Announced,
    duty: Arc<Duty>,
    /// When it was last found out who fetches what.
    shared_out: Option<Instant>,
}

/// Whether routers should send clients here.
struct Announced {
    readiness: Arc<Readiness>,
    anycast: bool,
    shared: SharedSnapshot,
}

/// What was last told in the log.
#[derive(Default)]
struct Known {
    members: BTreeSet<String>,
    leader: Option<String>,
    there: Option<bool>,
    models: BTreeMap<String, String>,
}

struct Outside {
    etcd: Arc<Etcd>,
    peers: Arc<PeerClient>,
    inputs: mpsc::Sender<Input>,
    orders: Arc<Orders>,
    commands: mpsc::Sender<Command>,
    /// Nodes that have not taken the last beat yet.
    beating: Arc<std::sync::Mutex<BTreeSet<String>>>,
    tally: Arc<Tally>,
}

/// What goes in and out.
#[derive(Default)]
struct Tally {
    writes: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

/// What has to happen in order: a word is kept, then holds, then is acknowledged.
enum Order {
    Words(Box<Words>),
    Said(oneshot::Sender<Result<(), SayError>>, Result<(), SayError>),
}

impl Driver {
    async fn run(
        &mut self,
        mut asks: mpsc::Receiver<Ask>,
        mut heard: mpsc::Receiver<Input>,
        mut received: mpsc::Receiver<Received>,
    ) {
        loop {
            self.put_out();
            self.tell();
            let next = self.node.next().map(tokio::time::Instant::from_std);
            let wake = next.unwrap_or_else(|| tokio::time::Instant::now() + LEASE);
            tokio::select! {
                ask = asks.recv() => match ask {
                    Some(ask) => self.ask(ask),
                    None => return,
                },
                Some(input) = heard.recv() => self.hear(input),
                Some(message) = received.recv() => self.receive(message),
                () = tokio::time::sleep_until(wake) => self.node.tick(&clock::read()),
            }
        }
    }

    fn ask(&mut self, ask: Ask) {
        let now = clock::read();
        match ask {
            Ask::Say { key, word, here, reply } => {
                self.said += 1;
                self.says.insert(self.said, reply);
                self.node.say(self.said, key, word, here, &now);
            }
            Ask::Proposal(proposal) => self.node.propose(*proposal, &now),
            Ask::Demand(samples) => {
                self.node.tell_demand(samples);
                self.node.tick(&now);
            }
            Ask::Load(update) => self.node.tell_load(update),
            Ask::Model { hash, reloads } => self.node.set_model(hash, reloads, &now),
            Ask::Generation(generation) => self.node.set_generation(generation),
            Ask::Verdicts(own) => self.node.set_verdicts(own, &now),
            Ask::Ready(ready) => self.node.set_ready(ready, &now),
            Ask::Leave { reply } => self.outside.revoke(self.node.leave(), reply),
            // Whoever asked may have given up.
            Ask::Sights(reply) => _ = reply.send(self.status().with_sights(&self.node)),
            Ask::Statuses(reply) => self.ask_statuses(reply),
        }
    }

    fn hear(&mut self, input: Input) {
        match &input {
            Input::Committed { result: Ok(_), .. } => self.since.asked(None, Instant::now()),
            Input::Committed { result: Err(error), .. } | Input::Granted { result: Err(error), .. } => {
                self.since.asked(Some(error.to_string()), Instant::now());
            }
            _ => {}
        }
        self.node.hear(input, &clock::read());
    }

    fn receive(&mut self, message: Received) {
        let Received { from, kind, body, reply } = message;
        self.outside.tally.received.fetch_add(body.len() as u64, Relaxed);
        let tally = self.outside.tally.clone();
        // Whoever asked may have given up.
        let answer = move |outcome: Result<Vec<u8>, String>| {
            tally.sent.fetch_add(outcome.as_ref().map_or(0, |reply| reply.len() as u64), Relaxed);
            let _ = reply.send(outcome);
        };
        if kind == "status" {
            let (own, telling) = (self.own_status.clone(), self.telling.clone());
            tokio::spawn(async move {
                let Ok(_place) = telling.acquire_owned().await else { return };
                let status = tokio::task::spawn_blocking(move || own()).await;
                answer(status.map_err(|_| "its status could not be worked out".into()));
            });
            return;
        }
        answer(self.node.receive(&from, &kind, &body, &clock::read()));
    }

    /// Asks all other nodes at once, beside the loop.
    fn ask_statuses(&self, reply: oneshot::Sender<Vec<StatusOf>>) {
        let members = self.node.view().members().iter().filter(|(name, _)| *name != self.node.name());
        let others: Vec<(String, String)> = members.map(|(name, of)| (name.clone(), of.address.clone())).collect();
        let (peers, asking) = (self.outside.peers.clone(), self.asking.clone());
        tokio::spawn(async move {
            let Ok(_place) = asking.acquire_owned().await else { return };
            if reply.is_closed() {
                return;
            }
            let mut asked = JoinSet::new();
            for (node, address) in others {
                let peers = peers.clone();
                asked.spawn(async move {
                    let status = peers.send(&address, &node, "status", Vec::new(), STATUS_WITHIN).await;
                    StatusOf { node, status: status.map_err(|error| error.to_string()) }
                });
            }
            let mut statuses = asked.join_all().await;
            statuses.sort_by(|one, other| one.node.cmp(&other.node));
            let _ = reply.send(statuses);
        });
    }

    /// As it is now.
    fn status(&mut self) -> ClusterStatus {
        let now = clock::read();
        let mut status = ClusterStatus::of(&self.node, &self.outside.etcd.health(), &self.status.load(), &now);
        status.counts = self.outside.tally.counts();
        self.since.fill(&mut status, now.now());
        status
    }

    fn put_out(&mut self) {
        for output in self.node.take_outputs() {
            match output {
                Output::Said { ask, result } => {
                    if result.is_err() {
                        self.since.refused_word();
                    }
                    if let Some(reply) = self.says.remove(&ask) {
                        self.outside.orders.push(Order::Said(reply, result));
                    }
                }
                Output::Overtaken(word) => warn!(
                    key = word.key,
                    "{} was said here while the cluster's store was away; {}, which was said to node {}, is newer and holds",
                    word.here.said.told(),
                    word.shared.said.told(),
                    word.shared.by
                ),
                Output::Load(update) => {
                    self.duty.hear(&update.region, Instant::now());
                    self.outside.command(Command::LoadOfOthers(update));
                }
                output => self.outside.put_out(output),
            }
        }
    }

    /// Finds out which load reports this node fetches, by how far regions are from all that are there.
    fn share_out(&mut self, status: &ClusterStatus, now: Instant) {
        if self.shared_out.is_some_and(|at| now.saturating_duration_since(at) < SHARED_OUT_EVERY) {
            return;
        }
        self.shared_out = Some(now);
        let snapshot = self.announced.shared.load_full();
        let model = &snapshot.model;
        let of = |(id, state): (RegionId, &RegionState)| {
            let nearest = state.endpoints.iter().filter_map(|endpoint| endpoint.connect_ms).min_by(f64::total_cmp)?;
            Some((model.qualified_region_name(id), nearest as f32))
        };
        let own: BTreeMap<String, f32> = model.region_ids().zip(&snapshot.states).filter_map(of).collect();
        let there = status.nodes.iter().filter(|node| node.heard_s.is_some_and(|age| age < HEARD_S));
        let mut connects: BTreeMap<String, BTreeMap<String, f32>> =
            there.map(|node| (node.name.clone(), node.connects.iter().cloned().collect())).collect();
        connects.insert(status.node.clone(), own.clone());
        let all: HashSet<String> = model.region_ids().map(|id| model.qualified_region_name(id)).collect();
        self.duty.take(own_regions(&status.node, &all, &connects), &all);
        self.node.set_connects(own);
    }

    /// Tells people how it is.
    fn tell(&mut self) {
        let now = Instant::now();
        if self.told_at.is_some_and(|at| now.saturating_duration_since(at) < TOLD_EVERY) {
            return;
        }
        self.told_at = Some(now);
        let status = self.status();
        let ready = self.announced.settle(&status);
        self.node.set_ready(ready, &clock::read());
        self.share_out(&status, now);
        self.known.tell(&status);
        self.status.store(Arc::new(status));
    }
}

impl Announced {
    /// A node that is cut off by the others' word asks to be passed over, unless nobody else would be there. Whether
    /// this one is ready.
    fn settle(&self, status: &ClusterStatus) -> bool {
        let snapshot = self.shared.load();
        let vantages = snapshot.vantages.as_ref();
        let cut_off = vantages.and_then(|all| all.cut_off.iter().find(|cut_off| cut_off.part == AddressPart::Main));
        let others = status.nodes.iter().filter(|node| node.ready && node.heard_s.is_some_and(|age| age < HEARD_S));
        let why = cut_off.filter(|_| self.anycast && others.count() > 0).map(|cut_off| cut_off.why.told());
        self.readiness.set_isolated(why);
        self.readiness.reasons(snapshot.model.zones.len()).is_empty()
    }
}

impl Known {
    /// Says in the log what has changed.
    fn tell(&mut self, status: &ClusterStatus) {
        let early =
            !status.etcd.there && status.etcd.error.is_none() && status.etcd.away_s.is_none_or(|s| s < AT_START);
        if !early && self.there.replace(status.etcd.there) != Some(status.etcd.there) {
            match status.etcd.there {
                true => info!(endpoint = status.etcd.endpoint, "the cluster's store answers"),
                false => warn!(
                    "the cluster's store does not answer: {}; answers go on by what is known, and nothing can be said to all nodes",
                    status.etcd.error.as_deref().unwrap_or("it was not heard yet")
                ),
            }
        }
        let others = status.nodes.iter().filter(|node| node.name != status.node);
        let members: BTreeSet<String> = others.map(|node| node.name.clone()).collect();
        for name in members.difference(&self.members) {
            info!(node = name, "a node of the cluster is there");
        }
        for name in self.members.difference(&members) {
            warn!(node = name, "a node of the cluster is gone");
        }
        if self.leader != status.leader {
            info!(leader = status.leader, "who plans for this model");
            self.leader.clone_from(&status.leader);
        }
        for node in status.nodes.iter().filter(|node| node.model != status.model) {
            if self.models.get(&node.name) != Some(&node.model) {
                warn!(
                    node = node.name,
                    "it serves another model ({}, here {}): each plans for its own until the configurations are alike",
                    node.model,
                    status.model
                );
            }
        }
        self.models = status.nodes.iter().map(|node| (node.name.clone(), node.model.clone())).collect();
        self.members = members;
    }
}

impl Tally {
    fn counts(&self) -> Counts {
        let [writes, sent_bytes, received_bytes] =
            [&self.writes, &self.sent, &self.received].map(|count| count.load(Relaxed));
        Counts { writes, sent_bytes, received_bytes, ..Counts::default() }
    }
}

impl Outside {
    fn put_out(&self, output: Output) {
        match output {
            Output::Grant | Output::KeepAlive(_) | Output::Commit { .. } => self.ask_store(output),
            Output::Send { of, to, address, kind, body } => self.send(of, to, address, kind, body),
            Output::News(news) => self.command(Command::Cluster(Box::new(news))),
            Output::Words(words) => self.orders.push(Order::Words(words)),
            // Done before it comes here.
            Output::Said { .. } | Output::Overtaken(_) | Output::Load(_) => {}
        }
    }

    fn ask_store(&self, output: Output) {
        self.tally.writes.fetch_add(u64::from(matches!(output, Output::Commit { .. })), Relaxed);
        let (etcd, inputs) = (self.etcd.clone(), self.inputs.clone());
        tokio::spawn(async move {
            let asked_at = Instant::now();
            let input = match output {
                Output::Grant => Input::Granted { asked_at, result: etcd.grant(LEASE).await },
                Output::KeepAlive(lease) => Input::KeptAlive { asked_at, result: etcd.keep_alive(lease).await },
                Output::Commit { of, transaction } => Input::Committed { of, result: etcd.commit(&transaction).await },
                _ => return,
            };
            let _ = inputs.send(input).await;
        });
    }

    fn revoke(&self, lease: Option<LeaseId>, reply: oneshot::Sender<()>) {
        let etcd = self.etcd.clone();
        tokio::spawn(async move {
            if let Some(lease) = lease
                && let Err(error) = etcd.revoke(lease).await
            {
                debug!("others see this node for some seconds yet: {error}");
            }
            let _ = reply.send(());
        });
    }

    fn send(&self, of: Ticket, to: String, address: String, kind: &'static str, body: Vec<u8>) {
        let beating = (of == Ticket::Beat).then(|| self.beating.clone());
        if let Some(beating) = &beating
            && !locked(beating).insert(to.clone())
        {
            return; // it has not taken the last one yet
        }
        let (peers, inputs, tally) = (self.peers.clone(), self.inputs.clone(), self.tally.clone());
        tally.sent.fetch_add(body.len() as u64, Relaxed);
        tokio::spawn(async move {
            let within = if beating.is_some() { BEAT_WITHIN } else { BODY_WITHIN };
            let result = peers.send(&address, &to, kind, body, within).await.map_err(|error| error.to_string());
            match &result {
                Ok(reply) => _ = tally.received.fetch_add(reply.len() as u64, Relaxed),
                Err(error) => debug!("{error}"),
            }
            if let Some(beating) = beating {
                locked(&beating).remove(&to);
            }
            let _ = inputs.send(Input::Replied { of, from: to, result }).await;
        });
    }

    /// The writer is told in order. Where it is busy for long, this waits in a task.
    fn command(&self, command: Command) {
        if let Err(mpsc::error::TrySendError::Full(command)) = self.commands.try_send(command) {
            let commands = self.commands.clone();
            tokio::spawn(async move {
                let _ = commands.send(command).await;
            });
        }
    }
}

fn locked<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What waits to be carried out: words are always the latest, and who waits for an outcome is bounded by the API.
#[derive(Default)]
struct Orders {
    waiting: std::sync::Mutex<VecDeque<Order>>,
    news: Notify,
}

impl Orders {
    fn push(&self, order: Order) {
        let mut waiting = locked(&self.waiting);
        match (waiting.back_mut(), order) {
            (Some(last @ Order::Words(_)), order @ Order::Words(_)) => *last = order,
            (_, order) => waiting.push_back(order),
        }
        self.news.notify_one();
    }

    async fn next(&self) -> Order {
        loop {
            if let Some(order) = locked(&self.waiting).pop_front() {
                return order;
            }
            self.news.notified().await;
        }
    }
}

/// Keeps words on disk, has the writer take them, and then says that they hold: one after the other.
async fn carry(file: WordsFile, orders: Arc<Orders>, commands: mpsc::Sender<Command>) {
    loop {
        match orders.next().await {
            Order::Words(words) => {
                let in_force = words.in_force();
                // Where that fails it is told; the words hold all the same.
                file.save(*words).await;
                let (reply, done) = oneshot::channel();
                if commands.send(Command::Words { in_force: Box::new(in_force), reply }).await.is_err() {
                    return;
                }
                let _ = done.await;
            }
            Order::Said(reply, result) => _ = reply.send(result),
        }
    }
}

/// Tells what the store says: all of it, then what changes, and all of it again where a watch has ended. A watch that
/// ends is no news by itself: in a quiet cluster it does once a minute. A store that cannot be read then is.
async fn watch(etcd: Arc<Etcd>, prefix: String, inputs: mpsc::Sender<Input>) {
    let mut wait = LISTEN_AGAIN;
    loop {
        match listen(&etcd, &prefix, &inputs).await {
            Ok(()) => wait = LISTEN_AGAIN,
            Err(error) => {
                if inputs.send(Input::Away(error)).await.is_err() {
                    return;
                }
                tokio::time::sleep(wait.mul_f64(0.75 + 0.5 * fastrand::f64())).await;
                wait = (wait * 2).min(LISTEN_AGAIN_AT_MOST);
            }
        }
        if inputs.is_closed() {
            return;
        }
    }
}

/// Until the watch ends, or nobody listens any more.
async fn listen(etcd: &Etcd, prefix: &str, inputs: &mpsc::Sender<Input>) -> Result<(), StoreError> {
    let listing = etcd.list(prefix).await?;
    let mut watch = etcd.watch(prefix, listing.revision + 1).await?;
    let mut input = Input::Listed(listing);
    while inputs.send(input).await.is_ok() {
        match watch.next().await {
            Ok(changes) => input = Input::Changed(changes),
            Err(error) => {
                debug!("a watch of the cluster's store ended: {error}");
                return Ok(());
            }
        }
    }
    Ok(())
}
