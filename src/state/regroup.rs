//! The making of classes of clients anew after round trips were measured: a snapshot and what was measured in, an atlas
//! that tells the measured networks apart and the tables over it out.
//!
//! ```text
//!   Snapshot, Measured ─▶ RegroupJob ─▶ run, on any thread ─▶ Regrouped ─▶ the next snapshot
//! ```
//!
//! Over millions of networks it takes a third of a second, which no verdict may wait for: so it is a job. Until it is
//! back, the snapshot goes on with the atlas, the measurements and the tables it has, which match each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::atlas::Atlas;
use crate::model::policy::Switched;
use crate::model::{Model, Prefix, ServiceId};
use crate::steer::latency::rtt::Measured;
use crate::steer::plan::{Inputs, Plan, lead};

use super::Snapshot;

/// Round trips that were measured, and the snapshot that does not go by them yet.
#[derive(Debug)]
pub struct RegroupJob {
    pub of: Arc<Snapshot>,
    pub measured: Arc<Measured>,
    /// What operators said of services in that snapshot.
    pub switched: BTreeMap<ServiceId, Switched>,
}

/// What goes by these measurements, made for a snapshot.
#[derive(Debug)]
pub struct Regrouped {
    pub measured: Arc<Measured>,
    /// The atlas of that snapshot, unless other networks were measured.
    pub atlas: Arc<Atlas>,
    /// What the next plan takes up: without services.
    pub plan: Plan,
    made_for: MadeFor,
}

/// What has to be as it was for a [`Regrouped`] to fit.
#[derive(Debug)]
struct MadeFor {
    model: Arc<Model>,
    atlas: Arc<Atlas>,
    switched: BTreeMap<ServiceId, Switched>,
}

impl RegroupJob {
    pub fn run(self) -> Regrouped {
        let RegroupJob { of, measured, switched } = self;
        let atlas = match measured.networks() == of.measured.networks() {
            true => of.atlas.clone(),
            false => Arc::new(of.atlas.refined(&told_apart(&measured, &of.model))),
        };
        let plan = lead(&Inputs {
            model: &of.model,
            atlas: &atlas,
            states: &of.states,
            measured: &measured,
            switched: &switched,
            seed: of.seed,
            planned: of.plan.planned(),
            previous: Arc::ptr_eq(&atlas, &of.atlas).then_some(&of.plan),
            now: of.made_at,
        });
        let made_for = MadeFor { model: of.model.clone(), atlas: of.atlas.clone(), switched };
        Regrouped { measured, atlas, plan: plan.without_services(), made_for }
    }
}

impl Regrouped {
    /// Tells whether it was made for a model that steers as this one, this atlas and these switches: numbers of places, sites and recipes are theirs.
    pub fn fits(&self, model: &Arc<Model>, atlas: &Arc<Atlas>, switched: &BTreeMap<ServiceId, Switched>) -> bool {
        let MadeFor { model: of, atlas: before, switched: then } = &self.made_for;
        of.steers_as(model) && Arc::ptr_eq(before, atlas) && then == switched
    }
}

/// The networks that an atlas has to tell apart: those that were measured, and those that services' rules and lists name.
pub fn told_apart(measured: &Measured, model: &Model) -> Vec<Prefix> {
    [measured.networks(), model.named_networks()].concat()
}
