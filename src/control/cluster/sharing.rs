//! The writer's side of a cluster: what it tells the node after each publication, and how often.

use std::sync::Arc;
use std::time::Instant;

use crate::state::{Publisher, Snapshot};
use crate::steer::kept::Clock;

use super::node::{DEMAND_PERIOD, model_hash};
use super::run::{Ask, ClusterHandle};

/// What was told last.
pub struct Sharing {
    cluster: ClusterHandle,
    told_demand: Option<Instant>,
    told_model: bool,
}

impl Sharing {
    pub fn new(cluster: ClusterHandle) -> Sharing {
        Sharing { cluster, told_demand: None, told_model: false }
    }

    pub fn handle(&self) -> ClusterHandle {
        self.cluster.clone()
    }

    /// The first probes were judged.
    pub fn begins(&self) {
        self.cluster.tell(Ask::Judges);
    }

    /// A snapshot was published.
    pub fn published(&mut self, publisher: &mut Publisher, before: &Snapshot, after: &Snapshot, clock: &Clock) {
        if !Arc::ptr_eq(&before.model, &after.model) || !self.told_model {
            let hash = model_hash(&after.model, after.seed);
            self.told_model = self.cluster.tell(Ask::Model { hash, reloads: after.reloads });
        }
        self.cluster.tell(Ask::Generation(after.generation));
        if let Some(proposal) = publisher.planning().take_proposal(clock) {
            // The next one comes soon enough.
            self.cluster.tell(Ask::Proposal(proposal));
        }
    }

    /// Answers were counted: the leader is told of them now and then.
    pub fn answered(&mut self, publisher: &mut Publisher, now: Instant) {
        if self.told_demand.is_some_and(|at| now.saturating_duration_since(at) < DEMAND_PERIOD) {
            return;
        }
        self.told_demand = Some(now);
        let samples = publisher.planning().take_outgoing();
        if !samples.is_empty() {
            self.cluster.tell(Ask::Demand(samples));
        }
    }
}
