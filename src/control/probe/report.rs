//! What a probe is told with: of which endpoint, and what follows from it.

use std::sync::Arc;
use std::time::SystemTime;

use crate::steer::health::verdict::Verdict;

use super::outcome::{ProbeError, Timings};

/// Identifies an endpoint across reloads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointKey {
    /// The region's qualified name, `seoul@gslb.example`.
    pub region: Arc<str>,
    /// [`Endpoint::label`](crate::model::Endpoint::label).
    pub endpoint: Arc<str>,
}

/// What one probe found and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointReport {
    pub key: EndpointKey,
    pub verdict: Verdict,
    /// When the verdict became this one.
    pub since: SystemTime,
    /// When the probe ended.
    pub probed_at: SystemTime,
    pub outcome: Result<Timings, ProbeError>,
    /// How many of the latest probes in a row ended as this one: successes or failures; 1 or more.
    pub streak: u32,
}
