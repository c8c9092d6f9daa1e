//! What a probe is told with: of which endpoint, and what follows from it.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use crate::model::ProbeId;
use crate::steer::health::verdict::Verdict;

use super::outcome::{ProbeError, Timings};

/// Identifies an endpoint, and one of its probes, across reloads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointKey {
    /// The region's qualified name, `seoul@gslb.example`.
    pub region: Arc<str>,
    /// [`Endpoint::label`](crate::model::Endpoint::label).
    pub endpoint: Arc<str>,
    /// Which of its probes.
    pub probe: ProbeId,
}

impl EndpointKey {
    /// The endpoint, whichever of its probes.
    pub fn whole(&self) -> EndpointKey {
        EndpointKey { probe: ProbeId::default(), ..self.clone() }
    }

    /// The only probe of an endpoint.
    pub fn only(region: &str, endpoint: &str) -> EndpointKey {
        EndpointKey { region: region.into(), endpoint: endpoint.into(), probe: ProbeId::default() }
    }
}

/// As people read it: `seoul@gslb.example 192.0.2.1`, and which probe where there are several.
impl fmt::Display for EndpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.region, self.endpoint)?;
        if self.probe == ProbeId::default() { Ok(()) } else { write!(f, " {}", self.probe) }
    }
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
