//! The total of a region's score, taken apart: what is the same for all sites, and what is the site's own.

use super::PlanInputs;
use crate::model::{RegionId, Service, Weights};
use crate::steer::latency::score::{cost_ms, latency_ms, load_ms};

/// A region of a service, as far as it is the same for all sites; in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    bias_ms: f64,
    load_ms: f64,
    cost_ms: f64,
}

impl Terms {
    /// For clients that the region is so far from: as [`total_ms`](crate::steer::latency::score::total_ms) says.
    #[inline]
    pub fn total_ms(&self, weights: Weights, rtt_ms: f64) -> f64 {
        latency_ms(weights, rtt_ms + self.bias_ms) + self.load_ms + self.cost_ms
    }
}

impl PlanInputs<'_> {
    pub(super) fn terms(&self, service: &Service, region: RegionId) -> Terms {
        let price_ms = self.states.get(region.index()).map_or(0.0, |state| state.price_ms);
        Terms {
            bias_ms: service.bias_ms(region),
            load_ms: load_ms(service.weights, price_ms),
            cost_ms: cost_ms(service.weights, self.model.region(region).cost),
        }
    }

    pub(super) fn total_ms(&self, service: &Service, site: usize, region: RegionId) -> f64 {
        self.terms(service, region).total_ms(service.weights, self.rtt_ms(site, region))
    }

    #[inline]
    pub(super) fn rtt_ms(&self, site: usize, region: RegionId) -> f64 {
        self.sites.map_or(0.0, |sites| sites.rtt_ms(self.model, site, region))
    }
}
