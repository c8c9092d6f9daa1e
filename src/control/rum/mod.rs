//! Round trips that were measured: by real users' browsers, and by whatever the operator imports.
//!
//! ```text
//!   browsers ─▶ listener: limits, token ─▶ store: possible? enough? ─┐
//!                                                                    ├─ every minute ─▶ writer ─▶ snapshot
//!   operator ─▶ admin API ─▶ import ───────────────────▶ store ──────┤
//!                                                                    └─ every minute ─▶ latency.json
//! ```
//!
//! What a resolver takes to answer or to ask is never taken for what its clients take: a resolver may
//! be a continent away from them. Only the two sources above come in here.
//!
//! - [`listener`]: the socket browsers talk to; [`beacon`], [`token`], [`rate`]: what it takes of them
//! - [`store`], [`sketch`]: what was measured, and which of it is believed
//! - [`import`]: the operator's tables
//! - [`kept`]: over restarts

pub mod beacon;
pub mod import;
mod kept;
pub mod listener;
mod rate;
mod sketch;
pub mod store;
pub mod token;

pub use token::LEAST_KEY;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, mpsc, oneshot};
use tracing::info;

use crate::model::Model;
use crate::state::SharedSnapshot;
use crate::steer::latency::rtt::Measured;

use super::config::RumSettings;
use super::save::told_if_slow;
use super::troubles::{StateName, TroubleKind, Troubles};
use super::writer::Command;
use kept::MeasurementFile;
use store::{Beliefs, Row, Store};

/// The interval at which what was measured is told to the writer, and kept.
const PERIOD: Duration = Duration::from_secs(60);
/// Keeping it takes at most this part of the time.
const SAVE_FACTOR: u32 = 20;

/// Everything that was measured, shared by who measures, who plans, and who shows it.
pub struct Measurements {
    store: Mutex<Store>,
    file: MeasurementFile,
    /// [`Store::changes`] when it was last kept; locked while it is being kept.
    kept: Mutex<u64>,
    /// The reason why it cannot be kept, or could not be read.
    trouble: Mutex<Option<String>>,
    troubles: Arc<Troubles>,
    counts: [AtomicU64; Event::ALL.len()],
    /// Something was imported: that is told at once.
    imported: Notify,
}

/// The events that happened to plans, reports and times: for counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Plan,
    Report,
    ReportMalformed,
    ReportForged,
    ReportExpired,
    ReportSpent,
    TooOften,
    /// A table is full: of connections, of tokens that are spent.
    Overload,
    SampleCounted,
    SampleOutOfRange,
    SampleFasterThanLight,
    SampleEnough,
    SampleFull,
    SampleUnknownRegion,
}

impl Event {
    pub const ALL: [Event; 14] = [
        Event::Plan,
        Event::Report,
        Event::ReportMalformed,
        Event::ReportForged,
        Event::ReportExpired,
        Event::ReportSpent,
        Event::TooOften,
        Event::Overload,
        Event::SampleCounted,
        Event::SampleOutOfRange,
        Event::SampleFasterThanLight,
        Event::SampleEnough,
        Event::SampleFull,
        Event::SampleUnknownRegion,
    ];

    /// The thing it happened to, and what happened, in words.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Event::Plan => ("plan", "handed_out"),
            Event::Report => ("report", "taken"),
            Event::ReportMalformed => ("report", "malformed"),
            Event::ReportForged => ("report", "forged"),
            Event::ReportExpired => ("report", "expired"),
            Event::ReportSpent => ("report", "spent"),
            Event::TooOften => ("request", "too_often"),
            Event::Overload => ("request", "overload"),
            Event::SampleCounted => ("sample", "counted"),
            Event::SampleOutOfRange => ("sample", "out_of_range"),
            Event::SampleFasterThanLight => ("sample", "faster_than_light"),
            Event::SampleEnough => ("sample", "enough_of_network"),
            Event::SampleFull => ("sample", "full"),
            Event::SampleUnknownRegion => ("sample", "unknown_region"),
        }
    }
}

/// An import that took.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub struct Imported {
    pub figures: usize,
    /// Imported figures there are now, with those from before.
    pub in_all: usize,
}

impl Measurements {
    /// With what was kept in a state directory. What cannot be read stops nothing: it is logged,
    /// shown, and set aside.
    pub fn open(settings: &RumSettings, state: &Path, now: u64, troubles: Arc<Troubles>) -> Measurements {
        let (mut store, file) = (Store::new(beliefs(settings)), MeasurementFile::new(state));
        let trouble = kept::restore(&mut store, &file, now, &troubles).err();
        let changes = store.changes();
        Measurements {
            store: Mutex::new(store),
            file,
            kept: Mutex::new(changes),
            trouble: Mutex::new(trouble),
            troubles,
            counts: Default::default(),
            imported: Notify::new(),
        }
    }

    /// The figures that plans are to go by from the start.
    pub fn measured(&self, now: u64) -> Measured {
        self.store().measured(&Measured::default(), now).unwrap_or_default()
    }

    /// Takes a table of the operator's, whole; with `replace`, in place of all imported before.
    ///
    /// # Errors
    /// Every mistake, with its line. Then nothing was taken.
    pub fn import(
        &self,
        text: &str,
        format: import::Format,
        replace: bool,
        model: &Model,
    ) -> Result<Imported, Vec<String>> {
        let figures = match text.trim() {
            "" if replace => Vec::new(),
            _ => import::read(text, format, model, unix_now())?,
        };
        let mut store = self.store();
        store.import(&figures, replace).map_err(|mistake| vec![mistake])?;
        self.imported.notify_one();
        Ok(Imported { figures: figures.len(), in_all: store.sizes().1 })
    }

    /// All figures there are, in no order.
    pub fn rows(&self) -> Vec<Row> {
        self.store().rows(unix_now())
    }

    /// The reason why nothing can be kept over restarts, or what was kept could not be read.
    pub fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    /// The number of times something has happened.
    pub fn count(&self, event: Event) -> u64 {
        self.counts.get(event as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    fn happened(&self, event: Event) {
        if let Some(count) = self.counts.get(event as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Keeps what was measured since it was last kept. Blocks.
    pub fn save(&self) {
        let mut kept = lock(&self.kept);
        let (changes, sealed) = {
            let store = self.store();
            if store.changes() == *kept {
                return;
            }
            (store.changes(), kept::sealed(&self.file, &store))
        };
        let saved = sealed.and_then(|sealed| self.file.replace(&sealed));
        let (name, kind) = (StateName::Measurements, TroubleKind::Unwritable);
        match &saved {
            Ok(()) => {
                *kept = changes;
                self.troubles.end(name, kind);
            }
            Err(error) => {
                let instead = "what browsers measure from now on is forgotten at the next restart";
                self.troubles.begin(name, kind, &error.to_string(), instead);
            }
        }
        *lock(&self.trouble) = saved.err().map(|error| error.to_string());
    }

    /// Tells the writer of news and keeps it, every minute, until the writer is gone.
    pub async fn run(self: Arc<Measurements>, shared: SharedSnapshot, commands: mpsc::Sender<Command>) {
        let (mut rest, mut told) = (Duration::ZERO, shared.load().measured.clone());
        loop {
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                () = self.imported.notified() => {}
            }
            let (here, before) = (self.clone(), told.clone());
            let news = tokio::task::spawn_blocking(move || here.store().measured(&before, unix_now())).await;
            let Ok(news) = news else { return }; // the runtime is shutting down
            if let Some(measured) = news {
                info!(figures = measured.len(), "round trips were measured anew");
                told = Arc::new(measured);
                let (reply, done) = oneshot::channel();
                if commands.send(Command::Measured { measured: told.clone(), reply }).await.is_err() {
                    return;
                }
                let _ = done.await; // an error means that the writer is stopping
            }
            rest = rest.saturating_sub(PERIOD);
            if rest.is_zero() {
                let here = self.clone();
                let began = std::time::Instant::now();
                let saving = tokio::task::spawn_blocking(move || here.save());
                told_if_slow(saving, StateName::Measurements, &self.troubles).await;
                rest = began.elapsed() * SAVE_FACTOR;
            }
        }
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.store)
    }
}

/// The figures that plans would go by that were made from files alone. Changes nothing there.
///
/// # Errors
/// What was kept cannot be read.
pub fn kept_measurements(settings: &RumSettings, state: &Path, now: u64) -> Result<Measured, String> {
    let mut store = Store::new(beliefs(settings));
    kept::look(&mut store, &MeasurementFile::new(state), now)?;
    Ok(store.measured(&Measured::default(), now).unwrap_or_default())
}

fn beliefs(settings: &RumSettings) -> Beliefs {
    Beliefs { half_life_s: settings.half_life.as_secs(), min_samples: settings.min_samples }
}

/// A panic elsewhere leaves times that are still as good as they were.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Seconds since 1970.
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
