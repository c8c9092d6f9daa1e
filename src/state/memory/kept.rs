//! All that a restart would forget, as plain data: what is kept beside the overrides, and taken up at the next start.
//!
//! ```text
//!   Publisher::kept ─▶ Kept ─▶ control::warm, a file ─▶ Kept ─▶ Publisher::restore
//! ```
//!
//! By names and by the wall clock throughout ([`crate::steer::kept`]). Its form is that of the file: who changes a
//! field here or in what is nested here takes the next `control::warm::VERSION`.

use serde::{Deserialize, Serialize};

use crate::steer::health::verdict::Verdict;

use super::damping::kept::KeptDamping;
use super::planning::kept_form::KeptPlanning;

/// One moment of a running server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    pub regions: Vec<KeptRegion>,
    /// `None`: there was nothing to plan from yet.
    pub planning: Option<KeptPlanning>,
}

impl Kept {
    /// Nothing but which regions their probes took down and were not let back since.
    pub fn taken_down(&self) -> Kept {
        let of = |region: &KeptRegion| {
            let damping = region.damping.taken_down()?;
            Some(KeptRegion { name: region.name.clone(), damping, ..KeptRegion::default() })
        };
        Kept { regions: self.regions.iter().filter_map(of).collect(), planning: None }
    }
}

/// The observations of a region, and what followed from it. Times are in milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeptRegion {
    /// Qualified: `seoul@gslb.example`.
    pub name: String,
    pub endpoints: Vec<KeptEndpoint>,
    pub load: Option<KeptLoad>,
    /// From report to report, as observed.
    pub interval_s: Option<f64>,
    pub price_ms: f64,
    pub published_price_ms: f64,
    pub over_limit: bool,
    pub shed: f64,
    pub damping: KeptDamping,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptEndpoint {
    /// `Endpoint::label`.
    pub label: String,
    pub verdict: Verdict,
    pub since_ms: Option<u64>,
    pub probed_at_ms: Option<u64>,
    /// For people.
    pub last_probe: String,
    pub connect_ms: Option<f64>,
    /// How many probes in a row had failed, where these were not enough to be down.
    pub failures: u32,
    /// Of the check that found this, and of what it asked: another one does not inherit it. `None`: not known.
    pub check: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptLoad {
    pub load: f64,
    pub capacity: Option<f64>,
    pub at_ms: u64,
}

/// The amounts that were taken up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Of the configured regions.
    pub regions: usize,
    /// Services' clients at one site each.
    pub flows: usize,
    /// Decisions by score at one location each that are shared out by a plan.
    pub places: usize,
}
