//! A plan: the regions that share the clients of each score group and location.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::RegionId;
use crate::steer::choice::cell::Share;
use crate::steer::latency::locations::Locations;
use crate::steer::latency::sites::Sites;

use super::score_group::ScoreGroup;

/// The milliseconds that a region may be worse by before the clients it has are sent elsewhere.
const STICKINESS_MS: f64 = 10.0;
/// The same for a location whose clients were moved within [`DWELL`].
const DWELL_MS: f64 = 20.0;
/// The time within which clients who were moved are not moved back for a trifle.
pub(super) const DWELL: Duration = Duration::from_secs(120);

/// Shares by score group and location.
#[derive(Debug)]
pub struct Planned {
    pub locations: Arc<Locations>,
    pub(super) score_groups: HashMap<ScoreGroup, Vec<LocationPlan>>,
    /// By region, in milliseconds, 0 or more: what one client more would cost there.
    pub prices_ms: Vec<f64>,
    /// By region, in the unit of its load reports: what it should have under this plan.
    pub loads: Vec<f64>,
    pub kept_near: KeptNear,
    /// How many plans were solved the plain way, since the quick one had failed, from the first of this process to this
    /// one.
    pub plainly: u64,
    pub made_at: Instant,
}

/// Clients who would have been sent farther than `steering.max_detour`, were the load of their nearest region
/// believed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeptNear {
    /// Locations, for each kind of decision, with demand.
    pub places: usize,
    /// 0 to 1: of all that is planned for.
    pub part: f64,
    /// The regions whose load it is, ascending.
    pub regions: Vec<RegionId>,
}

/// One location under one score group.
#[derive(Debug, Default)]
pub struct LocationPlan {
    /// Empty where nothing was planned.
    pub shares: Box<[Share]>,
    /// The time when its clients were last sent elsewhere, though where they were could have served them.
    pub moved_at: Option<Instant>,
    /// The region whose load would have to be believed to send them farther.
    pub kept_near: Option<RegionId>,
}

impl LocationPlan {
    pub fn has(&self, region: RegionId) -> bool {
        self.shares.iter().any(|share| share.region == region)
    }

    /// The milliseconds that its clients' regions are let to be worse by.
    pub fn stays_ms(&self, now: Instant) -> f64 {
        match self.moved_at {
            Some(at) if now.saturating_duration_since(at) < DWELL => DWELL_MS,
            _ => STICKINESS_MS,
        }
    }
}

impl Planned {
    /// Tells whether it was made for these sites.
    pub fn is_of(&self, sites: &Arc<Sites>) -> bool {
        self.locations.numbered_as(sites)
    }

    /// The regions that share the clients of a site, and how: at least one, weights above 0.
    pub fn shares(&self, group: &ScoreGroup, site: usize) -> Option<&[Share]> {
        let place = self.place(group, self.locations.of_site(site)?)?;
        (!place.shares.is_empty()).then_some(&*place.shares)
    }

    /// The amount that a region may be worse by, in the milliseconds that prices are in, before a site's clients are
    /// sent elsewhere by the next plan; 0 where it has none of them.
    pub fn stays_ms(&self, group: &ScoreGroup, site: usize, region: RegionId, now: Instant) -> f64 {
        let place = self.locations.of_site(site).and_then(|location| self.place(group, location));
        place.filter(|place| place.has(region)).map_or(0.0, |place| place.stays_ms(now))
    }

    /// The region whose load is not believed, where that alone keeps a site's clients from being sent farther.
    pub fn kept_near(&self, group: &ScoreGroup, site: usize) -> Option<RegionId> {
        self.place(group, self.locations.of_site(site)?)?.kept_near
    }

    fn place(&self, group: &ScoreGroup, location: usize) -> Option<&LocationPlan> {
        self.score_groups.get(group)?.get(location)
    }
}

#[cfg(test)]
impl Planned {
    /// One with these shares of some services, asked for location by location; empty: nothing is planned there.
    pub fn sample(
        model: &crate::model::Model,
        sites: &Arc<Sites>,
        services: &[&crate::model::Service],
        mut shares: impl FnMut(&crate::model::Service) -> Vec<Share>,
    ) -> Planned {
        let locations = Arc::new(Locations::of(sites, model, super::super::latency::locations::MOST_LOCATIONS, None));
        let mut of_service = |service: &&crate::model::Service| {
            let group = ScoreGroup::of(service, service.policies.group(service.policies.root))?;
            let plan = |_| LocationPlan { shares: shares(service).into(), ..LocationPlan::default() };
            Some((group, (0..locations.len()).map(plan).collect()))
        };
        let score_groups = services.iter().filter_map(&mut of_service).collect();
        Planned {
            locations,
            score_groups,
            prices_ms: Vec::new(),
            loads: Vec::new(),
            kept_near: KeptNear::default(),
            plainly: 0,
            made_at: Instant::now(),
        }
    }
}
