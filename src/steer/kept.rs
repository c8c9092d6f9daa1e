//! State that survives a restart goes by names and by the wall clock: ids, and this process's own clock, end with it.
//!
//! Comes from those who know ids and instants; goes, as plain data, to whoever keeps it, and back. Nothing read
//! back is trusted: a name that is gone, a number out of range, a time nobody can have meant is left out.
//!
//! - [`Clock`], for times
//! - [`Names`], and the [`Ids`] they have in a model, for regions and services
//! - [`SiteFinder`], for where clients are

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState as Folding;
use serde::{Deserialize, Serialize};

use crate::model::{Model, RegionId, ServiceId};

use super::latency::sites::{SiteKey, Sites};

/// The year 9999: what says a later time is wrong.
pub const MAX_UNIX_MS: u64 = 253_402_300_799_000;
/// Nothing that is kept lies further ahead than a week: RFC 8767 section 4 suggests that as the most resolvers keep.
const MAX_AHEAD: Duration = Duration::from_secs(7 * 86_400);

/// One moment by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    now: Instant,
    unix_ms: u64,
}

impl Clock {
    /// `unix_ms`: what the wall clock says, in milliseconds since 1970.
    pub fn new(now: Instant, unix_ms: u64) -> Clock {
        Clock { now, unix_ms: unix_ms.min(MAX_UNIX_MS) }
    }

    /// The same moment for what was kept at `kept_at_ms`: a wall clock that was set back meanwhile counts as having
    /// stood still.
    pub fn not_before(self, kept_at_ms: u64) -> Clock {
        Clock::new(self.now, self.unix_ms.max(kept_at_ms))
    }

    pub fn now(&self) -> Instant {
        self.now
    }

    pub fn unix_ms(&self) -> u64 {
        self.unix_ms
    }

    /// A time of this process by the wall clock.
    pub fn kept(&self, at: Instant) -> u64 {
        let ms = |duration: Duration| duration.as_millis() as u64;
        match at.checked_duration_since(self.now) {
            Some(ahead) => self.unix_ms.saturating_add(ms(ahead)),
            None => self.unix_ms.saturating_sub(ms(self.now.saturating_duration_since(at))),
        }
    }

    /// A time by the wall clock as one of this process, no further ahead than a week; `None`: longer ago than this
    /// process's clock can say.
    pub fn instant(&self, unix_ms: u64) -> Option<Instant> {
        match unix_ms.checked_sub(self.unix_ms) {
            Some(ahead) => Some(self.now + Duration::from_millis(ahead).min(MAX_AHEAD)),
            None => self.now.checked_sub(Duration::from_millis(self.unix_ms - unix_ms)),
        }
    }
}

/// The names behind a model's ids, in the order of the ids.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Names {
    /// Qualified: `seoul@gslb.example`.
    regions: Vec<String>,
    /// Whole: [`Model::service_key`].
    services: Vec<String>,
}

impl Names {
    pub fn of(model: &Model) -> Names {
        Names {
            regions: model.region_ids().map(|id| model.qualified_region_name(id)).collect(),
            services: model.service_ids().map(|id| model.service_key(id)).collect(),
        }
    }

    /// The ids these names have in a model.
    pub fn ids(&self, model: &Model) -> Ids {
        let now = Names::of(model);
        let regions: HashMap<&String, RegionId> = now.regions.iter().zip(model.region_ids()).collect();
        let services: HashMap<&String, ServiceId> = now.services.iter().zip(model.service_ids()).collect();
        Ids {
            regions: self.regions.iter().map(|name| regions.get(name).copied()).collect(),
            services: self.services.iter().map(|name| services.get(name).copied()).collect(),
        }
    }
}

/// The present ids for those of old.
#[derive(Clone, Debug)]
pub struct Ids {
    regions: Vec<Option<RegionId>>,
    services: Vec<Option<ServiceId>>,
}

impl Ids {
    /// `None`: it is gone.
    pub fn region(&self, old: u16) -> Option<RegionId> {
        self.regions.get(usize::from(old)).copied().flatten()
    }

    /// `None`: it is gone.
    pub fn service(&self, old: u32) -> Option<ServiceId> {
        self.services.get(old as usize).copied().flatten()
    }

    /// Tells whether the region was there of old.
    pub fn has(&self, now: RegionId) -> bool {
        self.regions.contains(&Some(now))
    }

    /// The knowledge by region, in the order of old, by the ids of now; for new regions, `unknown`.
    pub fn by_region<T: Clone>(&self, known: &[T], model: &Model, unknown: T) -> Vec<T> {
        let mut now = vec![unknown; model.regions.len()];
        for (id, known) in self.regions.iter().zip(known) {
            if let Some(place) = id.and_then(|id| now.get_mut(id.index())) {
                *place = known.clone();
            }
        }
        now
    }
}

/// Sites by what they are.
#[derive(Debug)]
pub struct SiteFinder {
    exact: HashMap<SiteKey, u32, Folding>,
    /// The first site of each position, once somebody asks.
    by_position: OnceLock<HashMap<SiteKey, u32, Folding>>,
}

impl SiteFinder {
    pub fn of(sites: &Sites) -> SiteFinder {
        let exact = sites.ids().map(|site| (sites.key(site, 0.0), site as u32)).collect();
        SiteFinder { exact, by_position: OnceLock::new() }
    }

    /// This very site.
    pub fn find_exact(&self, key: &SiteKey) -> Option<u32> {
        self.exact.get(key).copied()
    }

    /// This very site; where other groups of clients are measured than were, one at its position.
    pub fn find(&self, key: &SiteKey) -> Option<u32> {
        let first_of_each = || {
            let mut sites: Vec<(u32, &SiteKey)> = self.exact.iter().map(|(key, &site)| (site, key)).collect();
            sites.sort_unstable_by_key(|(site, _)| std::cmp::Reverse(*site));
            sites.into_iter().map(|(site, key)| (key.position(), site)).collect()
        };
        let by_position = || self.by_position.get_or_init(first_of_each);
        self.find_exact(key).or_else(|| by_position().get(&key.position()).copied())
    }
}

/// A number that was read back, where it is one and within these bounds.
pub(super) fn sound(number: f64, bounds: std::ops::RangeInclusive<f64>) -> Option<f64> {
    bounds.contains(&number).then_some(number)
}

#[cfg(test)]
impl Names {
    /// One with a value in every place.
    pub fn sample() -> Names {
        Names { regions: vec!["seoul@gslb.example".into()], services: vec!["www.gslb.example".into()] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Policy;
    use crate::steer::testing::{World, at};

    const HOUR: Duration = Duration::from_secs(3600);
    const NOW_MS: u64 = 1_790_000_000_000;

    #[test]
    fn times_come_back_as_old_as_they_are_by_the_wall_clock() {
        let began = Instant::now() + 2 * HOUR;
        let before = Clock::new(began, NOW_MS);
        let later = Instant::now() + 5 * HOUR;
        let after = Clock::new(later, NOW_MS + 60_000);
        for (at, age_s) in [(began, 60), (began - Duration::from_secs(100), 160)] {
            assert_eq!(after.instant(before.kept(at)), Some(later - Duration::from_secs(age_s)));
        }
        let ahead = before.kept(began + Duration::from_secs(90));
        assert_eq!(after.instant(ahead), Some(later + Duration::from_secs(30)));
    }

    #[test]
    fn no_time_that_is_read_back_does_harm() {
        let now = Instant::now();
        let clock = Clock::new(now, NOW_MS);
        assert_eq!(clock.instant(u64::MAX), Some(now + MAX_AHEAD));
        assert!(clock.instant(0).is_none_or(|at| at < now));
        assert_eq!(Clock::new(now, u64::MAX).unix_ms(), MAX_UNIX_MS);
        assert_eq!(clock.not_before(NOW_MS + 5).unix_ms(), NOW_MS + 5, "set back");
        assert_eq!(clock.not_before(NOW_MS - 5).unix_ms(), NOW_MS);
        assert_eq!(Clock::new(now, 5).kept(now - HOUR), 0);
    }

    #[test]
    fn names_find_their_ids_wherever_those_are_now() {
        let (west, east) = (at(0.0, -90.0), at(0.0, 90.0));
        let old = World::new(Policy::Score, &[("west", west), ("gone", east), ("east", east)]).model;
        let new = World::new(Policy::Score, &[("new", west), ("east", east), ("west", west)]).model;
        let ids = Names::of(&old).ids(&new);
        assert_eq!([0, 1, 2, 3].map(|old| ids.region(old)), [Some(RegionId(2)), None, Some(RegionId(1)), None]);
        assert_eq!([0, 1].map(|old| ids.service(old)), [Some(ServiceId(0)), None]);
        assert_eq!(ids.by_region(&["w", "g", "e"], &new, "?"), ["?", "e", "w"]);
        assert_eq!(ids.by_region(&["w"], &new, "?"), ["?", "?", "w"], "too few");
    }
}
