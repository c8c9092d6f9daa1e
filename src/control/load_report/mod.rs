//! What the regions' balancers say of their own load: fetches it, over and over.
//!
//! In: the load reports of a [`Model`]. Out: a [`LoadUpdate`] after every scrape, on a bounded
//! channel. What follows from a load, and from its age, is left to the reader: a scrape that
//! fails says so and never stands for a load of zero.
//!
//! ```text
//!   Model ─▶ Scraper ─▶ one task per region ─▶ fetch ─▶ haproxy | json ─▶ LoadUpdate
//! ```
//!
//! - `haproxy`, `json`: the two formats
//! - `figure`: which numbers are believed
//! - `error`: why not

mod error;
mod fetch;
mod figure;
mod haproxy;
mod json;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::control::probe::same;
use crate::model::{LoadReport, LoadReportKind, Model};

pub use error::LoadError;
pub use haproxy::parse_haproxy;
pub use json::parse_json;

use fetch::Fetcher;

/// What a balancer says of itself, in whatever it counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadSample {
    /// 0 to 1e15.
    pub load: f64,
    /// What it could bear now, in the unit of `load`: above 0, to 1e15. `None`: it does not say.
    pub capacity: Option<f64>,
}

/// What one scrape of one region brought.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadUpdate {
    /// The region's qualified name, `seoul@gslb.example`.
    pub region: Arc<str>,
    /// When the scrape ended.
    pub at: SystemTime,
    pub outcome: Result<LoadSample, LoadError>,
}

/// Scrapes at once: each may hold a body of [`fetch::MOST_BODY`].
const MOST_SCRAPES: usize = 64;
/// The first scrapes of new reports are spread over this long.
const FIRST_SPREAD: Duration = Duration::from_millis(200);

/// Scrapes the load reports of a model. Dropping it stops all scrapes.
pub struct Scraper {
    sink: mpsc::Sender<LoadUpdate>,
    fetcher: Arc<Fetcher>,
    permits: Arc<Semaphore>,
    slots: HashMap<Arc<str>, Slot>,
}

struct Slot {
    report: LoadReport,
    /// One task; as a set, because that ends it when dropped.
    _task: JoinSet<()>,
}

impl Scraper {
    /// Scrapes nothing until it is configured. While `sink` is full, scrapes wait.
    pub fn new(sink: mpsc::Sender<LoadUpdate>) -> Scraper {
        let permits = Arc::new(Semaphore::new(MOST_SCRAPES));
        Scraper { sink, fetcher: Arc::new(Fetcher::new()), permits, slots: HashMap::new() }
    }

    /// Scrapes what the model says from now on. Unchanged reports go on undisturbed.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn configure(&mut self, model: &Model) {
        let mut before = std::mem::take(&mut self.slots);
        for id in model.region_ids() {
            let Some(report) = &model.region(id).load_report else { continue };
            let region: Arc<str> = model.qualified_region_name(id).into();
            let slot = match before.remove(&region) {
                Some(slot) if same(&slot.report, report) => slot,
                _ => self.start(region.clone(), report),
            };
            self.slots.insert(region, slot);
        }
    }

    fn start(&self, region: Arc<str>, report: &LoadReport) -> Slot {
        let (sink, fetcher, permits) = (self.sink.clone(), self.fetcher.clone(), self.permits.clone());
        let mut task = JoinSet::new();
        task.spawn(scrape(region, report.clone(), fetcher, permits, sink));
        Slot { report: report.clone(), _task: task }
    }
}

/// Scrapes one region until it is dropped or nobody reads the updates any more.
async fn scrape(
    region: Arc<str>,
    report: LoadReport,
    fetcher: Arc<Fetcher>,
    permits: Arc<Semaphore>,
    sink: mpsc::Sender<LoadUpdate>,
) {
    let mut next = Instant::now() + FIRST_SPREAD.mul_f64(fastrand::f64());
    loop {
        tokio::time::sleep_until(next).await;
        let Ok(permit) = permits.acquire().await else { return };
        // From start to start, a little early by chance so that regions do not march in step.
        next = Instant::now() + report.interval.mul_f64(0.9 + 0.1 * fastrand::f64());
        let body = fetcher.fetch(&report.url, report.timeout).await;
        let outcome = body.and_then(|body| parse(&report.kind, &body));
        drop(permit);
        let update = LoadUpdate { region: region.clone(), at: SystemTime::now(), outcome };
        if sink.send(update).await.is_err() {
            return;
        }
    }
}

fn parse(kind: &LoadReportKind, body: &[u8]) -> Result<LoadSample, LoadError> {
    match kind {
        LoadReportKind::Haproxy { proxy, field } => match std::str::from_utf8(body) {
            Ok(text) => parse_haproxy(text, proxy, *field),
            Err(error) => Err(LoadError::NotCsv(error.to_string())),
        },
        LoadReportKind::Json { load, capacity } => parse_json(body, load, capacity.as_deref()),
    }
}

#[cfg(test)]
mod tests;
