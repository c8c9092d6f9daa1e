//! Everything a query needs, immutable, swapped as one.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;

use crate::atlas::Atlas;
use crate::steer::choice::endpoint_set::EndpointSet;
use crate::steer::decide::View;
use crate::steer::health::effective::RegionState;
use crate::steer::latency::rtt::Measured;
use crate::steer::plan::Plan;
use crate::steer::plan::precomputed::Precomputed;

use super::configured::Configured;
use super::memory::planning::Basis;
use super::memory::switches::Switches;
use super::vantages::Vantages;

/// One moment's truth. All ids in it match each other, and nothing else.
#[derive(Debug)]
pub struct Snapshot {
    /// Grows by one with every swap.
    pub generation: u64,
    /// Read through the snapshot itself: `snapshot.model`.
    pub configured: Arc<Configured>,
    pub atlas: Arc<Atlas>,
    /// Indexed by `RegionId`.
    pub states: Vec<RegionState>,
    /// Indexed by `RegionId`.
    pub endpoint_sets: Vec<EndpointSet>,
    pub plan: Plan,
    /// The choices that follow from the plan and the endpoint sets whoever asks.
    pub precomputed: Precomputed,
    /// Round trips from clients to regions that were measured: those the plan was made with.
    pub measured: Arc<Measured>,
    /// The reason why what operators said before could not be read; none of it holds until it can.
    pub overrides_error: Option<Arc<str>>,
    /// The words of operators on services, by [`Model::service_key`](crate::model::Model::service_key), also those that do
    /// not hold by the files as they are. What holds is in the plan.
    pub switches: Arc<Switches>,
    /// The facts the planner last planned from; `None` before it did.
    pub planning: Option<Arc<Basis>>,
    /// Who judges with this node; `None`: nobody.
    pub vantages: Option<Arc<Vantages>>,
    /// The time when it was made, to tell ages from.
    pub made_at: Instant,
}

impl Snapshot {
    /// The data that a decision reads.
    pub fn view(&self) -> View<'_> {
        View {
            model: &self.model,
            atlas: &self.atlas,
            states: &self.states,
            endpoint_sets: &self.endpoint_sets,
            plan: &self.plan,
        }
    }
}

impl Deref for Snapshot {
    type Target = Configured;

    fn deref(&self) -> &Configured {
        &self.configured
    }
}

/// The pointer queries load and the publisher swaps.
pub type SharedSnapshot = Arc<ArcSwap<Snapshot>>;
