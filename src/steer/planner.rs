//! What the planner decided: for each leaf of a service that goes by score, and each location,
//! the regions that share its clients.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{RegionId, Service, Weights};

use super::plan::Share;
use super::sites::Sites;

/// One decision by score among regions. Services alike in it share their plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Leaf {
    pub regions: Box<[RegionId]>,
    /// Latency, load, cost; as bits, which compare and hash.
    weights: [u64; 3],
    /// By region, in milliseconds, as bits; empty: none.
    bias: Box<[u64]>,
}

impl Leaf {
    /// `bias_ms`: as long as `regions`, or empty.
    pub fn new(regions: &[RegionId], weights: Weights, bias_ms: &[f64]) -> Leaf {
        let Weights { latency, load, cost } = weights;
        let biased = bias_ms.iter().any(|&ms| ms != 0.0);
        let bias_ms = if biased { bias_ms } else { &[] };
        Leaf {
            regions: regions.into(),
            weights: [latency, load, cost].map(f64::to_bits),
            bias: bias_ms.iter().map(|ms| ms.to_bits()).collect(),
        }
    }

    pub fn of(service: &Service) -> Leaf {
        Leaf::new(&service.regions, service.weights, &[])
    }

    pub fn weights(&self) -> Weights {
        let [latency, load, cost] = self.weights.map(f64::from_bits);
        Weights { latency, load, cost }
    }

    /// Added to the round-trip time of the region at this place in `regions`, in milliseconds.
    pub fn bias_ms(&self, index: usize) -> f64 {
        self.bias.get(index).map_or(0.0, |&bits| f64::from_bits(bits))
    }
}

/// Shares by leaf and location.
#[derive(Debug)]
pub struct Planned {
    sites: Arc<Sites>,
    /// By site: its location.
    location_of: Arc<[u32]>,
    /// By location; `None` where nothing was planned, for want of demand.
    shares: HashMap<Leaf, Vec<Option<Box<[Share]>>>>,
}

impl Planned {
    /// Whether it was made for these sites.
    pub fn is_of(&self, sites: &Arc<Sites>) -> bool {
        self.sites.numbered_as(sites)
    }

    /// The regions that share the clients of a site, and how: at least one, weights above 0.
    pub fn shares(&self, leaf: &Leaf, site: usize) -> Option<&[Share]> {
        let location = *self.location_of.get(site)? as usize;
        self.shares.get(leaf)?.get(location)?.as_deref()
    }
}
