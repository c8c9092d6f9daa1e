//! What earlier versions of this program wrote, as it is read now.
//!
//! Version 2 knew of an endpoint neither which check had found its verdict nor how many probes had failed: that verdict
//! is taken for the present check's. Neither it nor version 3 knew of regions that are not let back yet.

use serde::Deserialize;

use crate::state::memory::damping::kept::KeptDamping3;
use crate::state::memory::kept::{Kept, KeptEndpoint, KeptLoad, KeptRegion};
use crate::state::memory::planning::kept_form::KeptPlanning;
use crate::steer::health::verdict::Verdict;

/// [`Kept`] of version 2.
#[derive(Deserialize)]
pub struct Kept2 {
    regions: Vec<KeptRegion2>,
    planning: Option<KeptPlanning>,
}

#[derive(Deserialize)]
struct KeptRegion2 {
    name: String,
    endpoints: Vec<KeptEndpoint2>,
    load: Option<KeptLoad>,
    interval_s: Option<f64>,
    price_ms: f64,
    published_price_ms: f64,
    over_limit: bool,
    shed: f64,
    calm: KeptDamping3,
}

/// [`Kept`] of version 3.
#[derive(Deserialize)]
pub struct Kept3 {
    regions: Vec<KeptRegion3>,
    planning: Option<KeptPlanning>,
}

#[derive(Deserialize)]
struct KeptRegion3 {
    name: String,
    endpoints: Vec<KeptEndpoint>,
    load: Option<KeptLoad>,
    interval_s: Option<f64>,
    price_ms: f64,
    published_price_ms: f64,
    over_limit: bool,
    shed: f64,
    damping: KeptDamping3,
}

#[derive(Deserialize)]
struct KeptEndpoint2 {
    label: String,
    verdict: Verdict,
    since_ms: Option<u64>,
    probed_at_ms: Option<u64>,
    last_probe: String,
    connect_ms: Option<f64>,
}

impl From<Kept2> for Kept {
    fn from(kept: Kept2) -> Kept {
        let regions = kept.regions.into_iter().map(KeptRegion::from).collect();
        Kept { regions, planning: kept.planning }
    }
}

impl From<KeptRegion2> for KeptRegion {
    fn from(kept: KeptRegion2) -> KeptRegion {
        KeptRegion {
            name: kept.name,
            endpoints: kept.endpoints.into_iter().map(KeptEndpoint::from).collect(),
            load: kept.load,
            interval_s: kept.interval_s,
            price_ms: kept.price_ms,
            published_price_ms: kept.published_price_ms,
            over_limit: kept.over_limit,
            shed: kept.shed,
            damping: kept.calm.into(),
        }
    }
}

impl From<Kept3> for Kept {
    fn from(kept: Kept3) -> Kept {
        let regions = kept.regions.into_iter().map(KeptRegion::from).collect();
        Kept { regions, planning: kept.planning }
    }
}

impl From<KeptRegion3> for KeptRegion {
    fn from(kept: KeptRegion3) -> KeptRegion {
        KeptRegion {
            name: kept.name,
            endpoints: kept.endpoints,
            load: kept.load,
            interval_s: kept.interval_s,
            price_ms: kept.price_ms,
            published_price_ms: kept.published_price_ms,
            over_limit: kept.over_limit,
            shed: kept.shed,
            damping: kept.damping.into(),
        }
    }
}

impl From<KeptEndpoint2> for KeptEndpoint {
    fn from(kept: KeptEndpoint2) -> KeptEndpoint {
        KeptEndpoint {
            label: kept.label,
            verdict: kept.verdict,
            since_ms: kept.since_ms,
            probed_at_ms: kept.probed_at_ms,
            last_probe: kept.last_probe,
            connect_ms: kept.connect_ms,
            failures: 0,
            check: None,
        }
    }
}
