//! The form in which planning is kept over a restart, and handed from a leader to those who follow it.

use serde::{Deserialize, Serialize};

use crate::steer::kept::Names;
use crate::steer::load::common_mode::CommonMode;
use crate::steer::load::feed::kept::KeptFeed;
use crate::steer::planner::demand::kept::KeptDemand;
use crate::steer::planner::kept::KeptPlan;

/// See [`Planning::kept`](super::Planning::kept). Times are in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptPlanning {
    /// The names that all the rest numbers regions and services by.
    pub(super) names: Names,
    pub(super) demand: KeptDemand,
    pub(super) plan: Option<KeptPlan>,
    /// By region.
    pub(super) regions: Vec<KeptPlanned>,
    pub(super) common: CommonMode,
    pub(super) first_report_ms: Option<u64>,
    /// The time that the hours of the demand's profile count from: by the wall clock they mean the same after a
    /// restart.
    pub(super) began_ms: Option<u64>,
    pub(super) faded_ms: Option<u64>,
    pub(super) last_plan_ms: Option<u64>,
}

impl KeptPlanning {
    /// Tells whether there are shares in it.
    pub fn has_plan(&self) -> bool {
        self.plan.as_ref().is_some_and(KeptPlan::has_shares)
    }
}

/// The knowledge that planning has of a region.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct KeptPlanned {
    pub(super) trim: Option<f64>,
    pub(super) feed: Option<KeptFeed>,
    pub(super) unheard_since_ms: Option<u64>,
    /// As the last plan took it.
    pub(super) eligible: bool,
    pub(super) capacity: Option<f64>,
}

#[cfg(test)]
impl KeptPlanning {
    /// One with a value in every place.
    pub fn sample() -> KeptPlanning {
        let (trim, feed, capacity) = (Some(0.5), Some(KeptFeed::sample()), Some(2.0));
        KeptPlanning {
            names: Names::sample(),
            demand: KeptDemand::sample(),
            plan: Some(KeptPlan::sample()),
            regions: vec![KeptPlanned { trim, feed, unheard_since_ms: Some(1), eligible: true, capacity }],
            common: CommonMode::default(),
            first_report_ms: Some(2),
            began_ms: Some(3),
            faded_ms: Some(4),
            last_plan_ms: Some(5),
        }
    }

    /// As much as there may be.
    pub fn largest() -> KeptPlanning {
        let (demand, plan) = (KeptDemand::largest(), Some(KeptPlan::largest()));
        KeptPlanning { demand, plan, ..KeptPlanning::sample() }
    }
}
