//! The writer's side of a cluster: what it tells the node after each publication, and how often.

use std::sync::Arc;
use std::time::Instant;

use crate::control::load_report::LoadUpdate;
use crate::state::{Publisher, Snapshot};
use crate::steer::health::vote::Vantage;
use crate::steer::kept::Clock;

use super::handle::{Ask, ClusterHandle};
use super::node::{DEMAND_PERIOD, model_hash};

/// What was told last.
pub struct Sharing {
    cluster: ClusterHandle,
    told_demand: Option<Instant>,
    told_model: bool,
    judges: bool,
    told_verdicts: Option<Vantage>,
}

impl Sharing {
    pub fn new(cluster: ClusterHandle) -> Sharing {
        Sharing { cluster, told_demand: None, told_model: false, judges: false, told_verdicts: None }
    }

    pub fn handle(&self) -> ClusterHandle {
        self.cluster.clone()
    }

    /// Whether all nodes that are there go by the same files as this one.
    pub fn is_alike(&self) -> bool {
        let status = self.cluster.status();
        status.etcd.there && status.nodes.iter().all(|node| node.model == status.model)
    }

    /// The first probes were judged: from now on they have a say.
    pub fn begins(&mut self, publisher: &Publisher) {
        self.judges = true;
        self.tell_verdicts(publisher);
    }

    fn tell_verdicts(&mut self, publisher: &Publisher) {
        let own = publisher.own_verdicts();
        if self.judges && self.told_verdicts.as_ref() != Some(&own) && self.cluster.tell(Ask::Verdicts(own.clone())) {
            self.told_verdicts = Some(own);
        }
    }

    /// A snapshot was published.
    pub fn published(&mut self, publisher: &mut Publisher, before: &Snapshot, after: &Snapshot, clock: &Clock) {
        if !Arc::ptr_eq(&before.model, &after.model) || !self.told_model {
            let hash = model_hash(&after.model, after.seed);
            self.told_model = self.cluster.tell(Ask::Model { hash, reloads: after.reloads });
        }
        self.tell_verdicts(publisher);
        self.cluster.tell(Ask::Generation(after.generation));
        if let Some(proposal) = publisher.planning().take_proposal(clock) {
            // The next one comes soon enough.
            self.cluster.tell(Ask::Proposal(Box::new(proposal)));
        }
    }

    /// A load report came to this node.
    pub fn reported(&self, update: &LoadUpdate) {
        if update.outcome.is_ok() {
            self.cluster.tell(Ask::Load(update.clone()));
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
