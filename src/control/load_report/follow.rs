//! One region's report, followed: scraped at its interval until nobody reads any more.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::control::cluster::duty::Duty;
use crate::model::{HealthPlace, LoadReport, Scrape};
use crate::steer::health::degraded::BalancerHealth;

use super::fetch::Fetcher;
use super::health::ErrorShare;
use super::rate::Rate;
use super::{LoadError, LoadSample, LoadUpdate, read, read_health};

/// The first scrapes of new reports are spread over this long.
const FIRST_SPREAD: Duration = Duration::from_millis(200);

/// One report, and what is remembered from scrape to scrape.
pub(super) struct Follower {
    region: Arc<str>,
    scrape: Scrape,
    interval: Duration,
    max_age: Duration,
    /// Where its health is; `None`: it is not asked for.
    health: Option<HealthPlace>,
    errors: ErrorShare,
    rate: Rate,
    /// The last scrape's figure, if it brought one, and when the report says that it is of.
    last: Option<Option<SystemTime>>,
}

impl Follower {
    pub(super) fn new(region: Arc<str>, scrape: Scrape, report: &LoadReport) -> Follower {
        Follower {
            region,
            scrape,
            interval: report.interval,
            max_age: report.max_age,
            health: report.health.as_ref().map(|rule| rule.place.clone()),
            errors: ErrorShare::default(),
            rate: Rate::default(),
            last: None,
        }
    }

    /// Scrapes until it is dropped or nobody reads the updates any more. While `sink` is full, it
    /// waits.
    pub(super) async fn run(mut self, fetcher: Arc<Fetcher>, sink: mpsc::Sender<LoadUpdate>, duty: Arc<Duty>) {
        let mut next = Instant::now() + FIRST_SPREAD.mul_f64(fastrand::f64());
        loop {
            tokio::time::sleep_until(next).await;
            // From start to start, a little early by chance so that regions do not march in step.
            next = Instant::now() + self.interval.mul_f64(0.9 + 0.1 * fastrand::f64());
            if duty.fetches(&self.region, self.interval, std::time::Instant::now())
                && let Some(update) = self.update(&fetcher).await
                && sink.send(update).await.is_err()
            {
                return;
            }
        }
    }

    /// The update that one scrape brings; `None` for the figure that was already told, and where this machine could not
    /// ask: then the last figure just ages.
    async fn update(&mut self, fetcher: &Fetcher) -> Option<LoadUpdate> {
        // A figure is of no later than it was asked for: a slow answer is an old one.
        let (asked, asked_wall) = (Instant::now(), SystemTime::now());
        let (outcome, health) = match fetcher.fetch(&self.scrape).await {
            Ok(body) => (self.sample(&body.octets, asked), self.health(&body.octets, asked)),
            Err(error) => (Err(error), None),
        };
        if let Err(LoadError::Own(why)) = &outcome {
            fetcher.faults.happened(why);
            return None;
        }
        let last = outcome.as_ref().ok().map(|sample| sample.at);
        let told = matches!(last, Some(Some(_))) && last == self.last;
        self.last = last;
        let at = last.flatten().map_or(asked_wall, |at| at.min(asked_wall));
        (!told).then(|| LoadUpdate { region: self.region.clone(), at, outcome, health })
    }

    fn health(&mut self, body: &[u8], asked: Instant) -> Option<Result<BalancerHealth, LoadError>> {
        let sample = read_health(&self.scrape.format, self.health.as_ref()?, body);
        Some(sample.map(|sample| self.errors.told(&sample, asked)))
    }

    fn sample(&mut self, body: &[u8], asked: Instant) -> Result<LoadSample, LoadError> {
        let sample = read(&self.scrape.format, body, SystemTime::now())?;
        if self.last == Some(sample.at) && sample.at.is_some() {
            return Ok(sample); // told already, and no second count
        }
        match self.scrape.format.is_counter() {
            true => self.rate.next(sample, asked, self.max_age),
            false => Ok(sample),
        }
    }
}
