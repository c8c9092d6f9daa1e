//! One decision by score among regions: what the planner plans for, and services that decide alike share.

use crate::model::{Child, Group, Policy, RegionId, Service, Weights};

/// One decision by score among regions. Services alike in it share their plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScoreGroup {
    pub regions: Box<[RegionId]>,
    /// Latency, load, cost; as bits, which compare and hash.
    pub(super) weights: [u64; 3],
    /// By region, in milliseconds, as bits; empty: none.
    pub(super) bias: Box<[u64]>,
}

impl ScoreGroup {
    /// `bias_ms`: as long as `regions`, or empty.
    pub fn new(regions: &[RegionId], weights: Weights, bias_ms: &[f64]) -> ScoreGroup {
        let Weights { latency, load, cost } = weights;
        let biased = bias_ms.iter().any(|&ms| ms != 0.0);
        let bias_ms = if biased { bias_ms } else { &[] };
        ScoreGroup {
            regions: regions.into(),
            weights: [latency, load, cost].map(f64::to_bits),
            bias: bias_ms.iter().map(|ms| ms.to_bits()).collect(),
        }
    }

    pub fn weights(&self) -> Weights {
        let [latency, load, cost] = self.weights.map(f64::from_bits);
        Weights { latency, load, cost }
    }

    /// Added to the round-trip time of the region at this place in `regions`, in milliseconds.
    pub fn bias_ms(&self, index: usize) -> f64 {
        self.bias.get(index).map_or(0.0, |&bits| f64::from_bits(bits))
    }

    /// The decision that a group's clients are planned by; `None` where it does not go by score among
    /// regions alone, or load counts for nothing in it.
    pub fn of(service: &Service, group: &Group) -> Option<ScoreGroup> {
        if group.policy != Policy::Score || service.weights.load <= 0.0 {
            return None;
        }
        let region = |child: &Child| match *child {
            Child::Region(region) => Some(region),
            Child::Group(_) => None,
        };
        let regions: Vec<RegionId> = group.children.iter().map(region).collect::<Option<_>>()?;
        let bias_ms: Vec<f64> = regions.iter().map(|&region| service.bias_ms(region)).collect();
        Some(ScoreGroup::new(&regions, service.weights, &bias_ms))
    }
}
