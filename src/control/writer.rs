//! Drives the single publisher: gathers news from probes, load reports, operators and files, and
//! publishes a snapshot for each burst of it.
//!
//! ```text
//!   probes ──────▶┐
//!   load reports ▶│                        ┌─▶ Publisher ─▶ Snapshot
//!   answers ─────▶│                        │
//!   operators ───▶├─▶ Writer: one at a time┤
//!   reloads ─────▶│   coalesced            ├─▶ overrides.json
//!   time ────────▶│                        ├─▶ steering.kept, health.kept
//!   jobs done ───▶┘                        └─▶ jobs, on a thread of their own
//! ```
//!
//! How soon news is published is the publisher's word ([`Urgency`]): what changes an answer at once,
//! figures that only people read at most once a second. Every channel is bounded; a reload is loaded
//! beside, and taken whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::atlas::Atlas;
use crate::model::shown::shown;
use crate::model::{ProbeId, RegionId, Weight};
use crate::state::memory::switches;
use crate::state::memory::switches::{Facts, Refusal, Switch, SwitchTo, Switches};
use crate::state::work::Done;
use crate::state::{EndpointNews, HealthNews, LoadNews, News, Publisher, Replacement, Snapshot, Urgency};
use crate::steer::figure::whole_percent;
use crate::steer::health::effective::{EffectiveState, EndpointState, Override, RegionState};
use crate::steer::kept::Clock;
use crate::steer::latency::rtt::Measured;
use crate::steer::planner::demand::DemandSample;

use super::clock::{self, sleep_until};
use super::cluster::handle::ClusterHandle;
use super::cluster::keys::{OVERRIDES, SWITCHES};
use super::cluster::node::SayError;
use super::cluster::sharing::Sharing;
use super::cluster::words::{InForce, Said, Word};
use super::events::changes::changes;
use super::events::history::Events;
use super::events::told;
use super::feed_log::FeedLog;
use super::find_region::unknown_region;
use super::jobs::JobThread;
use super::load_report::LoadUpdate;
use super::overrides::{Kept, OverrideStore, StoreError};
use super::probe::EndpointReport;
use super::save::{Outcome, PATIENCE, Save, Saves};
use super::state_file::StateFileError;
use super::switches::{SwitchStore, SwitchStoreError};
use super::troubles::{StateName, TroubleKind, Troubles};
use super::vitals::{BEAT, Vitals};
use super::warm::Part;
use super::warm::keeper::Keeper;

/// How long news that changes no answer may wait, so that a thousand probes make one snapshot.
const CALM: Duration = Duration::from_secs(1);
/// Reports that change no answer are left to gather for so long: thousands of probes a second would wake the writer as
/// often. One that does change an answer waits no longer than that.
const GATHER: Duration = Duration::from_millis(20);
/// Such news waits at least this many times as long as the last snapshot took to make: a plan for
/// many services and places must not take more than this part of a core.
const CALM_FACTOR: u32 = 20;

/// The time between two looks at whether all nodes of a cluster have the same files.
const LOOK: Duration = Duration::from_secs(5);

/// When to look again after snapshots that are answered from no more: longer than any batch takes.
const BURIAL: Duration = Duration::from_millis(20);

/// What operators and the daemon may ask of the writer.
#[derive(Debug)]
pub enum Command {
    /// Say something of a region, by bare or qualified name; `Auto` takes it back.
    SetOverride {
        region: String,
        operator_override: Override,
        /// At this node of a cluster alone, while what all share cannot be had.
        here: bool,
        reply: oneshot::Sender<Result<OverrideOutcome, OverrideError>>,
    },
    /// Take news that came from other nodes, or from the cluster's store.
    Cluster(Box<News>),
    /// Take a load report that another node had.
    LoadOfOthers(LoadUpdate),
    /// Take what operators said to the cluster, in place of all that was said before. Says when it holds.
    Words { in_force: Box<InForce>, reply: oneshot::Sender<()> },
    /// Switch a service to another of its stages, shift its canary, or take either back.
    Switch { switch: SwitchRequest, reply: oneshot::Sender<Result<SwitchOutcome, SwitchError>> },
    /// Take a new configuration, already loaded without errors.
    Replace { replacement: Box<Replacement>, reply: oneshot::Sender<()> },
    /// Take a new atlas; all else stays.
    Atlas { atlas: Box<Atlas>, reply: oneshot::Sender<()> },
    /// Take what was measured of round trips, in place of what was before. It is gone by as soon as a job has made what
    /// follows.
    Measured { measured: Arc<Measured>, reply: oneshot::Sender<()> },
    /// Count answers that were given. Their places and regions are those of this snapshot.
    Demand { of: Arc<Snapshot>, samples: Vec<DemandSample> },
    /// Take all news that has come so far, publish, and say so.
    Settle { reply: oneshot::Sender<()> },
    /// Keep what is known for the next start, and say when that is done: the server is about to stop.
    Keep { reply: oneshot::Sender<()> },
}

/// What an operator asks of a service.
#[derive(Clone, Debug)]
pub struct SwitchRequest {
    /// The whole name, or what comes before the origin.
    pub service: String,
    pub to: SwitchTo,
    /// Also to a stage with nothing up.
    pub force: bool,
    /// As of an override.
    pub here: bool,
}

/// A word on a service that took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwitchOutcome {
    /// The service's whole name.
    pub service: String,
    /// As it was.
    pub before: ServiceWay,
    /// As it is now.
    pub after: ServiceWay,
}

/// The way that a service's clients are sent, as far as operators have a say in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceWay {
    /// The stage its clients are sent to; `None`: it has no stages.
    pub stage: Option<String>,
    /// The part of clients its canary gets; `None`: it has no canary.
    pub canary: Option<Weight>,
}

/// As the record of changes and versions have it: `blue`, `blue, canary 25 %`, or nothing.
impl std::fmt::Display for ServiceWay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let canary = self.canary.map(|share| format!("canary {}", whole_percent(share.get())));
        let parts: Vec<String> = self.stage.iter().cloned().chain(canary).collect();
        f.write_str(&parts.join(", "))
    }
}

/// Why a word on a service did not take.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    #[error("no service is called `{name}`")]
    Unknown { name: String },
    #[error("several zones have a service `{name}`: say which of {choices}")]
    Ambiguous { name: String, choices: String },
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("not done, because it could not be kept over a restart: {0}")]
    NotKept(#[from] SwitchStoreError),
    #[error("not done: {0}")]
    NotShared(#[from] SayError),
}

/// An override that took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverrideOutcome {
    /// The region's qualified name.
    pub region: String,
    /// `None`: the region is configured no more, and its override was taken back.
    pub effective: Option<EffectiveState>,
}

/// Why an override did not take.
#[derive(Debug, thiserror::Error)]
pub enum OverrideError {
    /// Says which may have been meant.
    #[error("{0}")]
    Unknown(String),
    #[error("several zones have a region `{name}`: say which of {choices}")]
    Ambiguous { name: String, choices: String },
    #[error("not said, because it could not be kept over a restart: {0}")]
    NotKept(#[from] StoreError),
    #[error("not said: {0}")]
    NotShared(#[from] SayError),
}

/// Where the writer's news comes from.
pub struct Sources {
    pub endpoints: mpsc::Receiver<EndpointReport>,
    pub loads: mpsc::Receiver<LoadUpdate>,
    pub commands: mpsc::Receiver<Command>,
}

/// What was found where something could not be read before.
struct Reread {
    overrides: Option<Result<Kept, StoreError>>,
    switches: Option<Result<Switches, SwitchStoreError>>,
}

/// The one that writes.
pub struct Writer {
    publisher: Publisher,
    store: OverrideStore,
    switch_store: SwitchStore,
    override_saves: Saves,
    switch_saves: Saves,
    /// What could not be read before is being read, on another thread.
    reading: Option<JoinHandle<Reread>>,
    troubles: Arc<Troubles>,
    vitals: Arc<Vitals>,
    /// `None`: nothing is kept for a warm start.
    keeper: Option<Keeper>,
    /// What was switched before a restart could not be read.
    switches_lost: bool,
    /// News waits for the next snapshot since then.
    pending_since: Option<Instant>,
    /// Reports are left to gather until then ([`GATHER`]).
    gathering: Option<Instant>,
    /// How long such news waits: [`CALM`] or more.
    calm: Duration,
    /// When what was last published changes by the passing of time alone.
    due: Option<Instant>,
    /// Snapshots that somebody may still be answering from.
    retired: Vec<Arc<Snapshot>>,
    /// When to look after them next.
    burial: Option<Instant>,
    feed_log: FeedLog,
    events: Arc<Events>,
    /// Nobody is answered yet: news is taken, and published with [`Command::Settle`].
    starting: bool,
    /// `None`: this server is of no cluster.
    sharing: Option<Sharing>,
    /// `None`: plans are made where they fall due.
    jobs: Option<JobThread>,
    /// When to look whether all nodes have the files by which a canary is no more.
    forgetting: Option<Instant>,
}

impl Writer {
    /// Takes up what was switched before a restart; where that cannot be read, services are on the
    /// stages of their files until it can. Blocks.
    pub fn new(
        publisher: Publisher,
        store: OverrideStore,
        switch_store: SwitchStore,
        troubles: Arc<Troubles>,
    ) -> Writer {
        let due = publisher.next_change(publisher.shared().load().made_at);
        let (pending_since, calm) = (None, CALM);
        let saves = |name, path: &Path| Saves::new(name, path.to_owned(), troubles.clone());
        let mut writer = Writer {
            publisher,
            override_saves: saves(StateName::Overrides, store.path()),
            switch_saves: saves(StateName::Switches, switch_store.path()),
            store,
            switch_store,
            reading: None,
            troubles,
            vitals: Arc::default(),
            keeper: None,
            switches_lost: true,
            pending_since,
            gathering: None,
            calm,
            due,
            retired: Vec::new(),
            burial: None,
            feed_log: FeedLog::default(),
            events: Arc::default(),
            starting: false,
            sharing: None,
            jobs: None,
            forgetting: None,
        };
        if let Ok(switches) = writer.switch_store.load_at_start(&writer.troubles) {
            writer.restore_switches(switches);
        }
        writer
    }

    /// Has what is known kept for the next start.
    pub fn keeping(self, keeper: Keeper) -> Writer {
        Writer { keeper: Some(keeper), ..self }
    }

    /// Holds back all news until [`Command::Settle`]: nobody is answered before, and what the first probes say is judged
    /// together, not by which came first.
    pub fn until_settled(self) -> Writer {
        Writer { starting: true, ..self }
    }

    /// Adds what changes to these.
    pub fn recording(self, events: Arc<Events>) -> Writer {
        Writer { events, ..self }
    }

    /// Shares what it knows with the other nodes of a cluster, if there is one.
    pub fn sharing(self, cluster: Option<ClusterHandle>) -> Writer {
        Writer { sharing: cluster.map(Sharing::new), ..self }
    }

    /// Has what may wait done on a thread of its own.
    pub fn working(mut self, jobs: JobThread) -> Writer {
        self.publisher.leave_work();
        Writer { jobs: Some(jobs), ..self }
    }

    /// Tells here that it is alive.
    pub fn beating(self, vitals: Arc<Vitals>) -> Writer {
        Writer { vitals, ..self }
    }

    /// Writes until all commands have gone: their senders are dropped last.
    pub async fn run(mut self, mut sources: Sources) {
        let vitals = self.vitals.clone();
        let _told = vitals.on_panic();
        loop {
            tokio::select! {
                // Operators first, then what probes say.
                biased;
                command = sources.commands.recv() => match command {
                    Some(command) => self.command(command, &mut sources).await,
                    None => return,
                },
                () = self.attend(&mut sources.endpoints, &mut sources.loads) => {}
            }
        }
    }

    /// Waits for the next news or change by time, and publishes what cannot wait. Each burst is
    /// drained before. Nothing is lost where this is dropped while it waits.
    async fn attend(&mut self, endpoints: &mut mpsc::Receiver<EndpointReport>, loads: &mut mpsc::Receiver<LoadUpdate>) {
        self.vitals.beat();
        let wake = self.wake_at();
        let rested = self.jobs.as_ref().and_then(JobThread::look_at);
        let (overrides_due, switches_due) = (self.override_saves.due(), self.switch_saves.due());
        let urgency = tokio::select! {
            biased;
            Some(report) = endpoints.recv(), if self.gathering.is_none() => {
                let urgency = self.drain_endpoints(report, endpoints);
                self.gathering = (urgency < Urgency::Now).then(|| Instant::now() + GATHER);
                urgency
            }
            Some(update) = loads.recv() => self.drain_loads(update, loads),
            done = back(&mut self.jobs) => return self.take_done(done),
            () = sleep_until(wake) => Urgency::Now,
            () = sleep_until(rested) => return self.work(),
            () = sleep_until(self.gathering) => {
                self.gathering = None;
                return;
            }
            () = sleep_until(self.burial) => return self.bury(),
            () = sleep_until(self.keeper.as_ref().and_then(Keeper::due)) => return self.keep(),
            () = saved(&mut self.keeper) => return,
            () = sleep_until(self.forgetting) => return self.forget_lost_canaries(),
            () = sleep_until(overrides_due) => return self.rewrite_overrides(),
            () = sleep_until(switches_due) => return self.rewrite_switches(),
            () = self.override_saves.late() => return,
            () = self.switch_saves.late() => return,
            () = tokio::time::sleep(BEAT) => return,
        };
        self.follow(urgency);
    }

    /// Takes news, and publishes it as soon as it has to be.
    fn take(&mut self, news: News) {
        let urgency = self.publisher.apply(news, clock::read());
        self.follow(urgency);
    }

    fn follow(&mut self, urgency: Urgency) {
        match urgency {
            Urgency::Now if !self.starting => self.publish(),
            Urgency::Now => {}
            Urgency::Soon => _ = self.pending_since.get_or_insert_with(Instant::now),
            // Such news puts nothing off that is due already.
            Urgency::None => self.due = self.due.into_iter().chain(self.publisher.next_change(Instant::now())).min(),
        }
    }

    /// A job that was dropped, or asked for meanwhile, is begun anew from the facts of now.
    fn take_done(&mut self, done: Done) {
        self.take(News::Done(done));
        self.work();
    }

    /// Has the next job begun, where one is due and there is time for it.
    fn work(&mut self) {
        let Some(jobs) = self.jobs.as_mut().filter(|_| !self.starting) else { return };
        let now = Instant::now();
        if let Some(least) = jobs.may_begin(now)
            && let Some(job) = self.publisher.next_job(now, least)
        {
            jobs.begin(job, self.publisher.shared().load().model.steering.planning_cpu);
        }
        jobs.tell(&self.publisher);
    }

    fn settle(&mut self, sources: &mut Sources) {
        if let Ok(report) = sources.endpoints.try_recv() {
            self.drain_endpoints(report, &mut sources.endpoints);
        }
        if let Ok(update) = sources.loads.try_recv() {
            self.drain_loads(update, &mut sources.loads);
        }
        self.starting = false;
        self.publish();
        if let Some(sharing) = &mut self.sharing {
            sharing.begins(&self.publisher);
        }
    }

    /// Begins to save what is due, unless a save is under way.
    fn keep(&mut self) {
        let part = self.keeper.as_ref().map_or(Part::Whole, |keeper| keeper.part(Instant::now()));
        self.keep_part(part);
    }

    fn keep_part(&mut self, part: Part) {
        if let Some(keeper) = self.keeper.as_mut().filter(|keeper| !keeper.is_saving()) {
            let clock = clock::read();
            let kept = match part {
                Part::Whole => self.publisher.kept(&clock),
                Part::Health => self.publisher.kept_health(&clock),
            };
            keeper.begin(part, kept, clock.unix_ms(), clock.now());
        }
    }

    /// Saves what is known now, and returns when it is on disk. While the disk hangs, probes are heard all the same.
    async fn keep_all(&mut self, sources: &mut Sources) {
        for begin in [false, true] {
            if begin {
                self.keep_part(Part::Whole);
            }
            while self.keeper.as_ref().is_some_and(Keeper::is_saving) {
                self.attend(&mut sources.endpoints, &mut sources.loads).await;
            }
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        if self.starting {
            return None;
        }
        let calm = self.pending_since.map(|since| since + self.calm);
        calm.into_iter().chain(self.due).min()
    }

    fn publish(&mut self) {
        let clock = clock::read();
        let (began, before) = (clock.now(), self.publisher.shared().load_full());
        self.publisher.publish(clock);
        let after = self.publisher.shared().load_full();
        self.tell_changes(&before, &after, &clock);
        self.feed_log.tell(&after, began);
        if let Some(keeper) = self.keeper.as_mut().filter(|_| health_differs(&before, &after)) {
            keeper.hurry();
        }
        if let Some(sharing) = &mut self.sharing {
            sharing.published(&mut self.publisher, &before, &after, &clock);
        }
        drop(after);
        // What falls due while the snapshot is being made is due at once.
        self.due = self.publisher.next_change(began);
        self.calm = CALM.max(began.elapsed() * CALM_FACTOR);
        self.pending_since = None;
        self.retired.push(before);
        self.bury();
        self.work();
    }

    fn tell_changes(&self, before: &Snapshot, after: &Snapshot, clock: &Clock) {
        let changes = changes(before, after, clock.now());
        told::tell(&changes);
        self.events.add(clock, changes);
    }

    /// Lets go of snapshots that nobody else holds. Giving back a large one's memory takes a while, which
    /// must not be a query's: whoever answers lets go first, and the thread for jobs has the work.
    fn bury(&mut self) {
        for snapshot in self.retired.extract_if(.., |snapshot| Arc::strong_count(snapshot) == 1) {
            if let Some(jobs) = &self.jobs {
                jobs.let_go(snapshot);
            }
        }
        self.burial = (!self.retired.is_empty()).then(|| Instant::now() + BURIAL);
    }

    fn drain_endpoints(&mut self, first: EndpointReport, more: &mut mpsc::Receiver<EndpointReport>) -> Urgency {
        let mut urgency = self.endpoint(first);
        for _ in 0..more.len() {
            let Ok(report) = more.try_recv() else { break };
            urgency = urgency.max(self.endpoint(report));
        }
        urgency
    }

    fn endpoint(&mut self, report: EndpointReport) -> Urgency {
        let ms = |time: Duration| Some(time.as_secs_f64() * 1e3);
        let (seen, connect_ms, total_ms) = match &report.outcome {
            Ok(timings) => (timings.to_string(), ms(timings.connect), ms(timings.total)),
            // Parts of it may come from the endpoint.
            Err(error) => (shown(&error.to_string()).into_owned(), None, None),
        };
        let news = EndpointNews {
            region: report.key.region.clone(),
            endpoint: report.key.endpoint.clone(),
            probe: report.key.probe.clone(),
            verdict: report.verdict,
            seen: seen.clone(),
            connect_ms,
            heard: !report.outcome.as_ref().is_err_and(|error| !error.is_heard()),
            total_ms,
        };
        let urgency = self.publisher.apply(News::Probe(news), clock::read());
        if urgency == Urgency::Now {
            let (region, endpoint) = (&report.key.region, &report.key.endpoint);
            let of = Some(&report.key.probe).filter(|probe| **probe != ProbeId::default()).map(tracing::field::display);
            match &report.outcome {
                Ok(_) => info!(%region, %endpoint, of, verdict = %report.verdict, "an endpoint changed"),
                Err(_) => warn!(%region, %endpoint, of, verdict = %report.verdict, "an endpoint changed: {seen}"),
            }
        }
        urgency
    }

    fn drain_loads(&mut self, first: LoadUpdate, more: &mut mpsc::Receiver<LoadUpdate>) -> Urgency {
        let mut urgency = self.load_of_own(first);
        for _ in 0..more.len() {
            let Ok(update) = more.try_recv() else { break };
            urgency = urgency.max(self.load_of_own(update));
        }
        urgency
    }

    fn load_of_own(&mut self, update: LoadUpdate) -> Urgency {
        if let Some(sharing) = &self.sharing {
            sharing.reported(&update);
        }
        self.load(update)
    }

    fn load(&mut self, update: LoadUpdate) -> Urgency {
        let LoadUpdate { region, at, outcome, health } = update;
        let outcome = outcome
            .map(|sample| (sample.load, sample.capacity))
            .map_err(|error| shown(&error.to_string()).into_owned());
        // By the wall clock until here, since some reports say a time. A clock set back makes it now.
        let (clock, age) = (clock::read(), SystemTime::now().duration_since(at).unwrap_or_default());
        // So old that this clock cannot say it: nobody can act on that.
        let Some(at) = clock.now().checked_sub(age) else { return Urgency::None };
        let urgency = self.publisher.apply(News::Load(LoadNews { region: region.clone(), at, outcome }), clock);
        let Some(health) = health else { return urgency };
        let outcome = health.map_err(|error| shown(&error.to_string()).into_owned());
        urgency.max(self.publisher.apply(News::Health(HealthNews { region, at, outcome }), clock))
    }

    async fn command(&mut self, command: Command, sources: &mut Sources) {
        match command {
            Command::SetOverride { region, operator_override, here, reply } if self.sharing.is_some() => {
                self.share_override(&region, operator_override, here, reply);
            }
            Command::SetOverride { region, operator_override, reply, .. } => {
                let outcome = self.set_override(&region, operator_override, sources).await;
                // Whoever asked may have gone; what was said holds all the same.
                let _ = reply.send(outcome);
            }
            Command::Cluster(news) => self.take(*news),
            Command::LoadOfOthers(update) => {
                let urgency = self.load(update);
                self.follow(urgency);
            }
            Command::Words { in_force, reply } => {
                self.take_words(*in_force, sources).await;
                let _ = reply.send(());
            }
            Command::Switch { switch, reply } if self.sharing.is_some() => self.share_switch(&switch, reply),
            Command::Switch { switch, reply } => {
                let outcome = self.switch(&switch, sources).await;
                let _ = reply.send(outcome);
            }
            Command::Replace { replacement, reply } => {
                self.take(News::Reload(replacement));
                self.drop_lost_canaries(sources).await;
                // Mended meanwhile, they hold from here on; otherwise whoever says one hears why not.
                let _ = self.reread(sources).await;
                let _ = reply.send(());
            }
            Command::Atlas { atlas, reply } => {
                self.take(News::Atlas(atlas));
                let _ = reply.send(());
            }
            Command::Measured { measured, reply } => {
                self.take(News::Measured(measured));
                self.work();
                let _ = reply.send(());
            }
            Command::Demand { of, samples } => self.demand(&of, samples),
            Command::Settle { reply } => {
                self.settle(sources);
                let _ = reply.send(());
            }
            Command::Keep { reply } => {
                self.keep_all(sources).await;
                let _ = reply.send(());
            }
        }
    }

    /// Answers from before a model that steers otherwise, or another atlas, came are left out: a second's worth at most.
    fn demand(&mut self, of: &Snapshot, samples: Vec<DemandSample>) {
        let current = self.publisher.shared().load_full();
        if of.model.steers_as(&current.model) && Arc::ptr_eq(&of.atlas, &current.atlas) {
            self.take(News::Demand(samples));
            if let Some(sharing) = &mut self.sharing {
                sharing.answered(&mut self.publisher, Instant::now());
            }
        }
    }

    async fn set_override(
        &mut self,
        name: &str,
        operator_override: Override,
        sources: &mut Sources,
    ) -> Result<OverrideOutcome, OverrideError> {
        if self.publisher.overrides_error().is_some() {
            self.reread(sources).await?;
        }
        let (region, id) = self.region_named(name, operator_override)?;
        // Kept first: what an operator was told is so must be so after a crash.
        let kept = self.to_keep(&region, operator_override);
        let drain = kept.drains.get(&region).copied();
        if let Err(error) = self.save(kept, sources).await {
            error!("an override was refused: {error}");
            return Err(error.into());
        }
        self.take(News::Override { region: region.clone(), operator_override, drain });
        if id.is_none() {
            // Of others there is an event.
            info!(%region, "an override was taken back of a region that is not configured any more");
        }
        let effective = id.and_then(|id| self.publisher.shared().load().states.get(id.index()).map(|s| s.effective));
        Ok(OverrideOutcome { region, effective })
    }

    async fn switch(&mut self, request: &SwitchRequest, sources: &mut Sources) -> Result<SwitchOutcome, SwitchError> {
        if self.switches_lost {
            self.reread(sources).await?;
        }
        let (next, outcome) = self.next_switch(request)?;
        let service = outcome.service.clone();
        let model = self.publisher.shared().load_full().model.clone();
        let mut kept = self.publisher.switches().clone();
        let known: BTreeSet<String> = model.service_ids().map(|id| model.service_key(id)).collect();
        kept.retain(|name, _| known.contains(name)); // or they would pile up
        match next {
            Some(next) => kept.insert(service, next),
            None => kept.remove(&service),
        };
        // Kept first: what an operator was told is so must be so after a crash.
        self.save_switches(kept.clone(), sources).await?;
        self.take(News::Switches(kept));
        Ok(outcome)
    }

    /// The switch that would hold, and what that comes to.
    fn next_switch(&self, request: &SwitchRequest) -> Result<(Option<Switch>, SwitchOutcome), SwitchError> {
        let snapshot = self.publisher.shared().load_full();
        let (model, name) = (&snapshot.model, &request.service);
        let id = match *model.find_services(name) {
            [id] => id,
            [] => return Err(SwitchError::Unknown { name: name.clone() }),
            ref several => {
                let choices = several.iter().map(|id| model.service_key(*id)).collect::<Vec<_>>().join(", ");
                return Err(SwitchError::Ambiguous { name: name.clone(), choices });
            }
        };
        let (service, configured) = (model.service_key(id), model.service(id));
        let current = self.publisher.switches().get(&service).cloned();
        let unix_ms = clock::read().unix_ms();
        let facts = Facts { model, states: &snapshot.states, unix_ms };
        let next = facts.next(id, current.as_ref(), &request.to, request.force)?;
        let way = |of: Option<&Switch>| ServiceWay {
            stage: switches::active(configured, of),
            canary: switches::active_canary(model, configured, of, unix_ms),
        };
        let (before, after) = (way(current.as_ref()), way(next.as_ref()));
        Ok((next, SwitchOutcome { service, before, after }))
    }

    /// Has the cluster say it. It holds here as soon as it holds there: it comes back as [`Command::Words`].
    fn share_override(
        &mut self,
        name: &str,
        operator_override: Override,
        here: bool,
        reply: oneshot::Sender<Result<OverrideOutcome, OverrideError>>,
    ) {
        let (region, id) = match self.region_named(name, operator_override) {
            Ok(named) => named,
            Err(error) => return drop(reply.send(Err(error))),
        };
        let drain = self.to_keep(&region, operator_override).drains.get(&region).copied();
        let said = Word::new(Said::Override(operator_override), drain);
        let (sharing, shared) = (self.sharing.as_ref().map(Sharing::handle), self.publisher.shared());
        let Some(cluster) = sharing else { return };
        tokio::spawn(async move {
            let outcome = cluster.say(format!("{OVERRIDES}{region}"), said, here).await;
            let effective = id.and_then(|id| shared.load().states.get(id.index()).map(|state| state.effective));
            let _ = reply.send(outcome.map(|()| OverrideOutcome { region, effective }).map_err(OverrideError::from));
        });
    }

    /// As [`Writer::share_override`].
    fn share_switch(&mut self, request: &SwitchRequest, reply: oneshot::Sender<Result<SwitchOutcome, SwitchError>>) {
        let (next, outcome) = match self.next_switch(request) {
            Ok(next) => next,
            Err(error) => return drop(reply.send(Err(error))),
        };
        let (word, here) = (Word::new(Said::Switch(next.map(Box::new)), None), request.here);
        let Some(cluster) = self.sharing.as_ref().map(Sharing::handle) else { return };
        tokio::spawn(async move {
            let said = cluster.say(format!("{SWITCHES}{}", outcome.service), word, here).await;
            let _ = reply.send(said.map(|()| outcome).map_err(SwitchError::from));
        });
    }

    /// What operators said to the cluster holds from now, and over restarts. What cannot be kept on this disk holds all
    /// the same: the cluster has it.
    async fn take_words(&mut self, InForce { overrides, switches }: InForce, sources: &mut Sources) {
        let plain: BTreeMap<String, Override> =
            overrides.iter().map(|(region, (said, _))| (region.clone(), *said)).collect();
        if self.publisher.overrides_error().is_some() {
            let drains =
                overrides.iter().filter_map(|(region, (_, drain))| Some((region.clone(), (*drain)?))).collect();
            self.take(News::Overrides { overrides: plain.clone(), drains });
        }
        let held = self.publisher.overrides().clone();
        if held != plain {
            let gone = held.keys().filter(|region| !plain.contains_key(*region));
            let back: Vec<String> = gone.cloned().collect();
            back.into_iter().for_each(|region| self.take(News::set_override(region, Override::Auto)));
            for (region, (operator_override, drain)) in overrides {
                if held.get(&region) != Some(&operator_override) {
                    self.take(News::Override { region, operator_override, drain });
                }
            }
            let mut drains = self.publisher.drains(None, clock::read());
            drains.retain(|name, _| plain.get(name) == Some(&Override::Drain));
            if let Err(error) = self.save(Kept { overrides: plain, drains }, sources).await {
                error!("what was said to the cluster holds, but is not on this disk: {error}");
            }
        }
        if *self.publisher.switches() != switches || self.switches_lost {
            self.switches_lost = false;
            self.take(News::Switches(switches.clone()));
            if let Err(error) = self.save_switches(switches, sources).await {
                error!("what was said of services in the cluster holds, but is not on this disk: {error}");
            }
            self.drop_lost_canaries(sources).await;
        }
    }

    /// What was said of canaries that the files have no more, or have others instead of, is forgotten: a canary that comes
    /// later begins with its file's figure. In a cluster, once all nodes have the same files.
    async fn drop_lost_canaries(&mut self, sources: &mut Sources) {
        let model = self.publisher.shared().load().model.clone();
        let lost = switches::lost_canaries(&model, self.publisher.switches());
        if lost.is_empty() || self.switches_lost {
            return;
        }
        if self.sharing.is_some() {
            self.forgetting = Some(Instant::now() + LOOK);
            return;
        }
        let mut kept = self.publisher.switches().clone();
        for service in lost {
            let left = kept.remove(&service).and_then(|switch| switch.without_canary());
            kept.extend(left.map(|left| (service, left)));
        }
        self.take(News::Switches(kept.clone()));
        if let Err(error) = self.save_switches(kept, sources).await {
            error!("what was said of canaries that the files have no more is still on this disk: {error}");
        }
    }

    /// Other nodes may still send clients to such a canary, until they have these files, too.
    fn forget_lost_canaries(&mut self) {
        self.forgetting = None;
        let model = self.publisher.shared().load().model.clone();
        let lost = switches::lost_canaries(&model, self.publisher.switches());
        let Some(sharing) = self.sharing.as_ref().filter(|_| !lost.is_empty()) else { return };
        if !sharing.is_alike() {
            self.forgetting = Some(Instant::now() + LOOK);
            return;
        }
        for service in lost {
            let left = self.publisher.switches().get(&service).and_then(Switch::without_canary);
            let (word, cluster) = (Word::new(Said::Switch(left.map(Box::new)), None), sharing.handle());
            tokio::spawn(async move {
                // An error: another node has said so already, or somebody says something else.
                if let Err(error) = cluster.say(format!("{SWITCHES}{service}"), word, false).await {
                    info!(%service, "what was said of a canary that is no more was not taken back from here: {error}");
                }
            });
        }
    }

    /// As [`Writer::save`], of switches.
    async fn save_switches(&mut self, kept: Switches, sources: &mut Sources) -> Result<(), SwitchStoreError> {
        self.rewritten(|writer| writer.switch_saves.is_rewriting(), sources).await;
        let (store, troubles) = (self.switch_store.clone(), self.troubles.clone());
        let mut save = self
            .switch_saves
            .begin(move |patience| store.save_unless(&kept, patience).inspect(|()| store.look_aside(&troubles)))?;
        match self.end(&mut save, sources).await {
            Some(outcome) => self.switch_saves.ended(outcome),
            None => Err(self.switch_saves.give_up(save)),
        }
    }

    /// Has the file say what holds, after it may have been written with what was refused.
    fn rewrite_switches(&mut self) {
        let (store, kept) = (self.switch_store.clone(), self.publisher.switches().clone());
        self.switch_saves.rewrite(move |patience| store.save_unless(&kept, patience));
    }

    /// As [`Writer::rewrite_switches`].
    fn rewrite_overrides(&mut self) {
        let (store, overrides) = (self.store.clone(), self.publisher.overrides().clone());
        let mut drains = self.publisher.drains(None, clock::read());
        drains.retain(|name, _| overrides.get(name) == Some(&Override::Drain));
        let kept = Kept { overrides, drains };
        self.override_saves.rewrite(move |patience| store.save_unless(&kept, patience));
    }

    fn restore_switches(&mut self, mut switches: Switches) {
        self.switches_lost = false;
        let lost = switches::lost_canaries(&self.publisher.shared().load().model, &switches);
        for service in lost {
            warn!(%service, "what operators said of its canary is dropped: the files are others");
            let left = switches.remove(&service).and_then(|switch| switch.without_canary());
            switches.extend(left.map(|left| (service, left)));
        }
        self.troubles.end(StateName::Switches, TroubleKind::Unreadable);
        if !switches.is_empty() {
            info!(services = switches.len(), "what operators said of services holds");
            self.take(News::Switches(switches));
        }
    }

    fn restore_overrides(&mut self, Kept { overrides, drains }: Kept) {
        self.troubles.end(StateName::Overrides, TroubleKind::Unreadable);
        info!(overrides = overrides.len(), "what operators said of regions could be read again");
        self.take(News::Overrides { overrides, drains });
    }

    /// Tries once more to read what could not be read at the start, and looks after what was set aside: on another
    /// thread, and no longer than [`PATIENCE`].
    ///
    /// # Errors
    /// The first of the two that still cannot be read.
    async fn reread(&mut self, sources: &mut Sources) -> Result<(), StateFileError> {
        let mut reading = self.reading.take().unwrap_or_else(|| {
            let (store, switch_store, troubles) =
                (self.store.clone(), self.switch_store.clone(), self.troubles.clone());
            let (overrides_lost, switches_lost) = (self.publisher.overrides_error().is_some(), self.switches_lost);
            tokio::task::spawn_blocking(move || {
                store.look_aside(&troubles);
                switch_store.look_aside(&troubles);
                Reread {
                    overrides: overrides_lost.then(|| store.load()),
                    switches: switches_lost.then(|| switch_store.load()),
                }
            })
        });
        let until = Instant::now() + PATIENCE;
        let Reread { overrides, switches } = loop {
            tokio::select! {
                biased;
                read = &mut reading => break read.map_err(|error| StateFileError::Stopped(error.to_string()))?,
                () = sleep_until(Some(until)) => {
                    self.reading = Some(reading);
                    return Err(StateFileError::Hanging { path: self.store.path().to_owned() });
                }
                () = self.attend(&mut sources.endpoints, &mut sources.loads) => {}
            }
        };
        let overrides = overrides.transpose().map(|kept| kept.map(|kept| self.restore_overrides(kept)));
        let switches = switches.transpose().map(|kept| kept.map(|kept| self.restore_switches(kept)));
        overrides.map(drop).and(switches.map(drop))
    }

    /// All that is to be kept once this is said.
    fn to_keep(&self, region: &str, operator_override: Override) -> Kept {
        let mut overrides = self.publisher.overrides().clone();
        match operator_override {
            Override::Auto => overrides.remove(region),
            operator_override => overrides.insert(region.to_owned(), operator_override),
        };
        let mut drains = self.publisher.drains((operator_override == Override::Drain).then_some(region), clock::read());
        drains.retain(|name, _| overrides.get(name) == Some(&Override::Drain));
        Kept { overrides, drains }
    }

    /// The region's qualified name, and its id. None for one that is not configured any more: its
    /// override may still be there, and can be taken back.
    fn region_named(
        &self,
        name: &str,
        operator_override: Override,
    ) -> Result<(String, Option<RegionId>), OverrideError> {
        let model = &self.publisher.shared().load_full().model;
        let qualified = |id: &RegionId| model.qualified_region_name(*id);
        match *model.find_regions(name) {
            [id] => return Ok((qualified(&id), Some(id))),
            [] => {}
            ref several => {
                let choices = several.iter().map(qualified).collect::<Vec<_>>().join(", ");
                return Err(OverrideError::Ambiguous { name: name.to_owned(), choices });
            }
        }
        let is_named = |kept: &&String| {
            kept.eq_ignore_ascii_case(name) || kept.split_once('@').is_some_and(|(bare, _)| bare == name)
        };
        let kept: Vec<&String> = self.publisher.overrides().keys().filter(is_named).collect();
        match *kept {
            [gone] if operator_override == Override::Auto => Ok((gone.clone(), None)),
            [_, _, ..] if operator_override == Override::Auto => {
                let choices = kept.into_iter().cloned().collect::<Vec<_>>().join(", ");
                Err(OverrideError::Ambiguous { name: name.to_owned(), choices })
            }
            _ => Err(OverrideError::Unknown(unknown_region(model, name))),
        }
    }

    /// Keeps these, on another thread: while a disk is slow or gone, probes are heard all the same.
    async fn save(&mut self, kept: Kept, sources: &mut Sources) -> Result<(), StoreError> {
        self.rewritten(|writer| writer.override_saves.is_rewriting(), sources).await;
        let (store, troubles) = (self.store.clone(), self.troubles.clone());
        let mut save = self
            .override_saves
            .begin(move |patience| store.save_unless(&kept, patience).inspect(|()| store.look_aside(&troubles)))?;
        match self.end(&mut save, sources).await {
            Some(outcome) => self.override_saves.ended(outcome),
            None => Err(self.override_saves.give_up(save)),
        }
    }

    /// Waits until a file that had to be written again is, within reason.
    async fn rewritten(&mut self, is_rewriting: impl Fn(&Writer) -> bool, sources: &mut Sources) {
        let until = Instant::now() + PATIENCE;
        while is_rewriting(self) && Instant::now() < until {
            tokio::select! {
                () = sleep_until(Some(until)) => {}
                () = self.attend(&mut sources.endpoints, &mut sources.loads) => {}
            }
        }
    }

    /// Waits for the end of a save, and goes on with all else.
    async fn end(&mut self, save: &mut Save, sources: &mut Sources) -> Option<Outcome> {
        loop {
            tokio::select! {
                biased;
                ended = save.end() => return ended,
                () = self.attend(&mut sources.endpoints, &mut sources.loads) => {}
            }
        }
    }
}

/// Whether some region or endpoint is better or worse than before, has begun or ended to await an operator's word, or
/// there are others.
fn health_differs(before: &Snapshot, after: &Snapshot) -> bool {
    let alike = |(old, new): (&RegionState, &RegionState)| {
        let same =
            old.endpoints.iter().zip(&new.endpoints).all(|(old, new)| old.verdict == new.verdict && same_own(old, new));
        let awaits_resume = |state: &RegionState| state.stability.awaits_resume.is_some();
        let alike = old.effective == new.effective && old.verdict == new.verdict;
        same && alike && awaits_resume(old) == awaits_resume(new)
    };
    !Arc::ptr_eq(&before.model, &after.model) || !before.states.iter().zip(&after.states).all(alike)
}

/// Whether this node's own probes say the same, whatever the vote of several vantages is: that is what is kept.
fn same_own(old: &EndpointState, new: &EndpointState) -> bool {
    let mut probes = old.probes.iter().zip(&new.probes);
    probes.all(|((_, old), (_, new))| old.own_verdict().0 == new.own_verdict().0)
}

/// Waits for the end of a save that is under way.
async fn saved(keeper: &mut Option<Keeper>) {
    match keeper {
        Some(keeper) => keeper.end().await,
        None => std::future::pending().await,
    }
}

/// Waits for a job that is under way.
async fn back(jobs: &mut Option<JobThread>) -> Done {
    match jobs {
        Some(jobs) => jobs.back().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::jobs::worker::ThreadClock;
    use crate::control::probe::{EndpointKey, ProbeError, Timings};
    use crate::control::warm::{WarmStart, WarmStore};
    use crate::model::Model;
    use crate::state::publisher::testing;
    use crate::state::work::{Job, Kind};
    use crate::steer::health::verdict::Verdict;
    use crate::steer::latency::rtt::{ClientGroup, Estimate};

    const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/config/meridian.toml");

    struct Writing {
        shared: crate::state::SharedSnapshot,
        reports: mpsc::Sender<EndpointReport>,
        commands: mpsc::Sender<Command>,
        troubles: Arc<Troubles>,
        _updates: mpsc::Sender<LoadUpdate>,
    }

    fn example() -> Model {
        crate::control::config::load(EXAMPLE.as_ref()).expect("the example").model
    }

    /// A writer over the example, as the daemon starts one.
    fn start(state: &Path, overrides: BTreeMap<String, Override>, lost: Option<&str>) -> Writing {
        let mut publisher = Publisher::new(example(), Atlas::empty(), "", 0, overrides, clock::read());
        if let Some(lost) = lost {
            publisher.apply(News::OverridesLost(lost.into()), clock::read());
            publisher.publish(clock::read());
        }
        let shared = publisher.shared();
        let (reports, endpoints) = mpsc::channel(16);
        let (_updates, loads) = mpsc::channel(16);
        let (commands, said) = mpsc::channel(16);
        // The first save is due at once, and no other by itself: a save into a pipe that nobody reads waits for ever.
        let period = Duration::from_secs(60);
        let began = Instant::now().checked_sub(period).expect("the machine has run for a minute");
        let troubles = Arc::new(Troubles::default());
        let keeper = Keeper::new(WarmStore::new(state), period, began, troubles.clone());
        let writer = Writer::new(publisher, OverrideStore::new(state), SwitchStore::new(state), troubles.clone());
        let writer = writer.keeping(keeper);
        tokio::spawn(writer.run(Sources { endpoints, loads, commands: said }));
        Writing { shared, reports, commands, troubles, _updates }
    }

    impl Writing {
        fn tell(
            &self,
            region: &str,
            operator_override: Override,
        ) -> oneshot::Receiver<Result<OverrideOutcome, OverrideError>> {
            let (reply, done) = oneshot::channel();
            self.commands
                .try_send(Command::SetOverride { region: region.into(), operator_override, here: false, reply })
                .expect("room");
            done
        }

        async fn set_override(
            &self,
            region: &str,
            operator_override: Override,
        ) -> Result<OverrideOutcome, OverrideError> {
            self.tell(region, operator_override).await.expect("a reply")
        }

        /// Probes the first endpoint, and waits until that is published.
        async fn probe(&self, verdict: Verdict) {
            self.probe_with(verdict, Ok(Timings::default())).await;
        }

        async fn probe_with(&self, verdict: Verdict, outcome: Result<Timings, ProbeError>) {
            let (region, endpoint) = self.first();
            let key = EndpointKey::only(&region, &endpoint);
            let since = SystemTime::now();
            let report = EndpointReport { key, verdict, since, probed_at: since, outcome, streak: 1 };
            let before = self.shared.load().generation;
            self.reports.send(report).await.expect("sent");
            let heard = async {
                while self.shared.load().generation == before {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(5), heard).await.expect("heard");
        }

        fn first(&self) -> (String, String) {
            let model = &self.shared.load_full().model;
            let id = model.region_ids().find(|&id| model.region(id).checks.is_some()).expect("one with a check");
            (model.qualified_region_name(id), model.region(id).endpoints[0].label())
        }
    }

    #[tokio::test]
    async fn what_an_endpoint_says_of_itself_is_made_harmless() {
        let state = tempfile::tempdir().expect("a directory");
        let writing = start(state.path(), BTreeMap::new(), None);
        let said = ProbeError::NotJson("\u{1b}[2J\nhttp://u:hunter2@h/\u{202e}".to_owned());
        writing.probe_with(Verdict::Down, Err(said)).await;
        let snapshot = writing.shared.load_full();
        let seen =
            snapshot.states.iter().flat_map(|state| &state.endpoints).map(|endpoint| endpoint.last_probe.as_str());
        let seen: Vec<&str> = seen.filter(|seen| !seen.is_empty()).collect();
        assert_eq!(seen, ["the body is not JSON: \\u{1b}[2J\\nhttp://***@h/\\u{202e}"]);
    }

    #[tokio::test]
    async fn the_override_of_a_region_that_is_gone_can_be_taken_back() {
        let state = tempfile::tempdir().expect("a directory");
        let kept = ["atlantis@a.example", "mu@a.example", "mu@b.example"].map(|name| (name.to_owned(), Override::Down));
        let writing = start(state.path(), kept.into(), None);
        assert!(matches!(writing.set_override("atlantis", Override::Drain).await, Err(OverrideError::Unknown(_))));
        assert!(matches!(writing.set_override("mu", Override::Auto).await, Err(OverrideError::Ambiguous { .. })));
        for (said, gone) in [("atlantis", "atlantis@a.example"), ("MU@b.example", "mu@b.example")] {
            let outcome = writing.set_override(said, Override::Auto).await.expect("taken back");
            assert_eq!(outcome, OverrideOutcome { region: gone.into(), effective: None });
        }
        let left = OverrideStore::new(state.path()).load().expect("kept").overrides;
        assert_eq!(left, BTreeMap::from([("mu@a.example".to_owned(), Override::Down)]));
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_not_written_over_and_holds_once_mended() {
        let state = tempfile::tempdir().expect("a directory");
        let file = state.path().join("overrides.json");
        std::fs::write(&file, "{half").expect("written");
        let writing = start(state.path(), BTreeMap::new(), Some("half a file"));
        let (region, _) = writing.first();
        let error = writing.set_override(&region, Override::Down).await.expect_err("nothing new").to_string();
        assert!(error.contains("overrides.json") && error.contains("move it away"), "{error}");
        assert_eq!(std::fs::read_to_string(&file).expect("still there"), "{half");
        assert!(writing.shared.load().overrides_error.is_some());
        std::fs::write(&file, format!("{{\"version\":1,\"overrides\":{{\"{region}\":\"drain\"}}}}")).expect("mended");
        let (reply, done) = oneshot::channel();
        let replacement = Replacement { model: example(), atlas: Some(Atlas::empty()), nsid: String::new(), seed: 0 };
        let command = Command::Replace { replacement: Box::new(replacement), reply };
        writing.commands.send(command).await.expect("sent");
        done.await.expect("reloaded");
        let snapshot = writing.shared.load_full();
        assert!(snapshot.overrides_error.is_none());
        assert!(snapshot.states.iter().any(|state| state.operator_override == Override::Drain));
    }

    /// Whoever holds a snapshot last gives back its memory: that must not be who answers.
    #[tokio::test]
    async fn a_snapshot_outlives_the_query_that_is_answered_from_it() {
        let state = tempfile::tempdir().expect("a directory");
        let writing = start(state.path(), BTreeMap::new(), None);
        let (region, _) = writing.first();
        let answering = writing.shared.load_full();
        let forgotten = Arc::downgrade(&answering);
        writing.set_override(&region, Override::Down).await.expect("said");
        assert_eq!(Arc::strong_count(&answering), 2, "the writer keeps it, too");
        drop(answering);
        while forgotten.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await; // a failure is a test that never ends
        }
    }

    #[tokio::test]
    async fn probes_are_heard_while_the_disk_hangs() {
        let state = tempfile::tempdir().expect("a directory");
        // Opening a pipe waits for the other end, as a network file system waits for its server.
        let pipe = state.path().join("overrides.json.new");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        let writing = start(state.path(), BTreeMap::new(), None);
        let (region, _) = writing.first();
        let mut refused = writing.tell(&region, Override::Down);
        for verdict in [Verdict::Up, Verdict::Down, Verdict::Up] {
            writing.probe(verdict).await;
        }
        assert!(refused.try_recv().is_err(), "the override waits for the disk");
        let reader = Arc::new(pipe);
        tokio::task::spawn_blocking(move || std::fs::read(&*reader)).await.expect("joined").expect("read");
        assert!(matches!(refused.await.expect("a reply"), Err(OverrideError::NotKept(_))), "a pipe keeps nothing");
    }

    #[tokio::test]
    async fn a_disk_that_hangs_is_waited_for_once_and_told_and_what_was_refused_does_not_hold() {
        let state = tempfile::tempdir().expect("a directory");
        let (pipe, file) = (state.path().join("overrides.json.new"), state.path().join("overrides.json"));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        let writing = start(state.path(), BTreeMap::new(), None);
        let (region, _) = writing.first();
        let began = Instant::now();
        let refused = writing.set_override(&region, Override::Down).await.expect_err("the disk hangs").to_string();
        assert!(refused.contains("did not answer in time") && refused.contains("is as it was"), "{refused}");
        assert!(began.elapsed() >= PATIENCE && writing.troubles.has(StateName::Overrides, TroubleKind::Hanging));
        let began = Instant::now();
        let refused = writing.set_override(&region, Override::Down).await.expect_err("it still hangs").to_string();
        assert!(refused.contains("does not answer") && began.elapsed() < PATIENCE / 2, "{refused}");
        let (reply, done) = oneshot::channel();
        let replacement = Replacement { model: example(), atlas: Some(Atlas::empty()), nsid: String::new(), seed: 0 };
        let command = Command::Replace { replacement: Box::new(replacement), reply };
        writing.commands.send(command).await.expect("sent");
        done.await.expect("reloaded");
        assert!(began.elapsed() < PATIENCE / 2, "reloads do not wait for it");
        assert!(writing.shared.load().states.iter().all(|state| state.operator_override == Override::Auto));
        tokio::task::spawn_blocking(move || std::fs::read(pipe)).await.expect("joined").expect("read");
        while writing.troubles.has(StateName::Overrides, TroubleKind::Hanging) {
            tokio::time::sleep(Duration::from_millis(1)).await; // a failure is a test that never ends
        }
        assert!(!file.exists(), "it was given up");
        writing.set_override(&region, Override::Drain).await.expect("the disk answers again");
        let kept = OverrideStore::new(state.path()).load().expect("kept").overrides;
        assert_eq!(kept, BTreeMap::from([(region, Override::Drain)]));
        assert!(writing.troubles.all().is_empty());
    }

    fn keep(writing: &Writing) -> oneshot::Receiver<()> {
        let (reply, kept) = oneshot::channel();
        writing.commands.try_send(Command::Keep { reply }).expect("room");
        kept
    }

    #[tokio::test]
    async fn what_is_known_when_the_server_stops_is_known_at_the_next_start() {
        let state = tempfile::tempdir().expect("a directory");
        let writing = start(state.path(), BTreeMap::new(), None);
        writing.probe(Verdict::Up).await;
        keep(&writing).await.expect("kept");
        let mut next = Publisher::new(example(), Atlas::empty(), "", 0, BTreeMap::new(), clock::read());
        let warm = WarmStore::new(state.path()).restore(&mut next, clock::read());
        assert!(matches!(warm, WarmStart::Warm { .. }), "{warm}");
        let (before, after) = (writing.shared.load_full(), next.shared().load_full());
        let verdicts = |snapshot: &Snapshot| -> Vec<_> {
            snapshot.states.iter().flat_map(|state| state.endpoints.iter().map(|e| e.verdict)).collect()
        };
        assert_eq!(verdicts(&before), verdicts(&after));
        assert!(verdicts(&after).contains(&Some(Verdict::Up)));
    }

    #[tokio::test]
    async fn what_changed_just_before_a_kill_is_known_at_the_next_start() {
        let state = tempfile::tempdir().expect("a directory");
        let writing = start(state.path(), BTreeMap::new(), None);
        let (region, _) = writing.first();
        for verdict in [Verdict::Up, Verdict::Down, Verdict::Up, Verdict::Down] {
            writing.probe(verdict).await;
            // It is written within moments, and nobody has asked for it.
            let known = async {
                loop {
                    let mut next = Publisher::new(example(), Atlas::empty(), "", 0, BTreeMap::new(), clock::read());
                    WarmStore::new(state.path()).restore(&mut next, clock::read());
                    let snapshot = next.shared().load_full();
                    let id = *snapshot.model.find_regions(&region).first().expect("a region");
                    if snapshot.states[id.index()].endpoints[0].verdict == Some(verdict) {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(20), known).await.expect("kept long before the next whole save");
        }
    }

    #[tokio::test]
    async fn until_it_is_settled_nothing_is_published() {
        let state = tempfile::tempdir().expect("a directory");
        let publisher = Publisher::new(example(), Atlas::empty(), "", 0, BTreeMap::new(), clock::read());
        let shared = publisher.shared();
        let (reports, endpoints) = mpsc::channel(16);
        let (_updates, loads) = mpsc::channel(16);
        let (commands, said) = mpsc::channel(16);
        let troubles = Arc::new(Troubles::default());
        let (overrides, switches) = (OverrideStore::new(state.path()), SwitchStore::new(state.path()));
        let writer = Writer::new(publisher, overrides, switches, troubles.clone());
        tokio::spawn(writer.until_settled().run(Sources { endpoints, loads, commands: said }));
        let writing = Writing { shared: shared.clone(), reports, commands, troubles, _updates };
        let (region, endpoint) = writing.first();
        let key = EndpointKey::only(&region, &endpoint);
        let (since, outcome) = (SystemTime::now(), Ok(Timings::default()));
        let report = EndpointReport { key, verdict: Verdict::Up, since, probed_at: since, outcome, streak: 1 };
        let before = shared.load().generation;
        writing.reports.send(report).await.expect("sent");
        while writing.reports.capacity() < 16 {
            tokio::task::yield_now().await; // until it is taken
        }
        assert_eq!(shared.load().generation, before);
        let (reply, settled) = oneshot::channel();
        writing.commands.send(Command::Settle { reply }).await.expect("sent");
        settled.await.expect("settled");
        let snapshot = shared.load_full();
        assert_eq!(snapshot.generation, before + 1);
        assert!(
            snapshot.states.iter().any(|state| state.endpoints.iter().any(|seen| seen.verdict == Some(Verdict::Up)))
        );
    }

    /// A writer over a publisher that has planned, whose jobs wait for [`Held::go`].
    struct Held {
        writing: Writing,
        ended: JoinHandle<()>,
        go: std::sync::mpsc::Sender<()>,
        begun: mpsc::UnboundedReceiver<()>,
        vitals: Arc<Vitals>,
        _state: tempfile::TempDir,
    }

    fn holding() -> Held {
        let state = tempfile::tempdir().expect("a directory");
        let publisher = testing::planned(Instant::now());
        let shared = publisher.shared();
        let (reports, endpoints) = mpsc::channel(16);
        let (_updates, loads) = mpsc::channel(16);
        let (commands, said) = mpsc::channel(16);
        let (go, gone) = std::sync::mpsc::channel();
        let (beginning, begun) = mpsc::unbounded_channel();
        let gone = std::sync::Mutex::new(gone);
        let run = move |job: Job| {
            if job.ticket().kind != Kind::Tables {
                let _ = beginning.send(());
                let _ = gone.lock().expect("one at a time").recv(); // an error: the test is over
            }
            job.run()
        };
        let vitals = Arc::<Vitals>::default();
        let jobs =
            JobThread::start_with(vitals.clone(), run, ThreadClock::as_if_alone(|| Duration::ZERO)).expect("a thread");
        let troubles = Arc::new(Troubles::default());
        let (overrides, switches) = (OverrideStore::new(state.path()), SwitchStore::new(state.path()));
        let writer = Writer::new(publisher, overrides, switches, troubles.clone()).working(jobs);
        let ended = tokio::spawn(writer.run(Sources { endpoints, loads, commands: said }));
        Held {
            writing: Writing { shared, reports, commands, troubles, _updates },
            ended,
            go,
            begun,
            vitals,
            _state: state,
        }
    }

    #[tokio::test]
    async fn verdicts_are_published_while_a_plan_is_made() {
        let mut held = holding();
        let made_at = |held: &Held| held.writing.shared.load().plan.planned().map(|planned| planned.made_at);
        let before = made_at(&held);
        held.writing.probe(Verdict::Down).await;
        held.begun.recv().await.expect("a plan is begun");
        for verdict in [Verdict::Up, Verdict::Suspect, Verdict::Up] {
            held.writing.probe(verdict).await;
            assert_eq!(held.writing.shared.load().states[0].endpoints[0].verdict, Some(verdict));
        }
        assert!(held.begun.try_recv().is_err() && made_at(&held) == before, "one is under way");
        assert!(held.vitals.jobs().lag(Instant::now()) > Duration::ZERO);
        held.go.send(()).expect("it waits");
        held.begun.recv().await.expect("another, of what is known by now");
        let first = made_at(&held);
        assert!(first > before, "the first is in force");
        held.go = std::sync::mpsc::channel().0; // none waits any more
        while made_at(&held) == first || held.vitals.jobs().lag(Instant::now()) > Duration::ZERO {
            tokio::time::sleep(Duration::from_millis(1)).await; // a failure is a test that never ends
        }
        let [(_, tally), ..] = held.vitals.jobs().tallies();
        assert!(tally.taken >= 2 && (tally.dropped, tally.failed) == (0, 0), "{tally:?}");
    }

    #[tokio::test]
    async fn verdicts_are_published_while_classes_are_made_of_what_was_measured() {
        let mut held = holding();
        let group = ClientGroup::Network("10.1.0.0/17".parse().expect("a network"));
        let measured = Arc::new(Measured::of([(group, "east@gslb.example", Estimate::given(1.0))]));
        let before = held.writing.shared.load_full();
        let (reply, replied) = oneshot::channel();
        held.writing.commands.send(Command::Measured { measured, reply }).await.expect("a writer");
        replied.await.expect("it is taken");
        held.begun.recv().await.expect("a job is begun");
        for verdict in [Verdict::Suspect, Verdict::Up] {
            held.writing.probe(verdict).await;
            let meanwhile = held.writing.shared.load_full();
            assert_eq!(meanwhile.states[0].endpoints[0].verdict, Some(verdict));
            assert!(Arc::ptr_eq(&before.atlas, &meanwhile.atlas) && meanwhile.measured.is_empty());
        }
        held.go.send(()).expect("it waits");
        while held.writing.shared.load().measured.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await; // a failure is a test that never ends
        }
        assert!(!Arc::ptr_eq(&before.atlas, &held.writing.shared.load().atlas));
    }

    #[tokio::test]
    async fn the_writer_ends_without_the_plan_that_is_being_made() {
        let mut held = holding();
        held.writing.probe(Verdict::Down).await;
        held.begun.recv().await.expect("a plan is begun");
        let Held { writing, ended, go: _go, .. } = held;
        drop(writing);
        tokio::time::timeout(Duration::from_secs(5), ended).await.expect("at once").expect("no panic");
    }

    #[tokio::test]
    async fn probes_and_operators_are_heard_while_a_save_for_the_next_start_hangs() {
        let state = tempfile::tempdir().expect("a directory");
        let pipe = state.path().join("steering.kept.new");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        let writing = start(state.path(), BTreeMap::new(), None);
        writing.probe(Verdict::Up).await;
        writing.probe(Verdict::Down).await;
        let (region, _) = writing.first();
        writing.set_override(&region, Override::Down).await.expect("said");
        writing.set_override(&region, Override::Auto).await.expect("said");
        writing.probe(Verdict::Up).await;
        let mut kept = keep(&writing);
        for verdict in [Verdict::Down, Verdict::Up] {
            writing.probe(verdict).await;
        }
        assert!(kept.try_recv().is_err(), "the last save waits for the disk");
        // With an end to read from, nothing waits any more; a pipe keeps nothing, and that ends both saves.
        let _reader = std::fs::File::options().read(true).write(true).open(&pipe).expect("the other end");
        kept.await.expect("it ends");
    }
}
