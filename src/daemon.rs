//! The only place where all planes meet: sockets, snapshot, writer, probes, reloads, admin.
//!
//! ```text
//!   load ─▶ bind ─▶ first probe round ─▶ answer ─▶ … reloads … ─▶ stop
//! ```
//!
//! Everything that can be wrong with files or sockets shows before the first packet is read. What endpoints were before
//! a restart is known at once; those of which nothing is known are waited for, a second at most.

mod cluster;
pub mod confinement;
mod demand;
pub mod handover;
mod listening;
pub mod privileged;
mod rate;
mod responder;
mod rum;
mod systemd;
mod watchdog;

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use socket2::Socket;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::admin;
use crate::admin::encrypt::{Encryption, encryption};
use crate::atlas::Atlas;
use crate::control::audit::Audit;
use crate::control::bounded_file::{self, Secret};
use crate::control::clock;
use crate::control::cluster::handle::ClusterHandle;
use crate::control::config::{Config, Limits, Loaded, MAX_REGIONS, Udp};
use crate::control::events::history::Events;
use crate::control::events::receivers::Receivers;
use crate::control::jobs::JobThread;
use crate::control::load_report::Scraper;
use crate::control::memory;
use crate::control::node::Node;
use crate::control::overrides::{Kept, OverrideStore};
use crate::control::probe::{EndpointReport, ProbeLimits, Prober};
use crate::control::readiness::Readiness;
use crate::control::reload::{ConfigSource, Prepared, ReloadRequest, Reloaded, Reloader};
use crate::control::rum::{Measurements, listener};
use crate::control::state_lock::StateLock;
use crate::control::supervise::supervise;
use crate::control::switches::SwitchStore;
use crate::control::troubles::{StateName, TroubleKind, Troubles};
use crate::control::vitals::{TaskKind, Vitals};
use crate::control::warm::keeper::Keeper;
use crate::control::warm::{self, WarmStore};
use crate::control::writer::{Command, Sources, Writer};
use crate::logs::{self, Taps};
use crate::model::Model;
use crate::query::counters::CounterSet;
use crate::query::kernel::{KernelAnswers, KernelSetup};
use crate::query::transport::rate::RateLimiter;
use crate::query::transport::tcp::{self, TcpLimits, TcpServer};
use crate::query::transport::udp::{self, UdpServer, UdpSettings};
use crate::query::transport::xdp::{self, XdpServer};
use crate::state::memory::followers::Followers;
use crate::state::{News, Publisher, SharedSnapshot, Snapshot};

use cluster::Joined;
use handover::{Handed, Handover, Kind, Successor};
use listening::{advice, interfaces, stopped};
use privileged::Privileged;
use rate::tell_of_limits;
use responder::SnapshotResponder;
use rum::Measuring;
use systemd::Systemd;
use watchdog::Watchdog;

/// News waiting for the writer: a burst of probes of every endpoint there may be is coalesced
/// at their side, so this only smooths.
const QUEUE: usize = 1024;
/// The longest wait for the first probe round, where nothing is known of any endpoint: a resolver that is not answered
/// asks again after a second or so, and most endpoints are heard by then. The others are answered where nothing is up.
const FIRST_ROUND: Duration = Duration::from_secs(1);
/// The same where the others are known from before a restart: answers by these must not wait for long.
const NEW_ENDPOINTS: Duration = Duration::from_millis(150);

/// How long TCP connections may go on beside the server that has taken this one's place.
const FINISH: Duration = Duration::from_secs(10);

/// The longest wait for each task when stopping.
const LAST_WORK: Duration = Duration::from_secs(1);

/// A running server.
pub struct Daemon {
    pub dns: Vec<SocketAddr>,
    pub admin: Option<SocketAddr>,
    pub rum: Option<SocketAddr>,
    pub shared: SharedSnapshot,
    pub counters: Arc<CounterSet>,
    pub xdp: xdp::Statistics,
    measurements: Arc<Measurements>,
    reloads: mpsc::Sender<ReloadRequest>,
    stop: watch::Sender<bool>,
    threads: Threads,
    tasks: Vec<JoinHandle<()>>,
    care: Care,
    doors: Doors,
}

/// What a server that takes this one's place is given, beside the sockets of [`Threads`].
struct Doors {
    /// `None` where the state directory has no lock to hand over.
    handover: Option<Handover>,
    /// Of the admin API, and of browsers' measurements.
    listeners: Vec<(Kind, OwnedFd)>,
    places: Arc<admin::Places>,
}

/// What the control plane needs as long as this runs.
struct Care {
    /// Kept so that the writer does not end before.
    commands: mpsc::Sender<Command>,
    cluster: Option<ClusterHandle>,
    events: Arc<Events>,
    audit: Arc<Audit>,
    receivers: Arc<Receivers>,
    readiness: Arc<Readiness>,
    stop_delay: Duration,
    watchdog: Watchdog,
    systemd: Arc<Systemd>,
    lock: StateLock,
}

/// The threads that answer. Dropped in this order: what comes in at last goes to the sockets, and who
/// was told to come again over TCP still can.
struct Threads {
    _kernel: Option<KernelAnswers>,
    /// `None`: no interface was asked for.
    xdp: Option<xdp::Running>,
    udp: udp::Running,
    tcp: tcp::Running,
    /// They end when those that answer have.
    logs: logs::Writers,
}

impl Threads {
    /// Ends those that answer, which waits for clients that are slow to take their responses; then those that log.
    fn end(self) {
        let Threads { _kernel: kernel, xdp, udp, tcp, logs } = self;
        drop((kernel, xdp, udp, tcp));
        logs.finish(LAST_WORK);
    }
}

/// All that can fail at the start has not; nothing runs yet.
struct Opened {
    bound: Bound,
    access: admin::Access,
    audit: Arc<Audit>,
    store: OverrideStore,
    publisher: Publisher,
    measuring: Measuring,
    troubles: Arc<Troubles>,
    events: Arc<Events>,
    receivers: Arc<Receivers>,
    vitals: Arc<Vitals>,
    node: Arc<Node>,
    lock: StateLock,
    joined: Joined,
}

/// Sockets bound, nothing answered yet.
struct Bound {
    xdp: XdpServer,
    kernel: KernelSetup,
    udp: UdpServer,
    tcp: TcpServer,
    admin: Option<(std::net::TcpListener, Option<Encryption>)>,
    admin_here: Option<UnixListener>,
}

impl Daemon {
    /// Starts serving what `source` says: returns when the first packet may be answered.
    ///
    /// # Errors
    /// The text of every mistake in the files, or why a socket or the state could not be had.
    pub async fn start(source: Arc<dyn ConfigSource>, prepared: Prepared) -> Result<Daemon, Vec<String>> {
        Daemon::start_with(source, prepared, Privileged::here()).await
    }

    /// [`Daemon::start`], where only `privileged` may open what takes privileges.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub async fn start_with(
        source: Arc<dyn ConfigSource>,
        prepared: Prepared,
        privileged: Privileged,
    ) -> Result<Daemon, Vec<String>> {
        Daemon::start_replacing(source, prepared, privileged, Handed::default()).await
    }

    /// [`Daemon::start_with`], with what another server has handed over: when this returns, both answer.
    ///
    /// # Errors
    /// As [`Daemon::start`]; the other server goes on by itself.
    pub async fn start_replacing(
        source: Arc<dyn ConfigSource>,
        prepared: Prepared,
        privileged: Privileged,
        handed: Handed,
    ) -> Result<Daemon, Vec<String>> {
        let Prepared { loaded: Loaded { config, model, diagnostics, .. }, atlas, following } = prepared;
        diagnostics.iter().for_each(|diagnostic| warn!("{diagnostic}"));
        let opened = Opened::new(&config, model, atlas, (privileged, handed)).map_err(|error| vec![error])?;
        let (access, audit, joined) = (opened.access, opened.audit, opened.joined);
        let Opened { bound, store, publisher, measuring, troubles, events, receivers, vitals, node, lock, .. } = opened;
        let (mut doors, followers) = (Doors::new(bound.listener(), measuring.listener()), publisher.followers());
        let (rum, measurements) = (measuring.address(), measuring.measurements.clone());
        let (shared, xdp) = (publisher.shared(), bound.xdp.statistics());
        let (model, counters) = (shared.load_full().model.clone(), Arc::new(CounterSet::new()));
        let ((updates, loads), (commands, said)) = (mpsc::channel(QUEUE), mpsc::channel(QUEUE));
        let ((reloads, requests), (reports, endpoints)) = (mpsc::channel(1), mpsc::channel(QUEUE));
        let (stop, stopping) = watch::channel(false);
        let writer = new_writer(&config, (publisher, store), &troubles, &vitals)?.recording(events.clone());
        let writer = writer.sharing(joined.handle()).run(Sources { endpoints, loads, commands: said });
        let prober = new_prober(&config, reports, &vitals, &events, &shared.load());
        let scraper = Scraper::new(updates.clone()).counted(vitals.clone()).sharing(joined.duty());
        let (probing, heartbeats) = (probing(&prober, &scraper), prober.heartbeats());
        let reloader = Reloader::new(source, config.clone(), &model, following, prober, scraper, commands.clone());
        let reloader = reloader.telling(receivers.clone()).guarding(access.tokens.clone());
        let context = Arc::new(admin::Context {
            shared: shared.clone(),
            counters: counters.clone(),
            answered: Arc::default(),
            commands: commands.clone(),
            loads: updates,
            heartbeats,
            reloads: reloads.clone(),
            load_status: reloader.status(),
            started: Instant::now(),
            access: Arc::new(access),
            audit: audit.clone(),
            measurements: measurements.clone(),
            troubles,
            events: events.clone(),
            receivers: receivers.clone(),
            vitals: vitals.clone(),
            node: node.clone(),
            xdp: xdp.clone(),
            probing,
            places: doors.places.clone(),
            cluster: joined.handle(),
        });
        let (writer, keeping) = (spawn_writer(writer), keep_events(&events, &receivers, node.clone(), audit));
        let care = Care::start(&config, &vitals, &context, node, lock)?;
        first_round(&reloader, &commands, &shared.load_full()).await;
        let mut tasks = vec![writer, keeping, carry_demand(&context, &vitals), tokio::spawn(reloader.run(requests))];
        joined.start(&context, &mut tasks);
        measuring.start(&shared, &commands, &stopping, &vitals, &mut tasks);
        let (dns, admin) = (bound.udp.local_addrs().to_vec(), bound.listener().and_then(|l| l.local_addr().ok()));
        let threads = bound.start(&config, (&shared, &followers), &counters, context, &stopping, &mut tasks)?;
        info!(dns = ?dns, admin = ?admin, rum = ?rum, "answering");
        doors.open(&config, &care);
        Ok(Daemon { dns, admin, rum, shared, counters, xdp, measurements, reloads, stop, threads, tasks, care, doors })
    }

    /// Loads everything afresh; on any mistake the old configuration stays, and all are told. Never forces.
    pub async fn reload(&self) -> Result<Reloaded, Vec<String>> {
        let (reply, done) = oneshot::channel();
        let stopping = || vec!["the server is stopping".to_owned()];
        self.reloads.send(ReloadRequest { force: false, reply }).await.map_err(|_| stopping())?;
        done.await.map_err(|_| stopping())?
    }

    /// From now on `/ready` says no, and answers go on for the time that is returned, `stop_delay`: routers that ask
    /// send clients elsewhere in time.
    pub fn leave(&self) -> Duration {
        self.care.readiness.stop();
        self.care.systemd.stopping_for(self.care.stop_delay);
        self.care.stop_delay
    }

    /// Stops answering, and waits until everything has ended: a few seconds at most.
    pub async fn stop(self) {
        self.leave();
        self.stop.send_replace(true);
        let (measurements, commands) = (self.measurements.clone(), self.care.commands.clone());
        let (events, receivers, audit) =
            (self.care.events.clone(), self.care.receivers.clone(), self.care.audit.clone());
        let cluster = self.care.cluster.clone();
        let (threads, tasks, _lock) = self.into_running();
        let _ = tokio::task::spawn_blocking(move || threads.end()).await;
        if let Some(cluster) = cluster {
            let _ = tokio::time::timeout(LAST_WORK, cluster.leave()).await;
        }
        // An error means that the disk hangs: the next start is as warm as the last save.
        let _ = tokio::time::timeout(LAST_WORK, keep(commands)).await;
        let _ = tokio::time::timeout(LAST_WORK, events.kept()).await;
        let _ = tokio::time::timeout(LAST_WORK, audit.written()).await;
        receivers.stop();
        let _ = tokio::time::timeout(LAST_WORK, receivers.kept()).await;
        // All first: the writer, whose thread cannot be aborted, ends when the others have let go
        // of what they tell it by.
        tasks.iter().for_each(JoinHandle::abort);
        for task in tasks {
            // Aborted, or ended before; or a caller of the admin API still holds on to the writer.
            let _ = tokio::time::timeout(LAST_WORK, task).await;
        }
        // After those that measure.
        let saving = tokio::task::spawn_blocking(move || measurements.save());
        let _ = tokio::time::timeout(LAST_WORK, saving).await;
    }

    /// Completes when another server answers in this one's place: then [`Daemon::end_replaced`] is to be called. Where
    /// one comes and fails, all goes on as before.
    pub async fn replaced(&self) {
        let Some(handover) = &self.doors.handover else { return std::future::pending().await };
        loop {
            let successor = handover.next().await;
            if self.hand_over(successor).await {
                return;
            }
        }
    }

    /// Tells whether the other one answers.
    async fn hand_over(&self, successor: Successor) -> bool {
        if self.threads.xdp.is_some() {
            successor.refuse("`listen.xdp` is in use, and takes a restart");
            return false;
        }
        info!("another server takes this one's place: handing over");
        // What is said from now on, the other one has to hear, who reads what is kept.
        self.doors.pause().await;
        let _ = tokio::time::timeout(LAST_WORK, keep(self.care.commands.clone())).await;
        let _ = tokio::time::timeout(LAST_WORK, self.care.events.kept()).await;
        let _ = tokio::time::timeout(LAST_WORK, self.care.receivers.kept()).await;
        let (measurements, all) = (self.measurements.clone(), self.descriptors());
        let handing = tokio::task::spawn_blocking(move || {
            measurements.save();
            successor.hand(&all?)
        });
        match handing.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) => true,
            Err(error) => {
                warn!("the other server has not come to answer ({error}): this one goes on");
                self.doors.places.pause(false);
                false
            }
        }
    }

    /// All that the other one needs, once more open.
    fn descriptors(&self) -> io::Result<Vec<(Kind, OwnedFd)>> {
        let udp = self.threads.udp.sockets().map(|socket| (Kind::Udp, socket));
        let tcp = self.threads.tcp.listeners().map(|listener| (Kind::Tcp, listener));
        let others = self.doors.listeners.iter().map(|(kind, listener)| (*kind, listener.as_fd()));
        let lock = self.care.lock.files().iter().map(|file| (Kind::Lock, file.as_fd()));
        let all = udp.chain(tcp).chain(others).chain(lock);
        all.map(|(kind, descriptor)| Ok((kind, descriptor.try_clone_to_owned()?))).collect()
    }

    /// Ends after another server has taken this one's place: reads no more, writes nothing that is kept, and finishes
    /// the TCP connections there are, within [`FINISH`].
    pub async fn end_replaced(self) {
        info!("another server answers in this one's place: ending");
        let Daemon { threads, tasks, care, doors, stop, .. } = self;
        let Threads { udp, tcp, logs, .. } = threads;
        let _ = tokio::task::spawn_blocking(move || drop(udp)).await;
        care.receivers.stop();
        stop.send_replace(true);
        tasks.iter().for_each(JoinHandle::abort);
        // The last that the writer hears by: it ends, and keeps nothing over what the other one keeps.
        drop((doors, care.watchdog, care.commands));
        let leaving = move || {
            tcp.leave(FINISH);
            logs.finish(LAST_WORK);
        };
        let _ = tokio::task::spawn_blocking(leaving).await;
    }

    /// What has to be waited for; the rest is dropped here, and with it the daemon's own hold on
    /// the writer, and who looks after it. The state directory is held to the end.
    fn into_running(self) -> (Threads, Vec<JoinHandle<()>>, StateLock) {
        drop(self.care.watchdog);
        (self.threads, self.tasks, self.care.lock)
    }
}

impl Doors {
    fn new(admin: Option<&std::net::TcpListener>, rum: Option<&std::net::TcpListener>) -> Doors {
        let both = [(Kind::Admin, admin), (Kind::Rum, rum)];
        // Without a second handle the other one binds the address itself, or cannot.
        let listeners = both.into_iter().filter_map(|(kind, of)| Some((kind, of?.try_clone().ok()?.into())));
        Doors { handover: None, listeners: listeners.collect(), places: Arc::default() }
    }

    /// From now on another server may take this one's place.
    /// All is there: who started this server is told, and another may take its place.
    fn open(&mut self, config: &Config, care: &Care) {
        care.systemd.ready();
        let lock = &care.lock;
        if lock.files().is_empty() {
            return;
        }
        lock.sign();
        match Handover::listen(&config.state) {
            Ok(handover) => self.handover = Some(handover),
            Err(error) => warn!("`meridian serve --replace` cannot reach this server: {error}"),
        }
    }

    /// Lets nobody new ask the admin API, and waits a while for those at work.
    async fn pause(&self) {
        self.places.pause(true);
        let until = tokio::time::Instant::now() + LAST_WORK;
        while self.places.counts().working > 0 && tokio::time::Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Care {
    fn start(
        config: &Config,
        vitals: &Arc<Vitals>,
        context: &admin::Context,
        node: Arc<Node>,
        lock: StateLock,
    ) -> Result<Care, Vec<String>> {
        let systemd = Arc::new(Systemd::here());
        let watchdog = Watchdog::start(vitals.clone(), config.watchdog, systemd.clone(), || std::process::exit(1));
        let watchdog = watchdog.map_err(|error| vec![format!("cannot start the watchdog: {error}")])?;
        Ok(Care {
            commands: context.commands.clone(),
            cluster: context.cluster.clone(),
            events: context.events.clone(),
            audit: context.audit.clone(),
            receivers: context.receivers.clone(),
            readiness: node.readiness.clone(),
            stop_delay: config.stop_delay,
            watchdog,
            systemd,
            lock,
        })
    }
}

impl Opened {
    fn new(
        config: &Config,
        model: Model,
        atlas: Atlas,
        (privileged, handed): (Privileged, Handed),
    ) -> Result<Opened, String> {
        let Handed { udp, tcp, admin, rum, lock: locked } = handed;
        let others = others_open_files(config);
        let (least, most) = (config.limits.probes.min(PROBES), config.limits.probes);
        allow_open_files(others.saturating_add(least as u64), others.saturating_add(most as u64));
        let listening = config.clone();
        let bound = privileged
            .run(move || Bound::new(&listening, (udp, tcp), admin))
            .unwrap_or_else(|error| Err(error.to_string()))?;
        let token = admin_token(config)?;
        if let Some(warning) = token.as_ref().and_then(|token| token.warning.as_ref()) {
            warn!("{warning}");
        }
        let tokens = Arc::new(ArcSwap::from_pointee(config.admin_tokens.clone()));
        let access = admin::Access { token: token.map(|token| token.text), tokens };
        let troubles = Arc::new(Troubles::default());
        let lock = match locked.is_empty() {
            true => StateLock::take(&config.state, &troubles).map_err(|error| error.to_string())?,
            false => StateLock::handed(locked),
        };
        let store = OverrideStore::new(&config.state);
        let mut publisher = publisher(config, model, atlas, &store, &troubles);
        let measuring = Measuring::new(config, &mut publisher, &troubles, rum)?;
        // With all that was measured, since that decides which clients are told apart.
        let warm = WarmStore::new(&config.state);
        let start = warm.restore(&mut publisher, clock::read());
        start.tell();
        warm.keep_corrupt(&start, &troubles);
        if let Err(error) = store.prove() {
            let instead = "overrides would be refused; let this user write there, or set `state`";
            troubles.begin(StateName::Overrides, TroubleKind::Unwritable, &error.to_string(), instead);
        }
        let events = Arc::new(Events::open(&config.state, troubles.clone()));
        let audit = Arc::new(Audit::open(&config.state, troubles.clone()));
        let vitals = Arc::new(Vitals::default());
        let receivers = Receivers::new(&config.state, events.clone(), troubles.clone(), vitals.clone());
        let readiness = Arc::new(Readiness::new(vitals.clone()));
        let node = Arc::new(Node::open(&config.state, readiness, events.clone(), troubles.clone()));
        let joined = Joined::open(config, &publisher, &troubles)?;
        Ok(Opened {
            bound,
            access,
            audit,
            store,
            publisher,
            measuring,
            troubles,
            events,
            receivers,
            vitals,
            node,
            lock,
            joined,
        })
    }
}

impl Bound {
    /// With the sockets that were handed over, where they are of the same addresses.
    fn new(config: &Config, dns: (Vec<Socket>, Vec<Socket>), admin: Option<Socket>) -> Result<Bound, String> {
        let (udp, tcp) = bind_dns(&config.listen.dns, &udp_settings(config), dns)
            .map_err(|error| format!("{error}{}", advice(&error)))?;
        let admin = match config.listen.admin {
            Some(address) => {
                let bind = || std::net::TcpListener::bind(address);
                let listener = Handed::listener(admin, address).map_or_else(bind, Ok).map_err(|error| {
                    format!("cannot listen on TCP {address} for the admin API: {error}{}", advice(&error))
                })?;
                listener.set_nonblocking(true).map_err(|error| error.to_string())?;
                Some((listener, config.admin_tls.as_ref().map(encryption).transpose()?))
            }
            None => None,
        };
        let mut kernel = KernelSetup::default();
        let sees_all = [
            ("query_log", config.query_log.is_some()),
            ("dnstap", config.dnstap.is_some()),
            ("limits.udp_per_network", config.limits.udp_rate.is_some()),
        ];
        let sees_all = sees_all.iter().find(|(_, is_set)| *is_set).map(|(setting, _)| *setting);
        let xdp = XdpServer::open(&interfaces(&config.listen.xdp, sees_all), udp.local_addrs(), &mut kernel);
        let admin_here = config.admin_socket.as_ref().map(listening::here).transpose()?;
        Ok(Bound { xdp, kernel, udp, tcp, admin, admin_here })
    }

    /// Of the admin API.
    fn listener(&self) -> Option<&std::net::TcpListener> {
        self.admin.as_ref().map(|(listener, _)| listener)
    }

    fn start(
        self,
        config: &Config,
        (shared, followers): (&SharedSnapshot, &Followers),
        counters: &Arc<CounterSet>,
        context: Arc<admin::Context>,
        stopping: &watch::Receiver<bool>,
        tasks: &mut Vec<JoinHandle<()>>,
    ) -> Result<Threads, Vec<String>> {
        let (taps, logs) = Taps::start(config, counters)
            .map_err(|error| vec![format!("cannot start the logs of queries: {error}")])?;
        let rate = config.limits.udp_rate.clone().map(|settings| Arc::new(RateLimiter::new(settings)));
        if let Some(rate) = &rate {
            tasks.push(tokio::spawn(tell_of_limits(rate.clone(), counters.clone())));
        }
        let responder = Arc::new(SnapshotResponder { shared: shared.clone(), taps, rate });
        let udp = self.udp.start(&responder, counters).map_err(|error| vec![error.to_string()])?;
        let kernel = match self.kernel.done() {
            Some(kernel) => Some(
                KernelAnswers::start(kernel, shared.clone(), followers, counters.register())
                    .map_err(|error| vec![error.to_string()])?,
            ),
            None => None,
        };
        let xdp = self.xdp.start(&responder, counters, &config.cpus).map_err(|error| vec![error.to_string()])?;
        let tcp = self.tcp.start(&responder, counters, &tcp_limits(&config.limits), &config.cpus);
        let tcp = tcp.map_err(|error| vec![error.to_string()])?;
        if let Some(listener) = self.admin_here {
            let served = admin::serve_here(listener, context.clone(), stopped(stopping.clone()));
            tasks.push(tokio::spawn(async move {
                if let Err(error) = served.await {
                    error!("the socket of the admin API ended: {error}; answers go on");
                }
            }));
        }
        if let Some((listener, encryption)) = self.admin {
            let served = admin::serve(listener, encryption, context, stopped(stopping.clone()));
            tasks.push(tokio::spawn(async move {
                if let Err(error) = served.await {
                    error!("the admin API ended: {error}; answers go on");
                }
            }));
        }
        tasks.push(tokio::spawn(memory::give_back_after_start()));
        let xdp = (!config.listen.xdp.is_empty()).then_some(xdp);
        Ok(Threads { _kernel: kernel, xdp, udp, tcp, logs })
    }
}

/// Connections that probes can count on: enough for 100 endpoints that hang at once. More are had where the system
/// lets this process open more files; too few are called out.
const PROBES: usize = 256;

/// However few files there are, probes are tried: one that cannot be made counts against nobody.
const LEAST_PROBES: usize = 64;

/// How many files and sockets may be open at once beside those of probes: connections of all kinds at their limits,
/// and as much again as a reload, threads and the system's resolver take.
fn others_open_files(config: &Config) -> u64 {
    const REST: usize = 512;
    let browsers = if config.listen.rum.is_some() { listener::CONNECTIONS } else { 0 };
    // One load report under way per region at most.
    [config.limits.tcp_connections, MAX_REGIONS, browsers].into_iter().fold(REST, usize::saturating_add) as u64
}

/// Raises this process's own limit of open files towards `most`, as far as the system lets it, and says so where
/// that is less than `least`. The usual 1,024 is what DNS clients alone may use up over TCP: then probes could open
/// no socket, and no region's death would be noticed.
fn allow_open_files(least: u64, most: u64) {
    let Some(mut limit) = open_files_limit().filter(|limit| limit.rlim_cur < most) else { return };
    let before = limit.rlim_cur;
    limit.rlim_cur = most.min(limit.rlim_max);
    // SAFETY: the call reads the one struct it is given, which outlives it.
    let raised = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } == 0;
    let allowed = if raised { limit.rlim_cur } else { before };
    if allowed < least {
        warn!(
            "{least} files and sockets may be needed, but this process may open {allowed}: raise that, or lower `limits`"
        );
    }
}

/// `None` where the system does not say.
fn open_files_limit() -> Option<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call writes the one struct it is given, which outlives it.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } == 0;
    known.then_some(limit)
}

/// Overrides that cannot be read do not keep the others waiting for answers: it starts without them,
/// says so wherever operators look, and takes no new ones until they can be read.
fn publisher(config: &Config, model: Model, atlas: Atlas, store: &OverrideStore, troubles: &Troubles) -> Publisher {
    let (Kept { overrides, drains }, lost) = match store.load_at_start(troubles) {
        Ok(kept) => (kept, None),
        Err(error) => (Kept::default(), Some(error.to_string())),
    };
    let (nsid, now) = (config.nsid.as_deref().unwrap_or_default(), clock::read());
    let mut publisher = Publisher::new(model, atlas, nsid, config.seed, overrides.clone(), now);
    if !drains.is_empty() {
        publisher.apply(News::Overrides { overrides, drains }, now);
        publisher.publish(now);
    }
    if let Some(lost) = lost {
        publisher.apply(News::OverridesLost(lost), now);
        publisher.publish(now);
    }
    publisher
}

/// Binds both transports. Where port 0 lets the system pick, TCP takes the port that UDP got; that
/// one may be taken, and then the system picks again.
fn bind_dns(
    addresses: &[SocketAddr],
    settings: &UdpSettings,
    (mut udp_handed, mut tcp_handed): (Vec<Socket>, Vec<Socket>),
) -> io::Result<(UdpServer, TcpServer)> {
    const PICKS: usize = 16;
    let mut picks = if addresses.iter().any(|address| address.port() == 0) { PICKS } else { 1 };
    loop {
        picks -= 1;
        let udp = UdpServer::bind_or_take(addresses, settings, &mut udp_handed)?;
        match TcpServer::bind_or_take(udp.local_addrs(), settings.threads, &mut tcp_handed) {
            Ok(tcp) => {
                for left in
                    udp_handed.iter().chain(&tcp_handed).filter_map(|socket| socket.local_addr().ok()?.as_socket())
                {
                    warn!("a socket of {left} was handed over, which is no address of `listen`: it is closed");
                }
                return Ok((udp, tcp));
            }
            Err(error) if picks == 0 || error.kind() != io::ErrorKind::AddrInUse => return Err(error),
            Err(_) => {}
        }
    }
}

/// A prober that goes on from what is known of endpoints.
fn new_prober(
    config: &Config,
    reports: mpsc::Sender<EndpointReport>,
    vitals: &Arc<Vitals>,
    events: &Arc<Events>,
    known: &Snapshot,
) -> Prober {
    let prober = Prober::new(reports, probe_limits(config)).counted(vitals.clone());
    let mut prober = prober.recording(events.clone());
    prober.resume(known, Instant::now());
    prober
}

fn new_writer(
    config: &Config,
    (publisher, store): (Publisher, OverrideStore),
    troubles: &Arc<Troubles>,
    vitals: &Arc<Vitals>,
) -> Result<Writer, Vec<String>> {
    let jobs = JobThread::start(vitals.clone());
    let jobs = jobs.map_err(|error| vec![format!("cannot start the thread that plans: {error}")])?;
    let keeper = Keeper::new(WarmStore::new(&config.state), warm::PERIOD, Instant::now(), troubles.clone());
    let writer = Writer::new(publisher, store, SwitchStore::new(&config.state), troubles.clone()).keeping(keeper);
    Ok(writer.until_settled().beating(vitals.clone()).working(jobs))
}

/// The writer has a thread of its own: a large snapshot must not hold up probes and connections.
fn spawn_writer(writer: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        // SAFETY: gives this thread a name, for `top -H` and the like.
        unsafe { libc::prctl(libc::PR_SET_NAME, c"writer".as_ptr()) };
        runtime.block_on(writer);
    })
}

/// Has demand carried to the writer.
fn carry_demand(context: &admin::Context, vitals: &Arc<Vitals>) -> JoinHandle<()> {
    let carrier = demand::Carrier {
        shared: context.shared.clone(),
        counters: context.counters.clone(),
        answered: context.answered.clone(),
        commands: context.commands.clone(),
    };
    let carry = move || demand::carry(carrier.clone());
    tokio::spawn(supervise(TaskKind::Demand, String::new(), vitals.clone(), carry))
}

/// Has events kept, and others told of them; and what operators say of this node.
fn keep_events(events: &Arc<Events>, receivers: &Arc<Receivers>, node: Arc<Node>, audit: Arc<Audit>) -> JoinHandle<()> {
    let (keeping, telling) = (events.clone().keep(), receivers.clone().run());
    tokio::spawn(async { _ = tokio::join!(keeping, telling, node.keep(), audit.keep()) })
}

/// Has the writer keep what is known for the next start.
async fn keep(commands: mpsc::Sender<Command>) {
    let (reply, kept) = oneshot::channel();
    if commands.send(Command::Keep { reply }).await.is_ok() {
        let _ = kept.await; // an error means that the writer has gone
    }
}

async fn first_round(reloader: &Reloader, commands: &mpsc::Sender<Command>, before: &Snapshot) {
    let mut endpoints = before.states.iter().flat_map(|state| &state.endpoints);
    let most = if endpoints.any(|endpoint| endpoint.restored) { NEW_ENDPOINTS } else { FIRST_ROUND };
    if tokio::time::timeout(most, reloader.first_round()).await.is_err() {
        warn!("some endpoints have not answered their first probe: where others are up, answering without them");
    }
    let (reply, settled) = oneshot::channel();
    if commands.send(Command::Settle { reply }).await.is_ok() {
        let _ = settled.await; // an error means that the writer has gone, and the caller finds out
    }
}

fn udp_settings(config: &Config) -> UdpSettings {
    let threads = NonZeroUsize::new(config.threads.unwrap_or(config.cpus.len()));
    let threads = threads.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
    let Udp { batch, receive_buffer, send_buffer, busy_poll } = config.udp;
    let defaults = UdpSettings::new(threads);
    UdpSettings {
        cpus: config.cpus.clone(),
        batch: NonZeroUsize::new(batch).unwrap_or(defaults.batch),
        receive_buffer,
        send_buffer,
        busy_poll,
        ..defaults
    }
}

/// Where it is told how well this machine can ask others.
fn probing(prober: &Prober, scraper: &Scraper) -> admin::Probing {
    let (budget, probe_faults, scrape_faults) = (prober.budget(), prober.faults(), scraper.faults());
    admin::Probing { budget, probe_faults, scrape_faults, reachability: prober.reachability() }
}

/// As many connections as are configured, within the files that others leave; see [`allow_open_files`].
fn probe_limits(config: &Config) -> ProbeLimits {
    let allowed = open_files_limit().map_or(u64::MAX, |limit| limit.rlim_cur);
    let left = usize::try_from(allowed.saturating_sub(others_open_files(config))).unwrap_or(usize::MAX);
    ProbeLimits { concurrency: config.limits.probes.min(left.max(LEAST_PROBES)) as u32 }
}

fn tcp_limits(limits: &Limits) -> TcpLimits {
    let defaults = TcpLimits::default();
    TcpLimits {
        connections: limits.tcp_connections,
        connections_per_network: limits.tcp_per_network,
        idle: limits.tcp_idle,
        idle_min: defaults.idle_min.min(limits.tcp_idle),
        message: limits.tcp_message,
        message_min: defaults.message_min.min(limits.tcp_message),
        ..defaults
    }
}

/// The secret that the admin API asks for; `None` where it asks for none. The error says which file is wrong.
pub fn admin_token(config: &Config) -> Result<Option<Secret>, String> {
    let read = |path| bounded_file::read_secret(path, "the admin token", 16);
    config.admin_token_file.as_deref().map(read).transpose()
}
