//! Reloads: a whole new configuration, or nothing.
//!
//! ```text
//!   SIGHUP ────────▶┐
//!   meridian reload ▶├─▶ Reloader: load beside (blocking) ─▶ writer ─▶ probes, load reports
//!   databases ─────▶┘      └─ any mistake: said, and the old configuration stays
//! ```
//!
//! A database file that was replaced renews the atlas alone: half-edited zone files beside it
//! wait for their own reload.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use crate::atlas::{Atlas, Database, Detail};
use crate::model::{Location, Model, Prefix};
use crate::state::Replacement;
use crate::steer::need;

use super::config::{Config, Loaded};
use super::geoip::{self, Seen, Watch};
use super::load_report::Scraper;
use super::memory;
use super::probe::Prober;
use super::writer::Command;

/// Where a configuration comes from: files, or what the demo has built in.
pub trait ConfigSource: Send + Sync + 'static {
    /// Loads everything afresh. The text of every mistake, for people, if there is any.
    fn load(&self) -> Result<Loaded, Vec<String>>;

    /// Reads the databases the configuration names.
    fn databases(&self, config: &Config) -> Result<Vec<Database>, String> {
        config.geoip.databases.iter().map(|path| Database::read(path).map_err(|error| error.to_string())).collect()
    }
}

/// What asks for a reload, and hears how it went.
#[derive(Debug)]
pub struct ReloadRequest {
    pub reply: oneshot::Sender<Result<Reloaded, Vec<String>>>,
}

/// A reload that took.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
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
}

/// Everything that a loaded configuration becomes.
pub struct Prepared {
    pub loaded: Loaded,
    pub atlas: Atlas,
    /// The databases just before they were read.
    pub databases: Seen,
}

/// Loads configuration, and of databases what it needs. Blocks: up to a second for large databases.
pub fn prepare(source: &dyn ConfigSource) -> Result<Prepared, Vec<String>> {
    let loaded = source.load()?;
    let detail = detail_of(&loaded.config, &loaded.model);
    with_atlas(source, loaded, detail)
}

/// The same, with all that the databases say, needed or not.
pub fn prepare_whole(source: &dyn ConfigSource) -> Result<Prepared, Vec<String>> {
    with_atlas(source, source.load()?, Detail::ALL)
}

/// How closely it must be known where clients are: for decisions, and for what browsers measure.
fn detail_of(config: &Config, model: &Model) -> Detail {
    if config.listen.rum.is_some() { Detail::ALL } else { need::detail_of(model) }
}

fn with_atlas(source: &dyn ConfigSource, loaded: Loaded, detail: Detail) -> Result<Prepared, Vec<String>> {
    let databases = Seen::now(&loaded.config.geoip.databases);
    let atlas = build_atlas(source, &loaded.config, &loaded.model.networks, detail).map_err(|mistake| vec![mistake])?;
    Ok(Prepared { loaded, atlas, databases })
}

fn build_atlas(
    source: &dyn ConfigSource,
    config: &Config,
    networks: &[(Prefix, Location)],
    detail: Detail,
) -> Result<Atlas, String> {
    Atlas::build_for(detail, &source.databases(config)?, networks).map_err(|error| error.to_string())
}

/// Owns what follows the configuration: probes, load reports, the watch on databases.
pub struct Reloader {
    source: Arc<dyn ConfigSource>,
    config: Config,
    networks: Vec<(Prefix, Location)>,
    detail: Detail,
    prober: Prober,
    scraper: Scraper,
    commands: mpsc::Sender<Command>,
    status: Arc<ArcSwap<LoadStatus>>,
    /// Kept alive; `None` without databases.
    watch: Option<(Watch, mpsc::Receiver<()>)>,
}

impl Reloader {
    /// Starts probes and load reports for the configuration being served.
    pub fn new(
        source: Arc<dyn ConfigSource>,
        config: Config,
        model: &Model,
        databases: Seen,
        mut prober: Prober,
        mut scraper: Scraper,
        commands: mpsc::Sender<Command>,
    ) -> Reloader {
        prober.configure(model);
        scraper.configure(model);
        let watch = watch_databases(databases);
        let status = LoadStatus { at: SystemTime::now(), mistakes: Vec::new() };
        let status = Arc::new(ArcSwap::from_pointee(status));
        let (networks, detail) = (model.networks.clone(), detail_of(&config, model));
        Reloader { source, config, networks, detail, prober, scraper, commands, status, watch }
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
                    let Some(ReloadRequest { reply }) = request else { return };
                    let outcome = self.reload().await;
                    // Whoever asked may have gone; the log has it all the same.
                    let _ = reply.send(outcome);
                    memory::give_back();
                }
                () = databases_changed(&mut self.watch) => {
                    self.renew_atlas().await;
                    memory::give_back();
                }
            }
        }
    }

    async fn reload(&mut self) -> Result<Reloaded, Vec<String>> {
        let source = self.source.clone();
        let prepared = tokio::task::spawn_blocking(move || prepare(&*source)).await;
        let outcome = match prepared {
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
        self.status.store(Arc::new(LoadStatus { at: SystemTime::now(), mistakes }));
        outcome
    }

    async fn take(&mut self, prepared: Prepared) -> Reloaded {
        let Prepared { loaded, atlas, databases } = prepared;
        let Loaded { config, model, diagnostics, .. } = loaded;
        let needs_restart = needs_restart(&self.config, &config);
        for setting in &needs_restart {
            warn!("`{setting}` was changed: that takes a restart");
        }
        let reloaded = Reloaded {
            zones: model.zones.len(),
            regions: model.regions.len(),
            services: model.services.len(),
            places: atlas.place_count(),
            warnings: diagnostics.iter().map(|diagnostic| diagnostic.to_string()).collect(),
            needs_restart,
        };
        (self.networks, self.detail) = (model.networks.clone(), detail_of(&config, &model));
        let nsid = config.nsid.clone().unwrap_or_default();
        let replacement = Replacement { model: model.clone(), atlas, nsid, seed: config.seed };
        self.tell(|reply| Command::Replace { replacement: Box::new(replacement), reply }).await;
        self.prober.configure(&model);
        self.scraper.configure(&model);
        if config.geoip.databases != self.config.geoip.databases {
            self.watch = watch_databases(databases);
        }
        self.config = config;
        reloaded
    }

    async fn renew_atlas(&mut self) {
        let (source, config) = (self.source.clone(), self.config.clone());
        let (networks, detail) = (self.networks.clone(), self.detail);
        match tokio::task::spawn_blocking(move || build_atlas(&*source, &config, &networks, detail)).await {
            Ok(Ok(atlas)) => {
                let places = atlas.place_count();
                self.tell(|reply| Command::Atlas { atlas: Box::new(atlas), reply }).await;
                info!(places, "the databases were replaced, and are in use");
            }
            Ok(Err(mistake)) => error!("{mistake}; the databases read before are still in use"),
            Err(panic) => error!("reading the databases failed in a way it should not: {panic}"),
        }
    }

    async fn tell(&self, command: impl FnOnce(oneshot::Sender<()>) -> Command) {
        let (reply, done) = oneshot::channel();
        if self.commands.send(command(reply)).await.is_ok() {
            let _ = done.await; // an error means that the writer is stopping
        }
    }
}

fn watch_databases(seen: Seen) -> Option<(Watch, mpsc::Receiver<()>)> {
    (!seen.is_empty()).then(|| geoip::watch(seen))
}

async fn databases_changed(watch: &mut Option<(Watch, mpsc::Receiver<()>)>) {
    let told = match watch {
        Some((_, changed)) => changed.recv().await.is_some(),
        None => false,
    };
    if !told {
        std::future::pending::<()>().await;
    }
}

fn needs_restart(old: &Config, new: &Config) -> Vec<String> {
    let changed = [
        ("listen", old.listen != new.listen),
        ("state", old.state != new.state),
        ("threads", old.threads != new.threads),
        ("cpus", old.cpus != new.cpus),
        ("udp", old.udp != new.udp),
        ("limits", old.limits != new.limits),
        ("rum", old.rum != new.rum),
        ("admin.token_file", old.admin_token_file != new.admin_token_file),
    ];
    changed.iter().filter(|(_, changed)| *changed).map(|(name, _)| (*name).to_owned()).collect()
}
