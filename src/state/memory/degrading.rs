//! The memory of what makes one region worse without taking it down: its balancer's word, and the pace of its probes.
//!
//! The rules are pure and in [`crate::steer::health::degraded`]. None of this is kept over a restart: reports and probes
//! say it again within a minute.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::model::{Endpoint, HealthRule, Region};
use crate::steer::health::degraded::{BalancerHealth, Degraded, DegradedBy, HeardHealth, LEAST, Pace, by_pace};

/// The memory.
#[derive(Default)]
pub struct Degrading {
    heard: HeardHealth,
    /// The reason why the last report's health could not be read.
    error: Option<String>,
    /// By [`Endpoint::label`].
    paces: HashMap<String, Pace>,
}

impl Degrading {
    /// Takes its balancer's word. Says whether that takes the region down or brings it back.
    pub fn take_health(&mut self, region: &Region, outcome: Result<BalancerHealth, String>, at: Instant) -> bool {
        let Some(rule) = rule(region) else { return false };
        let before = self.heard.withdraws(rule);
        match outcome {
            Ok(health) => {
                self.error = None;
                self.heard.take(rule, health, at);
            }
            Err(why) => self.error = Some(why),
        }
        self.heard.withdraws(rule) != before
    }

    /// Takes the time of a successful probe, in milliseconds.
    pub fn take_pace(&mut self, region: &Region, endpoint: &str, total_ms: f64) {
        let (Some(slow), Some(check)) = (&region.slow_probes, region.check()) else { return };
        let pace = self.paces.get(endpoint).copied().unwrap_or_default();
        self.paces.insert(endpoint.to_owned(), pace.after(total_ms, slow, check.fall, check.rise));
    }

    /// What follows now. `serving` are its endpoints that are up; a report older than `stale_after` has no say.
    pub fn degraded<'e>(
        &self,
        region: &Region,
        serving: impl Iterator<Item = &'e Endpoint>,
        stale_after: Duration,
        now: Instant,
    ) -> Degraded {
        let mut degraded = Degraded::default();
        self.by_balancer(region, &mut degraded, stale_after, now);
        self.by_probes(region, &mut degraded, serving);
        degraded.factor = degraded.factor.max(LEAST);
        degraded.withdrawn = self.withdraws(region, stale_after, now);
        degraded
    }

    /// True where its balancer takes it down.
    fn withdraws(&self, region: &Region, stale_after: Duration, now: Instant) -> bool {
        let fresh = self.heard.fresh(stale_after, now).is_some();
        rule(region).is_some_and(|rule| fresh && self.heard.withdraws(rule))
    }

    /// The time when its balancer's word is too old to have a say.
    pub fn stale_at(&self, stale_after: Duration) -> Option<Instant> {
        self.heard.stale_at(stale_after)
    }

    /// Forgets endpoints that are gone, and what nobody asks for any more.
    pub fn fit(&mut self, region: &Region) {
        if rule(region).is_none() {
            (self.heard, self.error) = (HeardHealth::default(), None);
        }
        let is_asked = region.slow_probes.is_some() && region.checks.is_some();
        let labels: Vec<String> = region.endpoints.iter().map(Endpoint::label).collect();
        self.paces.retain(|label, _| is_asked && labels.contains(label));
    }

    fn by_balancer(&self, region: &Region, degraded: &mut Degraded, stale_after: Duration, now: Instant) {
        let Some(rule) = rule(region) else { return };
        if let Some(health) = self.heard.fresh(stale_after, now) {
            degraded.factor *= self.heard.offered();
            if self.heard.offered() < 1.0 || self.heard.withdraws(rule) {
                let recovering = self.heard.is_recovering(rule);
                degraded.why.push(DegradedBy::Balancer { health, recovering });
            }
        }
        degraded.why.extend(self.error.clone().map(DegradedBy::Unread));
    }

    fn by_probes<'e>(&self, region: &Region, degraded: &mut Degraded, serving: impl Iterator<Item = &'e Endpoint>) {
        let Some(slow) = &region.slow_probes else { return };
        let pace = |endpoint: &Endpoint| self.paces.get(&endpoint.label()).copied().unwrap_or_default();
        let paces: Vec<Pace> = serving.map(pace).collect();
        let slowest = paces.iter().filter(|pace| pace.is_slow).map(|pace| pace.last_ms).reduce(f64::max);
        let Some(last_ms) = slowest else { return };
        degraded.factor *= by_pace(&paces, slow);
        degraded.why.push(DegradedBy::Slow {
            endpoints: paces.iter().filter(|pace| pace.is_slow).count(),
            serving: paces.len(),
            last_ms,
            above_ms: slow.above.as_secs_f64() * 1e3,
        });
    }
}

fn rule(region: &Region) -> Option<&HealthRule> {
    region.load_report.as_ref()?.health.as_ref()
}

#[cfg(test)]
mod tests;
