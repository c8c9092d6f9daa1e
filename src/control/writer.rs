//! Drives the single publisher: gathers news from probes, load reports, operators and files, and
//! publishes a snapshot for each burst of it.
//!
//! ```text
//!   probes ──────▶┐
//!   load reports ▶│                        ┌─▶ Publisher ─▶ Snapshot
//!   operators ───▶├─▶ Writer: one at a time┤
//!   reloads ─────▶│   coalesced            └─▶ overrides.json
//!   time ────────▶┘
//! ```
//!
//! What changes an answer is published at once; figures that only people read, at most once a
//! second. Every channel is bounded; a reload is loaded beside, and taken whole or not at all.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use crate::atlas::Atlas;
use crate::model::Model;
use crate::state::{EndpointNews, LoadNews, Publisher};
use crate::steer::standing::{Override, Standing};

use super::load_report::LoadUpdate;
use super::overrides::{OverrideStore, StoreError};
use super::probe::EndpointReport;

/// How long news that changes no answer may wait, so that a thousand probes make one snapshot.
const CALM: Duration = Duration::from_secs(1);
/// Such news waits at least this many times as long as the last snapshot took to make: a plan for
/// many services and places must not take more than this part of a core.
const CALM_FACTOR: u32 = 20;

/// What operators and the daemon may ask of the writer.
#[derive(Debug)]
pub enum Command {
    /// Say something of a region, by bare or qualified name; `Auto` takes it back.
    Say { region: String, said: Override, reply: oneshot::Sender<Result<SayOutcome, SayError>> },
    /// Take a new configuration, already loaded without errors.
    Replace { replacement: Box<Replacement>, reply: oneshot::Sender<()> },
    /// Take a new atlas; all else stays.
    Atlas { atlas: Box<Atlas>, reply: oneshot::Sender<()> },
    /// Take all news that has come so far, publish, and say so.
    Settle { reply: oneshot::Sender<()> },
}

/// A loaded configuration on its way into the next snapshot.
#[derive(Debug)]
pub struct Replacement {
    pub model: Model,
    pub atlas: Atlas,
    pub nsid: String,
    pub seed: u64,
}

/// An override that took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SayOutcome {
    /// The region's qualified name.
    pub region: String,
    pub standing: Standing,
}

/// Why an override did not take.
#[derive(Debug, thiserror::Error)]
pub enum SayError {
    #[error("no region is called `{name}`; there are: {known}")]
    Unknown { name: String, known: String },
    #[error("several zones have a region `{name}`: say which of {choices}")]
    Ambiguous { name: String, choices: String },
    #[error("not said, because it could not be kept over a restart: {0}")]
    NotKept(#[from] StoreError),
}

/// Where the writer's news comes from.
pub struct Sources {
    pub endpoints: mpsc::Receiver<EndpointReport>,
    pub loads: mpsc::Receiver<LoadUpdate>,
    pub commands: mpsc::Receiver<Command>,
}

/// The one that writes.
pub struct Writer {
    publisher: Publisher,
    store: OverrideStore,
    /// News waits for the next snapshot since then.
    pending_since: Option<Instant>,
    /// How long such news waits: [`CALM`] or more.
    calm: Duration,
}

impl Writer {
    pub fn new(publisher: Publisher, store: OverrideStore) -> Writer {
        Writer { publisher, store, pending_since: None, calm: CALM }
    }

    /// Writes until all commands have gone: their senders are dropped last.
    pub async fn run(mut self, mut sources: Sources) {
        loop {
            let wake = self.wake_at();
            let urgent = tokio::select! {
                // Operators first, then what probes say; each burst is drained before publishing.
                biased;
                command = sources.commands.recv() => match command {
                    Some(Command::Settle { reply }) => {
                        self.settle(&mut sources);
                        let _ = reply.send(());
                        continue;
                    }
                    Some(command) => self.command(command),
                    None => return,
                },
                Some(report) = sources.endpoints.recv() => self.drain_endpoints(report, &mut sources.endpoints),
                Some(update) = sources.loads.recv() => self.drain_loads(update, &mut sources.loads),
                () = sleep_until(wake) => true,
            };
            if urgent {
                self.publish();
            } else {
                self.pending_since.get_or_insert_with(Instant::now);
            }
        }
    }

    fn settle(&mut self, sources: &mut Sources) {
        if let Ok(report) = sources.endpoints.try_recv() {
            self.drain_endpoints(report, &mut sources.endpoints);
        }
        if let Ok(update) = sources.loads.try_recv() {
            self.drain_loads(update, &mut sources.loads);
        }
        self.publish();
    }

    fn wake_at(&self) -> Option<Instant> {
        let calm = self.pending_since.map(|since| since + self.calm);
        let due = self.publisher.next_change(Instant::now());
        calm.into_iter().chain(due).min()
    }

    fn publish(&mut self) {
        let began = Instant::now();
        self.publisher.publish(began);
        self.calm = CALM.max(began.elapsed() * CALM_FACTOR);
        self.pending_since = None;
    }

    fn drain_endpoints(&mut self, first: EndpointReport, more: &mut mpsc::Receiver<EndpointReport>) -> bool {
        let mut urgent = self.endpoint(first);
        for _ in 0..more.len() {
            let Ok(report) = more.try_recv() else { break };
            urgent |= self.endpoint(report);
        }
        urgent
    }

    fn endpoint(&mut self, report: EndpointReport) -> bool {
        let (seen, connect_ms) = match &report.outcome {
            Ok(timings) => (
                format!("ok in {:.1} ms", timings.total.as_secs_f64() * 1e3),
                Some(timings.connect.as_secs_f64() * 1e3),
            ),
            Err(error) => (error.to_string(), None),
        };
        let news = EndpointNews {
            region: report.key.region.clone(),
            endpoint: report.key.endpoint.clone(),
            verdict: report.verdict,
            seen,
            connect_ms,
        };
        let changed = self.publisher.endpoint_news(news, Instant::now());
        if changed {
            let (region, endpoint) = (&report.key.region, &report.key.endpoint);
            match &report.outcome {
                Ok(_) => info!(%region, %endpoint, verdict = %report.verdict, "an endpoint changed"),
                Err(error) => warn!(%region, %endpoint, verdict = %report.verdict, "an endpoint changed: {error}"),
            }
        }
        changed
    }

    /// Prices move answers, but not by much in a second: load reports coalesce like the rest.
    fn drain_loads(&mut self, first: LoadUpdate, more: &mut mpsc::Receiver<LoadUpdate>) -> bool {
        self.load(first);
        for _ in 0..more.len() {
            let Ok(update) = more.try_recv() else { break };
            self.load(update);
        }
        false
    }

    fn load(&mut self, update: LoadUpdate) {
        let LoadUpdate { region, outcome, .. } = update;
        let outcome = outcome.map(|sample| (sample.load, sample.capacity)).map_err(|error| error.to_string());
        self.publisher.load_news(LoadNews { region, outcome }, Instant::now());
    }

    fn command(&mut self, command: Command) -> bool {
        match command {
            Command::Say { region, said, reply } => {
                let outcome = self.say(&region, said);
                // Whoever asked may have gone; what was said holds all the same.
                let _ = reply.send(outcome);
                false // published already
            }
            Command::Replace { replacement, reply } => {
                let Replacement { model, atlas, nsid, seed } = *replacement;
                self.publisher.reload(model, atlas, &nsid, seed);
                self.publish();
                let _ = reply.send(());
                false
            }
            Command::Atlas { atlas, reply } => {
                self.publisher.replace_atlas(*atlas);
                self.publish();
                let _ = reply.send(());
                false
            }
            Command::Settle { .. } => false, // taken where the channels are
        }
    }

    fn say(&mut self, name: &str, said: Override) -> Result<SayOutcome, SayError> {
        let snapshot = self.publisher.shared().load_full();
        let model = &snapshot.model;
        let id = match *model.find_regions(name) {
            [id] => id,
            [] => {
                let known = model.region_ids().map(|id| model.qualified_region_name(id)).collect::<Vec<_>>();
                return Err(SayError::Unknown { name: name.to_owned(), known: known.join(", ") });
            }
            ref several => {
                let choices = several.iter().map(|&id| model.qualified_region_name(id)).collect::<Vec<_>>();
                return Err(SayError::Ambiguous { name: name.to_owned(), choices: choices.join(", ") });
            }
        };
        let region = model.qualified_region_name(id);
        // Kept first: what an operator was told is so must be so after a crash.
        let mut overrides = self.publisher.overrides().clone();
        match said {
            Override::Auto => overrides.remove(&region),
            said => overrides.insert(region.clone(), said),
        };
        if let Err(error) = self.store.save(&overrides) {
            error!("an override was refused: {error}");
            return Err(error.into());
        }
        self.publisher.say(&region, said);
        self.publish();
        info!(%region, said = said.as_str(), "an override was set");
        let standing = self.publisher.shared().load().states.get(id.index()).map_or(Standing::Up, |s| s.standing);
        Ok(SayOutcome { region, standing })
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
