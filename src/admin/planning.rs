//! What the planner knows and has done last, as data: in `GET /v1/status`, and beside each explanation.

use std::borrow::Cow;
use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::control::jobs::figures::JobFigures;
use crate::control::what_if::basis;
use crate::state::Snapshot;
use crate::steer::planner::KeptNear;

/// How clients are shared out, and what that rests on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PlanningStatus {
    /// `plan`, or `price` where there is none: then each region's price follows its own load alone.
    pub by: Cow<'static, str>,
    /// The node of the cluster that made the plan in force; `None`: this server, by itself.
    #[serde(default)]
    pub of_node: Option<String>,
    /// How old the plan in force is, in seconds; below 60 unless attempts fail. `None`: there is none.
    pub age_s: Option<f64>,
    /// Why the last attempt at a plan came to nothing; `None`: it did not, or none was made.
    pub error: Option<String>,
    /// Since the last attempt, in seconds; `None`: none was made yet.
    pub tried_s: Option<f64>,
    /// All demand as estimated, in the unit of the load reports; `None` where nothing is known of it.
    pub demand: Option<f64>,
    /// Clients who would be sent farther, were the load of these regions believed; `None`: there are none.
    pub kept_near: Option<KeptNearStatus>,
    /// How plans come about; `None` where that is not told.
    #[serde(default)]
    pub work: Option<PlanningWork>,
}

/// The work that plans take, beside what is answered.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PlanningWork {
    /// The age of the oldest news that the plan in force does not heed, in seconds; 0: it heeds all, or another node
    /// plans.
    pub lag_s: f64,
    /// The CPU time of all jobs since the start, in seconds; see `steering.planning_cpu`.
    pub cpu_s: f64,
    /// The plans that were made since the start, or tried to be.
    pub taken: u64,
    /// The parts of the services' tables of cells that were made anew since the start.
    #[serde(default)]
    pub tables: u64,
    /// The times since the start that classes of clients were made anew by measured round trips.
    #[serde(default)]
    pub regroups: u64,
    /// Those of all that did not fit any more when they were made, as after a reload.
    pub dropped: u64,
    /// Those that came to nothing by a panic: each is a bug.
    pub failed: u64,
    /// Those that were begun anew at a higher priority, since a busy machine left them no CPU time.
    #[serde(default)]
    pub given_up: u64,
}

impl PlanningWork {
    pub fn of(figures: &JobFigures, now: Instant) -> PlanningWork {
        let [(_, plans), (_, tables), (_, regroups)] = figures.tallies();
        let (lag_s, cpu_s) = (figures.lag(now).as_millis() as f64 / 1e3, figures.cpu().as_secs_f64());
        PlanningWork {
            lag_s,
            cpu_s,
            taken: plans.taken,
            tables: tables.taken,
            regroups: regroups.taken,
            dropped: plans.dropped + tables.dropped + regroups.dropped,
            failed: plans.failed + tables.failed + regroups.failed,
            given_up: plans.given_up + tables.given_up + regroups.given_up,
        }
    }
}

/// Clients that `steering.max_detour` keeps near.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct KeptNearStatus {
    /// Places with demand that are planned for together, counted once per kind of decision; above 0.
    pub places: usize,
    /// 0 to 1: their part of the demand that is planned for.
    pub part: f64,
    /// The nearest regions of these places, qualified, whose load is not believed.
    pub regions: Vec<String>,
}

pub fn planning(snapshot: &Snapshot, now: Instant) -> PlanningStatus {
    let age_s = |at: Instant| now.saturating_duration_since(at).as_millis() as f64 / 1e3;
    let basis = basis(snapshot);
    let planned = snapshot.plan.planned();
    let demand: f64 = basis.map_or(0.0, |basis| basis.demand.flows().fold(0.0, |sum, (_, amount)| sum + amount));
    PlanningStatus {
        by: if planned.is_some() { "plan" } else { "price" }.into(),
        of_node: None,
        age_s: planned.map(|planned| age_s(planned.made_at)),
        error: basis.and_then(|basis| basis.error.as_ref()).map(|error| error.to_string()),
        tried_s: basis.map(|basis| age_s(basis.made_at)),
        demand: (demand > 0.0).then_some(demand),
        kept_near: planned.and_then(|planned| kept_near(snapshot, &planned.kept_near)),
        work: None,
    }
}

fn kept_near(snapshot: &Snapshot, kept: &KeptNear) -> Option<KeptNearStatus> {
    let regions = || kept.regions.iter().map(|id| snapshot.model.qualified_region_name(*id)).collect();
    (kept.places > 0).then(|| KeptNearStatus { places: kept.places, part: kept.part, regions: regions() })
}
