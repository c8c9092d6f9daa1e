//! Fetches what the regions' balancers say of their own load, over and over.
//!
//! In: the load reports of a [`Model`]. Out: a [`LoadUpdate`] after every scrape, on a bounded
//! channel. What follows from a load, and from its age, is left to the reader: a scrape that
//! fails says so and never stands for a load of zero.
//!
//! ```text
//!   Model ─▶ Scraper ─▶ one task per region ─▶ fetch ─▶ read ─▶ rate ─▶ LoadUpdate
//!   admin API ─▶ PushedLoad ────────────────────────────────────────────▶┘
//! ```
//!
//! In the order a report meets them:
//!
//! - `follow`: one region's report, scrape after scrape
//! - `fetch`: HTTP and stats sockets, bounded
//! - `read`: which format it is; then `haproxy`, `nginx`, `nginx_plus`, `envoy`, `prometheus`,
//!   `json`, `load_object`
//! - `health`: what it says of servers and errors, beside its load
//! - `push`: a report that comes by itself
//! - `figure`, `time`: which numbers and times are believed
//! - `rate`: counts become rates
//! - `sample`, `error`: the figure that a report brings, or why it is not believed

mod envoy;
mod error;
mod fetch;
mod figure;
mod follow;
mod haproxy;
mod health;
mod json;
mod load_object;
mod nginx;
mod nginx_plus;
mod prometheus;
mod push;
mod rate;
mod read;
mod sample;
mod time;

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::control::cluster::duty::Duty;
use crate::control::supervise::supervise;
use crate::control::vitals::{TaskKind, Vitals};
use crate::model::{LoadReport, LoadSource, Model, Scrape};

pub use error::LoadError;
pub use health::{Errors, HealthSample};
pub use push::PushedLoad;
pub use read::{read, read_health};
pub use sample::{LoadSample, LoadUpdate};

use super::probe::fault::OwnFaults;

use fetch::Fetcher;
use follow::Follower;

/// Scrapes the load reports of a model. Dropping it stops all scrapes.
pub struct Scraper {
    sink: mpsc::Sender<LoadUpdate>,
    fetcher: Arc<Fetcher>,
    slots: HashMap<Arc<str>, FollowedReport>,
    vitals: Arc<Vitals>,
    duty: Arc<Duty>,
}

struct FollowedReport {
    report: LoadReport,
    /// One task; as a set, because that ends it when dropped.
    _task: JoinSet<()>,
}

impl Scraper {
    /// Scrapes nothing until it is configured. While `sink` is full, scrapes wait.
    pub fn new(sink: mpsc::Sender<LoadUpdate>) -> Scraper {
        Scraper {
            sink,
            fetcher: Arc::new(Fetcher::new()),
            slots: HashMap::new(),
            vitals: Arc::default(),
            duty: Arc::default(),
        }
    }

    /// Counts followers that panicked and were started again.
    pub fn counted(self, vitals: Arc<Vitals>) -> Scraper {
        Scraper { vitals, ..self }
    }

    /// Leaves to other nodes what these fetch.
    pub fn sharing(self, duty: Arc<Duty>) -> Scraper {
        Scraper { duty, ..self }
    }

    /// The scrapes that could not be made.
    pub fn faults(&self) -> Arc<OwnFaults> {
        self.fetcher.faults.clone()
    }

    /// Scrapes what the model says from now on. Unchanged reports go on undisturbed.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn configure(&mut self, model: &Model) {
        let mut before = std::mem::take(&mut self.slots);
        for id in model.region_ids() {
            let Some(report) = &model.region(id).load_report else { continue };
            let LoadSource::Scraped(scrape) = &report.source else { continue };
            let region: Arc<str> = model.qualified_region_name(id).into();
            let slot = match before.remove(&region) {
                Some(slot) if slot.report == *report => slot,
                _ => self.start(region.clone(), report, scrape),
            };
            self.slots.insert(region, slot);
        }
    }

    fn start(&self, region: Arc<str>, report: &LoadReport, scrape: &Scrape) -> FollowedReport {
        let (scrape, report_as_told) = (scrape.clone(), report.clone());
        let (fetcher, sink, duty) = (self.fetcher.clone(), self.sink.clone(), self.duty.clone());
        let mut task = JoinSet::new();
        task.spawn(supervise(TaskKind::LoadReport, region.to_string(), self.vitals.clone(), move || {
            let follower = Follower::new(region.clone(), scrape.clone(), &report_as_told);
            follower.run(fetcher.clone(), sink.clone(), duty.clone())
        }));
        FollowedReport { report: report.clone(), _task: task }
    }
}

#[cfg(test)]
mod tests;
