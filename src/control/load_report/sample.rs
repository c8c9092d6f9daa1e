//! The outcome of reading a load report: a load and its capacity, and the region they are of.

use std::sync::Arc;
use std::time::SystemTime;

use crate::steer::health::degraded::BalancerHealth;

use super::LoadError;

/// The load of a balancer by its own word, in whatever it counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadSample {
    /// 0 to 1e15.
    pub load: f64,
    /// The load that it could bear now, in the unit of `load`: above 0, to 1e15. `None`: it does not say.
    pub capacity: Option<f64>,
    /// The time that both are of, where the report says so; not after the reader's own time.
    pub at: Option<SystemTime>,
}

/// The outcome of one scrape of one region, or of a report that was pushed.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadUpdate {
    /// The region's qualified name, `seoul@gslb.example`.
    pub region: Arc<str>,
    /// The time that the figure is of: as the report says, else when it was asked for.
    pub at: SystemTime,
    pub outcome: Result<LoadSample, LoadError>,
    /// Its word on what is behind it, or why that cannot be read; `None` where it was not asked for or not told.
    pub health: Option<Result<BalancerHealth, LoadError>>,
}
