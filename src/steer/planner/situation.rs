//! The facts that a plan is made from, and the unit that what is made of them is counted in.

use std::sync::Arc;
use std::time::Instant;

use crate::model::{Model, RegionId};
use crate::steer::latency::locations::Locations;

use super::demand::Demand;
use super::flow::MAX_COST;
use super::planned::Planned;
use super::score_group_parts::ScoreGroupParts;

/// The facts that a plan is made from.
pub struct Situation<'a> {
    pub model: &'a Model,
    pub locations: &'a Arc<Locations>,
    pub demand: &'a Demand,
    /// By service: the score groups its clients come to, and the part of them that do.
    pub parts: &'a [Arc<ScoreGroupParts>],
    /// By region: whether it may be sent new clients.
    pub eligible: &'a [bool],
    /// By region, in the unit of the demand: what it can take now; `None`: no limit known.
    pub capacities: &'a [Option<f64>],
    /// By region: whether what is known of its load is believed, so that clients may be sent far away for it.
    pub evidence: &'a [bool],
    pub previous: Option<&'a Planned>,
    pub now: Instant,
}

impl Situation<'_> {
    /// The amount that a region can take, in the unit of the demand; `None`: no limit is known.
    pub fn room(&self, region: usize) -> Option<f64> {
        self.capacities.get(region).copied().flatten()
    }

    pub fn is_eligible(&self, region: RegionId) -> bool {
        is(self.eligible, region)
    }

    /// Tells whether what is known of its load is believed.
    pub fn is_believed(&self, region: RegionId) -> bool {
        is(self.evidence, region)
    }
}

fn is(flags: &[bool], id: RegionId) -> bool {
    flags.get(id.index()).copied().unwrap_or(false)
}

/// In whole microseconds. What is no number is as dear as can be.
#[inline]
pub fn micro(ms: f64) -> i32 {
    const WHOLE: f64 = (3u64 << 51) as f64; // numbers near it are whole, and their lowest bits are the number
    let most = f64::from(MAX_COST);
    ((ms * 1000.0).min(most).max(-most) + WHOLE).to_bits() as i32
}
