//! The facts known of one region by its probes and load reports, and the state that follows from that alone.
//!
//! Facts are kept by name (endpoint `203.0.113.10`), so that they outlive a reload that renumbers regions.

use std::collections::HashMap;
use std::time::Instant;

use crate::model::{Endpoint, Region};
use crate::state::memory::reported::Reported;
use crate::state::news::{EndpointNews, LoadNews};
use crate::steer::health::effective::{EndpointState, Override, RegionState, effective_state, region_verdict};
use crate::steer::health::shed::{is_over, shed};
use crate::steer::health::verdict::Verdict;
use crate::steer::load::state::LoadFigure;

#[derive(Default)]
pub struct RegionFacts {
    /// By [`Endpoint::label`].
    pub endpoints: HashMap<String, EndpointState>,
    pub reported: Reported,
    /// Its load is at its limit, or was and has not fallen well below since.
    pub over_limit: bool,
    /// The part of new clients it sheds.
    pub shed: f64,
}

impl RegionFacts {
    /// Takes what a probe of an endpoint found. Says whether its verdict is another one now.
    pub fn take_probe(&mut self, news: EndpointNews, now: Instant) -> bool {
        let seen = self.endpoints.entry(news.endpoint.to_string()).or_default();
        let changed = seen.verdict != Some(news.verdict);
        if changed {
            seen.verdict = Some(news.verdict);
            seen.since = Some(now);
        }
        seen.failures = match news.verdict {
            Verdict::Suspect | Verdict::Unknown => seen.failures.saturating_add(1),
            Verdict::Up | Verdict::Down => 0,
        };
        (seen.probed_at, seen.restored) = (Some(now), false);
        seen.last_probe = news.seen;
        seen.connect_ms = news.connect_ms.or(seen.connect_ms);
        changed
    }

    /// Takes a load report. Says whether it is acted on: not one that failed, is stale, or was not asked for.
    pub fn take_load(&mut self, region: &Region, news: LoadNews, now: Instant) -> bool {
        let Some(report) = &region.load_report else { return false };
        let (load, capacity) = match news.outcome {
            Ok(figures) => figures,
            Err(why) => {
                self.reported.fail(why);
                return false;
            }
        };
        let figure = LoadFigure { load, capacity: capacity.or(region.capacity), at: news.at };
        if !self.reported.take(figure, report, now) {
            return false;
        }
        let limits = region.load_limits;
        self.over_limit = limits.limit.is_some_and(|limit| is_over(limit, figure.load, self.over_limit));
        self.shed = limits.shed.zip(figure.utilisation()).map_or(0.0, |(watermarks, used)| shed(watermarks, used));
        true
    }

    /// The region's state by what is observed and said alone: [`Damping`](crate::state::memory::damping::Damping) has
    /// the last word on the effective state, and the price follows once its reports are weighed.
    pub fn state(&mut self, region: &Region, operator_override: Override, now: Instant) -> RegionState {
        let checked = region.check.is_some();
        let known = |endpoint: &Endpoint| match checked {
            true => self.endpoints.get(&endpoint.label()).cloned().unwrap_or_default(),
            false => EndpointState::default(),
        };
        let endpoints: Vec<EndpointState> = region.endpoints.iter().map(known).collect();
        let probed = |endpoint: &EndpointState| match endpoint.verdict {
            None if checked => Some(Verdict::Unknown),
            verdict => verdict,
        };
        let verdict = region_verdict(endpoints.iter().map(probed), region.min_healthy);
        self.reported.settle_stale(region.load_report.as_ref(), now);
        RegionState {
            effective: effective_state(verdict, operator_override),
            verdict,
            operator_override,
            endpoints,
            load: self.reported.load.clone(),
            price_ms: 0.0,
            // By the last report that made sense: a feed that went silent sheds as much as before.
            shed: if region.load_limits.shed.is_some() { self.shed } else { 0.0 },
            over_limit: self.over_limit && region.load_limits.limit.is_some(),
            changed_at: None,
            offered: 1.0,
            stability: Default::default(),
        }
    }

    /// Forgets endpoints that are gone, and what nobody asks for any more.
    pub fn fit(&mut self, region: &Region) {
        let labels: Vec<String> = region.endpoints.iter().map(Endpoint::label).collect();
        self.endpoints.retain(|label, _| labels.contains(label));
        self.forget_unasked(region);
    }

    /// Forgets what nobody asks for any more. A price without reports would stay for ever, and an
    /// old verdict would pass for a proof should the check come back.
    pub fn forget_unasked(&mut self, region: &Region) {
        if region.check.is_none() {
            self.endpoints.clear();
        }
        if region.load_report.is_none() {
            self.reported = Reported::default();
            (self.over_limit, self.shed) = (false, 0.0);
        }
    }
}
