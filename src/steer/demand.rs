//! How many clients are where: from what was answered, corrected by what regions report.

use crate::atlas::PlaceId;
use crate::model::{RegionId, ServiceId};

/// Answers given to clients of one place for one service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DemandSample {
    pub service: ServiceId,
    pub place: PlaceId,
    pub region: RegionId,
    /// Answers times the seconds they live: how much of the clients' time they cover. Above 0.
    pub weight: f32,
}
