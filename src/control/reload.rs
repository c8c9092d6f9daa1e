//! Reloads: a whole new configuration, or nothing.
//!
//! ```text
//!   SIGHUP ────────▶┐
//!   meridian reload ▶├─▶ Reloader: load beside (blocking) ─▶ writer ─▶ probes, load reports
//!   files, databases ▶┘      └─ any mistake: said, and the old configuration stays
//! ```
//!
//! A database file that was replaced renews the atlas alone: half-edited zone files beside it
//! wait for their own reload. One that is bad is tried again, less and less often.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use crate::atlas::{Atlas, AtlasError, Database, Detail};
use crate::model::{Location, Model, Name, Prefix};
use crate::state::Replacement;
use crate::steer::need;

use super::access::{self, SharedTokens};
use super::config::{Config, Disk, Files, Loaded, ReloadWhen, Stamp};
use super::databases::{self, Copies, DatabaseReport, Found, Loading, MadeOf, Refused, Serves, StandIns};
use super::events::receivers::Receivers;
use super::load_report::Scraper;
use super::memory;
use super::probe::Prober;
use super::watch::{self, Seen, Watch};
use super::writer::Command;

/// Where a configuration comes from: files, or what the demo has built in.
pub trait ConfigSource: Send + Sync + 'static {
    /// Loads everything afresh. The text of every mistake, for people, if there is any.
    fn load(&self) -> Result<Loaded, Vec<String>>;

    /// Tells whether loads come with the facts of the files before they were read ([`Loaded::facts`]).
    fn tells_facts(&self) -> bool {
        false
    }

    /// Reads a database that the configuration names.
    ///
    /// # Errors
    /// The file is missing, not readable or too large. What is in it is judged later.
    fn read_database(&self, path: &Path) -> Result<Database, AtlasError> {
        Database::read(path)
    }

    /// The facts by which a database is seen to be as it was, unread. `None`: it is to be read.
    fn stamp_of_database(&self, path: &Path) -> Option<Stamp> {
        Disk.stamp(path).and_then(Stamp::settled)
    }

    /// Databases beside those that the configuration names.
    fn embedded(&self) -> Vec<Database> {
        Vec::new()
    }
}

/// What asks for a reload, and hears how it went.
#[derive(Debug)]
pub struct ReloadRequest {
    /// Takes also what loses all zones, databases, networks or listeners, and goes on without bad databases.
    pub force: bool,
    pub reply: oneshot::Sender<Result<Reloaded, Vec<String>>>,
}

/// A reload that took.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Reloaded {
    pub zones: usize,
    pub regions: usize,
    pub services: usize,
    pub places: usize,
    pub warnings: Vec<String>,
    /// Settings that only a restart changes, and were changed.
    pub needs_restart: Vec<String>,
}

/// How the last load or reload went, for whoever looks later.
#[derive(Clone, Debug)]
pub struct LoadStatus {
    pub at: SystemTime,
    /// Empty: it took. Otherwise the old configuration is being served.
    pub mistakes: Vec<String>,
    /// One per configured database, in the order of the configuration; renewed also between loads.
    pub databases: Vec<DatabaseReport>,
}

impl LoadStatus {
    /// Of a load just now.
    pub fn now(mistakes: Vec<String>, databases: Vec<DatabaseReport>) -> LoadStatus {
        LoadStatus { at: SystemTime::now(), mistakes, databases }
    }
}

/// Everything that a loaded configuration becomes.
pub struct Prepared {
    pub loaded: Loaded,
    pub atlas: Atlas,
    /// What a [`Reloader`] takes over.
    pub following: Following,
}

/// [`Prepared`], by what is there already.
pub struct Reprepared {
    pub loaded: Loaded,
    /// `None`: that which is there; nothing that it is made of has changed.
    pub atlas: Option<Atlas>,
    pub following: Following,
}

/// Files as they were read, and what is to be done with them yet.
pub struct Following {
    /// The configuration's files, and the directory of zones.
    files: Seen,
    databases: PreparedDatabases,
}

/// Databases that were read.
struct PreparedDatabases {
    /// The files just before they were read.
    seen: Seen,
    found: Vec<Found>,
    /// What copies are to be kept of.
    taken: Vec<(PathBuf, Database)>,
    /// `None` where they have to be read again whatever happens.
    made_of: Option<MadeOf>,
    /// Of the atlas.
    places: usize,
}

impl Following {
    /// The things that the atlas is made of.
    pub fn made_of(&self) -> Option<&MadeOf> {
        self.databases.made_of.as_ref()
    }
}

/// Loads configuration, and of databases what it needs. Blocks: up to a second for large databases.
///
/// # Errors
/// Any mistake in any file, bad databases included.
pub fn prepare(source: &dyn ConfigSource) -> Result<Prepared, Vec<String>> {
    let loaded = source.load()?;
    let detail = detail_of(&loaded.config, &loaded.model);
    with_atlas(source, loaded, detail, &NOTHING_ELSE)
}

/// The same, after an atlas that was made of this: databases are read only where they have changed.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_again(source: &dyn ConfigSource, before: Option<&MadeOf>) -> Result<Reprepared, Vec<String>> {
    let loaded = source.load()?;
    let detail = detail_of(&loaded.config, &loaded.model);
    with_atlas_after(before, source, loaded, detail, &NOTHING_ELSE)
}

/// The same, with all that the databases say, needed or not.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_whole(source: &dyn ConfigSource) -> Result<Prepared, Vec<String>> {
    with_atlas(source, source.load()?, Detail::ALL, &NOTHING_ELSE)
}

/// [`prepare`] for a start: a bad database is stood in for by the copy of it, or by nothing unless the configuration
/// requires it. A restart must not be what ends all answers.
///
/// # Errors
/// Any mistake in any other file.
pub fn prepare_to_serve(source: &dyn ConfigSource) -> Result<Prepared, Vec<String>> {
    let loaded = source.load()?;
    let (copies, required) = (Copies::new(&loaded.config.state), loaded.config.geoip.required);
    let detail = detail_of(&loaded.config, &loaded.model);
    with_atlas(source, loaded, detail, &StandIns { copies: Some(&copies), may_miss: &|_| !required })
}

const NOTHING_ELSE: StandIns<'static> = StandIns { copies: None, may_miss: &|_| false };

/// How closely it must be known where clients are: for decisions, and for what browsers measure.
fn detail_of(config: &Config, model: &Model) -> Detail {
    if config.listen.rum.is_some() { Detail::ALL } else { need::detail_of(model) }
}

fn with_atlas(
    source: &dyn ConfigSource,
    loaded: Loaded,
    detail: Detail,
    stand_ins: &StandIns<'_>,
) -> Result<Prepared, Vec<String>> {
    let files = read_by(&loaded);
    let seen = Seen::now(&loaded.config.geoip.databases);
    let made_of = made_of_now(source, &loaded.config, detail, &loaded.model.networks);
    let loading = read_databases(source, &loaded.config, &loaded.model.networks, detail, stand_ins);
    let Loading { atlas, found, taken } = loading.map_err(|refused| vec![refused.why])?;
    let (made_of, places) = (made_of.filter(|_| are_good(&found)), atlas.place_count());
    let following = Following { files, databases: PreparedDatabases { seen, found, taken, made_of, places } };
    Ok(Prepared { loaded, atlas, following })
}

/// [`with_atlas`] where it would be another than the one that was made of what there was `before`.
fn with_atlas_after(
    before: Option<&MadeOf>,
    source: &dyn ConfigSource,
    loaded: Loaded,
    detail: Detail,
    stand_ins: &StandIns<'_>,
) -> Result<Reprepared, Vec<String>> {
    let seen = Seen::now(&loaded.config.geoip.databases);
    let made_of = made_of_now(source, &loaded.config, detail, &loaded.model.networks);
    if made_of.is_none() || made_of.as_ref() != before {
        let Prepared { loaded, atlas, following } = with_atlas(source, loaded, detail, stand_ins)?;
        return Ok(Reprepared { loaded, atlas: Some(atlas), following });
    }
    let databases = PreparedDatabases { seen, found: Vec::new(), taken: Vec::new(), made_of, places: 0 };
    let following = Following { files: read_by(&loaded), databases };
    Ok(Reprepared { loaded, atlas: None, following })
}

fn made_of_now(
    source: &dyn ConfigSource,
    config: &Config,
    detail: Detail,
    networks: &[(Prefix, Location)],
) -> Option<MadeOf> {
    MadeOf::now(&config.geoip.databases, &|path| source.stamp_of_database(path), detail, networks)
}

/// Tells whether the files themselves are what serves.
fn are_good(found: &[Found]) -> bool {
    found.iter().all(|found| found.serves == Serves::File && found.error.is_none())
}

fn read_databases(
    source: &dyn ConfigSource,
    config: &Config,
    networks: &[(Prefix, Location)],
    detail: Detail,
    stand_ins: &StandIns<'_>,
) -> Result<Loading, Refused> {
    let read = |path: &Path| source.read_database(path);
    databases::load(&config.geoip.databases, &read, source.embedded(), stand_ins, detail, networks)
}

/// Owns what follows the configuration: probes, load reports, the watch on databases.
pub struct Reloader {
    source: Arc<dyn ConfigSource>,
    config: Config,
    /// The origins of the zones that are served.
    zones: Vec<Name>,
    networks: Vec<(Prefix, Location)>,
    detail: Detail,
    /// Of the atlas that serves.
    made_of: Option<MadeOf>,
    places: usize,
    prober: Prober,
    scraper: Scraper,
    /// `None`: the admin API has no tokens.
    tokens: Option<SharedTokens>,
    /// `None`: nobody is told of events.
    receivers: Option<Arc<Receivers>>,
    commands: mpsc::Sender<Command>,
    status: Arc<ArcSwap<LoadStatus>>,
    /// Kept alive; `None` without databases.
    watch: Option<(Watch, mpsc::Receiver<()>)>,
    /// The configuration's files, watched where that is wanted, and all that were read last.
    files: Option<(Watch, mpsc::Receiver<()>)>,
    read: Vec<PathBuf>,
    copies: Copies,
    /// While copies are being written.
    keeping: Option<Keeping>,
    retry: Retry,
}

/// Comes to why there is no copy of a database, for each that was taken.
type Keeping = JoinHandle<Vec<(PathBuf, Option<String>)>>;

/// When bad databases are tried again: soon, then less and less often.
#[derive(Debug)]
struct Retry {
    /// `None`: all are good.
    at: Option<Instant>,
    wait: Duration,
}

impl Retry {
    const FIRST: Duration = Duration::from_secs(5);
    const LONGEST: Duration = Duration::from_secs(600);

    fn new() -> Retry {
        Retry { at: None, wait: Retry::FIRST }
    }

    /// After something new was seen of the files.
    fn soon(&mut self) {
        self.wait = Retry::FIRST;
    }

    fn after(&mut self, bad: bool) {
        if !bad {
            *self = Retry::new();
            return;
        }
        self.at = Some(Instant::now() + self.wait);
        self.wait = (self.wait * 2).min(Retry::LONGEST);
    }

    async fn due(&self) {
        match self.at {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

impl Reloader {
    /// Starts probes and load reports for the configuration being served.
    pub fn new(
        source: Arc<dyn ConfigSource>,
        config: Config,
        model: &Model,
        following: Following,
        mut prober: Prober,
        mut scraper: Scraper,
        commands: mpsc::Sender<Command>,
    ) -> Reloader {
        prober.configure(model);
        scraper.configure(model);
        let Following { files, databases: PreparedDatabases { seen, found, taken, made_of, places } } = following;
        let (read, files) = (files.paths().to_vec(), watch_where_wanted(&config, files));
        let status = Arc::new(ArcSwap::from_pointee(LoadStatus::now(Vec::new(), Vec::new())));
        let (zones, networks, detail) = (origins(model), model.networks.clone(), detail_of(&config, model));
        let copies = Copies::new(&config.state);
        let (watch, keeping, retry) = (watch_for(seen), None, Retry::new());
        let mut reloader = Reloader {
            source,
            config,
            zones,
            networks,
            detail,
            made_of,
            places,
            prober,
            scraper,
            tokens: None,
            receivers: None,
            commands,
            status,
            watch,
            files,
            read,
            copies,
            keeping,
            retry,
        };
        reloader.tell_databases(found);
        reloader.keep_copies(taken);
        reloader
    }

    /// Has these told of events, as the configuration says.
    pub fn telling(self, receivers: Arc<Receivers>) -> Reloader {
        receivers.configure(&self.config.receivers);
        Reloader { receivers: Some(receivers), ..self }
    }

    /// Renews these tokens with each reload.
    pub fn guarding(self, tokens: SharedTokens) -> Reloader {
        Reloader { tokens: Some(tokens), ..self }
    }

    pub fn status(&self) -> Arc<ArcSwap<LoadStatus>> {
        self.status.clone()
    }

    /// Resolves when every endpoint has been probed once.
    pub fn first_round(&self) -> impl Future<Output = ()> + Send + 'static {
        self.prober.first_round()
    }

    /// Serves requests until their senders are gone.
    pub async fn run(mut self, mut requests: mpsc::Receiver<ReloadRequest>) {
        loop {
            tokio::select! {
                request = requests.recv() => {
                    let Some(ReloadRequest { force, reply }) = request else { return };
                    let outcome = self.reload(force).await;
                    // Whoever asked may have gone; the log has it all the same.
                    let _ = reply.send(outcome);
                    memory::give_back();
                }
                () = changed(&mut self.files) => {
                    info!("files have changed: loading them afresh");
                    // How it went is in the log and the status.
                    let _ = self.reload(false).await;
                    memory::give_back();
                }
                () = changed(&mut self.watch) => {
                    self.retry.soon();
                    self.renew_atlas().await;
                    memory::give_back();
                }
                () = self.retry.due() => {
                    self.try_again().await;
                    memory::give_back();
                }
                kept = finished(&mut self.keeping) => {
                    self.tell_kept(kept);
                    memory::give_back();
                }
            }
        }
    }

    async fn reload(&mut self, force: bool) -> Result<Reloaded, Vec<String>> {
        let (source, copies, missing) = (self.source.clone(), self.copies.clone(), self.missing());
        let (config, zones, networks) = (self.config.clone(), self.zones.clone(), self.networks.len());
        let (read, made_of) = (self.read.clone(), self.made_of.clone());
        let prepared = tokio::task::spawn_blocking(move || {
            let before = if source.tells_facts() { Seen::default() } else { Seen::now(&read) };
            let loaded = source.load()?;
            if !force {
                refuse_losses(&config, &zones, networks, &loaded)?;
            }
            let required = loaded.config.geoip.required;
            let may_miss = |path: &Path| !required && (force || missing.iter().any(|missing| missing == path));
            let detail = detail_of(&loaded.config, &loaded.model);
            let stand_ins = StandIns { copies: Some(&copies), may_miss: &may_miss };
            let mut prepared = with_atlas_after(made_of.as_ref(), &*source, loaded, detail, &stand_ins)?;
            // What was written while it was read is read again.
            prepared.following.files = prepared.following.files.since(&before);
            Ok(prepared)
        });
        let outcome = match prepared.await {
            Ok(Ok(prepared)) => Ok(self.take(prepared).await),
            Ok(Err(mistakes)) => Err(mistakes),
            Err(panic) => Err(vec![format!("loading failed in a way it should not: {panic}")]),
        };
        let mistakes = outcome.as_ref().err().cloned().unwrap_or_default();
        for mistake in &mistakes {
            error!("{mistake}");
        }
        if mistakes.is_empty() {
            info!("reloaded");
        } else {
            error!(mistakes = mistakes.len(), "not reloaded: the old configuration is still being served");
        }
        let databases = self.status.load().databases.clone();
        self.status.store(Arc::new(LoadStatus::now(mistakes, databases)));
        outcome
    }

    async fn take(&mut self, prepared: Reprepared) -> Reloaded {
        let Reprepared { loaded, atlas, following } = prepared;
        let Following { files, databases: PreparedDatabases { seen, found, taken, made_of, .. } } = following;
        let Loaded { config, model, diagnostics, .. } = loaded;
        let needs_restart = needs_restart(&self.config, &config);
        let are_new = atlas.is_some();
        (self.made_of, self.places) = (made_of, atlas.as_ref().map_or(self.places, Atlas::place_count));
        for setting in &needs_restart {
            warn!("`{setting}` was changed: that takes a restart");
        }
        let reloaded = Reloaded {
            zones: model.zones.len(),
            regions: model.regions.len(),
            services: model.services.len(),
            places: self.places,
            warnings: diagnostics
                .iter()
                .map(ToString::to_string)
                .chain(found.iter().filter_map(|found| found.error.clone()))
                .collect(),
            needs_restart,
        };
        (self.networks, self.detail) = (model.networks.clone(), detail_of(&config, &model));
        self.zones = origins(&model);
        let nsid = config.nsid.clone().unwrap_or_default();
        let replacement = Replacement { model: model.clone(), atlas, nsid, seed: config.seed };
        self.tell(|reply| Command::Replace { replacement: Box::new(replacement), reply }).await;
        self.prober.configure(&model);
        self.scraper.configure(&model);
        if let Some(receivers) = &self.receivers {
            receivers.configure(&config.receivers);
        }
        if let Some(tokens) = &self.tokens {
            access::renew(tokens, config.admin_tokens.clone());
        }
        if config.geoip.databases != self.config.geoip.databases {
            self.watch = watch_for(seen);
        }
        self.read = files.paths().to_vec();
        self.files = watch_where_wanted(&config, files);
        self.config = config;
        self.retry.soon();
        if are_new {
            self.tell_databases(found);
            self.keep_copies(taken);
        }
        reloaded
    }

    /// The databases that are done without now: they go on being so.
    fn missing(&self) -> Vec<PathBuf> {
        let status = self.status.load();
        let missing = status.databases.iter().filter(|report| report.serves == Serves::Nothing);
        missing.map(|report| report.path.clone()).collect()
    }

    async fn renew_atlas(&mut self) {
        let (source, config) = (self.source.clone(), self.config.clone());
        let (networks, detail) = (self.networks.clone(), self.detail);
        let (copies, missing) = (self.copies.clone(), self.missing());
        let reading = tokio::task::spawn_blocking(move || {
            let may_miss = |path: &Path| missing.iter().any(|missing| missing == path);
            let stand_ins = StandIns { copies: Some(&copies), may_miss: &may_miss };
            let made_of = made_of_now(&*source, &config, detail, &networks);
            read_databases(&*source, &config, &networks, detail, &stand_ins).map(|loading| (loading, made_of))
        });
        match reading.await {
            Ok(Ok((Loading { atlas, found, taken }, made_of))) => {
                let places = atlas.place_count();
                (self.made_of, self.places) = (made_of.filter(|_| are_good(&found)), places);
                self.tell(|reply| Command::Atlas { atlas: Box::new(atlas), reply }).await;
                info!(places, "the databases were read anew, and are in use");
                self.tell_databases(found);
                self.keep_copies(taken);
            }
            Ok(Err(refused)) => {
                error!("{refused}; the databases read before are still in use");
                self.note_refused(&[refused]);
            }
            Err(panic) => error!("reading the databases failed in a way it should not: {panic}"),
        }
    }

    /// Looks at the bad databases alone; what serves changes only where one of them is good now.
    async fn try_again(&mut self) {
        let status = self.status.load_full();
        let bad = status.databases.iter().filter(|report| report.error.is_some());
        let bad: Vec<PathBuf> = bad.map(|report| report.path.clone()).collect();
        let (source, detail) = (self.source.clone(), self.detail);
        let judging = tokio::task::spawn_blocking(move || {
            let judged = |path: PathBuf| {
                let database = source.read_database(&path);
                let atlas = database.and_then(|database| Atlas::build_for(detail, &[database], &[]));
                atlas.err().map(|error| Refused { path: Some(path), why: error.to_string() })
            };
            bad.into_iter().map(judged).collect::<Option<Vec<_>>>()
        });
        match judging.await {
            Ok(Some(refused)) => self.note_refused(&refused),
            Ok(None) => self.renew_atlas().await,
            Err(panic) => {
                error!("reading the databases failed in a way it should not: {panic}");
                self.retry.after(true);
            }
        }
    }

    fn tell_databases(&mut self, found: Vec<Found>) {
        found.iter().for_each(Found::tell);
        self.retry.after(found.iter().any(|found| found.error.is_some()));
        self.change_reports(|reports| databases::reports(reports, found.clone(), SystemTime::now()));
    }

    fn note_refused(&mut self, refused: &[Refused]) {
        self.retry.after(true);
        self.change_reports(|reports| {
            let mut reports = reports.to_vec();
            refused.iter().for_each(|refused| databases::note_refused(&mut reports, refused, SystemTime::now()));
            reports
        });
    }

    fn change_reports(&self, change: impl Fn(&[DatabaseReport]) -> Vec<DatabaseReport>) {
        let status = self.status.load();
        let databases = change(&status.databases);
        self.status.store(Arc::new(LoadStatus { databases, ..LoadStatus::clone(&status) }));
    }

    /// Writes copies beside everything else, after those that are under way.
    fn keep_copies(&mut self, taken: Vec<(PathBuf, Database)>) {
        let (copies, configured) = (self.copies.clone(), self.config.geoip.databases.clone());
        let before = self.keeping.take();
        self.keeping = Some(tokio::spawn(async move {
            let mut kept = match before {
                Some(before) => before.await.unwrap_or_default(), // stopped: nothing is known of those
                None => Vec::new(),
            };
            let keeping = tokio::task::spawn_blocking(move || copies.keep(taken, &configured));
            kept.extend(keeping.await.unwrap_or_default());
            kept
        }));
    }

    fn tell_kept(&self, kept: Vec<(PathBuf, Option<String>)>) {
        self.change_reports(|reports| {
            let mut reports = reports.to_vec();
            for report in &mut reports {
                let error = kept.iter().rfind(|(path, _)| *path == report.path).map(|(_, error)| error.clone());
                report.copy_error = error.unwrap_or_else(|| report.copy_error.take());
            }
            reports
        });
    }

    async fn tell(&self, command: impl FnOnce(oneshot::Sender<()>) -> Command) {
        let (reply, done) = oneshot::channel();
        if self.commands.send(command(reply)).await.is_ok() {
            let _ = done.await; // an error means that the writer is stopping
        }
    }
}

fn watch_for(seen: Seen) -> Option<(Watch, mpsc::Receiver<()>)> {
    (!seen.is_empty()).then(|| watch::watch(seen))
}

fn watch_where_wanted(config: &Config, files: Seen) -> Option<(Watch, mpsc::Receiver<()>)> {
    match config.reload {
        ReloadWhen::Asked => None,
        ReloadWhen::Watch => watch_for(files),
    }
}

/// What a change of may make it another configuration: as it was before it was read, where that is known, else as it is.
fn read_by(loaded: &Loaded) -> Seen {
    let (files, zones) = (loaded.files.clone(), loaded.config.zones.clone());
    match &loaded.facts {
        Some(facts) => Seen::by(files, zones, facts),
        None => Seen::now(&files.into_iter().chain([zones]).collect::<Vec<_>>()),
    }
}

async fn changed(watch: &mut Option<(Watch, mpsc::Receiver<()>)>) {
    let told = match watch {
        Some((_, changed)) => changed.recv().await.is_some(),
        None => false,
    };
    if !told {
        std::future::pending::<()>().await;
    }
}

/// What the task under way comes to; for ever under way where there is none.
async fn finished(keeping: &mut Option<Keeping>) -> Vec<(PathBuf, Option<String>)> {
    let kept = match keeping {
        Some(keeping) => keeping.await,
        None => std::future::pending().await,
    };
    *keeping = None;
    kept.unwrap_or_default() // it panicked or was stopped: nothing is known of copies
}

fn origins(model: &Model) -> Vec<Name> {
    model.zones.iter().map(|zone| zone.origin.clone()).collect()
}

/// Refuses what loses all there is of something: most likely a main file that is empty, half written or another one.
fn refuse_losses(old: &Config, zones: &[Name], networks: usize, new: &Loaded) -> Result<(), Vec<String>> {
    let Loaded { config, model, .. } = new;
    let none_left = |any: bool, left: bool| any && !left;
    let lost = [
        ("zone", none_left(!zones.is_empty(), model.zones.iter().any(|zone| zones.contains(&zone.origin)))),
        ("database", none_left(!old.geoip.databases.is_empty(), !config.geoip.databases.is_empty())),
        ("network", none_left(networks > 0, !model.networks.is_empty())),
        ("DNS listener", none_left(true, config.listen.dns.iter().any(|address| old.listen.dns.contains(address)))),
        ("admin listener", none_left(old.listen.admin.is_some(), config.listen.admin.is_some())),
        ("RUM listener", none_left(old.listen.rum.is_some(), config.listen.rum.is_some())),
    ];
    let say = |(what, _): &(&str, bool)| {
        format!("every {what} there is would be lost; if that is meant: `meridian reload --force`")
    };
    let lost: Vec<String> = lost.iter().filter(|(_, lost)| *lost).map(say).collect();
    if lost.is_empty() { Ok(()) } else { Err(lost) }
}

fn needs_restart(old: &Config, new: &Config) -> Vec<String> {
    let changed = [
        ("listen", old.listen != new.listen),
        ("state", old.state != new.state),
        ("threads", old.threads != new.threads),
        ("cpus", old.cpus != new.cpus),
        ("udp", old.udp != new.udp),
        ("watchdog", old.watchdog != new.watchdog),
        ("stop_delay", old.stop_delay != new.stop_delay),
        ("limits", old.limits != new.limits),
        // What was given up does not come back.
        ("allow_exec", old.confinement.is_some() && !old.allow_exec && new.allow_exec),
        ("confinement", old.confinement != new.confinement),
        ("rum", old.rum != new.rum),
        ("cluster", old.cluster != new.cluster),
        ("log", old.log != new.log),
        ("query_log", old.query_log != new.query_log),
        ("dnstap", old.dnstap != new.dnstap),
        ("admin.token_file", old.admin_token_file != new.admin_token_file),
        ("admin.tokens_file", old.admin_tokens.is_some() && new.admin_tokens.is_none()),
        ("admin.certificate", old.admin_tls != new.admin_tls),
        ("admin.socket", old.admin_socket != new.admin_socket),
    ];
    changed.iter().filter(|(_, changed)| *changed).map(|(name, _)| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    use crate::atlas::DEMO_DATABASE;
    use crate::control::config;
    use crate::control::probe::ProbeLimits;

    /// Cannot read its database for a while, though the file never changes.
    struct Flaky {
        main: PathBuf,
        failures_left: AtomicU32,
    }

    impl ConfigSource for Flaky {
        fn load(&self) -> Result<Loaded, Vec<String>> {
            config::load(&self.main).map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
        }

        fn read_database(&self, path: &Path) -> Result<Database, AtlasError> {
            let fails =
                self.failures_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            match fails {
                Ok(_) => {
                    Err(AtlasError::Read { path: path.display().to_string(), reason: "input/output error".into() })
                }
                Err(_) => Database::read(path),
            }
        }
    }

    #[test]
    fn another_cluster_takes_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("zones")).expect("a folder");
        let zone = "origin = \"a.example\"\nrecords = \"@ SOA ns1 h 1 1h 10m 1w 60\\n@ NS ns.b.example.\"\n";
        std::fs::write(folder.path().join("zones/a.toml"), zone).expect("written");
        let config = |node: &str| {
            let main = folder.path().join("meridian.toml");
            let peers = "peers = { listen = \"10.0.0.5:8054\", token_file = \"t\" }";
            let text =
                format!("[cluster]\nname = \"a\"\nnode = \"{node}\"\netcd = \"http://10.0.0.1:2379\"\n{peers}\n");
            std::fs::write(&main, text).expect("written");
            config::load(&main).expect("loads").config
        };
        assert_eq!(needs_restart(&config("fra1"), &config("fra1")), [""; 0]);
        assert_eq!(needs_restart(&config("fra1"), &config("fra2")), ["cluster"]);
    }

    /// Counts how often a database is read, whose stamp is any number.
    struct Counted {
        main: PathBuf,
        reads: AtomicU32,
        stamp: AtomicU32,
    }

    impl ConfigSource for Counted {
        fn load(&self) -> Result<Loaded, Vec<String>> {
            config::load(&self.main).map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
        }

        fn read_database(&self, path: &Path) -> Result<Database, AtlasError> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            Database::read(path)
        }

        fn stamp_of_database(&self, _: &Path) -> Option<Stamp> {
            let number = self.stamp.load(Ordering::Relaxed);
            (number > 0).then(|| Stamp::numbered(number.into()))
        }
    }

    #[test]
    fn what_a_load_saw_of_files_is_what_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("zones")).expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        write("meridian.toml", "");
        write("zones/notes.txt", "no zone");
        for zone in ["a", "b", "c"] {
            let origin = format!("origin = \"{zone}.example\"\nrecords_file = \"{zone}.zone\"\n");
            write(&format!("zones/{zone}.toml"), &origin);
            write(
                &format!("zones/{zone}.zone"),
                "@ SOA ns1 h 1 1h 10m 1w 60\n@ NS ns.b.test.\n@ NS ns.c.test.\n$TTL 60\n",
            );
        }
        let loader = config::Loader::new(&folder.path().join("meridian.toml"));
        let load = || loader.load().unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        let now = |loaded: &Loaded| {
            Seen::now(&loaded.files.iter().cloned().chain([loaded.config.zones.clone()]).collect::<Vec<_>>())
        };
        for again in [false, true] {
            let loaded = load();
            assert_eq!((loaded.facts.is_some(), loaded.files.len()), (true, 7));
            assert_eq!(read_by(&loaded), now(&loaded), "{again}");
        }
        let before = read_by(&load());
        write("zones/b.zone", "@ SOA ns1 h 2 1h 10m 1w 60\n@ NS ns.b.test.\n@ NS ns.cc.test.\n$TTL 60\n");
        assert_ne!(before, now(&load()), "another length");
        let before = read_by(&load());
        write("zones/d.toml", "origin = \"d.example\"\nrecords_file = \"b.zone\"\n");
        assert_ne!(before, Seen::now(before.paths()), "one more zone");
    }

    #[test]
    fn databases_are_read_again_where_something_about_them_has_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, octets: &[u8]| std::fs::write(folder.path().join(name), octets).expect("written");
        std::fs::create_dir(folder.path().join("zones")).expect("a folder");
        write("meridian.toml", b"geoip = \"a.mmdb\"");
        write("a.mmdb", DEMO_DATABASE);
        let zone = "origin = \"a.example\"\nrecords = \"@ SOA ns1 h 1 1h 10m 1w 60\\n@ NS ns.b.example.\"\n";
        write("zones/a.toml", zone.as_bytes());
        let main = folder.path().join("meridian.toml");
        let source = Counted { main, reads: AtomicU32::new(0), stamp: AtomicU32::new(1) };
        let first = prepare_again(&source, None).expect("loads");
        assert!(first.atlas.is_some_and(|atlas| atlas.place_count() > 1));
        let reads = |before: &Following| {
            let begin = source.reads.load(Ordering::Relaxed);
            let next = prepare_again(&source, before.made_of()).expect("loads");
            let reads = source.reads.load(Ordering::Relaxed) - begin;
            assert_eq!(next.atlas.is_some(), reads > 0);
            (reads, next.following)
        };
        let (none, as_before) = reads(&first.following);
        assert_eq!((none, reads(&as_before).0), (0, 0));
        // Written so lately that nothing tells: read until it is old enough.
        source.stamp.store(0, Ordering::Relaxed);
        let (once, young) = reads(&as_before);
        assert_eq!((once, reads(&young).0), (1, 1));
        source.stamp.store(2, Ordering::Relaxed);
        let (once, another) = reads(&young);
        assert_eq!((once, reads(&another).0), (1, 0));
        write(
            "meridian.toml",
            b"geoip = \"a.mmdb\"\n[[network]]\ncidr = \"192.0.2.0/24\"\nlocation.country = \"KR\"\n",
        );
        assert_eq!(reads(&another).0, 1, "the operator's networks are part of an atlas");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_that_passes_is_tried_again_less_and_less_often() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, octets: &[u8]| std::fs::write(folder.path().join(name), octets).expect("written");
        std::fs::create_dir(folder.path().join("zones")).expect("a folder");
        write("meridian.toml", b"geoip = \"a.mmdb\"");
        write("a.mmdb", DEMO_DATABASE);
        write(
            "zones/a.toml",
            b"origin = \"a.example\"\nrecords = \"@ SOA ns1 h 1 1h 10m 1w 60\\n@ NS ns.b.example.\"\n",
        );
        let source = Arc::new(Flaky { main: folder.path().join("meridian.toml"), failures_left: AtomicU32::new(3) });
        let Prepared { loaded, following, .. } = prepare_to_serve(&*source).expect("without the database");
        let (commands, mut said) = mpsc::channel(4);
        let prober = Prober::new(mpsc::channel(1).0, ProbeLimits { concurrency: 1 });
        let scraper = Scraper::new(mpsc::channel(1).0);
        let reloader = Reloader::new(source, loaded.config, &loaded.model, following, prober, scraper, commands);
        let (status, begin) = (reloader.status(), Instant::now());
        assert_eq!((status.load().databases[0].serves, status.load().databases[0].failures), (Serves::Nothing, 1));
        let (_requests, taken) = mpsc::channel(1);
        let running = tokio::spawn(reloader.run(taken));
        let Some(Command::Atlas { atlas, reply }) = said.recv().await else { panic!("an atlas") };
        // After 5, 10 and 20 s; the last finds it good.
        let waited = begin.elapsed();
        assert!((34..=36).contains(&waited.as_secs()), "{waited:?}");
        assert!(atlas.place_count() > 1);
        reply.send(()).expect("awaited");
        while status.load().databases[0].error.is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let report = status.load().databases[0].clone();
        assert_eq!((report.serves, report.failures, report.generation), (Serves::File, 0, 1));
        running.abort();
    }
}
